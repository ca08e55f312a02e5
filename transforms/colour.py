"""Embedded colour profiles: pixels of any ICC profile to sRGB.

Profiles are read and understood by LittleCMS. The common kind, three primaries and three tone
curves (Display P3, Adobe RGB, …), is then computed by table and matrix, four times as fast, and
only after its results were compared with LittleCMS' own.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

import cv2
import numpy as np
from PIL import Image, ImageCms

_logger = logging.getLogger(__name__)

_Conversion = Callable[[np.ndarray], np.ndarray]

_CACHED = 64  # conversions kept, for all threads
_STRIP = 1 << 16  # pixels converted in one go: scratch stays small and in cache
_SAME = 1  # levels; colours that are no further apart count as equal
_LINEAR_TOP = 16383  # fine enough for 8-bit sRGB: a fifth of a level where the curve is steepest

# Without its memory of the last pixel, a LittleCMS transform may run in several threads at once
# (its author on littlecms2.blogspot.com, 17 December 2010).
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE

_SPACES = {1: ("GRAY", "RGB"), 3: ("RGB",), 4: ("CMYK",)}
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


def to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray | None:
    """Converts pixels from an embedded profile to sRGB.

    Relative colorimetric with black point compensation, so that white and black stay what they are.

    Args:
      pixels: uint8, shape (H, W) grey, (H, W, 3) RGB or (H, W, 4) CMYK with 255 for full ink.
      profile: ICC profile, as it was embedded. Grey pixels may have an RGB profile.

    Returns:
      uint8, shape (H, W, 3), sRGB. None when there is nothing to convert: the profile is sRGB
      itself (it moves no colour by more than one level), or it is damaged or made for pixels of
      another kind, which is logged.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    conversion = _conversion(profile, channels)
    return None if conversion is None else conversion(pixels)


