"""A folder or glob of pictures as a manifest: every picture is a row without other columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ...transforms import storage
from ...transforms.records import ImageRecord
from ...transforms.rows import record_of_file
from ...transforms.stream import batched
from .contract import Manifest, UnitRows, WorkUnit, file_label, unit_name, without_columns
from .files import list_again


def plan(manifest: Manifest, unit_size: int) -> Iterator[WorkUnit]:
    """Cuts the sorted listing into units."""
    label = file_label(storage.basename(manifest.base))
    starts = count(step=unit_size)
    for files in batched(list_again(manifest), unit_size):
        start = next(starts)
        paths = tuple(manifest.relative(file) for file in files)
        yield WorkUnit(unit_name(label, start), manifest.base, start, len(paths), paths=paths)


def read(manifest: Manifest, unit: WorkUnit) -> UnitRows:
    """Makes the records of a unit's pictures."""
    return UnitRows(_records(manifest, unit), without_columns(unit.rows))


def _records(manifest: Manifest, unit: WorkUnit) -> Iterator[ImageRecord]:
    root = manifest.base.rstrip("/") + "/"
    for row, path in enumerate(unit.paths):
        yield record_of_file(root + path, manifest.base, row)
