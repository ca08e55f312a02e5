"""The mattes of a dataset, found by key and laid out as in the whole picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from ...transforms import storage
from ...transforms.codec import DecodeLimits, decode
from ...transforms.errors import DecodeError
from ...transforms.mask_stats import MaskStats
from ...transforms.matte import Box, crop_box
from ..columns import output_names
from ..dataset import open_dataset, open_errors, require_dataset
from ..errors import UsageError
from ..paths import DatasetPaths
from .stored_pictures import PicturePlace, StoredPictures

_COLUMNS = ("key", "image_path", "mask_path", "source_width", "source_height")
_STATISTICS = tuple(field.name for field in fields(MaskStats))
_FAILURE = ("key", "stage", "error", "message")
_FILE = "__filename"  # pyarrow's own column: the path of the file that a row is from


@dataclass(frozen=True)
class StoredMatte:
    """Where the matte of one cutout is.

    Attributes:
      place: of the picture whose alpha it is, or of the saved mask.
      picture: path of the cutout in the dataset; None where it has none of its own.
      width, height: of the whole picture, pixels.
      crop: the part of it that is stored; None for all of it.
    """

    place: PicturePlace
    picture: str | None
    width: int
    height: int
    crop: Box | None


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
      limits: what its pictures may measure.
      repeated: keys that several rows have.

    Raises:
      UsageError: there is no dataset, or it holds no mattes.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.values = require_dataset(root)
        settings = self.values["settings"]
        compose = settings["compose"]
        if compose["background"] is not None and not compose["save_mask"]:
            raise UsageError(
                f"{root} was made with --background and without --save_mask, so nothing in it says "
                f"where the subjects are: make it again with --save_mask"
            )
        self.limits = DecodeLimits(settings["max_image_bytes"], settings["max_image_pixels"])
        self._saved_masks: bool = compose["save_mask"]
        self._crop_margin: int | None = compose["crop_margin"] if compose["crop_to_bbox"] else None
        self._pictures = StoredPictures(
            DatasetPaths(root), "mask" if self._saved_masks else "image"
        )
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
            return self._matte(_row(self._rows, self._numbers[key]))
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

    def read(self, matte: StoredMatte) -> bytes:
        """Reads the encoded picture that holds a matte.

        Raises:
          OSError: it is missing or cannot be read.
        """
        return self._pictures.read(matte.place)

    def decode(self, matte: StoredMatte, data: bytes) -> np.ndarray:
        """Decodes a matte; a cropped one is put back where it was, with 0 around it.

        Args:
          matte: where it is from.
          data: what `read` gave.

        Returns:
          uint8, shape (height, width) of the whole picture, 0 (background) to 255 (subject).

        Raises:
          DecodeError: it does not decode, or has not the size that its row says.
        """
        picture = decode(data, self.limits)
        height, width = picture.rgb.shape[:2]
        if self._saved_masks:
            levels = np.ascontiguousarray(picture.rgb[:, :, 0])
        elif picture.alpha is not None:
            levels = picture.alpha
        else:
            levels = np.full((height, width), 255, np.uint8)
        box = matte.crop or Box(0, 0, matte.width, matte.height)
        if (height, width) != (box.height, box.width):
            raise DecodeError(
                "size_mismatch",
                f"the cutout is {width} x {height}, its row says {box.width} x {box.height}",
            )
        if matte.crop is None:
            return levels
        whole = np.zeros((matte.height, matte.width), np.uint8)
        whole[box.y : box.y + box.height, box.x : box.x + box.width] = levels
        return whole

    def _read_rows(self) -> pa.Table:
        names = [*_COLUMNS, *self._partition_by]
        if self._crop_margin is not None:
            names += _STATISTICS
        rows = open_dataset(self.root).to_table(columns=[*names, _FILE])
        files = rows.column(_FILE).combine_chunks().dictionary_encode()
        codes = files.indices.to_numpy()
        _, starts = np.unique(codes, return_index=True)
        positions = np.arange(len(codes)) - starts[codes] if len(codes) else codes
        self._files = [self._uri(path) for path in files.dictionary.to_pylist()]
        rows = rows.select(names)
        rows = rows.append_column("file_number", pa.array(codes, pa.int32()))
        return rows.append_column("file_row", pa.array(positions, pa.int64())).combine_chunks()

    def _uri(self, path: str) -> str:
        if storage.is_local(self.root):
            return path
        fs, _ = storage.resolve(self.root)
        return fs.unstrip_protocol(path)

    def _matte(self, row: dict[str, Any]) -> StoredMatte:
        path = row["mask_path"] if self._saved_masks else row["image_path"]
        width, height = row["source_width"], row["source_height"]
        crop = None
        if self._crop_margin is not None:
            statistics = MaskStats(**{name: row[name] for name in _STATISTICS})
            crop = crop_box(statistics, self._crop_margin, width, height)
        return StoredMatte(
            place=PicturePlace(path, self._files[row["file_number"]], row["file_row"]),
            picture=row["image_path"],
            width=width,
            height=height,
            crop=crop,
        )


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
