"""Small readers of what providers answer; nothing of it is trusted to have the promised shape."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

from .messages import (
    Accepted,
    Failed,
    HttpResponse,
    Outcome,
    Picture,
    Ticket,
    Trouble,
    Unsettled,
)

# Seconds by which our clock and a provider's may differ when a lost submit is searched for.
CLOCK_SKEW = 120.0

_LONGEST_MESSAGE = 300
_MILLISECONDS = 1e11  # as Unix time in seconds, the year 5138


def dig(document: Any, *path: str | int) -> Any:
    """Follows keys and positions into a JSON document; None where the way ends."""
    for step in path:
        if isinstance(document, Mapping):
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int):
            document = document[step] if -len(document) <= step < len(document) else None
        else:
            return None
    return document


def listed(document: Any, *path: str | int) -> list[Any]:
    """Follows keys and positions to a list; an empty one where there is none."""
    found = dig(document, *path)
    return found if isinstance(found, list) else []


def text(value: Any) -> str | None:
    """Gives a string that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def number(value: Any) -> float | None:
    """Gives a finite, non-negative number, also from digits in text; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if 0 <= found < float("inf") else None


def moment(value: Any) -> float | None:
    """Reads a point in time, as ISO 8601 or Unix time in seconds or milliseconds.

    Returns:
      Unix time in seconds, None where it is none. Without a zone it is taken for UTC.
    """
    unix = number(value)
    if unix is not None:
        return unix / 1000.0 if unix > _MILLISECONDS else unix
    try:
        read = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=timezone.utc)).timestamp()


def one_line(value: Any) -> str:
    """Makes a short single line of a message, whatever it is made of."""
    line = " ".join(str(value).split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def web_address(value: Any) -> str | None:
    """Gives an absolute http(s) address, else None."""
    if not isinstance(value, str) or not value.isprintable():
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in ("http", "https") and parts.hostname else None


def media_of(value: Any) -> str | bytes | None:
    """Gives a picture's address, or its bytes when the value is a data URI; else None."""
    if isinstance(value, str) and value.startswith("data:"):
        header, comma, payload = value.partition(",")
        return decode_base64(payload) if comma and header.endswith(";base64") else None
    return web_address(value)


def decode_base64(value: Any) -> bytes | None:
    """Decodes base64 text; None when it is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def data_uri(data: bytes) -> str:
    """Makes a data URI of an encoded JPEG or PNG."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def segment(request_id: str) -> str:
    """Quotes an opaque id for use as one path segment."""
    return quote(request_id, safe="")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Reads `Retry-After` (RFC 9110, 10.2.3) in seconds.

    A date is taken from the answer's own, which is of the same clock, and from ours without one.
    """
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.now(timezone.utc)
    return max(0.0, (until - now).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        read = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=timezone.utc)


def accepted(
    provider: str, request_id: Any, response: HttpResponse, urls: Mapping[str, str] | None = None
) -> Outcome:
    """Makes the outcome of a submit that was answered with 2xx: a ticket when it names its job."""
    name = text(request_id)
    if name is None:
        return Failed(
            Trouble.AMBIGUOUS,
            f"HTTP {response.status} to the submit without a request id: "
            + one_line(response.body[:200].decode("utf-8", "replace")),
        )
    return Accepted(Ticket(provider, name, urls or {}))


def limited(response: HttpResponse, message: str) -> Failed:
    """Makes the outcome of a refusal for speed."""
    return Failed(
        Trouble.RATE_LIMITED, message, retry_after=retry_after(response.headers), billed=False
    )


def unanswered(response: HttpResponse, message: str) -> Outcome:
    """Makes the outcome of a question about a job that was not answered as it should be."""
    if response.status == 401:
        return refused(Trouble.AUTH, message)
    if response.status == 404:
        return Unsettled(30.0, Failed(Trouble.EXPIRED_RESULT, message))
    if response.status == 429:
        return limited(response, message)
    return Failed(Trouble.RETRYABLE, message)


def refused(trouble: Trouble, message: str, resubmits: int = 0) -> Failed:
    """Makes the outcome of something that was turned away and not charged."""
    return Failed(trouble, message, resubmits=resubmits, billed=False)


def reference(picture: Picture) -> str:
    """Gives a picture as the one string most providers take: address, data URI or stored id."""
    if picture.data is not None:
        return data_uri(picture.data)
    return picture.url or picture.stored_id or ""
