"""Files wherever they are: local paths and every fsspec scheme behind a handful of functions."""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import fsspec
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from .listing import StoredObject, glob_objects, list_objects, pages_of
from .local_listing import list_local
from .stream import ordered_map

# Stores whose listings fsspec would remember for good, while other workers go on writing.
_REMEMBERED = ("gs", "gcs", "s3", "s3a")

_REMOVERS = 16
_REMOVED_AT_ONCE = 1000  # objects in one request on S3; GCS takes them by hundreds

# gcsfs and s3fs try again after 408, 429, 5xx and broken connections; gcsfs not after a silence.
_again = Retrying(
    retry=retry_if_exception_type((TimeoutError, asyncio.TimeoutError)),
    wait=wait_random_exponential(multiplier=1, max=30),
    stop=stop_after_attempt(4),
    reraise=True,
)

# What stores call the value that changes with an object's content, best first.
_CONTENT_MARKS = ("md5Hash", "crc32c", "ETag", "etag", "generation", "mtime", "created")


@dataclass(frozen=True)
class FileInfo:
    """One stored file.

    Attributes:
      uri: where it is.
      size: bytes.
      fingerprint: changes when the content changes, as far as the store tells: a checksum or
        entity tag from the listing, else the time of the last change.
    """

    uri: str
    size: int
    fingerprint: str


def is_local(uri: str) -> bool:
    """Tells whether a URI is a local path or a `file://` URI."""
    return "://" not in uri or uri.lower().startswith("file://")


def local_path(uri: str) -> str:
    """Gives the path of a local URI.

    Raises:
      ValueError: the URI is not local.
    """
    if "://" not in uri:
        return uri
    if not is_local(uri):
        raise ValueError(f"not a local path: {uri}")
    return unquote(urlsplit(uri).path)


def resolve(uri: str) -> tuple[Any, str]:
    """Finds the fsspec file system of a URI and the path within it.

    fsspec keeps one instance, and with it one connection pool, a process and store. Credentials
    and addresses are what the store's library finds: its environment variables and files, and
    fsspec's own configuration (`FSSPEC_GS_…`, `~/.config/fsspec`).

    Raises:
      ValueError: the scheme is unknown.
      ImportError: the scheme's package is not installed; the message names it.
    """
    scheme = uri.partition("://")[0].lower()
    if scheme in _REMEMBERED:
        return fsspec.core.url_to_fs(uri, use_listings_cache=False)
    return fsspec.core.url_to_fs(uri)


def canonical(uri: str) -> str:
    """Spells a URI the way `list_files` does."""
    if is_local(uri):
        return local_path(uri)
    fs, path = resolve(uri)
    return fs.unstrip_protocol(path)


def join(base: str, *parts: str) -> str:
    """Appends relative parts to a base URI with single slashes."""
    return "/".join([base.rstrip("/") if base != "/" else "", *(part.strip("/") for part in parts)])


def parent(uri: str) -> str:
    """Gives the folder that holds a file; `.` for a bare file name."""
    folder, slash, _ = uri.rpartition("/")
    if not slash:
        return "."
    return folder or "/"


def basename(uri: str) -> str:
    """Gives the last path segment of a URI."""
    return uri.rstrip("/").rpartition("/")[2]


def exists(uri: str) -> bool:
    """Tells whether a file or folder is there."""
    if is_local(uri):
        return os.path.exists(local_path(uri))
    fs, path = resolve(uri)
    return fs.exists(path)


def is_folder(uri: str) -> bool:
    """Tells whether a URI names a folder (or, on object stores, a prefix with objects)."""
    if is_local(uri):
        return os.path.isdir(local_path(uri))
    fs, path = resolve(uri)
    return fs.isdir(path)


def open_input(uri: str) -> BinaryIO:
    """Opens a file for reading bytes.

    Raises:
      FileNotFoundError: there is no such file.
    """
    if is_local(uri):
        return open(local_path(uri), "rb")
    fs, path = resolve(uri)
    if pages_of(fs) is not None:
        return cast(BinaryIO, StoredObject(fs, path))
    return fs.open(path, "rb")


def read_bytes(uri: str, size: int | None = None) -> bytes:
    """Reads a whole file, or up to `size` bytes of its beginning; with one request.

    Raises:
      FileNotFoundError: there is no such file.
    """
    if is_local(uri):
        with open(local_path(uri), "rb") as file:
            return file.read(size)
    fs, path = resolve(uri)
    return _again(fs.cat_file, path, **({} if size is None else {"start": 0, "end": size}))


def write_atomic(uri: str, data: bytes, scratch: str | None = None) -> None:
    """Writes a whole file so that it is there complete or not at all.

    Object stores get one PUT. Locally a temporary file is written and moved into place.

    Args:
      uri: the file, replaced if it exists.
      data: its content.
      scratch: a local folder on the same file system for the temporary file, so that a killed
        process leaves nothing beside the target; None for the target's own folder.
    """
    if not is_local(uri):
        fs, path = resolve(uri)
        _again(fs.pipe_file, path, data)
        return
    _place(os.replace, local_path(uri), data, scratch)


