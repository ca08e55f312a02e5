"""Lots: which files a manifest consists of, by when they were taken up.

A manifest that is watched grows. What was there at first is its first lot, and what a later look
found beside it one more. A lot never changes: its files are cut into units as if they were all
there is, so that units keep their names and rows however much comes after them. Only what is noted of
a picture changes, when it was mended because its row had failed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

_SCHEMA = pa.schema({"path": pa.binary(), "size": pa.int64(), "mark": pa.string()})
_BATCH = 1 << 16


@dataclass(frozen=True)
class Entry:
    """A file of a manifest.

    Attributes:
      path: relative to the manifest's base.
      size: bytes.
      mark: changes with its content; empty for pictures in stores that keep no checksums.
    """

    path: str
    size: int
    mark: str


@dataclass(frozen=True)
class Lot:
    """Files that were taken up together.

    Attributes:
      data: their entries as Parquet, sorted by path: some ten bytes each, with checksums forty.
      files: how many there are.
    """

    data: bytes
    files: int

    @classmethod
    def decode(cls, data: bytes) -> Lot:
        return cls(data, pq.read_metadata(io.BytesIO(data)).num_rows)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Gives the files from a position on, a few of them in memory at a time."""
        file = pq.ParquetFile(io.BytesIO(self.data))
        for number in range(file.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            if start < rows:
                for row in file.read_row_group(number).slice(start).to_pylist():
                    path = row["path"].decode("utf-8", "surrogatepass")
                    yield Entry(path, row["size"], row["mark"])
            start = max(start - rows, 0)

    def noting(self, entries: Mapping[int, Entry]) -> Lot:
        """Gives the same files, with something else noted of those at some positions."""
        writer = LotWriter()
        for position, entry in enumerate(self.entries()):
            writer.add(entries.get(position, entry))
        return writer.close()


class LotWriter:
    """Writes a lot, whose files come sorted."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._writer = pq.ParquetWriter(
            self._buffer,
            _SCHEMA,
            compression="zstd",
            use_dictionary=False,
            column_encoding={"path": "DELTA_BYTE_ARRAY"},
        )
        self._waiting: list[Entry] = []
        self._files = 0

    def add(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._files += 1
        if len(self._waiting) >= _BATCH:
            self._write()

    def close(self) -> Lot:
        self._write()
        self._writer.close()
        return Lot(self._buffer.getvalue(), self._files)

    def _write(self) -> None:
        paths = [entry.path.encode("utf-8", "surrogatepass") for entry in self._waiting]
        columns = [paths, [e.size for e in self._waiting], [e.mark for e in self._waiting]]
        self._writer.write_table(pa.table(columns, schema=_SCHEMA))
        self._waiting.clear()
