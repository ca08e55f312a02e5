"""Commit markers: what stands of each unit.

The files of a unit fill most of its marker (51 kB for 256 pictures) and stand last in it, so that
sums over a dataset read the first few kilobytes of each marker only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..transforms import storage
from ..transforms.stream import ordered_map
from .layouts.contract import StoredFile
from .paths import DatasetPaths

READERS = 32  # markers read at the same time
_HEAD_BYTES = 4096
_FILES = b'\n "files": ['


@dataclass(frozen=True)
class Stored:
    """What a unit stores, in sum.

    Attributes:
      files: how many.
      bytes: of these.
      splits: the values of a partition column `split`, as the folders spell them, sorted.
    """

    files: int
    bytes: int
    splits: tuple[str, ...]

    @classmethod
    def of(cls, files: Iterable[StoredFile]) -> Stored:
        """Sums up a unit's files."""
        known = tuple(files)
        return cls(
            len(known), sum(file.size for file in known), splits_of(file.path for file in known)
        )


@dataclass(frozen=True)
class MarkerHead:
    """A commit marker without the names of its files.

    Attributes:
      unit: the unit's name.
      rows, done, failed: how many rows, and what became of them.
      failed_rows: positions of the failed rows within the unit.
      errors: failed rows by kind of error.
      generation: how often failed rows were run again.
      engine: what rows record of the engine.
      cost_usd: paid for the unit.
      failed_cost_usd: the part of it that was paid for rows that failed.
      seconds: time spent by stage, added up over its pictures; `wall` is the unit's own.
      finished: seconds since 1970.
      settings_hash: of the job that wrote it.
      compacted: how many of the rows that are done stand in files of a compaction, and so in none
        of the unit's own.
      stored: the unit's own files in sum.
    """

    unit: str
    rows: int
    done: int
    failed: int
    failed_rows: tuple[int, ...]
    errors: dict[str, int]
    generation: int
    engine: dict[str, Any]
    cost_usd: float
    seconds: dict[str, float]
    finished: float
    settings_hash: str
    compacted: int
    stored: Stored
    failed_cost_usd: float = 0.0


@dataclass(frozen=True)
class Marker:
    """A commit marker: written last, and everything it lists is there.

    Attributes:
      unit … settings_hash, compacted, failed_cost_usd: as in `MarkerHead`.
      files: everything the unit consists of.
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
    failed_cost_usd: float = 0.0

    @property
    def head(self) -> MarkerHead:
        """Gives the marker without the names of its files."""
        names = [field.name for field in fields(MarkerHead) if field.name != "stored"]
        return MarkerHead(
            **{name: getattr(self, name) for name in names}, stored=Stored.of(self.files)
        )

    def encode(self) -> bytes:
        files = [asdict(file) for file in self.files]
        return json.dumps({**asdict(self.head), "files": files}, indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> Marker:
        values = json.loads(data)
        values.pop("stored", None)  # which follows from the files
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


def read_heads(paths: DatasetPaths) -> Iterator[MarkerHead]:
    """Reads every commit marker but its files, in the order of the units' names, many at a time."""

    def read(unit: str) -> MarkerHead:
        return _read_head(paths.uri(paths.marker(unit)))

    return ordered_map(read, committed_units(paths), threads=READERS, lookahead=4 * READERS)


def head_in(data: bytes) -> MarkerHead | None:
    """Reads a marker's head from its first bytes; None when they do not hold all of it."""
    head, bracket, _ = data.partition(_FILES)
    if not bracket or b'"stored": {' not in head:
        return None
    values = json.loads(head.removesuffix(b",") + b"}")
    values["failed_rows"] = tuple(values["failed_rows"])
    stored = values["stored"]
    values["stored"] = Stored(stored["files"], stored["bytes"], tuple(stored["splits"]))
    return MarkerHead(**values)


def _read_head(uri: str) -> MarkerHead:
    head = head_in(storage.read_bytes(uri, _HEAD_BYTES))
    # Where many rows failed, their numbers fill the beginning.
    return head or Marker.decode(storage.read_bytes(uri)).head


def splits_of(paths: Iterable[str]) -> tuple[str, ...]:
    """Gives the values of a partition column `split` among paths of files, sorted."""
    found = {
        folder.removeprefix("split=")
        for path in paths
        if path.startswith("data/") and "/split=" in path
        for folder in path.split("/")
        if folder.startswith("split=")
    }
    return tuple(sorted(found))
