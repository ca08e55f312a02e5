"""The mattes of a dataset, found by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ...transforms import storage
from ...transforms.stream import ordered_map
from ..columns import output_names
from ..dataset import open_dataset, open_errors, require_dataset
from ..joined_tables import JoinedTables
from .stored_mattes import MatteReader, StoredMatte

_FAILURE = ("key", "stage", "error", "message")
_READERS = 8


@dataclass(frozen=True)
class FailedRow:
    """A row that the run failed at.

    Attributes:
      error, message: what it says of that.
    """

    error: str
    message: str


class Mattes:
    """The rows of a dataset by key; holds some 400 bytes a row, and no pixels.

    Args:
      root: the dataset's folder, any fsspec URI.

    Attributes:
      root: as given.
      values: the content of `dataset.json`.
      reader: of its mattes.
      repeated: keys that several rows have.

    Raises:
      UsageError: there is no dataset, or it holds no mattes.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.values = require_dataset(root)
        self.reader = MatteReader(root, self.values)
        self._partition_by = _partition_columns(self.values)
        self._rows = self._read_rows()
        self._failed = open_errors(root).to_table(columns=[*_FAILURE, *self._partition_by])
        self._numbers, repeated = _numbered(self._rows)
        self._failures, repeatedly_failed = _numbered(self._failed)
        in_both = self._numbers.keys() & self._failures.keys()
        self.repeated = repeated | repeatedly_failed | in_both

    def __contains__(self, key: object) -> bool:
        return key in self._numbers or key in self._failures

    def keys(self) -> Iterator[str]:
        """Gives every key once: those of the cutouts, then those of the failed rows."""
        yield from self._numbers
        yield from (key for key in self._failures if key not in self._numbers)

    def find(self, key: str) -> StoredMatte | FailedRow | None:
        """Finds the row of a key; None when there is none."""
        if key in self._numbers:
            row = _row(self._rows, self._numbers[key])
            return self.reader.place(row, self._files[row["file_number"]], row["file_row"])
        if key in self._failures:
            row = _row(self._failed, self._failures[key])
            return FailedRow(row["error"], f"{row['stage']}: {row['message']}")
        return None

    def partition(self, key: str) -> str | None:
        """Gives the Hive values of a key's row, such as `split=train, label=3`; None without."""
        rows, numbers = self._rows, self._numbers
        if key not in numbers:
            rows, numbers = self._failed, self._failures
        if key not in numbers or not self._partition_by:
            return None
        values = _row(rows.select(self._partition_by), numbers[key])
        return ", ".join(
            f"{name}={'none' if value is None else value}" for name, value in values.items()
        )

    def _read_rows(self) -> pa.Table:
        names = ["key", *self.reader.columns, *self._partition_by]
        self._files: list[str] = []
        tables = JoinedTables()
        for path, rows in _rows_by_file(open_dataset(self.root), names):
            number = pa.array([len(self._files)] * len(rows), pa.int32())
            rows = rows.append_column("file_number", number)
            tables.add(rows.append_column("file_row", pa.array(range(len(rows)), pa.int64())))
            if path is not None:
                self._files.append(self._uri(path))
        return tables.table().combine_chunks()

    def _uri(self, path: str) -> str:
        if storage.is_local(self.root):
            return path
        fs, _ = storage.resolve(self.root)
        return fs.unstrip_protocol(path)


def _rows_by_file(dataset: Any, columns: list[str]) -> Iterator[tuple[str | None, pa.Table]]:
    """Reads columns of a dataset file by file, each with its path; one without when there are none.

    Arrow's own datasets keep the metadata of every file that was read through them.
    """
    if not isinstance(dataset, pads.FileSystemDataset):
        yield None, dataset.to_table(columns=columns)
        return

    def read(fragment: Any) -> tuple[str, pa.Table]:
        values = pads.get_partition_keys(fragment.partition_expression)
        with fragment.open() as content:
            file = pq.ParquetFile(content, pre_buffer=True)
            stored = set(file.schema_arrow.names)
            rows = file.read([name for name in columns if name in stored])
        for name in columns:
            if name not in stored:
                kind = dataset.schema.field(name).type
                rows = rows.append_column(name, pa.array([values[name]] * len(rows), kind))
        return fragment.path, rows.select(columns)

    yield from ordered_map(read, dataset.get_fragments(), threads=_READERS, lookahead=2 * _READERS)


def _partition_columns(values: dict[str, Any]) -> list[str]:
    schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(values["manifest"]["schema"])))
    names = output_names(schema)
    return [names[name] for name in values["settings"]["partition_by"]]


def _numbered(rows: pa.Table) -> tuple[dict[str, int], set[str]]:
    """Gives the first row of every key, and the keys that occur again."""
    numbers: dict[str, int] = {}
    repeated = set()
    for number, key in enumerate(rows.column("key").to_pylist()):
        if numbers.setdefault(key, number) != number:
            repeated.add(key)
    return numbers, repeated


def _row(rows: pa.Table, number: int) -> dict[str, Any]:
    return rows.slice(number, 1).to_pylist()[0]
