"""Where a picture's encoded bytes come from: memory, text, disk, web or store."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from .download import download
from .errors import FetchError
from .http import shared_client
from .inline import decode_inline, is_inline
from .persistence import persistently
from .storage import is_local, local_path
from .stored import read_object

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class FetchLimits:
    """What fetching one picture may take.

    Attributes:
      max_bytes: the encoded picture's greatest size; `--max_image_bytes`.
      timeout: seconds for one attempt, to the last byte.
      attempts: how often a picture is tried in all, where trying again may help.
      max_redirects: how many HTTP redirects one attempt follows.
      allow_private_hosts: whether http(s) may reach addresses that are not on the public internet.
    """

    max_bytes: int = 100_000_000
    timeout: float = 30.0
    attempts: int = 4
    max_redirects: int = 5
    allow_private_hosts: bool = False


@dataclass(frozen=True)
class Fetched:
    """An encoded picture.

    Attributes:
      data: never empty.
      attempts: how many it took.
    """

    data: bytes
    attempts: int


def fetch(
    source: str | bytes, limits: FetchLimits, *, sleep: Callable[[float], None] = time.sleep
) -> Fetched:
    """Gets a picture's encoded bytes.

    What may pass (time limits, connection trouble, 408, 425, 429 and 5xx) is tried again after a
    random, exponentially growing pause, or the one the server asks for.

    Args:
      source: the bytes themselves, a data URI, the base64 text of a picture, an absolute path, or
        a URI: `file://`, `http(s)://`, or any scheme that fsspec knows.
      limits: what it may take.
      sleep: pauses between attempts.

    Raises:
      FetchError: the message is one line that names the source without its secrets.
    """
    try:
        if isinstance(source, bytes):
            return Fetched(_given(source, limits.max_bytes), 1)
        if is_inline(source):
            return Fetched(_given(decode_inline(source, limits.max_bytes), limits.max_bytes), 1)
        if is_local(source):
            return Fetched(_read_local(source, limits.max_bytes), 1)
        data, attempts = persistently(lambda: _read_remote(source, limits), limits.attempts, sleep)
        return Fetched(data, attempts)
    except FetchError as error:
        raise FetchError(
            error.kind,
            f"{shown(source)}: {_printable(error.message)}",
            retryable=error.retryable,
            attempts=error.attempts,
        ) from error


def shown(source: str | bytes) -> str:
    """Names a source in a message: short, on one line, without data, logins or signatures."""
    if isinstance(source, bytes):
        return f"{len(source):,} bytes"
    if is_inline(source):
        return f"picture in {len(source):,} characters of text"
    if "://" in source:
        source = re.sub(r"://[^/]*@", "://", source)
        source = re.sub(r"[?#].*", "?…", source, flags=re.DOTALL)
    line = _printable(source)
    return line if len(line) <= 160 else f"{line[:80]}…{line[-60:]}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _given(data: bytes, max_bytes: int) -> bytes:
    if not data:
        raise FetchError("empty", "the picture holds no bytes")
    if len(data) > max_bytes:
        raise FetchError("too_large", f"the limit is {max_bytes:,} bytes; raise --max_image_bytes")
    return data


def _read_local(source: str, max_bytes: int) -> bytes:
    try:
        host = urlsplit(source).netloc if "://" in source else ""
        if host not in ("", "localhost"):
            raise FetchError("bad_path", "a file:// URI has three slashes before an absolute path")
        with open(local_path(source), "rb", buffering=0, opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FetchError("not_a_file", "is not a regular file")
            if status.st_size > max_bytes:
                raise FetchError(
                    "too_large",
                    f"{status.st_size:,} bytes are more than the limit of {max_bytes:,}; "
                    f"raise --max_image_bytes",
                )
            data = file.read(status.st_size + 1)
            if len(data) < status.st_size:
                raise FetchError("truncated", "shrank while it was read", retryable=True)
            return _given(data, max_bytes)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FetchError("not_found", "there is no such file") from error
    except IsADirectoryError as error:
        raise FetchError("not_a_file", "is a folder") from error
    except PermissionError as error:
        raise FetchError("permission", "this user may not read the file") from error
    except ValueError as error:
        raise FetchError("bad_path", f"not a path: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise FetchError("bad_path", f"not a path: {error.strerror}") from error
        raise FetchError("io", f"cannot be read: {error.strerror}", retryable=True) from error


def _open(path: str, _: int) -> int:
    return os.open(path, _OPEN_FLAGS)  # never waits, as opening a named pipe would


def _read_remote(source: str, limits: FetchLimits) -> bytes:
    if _is_web(source):
        return download(
            shared_client(limits.allow_private_hosts),
            source,
            max_bytes=limits.max_bytes,
            timeout=limits.timeout,
            max_redirects=limits.max_redirects,
        )
    if not limits.allow_private_hosts and any(map(_is_web, source.split("::"))):
        raise FetchError(
            "private_address",
            "a web address inside a chained URI cannot be checked; --allow_private_hosts allows it",
        )
    return read_object(source, max_bytes=limits.max_bytes, timeout=limits.timeout)


def _is_web(uri: str) -> bool:
    return uri.lower().startswith(("http://", "https://"))
