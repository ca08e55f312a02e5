"""What stands of a compaction: its record, and the steps that carry it out.

`compact` merges the small Parquet files that units wrote below `data/` into few large ones. Its
record, `_compaction.json`, is to the large files what a unit's marker is to the unit's: it lists
them with sizes, hashes and row counts. Units keep their markers, with two changes: `files` lists no
data file any more, and `compacted` says how many of the unit's rows stand in the large files. So
the rows of a unit are `compacted` plus those of the data files that its marker lists, which a later
`--retry_failed` adds as it always does. Pictures, shards and errors stay where they are.

No moment loses a row. The large files are written to a staging folder first, where no reader looks.
Then the record is put in place, unsettled: from here on the compaction will happen. To settle it is
to move the large files to where they belong, to remove each unit's small ones and then to rewrite
its marker, to add up the totals, and last to mark the record settled. Each of these steps may be
taken twice, so whoever finds an unsettled record (the next `compact`, or the next run) takes all of
them again. What a killed compaction staged without having got to the record is swept by the next
one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

from ..transforms import storage
from ..transforms.stream import ordered_map
from .layouts.contract import StoredFile
from .markers import committed_units, read_marker
from .paths import DatasetPaths

_WORKERS = 32


@dataclass(frozen=True)
class CompactedFile(StoredFile):
    """A large file; `rows` is how many it holds."""

    rows: int


@dataclass(frozen=True)
class Compaction:
    """The record of the last compaction.

    Attributes:
      generation: how many compactions there were; part of the large files' names.
      files: all large files that stand, or are to stand.
      replaced: large files of earlier generations whose rows are in newer ones.
      settled: whether everything stands in its place.
      sums: over the rows that were merged, by the folder they are in; those of compactions before
        sums were taken are left out.
    """

    generation: int
    files: tuple[CompactedFile, ...]
    replaced: tuple[str, ...]
    settled: bool
    sums: Mapping[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> Compaction:
        values = json.loads(data)
        values["files"] = tuple(CompactedFile(**entry) for entry in values["files"])
        values["replaced"] = tuple(values["replaced"])
        return cls(**values)


def read_compaction(paths: DatasetPaths) -> Compaction | None:
    """Reads the record; None when the dataset was never compacted."""
    try:
        return Compaction.decode(storage.read_bytes(paths.uri(paths.COMPACTION)))
    except FileNotFoundError:
        return None


def settle(
    paths: DatasetPaths, sum_up: Callable[[DatasetPaths], None] = lambda paths: None
) -> None:
    """Carries out what an unsettled record announces, if there is one.

    Args:
      paths: of the dataset.
      sum_up: brings its totals up to date; called before the record is marked settled.
    """
    compaction = read_compaction(paths)
    if compaction is None or compaction.settled:
        return
    for file in compaction.files:
        _move(paths, paths.staged(file.path), file.path)
    for path in compaction.replaced:
        storage.remove(paths.uri(path))

    def rewrite(unit: str) -> None:
        marker = read_marker(paths, unit)
        small = [file for file in marker.files if is_data(file)] if marker else []
        if marker is None or not small:
            return
        for file in small:
            storage.remove(paths.uri(file.path))
        files = tuple(file for file in marker.files if not is_data(file))
        rewritten = replace(marker, files=files, compacted=marker.done)
        paths.write(paths.marker(unit), rewritten.encode())

    for _ in ordered_map(rewrite, committed_units(paths), threads=_WORKERS, lookahead=4 * _WORKERS):
        pass
    sum_up(paths)
    paths.write(paths.COMPACTION, replace(compaction, settled=True).encode())
    sweep(paths)


def sweep(paths: DatasetPaths) -> None:
    """Removes what lies in the staging folder."""
    storage.remove_tree(paths.uri(paths.STAGING))


def is_data(file: StoredFile) -> bool:
    """Tells whether a file of a unit holds its rows."""
    return file.path.startswith("data/")


def _move(paths: DatasetPaths, source: str, target: str) -> None:
    """Moves a file within the dataset, unless that was done before."""
    if storage.is_local(paths.root):
        old, new = (storage.local_path(paths.uri(path)) for path in (source, target))
        if os.path.exists(old):
            os.makedirs(os.path.dirname(new), exist_ok=True)
            os.replace(old, new)
        return
    fs, old = storage.resolve(paths.uri(source))
    if fs.exists(old):
        fs.cp_file(old, storage.resolve(paths.uri(target))[1])
        fs.rm_file(old)
