"""Pictures in encoded form, for tests."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pillow_heif
from PIL import Image


def encoded(pixels: np.ndarray | Image.Image, form: str, **options) -> bytes:
    """Encodes pixels with Pillow, or as HEIF."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = BytesIO()
    if form == "HEIF":
        pillow_heif.from_pillow(image).save(stream, **options)
    else:
        image.save(stream, form, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, kind: int, rows: bytes, **chunks: bytes) -> bytes:
    """Joins a PNG of any sample depth from its unfiltered rows and further chunks."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
        + b"".join(chunk(name.encode(), content) for name, content in chunks.items())
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def by_pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    """Decodes with Pillow alone."""
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert(mode))
