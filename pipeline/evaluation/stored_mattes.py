"""The mattes of a dataset as they are stored, laid out as in the whole picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ...transforms.codec import DecodeLimits, decode
from ...transforms.errors import DecodeError
from ...transforms.mask_stats import MaskStats
from ...transforms.matte import Box, crop_box
from ..errors import UsageError
from ..paths import DatasetPaths
from .stored_pictures import PicturePlace, StoredPictures

_COLUMNS = ("image_path", "mask_path", "source_width", "source_height")
_STATISTICS = tuple(field.name for field in fields(MaskStats))


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


class MatteReader:
    """Reads the mattes of one dataset; safe in several threads.

    Args:
      root: the dataset's folder, any fsspec URI.
      values: the content of its `dataset.json`.

    Attributes:
      limits: what its pictures may measure.
      columns: of `data/`, those that `place` needs.

    Raises:
      UsageError: the dataset holds no mattes.
    """

    def __init__(self, root: str, values: Mapping[str, Any]) -> None:
        settings = values["settings"]
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
        self.columns = _COLUMNS if self._crop_margin is None else (*_COLUMNS, *_STATISTICS)

    def place(self, row: Mapping[str, Any], file: str, number: int) -> StoredMatte:
        """Tells where the matte of a row is.

        Args:
          row: its `columns`.
          file: URI of the Parquet file that holds the row.
          number: the row's position in it.
        """
        path = row["mask_path"] if self._saved_masks else row["image_path"]
        width, height = row["source_width"], row["source_height"]
        crop = None
        if self._crop_margin is not None:
            statistics = MaskStats(**{name: row[name] for name in _STATISTICS})
            crop = crop_box(statistics, self._crop_margin, width, height)
        return StoredMatte(
            place=PicturePlace(path, file, number),
            picture=row["image_path"],
            width=width,
            height=height,
            crop=crop,
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
