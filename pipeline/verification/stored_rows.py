"""Rows as they are stored, with their pictures where these are in the same file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..columns import data_schema
from ..layouts.json_rows import json_row, json_rows
from ..layouts.webdataset import read_shard
from ..paths import partition_folders
from ..stored_content import Damaged

_BUFFER = 1 << 20
_VERSION = b"alphabeam_schema_version"
_ROWS = 1024
_ROWS_WITH_PICTURES = 16


@dataclass(frozen=True)
class RowForm:
    """What the rows of a file below `data/` are to be.

    Attributes:
      schema: of the file.
      partitions: those of its columns that are Hive folders as well.
      folder: the file's own, such as `split=train`; empty without partitions.
    """

    schema: pa.Schema
    partitions: tuple[str, ...]
    folder: str


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
    file: BinaryIO, form: RowForm, pictures: Sequence[str] = (), *, whole: bool = False
) -> Iterator[StoredRow]:
    """Reads the rows of a file below `data/`, a few at a time.

    Args:
      file: open for reading.
      form: of its rows.
      pictures: the columns that hold pictures.
      whole: also give each row as JSON.

    Raises:
      Damaged: it has other columns, or with other types, or a row belongs into another folder.
      Exception: what Arrow makes of a file that is no Parquet, or damaged.
    """
    stored = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER)
    require_schema(stored.schema_arrow, form.schema)
    ours = _own_columns(tuple(pictures))
    rows = _ROWS_WITH_PICTURES if pictures else _ROWS
    names = None if whole else [*ours.names, *form.partitions]
    for batch in stored.iter_batches(rows, columns=names, use_threads=False):
        table = pa.Table.from_batches([batch])
        texts = json_rows(table) if whole else iter(())
        folders = partition_folders(table.select(form.partitions), form.partitions)
        for row, folder in zip(table.select(ours.names).to_pylist(), folders, strict=True):
            if folder and folder != form.folder:
                raise Damaged(f"{row['key']!r} belongs into data/{folder}/")
            held = {name: row.pop(name) or {} for name in pictures}
            image, mask = held.get("image", {}), held.get("mask", {})
            yield StoredRow(
                row, image.get("bytes"), mask.get("bytes"), image.get("path"), next(texts, b"")
            )


def require_schema(found: pa.Schema, expected: pa.Schema) -> None:
    """Compares the columns of a file with those that the dataset has, and the schema's version.

    Args:
      found: as it was read from a Parquet file.
      expected: as the run gave it to Parquet.

    Raises:
      Damaged: names, types, order or version differ.
    """
    expected = _as_stored(expected)
    for field in expected:
        number = found.get_field_index(field.name)
        if number < 0 or found.field(number).type != field.type:
            raise Damaged(f"has no column {field.name} of type {field.type}")
    if found.names != expected.names:
        more = [name for name in found.names if name not in expected.names]
        fault = f"has columns of its own: {', '.join(more)}" if more else "has other columns' order"
        raise Damaged(fault)
    versions = [(schema.metadata or {}).get(_VERSION, b"none") for schema in (found, expected)]
    if versions[0] != versions[1]:
        told = [version.decode("utf-8", "replace") for version in versions]
        raise Damaged(f"has the schema version {told[0]}, the dataset {told[1]}")


@lru_cache(8)
def _as_stored(schema: pa.Schema) -> pa.Schema:
    """Gives a schema as it comes out of a Parquet file, which does not keep every type's form."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema_arrow


@cache
def _own_columns(pictures: tuple[str, ...]) -> pa.Schema:
    return data_schema(pa.schema([]), pictures)


def error_rows(file: BinaryIO, schema: pa.Schema) -> Counter[str]:
    """Counts the rows of a file below `errors/` by their class.

    Raises:
      Damaged: it has other columns, or with other types, or a row lacks its key or class.
    """
    stored = pq.ParquetFile(file)
    require_schema(stored.schema_arrow, schema)
    counts: Counter[str] = Counter()
    for batch in stored.iter_batches(columns=["key", "error"]):
        if batch["key"].null_count or batch["error"].null_count:
            raise Damaged("has a row without key or error")
        counts.update(batch["error"].to_pylist())
    return counts


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