def lab_to_srgb(image: Image.Image) -> np.ndarray:
    """Converts a picture of Pillow's mode `LAB` (CIE L*a*b*, D50) to uint8 sRGB, (H, W, 3)."""
    lab, intent = ImageCms.createProfile("LAB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(lab, ImageCms.createProfile("sRGB"), "LAB", "RGB", intent)
    return np.array(transform.apply(image))


def cmyk_to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Converts CMYK without a profile: each ink and black take their share of the light.

    R = (1 - C)(1 - K), and so on.

    Args:
      pixels: uint8, shape (H, W, 4), 255 for full ink.

    Returns:
      uint8, shape (H, W, 3), exactly rounded.
    """
    light = 255 - pixels
    black = cv2.extractChannel(light, 3)
    return cv2.multiply(
        cv2.cvtColor(light, cv2.COLOR_RGBA2RGB), cv2.merge([black] * 3), scale=1 / 255
    )


@lru_cache(maxsize=_CACHED)
def _conversion(profile: bytes, channels: int) -> _Conversion | None:
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = profile[16:20].decode("latin-1").strip()
        if space not in _SPACES[channels]:
            raise ValueError(f"it describes {space}, the pixels have {channels} channels")
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            _MODES[space],
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # What LittleCMS calls optimised is, for grey, a table too coarse for some curves.
            _FLAGS | ImageCms.Flags.NOOPTIMIZE if channels == 1 else _FLAGS,
        )
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        _logger.warning("an embedded ICC profile is not usable and left aside: %s", error)
        return None
    if channels == 1:
        return _grey_conversion(transform)
    if channels == 4:
        return lambda pixels: _by_strips(pixels, lambda strip: _transformed(transform, strip))
    return _rgb_conversion(transform, profile)


def _transformed(transform: ImageCms.ImageCmsTransform, pixels: np.ndarray) -> np.ndarray:
    size = (pixels.shape[1], pixels.shape[0])
    mode = transform.input_mode
    image = Image.frombuffer(mode, size, np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    return np.asarray(transform.apply(image))


def _by_strips(pixels: np.ndarray, convert: _Conversion) -> np.ndarray:
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    rows = max(1, _STRIP // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        result[top : top + rows] = convert(pixels[top : top + rows])
    return result


def _grey_conversion(transform: ImageCms.ImageCmsTransform) -> _Conversion | None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    grey = cv2.merge([ramp] * 3)
    table = _transformed(transform, ramp if transform.input_mode == "L" else grey)
    if _farthest(table, grey) <= _SAME:
        return None
    return lambda pixels: cv2.LUT(cv2.merge([pixels] * 3), table)


def _rgb_conversion(transform: ImageCms.ImageCmsTransform, profile: bytes) -> _Conversion | None:
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    wanted = _transformed(transform, lattice)
    if _farthest(wanted, lattice) <= _SAME:
        return None
    shaper = _matrix_shaper(profile)
    if shaper is not None and _farthest(shaper(lattice), wanted) <= _SAME:
        return lambda pixels: _by_strips(pixels, shaper)
    return lambda pixels: _by_strips(pixels, lambda strip: _transformed(transform, strip))


def _farthest(one: np.ndarray, other: np.ndarray) -> float:
    return cv2.norm(one, other, cv2.NORM_INF)


def _matrix_shaper(profile: bytes) -> _Conversion | None:
    """Builds the conversion of a profile with three primaries and tone curves, None for others.

    ICC.1:2022, annex F: linear = curve(device), PCS XYZ = [rXYZ gXYZ bXYZ] linear.
    """
    try:
        tags = _tags(profile)
        with np.errstate(all="ignore"):  # absurd numbers fail the comparison with LittleCMS
            curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")], axis=-1)
        primaries = np.stack([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=-1)
    except (KeyError, ValueError, struct.error):
        return None
    tables = curves.clip(0, 1).astype(np.float32)[None]
    # The fourth column makes cutting off the fraction a rounding.
    matrix = np.full((3, 4), 0.5, np.float32)
    matrix[:, :3] = np.linalg.solve(_srgb_primaries(), primaries) * _LINEAR_TOP
    encoding = _srgb_encoding()

    def convert(pixels: np.ndarray) -> np.ndarray:
        linear = cv2.transform(cv2.LUT(pixels, tables), matrix)
        # What lies outside 0..1 is a colour that sRGB does not have.
        return np.take(encoding, linear.clip(0, _LINEAR_TOP).astype(np.uint16))

    return convert


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * min(count, 100)])
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def _xyz(tag: bytes) -> np.ndarray:
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


def _curve(tag: bytes) -> np.ndarray:
    """Samples a tone curve (ICC.1:2022, 10.6 and 10.18) at the 256 levels, as 0..1.

    Raises:
      ValueError: it is of a form that is left to LittleCMS.
    """
    x = np.arange(256) / 255
    kind = tag[:4]
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        values = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count == 1:
            return x ** (values[0] / 256)
        return np.interp(x, np.linspace(0, 1, count), values / 65535)
    if kind != b"para":
        raise ValueError(f"not a tone curve: {kind!r}")
    (function,) = struct.unpack_from(">H", tag, 8)
    if function == 0:
        return x ** (struct.unpack_from(">i", tag, 12)[0] / 65536)
    if function != 3:
        raise ValueError(f"tone curve of a rare form: {function}")
    g, a, b, c, d = np.array(struct.unpack_from(">5i", tag, 12)) / 65536
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g, c * x)


@lru_cache(maxsize=1)
def _srgb_primaries() -> np.ndarray:
    """Gives the columns XYZ of sRGB's primaries, adapted to the PCS white D50."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    tags = _tags(profile.tobytes())
    return np.stack([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=-1)


@lru_cache(maxsize=1)
def _srgb_encoding() -> np.ndarray:
    """Tabulates linear light 0..`_LINEAR_TOP` -> sRGB level, uint8 (IEC 61966-2-1)."""
    linear = np.arange(_LINEAR_TOP + 1) / _LINEAR_TOP
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)
