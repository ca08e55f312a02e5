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
    or ends, which at a hundred at once is most of the work. Here every request has a pool to
    itself, the one used last, so that each holds one connection a host. httpx's client, whose
    redirects, cookies and proxies are of no use here, costs half as much again as its transport.

    Idle connections are dropped after five seconds: a request on one that the server is just
    closing would have no answer, and a paid one would then have to be searched for.
    """

    def __init__(self) -> None:
        self.headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"alphabeam/{version('alphabeam')}",
        }
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._trusted = httpx.create_ssl_context()

    @contextmanager
    def transport(self) -> Iterator[httpx.AsyncHTTPTransport]:
        """Lends what sends one request."""
        transport = self._idle.pop() if self._idle else self._make()
        try:
            yield transport
        finally:
            self._idle.append(transport)

    def _make(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._trusted,
            limits=httpx.Limits(keepalive_expiry=5.0),
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
    asked = httpx.Request(
        request.method,
        request.url,
        headers={**connections.headers, **request.headers, **authorization},
        json=request.json,
        extensions={"timeout": limits.as_dict()},
    )
    try:
        with connections.transport() as transport:
            # httpx limits each read; who drips bytes is ended by the limit on the whole.
            response = await asyncio.wait_for(_answer(transport, asked), timeout + connect_timeout)
    except _NOT_SENT as error:
        raise NotSentError(_described(error)) from None
    except (httpx.HTTPError, asyncio.TimeoutError) as error:
        raise NoAnswerError(_described(error)) from None
    return HttpResponse(
        response.status_code,
        {name.lower(): value for name, value in response.headers.items()},
        response.content,
    )


async def _answer(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
    response = await transport.handle_async_request(request)
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
