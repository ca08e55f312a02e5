"""What one row promises of its picture, checked against the picture itself."""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np

from ...transforms.formats import identify, open_lazily
from ...transforms.mask_stats import MaskStats, mask_stats
from ...transforms.matte import crop_box

# Floats are recomputed from the same pixels by the same formulas; only their order may differ.
_TOLERANCE = 1e-9
# What a crop to the bounding box leaves as it is.
_CROPPED = ("mask_area_px", "components", "largest_component_ratio", "is_blank")
_FEWEST_SOFT, _FIRST_LOOK = 64, 4096
_FORMATS = {"png": "png", "webp": "webp", "jpg": "jpeg"}


class _Fault(ValueError):
    """Says why a picture cannot be looked at any further."""


@dataclass(frozen=True)
class Form:
    """What a run's settings say of all its pictures.

    Attributes:
      format: `png`, `webp` or `jpg`.
      transparent: whether pictures have alpha.
      masks: whether every picture has a mask.
      crop_margin: pixels kept around the bounding box; None when pictures are not cropped.
      max_pixels: of a picture.
    """

    format: str
    transparent: bool
    masks: bool
    crop_margin: int | None
    max_pixels: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Form:
        """Reads the recorded settings of a run."""
        compose = settings["compose"]
        return cls(
            format=compose["output_format"],
            transparent=compose["background"] is None,
            masks=compose["save_mask"],
            crop_margin=compose["crop_margin"] if compose["crop_to_bbox"] else None,
            max_pixels=settings["max_image_pixels"],
        )


def picture_faults(
    row: Mapping[str, Any], image: bytes, mask: bytes | None, form: Form
) -> Iterator[str]:
    """Checks a picture and its mask against their row.

    Args:
      row: the columns of `data/`.
      image: the encoded cutout.
      mask: its encoded matte, None where there is none.
      form: what holds for all pictures of the run.

    Yields:
      One line a broken promise, without the row's name.
    """
    if len(image) != row["image_bytes"] or _sha256(image) != row["image_sha256"]:
        yield "the picture is not the one the row describes: its size or SHA-256 differs"
    if row["format"] != form.format:
        yield f"format is {row['format']}, the run writes {form.format}"
    try:
        pixels = _decoded(image, "RGBA" if form.transparent else "RGB", row, form.format, form)
        alpha = cv2.extractChannel(pixels, 3) if form.transparent else None
        if mask is not None:
            matte = _decoded(mask, "L", row, "png", form)
            if alpha is not None and not np.array_equal(alpha, matte):
                yield "the mask is not the picture's alpha"
            alpha = matte
    except _Fault as fault:
        yield str(fault)
        return
    if (mask is not None) != form.masks:
        yield "there is no mask" if form.masks else "there is a mask that was not asked for"
    if form.transparent and premultiplied(pixels):
        yield "the picture is premultiplied: its soft edges are darkened by their alpha"
    if alpha is not None:
        yield from _statistic_faults(row, alpha, form.crop_margin)


def _decoded(data: bytes, mode: str, row: Mapping[str, Any], suffix: str, form: Form) -> np.ndarray:
    """Gives pixels of the row's size and of that mode.

    Raises:
      _Fault: they are not to be had.
    """
    name = "the mask" if mode == "L" else "the picture"
    try:
        found = identify(data)
        with open_lazily(found, data) as picture:
            if picture.width * picture.height > form.max_pixels:
                raise _Fault(f"{name} has {picture.width}×{picture.height} pixels, too many")
            picture.load()
    except _Fault:
        raise
    except Exception as error:
        raise _Fault(f"{name} does not decode: {error}") from error
    if found == "png" and (fault := _png_fault(data)):
        raise _Fault(f"{name} does not decode: {fault}")
    if found == "webp" and mode == "RGBA" and picture.mode == "RGB":
        picture = picture.convert("RGBA")  # WebP leaves out an alpha that is opaque everywhere
    given = (found, picture.width, picture.height, picture.mode)
    said = (_FORMATS[suffix], row["width"], row["height"], mode)
    if given != said:
        raise _Fault(f"{name} is {_described(given)}, the row says {_described(said)}")
    return np.asarray(picture)


def _described(form: tuple[str, int, int, str]) -> str:
    name, width, height, mode = form
    return f"{name} {width}×{height} {mode}"


def _png_fault(data: bytes) -> str | None:
    """Finds damage that leaves the pixels readable: chunks that do not add up, a missing end."""
    position = 8
    while position + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + size
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(
            data[end : end + 4], "big"
        ):
            return f"the checksum of its {kind!r} chunk is wrong"
        position = end + 4
        if kind == b"IEND":
            return None if position == len(data) else "there is something behind its end"
    return f"it ends early, after {len(data)} bytes"


def _statistic_faults(
    row: Mapping[str, Any], alpha: np.ndarray, crop_margin: int | None
) -> Iterator[str]:
    if crop_margin is not None:
        stored = MaskStats(**{field.name: row[field.name] for field in fields(MaskStats)})
        box = crop_box(stored, crop_margin, row["source_width"], row["source_height"])
        if (box.width, box.height) != (row["width"], row["height"]):
            yield (
                f"width and height are {row['width']}×{row['height']}, the bounding box and its "
                f"margin {box.width}×{box.height}"
            )
    for name, value in asdict(mask_stats(alpha)).items():
        if crop_margin is not None and name not in _CROPPED:
            continue
        if not _same(row[name], value):
            yield f"{name} is {row[name]}, its pixels say {value}"


def _same(stored: Any, value: Any) -> bool:
    if isinstance(value, float) and stored is not None:
        return math.isclose(stored, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return stored == (list(value) if isinstance(value, tuple) else value)


def premultiplied(pixels: np.ndarray) -> bool:
    """Tells whether the colours of soft pixels were multiplied by alpha.

    Multiplied colours never exceed alpha, rise and fall with it, and come near it in places unless
    the subject is dark, which is passed. Straight colours go their own way. What looks alike is a
    subject on pure black whose matte is nowhere too low; a photograph's noise tells even that.

    Args:
      pixels: uint8, shape (H, W, 4), C-contiguous.
    """
    alpha = cv2.extractChannel(pixels, 3).ravel()
    places = np.flatnonzero((alpha > 0) & (alpha < 128))
    if len(places) < _FEWEST_SOFT:
        return False
    colours = pixels.reshape(-1, 4)
    for some in (places[:_FIRST_LOOK], places):  # most straight pictures are told at first glance
        brightest = colours[some, :3].max(axis=1).astype(np.float32)
        level = alpha[some].astype(np.float32)
        if np.any(brightest > level + 1):
            return False
    if np.percentile(brightest / level, 95) < 0.6 or not level.std() or not brightest.std():
        return False
    return bool(np.corrcoef(brightest, level)[0, 1] > 0.3)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
