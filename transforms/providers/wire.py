"""Requests over httpx: what was sent, what came back, and what cannot be known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

import httpx

from .messages import HttpRequest, HttpResponse

# Failures before the request was complete at the other end, so that it cannot have been acted on.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.LocalProtocolError,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class NotSentError(Exception):
    """The request did not reach the server whole: repeating it is safe."""


class NoAnswerError(Exception):
    """The request was sent and no answer came: the server may have acted on it."""


class Connections:
    """Connections kept open between requests, shared by all providers of a process.

    httpx's pool goes through all of its connections and all waiting requests whenever one begins
    or ends, which at a hundred at once is most of the work. Here every request has a client to
    itself, the one used last, so that each pool holds one connection a host.

    Idle connections are dropped after five seconds: a request on one that the server is just
    closing would have no answer, and a paid one would then have to be searched for.
    """

    def __init__(self) -> None:
        self._idle: list[httpx.AsyncClient] = []
        self._trusted = httpx.create_ssl_context()

    @contextmanager
    def client(self) -> Iterator[httpx.AsyncClient]:
        """Lends a client for one request."""
        client = self._idle.pop() if self._idle else self._make()
        try:
            yield client
        finally:
            self._idle.append(client)

    def _make(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self._trusted,
            limits=httpx.Limits(keepalive_expiry=5.0),
            headers={"User-Agent": f"alphabeam/{version('alphabeam')}"},
            follow_redirects=False,
            trust_env=False,
        )


async def send(
    connections: Connections,
    request: HttpRequest,
    authorization: Mapping[str, str],
    *,
    connect_timeout: float,
    timeout: float,
) -> HttpResponse:
    """Sends one request, once.

    Raises:
      NotSentError: it cannot have been acted on.
      NoAnswerError: it may have been.
    """
    limits = httpx.Timeout(timeout, connect=connect_timeout)
    headers = {"Accept": "application/json", **request.headers, **authorization}
    try:
        with connections.client() as client:
            asked = client.request(
                request.method, request.url, headers=headers, json=request.json, timeout=limits
            )
            # httpx limits each read; who drips bytes is ended by the limit on the whole.
            response = await asyncio.wait_for(asked, timeout + connect_timeout)
    except _NOT_SENT as error:
        raise NotSentError(_described(error)) from None
    except (httpx.HTTPError, asyncio.TimeoutError) as error:
        raise NoAnswerError(_described(error)) from None
    return HttpResponse(
        response.status_code,
        {name.lower(): value for name, value in response.headers.items()},
        response.content,
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
