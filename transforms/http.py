"""HTTP clients that reach public addresses only, and the pooled one of this process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Any, cast

import httpcore
import httpx

from .guard import refuse_private, refuse_private_name

Resolve = Callable[[str, int], list[str]]
SocketOptions = Iterable[httpcore.SOCKET_OPTION]

# Idle connections that are kept: one a thread, for more threads than a unit fetches with. How many
# are busy is the callers' affair, since each caller holds one.
_KEPT_CONNECTIONS = 64
_KEPT_SECONDS = 30.0

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class UnknownHostError(httpcore.ConnectError):
    """A host name that could not be resolved.

    Attributes:
      temporary: whether the resolver itself was in trouble, so that asking again may help.
    """

    def __init__(self, host: str, temporary: bool) -> None:
        super().__init__(f"host {host} has no known address")
        self.temporary = temporary


def resolve_host(host: str, port: int) -> list[str]:
    """Gives a host's IP addresses in the order in which to try them.

    Also understands every spelling of a literal address that the system does (`127.1`, `0x7f.1`,
    `2130706433`), so that what is checked is what would be connected to.

    Raises:
      UnknownHostError: there is no such host, or nobody answers.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise UnknownHostError(host, temporary=False) from error
    except socket.gaierror as error:
        raise UnknownHostError(host, temporary=error.errno == socket.EAI_AGAIN) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends everything the clients of this module do within the block after `seconds`.

    httpx's own time limits start anew with every read, so a server that drips a byte now and then
    is never ended by them. Only for the synchronous clients; looking up a name, which the system
    does, keeps its own limits.

    Raises:
      httpx.TimeoutException: from within the block, once the time is over.
    """
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def _left(timeout: float | None, over: type[Exception]) -> float | None:
    """Gives the seconds an operation may take: its own limit or what is left of the deadline."""
    end = _deadline.get()
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise over("the time for the whole request is over")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A connection on which every operation ends with the deadline."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Resolves a host, checks every address, and connects to one of the checked addresses.

    The name is resolved once a connection, so a name server that changes its answer between
    check and use (DNS rebinding) gains nothing. TLS and the Host header keep the name.
    """

    def __init__(self, guarded: bool, resolve: Resolve, network: httpcore.NetworkBackend) -> None:
        self._guarded = guarded
        self._resolve = resolve
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _checked_addresses(host, port, self._guarded, self._resolve)
        trouble: Exception | None = None
        for address in addresses:
            left = _left(timeout, httpcore.ConnectTimeout)
            try:
                stream = self._network.connect_tcp(
                    address, port, left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
            else:
                return _Stream(stream)
        raise trouble or UnknownHostError(host, temporary=False)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    """`_Backend` for asyncio."""

    def __init__(
        self, guarded: bool, resolve: Resolve, network: httpcore.AsyncNetworkBackend
    ) -> None:
        self._guarded = guarded
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await asyncio.to_thread(
            _checked_addresses, host, port, self._guarded, self._resolve
        )
        trouble: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
        raise trouble or UnknownHostError(host, temporary=False)


def _checked_addresses(host: str, port: int, guarded: bool, resolve: Resolve) -> list[str]:
    if not guarded:
        return resolve(host, port)
    refuse_private_name(host)
    addresses = resolve(host, port)
    refuse_private(host, addresses)
    return addresses


class _Transport(httpx.HTTPTransport):
    """httpx's transport over a pool with a network backend of ours, which httpx has no door for."""

    def __init__(self, verify: ssl.SSLContext, backend: httpcore.NetworkBackend) -> None:
        super().__init__(verify=verify, trust_env=False)
        del self._pool  # fails, rather than leave the guard out, should httpx rename its pool
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify,
            max_connections=None,
            max_keepalive_connections=_KEPT_CONNECTIONS,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=backend,
        )


class _AsyncTransport(httpx.AsyncHTTPTransport):
    """`_Transport` for asyncio."""

    def __init__(self, verify: ssl.SSLContext, backend: httpcore.AsyncNetworkBackend) -> None:
        super().__init__(verify=verify, trust_env=False)
        del self._pool
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify,
            max_connections=None,
            max_keepalive_connections=_KEPT_CONNECTIONS,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=backend,
        )


def guarded_client(
    *,
    allow_private_hosts: bool = False,
    verify: ssl.SSLContext | None = None,
    resolve: Resolve = resolve_host,
    network: httpcore.NetworkBackend | None = None,
) -> httpx.Client:
    """Makes a thread-safe client with a connection pool that refuses private addresses.

    Proxies of the environment are not used: a proxy resolves names itself, behind the guard's
    back. Cookies are dropped, so that answers never depend on what was asked before.

    Args:
      allow_private_hosts: turns the guard off.
      verify: trusted certificates; None for certifi's or those that `SSL_CERT_FILE` names.
      resolve: gives a host's addresses.
      network: makes the connections, to addresses that were checked.
    """
    backend = _Backend(not allow_private_hosts, resolve, network or httpcore.SyncBackend())
    transport = _Transport(verify or httpx.create_ssl_context(), backend)
    return httpx.Client(transport=transport, trust_env=False, **_manners())


def guarded_async_client(
    *,
    allow_private_hosts: bool = False,
    verify: ssl.SSLContext | None = None,
    resolve: Resolve = resolve_host,
) -> httpx.AsyncClient:
    """Makes what `guarded_client` makes, for asyncio; bounded in time by the caller."""
    network = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())
    backend = _AsyncBackend(not allow_private_hosts, resolve, network)
    transport = _AsyncTransport(verify or httpx.create_ssl_context(), backend)
    return httpx.AsyncClient(transport=transport, trust_env=False, **_manners())


def _manners() -> dict[str, Any]:
    _keep_addresses_out_of_logs()
    return {
        "headers": {"User-Agent": f"alphabeam/{version('alphabeam')}"},
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    }


def _keep_addresses_out_of_logs() -> None:
    """httpx logs every URL, signatures included, at INFO, which is what Dataflow records."""
    logger = logging.getLogger("httpx")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)


_shared: dict[tuple[int, bool], httpx.Client] = {}


def shared_client(allow_private_hosts: bool) -> httpx.Client:
    """Gives this process's pooled client, made on first use and anew in a forked process."""
    key = (os.getpid(), allow_private_hosts)
    client = _shared.get(key)
    if client is None:  # threads may race here: one client wins, the others never connect
        client = _shared.setdefault(key, guarded_client(allow_private_hosts=allow_private_hosts))
    return client
