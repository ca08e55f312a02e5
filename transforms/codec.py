"""Encoded bytes <-> pixels: any common picture to upright 8-bit sRGB, and WebP and JPEG out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from .colour import cmyk_to_rgb, lab_to_srgb, to_srgb
from .errors import ComposeError, DecodeError
from .formats import icon_size, identify, open_lazily

# How to turn a picture upright, by EXIF orientation (CIPA DC-008, tag 0x0112).
_TURNS = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}

# What libjpeg warns of although every pixel is there.
_HARMLESS = ("before marker 0xd9", "unknown JFIF", "Unknown Adobe", "Invalid SOS", "bad ICC marker")

# How Pillow and libjpeg word what is more than plain damage.
_TRUNCATED = ("truncated", "premature end", "end of file", "not enough", "file size too small")
_UNSUPPORTED = (
    *("unsupported bmp", "unsupported jpeg", "unsupported feature", "not supported"),
    *("cannot handle", "unknown pixel mode"),
)

_LOSSLESS = 100
_WEBP_SIDE, _JPEG_SIDE = 16383, 65535

_TIFF_BITS, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


@dataclass(frozen=True)
class DecodeLimits:
    """Which pictures are refused, before memory is taken for their pixels.

    Attributes:
      max_bytes: of the encoded picture.
      max_pixels: width times height.
    """

    max_bytes: int = 100_000_000
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright.

    Attributes:
      rgb: uint8, shape (H, W, 3), sRGB, C-contiguous; straight colour, also where `alpha` is 0.
      alpha: uint8, shape (H, W), the source's own transparency; None when every pixel is opaque.
      format: `jpeg`, `png`, `webp`, `tiff`, `gif`, `bmp`, `ico`, `avif`, `heif`, `jpeg2000`, `ppm`.
      exif_orientation: 1..8 as found, 1 when absent; already applied.
      icc_converted: True when an embedded profile other than sRGB was converted to sRGB.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    format: str
    exif_orientation: int
    icc_converted: bool


def decode(data: bytes, limits: DecodeLimits) -> Picture:
    """Reads an encoded picture, the first frame or page of those with several.

    16-bit samples keep their high byte. CMYK goes through the embedded profile, or without a usable
    one by the light that each ink lets through; JPEG's CMYK is taken as inverted, the way Adobe
    writes and browsers read it. Other pixels with a damaged profile are taken as sRGB.

    May run in several threads; the work is done outside the GIL. Pillow's own limit of pixels is
    not consulted but for TIFF, GIF and ICO, which are refused above 179 million pixels (unless
    `Image.MAX_IMAGE_PIXELS` was raised).

    Raises:
      DecodeError: `too_large`, `too_many_pixels`, `not_an_image`, `unsupported` (a format or sample
        type that is not read, or a decoder that is not installed), `truncated` or `broken`.
    """
    if len(data) > limits.max_bytes:
        raise DecodeError("too_large", f"{len(data)} bytes, {limits.max_bytes} are allowed")
    name = identify(data)
    try:
        return _decode(name, data, limits)
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("too_many_pixels", str(error)) from error
    except Exception as error:  # over hostile bytes, decoders raise all there is
        raise DecodeError(_kind(error), f"the {name} cannot be read: {error}") from error


def encode_webp(rgb: np.ndarray, alpha: np.ndarray | None, quality: int) -> bytes:
    """Writes a WebP.

    Args:
      rgb: uint8, shape (H, W, 3), sRGB.
      alpha: uint8, shape (H, W), or None. It is stored exactly, at every quality, and colour where
        it is 0 does not get into the file.
      quality: 1..99 for lossy colour, 100 for lossless colour.

    Raises:
      ComposeError: `too_large`: a side is longer than the 16383 pixels that WebP can hold.
    """
    _check_sides(rgb, _WEBP_SIDE, "WebP")
    if alpha is None:
        mode, pixels = "RGB", np.ascontiguousarray(rgb)
    else:
        shown = cv2.bitwise_and(rgb, rgb, mask=alpha)
        mode, pixels = "RGBA", cv2.insertChannel(alpha, cv2.cvtColor(shown, cv2.COLOR_RGB2RGBA), 3)
    height, width = rgb.shape[:2]
    image = Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)
    stream = BytesIO()
    if quality == _LOSSLESS:
        # Quality is effort here: the next step takes four times as long for a third less size.
        image.save(stream, "WEBP", lossless=True, quality=0, method=0, exact=True)
    else:
        image.save(stream, "WEBP", quality=quality, method=2)
    return stream.getvalue()


def encode_jpg(rgb: np.ndarray, quality: int) -> bytes:
    """Writes a JPEG: colour at full resolution from quality 90 on, at half of it below.

    Args:
      rgb: uint8, shape (H, W, 3), sRGB.
      quality: 1..100.

    Raises:
      ComposeError: `too_large`: a side is longer than the 65535 pixels that JPEG can hold.
    """
    _check_sides(rgb, _JPEG_SIDE, "JPEG")
    sampling = "444" if quality >= 90 else "420"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality, "RGB", sampling)


def _check_sides(rgb: np.ndarray, longest: int, name: str) -> None:
    height, width = rgb.shape[:2]
    if max(height, width) > longest:
        raise ComposeError(
            "too_large", f"{name} holds {longest} pixels a side, not {width} x {height}; use png"
        )


def _decode(name: str, data: bytes, limits: DecodeLimits) -> Picture:
    if name == "ico":
        _check_size(icon_size(data), limits)
    with open_lazily(name, data) as image:
        _check_size(image.size, limits)
        if name == "png":
            image.load()  # the orientation may stand behind the pixels
        orientation = image.info.get("original_orientation") or _orientation(image)
        pixels, alpha = _pixels(name, data, image)
        # Less than was found where the reader turned the picture itself: TIFF and HEIF.
        to_turn = _orientation(image)
        profile = image.info.get("icc_profile")
    converted = to_srgb(pixels, profile) if isinstance(profile, bytes) else None
    rgb = _plain_rgb(pixels) if converted is None else converted
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if to_turn in _TURNS:
        rgb = _TURNS[to_turn](rgb)
        alpha = None if alpha is None else _TURNS[to_turn](alpha)
    return Picture(rgb, alpha, name, orientation, converted is not None)


def _check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise DecodeError(
            "too_many_pixels", f"{width} x {height} pixels, {limits.max_pixels} are allowed"
        )


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return 1  # damaged EXIF says nothing about the pixels
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _pixels(name: str, data: bytes, image: ImageFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Gives pixels as they are stored, uint8 (H, W), (H, W, 3) or CMYK (H, W, 4), and alpha."""
    if name == "jpeg":
        return _jpeg_pixels(data, image), None
    if name == "webp" and getattr(image, "n_frames", 1) == 1:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if stored is not None:
            order = cv2.COLOR_BGRA2RGBA if stored.shape[2] == 4 else cv2.COLOR_BGR2RGB
            return _without_alpha(cv2.cvtColor(stored, order))
    if name == "png":
        _scale_transparency(image, depth=data[24])
    image.load()
    if image.mode.startswith("I;16") or (name == "ppm" and image.mode == "I"):
        return _high_bytes(image)
    if image.mode in ("I", "F"):
        raise DecodeError("unsupported", f"{name} with 32-bit samples, which have no fixed range")
    if image.mode == "LAB":
        return lab_to_srgb(image), None
    if image.mode == "CMYK":
        return np.array(image), None
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        mode += "A"
    return _without_alpha(np.array(image if image.mode == mode else image.convert(mode)))


