"""A web server on loopback that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import httpcore

Responder = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    path: str
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """An answer as a well-behaved server gives it; the length is added."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(self.status)
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        request.wfile.write(self.body)


def redirect(location: str, status: int = 302, body: bytes = b"moved") -> Answer:
    """An answer that sends the client elsewhere."""
    return Answer(body, status, {"Location": location})


def raw(data: bytes) -> Responder:
    """Sends these bytes instead of an answer and ends the connection."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(data)
        request.close_connection = True

    return respond


def reset(request: BaseHTTPRequestHandler) -> None:
    """Drops the connection without a word."""
    linger_not = struct.pack("ii", 1, 0)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    request.close_connection = True


PUBLIC = "93.184.215.14"
"""An address on the internet, which a `Switchboard` connects to this machine."""


class Switchboard(httpcore.NetworkBackend):
    """A network on which `PUBLIC` leads to this machine; remembers every address asked for."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        self.reached.append(host)
        there = "127.0.0.1" if host == PUBLIC else host
        return self._network.connect_tcp(there, port, timeout, local_address, socket_options)


class Website:
    """Serves until its block ends.

    Attributes:
      requests: what was asked, in order.
      connections: how many were opened.
      closing: set when the server ends; answers that take their time wait on it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Asked] = []
        self.connections = 0
        self.closing = threading.Event()
        self._script: dict[str, list[Responder]] = defaultdict(list)
        self._turn = threading.Lock()
        self._scheme = "https" if tls else "http"
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Website:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of a path, under any name."""
        return f"{self._scheme}://{host}:{self.port}{path}"

    def on(self, path: str, *answers: Responder) -> str:
        """Sets the answers that a path gives in turn, the last one forever; gives its address."""
        self._script[path] = list(answers)
        return self.url(path)

    def drip(self, head: bytes) -> Responder:
        """Sends a beginning, then one byte every now and then for as long as anyone listens."""

        def respond(request: BaseHTTPRequestHandler) -> None:
            request.close_connection = True
            request.wfile.write(head)
            while not self.closing.wait(0.02):
                request.wfile.write(b"a")
                request.wfile.flush()

        return respond

    def _next_answer(self, path: str) -> Responder:
        with self._turn:
            answers = self._script.get(path) or [Answer(status=404)]
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # whole answers in one packet; http.server flushes after each
            disable_nagle_algorithm = True

            def setup(self) -> None:
                site.connections += 1
                super().setup()

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the client has had enough
                    self.close_connection = True

            def finish(self) -> None:
                try:
                    super().finish()
                except OSError:  # nobody is left to flush to
                    self.close_connection = True

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                site.requests.append(Asked(self.path, dict(self.headers), self.command, body))
                site._next_answer(self.path.partition("?")[0])(self)
                self.wfile.flush()

            def do_PUT(self) -> None:
                self.do_GET()

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that the client gave up is part of the tests."""
