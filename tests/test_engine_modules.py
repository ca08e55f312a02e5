"""Engines given as `package.module:Class`, whose modules fail in all the ways in which they may."""

import os
import sys

import pytest
from photographs import write_manifest

from alphabeam.pipeline.cli import main


@pytest.fixture
def odd_engines(tmp_path, monkeypatch):
    """Modules that fail in all the ways in which somebody else's may."""
    folder = tmp_path / "odd_engines"
    folder.mkdir()
    for name, code in {
        "__init__": "",
        "unparsable": "class A(:",
        "failing": "raise RuntimeError('no licence\\nhere')",
        "leaving": "raise SystemExit('good bye')",
        "unmade": "class A:\n def __init__(self): raise OSError('no\\nroom')\n"
        " load = predict = print",
        "idle": "class A:\n load = print",
    }.items():
        (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (":", "--engine :: cannot import :"),
        ("odd_engines.unparsable:A", "import odd_engines.unparsable:A: SyntaxError"),
        ("odd_engines.failing:A", "failing:A: RuntimeError: no licence here"),
        ("odd_engines.leaving:A", "leaving:A: SystemExit: good bye"),
        ("odd_engines.unmade:A", "--engine odd_engines.unmade:A: OSError: no room"),
        ("odd_engines.idle:A", "odd_engines.idle:A has no method predict()"),
    ],
)
def test_what_a_module_does_is_told_in_one_line(odd_engines, tmp_path, capsys, engine, expected):
    manifest, output = write_manifest(str(tmp_path), 1), str(tmp_path / "out")
    assert main(["run", "--manifest", manifest, "--output", output, "--engine", engine]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not os.path.exists(output)
