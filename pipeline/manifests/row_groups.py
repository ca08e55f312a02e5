"""Ranges of rows out of Parquet files: only the row groups needed, each decoded once a process."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...transforms import storage
from .arrow_casts import compacted
from .spool import SPOOL

# Bytes of decoded rows in memory at a time, as far as the file's pages allow.
_BATCH_BYTES = 2 << 20
_MOST_ROWS = 1024
# Of a row group this many times the rows asked for, the decoded rows are kept on local disk:
# its other rows will be asked for too, and Parquet is only read from a group's beginning.
_WORTH_KEEPING = 8


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself.

    Attributes:
      metadata: as pyarrow reads it.
      schema: the Arrow types.
    """

    metadata: pq.FileMetaData
    schema: pa.Schema

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """The first row of each row group, and the number of rows at the end; int64."""
        groups = range(self.metadata.num_row_groups)
        rows = [self.metadata.row_group(group).num_rows for group in groups]
        return np.cumsum([0, *rows], dtype=np.int64)


def read_footer(file: str) -> Footer:
    """Reads a file's footer.

    Raises:
      OSError, pa.ArrowInvalid: it cannot be read or is not Parquet.
    """
    with _opened(file) as parquet:
        return Footer(parquet.metadata, parquet.schema_arrow)


@functools.lru_cache(maxsize=16)
def footer(file: str, _identity: str) -> Footer:
    """Reads a file's footer, or remembers it; another identity is another file."""
    return read_footer(file)


@contextmanager
def _opened(file: str, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    local = storage.is_local(file)
    with (
        nullcontext(storage.local_path(file)) if local else storage.open_input(file) as source,
        # Column chunks are read piece by piece instead of at once.
        pq.ParquetFile(source, metadata=metadata, buffer_size=1 << 20, pre_buffer=False) as parquet,
    ):
        yield parquet


@dataclass(frozen=True)
class RowRange:
    """Some rows of some columns of a file.

    Attributes:
      file: URI.
      identity: changes when the file may have changed.
      columns: names.
      start, stop: rows.
      most_rows: in a batch; None leaves it to the size of the rows.
    """

    file: str
    identity: str
    columns: tuple[str, ...]
    start: int
    stop: int
    most_rows: int | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Reads the rows in order; at most a few megabytes are in memory at a time."""
        found = footer(self.file, self.identity)
        starts = found.starts
        group = int(np.searchsorted(starts, self.start, "right")) - 1
        while group < len(starts) - 1 and starts[group] < self.stop:
            first, last = int(starts[group]), int(starts[group + 1])
            start, stop = max(self.start, first) - first, min(self.stop, last) - first
            if (
                last - first >= _WORTH_KEEPING * (self.stop - self.start)
                and _size(found.metadata.row_group(group), self.columns) < SPOOL.limit
            ):
                yield from self._kept(group, start, stop)
            else:
                yield from _cut(self._decoded(group), start, stop)
            group += 1

    def _kept(self, group: int, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        key = (self.file, self.identity, group, self.columns)
        copy = SPOOL.get(key, lambda to: _write(self._decoded(group), to))
        chunk_starts, offsets = copy.index
        first = int(np.searchsorted(chunk_starts, start, "right")) - 1
        last = int(np.searchsorted(chunk_starts, stop, "left"))

        def chunks() -> Iterator[pa.RecordBatch]:
            for chunk in range(first, last):
                begin, end = int(offsets[chunk]), int(offsets[chunk + 1])
                yield from pa.ipc.open_stream(copy.read_at(begin, end - begin))

        before = int(chunk_starts[first])
        return _cut(chunks(), start - before, stop - before)

    def _decoded(self, group: int) -> Iterator[pa.RecordBatch]:
        metadata = footer(self.file, self.identity).metadata
        size = _size(metadata.row_group(group), self.columns)
        rows = _BATCH_BYTES * metadata.row_group(group).num_rows // max(size, 1)
        with _opened(self.file, metadata) as parquet:
            for batch in parquet.iter_batches(
                max(1, min(rows, self.most_rows or _MOST_ROWS)),
                row_groups=[group],
                columns=list(self.columns),
                use_threads=False,
            ):
                yield compacted(batch.select(self.columns))


def _size(group: pq.RowGroupMetaData, columns: tuple[str, ...]) -> int:
    """Gives the bytes of some columns of a row group before compression."""
    nested = tuple(name + "." for name in columns)
    chunks = (group.column(i) for i in range(group.num_columns))
    return sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema in columns or chunk.path_in_schema.startswith(nested)
    )


def _cut(batches: Iterable[pa.RecordBatch], start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """Gives the rows from `start` to `stop` and reads no further."""
    at = 0
    with closing(iter(batches)) as source:  # type: ignore[type-var]
        for batch in source:
            part = batch.slice(max(start - at, 0), stop - max(start, at))
            at += batch.num_rows
            if part.num_rows:
                yield part
            if at >= stop:
                return


def _write(batches: Iterable[pa.RecordBatch], to: BinaryIO) -> tuple[np.ndarray, np.ndarray]:
    """Writes batches as Arrow streams of their own; gives their first rows and their offsets."""
    starts, offsets = [0], [0]
    for batch in batches:
        with pa.ipc.new_stream(to, batch.schema) as writer:
            writer.write_batch(batch)
        starts.append(starts[-1] + batch.num_rows)
        offsets.append(to.tell())
    return np.array(starts[:-1]), np.array(offsets)
