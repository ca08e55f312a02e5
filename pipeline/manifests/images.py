"""A folder or glob of pictures as a manifest: every picture is a row without other columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from ...transforms import storage
from ...transforms.records import ImageRecord
from ...transforms.rows import record_of_file
from ...transforms.stream import batched
from .contract import Manifest, UnitRows, WorkUnit, file_label, unit_name, without_columns


def plan(
    manifest: Manifest, number: int, files: Iterable[str], unit_size: int, start: int = 0
) -> Iterator[WorkUnit]:
    """Cuts the pictures of a lot into units.

    Each lot is cut by itself, so that no unit changes when one is added.

    Args:
      manifest: the manifest.
      number: of the lot.
      files: its pictures from the position `start` on, where a unit begins.
      unit_size: pictures in a unit.
      start: how many of the lot's pictures are left out.
    """
    label = lot_label(manifest.base, number)
    starts = count(start, unit_size)
    for batch in batched(iter(files), unit_size):
        first = next(starts)
        paths = tuple(manifest.relative(file) for file in batch)
        yield WorkUnit(unit_name(label, first), manifest.base, first, len(paths), paths=paths)


def lot_label(base: str, number: int) -> str:
    """Gives what the names of a lot's units begin with, as `unit_name` takes it."""
    folder = file_label(storage.basename(base))
    return f"{folder}-{number}" if number else folder


def read(manifest: Manifest, unit: WorkUnit) -> UnitRows:
    """Makes the records of a unit's pictures."""
    return UnitRows(_records(manifest, unit), without_columns(unit.rows))


def _records(manifest: Manifest, unit: WorkUnit) -> Iterator[ImageRecord]:
    root = manifest.base.rstrip("/") + "/"
    for row, path in enumerate(unit.paths):
        yield record_of_file(root + path, manifest.base, row)
