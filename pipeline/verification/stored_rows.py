"""Rows as they are stored, with their pictures where these are in the same file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..columns import data_schema
from ..layouts.json_rows import json_row, json_rows
from ..layouts.webdataset import read_shard
from ..stored_content import Damaged

_BUFFER = 1 << 20
_ROWS = 1024
_ROWS_WITH_PICTURES = 16


@dataclass(frozen=True)
class StoredRow:
    """One row.

    Attributes:
      columns: ours, by name; those of the manifest only in `text`.
      image, mask: the encoded pictures, where they are stored with the row.
      name: what the picture's file would be called, where it is a column.
      text: the whole row as JSON less its partition columns, where the layout stores it twice.
    """

    columns: dict[str, Any]
    image: bytes | None = None
    mask: bytes | None = None
    name: str | None = None
    text: bytes = b""


def parquet_rows(
    file: BinaryIO, pictures: Sequence[str] = (), *, whole: bool = False
) -> Iterator[StoredRow]:
    """Reads the rows of a file below `data/`, a few at a time.

    Args:
      file: open for reading.
      pictures: the columns that hold pictures.
      whole: also give each row as JSON.

    Raises:
      Damaged: it has not our columns, or not with our types.
      Exception: what Arrow makes of a file that is no Parquet, or damaged.
    """
    stored = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER)
    ours, there = _own_columns(tuple(pictures)), stored.schema_arrow
    for field in ours:
        number = there.get_field_index(field.name)
        if number < 0 or there.field(number).type != field.type:
            raise Damaged(f"has no column {field.name} of type {field.type}")
    rows = _ROWS_WITH_PICTURES if pictures else _ROWS
    names = None if whole else ours.names
    for batch in stored.iter_batches(rows, columns=names, use_threads=False):
        table = pa.Table.from_batches([batch])
        texts = json_rows(table) if whole else iter(())
        for row in table.select(ours.names).to_pylist():
            held = {name: row.pop(name) or {} for name in pictures}
            image, mask = held.get("image", {}), held.get("mask", {})
            yield StoredRow(
                row, image.get("bytes"), mask.get("bytes"), image.get("path"), next(texts, b"")
            )


@cache
def _own_columns(pictures: tuple[str, ...]) -> pa.Schema:
    return data_schema(pa.schema([]), pictures)


def error_rows(file: BinaryIO) -> int:
    """Counts the rows of a file below `errors/` by reading their keys."""
    stored = pq.ParquetFile(file)
    return sum(batch.num_rows for batch in stored.iter_batches(columns=["key"]))


def shard_rows(file: BinaryIO, partitions: Collection[str]) -> Iterator[StoredRow]:
    """Reads the samples of a shard one after the other.

    Args:
      file: open for reading.
      partitions: the columns that the rows in `data/` do not have.

    Raises:
      Damaged: a sample is not made of a row and its pictures.
      tarfile.TarError: the file is no tar file, or damaged.
    """
    for sample in read_shard(file):
        try:
            row = json.loads(sample.members["json"])
            text = json_row({name: row[name] for name in row if name not in partitions})
            image = sample.members[f"rgba.{row['format']}"]
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"its sample {sample.key} has no whole row: {error!r}") from error
        yield StoredRow(row, image, sample.members.get("mask.png"), text=text)
