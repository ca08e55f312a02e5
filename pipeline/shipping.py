"""What workers elsewhere need to run this very code: a wheel of it, and the packages it uses."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import io
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
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


def write_requirements(folder: str, extras: Iterable[str], given: str | None = None) -> str:
    """Writes what the code needs, and these extras of it, in the versions that are installed here.

    Apache Beam is left out: it is in every worker's image.

    Args:
      folder: where to.
      extras: of this package.
      given: path of the user's own requirements file, whose versions win.

    Returns:
      The path of a requirements file for pip.
    """
    own = Path(given).read_text().splitlines() if given else []
    path = os.path.join(folder, "requirements.txt")
    with open(path, "w") as file:
        file.writelines(f"{line}\n" for line in (*own, *requirements(extras, _names(own))))
    return path


def requirements(extras: Iterable[str], without: Collection[str] = ()) -> list[str]:
    """Gives the lines of that file, sorted, but for those of some packages."""
    return sorted(
        _pinned(requirement)
        for requirement in _needed(["", *extras])
        if canonicalize_name(requirement.name) not in (*_IN_EVERY_IMAGE, *without)
    )


def is_installed(extra: str) -> bool:
    """Tells whether all is installed here that an extra of this package adds to it."""
    plain = {requirement.name for requirement in _needed([""])}
    added = [one for one in _needed(["", extra]) if one.name not in plain]
    return all(_installed(requirement) is not None for requirement in added)


def _needed(extras: Iterable[str]) -> list[Requirement]:
    """Gives what this package needs with these extras, each package once."""
    needed = {}
    for line in distribution(_NAME).requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            needed[requirement.name] = requirement
    return list(needed.values())


def _names(lines: Iterable[str]) -> set[str]:
    """Gives the packages that the lines of a requirements file name; pip knows others, too."""
    names = set()
    for line in lines:
        with suppress(InvalidRequirement):
            names.add(canonicalize_name(Requirement(line.partition(" #")[0]).name))
    return names


def _pinned(requirement: Requirement) -> str:
    installed = _installed(requirement)
    if installed is None:
        return f"{requirement.name}{requirement.specifier}"
    return f"{requirement.name}=={installed.public}"  # without +cpu and the like


def _installed(requirement: Requirement) -> Version | None:
    try:
        return Version(version(requirement.name))
    except PackageNotFoundError:
        return None


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
