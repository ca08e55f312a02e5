"""A finished picture put to the presigned address that its row names."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from .errors import DeliveryError
from .fetch import FetchLimits, shown
from .http import shared_client
from .rows import is_web
from .sending import SendLimits, send

CONTENT_TYPES = {"png": "image/png", "webp": "image/webp", "jpg": "image/jpeg"}

# Azure takes a PUT only with the kind of blob named, which a presigned address cannot do.
_AZURE = ".blob.core.windows.net"


def upload_trouble(target: object) -> DeliveryError | None:
    """Says why nothing can be put to what a row names; None when it is a web address."""
    if target is None or target == "":
        return DeliveryError("no_upload_url", "the row names no address to upload to")
    if isinstance(target, str) and is_web(target) and _host(target):
        return None
    return DeliveryError("bad_upload_url", "the upload address is not an http(s) address")


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def upload(
    target: str,
    data: bytes,
    form: str,
    limits: FetchLimits,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Puts an encoded picture to a web address, again where its trouble may pass.

    Args:
      target: `http(s)://`, its signature included.
      data: the encoded picture.
      form: `png`, `webp` or `jpg`; decides the Content-Type.
      limits: time, attempts, redirects, and whether private addresses may be reached.
      sleep: pauses between attempts.

    Returns:
      How many attempts it took.

    Raises:
      DeliveryError: the address did not take it; the message names it without its signature.
    """
    headers = {"Content-Type": CONTENT_TYPES[form]}
    if (_host(target) or "").endswith(_AZURE):
        headers["x-ms-blob-type"] = "BlockBlob"
    wanted = SendLimits(limits.timeout, limits.attempts, limits.max_redirects)
    client = shared_client(limits.allow_private_hosts)
    try:
        return send(client, "PUT", target, data, lambda: headers, wanted, sleep=sleep)
    except DeliveryError as error:
        error.message = f"{shown(target)}: {error.message}"
        raise
