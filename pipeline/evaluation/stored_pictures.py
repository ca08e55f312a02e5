"""The encoded pictures of a dataset, one by one and in any order, whatever its layout."""

from __future__ import annotations

import functools
import tarfile
import uuid
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from ...transforms import storage
from ..manifests.row_groups import RowRange
from ..paths import DatasetPaths

_SHARDS = 64  # whose tables of contents are kept
_ROWS = 16  # of the `embedded` layout, decoded at a time


@dataclass(frozen=True)
class PicturePlace:
    """Where the picture of one row is.

    Attributes:
      path: relative to the dataset: a file, or a shard's path and a member's name. None where the
        picture is in the row itself.
      file: URI of the Parquet file that holds the row.
      row: the row's position in it.
    """

    path: str | None
    file: str
    row: int


class StoredPictures:
    """Reads the pictures of one dataset; safe in several threads.

    Args:
      paths: of the dataset.
      column: which picture of a row: its cutout or its saved matte.
    """

    def __init__(self, paths: DatasetPaths, column: Literal["image", "mask"]) -> None:
        self._paths = paths
        self._column = column
        self._contents = functools.lru_cache(_SHARDS)(self._read_contents)
        self._identity = uuid.uuid4().hex  # what other readers remember of a file may be outdated

    def read(self, place: PicturePlace) -> bytes:
        """Reads a picture, as it is encoded.

        Raises:
          OSError: it is missing or cannot be read.
        """
        if place.path is None:
            return self._from_row(place)
        shard, tar, member = place.path.rpartition(".tar/")
        if tar:
            return self._from_shard(f"{shard}.tar", member)
        return storage.read_bytes(self._paths.uri(place.path))

    def _from_row(self, place: PicturePlace) -> bytes:
        rows = RowRange(
            place.file, self._identity, (self._column,), place.row, place.row + 1, most_rows=_ROWS
        )
        try:
            (batch,) = rows.batches()
        except pa.ArrowException as error:
            raise OSError(f"{place.file} cannot be read: {error}") from error
        return batch.column(0)[0].as_py()["bytes"]

    def _from_shard(self, shard: str, member: str) -> bytes:
        try:
            offset, size = self._contents(shard)[member]
        except KeyError:
            raise FileNotFoundError(f"{shard} holds no {member}") from None
        except tarfile.TarError as error:
            raise OSError(f"{shard} cannot be read: {error}") from error
        with storage.open_input(self._paths.uri(shard)) as file:
            file.seek(offset)
            return file.read(size)

    def _read_contents(self, shard: str) -> dict[str, tuple[int, int]]:
        """Finds where the members of a shard begin, and their sizes, in bytes."""
        with (
            storage.open_input(self._paths.uri(shard)) as file,
            tarfile.open(fileobj=file, mode="r:") as members,
        ):
            return {info.name: (info.offset_data, info.size) for info in members}
