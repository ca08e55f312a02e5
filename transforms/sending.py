"""Something sent by HTTP: a finished picture to its upload address, word of it to a webhook."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from .download import CONNECT_SECONDS, drain, refused, web_trouble
from .errors import DeliveryError
from .persistence import persistently

# These ask for the same request, body and all, at another address (RFC 9110, 15.4.8 and 15.4.9).
_SAME_AGAIN = (307, 308)


@dataclass(frozen=True)
class SendLimits:
    """What sending one thing may take.

    Attributes:
      timeout: seconds for one attempt, to the end of the answer.
      attempts: how often it is tried in all, where trying again may help.
      max_redirects: how many redirects one attempt follows.
    """

    timeout: float = 30.0
    attempts: int = 4
    max_redirects: int = 0


def send(
    client: httpx.Client,
    method: str,
    url: str,
    content: bytes,
    headers: Callable[[], Mapping[str, str]],
    limits: SendLimits,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Sends something until a server takes it.

    What may pass (time limits, connection trouble, 408, 425, 429 and 5xx) is tried again after a
    random, exponentially growing pause, or the one the server asks for. So the other side may get
    it more than once.

    Args:
      client: from `http.guarded_client`.
      method: `PUT` or `POST`.
      url: `http://` or `https://`.
      content: the body.
      headers: asked anew for each attempt.
      limits: what it may take.
      sleep: pauses between attempts.

    Returns:
      How many attempts it took.

    Raises:
      DeliveryError: no answer was a success; the message does not name the address.
    """

    def attempt() -> None:
        with web_trouble(DeliveryError, limits.timeout):
            _send(client, method, url, content, headers(), limits)

    return persistently(attempt, limits.attempts, sleep)[1]


def _send(
    client: httpx.Client,
    method: str,
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    limits: SendLimits,
) -> None:
    seconds = httpx.Timeout(limits.timeout, connect=min(CONNECT_SECONDS, limits.timeout))
    request = client.build_request(method, url, content=content, headers=headers, timeout=seconds)
    for _ in range(limits.max_redirects + 1):
        response = client.send(request, stream=True)
        try:
            drain(response)
        finally:
            response.close()
        if response.is_success:
            return
        if response.status_code not in _SAME_AGAIN or response.next_request is None:
            raise refused(DeliveryError, response)
        request = response.next_request
    raise DeliveryError("too_many_redirects", f"more than {limits.max_redirects} redirects")
