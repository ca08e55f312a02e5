"""Rows sorted by a column in bounded memory: sorted runs on disk, merged."""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Bytes of rows, as Arrow holds them, that are sorted at once, and that all runs of a merge hold.
MEMORY = 64 << 20
_FAN_IN = 64
_MOST_TABLES = 256


def sorted_rows(
    tables: Iterable[pa.Table], column: str, folder: str | None, memory: int = MEMORY
) -> Iterator[pa.Table]:
    """Sorts rows by a column of strings; rows that are equal keep their order as far as they can.

    Args:
      tables: the rows, all with one schema; taken lazily.
      column: to sort by, bytewise.
      folder: where runs are spilled, which takes as much room as the rows; None for the system's.
      memory: bytes to work in, several times over.

    Yields:
      The rows in order, in tables of bounded size.
    """
    runs: list[_Run] = []
    try:
        for chunk in _chunks(tables, memory):
            runs.append(_Run([_sort(chunk, column)], folder, memory))
        while len(runs) > _FAN_IN:
            some, runs = runs[:_FAN_IN], runs[_FAN_IN:]
            runs.append(_Run(_merge(some, column), folder, memory))
            _close(some)
        yield from _merge(runs, column)
    finally:
        _close(runs)


class _Run:
    """Sorted rows on disk, in a file without a name."""

    def __init__(self, tables: Iterable[pa.Table], folder: str | None, memory: int) -> None:
        self._file: Any = tempfile.TemporaryFile(prefix="alphabeam-", dir=folder)  # noqa: SIM115
        writer = None
        for table in tables:
            if writer is None:
                writer = pa.ipc.new_stream(self._file, table.schema)
            rows = max(1, table.num_rows * (memory // _FAN_IN) // max(table.nbytes, 1))
            writer.write_table(table.unify_dictionaries(), max_chunksize=rows)
        if writer is not None:
            writer.close()
        self._file.seek(0)
        self._batches = pa.ipc.open_stream(self._file)
        self._rows: pa.Table | None = None
        self._ended = False

    def fill(self) -> pa.Table | None:
        """Gives the next rows that were not taken yet; None at the end."""
        while not self._ended and (self._rows is None or self._rows.num_rows == 0):
            try:
                self._rows = pa.Table.from_batches([self._batches.read_next_batch()])
            except StopIteration:
                self._rows, self._ended = None, True
        return self._rows

    def take(self, rows: int) -> pa.Table:
        """Takes the first rows of those that `fill` gave."""
        assert self._rows is not None
        taken, self._rows = self._rows.slice(0, rows), self._rows.slice(rows)
        return taken

    def close(self) -> None:
        self._file.close()


def _close(runs: Iterable[_Run]) -> None:
    for run in runs:
        run.close()


def _chunks(tables: Iterable[pa.Table], memory: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size >= memory:
            yield pa.concat_tables(held)
            held, size = [], 0
        elif len(held) == _MOST_TABLES:  # many small ones take far more memory than their bytes
            held = [pa.concat_tables(held).unify_dictionaries().combine_chunks()]
    if held:
        yield pa.concat_tables(held)


def _merge(runs: list[_Run], column: str) -> Iterator[pa.Table]:
    """Merges by blocks: what is not above the least of the runs' last rows at hand is complete."""
    while True:
        at_hand = [(run, rows) for run in runs if (rows := run.fill()) is not None]
        if not at_hand:
            return
        bound = min(rows[column][-1].as_py() for _, rows in at_hand)
        taken = [run.take(_count_up_to(rows[column], bound)) for run, rows in at_hand]
        yield _sort(pa.concat_tables(taken), column)


def _count_up_to(keys: pa.ChunkedArray, bound: str) -> int:
    """Counts the sorted keys that are not above a bound."""
    return bisect_right(range(len(keys)), bound, key=lambda row: keys[row].as_py())


def _sort(table: pa.Table, column: str) -> pa.Table:
    table = table.unify_dictionaries()
    order = pc.call_function(  # a stable sort
        "sort_indices", [table], pc.SortOptions([(column, "ascending")])
    )
    try:
        return table.take(order)
    except pa.ArrowNotImplementedError:  # as for string views
        return pa.concat_tables([table.slice(row, 1) for row in order.to_pylist()])