def write_exclusive(uri: str, data: bytes, scratch: str | None = None) -> bool:
    """Writes a whole file unless one of that name exists.

    Returns:
      True when the file holds what this call was to write: it created it, or, on object stores,
      finds exactly this content, as after an answer that was lost on the way. Of several racing
      writers of different contents one gets True, where the store can create exclusively (local
      disks, GCS, S3; not every emulator).
    """
    if not is_local(uri):
        fs, path = resolve(uri)
        try:
            _again(fs.pipe_file, path, data, mode="create")
        except FileExistsError:
            # The store's library tries again by itself, and meets its own first try.
            return _again(fs.cat_file, path) == data
        return True
    try:
        _place(_move_to_new, local_path(uri), data, scratch)
    except FileExistsError:
        return False
    return True


def put_file(local: str, uri: str) -> None:
    """Copies a local file to where it belongs in a store, complete or not at all."""
    fs, path = resolve(uri)
    _again(fs.put_file, local, path)


def _place(place: Callable[[str, str], None], path: str, data: bytes, scratch: str | None) -> None:
    """Writes a temporary file and gives it its name in one step."""
    temporary = _write_temporary(path, data, scratch)
    try:
        try:
            place(temporary, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            if not os.path.exists(temporary):  # another run into the same place has tidied up
                temporary = _write_temporary(path, data, scratch)
            place(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _move_to_new(source: str, target: str) -> None:
    """Moves a file as `os.replace` does, but to a name that is not taken."""
    os.link(source, target)
    with suppress(FileNotFoundError):  # another run into the same place has tidied up
        os.unlink(source)


def _write_temporary(path: str, data: bytes, scratch: str | None) -> str:
    folder = scratch or os.path.dirname(path) or "."
    temporary = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
    try:
        file = open(temporary, "wb")  # noqa: SIM115 - reopened below when the folder is new
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        file = open(temporary, "wb")  # noqa: SIM115
    with file:
        file.write(data)
    return temporary


def list_files(uri: str) -> Iterator[FileInfo]:
    """Lists the files under a folder, or a single file, sorted by URI.

    A missing folder gives nothing. Object stores are listed by pages, never file by file; a slash
    at the URI's end says that it is no single file, which saves a request.
    """
    if is_local(uri):
        for path, stat in list_local(local_path(uri)):
            yield FileInfo(path, stat.st_size, str(stat.st_mtime_ns))
        return
    fs, path = resolve(uri)
    if pages_of(fs) is not None:
        folder = "/" if uri.endswith("/") else ""
        yield from _objects(fs, list_objects(fs, path + folder))
        return
    with suppress(FileNotFoundError):
        yield from _files(fs, uri, fs.find(path, detail=True))


def glob_files(pattern: str) -> Iterator[FileInfo]:
    """Lists the files whose URIs match a glob, sorted, as `list_files` does."""
    fs, path = resolve(pattern)
    if pages_of(fs) is not None:
        yield from _objects(fs, glob_objects(fs, path))
        return
    yield from _files(fs, pattern, fs.glob(path, detail=True))


def _objects(fs: Any, listed: Iterator[dict[str, Any]]) -> Iterator[FileInfo]:
    for info in listed:
        yield FileInfo(fs.unstrip_protocol(info["name"]), info["size"], _fingerprint(info))


def _files(fs: Any, uri: str, found: dict[str, Any]) -> Iterator[FileInfo]:
    for name in sorted(found):
        info = found[name]
        if info["type"] == "file":
            yield FileInfo(_full_uri(fs, uri, name), int(info["size"] or 0), _fingerprint(info))


def has_glob(uri: str) -> bool:
    """Tells whether a URI holds glob characters; in web addresses `?` starts the query."""
    characters = "*[" if uri.lower().startswith(("http://", "https://")) else "*?["
    return any(character in uri for character in characters)


def _full_uri(fs: Any, uri: str, name: str) -> str:
    if is_local(uri):
        return name
    return fs.unstrip_protocol(name)


def _fingerprint(info: dict[str, Any]) -> str:
    for mark in _CONTENT_MARKS:
        if info.get(mark) is not None:
            return f"{mark}:{info[mark]}"
    return ""


def remove(uri: str) -> None:
    """Removes one file; a missing one is fine."""
    try:
        if is_local(uri):
            os.unlink(local_path(uri))
        else:
            fs, path = resolve(uri)
            fs.rm_file(path)
    except FileNotFoundError:
        return


def remove_tree(uri: str) -> None:
    """Removes a folder and all in it; a missing one is fine."""
    if is_local(uri):
        shutil.rmtree(local_path(uri), ignore_errors=not os.path.exists(local_path(uri)))
        return
    fs, path = resolve(uri)
    if pages_of(fs) is None:
        if fs.exists(path):
            fs.rm(path, recursive=True)
        return
    for _ in ordered_map(
        lambda names: _remove_objects(fs, names),
        _batches(list_objects(fs, path)),
        threads=_REMOVERS,
        lookahead=2 * _REMOVERS,
    ):
        pass


def _batches(objects: Iterator[dict[str, Any]]) -> Iterator[list[str]]:
    while names := [info["name"] for info in islice(objects, _REMOVED_AT_ONCE)]:
        yield names


def _remove_objects(fs: Any, names: list[str]) -> None:
    with suppress(FileNotFoundError):  # what two runs remove at the same time
        fs.rm(names)
