PYTHON ?= python3
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types reference wheel clean

demo: .venv/installed
	.venv/bin/alphabeam demo demo

test: .venv-test/installed
	.venv-test/bin/python -m pytest --numprocesses 2

lint: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .

types: .venv-test/installed
	.venv-test/bin/pyright --pythonpath .venv-test/bin/python

# Writes docs/reference/ from the code.
reference: .venv-test/installed
	.venv-test/bin/python docs/generate.py

# Builds the wheel, installs it into an empty environment and imports every module of it.
wheel: .venv-test/installed
	rm -rf build dist .venv-wheel
	.venv-test/bin/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python $(PIP_INSTALL) 'torch==2.13.0' "$$(echo dist/*.whl)[torch,onnx,onnx-export,report,evaluate]"
	cd dist && ../.venv-wheel/bin/python ../tests/import_every_module.py

clean:
	rm -rf .venv .venv-test .venv-wheel build dist demo *.egg-info

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) '.[report]'
	touch $@

.venv-test/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP_INSTALL) 'torch==2.13.0'
	.venv-test/bin/python $(PIP_INSTALL) --editable '.[test]'
	touch $@
