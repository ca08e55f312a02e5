"""The `embedded` layout: rows and pictures in one Parquet file a unit and partition.

`image`, and with masks `mask`, are structs `{bytes, path}`: what the `datasets` library stores for
an `Image` feature. The schema's metadata says so under `huggingface`, so the files open as pictures
with no adapter. `image_path` and `mask_path` are null, for there is no such file; the struct's
`path` is the name the picture would have, `KEY.png`.

A row group ends at 64 MiB of pictures. Readers that stream hold one row group a worker, and every
row group costs one request: 64 MiB keeps both small, whatever size the pictures have.

Partition columns stay in the rows, beside their Hive folders, because `datasets` reads no folder
names and would lose them. Plain readers of the whole folder then have to be told to leave the
folder names alone: `pyarrow.parquet.read_table(folder, partitioning=None)`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...transforms.records import Cutout
from ..columns import data_schema, data_table, picture_columns, picture_type
from .contract import Placed, StoredFile, UnitContext, pictures_of, stored_cutout
from .picture_spool import Held, PictureSpool
from .staged_file import StagedFile

ROW_GROUP_BYTES = 64 << 20
_PAGE_CHECK = 4  # rows after which a page of at least 1 MiB ends
_PIECE = 16  # rows whose pictures are in memory as Python's bytes as well as as Arrow's


class EmbeddedWriter:
    """Spools the pictures as they come and writes one Parquet file a partition at the end."""

    def __init__(self, context: UnitContext) -> None:
        self._context = context
        self._spool = PictureSpool(context.paths)
        self._rows: dict[str, list[Held]] = defaultdict(list)
        self._pictures = picture_columns("embedded", context.save_mask)
        self._schema = data_schema(context.extra.schema, self._pictures)

    def leftovers(self, partition: str) -> set[str]:
        return {self._context.paths.data(self._context.unit, partition)}

    def store(self, cutout: Cutout, stem: str, partition: str) -> Placed:
        row = stored_cutout(cutout, None, None, hashlib.sha256(cutout.image).hexdigest())
        return Placed(row, partition, stem=stem, pictures=pictures_of(cutout))

    def add(self, placed: Placed) -> None:
        self._rows[placed.partition].append(self._spool.add(placed))

    def finish(self) -> list[StoredFile]:
        files = [self._write(partition, rows) for partition, rows in self._rows.items()]
        self._spool.close()
        return files

    def _write(self, partition: str, rows: list[Held]) -> StoredFile:
        context = self._context
        with StagedFile(context.paths) as file:
            with picture_writer(file, self._schema, self._pictures) as writer:
                for group in _row_groups(rows):
                    pieces = (group[at : at + _PIECE] for at in range(0, len(group), _PIECE))
                    table = pa.concat_tables(map(self._table, pieces))
                    writer.write_table(table, row_group_size=len(group))
            return file.put(context.paths.data(context.unit, partition))

    def _table(self, rows: list[Held]) -> pa.Table:
        pictures = []
        for column in self._pictures:
            suffix = rows[0].cutout.format if column == "image" else "png"
            values = [
                {"bytes": self._spool.read(row.spans[column]), "path": f"{row.stem}.{suffix}"}
                for row in rows
            ]
            pictures.append(pa.array(values, picture_type()))
        cutouts = [row.cutout for row in rows]
        table = data_table(cutouts, self._context.extra, self._context.settings_hash)
        return pa.Table.from_arrays([*pictures, *table.columns], schema=self._schema)


def picture_writer(sink: object, schema: pa.Schema, pictures: Sequence[str]) -> pq.ParquetWriter:
    """Opens a Parquet file for rows with pictures.

    The pictures' bytes are left as they are: they do not compress again, and dictionaries and
    statistics of them would only cost time and space. Pages end after a picture or a few, so that
    neither writer nor reader holds a whole row group's.

    Args:
      sink: a file, open for writing.
      schema: of the rows.
      pictures: which columns are pictures.
    """
    encoded = {f"{column}.bytes" for column in pictures}
    others = [path for path in _leaf_paths(schema) if path not in encoded]
    by_column: dict[str, Any] = {
        "compression": {**dict.fromkeys(others, "zstd"), **dict.fromkeys(encoded, "none")},
        "use_dictionary": others,
        "write_statistics": others,
    }
    return pq.ParquetWriter(sink, schema, **by_column)


def _leaf_paths(schema: pa.Schema) -> list[str]:
    """Names the columns as Parquet does, those within structs and lists one by one."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    stored = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [stored.column(number).path for number in range(len(stored.names))]


def _row_groups(rows: list[Held]) -> Iterator[list[Held]]:
    group: list[Held] = []
    held = 0
    for row in rows:
        if group and held + row.bytes > ROW_GROUP_BYTES:
            yield group
            group, held = [], 0
        group.append(row)
        held += row.bytes
    yield group
