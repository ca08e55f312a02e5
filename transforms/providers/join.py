"""Several requests of one kind in one: their list bodies are concatenated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from .messages import HttpRequest, HttpResponse

Send = Callable[[HttpRequest], Awaitable[HttpResponse]]

# Refusals that hold for every request that travelled in a joint one.
_FOR_ALL = (401, 402, 403, 429)
# Seconds for which a request waits for company.
_LINGER = 0.02


class Joiner:
    """Sends joinable requests together; for one event loop.

    Every caller gets the whole answer and finds its own part in it. When a joint request is
    refused as malformed, one part may be to blame: then each is sent by itself.
    """

    def __init__(self, send: Send, most: int) -> None:
        """Begin empty.

        Args:
          send: sends one request.
          most: how many may travel together.
        """
        self._send = send
        self._most = most
        self._waiting: list[tuple[HttpRequest, asyncio.Future[HttpResponse]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Sends a request, alone or in company; raises what the sending raises."""
        if self._most <= 1 or not request.joinable:
            return await self._send(request)
        answer: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(_LINGER, self._flush)
        if len(self._waiting) >= self._most:
            self._flush()
        return await answer

    def _flush(self) -> None:
        company, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        if company:
            task = asyncio.ensure_future(self._send_jointly(company))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _send_jointly(
        self, company: list[tuple[HttpRequest, asyncio.Future[HttpResponse]]]
    ) -> None:
        first = company[0][0]
        joint = replace(first, json=[task for request, _ in company for task in request.json])
        try:
            response = await self._send(joint)
        except Exception as error:  # noqa: BLE001 - handed to every caller
            for _, answer in company:
                if not answer.done():
                    answer.set_exception(error)
            return
        refused = 400 <= response.status < 500 and response.status not in _FOR_ALL
        if refused and len(company) > 1:
            for pair in company:
                await self._send_jointly([pair])
            return
        for _, answer in company:
            if not answer.done():
                answer.set_result(response)
