"""A small HTTP/1.1 server on loopback that every stand-in is built on."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .faults import Faults

_REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized"}


@dataclass(frozen=True)
class Request:
    """One request as received; header names in lower case; `door`: at which address."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    door: int = 0

    @property
    def document(self) -> Any:
        """The body as JSON, None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Answer:
    """One answer; a body of bytes is sent as it is, anything else as JSON."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Gives the answer as it goes over the wire."""
        if isinstance(self.body, bytes):
            body, kind = self.body, "application/octet-stream"
        else:
            body, kind = json.dumps(self.body).encode(), "application/json"
        head = {"Content-Type": kind, "Content-Length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Dropped(Exception):
    """Close the connection without an answer."""


class Server:
    """Serves `answer` in a thread of its own, from `with` to the end of its block.

    Attributes:
      url: `http://127.0.0.1:PORT`, the first of the addresses.
      doors: all of them, as many as the class wants.
      faults: what goes wrong, by step.
      steps: how often each step was asked for, and `accepted`: how many jobs were taken.
      seen: every request, in order.
      gossip: is added to every text for people in error answers.
    """

    door_count = 1
    gossip = ""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.steps: Counter[str] = Counter()
        self.seen: list[Request] = []
        self.doors = [""] * self.door_count
        self._ports = [0] * self.door_count
        self._asked = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.StreamWriter] = set()

    def step(self, request: Request) -> str:
        """Names what a request asks for: `submit`, `poll`, `fetch`, `find`, `cancel`, `media`."""
        raise NotImplementedError

    async def answer(self, step: str, request: Request, fault: str | None) -> Answer:
        """Answers as the provider would; HTTP faults are already taken care of."""
        raise NotImplementedError

    def refusal(self, status: int, request: Request) -> Answer:
        """Makes the provider's error answer for a status."""
        return Answer(status, {"error": f"status {status}"})

    def __enter__(self) -> Any:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._shut())
        self.do(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def note(self, step: str) -> None:
        """Counts a step."""
        with self._asked:
            self.steps[step] += 1
            self._asked.notify_all()

    def wait_for(self, step: str, times: int = 1) -> None:
        """Waits until a step has been asked for a number of times."""
        with self._asked:
            assert self._asked.wait_for(lambda: self.steps[step] >= times, 60)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuses all connections within the block."""
        self.do(self._shut())
        yield
        self.do(self._listen())

    def do(self, work: Any) -> Any:
        """Runs a coroutine in the server's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    @property
    def url(self) -> str:
        return self.doors[0]

    async def _listen(self) -> None:
        for door in range(self.door_count):
            serve = functools.partial(self._serve, door)
            server = await asyncio.start_server(
                serve, "127.0.0.1", self._ports[door], limit=1 << 26
            )
            self._ports[door] = server.sockets[0].getsockname()[1]
            self.doors[door] = f"http://127.0.0.1:{self._ports[door]}"
            self._servers.append(server)

    async def _shut(self) -> None:
        while self._servers:
            self._servers.pop().close()
        for writer in list(self._connections):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(
        self, door: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connections.add(writer)
        try:
            while (request := await _read(reader, door)) is not None:
                writer.write((await self._respond(request)).encoded())
                await writer.drain()
        except (Dropped, ConnectionError, asyncio.IncompleteReadError):
            pass  # the client sees the end of the connection, below
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _respond(self, request: Request) -> Answer:
        self.seen.append(request)
        step = self.step(request)
        self.note(step)
        fault = self.faults.next(step)
        if fault == "drop_before":
            raise Dropped
        if fault == "garbage_before":
            return Answer(502, b"<html>502 Bad Gateway</html>")
        status, _, pause = (fault or "").partition(":")
        if status == "delay":
            await asyncio.sleep(float(pause))
        if status.isdigit():
            refused = self._gossiped(self.refusal(int(status), request))
            extra = {"Retry-After": pause} if pause else {}
            return Answer(refused.status, refused.body, {**refused.headers, **extra})
        answer = await self.answer(step, request, fault)
        if fault == "drop_after":
            raise Dropped
        if fault == "garbage":
            return Answer(200, b"<html>proxy</html>")
        if status == "after":
            return self._gossiped(self.refusal(int(pause), request))
        return self._gossiped(answer)

    def _gossiped(self, answer: Answer) -> Answer:
        if not self.gossip or answer.status < 400 or isinstance(answer.body, bytes):
            return answer
        return Answer(answer.status, _with(answer.body, self.gossip), answer.headers)


_PROSE = ("message", "msg", "detail", "details", "error")


def _with(document: Any, gossip: str) -> Any:
    """Adds to every text for people in a JSON document."""
    if isinstance(document, list):
        return [_with(value, gossip) for value in document]
    if not isinstance(document, dict):
        return document
    return {
        name: f"{value} {gossip}"
        if name in _PROSE and isinstance(value, str)
        else _with(value, gossip)
        for name, value in document.items()
    }


async def _read(reader: asyncio.StreamReader, door: int) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (li.partition(":") for li in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return Request(method, unquote(parts.path), query, headers, body, door)
