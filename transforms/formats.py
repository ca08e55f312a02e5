"""Which form a picture is encoded in, told by its first bytes, and Pillow's reader for it."""

from __future__ import annotations

import struct
from io import BytesIO

from PIL import features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoFile, IcoImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .errors import DecodeError

# By name, because `Image.open` tries every format there is, programs like PostScript among them,
# and holds pictures to one limit of pixels that is global to the process.
_READERS: dict[str, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "tiff": TiffImageFile,
    "gif": GifImageFile,
    "bmp": BmpImageFile,
    "ico": IcoImageFile,
    "avif": AvifImageFile,
    "jpeg2000": Jpeg2KImageFile,
    "ppm": PpmImageFile,
}

_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = {
    "jpeg": (b"\xff\xd8\xff",),
    "png": (_PNG,),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "gif": (b"GIF87a", b"GIF89a"),
    "bmp": (b"BM",),
    "ico": (b"\0\0\1\0",),
    "jpeg2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "ppm": (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
}
_BRANDS = {
    "avif": {b"avif", b"avis"},
    "heif": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1"},
}
_NOT_READ = {
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "Photoshop": (b"8BPS",),
    "PDF": (b"%PDF",),
    "PostScript": (b"%!PS",),
}


def identify(data: bytes) -> str:
    """Names the format of an encoded picture, lower case.

    Raises:
      DecodeError: `unsupported` for a known format that is not read, else `not_an_image`.
    """
    for name, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            return name
    if data.startswith(b"RIFF") and data.startswith(b"WEBP", 8):
        return "webp"
    if data.startswith(b"ftyp", 4):
        box = data[8 : int.from_bytes(data[:4], "big")][:256]
        brands = {box[start : start + 4] for start in range(0, len(box), 4)}
        for name, known in _BRANDS.items():
            if brands & known:
                return name
        raise DecodeError("unsupported", f"a media file of the brand {box[:4]!r} is not read")
    for name, signatures in _NOT_READ.items():
        if data.startswith(signatures):
            raise DecodeError("unsupported", f"{name} is not read")
    raise DecodeError("not_an_image", f"{len(data)} bytes that begin with {data[:16]!r}")


def open_lazily(name: str, data: bytes) -> ImageFile:
    """Opens an encoded picture with Pillow: its header is read, its pixels are not.

    Args:
      name: the format, as `identify` names it.
      data: the encoded picture. Icons are the exception and decoded at once; see `icon_size`.

    Raises:
      DecodeError: `unsupported`: the decoder is not installed; `truncated`: a WebP is incomplete.
      Exception: whatever Pillow's reader makes of damaged data.
    """
    if name == "heif":
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise DecodeError("unsupported", "HEIF needs `pip install pillow-heif`") from error
        return HeifImageFile(BytesIO(data))
    if name == "avif" and not features.check("avif"):
        raise DecodeError("unsupported", "this Pillow was built without AVIF")
    # Pillow's message for a WebP that ends early is the one for any damage.
    if name == "webp" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise DecodeError("truncated", f"the webp ends early, after {len(data)} bytes")
    return _READERS[name](BytesIO(data))


def icon_size(data: bytes) -> tuple[int, int]:
    """Gives width and height of the largest picture in an ICO, from that picture's own header."""
    start = IcoFile(BytesIO(data)).entry[0].offset
    if data.startswith(_PNG, start):
        width, height = struct.unpack_from(">II", data, start + 16)
        return width, height
    width, height = struct.unpack_from("<ii", data, start + 4)
    return abs(width), abs(height) // 2  # a mask of the same size stands below the picture
