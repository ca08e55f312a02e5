"""Many small Parquet files into few large ones, partition by partition, sorted by key.

How the large files take the place of the small ones, and why no moment loses a row, is said in
`compaction`. Rows are read file by file, sorted in runs on local disk and merged, so memory is
bounded; the disk has to have room for the largest partition's rows. Files below `errors/` stay as
they are, one a unit, so that `--retry_failed` goes on working.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, groupby
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ..transforms import storage
from ..transforms.stream import ordered_map
from .columns import picture_columns
from .compaction import CompactedFile, Compaction, is_data, read_compaction, settle, sweep
from .dataset import refresh_totals, require_dataset
from .errors import RunError, UsageError
from .layouts.contract import StoredFile
from .layouts.embedded import ROW_GROUP_BYTES, picture_writer
from .layouts.staged_file import StagedFile
from .markers import read_heads, read_marker
from .paths import DatasetPaths
from .row_sums import SUMS, sum_of_rows
from .sorted_rows import sorted_rows
from .stored_content import Damaged, open_stored

TARGET_BYTES = 256 << 20
_READERS = 8
_READ_AHEAD = 4 << 20  # files up to this size are read in the readers' threads
_BUFFER = 1 << 20
_BATCH = 4096
_BATCH_WITH_PICTURES = 16
_MARKERS = 256


@dataclass(frozen=True)
class CompactionSummary:
    """What a compaction came to.

    Attributes:
      before, after: how many Parquet files there were and are below `data/`.
      rows: in them.
      changed: whether there was anything to merge.
    """

    before: int
    after: int
    rows: int
    changed: bool

    def text(self) -> str:
        """Gives the closing line."""
        if not self.changed:
            return f"nothing to compact: {self.after:,} files with {self.rows:,} rows"
        return f"{self.before:,} files into {self.after:,}, {self.rows:,} rows"


@dataclass(frozen=True)
class _Limits:
    """When a large file is full; the one that is not None decides."""

    bytes: int | None
    rows: int | None


def compact(
    root: str,
    target_bytes: int | None = None,
    rows_per_file: int | None = None,
    *,
    progress: bool = False,
) -> CompactionSummary:
    """Merges a dataset's small Parquet files.

    Args:
      root: the dataset's folder, any fsspec URI.
      target_bytes: a large file ends with the row group that passes this; 256 MiB when neither is
        given.
      rows_per_file: or it ends after this many rows.
      progress: show a progress line where standard error is a terminal.

    Raises:
      UsageError: there is no dataset, its run is not complete, or a limit is not at least 1.
      RunError: what is stored is not what the markers say, or a run went on meanwhile; nothing has
        been changed then.
    """
    for flag, value in (("target_bytes", target_bytes), ("rows_per_file", rows_per_file)):
        if value is not None and value < 1:
            raise UsageError(f"--{flag} must be at least 1: given {value}")
    values = require_dataset(root)
    paths = DatasetPaths(root)
    if values["state"] != "complete":
        raise UsageError(
            f"{root} cannot be compacted: its run is not complete (state {values['state']!r}): "
            f"run the same command again to complete it"
        )
    settle(paths, refresh_totals)
    _tidy(paths)
    limits = _Limits(target_bytes or (None if rows_per_file else TARGET_BYTES), rows_per_file)
    begun = storage.read_bytes(paths.uri(paths.SETTINGS))
    work = _Work(paths, values["settings"], limits)
    with tqdm(
        desc="compacting",
        total=values["totals"]["done"],
        unit="row",
        disable=None if progress else True,
    ) as bar:
        compaction, summary = work.stage(bar)
    if compaction is None:
        return summary
    done = sum(marker.done for marker in read_heads(paths))
    if done != summary.rows:
        raise RunError(
            f"data/ has {summary.rows:,} rows and the markers say {done:,}: nothing has been "
            f"changed; `alphabeam verify {root}` says what is wrong"
        )
    if storage.read_bytes(paths.uri(paths.SETTINGS)) != begun:
        raise RunError(f"a run into {root} went on meanwhile: nothing has been changed")
    paths.write(paths.COMPACTION, compaction.encode())
    settle(paths, refresh_totals)
    _tidy(paths)
    return summary


def _tidy(paths: DatasetPaths) -> None:
    """Removes what a compaction that was killed has left, or this one."""
    sweep(paths)
    if paths.scratch:
        storage.remove_tree(paths.scratch)


class _Work:
    """Writes the large files to where no reader looks."""

    def __init__(self, paths: DatasetPaths, settings: dict[str, Any], limits: _Limits) -> None:
        self._paths = paths
        self._limits = limits
        self._before = read_compaction(paths)
        self._large = {file.path: file for file in self._before.files} if self._before else {}
        self._generation = self._before.generation + 1 if self._before else 1
        self._pictures = picture_columns(settings["layout"], settings["compose"]["save_mask"])
        self._sums = dict(self._before.sums) if self._before else {}
        self._files_of = lru_cache(_MARKERS)(self._load_files)

    def stage(self, bar: Any) -> tuple[Compaction | None, CompactionSummary]:
        """Goes through all partitions; gives no record when there is nothing to do."""
        files: list[CompactedFile] = []
        replaced: list[str] = []
        found = 0
        listing = storage.list_files(self._paths.uri("data"))
        relative = (self._paths.relative(file.uri) for file in listing)
        for partition, group in groupby(relative, lambda path: path.rpartition("/")[0]):
            names = list(group)
            found += len(names)
            kept = [self._large[name] for name in names if name in self._large]
            if len(kept) == len(names):
                files += kept
                continue
            self._sums[partition] = 0
            files += self._merge(partition, [self._listed(name) for name in names], bar)
            replaced += [file.path for file in kept]
        rows = sum(file.rows for file in files)
        changed = any(file.path not in self._large for file in files)
        summary = CompactionSummary(found, len(files), rows, changed)
        if not changed:
            return None, summary
        compaction = Compaction(
            self._generation, tuple(files), tuple(replaced), settled=False, sums=self._sums
        )
        return compaction, summary

    def _listed(self, path: str) -> StoredFile:
        """Finds what the markers say of a file."""
        if path in self._large:
            return self._large[path]
        name = storage.basename(path).removesuffix(".parquet")
        file = self._files_of(self._paths.without_generation(name)).get(path)
        if file is None:
            raise RunError(f"{path}: no marker lists this file: nothing has been changed")
        return file

    def _load_files(self, unit: str) -> dict[str, StoredFile]:
        marker = read_marker(self._paths, unit)
        return {file.path: file for file in marker.files if is_data(file)} if marker else {}

    def _merge(self, folder: str, files: Sequence[StoredFile], bar: Any) -> list[CompactedFile]:
        scratch = self._paths.scratch
        if scratch:
            os.makedirs(scratch, exist_ok=True)
        tables = sorted_rows(self._summed(folder, self._tables(files, bar)), "key", scratch)
        groups = self._row_groups(tables)
        group = next(groups, None)
        written = []
        for number in count():
            if group is None:
                return written
            path = f"{folder}/compact-{self._generation}-{number:05d}.parquet"
            rows = 0
            with StagedFile(self._paths) as file:
                with self._writer(file, group.schema) as writer:
                    while group is not None and not self._full(file.tell(), rows):
                        writer.write_table(group, row_group_size=group.num_rows)
                        rows += group.num_rows
                        group = next(groups, None)
                stored = file.put(self._paths.staged(path))
            written.append(CompactedFile(path, stored.size, stored.sha256, rows))
        return written

    def _full(self, size: int, rows: int) -> bool:
        if self._limits.rows is not None:
            return rows >= self._limits.rows
        return rows > 0 and size >= (self._limits.bytes or 0)

    def _writer(self, file: StagedFile, schema: pa.Schema) -> pq.ParquetWriter:
        if self._pictures:
            return picture_writer(file, schema, self._pictures)
        return pq.ParquetWriter(file, schema, compression="zstd")

    def _tables(self, files: Sequence[StoredFile], bar: Any) -> Iterator[pa.Table]:
        """Reads files whose content is what their markers say, in the order of their names."""

        def load(file: StoredFile) -> Iterator[pa.Table]:
            try:
                content = open_stored(self._paths, file)
            except (Damaged, OSError) as fault:
                raise RunError(f"{file.path}: {fault}: nothing has been changed") from fault
            tables = self._batches(content)
            return tables if file.size > _READ_AHEAD else iter(list(tables))

        for tables in ordered_map(load, files, threads=_READERS, lookahead=2 * _READERS):
            for table in tables:
                yield table
                bar.update(table.num_rows)

    def _summed(self, folder: str, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Passes rows on as they were read, summed up before anything is done to them."""
        for table in tables:
            self._sums[folder] = (self._sums[folder] + sum_of_rows(table)) % SUMS
            yield table

    def _batches(self, content: BinaryIO) -> Iterator[pa.Table]:
        rows = _BATCH_WITH_PICTURES if self._pictures else _BATCH
        with content:
            stored = pq.ParquetFile(content, pre_buffer=False, buffer_size=_BUFFER)
            for batch in stored.iter_batches(rows, use_threads=False):
                yield pa.Table.from_batches([batch])

    def _row_groups(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Cuts rows into row groups; where rows are counted, no group crosses two files."""
        size_limit = min(ROW_GROUP_BYTES, self._limits.bytes or ROW_GROUP_BYTES)
        held: list[pa.Table] = []
        size = in_file = 0
        for table in tables:
            while table.num_rows:
                fit = max(1, (size_limit - size) * table.num_rows // max(table.nbytes, 1))
                if self._limits.rows is not None:
                    fit = min(fit, self._limits.rows - in_file)
                part, table = table.slice(0, fit), table.slice(fit)
                held.append(part)
                size, in_file = size + part.nbytes, in_file + part.num_rows
                if size >= size_limit or in_file == self._limits.rows:
                    yield pa.concat_tables(held)
                    held, size = [], 0
                if in_file == self._limits.rows:
                    in_file = 0
        if held:
            yield pa.concat_tables(held)
