PYTHON ?= python3
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test kernels lint types reference wheel clean

demo: .venv/installed
	.venv/bin/alphabeam demo demo

test: .venv-test/installed
	.venv-test/bin/python -m pytest --numprocesses 2

# Runs the GPU's kernels in Triton's interpreter, and compiles them for GPUs that are not here. Triton
# lies apart from the test environment: PyTorch's builds for GPUs bring one of their own.
kernels: .venv-test/installed .triton/triton
	TRITON_INTERPRET=1 PYTHONPATH=.triton .venv-test/bin/python -m pytest tests/kernels_interpreted.py
	PYTHONPATH=.triton .venv-test/bin/python -m pytest tests/kernels_compiled.py

.triton/triton:
	$(PYTHON) $(PIP_INSTALL) --no-deps --target .triton 'triton==3.9.0'

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
	rm -rf .venv .venv-test .venv-wheel .triton build dist demo *.egg-info

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) '.[report]'
	touch $@

.venv-test/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP_INSTALL) 'torch==2.13.0'
	.venv-test/bin/python $(PIP_INSTALL) --editable '.[test]'
	touch $@
