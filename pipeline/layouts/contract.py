"""The seam between the commit protocol and a layout, and what layouts have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ...transforms.records import Cutout
from ..columns import StoredCutout, output_names
from ..paths import DatasetPaths


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
      partition_by: manifest columns that are Hive folders.
      extra: the manifest's other columns, for every row of the unit.
      settings_hash: of the job.
      save_mask: whether every cutout comes with its matte.
    """

    paths: DatasetPaths
    unit: str
    partition_by: tuple[str, ...]
    extra: pa.Table
    settings_hash: str
    save_mask: bool = False


@dataclass(frozen=True)
class Placed:
    """A cutout that has its place.

    Attributes:
      cutout: its row.
      partition: its Hive folder, empty without partitions.
      files: what was written for it alone.
      stem: the name of its pictures, without extension.
      pictures: `image` and perhaps `mask`, encoded, where the layout stores them with others.
    """

    cutout: StoredCutout
    partition: str
    files: tuple[StoredFile, ...] = ()
    stem: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)


class UnitWriter(Protocol):
    """Stores one unit. Names follow from the unit, so writing twice gives the same files."""

    def __init__(self, context: UnitContext) -> None: ...

    def leftovers(self, partition: str) -> set[str]:
        """Gives the files that an earlier, uncommitted attempt at the unit may have left."""
        ...

    def store(self, cutout: Cutout, stem: str, partition: str) -> Placed:
        """Stores one cutout, or readies it to be stored; called from several threads."""
        ...

    def add(self, placed: Placed) -> None:
        """Takes up one cutout's row; called in row order, from the unit's thread."""
        ...

    def finish(self) -> list[StoredFile]:
        """Writes what is still open and gives every file of the unit's cutouts."""
        ...


def stored_cutout(
    cutout: Cutout, image_path: str | None, mask_path: str | None, image_sha256: str
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


def pictures_of(cutout: Cutout) -> dict[str, bytes]:
    """Gives a cutout's encoded pictures by their column."""
    pictures = {"image": cutout.image}
    if cutout.mask is not None:
        pictures["mask"] = cutout.mask
    return pictures


def without_partitions(table: pa.Table, context: UnitContext) -> pa.Table:
    """Drops the partition columns: readers of Hive folders refuse them twice."""
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
