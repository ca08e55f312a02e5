"""Rows into image records: which column holds the picture, and what its values mean."""

from __future__ import annotations

import difflib
import hashlib
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote, urlsplit

from . import storage
from .errors import ManifestError
from .inline import is_inline
from .records import ImageRecord

IMAGE_COLUMNS = ("image", "image_uri", "image_url", "uri", "url", "path", "file_name")
KEY_COLUMNS = ("key", "id")

# What a table that came over the web may name: stores that give a reader nothing of its own
# machine. fsspec knows many schemes that do (file, local, git, simplecache::file, …).
_WEB_SCHEMES = ("http", "https", "gs", "gcs", "s3", "s3a", "az", "abfs", "abfss", "hf")

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)(?:::[^/]*)*://")
_LONGEST_PATH = 4096  # PATH_MAX on Linux
_BYTES = (bytes, bytearray, memoryview)


@dataclass(frozen=True)
class Columns:
    """The columns with a meaning of their own.

    Attributes:
      image: holds the picture or says where it is.
      key: names the picture; None when keys are derived from the sources.
    """

    image: str
    key: str | None

    def carries(self, name: str) -> bool:
        """Tells whether a column is one of the others, which go out as they came in.

        The image column does not: its content is what the cutout replaces. A key column does,
        unless it is called `key`, which the output's own column of that name already holds.
        """
        return name != self.image and not (name == self.key == "key")


def find_columns(
    names: Iterable[str], image_column: str | None = None, key_column: str | None = None
) -> Columns:
    """Finds the image and the key column by name.

    Args:
      names: the columns there are.
      image_column: the one to use; None for the first of `IMAGE_COLUMNS` that is there, in
        whatever case it is written.
      key_column: the one to use; None for the first of `KEY_COLUMNS` that is there, if any.

    Raises:
      ValueError: there is no such column, or none that a convention names.
    """
    there = list(names)
    image = _named("image", image_column, there) or _conventional(IMAGE_COLUMNS, there)
    if image is None:
        near = _nearest(IMAGE_COLUMNS, there)
        hint = f' (the nearest is "{near}")' if near else ""
        raise ValueError(
            f"no image column among {_listed(there)}{hint}: "
            f"call it one of {', '.join(IMAGE_COLUMNS)}, or name it by image_column"
        )
    return Columns(image, _named("key", key_column, there) or _conventional(KEY_COLUMNS, there))


def _named(role: str, wanted: str | None, there: list[str]) -> str | None:
    if wanted is None or wanted in there:
        return wanted
    near = _nearest([wanted], there)
    hint = f'; did you mean "{near}"?' if near else ""
    raise ValueError(f'no {role} column "{wanted}" among {_listed(there)}{hint}')


def _conventional(conventions: tuple[str, ...], there: list[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(there)}
    for name in conventions:
        if name in there:
            return name
        if name in lower:
            return lower[name]
    return None


def _nearest(wanted: Iterable[str], there: list[str]) -> str | None:
    pairs = [
        (difflib.SequenceMatcher(None, name.lower(), word.lower()).ratio(), name)
        for word in wanted
        for name in there
    ]
    ratio, name = max(pairs, default=(0.0, None))
    return name if ratio >= 0.6 else None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:50]) + (f" and {len(names) - 50} more" if len(names) > 50 else "")


def record_from_row(
    values: Mapping[str, Any], columns: Columns, base: str, row: int, place: str
) -> ImageRecord:
    """Makes the image record of one row.

    The image column may hold a URI or path, a data URI, base64 text, the encoded picture as
    bytes, or the Hugging Face struct `{bytes, path}`. Relative paths resolve against `base`.

    Args:
      values: the row, by column name.
      columns: which of them are the image and the key.
      base: folder of the table the row is from; empty to leave relative paths as they are.
      row: position within the work unit, from 0.
      place: says which row this is, in messages and as the key of a row that names no picture.

    Returns:
      The record. Pictures that the row itself holds have the struct's path or
      `inline:sha256:…` for a `source_uri`, and without a key column are named by the first 16
      hexadecimal digits of the SHA-256 of the bytes or text given. A row whose picture cannot be
      told carries a `ManifestError` as its `trouble`: `no_image`, or `local_path_refused` where
      a table from the web names a file of this machine.
    """
    key = values.get(columns.key) if columns.key is not None else None
    others = {name: value for name, value in values.items() if columns.carries(name)}
    return record_from_values(values.get(columns.image), key, base, row, place, others)


def record_from_values(
    image: Any,
    key: Any,
    base: str,
    row: int,
    place: str,
    others: Mapping[str, Any] | None = None,
) -> ImageRecord:
    """Makes the image record of one row from the values of its image and its key column."""
    name = _key_text(key)
    try:
        source, source_uri = _source(image, base)
    except ManifestError as trouble:
        trouble.message = f"{place}: {trouble.message}"
        return ImageRecord(name or place, None, "", others or {}, row, trouble)
    if isinstance(source, str) and source == source_uri:
        return ImageRecord(name or derive_key(source_uri, base), source, source, others or {}, row)
    data = source if isinstance(source, bytes) else source.encode()
    digest = hashlib.sha256(data).hexdigest()[:16]
    source_uri = source_uri or f"inline:sha256:{digest}"
    return ImageRecord(name or digest, source, source_uri, others or {}, row)


