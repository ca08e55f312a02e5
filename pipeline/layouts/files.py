"""The `files` layout: a picture (and mask) a file, beside one Parquet file a partition."""

from __future__ import annotations

from collections import defaultdict

from ...transforms import storage
from ...transforms.records import Cutout
from ..columns import StoredCutout, data_table
from .contract import (
    Placed,
    StoredFile,
    UnitContext,
    parquet_bytes,
    stored_cutout,
    without_partitions,
    write_file,
)


class FilesWriter:
    """Writes each cutout as it comes, and the rows, a few hundred bytes each, at the end."""

    def __init__(self, context: UnitContext) -> None:
        self._context = context
        self._rows: dict[str, list[StoredCutout]] = defaultdict(list)
        self._files: list[StoredFile] = []

    def leftovers(self, partition: str) -> set[str]:
        context = self._context
        found = {context.paths.data(context.unit, partition)}
        for kind in ("images", "masks") if context.save_mask else ("images",):
            folder = context.paths.pictures(kind, context.unit, partition)
            for file in storage.list_files(f"{context.paths.uri(folder)}/"):
                found.add(f"{folder}/{storage.basename(file.uri)}")
        return found

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
