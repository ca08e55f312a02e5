"""How a unit's pictures and rows are stored: the seam between the commit protocol and a layout."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ..transforms.records import Cutout
from .columns import StoredCutout, data_table, output_names
from .paths import DatasetPaths


@dataclass(frozen=True)
class StoredFile:
    """A file that a commit marker lists.

    Attributes:
      path: relative to the dataset's root.
      size: bytes.
      sha256: of the content, hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class UnitContext:
    """What a layout knows of the unit it writes.

    Attributes:
      paths: of the dataset.
      unit: the unit's name, with its generation when rows are retried.
      partition_by: manifest columns that are Hive folders, and so are left out of the rows.
      extra: the manifest's other columns, for every row of the unit.
      settings_hash: of the job.
    """

    paths: DatasetPaths
    unit: str
    partition_by: tuple[str, ...]
    extra: pa.Table
    settings_hash: str


@dataclass(frozen=True)
class Placed:
    """A cutout that has its place.

    Attributes:
      cutout: its row.
      partition: its Hive folder, empty without partitions.
      files: what was written for it alone.
      pictures: the encoded pictures by column, where the layout stores them with the rows.
    """

    cutout: StoredCutout
    partition: str
    files: tuple[StoredFile, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)


class UnitWriter(Protocol):
    """Stores one unit. Names follow from the unit, so writing twice gives the same files."""

    # Folder kinds below which the unit has a folder of its own.
    folders: tuple[str, ...]

    def __init__(self, context: UnitContext) -> None: ...

    def store(self, cutout: Cutout, stem: str, partition: str) -> Placed:
        """Stores one cutout, or readies it to be stored; called from several threads."""
        ...

    def add(self, placed: Placed) -> None:
        """Takes up one cutout's row; called in row order, from the unit's thread."""
        ...

    def finish(self) -> list[StoredFile]:
        """Writes what is still open and gives every file of the unit's cutouts."""
        ...


class FilesWriter:
    """The `files` layout: a PNG (and mask) a picture, beside one Parquet file a partition."""

    folders = ("images", "masks")

    def __init__(self, context: UnitContext) -> None:
        self._context = context
        self._rows: dict[str, list[StoredCutout]] = defaultdict(list)
        self._files: list[StoredFile] = []

    def store(self, cutout: Cutout, stem: str, partition: str) -> Placed:
        context = self._context
        folder = context.paths.pictures("images", context.unit, partition)
        image = write_file(context.paths, f"{folder}/{stem}.{cutout.format}", cutout.image)
        files = [image]
        mask = None
        if cutout.mask is not None:
            folder = context.paths.pictures("masks", context.unit, partition)
            mask = write_file(context.paths, f"{folder}/{stem}.png", cutout.mask)
            files.append(mask)
        row = stored_cutout(cutout, image.path, mask.path if mask else None, image.sha256)
        return Placed(row, partition, tuple(files))

    def add(self, placed: Placed) -> None:
        self._rows[placed.partition].append(placed.cutout)
        self._files.extend(placed.files)

    def finish(self) -> list[StoredFile]:
        context = self._context
        for partition, rows in self._rows.items():
            table = data_table(rows, context.extra, context.settings_hash)
            table = without_partitions(table, context)
            path = context.paths.data(context.unit, partition)
            self._files.append(write_file(context.paths, path, parquet_bytes(table)))
        return self._files


LAYOUTS: dict[str, Callable[[UnitContext], UnitWriter]] = {"files": FilesWriter}


def stored_cutout(
    cutout: Cutout, image_path: str, mask_path: str | None, image_sha256: str
) -> StoredCutout:
    """Gives a cutout's row, without its pixels."""
    return StoredCutout(
        row=cutout.record.row,
        key=cutout.record.key,
        source_uri=cutout.record.source_uri,
        image_path=image_path,
        mask_path=mask_path,
        format=cutout.format,
        width=cutout.width,
        height=cutout.height,
        image_sha256=image_sha256,
        image_bytes=len(cutout.image),
        source=cutout.source,
        stats=cutout.stats,
        confidence=cutout.confidence,
        engine=cutout.engine,
    )


def without_partitions(table: pa.Table, context: UnitContext) -> pa.Table:
    """Drops the partition columns: readers take them from the folders and refuse them twice."""
    names = output_names(context.extra.schema)
    return table.drop_columns([names[name] for name in context.partition_by])


def parquet_bytes(table: pa.Table) -> bytes:
    """Encodes a table; the same rows always give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def write_file(paths: DatasetPaths, path: str, data: bytes) -> StoredFile:
    """Writes one file of the dataset and says what a marker needs to know of it."""
    paths.write(path, data)
    return StoredFile(path, len(data), hashlib.sha256(data).hexdigest())
