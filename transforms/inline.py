"""Pictures written into text: data URIs and bare base64."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from urllib.parse import unquote_to_bytes

from .errors import FetchError

# How the first bytes of JPEG, PNG, GIF, WebP, TIFF (both byte orders), AVIF and HEIC read in
# base64. Of these only JPEG's could begin an absolute path, hence the length and the alphabet.
_PICTURE = re.compile(
    r"\s*(?:[/_]9j[/_]|iVBORw0KGgo|R0lGODdh|R0lGODlh|UklGR|SUkqA|TU0AK|AAAA..Z0eX)"
    r"[\w+/\-\s]*={0,2}\s*",
    re.ASCII,
)
_LOOKED_AT = 256
_SHORTEST = 32

_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n"


def is_inline(source: str) -> bool:
    """Tells whether a text is a picture itself, rather than the name of one.

    Bare base64 is taken for a picture when it begins like one and holds nothing else, which a
    file's extension would.
    """
    return _is_data_uri(source) or (
        len(source) >= _SHORTEST and _PICTURE.fullmatch(source[:_LOOKED_AT]) is not None
    )


def decode_inline(source: str, max_bytes: int) -> bytes:
    """Decodes a data URI (RFC 2397) or bare base64.

    Takes the URL-safe alphabet, missing padding and line breaks too, since all are in use.

    Args:
      source: a text for which `is_inline` holds.
      max_bytes: the decoded picture's greatest size.

    Raises:
      FetchError: `bad_data_uri`, `bad_base64`, or `too_large` before anything is decoded.
    """
    if not _is_data_uri(source):
        return _from_base64(source.encode("ascii", "replace"), max_bytes)
    header, comma, payload = source[len("data:") :].partition(",")
    if not comma:
        raise FetchError("bad_data_uri", "the data URI has no comma before its data")
    if header.rpartition(";")[2].strip().lower() == "base64":
        return _from_base64(unquote_to_bytes(payload), max_bytes)
    if len(payload) > 3 * max_bytes:  # a byte takes at most three characters, as %XX
        raise _too_large(len(payload) // 3, max_bytes)
    data = unquote_to_bytes(payload)
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    return data


def _is_data_uri(source: str) -> bool:
    return source[:5].lower() == "data:"


def _from_base64(text: bytes, max_bytes: int) -> bytes:
    digits = text.translate(_FROM_URL_SAFE, _WHITESPACE).rstrip(b"=")
    size = len(digits) * 3 // 4
    if size > max_bytes:
        raise _too_large(size, max_bytes)
    try:
        return b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except binascii.Error as error:
        raise FetchError("bad_base64", f"the base64 text is damaged: {error}") from error


def _too_large(size: int, max_bytes: int) -> FetchError:
    return FetchError(
        "too_large",
        f"{size:,} bytes are more than the limit of {max_bytes:,}; raise --max_image_bytes",
    )