def record_of_file(uri: str, base: str, row: int) -> ImageRecord:
    """Makes the record of a picture that a listing found, whatever its name looks like."""
    source_uri = _storable(uri)
    return ImageRecord(derive_key(source_uri, base), uri, source_uri, row=row)


def derive_key(uri: str, base: str) -> str:
    """Names a picture after where it is.

    Returns:
      For a picture under `base` its path from there, `/` replaced by `_`, without extension. For
      any other the last segment of its path without extension, a dash and the first 8 hexadecimal
      digits of the URI's SHA-256.
    """
    root = base if base.endswith("/") else base + "/"
    web = is_web(uri)
    if base and uri.startswith(root) and not (web and ("?" in uri or "#" in uri)):
        inside = posixpath.splitext(uri[len(root) :])[0]
        return (unquote(inside) if web else inside).replace("/", "_")
    path = unquote(urlsplit(uri).path) if web else uri
    stem = posixpath.splitext(storage.basename(path))[0]
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    return f"{stem}-{digest}" if stem else digest


def _key_text(key: Any) -> str | None:
    if isinstance(key, _BYTES):
        key = bytes(key).decode("utf-8", "replace")
    if key is None or (isinstance(key, float) and math.isnan(key)):
        return None
    text = _storable(str(key))
    return text if text.strip() else None


def _storable(text: str) -> str:
    """Replaces lone surrogates, which JSON can spell and no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _source(value: Any, base: str) -> tuple[str | bytes, str]:
    """Gives the source and what rows say of it, which for inline pictures may be nothing yet."""
    if isinstance(value, Mapping):
        return _source_of_struct(value, base)
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return _source_of_text(_storable(value.strip()), base)
    if value is not None and not isinstance(value, _BYTES):
        raise _no_image(f"{type(value).__name__} is neither a path, a URI nor a picture's bytes")
    if not value:
        raise _no_image("no picture is given")
    return bytes(value), ""


def _source_of_struct(struct: Mapping[str, Any], base: str) -> tuple[str | bytes, str]:
    if not {"bytes", "path"} & set(struct):
        raise _no_image(f"a struct of {_listed(list(struct))} holds neither bytes nor path")
    data, path = struct.get("bytes"), struct.get("path")
    if not data:
        return _source(path, base)
    named = _storable(path) if isinstance(path, str) else ""
    if isinstance(data, _BYTES):
        return bytes(data), named
    if isinstance(data, str) and is_inline(data):
        return data, named
    raise _no_image("the struct's bytes are neither bytes nor a picture in base64")


def _source_of_text(text: str, base: str) -> tuple[str, str]:
    if not text:
        raise _no_image("no picture is given")
    if is_inline(text):
        return text, ""
    if len(text) > _LONGEST_PATH and not _URI.match(text):
        raise _no_image(f"{len(text):,} characters that are neither a path, a URI nor a picture")
    uri = resolve(text, base)
    return uri, uri


def _no_image(message: str) -> ManifestError:
    return ManifestError("no_image", message)


def resolve(text: str, base: str) -> str:
    """Gives the place that a row names: URIs and absolute paths as they are, others from `base`.

    Raises:
      ManifestError: `local_path_refused`, for a local path or `file://` URI in a table from the
        web: it must not read the disk of the machine that works on it.
    """
    scheme = _URI.match(text)
    local = text.startswith("/") or text[:5].lower() == "file:"
    from_web = any(is_web(part) for part in base.split("::"))
    if from_web and (local or (scheme and not _open_to_web(scheme[1], text))):
        raise ManifestError(
            "local_path_refused",
            f'a manifest from the web may not name "{text[:200]}": only relative paths and '
            f"{', '.join(name + '://' for name in _WEB_SCHEMES)}",
        )
    if scheme or local or not base:
        return text
    return _under(base, text)


def _open_to_web(scheme: str, text: str) -> bool:
    chained = "::" in text and not is_web(text)  # a chain may end in a local file
    return scheme.lower() in _WEB_SCHEMES and not chained


def is_web(uri: str) -> bool:
    """Tells an `http(s)://` address."""
    return uri.lower().startswith(("http://", "https://"))


def _under(base: str, path: str) -> str:
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    store = re.match(r"[^/]+://[^/]*", base)
    if store is None or not {".", ".."} & set(path.split("/")):
        return storage.join(base, path)
    # Stores know no `..`; on a local disk it is left to the system, which follows links.
    folded = posixpath.normpath(storage.join(base[store.end() :] or "/", path))
    return store[0] + folded
