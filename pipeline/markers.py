"""Commit markers: what stands of each unit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..transforms import storage
from ..transforms.stream import ordered_map
from .layouts.contract import StoredFile
from .paths import DatasetPaths

_READERS = 32


@dataclass(frozen=True)
class Marker:
    """A commit marker: written last, and everything it lists is there.

    Attributes:
      unit: the unit's name.
      rows, done, failed: how many rows, and what became of them.
      failed_rows: positions of the failed rows within the unit.
      errors: failed rows by kind of error.
      files: everything the unit consists of.
      generation: how often failed rows were run again.
      engine: what rows record of the engine.
      cost_usd: paid for the unit.
      seconds: time spent by stage, added up over its pictures; `wall` is the unit's own.
      finished: seconds since 1970.
      settings_hash: of the job that wrote it.
      compacted: how many of the rows that are done stand in files of a compaction, and so in none
        of `files`.
    """

    unit: str
    rows: int
    done: int
    failed: int
    failed_rows: tuple[int, ...]
    errors: dict[str, int]
    files: tuple[StoredFile, ...]
    generation: int
    engine: dict[str, Any]
    cost_usd: float
    seconds: dict[str, float]
    finished: float
    settings_hash: str
    compacted: int = 0

    def encode(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> Marker:
        values = json.loads(data)
        values["failed_rows"] = tuple(values["failed_rows"])
        values["files"] = tuple(StoredFile(**entry) for entry in values["files"])
        return cls(**values)


def read_marker(paths: DatasetPaths, unit: str) -> Marker | None:
    """Reads a unit's commit marker; None when it is not committed."""
    try:
        return Marker.decode(storage.read_bytes(paths.uri(paths.marker(unit))))
    except FileNotFoundError:
        return None


def committed_units(paths: DatasetPaths) -> Iterator[str]:
    """Names the committed units, sorted, from one listing."""
    for file in storage.list_files(f"{paths.uri(paths.MARKERS)}/"):
        name = storage.basename(file.uri)
        if name.endswith(".json"):
            yield name[: -len(".json")]


def read_markers(paths: DatasetPaths) -> Iterator[Marker]:
    """Reads every commit marker, in the order of the units' names, many at a time."""

    def read(unit: str) -> Marker:
        return Marker.decode(storage.read_bytes(paths.uri(paths.marker(unit))))

    return ordered_map(read, committed_units(paths), threads=_READERS, lookahead=4 * _READERS)
