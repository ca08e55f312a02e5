"""What a provider sent back: whether it is a whole, transparent picture of the right size."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n"
# A provider that scales rounds each side by itself.
_ASPECT_TOLERANCE = 0.02


class OutputError(Exception):
    """The picture cannot be used.

    Attributes:
      damaged: True when it did not arrive whole, so that another download may help.
    """

    def __init__(self, message: str, *, damaged: bool) -> None:
        super().__init__(message)
        self.damaged = damaged


@dataclass(frozen=True)
class Output:
    """A picture as it came.

    Attributes:
      rgba: uint8, shape (h, w, 4), straight alpha.
      format: `png` or `webp`.
      resized: its size is not the source's.
      is_blank, is_full: alpha is 0, or 255, everywhere.
    """

    rgba: np.ndarray
    format: str
    resized: bool
    is_blank: bool
    is_full: bool


def read_output(
    data: bytes, size: tuple[int, int] | None, *, cropped: bool, max_pixels: int
) -> Output:
    """Checks and decodes what a provider sent back.

    Content types and file names are not looked at: only the bytes count.

    Args:
      data: the encoded picture.
      size: the source's (width, height) when known.
      cropped: the provider was asked for the subject's bounding box only.
      max_pixels: a bigger picture is refused before memory is taken.

    Raises:
      OutputError: it is damaged, too big, not transparent, or of another shape than the source.
    """
    form, (width, height) = _header(data)
    if width * height > max_pixels:
        raise OutputError(
            f"{width} x {height} is more than the {max_pixels} pixels allowed", damaged=False
        )
    rgba = _decode(data)
    if (rgba.shape[1], rgba.shape[0]) != (width, height):
        raise OutputError("header and content differ in size", damaged=True)
    resized = size is not None and not cropped and size != (width, height)
    if size is not None:
        _check_shape((width, height), size, cropped)
    alpha = rgba[..., 3]
    return Output(rgba, form, resized, is_blank=not alpha.any(), is_full=bool((alpha == 255).all()))


def _header(data: bytes) -> tuple[str, tuple[int, int]]:
    if data.startswith(_PNG):
        _check_png(data)
        width, height = struct.unpack(">II", data[16:24])
        return "png", (width, height)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise OutputError("the WebP file ends early", damaged=True)
        return "webp", _webp_size(data)
    if data.startswith(b"\xff\xd8\xff"):
        raise OutputError("a JPEG came back, which has no transparency", damaged=False)
    raise OutputError(f"neither PNG nor WebP: it begins with {data[:8]!r}", damaged=True)


def _check_png(data: bytes) -> None:
    """Walks the chunks up to IEND and checks each one's CRC (PNG 3rd edition, 5.3)."""
    view = memoryview(data)
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", view[at : at + 4])
        end = at + 12 + length
        if end > len(data):
            break
        (stored,) = struct.unpack(">I", view[end - 4 : end])
        if zlib.crc32(view[at + 4 : end - 4]) != stored:
            raise OutputError("a PNG chunk is corrupt", damaged=True)
        if view[at + 4 : at + 8] == b"IEND":
            return
        at = end
    raise OutputError("the PNG file ends early", damaged=True)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Reads the canvas of a WebP file that can be transparent (RFC 9649, 2.7 and 3.4)."""
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return width, height
    if chunk == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8 ":
        raise OutputError("a WebP without an alpha channel came back", damaged=False)
    raise OutputError("the WebP file is corrupt", damaged=True)


def _decode(data: bytes) -> np.ndarray:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise OutputError(f"cannot be decoded: {error.err}", damaged=True) from error
    if picture is None:
        raise OutputError("cannot be decoded", damaged=True)
    if picture.ndim != 3 or picture.shape[2] != 4:
        raise OutputError("a picture without an alpha channel came back", damaged=False)
    if picture.dtype == np.uint16:
        picture = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)


def _check_shape(found: tuple[int, int], wanted: tuple[int, int], cropped: bool) -> None:
    (width, height), (source_width, source_height) = found, wanted
    told = f"{width} x {height} came back for a source of {source_width} x {source_height}"
    if cropped:
        if width > source_width or height > source_height:
            raise OutputError(f"{told}, though cropped", damaged=False)
        return
    # One pixel of rounding is more than the tolerance when a side is tiny.
    slack = _ASPECT_TOLERANCE + 1.0 / min(width, height)
    if abs(width * source_height / (height * source_width) - 1.0) > slack:
        raise OutputError(f"{told}: another shape", damaged=False)


def place(output: Output, source: np.ndarray, *, cropped: bool) -> np.ndarray:
    """Brings a provider's picture to its source's size and place.

    A picture that was scaled is scaled back, with colours weighted by alpha so that the ground's
    colour does not bleed into the edges. A cropped one is laid where it came from, which is where
    its opaque pixels equal the source's best.

    Args:
      output: what came back.
      source: uint8, shape (H, W, 3), sRGB.
      cropped: as in `read_output`.

    Returns:
      uint8, shape (H, W, 4), straight alpha.
    """
    height, width = source.shape[:2]
    rgba = output.rgba
    if rgba.shape[:2] == (height, width):
        return rgba
    if not cropped:
        return _scaled(rgba, width, height)
    left, top = _origin(rgba, source)
    placed = np.zeros((height, width, 4), np.uint8)
    placed[top : top + rgba.shape[0], left : left + rgba.shape[1]] = rgba
    return placed


def _scaled(rgba: np.ndarray, width: int, height: int) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.float32) / 255.0
    weighted = np.concatenate([rgba[..., :3] * alpha, alpha], axis=2)
    shrinks = width < rgba.shape[1]
    weighted = cv2.resize(
        weighted, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    alpha = np.clip(weighted[..., 3:], 0.0, 1.0)
    colour = np.divide(
        weighted[..., :3], alpha, out=np.zeros_like(weighted[..., :3]), where=alpha > 0
    )
    placed = np.concatenate([colour, alpha * 255.0], axis=2)
    return np.clip(np.rint(placed), 0, 255).astype(np.uint8)


def _origin(crop: np.ndarray, source: np.ndarray) -> tuple[int, int]:
    """Finds (left, top) of a crop by the least squared difference over its opaque pixels."""
    mask = np.repeat((crop[..., 3:] >= 250).astype(np.float32), 3, axis=2)
    colour = np.ascontiguousarray(crop[..., :3]).astype(np.float32)
    difference = cv2.matchTemplate(source.astype(np.float32), colour, cv2.TM_SQDIFF, mask=mask)
    return cv2.minMaxLoc(difference)[2]  # type: ignore[return-value]
