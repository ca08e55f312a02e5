"""Small pictures of cutouts and their sources, for a page that holds everything itself."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
from PIL import Image

from ...transforms import storage
from ...transforms.codec import DecodeLimits, Picture, decode
from ...transforms.errors import ImageError
from ...transforms.fetch import FetchLimits, fetch
from ...transforms.mask_stats import MaskStats
from ...transforms.matte import crop_box
from ...transforms.stream import ordered_map
from ..evaluation.stored_pictures import PicturePlace, StoredPictures
from ..paths import DatasetPaths
from .rows import Place

SIDE = 320
MOST_BYTES = 13_000

_QUALITIES = (82, 65, 45, 25)
_SHRINK = 0.7
FETCH = FetchLimits(max_bytes=50_000_000, timeout=5.0, attempts=1)
_READERS = 16
_COLUMNS = (
    "key",
    "source_uri",
    "image_path",
    "source_width",
    "source_height",
    "source_sha256",
    "engine",
    "model",
    "revision",
    "confidence",
    "provider_resized",
    *(field.name for field in fields(MaskStats)),
)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: a `data:` URI of WebP, and its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Absent:
    """A picture that cannot be had, and why."""

    why: str


@dataclass(frozen=True)
class Sample:
    """A row and what there is to see of it.

    Attributes:
      row: the columns that the page uses.
      partition: its Hive values; empty without.
      cutout: as stored.
      source: the part of the source picture that the cutout shows.
    """

    row: dict[str, Any]
    partition: str
    cutout: Thumbnail | Absent
    source: Thumbnail | Absent


@dataclass(frozen=True)
class _Encoded:
    row: dict[str, Any]
    partition: str
    cutout: bytes | Absent
    source: bytes | Absent


class Album:
    """Reads the pictures of one dataset.

    Args:
      paths: of the dataset.
      limits: of its pictures.
      crop_margin: pixels kept around the bounding box; None when cutouts are not cropped.
    """

    def __init__(self, paths: DatasetPaths, limits: DecodeLimits, crop_margin: int | None) -> None:
        self._paths = paths
        self._limits = limits
        self._crop_margin = crop_margin
        self._cutouts = StoredPictures(paths, "image")

    def samples(self, places: Iterable[Place]) -> Iterator[Sample]:
        """Reads rows and their pictures, in order; what cannot be had is `Absent`."""
        cores = min(os.cpu_count() or 1, 4)
        read = ordered_map(self._read, places, threads=_READERS, lookahead=2 * _READERS)
        return ordered_map(self._shrink, read, threads=cores, lookahead=2 * cores)

    def _read(self, place: Place) -> _Encoded:
        row = place.read(_COLUMNS)
        file = file_of(self._paths, place)
        try:
            cutout = self._cutouts.read(PicturePlace(row["image_path"], file, place.offset))
        except FileNotFoundError:
            cutout = Absent("the cutout is missing")
        except OSError as error:
            cutout = Absent(f"the cutout cannot be read: {error}")
        return _Encoded(row, place.partition, cutout, _read_source(row))

    def _shrink(self, found: _Encoded) -> Sample:
        cutout, source = found.cutout, found.source
        if isinstance(cutout, bytes):
            try:
                cutout = thumbnail(decode(cutout, self._limits))
            except ImageError as error:
                cutout = Absent(f"the cutout cannot be decoded: {error}")
        if isinstance(source, bytes):
            try:
                source = thumbnail(self._as_cropped(decode(source, self._limits), found.row))
            except ImageError as error:
                source = Absent(f"the source cannot be decoded: {error}")
        return Sample(found.row, found.partition, cutout, source)

    def _as_cropped(self, picture: Picture, row: dict[str, Any]) -> Picture:
        """Cuts a source down as its cutout was."""
        if self._crop_margin is None:
            return picture
        stats = MaskStats(**{field.name: row[field.name] for field in fields(MaskStats)})
        box = crop_box(stats, self._crop_margin, row["source_width"], row["source_height"])
        kept = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
        alpha = None if picture.alpha is None else picture.alpha[kept]
        return replace(picture, rgb=picture.rgb[kept], alpha=alpha)


def file_of(paths: DatasetPaths, place: Place) -> str:
    """Gives the URI of the Parquet file that holds a row."""
    _, root = storage.resolve(paths.root)
    return paths.uri(place.fragment.path.removeprefix(root.rstrip("/") + "/"))


def _read_source(row: dict[str, Any]) -> bytes | Absent:
    uri = row["source_uri"]
    if uri.startswith("inline:"):
        return Absent("the source was inline in the manifest")
    try:
        data = fetch(uri, FETCH).data
    except ImageError:
        return Absent("source not reachable")
    if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
        return Absent("the source has changed since")
    return data


def thumbnail(picture: Picture, side: int = SIDE, most_bytes: int = MOST_BYTES) -> Thumbnail:
    """Makes a picture small.

    Args:
      picture: as decoded; transparency is kept.
      side: pixels, of its longer side, at most.
      most_bytes: that it may take as WebP.
    """
    if picture.alpha is None:
        image = Image.fromarray(picture.rgb)
    else:
        rgba = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2RGBA)
        image = Image.fromarray(cv2.insertChannel(picture.alpha, rgba, 3))
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        for quality in _QUALITIES:
            stream = io.BytesIO()
            image.save(stream, "WEBP", quality=quality, method=4)
            if stream.tell() <= most_bytes:
                uri = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
                return Thumbnail(uri, *image.size)
        side = int(max(image.size) * _SHRINK)
