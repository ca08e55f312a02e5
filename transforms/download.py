"""One download over HTTP, kept within its limits while it streams."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import httpx

from .errors import FetchError, ImageError
from .guard import PrivateAddressError
from .http import UnknownHostError, deadline

# Compression gains nothing on pictures, and the size that counts is then the one announced.
_HEADERS = {"Accept": "image/*,*/*;q=0.8", "Accept-Encoding": "identity"}
CONNECT_SECONDS = 10.0  # for one address, so that a dead first one leaves time for the next
_INFLATED_STEP = 1 << 20
_DRAINED = 1 << 16


def download(
    client: httpx.Client, url: str, *, max_bytes: int, timeout: float, max_redirects: int
) -> bytes:
    """Gets one file over HTTP, in one attempt.

    Args:
      client: from `http.guarded_client`, whose guard holds for every redirect, too.
      url: `http://` or `https://`.
      max_bytes: the file's greatest size; also bounds the memory taken.
      timeout: seconds from the first connection to the last byte, redirects included.
      max_redirects: how many are followed.

    Raises:
      FetchError: whatever went wrong.
    """
    with web_trouble(FetchError, timeout):
        return _download(client, url, max_bytes, timeout, max_redirects)


@contextmanager
def web_trouble(kind: type[ImageError], timeout: float) -> Iterator[None]:
    """Bounds the time of a block that talks to a server, and puts its trouble into words.

    Args:
      kind: what is raised.
      timeout: seconds for the whole block.

    Raises:
      ImageError: of that kind, for whatever httpx or the guard raised.
    """
    try:
        with deadline(timeout):
            yield
    except PrivateAddressError as error:
        raise kind("private_address", f"{error}; --allow_private_hosts allows it") from error
    except httpx.TimeoutException as error:
        raise kind("timeout", f"no complete answer within {timeout:g} s", retryable=True) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise kind("bad_url", f"not a usable web address: {error}") from error
    except httpx.TransportError as error:
        raise _connection_trouble(kind, error) from error


def _download(
    client: httpx.Client, url: str, max_bytes: int, timeout: float, max_redirects: int
) -> bytes:
    limits = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    request = client.build_request("GET", url, headers=_HEADERS, timeout=limits)
    for _ in range(max_redirects + 1):
        response = client.send(request, stream=True)
        try:
            if response.next_request is None:
                return _body(response, max_bytes)
            request = response.next_request
            drain(response)
        finally:
            response.close()
        if request.url.scheme not in ("http", "https"):
            raise FetchError(
                "bad_redirect", f"redirects to {request.url.scheme[:20]}:, not to http(s)"
            )
    raise FetchError("too_many_redirects", f"more than {max_redirects} redirects")


def _body(response: httpx.Response, max_bytes: int) -> bytes:
    if not response.is_success:
        drain(response)
        raise refused(FetchError, response)
    declared = int(response.headers.get("Content-Length", 0))
    if declared > max_bytes:
        raise FetchError(
            "too_large",
            f"announces {declared:,} bytes, the limit is {max_bytes:,}; raise --max_image_bytes",
        )
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in _decoded(response):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise FetchError(
                    "too_large",
                    f"sends more than the limit of {max_bytes:,} bytes; raise --max_image_bytes",
                )
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        of = f" of {declared:,}" if declared else ""
        raise FetchError(
            "truncated", f"the connection ended after {size:,}{of} bytes", retryable=True
        ) from error
    if not size:
        raise FetchError("empty", "the server's answer holds no bytes")
    return b"".join(chunks)


def _decoded(response: httpx.Response) -> Iterator[bytes]:
    """Undoes a compression that was not asked for, in steps small enough to count as they come."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        yield from response.iter_raw()
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchError("bad_encoding", f"sent as {encoding[:20]!r}, though asked for plain bytes")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip's or zlib's header, as it comes
    try:
        for chunk in response.iter_raw():
            while chunk:
                yield inflater.decompress(chunk, _INFLATED_STEP)
                chunk = inflater.unconsumed_tail
    except zlib.error as error:
        raise FetchError("bad_encoding", f"is not the {encoding} it claims to be") from error
    if not inflater.eof:
        raise FetchError("truncated", f"the {encoding} data ends too early", retryable=True)


def drain(response: httpx.Response) -> None:
    """Reads a short rest, which leaves the connection open for the next request."""
    left = _DRAINED
    for chunk in response.iter_raw():
        left -= len(chunk)
        if left < 0:
            return


def refused(kind: type[ImageError], response: httpx.Response) -> ImageError:
    """Puts a server's answer that is no success into words."""
    status = response.status_code
    message = f"HTTP {status} {response.reason_phrase[:80]}".strip()
    retry_after = retry_after_seconds(response.headers.get("Retry-After"))
    if retry_after is not None:
        message += f", to be tried again in {retry_after:.0f} s"
    if status in (401, 403):
        message += "; the address needs a login or a signature that still holds"
    error = kind(f"http_{status}", message, retryable=may_pass(status))
    error.retry_after = retry_after
    return error


def may_pass(status: int) -> bool:
    """Tells whether an HTTP status speaks of the moment rather than of the request."""
    return status in (408, 425, 429) or status >= 500


def retry_after_seconds(value: str | None) -> float | None:
    """Reads a Retry-After header (RFC 9110, 10.2.3): seconds or a date.

    Returns:
      Seconds from now, at least 0; None without a header or for one that says neither.
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def causes(error: BaseException) -> Iterator[BaseException]:
    """Gives an exception and what it was raised from, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _connection_trouble(kind: type[ImageError], error: httpx.TransportError) -> ImageError:
    for cause in causes(error):
        if isinstance(cause, UnknownHostError):
            return kind("dns", str(cause), retryable=cause.temporary)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return kind("certificate", f"the server's certificate: {cause.verify_message}")
    return kind("connection", f"connection trouble: {error}", retryable=True)
