"""Small pictures of judged rows: the cutout, its truth, and where the two differ."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ...transforms.codec import Picture, decode
from ...transforms.errors import ImageError
from ...transforms.fetch import fetch
from ...transforms.matte import to_levels
from ...transforms.stream import ordered_map
from ..errors import RunError, UsageError
from ..evaluation.stored_mattes import MatteReader, StoredMatte
from ..evaluation.stored_pictures import PicturePlace, StoredPictures
from ..evaluation.truth import decode_truth, open_truths
from ..paths import DatasetPaths
from .pictures import FETCH, Absent, Thumbnail, file_of, thumbnail
from .rows import Place

SIDE = 220
CUTOUT_BYTES = 5_000
MASK_BYTES = 2_500
ADDED = (214, 93, 14)  # kept, though it is background
MISSING = (38, 110, 214)  # lost, though it is subject
_SUBJECT = (128, 128, 128)
_FAINT = 0.3  # opacity of what both agree is subject
_INLINE = "inline:"
_READERS = 16


@dataclass(frozen=True)
class Judged:
    """The pictures of one row."""

    cutout: Thumbnail | Absent
    truth: Thumbnail | Absent
    difference: Thumbnail | Absent


class JudgedAlbum:
    """Reads the pictures of judged rows of one dataset.

    Args:
      root: the dataset's folder, any fsspec URI.
      values: the content of its `dataset.json`.

    Raises:
      UsageError: the dataset holds no mattes.
    """

    def __init__(self, root: str, values: Mapping[str, Any]) -> None:
        self._paths = DatasetPaths(root)
        self._mattes = MatteReader(root, values)
        self._cutouts = StoredPictures(self._paths, "image")

    def judged(
        self, places: Mapping[str, Place], truths: Mapping[str, bytes | Absent]
    ) -> dict[str, Judged]:
        """Makes the pictures of some rows.

        Args:
          places: of the rows, by key.
          truths: the encoded mask of each, by key.
        """
        threads = min(os.cpu_count() or 1, 4)
        made = ordered_map(
            lambda key: self._judge(places[key], truths[key]),
            places,
            threads=threads,
            lookahead=2 * threads,
        )
        return dict(zip(places, made, strict=True))

    def _judge(self, place: Place, truth: bytes | Absent) -> Judged:
        row = place.read(self._mattes.columns)
        matte = self._mattes.place(row, file_of(self._paths, place), place.offset)
        cutout = self._cutout(matte)
        if isinstance(truth, Absent):
            return Judged(cutout, truth, truth)
        try:
            wanted = decode_truth(truth, self._mattes.limits)
        except ImageError as error:
            absent = Absent(f"the truth cannot be decoded: {error}")
            return Judged(cutout, absent, absent)
        mask = _small_mask(cv2.cvtColor(wanted, cv2.COLOR_GRAY2RGB), None)
        try:
            levels = self._mattes.decode(matte, self._mattes.read(matte))
        except (OSError, ImageError) as error:
            return Judged(cutout, mask, Absent(f"the matte cannot be read: {error}"))
        height, width = wanted.shape
        apart = difference(to_levels(levels, width, height), wanted)
        return Judged(cutout, mask, _small_mask(apart[..., :3], apart[..., 3]))

    def _cutout(self, matte: StoredMatte) -> Thumbnail | Absent:
        place = PicturePlace(matte.picture, matte.place.file, matte.place.row)
        try:
            picture = decode(self._cutouts.read(place), self._mattes.limits)
        except (OSError, ImageError) as error:
            return Absent(f"the cutout cannot be read: {error}")
        return thumbnail(_uncropped(picture, matte), SIDE, CUTOUT_BYTES)


def _uncropped(picture: Picture, matte: StoredMatte) -> Picture:
    """Puts a cropped cutout back where it was, so that it lies as its truth does."""
    box = matte.crop
    if box is None or picture.rgb.shape[:2] != (box.height, box.width):
        return picture
    rgb = np.zeros((matte.height, matte.width, 3), np.uint8)
    alpha = np.zeros((matte.height, matte.width), np.uint8)
    kept = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
    rgb[kept] = picture.rgb
    alpha[kept] = 255 if picture.alpha is None else picture.alpha
    return replace(picture, rgb=rgb, alpha=alpha)


def _small_mask(rgb: np.ndarray, alpha: np.ndarray | None) -> Thumbnail:
    rgb = np.ascontiguousarray(rgb)
    alpha = None if alpha is None else np.ascontiguousarray(alpha)
    return thumbnail(Picture(rgb, alpha, "png", 1, False), SIDE, MASK_BYTES)


def difference(matte: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Shows where a matte departs from the truth, and how much.

    Args:
      matte: uint8, shape (H, W), 0 (background) to 255 (subject).
      truth: of the same form and size.

    Returns:
      uint8, shape (H, W, 4), straight alpha: orange where there is too much, blue where there is
      too little, as opaque as they differ; faint grey where both see the subject.
    """
    apart = cv2.absdiff(matte, truth).astype(np.float32)[..., None] / 255
    shared = np.minimum(matte, truth).astype(np.float32)[..., None] / 255 * _FAINT
    colour = np.where(
        (matte > truth)[..., None], np.array(ADDED, np.float32), np.array(MISSING, np.float32)
    )
    alpha = apart + (1 - apart) * shared
    mixed = apart * colour + (1 - apart) * shared * np.array(_SUBJECT, np.float32)
    rgb = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
    return np.rint(np.concatenate([rgb, 255 * alpha], axis=2)).astype(np.uint8)


def read_truths(
    truth: Mapping[str, Any], settings: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]
) -> dict[str, bytes | Absent]:
    """Reads the masks of judged rows again, by key.

    Args:
      truth: what `evaluation.json` says of the truth.
      settings: the dataset's.
      rows: with `key` and `truth_uri`.
    """
    uris = {row["key"]: row["truth_uri"] for row in rows}
    inline = {key for key, uri in uris.items() if uri.startswith(_INLINE)}
    found = _inline_truths(truth, settings, inline) if inline else {}
    outside = [key for key in uris if key not in inline]
    read = ordered_map(
        lambda key: _read(uris[key]), outside, threads=_READERS, lookahead=2 * _READERS
    )
    return {**found, **dict(zip(outside, read, strict=True))}


def _inline_truths(
    truth: Mapping[str, Any], settings: Mapping[str, Any], keys: set[str]
) -> dict[str, bytes | Absent]:
    """Looks for masks that lie in their manifest, until all are found."""
    found: dict[str, bytes | Absent] = {}
    absent = Absent("the truth is not there any more")
    try:
        truths = open_truths(
            truth["uri"], truth["column"], settings["image_column"], settings["key_column"]
        )
        for one in truths:
            for name in one.names:
                if name in keys and one.record.source is not None:
                    found.setdefault(name, _read(one.record.source))
            if len(found) == len(keys):
                break
    except (UsageError, RunError) as error:
        absent = Absent(f"the truth cannot be read again: {error}")
    return {key: found.get(key, absent) for key in keys}


def _read(source: str | bytes) -> bytes | Absent:
    try:
        return fetch(source, FETCH).data
    except ImageError:
        return Absent("the truth is not reachable")
