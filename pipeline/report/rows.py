"""The rows of a dataset: scanned in large pieces, and single ones found again by their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ...transforms.stream import ordered_map
from ..joined_tables import JoinedTables

_ROWS = 65_536
_READERS = 8


@dataclass(frozen=True)
class Place:
    """Where one row is stored.

    Attributes:
      fragment: the Parquet file.
      offset: the row's position in it.
      partition: the Hive values of its folder, such as `split=train, label=3`; empty without.
    """

    fragment: Any
    offset: int
    partition: str

    def read(self, columns: Sequence[str]) -> dict[str, Any]:
        """Reads some columns of the row, of its row group alone: `take` reads all that it is given."""
        offset = self.offset
        groups = iter(self.fragment.row_groups)
        while offset >= (group := next(groups)).num_rows:
            offset -= group.num_rows
        part = self.fragment.subset(row_group_ids=[group.id])
        return part.take(pa.array([offset]), columns=list(columns)).to_pylist()[0]


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file within a chunk; `offset` is the first one's, in its file."""

    fragment: Any
    offset: int
    rows: int
    partition: str


@dataclass(frozen=True)
class Chunk:
    """Some rows, of one file or of many small ones.

    Attributes:
      table: the columns that were asked for.
      pieces: where the rows are from, in their order.
    """

    table: pa.Table
    pieces: tuple[Piece, ...]

    def place(self, row: int) -> Place:
        """Finds where a row of this chunk is stored."""
        ends = np.cumsum([piece.rows for piece in self.pieces])
        number = int(np.searchsorted(ends, row, side="right"))
        piece = self.pieces[number]
        offset = piece.offset + row - (int(ends[number]) - piece.rows)
        return Place(piece.fragment, offset, piece.partition)

    def partitions(self) -> tuple[list[str], np.ndarray]:
        """Gives the partitions that occur, and every row's as a position in that list."""
        names = list(dict.fromkeys(piece.partition for piece in self.pieces))
        numbers = {name: number for number, name in enumerate(names)}
        codes = np.array([numbers[piece.partition] for piece in self.pieces])
        return names, codes.repeat([piece.rows for piece in self.pieces])

    def numbers(self, name: str) -> np.ndarray:
        """Gives a numeric or boolean column as float64, NaN for null."""
        column = self.table.column(name).cast(pa.float64())
        return column.to_numpy(zero_copy_only=False)


def chunks(dataset: pads.Dataset, columns: Sequence[str], *, rows: int = _ROWS) -> Iterator[Chunk]:
    """Scans some columns of a dataset, in the order of its files, a bounded number of rows at once.

    Args:
      dataset: as `open_dataset` gives it.
      columns: which to read; partition columns are told by the pieces instead.
      rows: in a chunk, at most; files smaller than that share one.
    """
    tables = JoinedTables()
    pieces: list[Piece] = []
    held = 0
    for fragment, read in _files(dataset, list(columns), rows):
        partition, offset = _partition(dataset, fragment), 0
        for batch in read:
            if held + batch.num_rows > rows:
                yield Chunk(tables.table(), tuple(pieces))
                tables, pieces, held = JoinedTables(), [], 0
            tables.add(pa.Table.from_batches([batch]))
            pieces.append(Piece(fragment, offset, batch.num_rows, partition))
            offset += batch.num_rows
            held += batch.num_rows
    if held:
        yield Chunk(tables.table(), tuple(pieces))


def _files(
    dataset: pads.Dataset, columns: list[str], rows: int
) -> Iterator[tuple[Any, Iterable[pa.RecordBatch]]]:
    """Opens every file of a dataset, and reads small ones, some ahead of time.

    A scanner over the whole dataset would do the same, but it doesn't wait for whoever takes its
    batches, and keeps the metadata of every file: its memory grows with the dataset.
    """
    if not isinstance(dataset, pads.FileSystemDataset):
        return  # what `open_dataset` gives when there are no files

    def read(fragment: Any) -> tuple[Any, Iterable[pa.RecordBatch]]:
        file = pq.ParquetFile(fragment.open(), pre_buffer=True)
        batches = (batch for batch in file.iter_batches(rows, columns=columns) if batch.num_rows)
        if file.metadata.num_rows > rows:
            return fragment, batches
        return fragment, list(batches)

    yield from ordered_map(read, dataset.get_fragments(), threads=_READERS, lookahead=2 * _READERS)


def _partition(dataset: Any, fragment: Any) -> str:
    values = pads.get_partition_keys(fragment.partition_expression)
    ordered = dataset.partitioning.schema.names if values else []
    return ", ".join(f"{name}={_shown(values[name])}" for name in ordered)


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