def _jpeg_pixels(data: bytes, image: ImageFile) -> np.ndarray:
    width, height = image.size
    colours, channels = {"L": ("GRAY", 1), "CMYK": ("CMYK", 4)}.get(image.mode, ("RGB", 3))
    # Of the size that was checked: a second header that says more finds no room.
    buffer = np.empty((height, width, channels), np.uint8)
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, buffer=buffer)
    except ValueError as error:
        if not any(text in str(error) for text in _HARMLESS):
            raise
        image.load()  # by the decoder that accepts such files, and still none that ends early
        return np.array(image)
    if colours == "GRAY":
        return pixels[:, :, 0]
    return cv2.bitwise_not(pixels) if colours == "CMYK" else pixels


def _scale_transparency(image: ImageFile, depth: int) -> None:
    """Brings a PNG's transparent colour to the 8 bits that Pillow brings the pixels to."""
    colour = image.info.get("transparency")
    if isinstance(colour, tuple) and depth == 16:
        image.info["transparency"] = tuple(sample >> 8 for sample in colour)
    elif isinstance(colour, int) and image.mode == "L":
        image.info["transparency"] = colour * 255 // ((1 << depth) - 1)


def _high_bytes(image: ImageFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Brings grey samples of 9 to 16 bits to 8 bits, which Pillow would clip or leave."""
    samples = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_TIFF_BITS, (16,))[0]
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        samples = np.uint16((1 << bits) - 1) - samples
    grey = (samples >> (bits - 8)).astype(np.uint8)
    clear = image.info.get("transparency")
    return grey, None if clear is None else np.where(samples == clear, 0, 255).astype(np.uint8)


def _without_alpha(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels, None
    if pixels.shape[2] == 2:
        return cv2.extractChannel(pixels, 0), cv2.extractChannel(pixels, 1)
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), cv2.extractChannel(pixels, 3)


def _plain_rgb(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return cmyk_to_rgb(pixels) if pixels.shape[2] == 4 else pixels


def _kind(error: Exception) -> str:
    """Tells data that ends early, or that Pillow does not know, from other damage."""
    message = str(error).lower()
    causes = (error, error.__cause__)
    if any(isinstance(cause, (EOFError, IndexError, struct.error)) for cause in causes):
        return "truncated"
    if any(text in message for text in _TRUNCATED):
        return "truncated"
    return "unsupported" if any(text in message for text in _UNSUPPORTED) else "broken"
