"""What is shipped, and what importing it brings along."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from alphabeam import transforms

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
FOLDERS = {"alphabeam.pipeline": ROOT / "pipeline", "alphabeam.transforms": ROOT / "transforms"}
PIXEL_MODULES = (
    "codec", "matte", "mask_stats", "png", "foreground", "colour", "engines.registry",
    "engines.loaded", "engines.grabcut", "cutout", "stream",
)  # fmt: skip


def python(program):
    """Runs a program in a fresh interpreter; gives what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_package_is_listed_for_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    there = set()
    for package, folder in FOLDERS.items():
        for init in folder.rglob("__init__.py"):
            inner = init.parent.relative_to(folder).parts
            there.add(".".join((package, *inner)))
    assert listed == there


def test_type_checkers_are_told_that_the_packages_are_typed():
    for package, folder in FOLDERS.items():
        assert (folder / "py.typed").is_file()
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        assert "py.typed" in project["tool"]["setuptools"]["package-data"][package]


def test_importing_the_library_brings_nothing_heavy():
    heavy = python(
        "import sys, alphabeam.transforms\n"
        "names = 'apache_beam torch transformers google.cloud.storage onnxruntime gcsfs s3fs'.split()\n"
        "print([name for name in names if name in sys.modules])"
    )
    assert heavy == "[]"


def test_the_beam_transform_brings_no_models_or_clouds():
    heavy = python(
        "import sys, apache_beam\n"
        "before = set(sys.modules)\n"
        "from alphabeam.transforms import RemoveBackground\n"
        "names = 'torch transformers google.cloud.storage onnxruntime gcsfs s3fs'.split()\n"
        "print([name for name in names if name in set(sys.modules) - before])"
    )
    assert heavy == "[]"


@pytest.mark.parametrize("module", PIXEL_MODULES)
def test_pixel_code_imports_where_beam_is_not_installed(module):
    python(
        "import sys\n"
        "sys.modules['apache_beam'] = None  # makes importing it fail\n"
        f"import alphabeam.transforms.{module}"
    )


def test_every_public_name_is_there():
    assert (
        python(
            "import alphabeam.transforms as t\nprint(all(getattr(t, name) for name in t.__all__))"
        )
        == "True"
    )


def test_type_checkers_see_every_public_name():
    stub = ast.parse((ROOT / "transforms" / "__init__.pyi").read_text())
    seen = {
        alias.asname: "." * node.level + (node.module or "")
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == transforms._HOMES


def test_transforms_never_reach_into_the_pipeline():
    for path in (ROOT / "transforms").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""] + [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            assert not any(name.split(".")[0] == "pipeline" for name in names), path
            assert not any(name.startswith("alphabeam.pipeline") for name in names), path
