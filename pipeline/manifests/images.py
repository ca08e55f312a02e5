"""A folder or glob of pictures as a manifest: every picture is a row without other columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from ...transforms import storage
from ...transforms.records import ImageRecord
from ...transforms.rows import record_of_file
from ...transforms.stream import batched
from .contract import Manifest, UnitRows, WorkUnit, file_label, unit_name, without_columns


def plan(manifest: Manifest, lots: Iterable[Iterable[str]], unit_size: int) -> Iterator[WorkUnit]:
    """Cuts the pictures into units, each lot by itself, so that no unit changes when one is added."""
    folder = file_label(storage.basename(manifest.base))
    for number, lot in enumerate(lots):
        label = f"{folder}-{number}" if number else folder
        starts = count(step=unit_size)
        for files in batched(iter(lot), unit_size):
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
