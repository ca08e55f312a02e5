"""What workers elsewhere need to run this very code: a wheel of it, and the packages it uses."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

_NAME = "alphabeam"
_IN_EVERY_IMAGE = (_NAME, "apache-beam")
_PACKAGES = ("alphabeam.pipeline", "alphabeam.transforms")


def write_wheel(folder: str) -> str:
    """Packs the code that runs here, whether it was installed or is a checkout.

    Nothing is built and nothing downloaded: the packages are pure Python, and what is imported
    here is what is imported there.

    Args:
      folder: where to.

    Returns:
      The wheel's path. The same code always gives the same bytes.
    """
    info = f"{_NAME}-{version(_NAME)}.dist-info"
    path = os.path.join(folder, f"{_NAME}-{version(_NAME)}-py3-none-any.whl")
    record = io.StringIO()
    lines = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in (*_code(), *_metadata(info)):
            wheel.writestr(_entry(name), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.writerow([name, f"sha256={digest}", len(data)])
        lines.writerow([f"{info}/RECORD", "", ""])
        wheel.writestr(_entry(f"{info}/RECORD"), record.getvalue())
    return path


def write_requirements(folder: str, extras: Iterable[str]) -> str:
    """Writes what the code needs, and these extras of it, in the versions that are installed here.

    Apache Beam is left out: it is in every worker's image.

    Args:
      folder: where to.
      extras: of this package.

    Returns:
      The path of a requirements file for pip.
    """
    path = os.path.join(folder, "requirements.txt")
    with open(path, "w") as file:
        file.writelines(f"{line}\n" for line in requirements(extras))
    return path


def requirements(extras: Iterable[str]) -> list[str]:
    """Gives the lines of that file, sorted."""
    wanted = ["", *extras]
    needed: set[str] = set()
    for line in distribution(_NAME).requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if requirement.name not in _IN_EVERY_IMAGE and (
            marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted)
        ):
            needed.add(_pinned(requirement))
    return sorted(needed)


def _pinned(requirement: Requirement) -> str:
    try:
        installed = Version(version(requirement.name))
    except PackageNotFoundError:
        return f"{requirement.name}{requirement.specifier}"
    return f"{requirement.name}=={installed.public}"  # without +cpu and the like


def _code() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        (root,) = importlib.import_module(package).__path__
        for path in sorted(Path(root).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                inner = path.relative_to(root).as_posix()
                yield f"{package.replace('.', '/')}/{inner}", path.read_bytes()


def _metadata(info: str) -> Iterator[tuple[str, bytes]]:
    installed = distribution(_NAME)
    # A checkout that was installed has the same under another name.
    described = installed.read_text("METADATA") or installed.read_text("PKG-INFO") or ""
    yield f"{info}/METADATA", described.encode()
    points = installed.read_text("entry_points.txt") or ""
    yield f"{info}/entry_points.txt", points.encode()
    wheel = "Wheel-Version: 1.0\nGenerator: alphabeam\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    yield f"{info}/WHEEL", wheel.encode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # of 1980: no clock in it
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
