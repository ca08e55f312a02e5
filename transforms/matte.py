"""From an engine's alpha to the finished picture: size, threshold, crop, background, encoding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import ImageColor

from .codec import Picture, encode_jpg, encode_webp
from .foreground import refine_foreground
from .mask_stats import MaskStats, mask_stats
from .png import encode_grey, encode_rgb, encode_rgba

_FORMATS = ("png", "webp", "jpg")
_BEYOND = 1e-3  # how far rounding may carry an engine's alpha out of 0..1
_STRIP = 1 << 17  # pixels composited in one go: scratch stays small and in cache


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; (x, y) is its top left one."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class ComposeSettings:
    """What happens to the matte and the picture, in the order of `compose`.

    Attributes:
      alpha_threshold: above 0, at most 1: alpha from here on becomes 1, below it 0. None keeps soft
        edges.
      preserve_alpha: multiply the matte, after any threshold, by the source's own transparency, if it
        has any.
      refine_foreground: replace the background's colour that shines through soft pixels.
      crop_to_bbox: cut down to the bounding box of the mask.
      crop_margin: pixels kept around that box, as far as the picture reaches.
      background: red, green and blue, 0..255, to put the subject on; None keeps transparency.
      output_format: `png`, `webp`, or `jpg`, which needs a background.
      output_quality: 1..100 for `jpg` and `webp`, where 100 means lossless WebP.
      save_mask: also encode the matte, as an 8-bit grey PNG.

    Raises:
      ValueError: a value is out of its range, or `jpg` has no background.
    """

    refine_foreground: bool = False
    crop_to_bbox: bool = False
    crop_margin: int = 0
    background: tuple[int, int, int] | None = None
    preserve_alpha: bool = False
    alpha_threshold: float | None = None
    output_format: Literal["png", "webp", "jpg"] = "png"
    output_quality: int = 90
    save_mask: bool = False

    def __post_init__(self) -> None:
        if self.output_format not in _FORMATS:
            raise ValueError(
                f"output_format must be one of {', '.join(_FORMATS)}, got {self.output_format!r}"
            )
        if self.output_format == "jpg" and self.background is None:
            raise ValueError("output_format jpg has no transparency: give a background, or use png")
        if not 1 <= self.output_quality <= 100:
            raise ValueError(f"output_quality must be 1..100, got {self.output_quality}")
        if self.crop_margin < 0:
            raise ValueError(f"crop_margin must be 0 or more pixels, got {self.crop_margin}")
        if self.alpha_threshold is not None:
            _check_threshold("alpha_threshold", self.alpha_threshold)
        if self.background is not None:
            _check_colour(self.background)


@dataclass(frozen=True)
class Composed:
    """A finished picture.

    Attributes:
      image: the encoded cutout.
      mask: its matte as an 8-bit grey PNG of the same size, when asked for.
      width, height: of both, pixels.
      stats: of the final matte, before the crop.
    """

    image: bytes
    mask: bytes | None
    width: int
    height: int
    stats: MaskStats


def to_levels(alpha: np.ndarray, width: int, height: int) -> np.ndarray:
    """Brings an engine's alpha to 8 bits and to the picture's size.

    Smaller mattes are interpolated linearly between pixel centres, larger ones averaged by area,
    each axis for itself, on 8-bit levels: a third of the time that floating point takes, and within
    two levels of it.

    Args:
      alpha: shape (h, w), 0 (background) to 1 (subject): floating point 0..1, uint8 0..255 or
        uint16 0..65535. Floating point may lie outside by 0.001 and is clipped.
      width, height: pixels, of the picture.

    Returns:
      uint8, shape (height, width); `alpha` itself when it is that already.

    Raises:
      ValueError: another shape or type, or a value that is not finite or out of range.
    """
    levels = _quantised(alpha)
    rows, columns = levels.shape
    if rows > height or columns > width:
        smaller = (min(columns, width), min(rows, height))
        levels = cv2.resize(levels, smaller, interpolation=cv2.INTER_AREA)
    if levels.shape != (height, width):
        levels = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return levels


def threshold(alpha: np.ndarray, level: float) -> np.ndarray:
    """Makes a matte hard.

    Args:
      alpha: uint8, shape (H, W).
      level: above 0, at most 1.

    Returns:
      uint8, shape (H, W): 255 where alpha / 255 >= level, else 0.

    Raises:
      ValueError: `level` is out of range.
    """
    _check_threshold("level", level)
    first = math.ceil(level * 255 - 1e-9)  # 0.2 * 255 and the like are whole but for rounding
    return cv2.threshold(alpha, first - 1, 255, cv2.THRESH_BINARY)[1]


def multiply_alpha(alpha: np.ndarray, source_alpha: np.ndarray) -> np.ndarray:
    """Multiplies two mattes, each uint8 of shape (H, W), exactly rounded.

    Raises:
      ValueError: the two differ in shape.
    """
    _check_shape("source_alpha", source_alpha, alpha.shape)
    return cv2.multiply(alpha, source_alpha, scale=1 / 255)


def crop_box(stats: MaskStats, margin: int, width: int, height: int) -> Box:
    """Finds what a crop keeps: the mask's bounding box and a margin, as far as the picture reaches.

    Args:
      stats: of the matte. Without a mask the whole picture is kept.
      margin: pixels, 0 or more.
      width, height: of the picture, pixels.
    """
    x, y = stats.bbox_x, stats.bbox_y
    if x is None or y is None or stats.bbox_width is None or stats.bbox_height is None:
        return Box(0, 0, width, height)
    left, top = max(x - margin, 0), max(y - margin, 0)
    right = min(x + stats.bbox_width + margin, width)
    bottom = min(y + stats.bbox_height + margin, height)
    return Box(left, top, right - left, bottom - top)


def composite(rgb: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Puts a picture on a plain ground: alpha * rgb + (1 - alpha) * background, exactly rounded.

    Args:
      rgb: uint8, shape (H, W, 3), straight colour.
      alpha: uint8, shape (H, W).
      background: red, green and blue, 0..255.

    Returns:
      uint8, shape (H, W, 3).

    Raises:
      ValueError: the two differ in height or width, or the background is not a colour.
    """
    _check_shape("alpha", alpha, rgb.shape[:2])
    _check_colour(background)
    clear = 255 - np.arange(256)
    # round(v / 255) is (t + (t >> 8)) >> 8 with t = v + 128, for v in 0..255 * 255.
    ground = (clear[None, :, None] * np.array(background) + 128).astype(np.uint16)
    result = np.empty(rgb.shape, np.uint8)
    rows = max(1, _STRIP // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        strip = slice(top, top + rows)
        weights = cv2.merge([alpha[strip]] * 3)
        mixed = np.multiply(rgb[strip], weights, dtype=np.uint16)
        mixed += cv2.LUT(weights, ground)
        mixed += mixed >> 8
        mixed >>= 8
        result[strip] = mixed
    return result


def parse_background(text: str) -> tuple[int, int, int]:
    """Reads a colour: a CSS name, `#rgb`, `#rrggbb`, or red, green and blue as `255,128,0`.

    Raises:
      ValueError: it is none of these.
    """
    text = text.strip()
    try:
        if "," in text and "(" not in text:
            colour = tuple(int(part) for part in text.split(","))
        else:
            colour = ImageColor.getrgb(text)
        return _check_colour(colour)
    except ValueError:
        raise ValueError(
            f"not a background colour: {text!r}; give a name (white), #rrggbb or r,g,b of 0..255"
        ) from None


def final_alpha(picture: Picture, alpha: np.ndarray, settings: ComposeSettings) -> np.ndarray:
    """Gives the matte as it will be seen: after the threshold and the source's own transparency.

    Args:
      picture: as decoded.
      alpha: uint8, shape (H, W), the picture's.
      settings: what to do.

    Returns:
      uint8, shape (H, W).

    Raises:
      ValueError: `alpha` has not the picture's size.
    """
    _check_shape("alpha", alpha, picture.rgb.shape[:2])
    if settings.alpha_threshold is not None:
        alpha = threshold(alpha, settings.alpha_threshold)
    if settings.preserve_alpha and picture.alpha is not None:
        alpha = multiply_alpha(alpha, picture.alpha)
    return alpha


def compose(picture: Picture, alpha: np.ndarray, settings: ComposeSettings) -> Composed:
    """Joins a picture and its matte, and encodes the result.

    In this order: threshold, the source's own transparency, statistics, foreground colours, crop,
    background, encoding.

    Args:
      picture: as decoded.
      alpha: uint8, shape (H, W), the picture's.
      settings: what to do.

    Raises:
      ValueError: `alpha` has not the picture's size.
      ComposeError: the picture does not fit the output format.
    """
    alpha = final_alpha(picture, alpha, settings)
    height, width = alpha.shape
    stats = mask_stats(alpha)
    rgb = refine_foreground(picture.rgb, alpha) if settings.refine_foreground else picture.rgb
    if settings.crop_to_bbox:
        box = crop_box(stats, settings.crop_margin, width, height)
        kept = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
        rgb, alpha = rgb[kept], alpha[kept]
    height, width = alpha.shape
    image = _encoded(rgb, alpha, settings)
    mask = encode_grey(alpha) if settings.save_mask else None
    return Composed(image, mask, width, height, stats)


def _encoded(rgb: np.ndarray, alpha: np.ndarray, settings: ComposeSettings) -> bytes:
    quality = settings.output_quality
    if settings.background is None:
        if settings.output_format == "webp":
            return encode_webp(rgb, alpha, quality)
        return encode_rgba(rgb, alpha)
    rgb = composite(rgb, alpha, settings.background)
    if settings.output_format == "webp":
        return encode_webp(rgb, None, quality)
    return encode_jpg(rgb, quality) if settings.output_format == "jpg" else encode_rgb(rgb)


def _quantised(alpha: np.ndarray) -> np.ndarray:
    if alpha.ndim != 2 or alpha.size == 0:
        raise ValueError(f"alpha must have the shape (h, w), got {alpha.shape}")
    alpha = np.ascontiguousarray(alpha)
    if alpha.dtype == np.uint8:
        return alpha
    if alpha.dtype == np.uint16:
        return cv2.convertScaleAbs(alpha, alpha=1 / 257)
    if not np.issubdtype(alpha.dtype, np.floating):
        raise ValueError(f"alpha must be floating point, uint8 or uint16, got {alpha.dtype}")
    lowest, highest = float(alpha.min()), float(alpha.max())
    if not (lowest >= -_BEYOND and highest <= 1 + _BEYOND):  # which NaN is not, either
        raise ValueError(f"alpha must be finite and within 0..1, got {lowest:g}..{highest:g}")
    return cv2.convertScaleAbs(alpha.astype(np.float32, copy=False), alpha=255)


def _check_threshold(name: str, level: float) -> None:
    if not 0 < level <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {level}")


def _check_colour(colour: tuple[int, ...]) -> tuple[int, int, int]:
    if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
        raise ValueError(f"a colour is three numbers of 0..255, got {colour}")
    return colour[0], colour[1], colour[2]


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}")
