"""The `webdataset` layout: a tar file a unit and partition, beside the rows as Parquet.

A shard holds for each cutout, in the manifest's order, `KEY.rgba.png` (or `.webp`, `.jpg`),
`KEY.mask.png` with masks, and `KEY.json`, the row with its partition columns. Keys have no dots,
which WebDataset would split them at. Headers hold no time and no owner, so the same cutouts give
the same bytes. `image_path` is the shard's path and the member's name: `shards/UNIT.tar/KEY.rgba.png`.
The rows stand in `data/` as well, so that they can be filtered without reading a picture.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ...transforms.records import Cutout
from ..columns import data_table
from .contract import (
    Placed,
    StoredFile,
    UnitContext,
    parquet_bytes,
    pictures_of,
    stored_cutout,
    without_partitions,
    write_file,
)
from .json_rows import json_rows
from .picture_spool import Held, PictureSpool
from .staged_file import StagedFile

_ROWS_AT_ONCE = 256


class WebDatasetWriter:
    """Spools the pictures as they come and writes one shard a partition at the end."""

    def __init__(self, context: UnitContext) -> None:
        self._context = context
        self._spool = PictureSpool(context.paths)
        self._rows: dict[str, list[Held]] = defaultdict(list)

    def leftovers(self, partition: str) -> set[str]:
        paths, unit = self._context.paths, self._context.unit
        return {paths.data(unit, partition), paths.shard(unit, partition)}

    def store(self, cutout: Cutout, stem: str, partition: str) -> Placed:
        shard = self._context.paths.shard(self._context.unit, partition)
        row = stored_cutout(
            cutout,
            f"{shard}/{_member(stem, 'image', cutout.format)}",
            f"{shard}/{_member(stem, 'mask', 'png')}" if cutout.mask is not None else None,
            hashlib.sha256(cutout.image).hexdigest(),
        )
        return Placed(row, partition, stem=stem, pictures=pictures_of(cutout))

    def add(self, placed: Placed) -> None:
        self._rows[placed.partition].append(self._spool.add(placed))

    def finish(self) -> list[StoredFile]:
        files = []
        for partition, rows in self._rows.items():
            files.append(self._write_shard(partition, rows))
            files.append(self._write_rows(partition, rows))
        self._spool.close()
        return files

    def _write_rows(self, partition: str, rows: list[Held]) -> StoredFile:
        context = self._context
        cutouts = [row.cutout for row in rows]
        table = data_table(cutouts, context.extra, context.settings_hash)
        data = parquet_bytes(without_partitions(table, context))
        return write_file(context.paths, context.paths.data(context.unit, partition), data)

    def _write_shard(self, partition: str, rows: list[Held]) -> StoredFile:
        context = self._context
        with StagedFile(context.paths) as file:
            # GNU's form takes names of any length, and every reader of tar files knows it.
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as shard:
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    some = rows[start : start + _ROWS_AT_ONCE]
                    cutouts = [row.cutout for row in some]
                    table = data_table(cutouts, context.extra, context.settings_hash)
                    for row, encoded in zip(some, json_rows(table), strict=True):
                        for column, span in row.spans.items():
                            name = _member(row.stem, column, row.cutout.format)
                            _add(shard, name, self._spool.read(span))
                        _add(shard, f"{row.stem}.json", encoded)
            return file.put(context.paths.shard(context.unit, partition))


def _member(stem: str, column: str, suffix: str) -> str:
    return f"{stem}.rgba.{suffix}" if column == "image" else f"{stem}.mask.png"


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # mode 0644, owner 0, time 0
    info.size = len(data)
    shard.addfile(info, io.BytesIO(data))


@dataclass(frozen=True)
class Sample:
    """What a shard holds under one key: bytes by extension, such as `rgba.png` and `json`."""

    key: str
    members: dict[str, bytes]


def read_shard(file: BinaryIO) -> Iterator[Sample]:
    """Reads a shard's samples one after the other.

    Raises:
      tarfile.TarError: the file is no tar file, or damaged.
    """
    key, members = None, {}
    with tarfile.open(fileobj=file, mode="r:") as shard:
        for info in shard:
            stem, _, extension = info.name.partition(".")
            content = shard.extractfile(info)
            if content is None:
                raise tarfile.TarError(f"{info.name} is no plain file")
            if key is not None and stem != key:
                yield Sample(key, members)
                members = {}
            key = stem
            members[extension] = content.read()
    if key is not None:
        yield Sample(key, members)
