"""The driver against loops over the providers' own clients, while some answers are lost.

    python benchmarks/against_clients.py [--pictures 400] [--parallel 64] [--lost 0.02]

A stand-in takes a second a picture, `--parallel` at once, and closes the connection after it has
accepted and billed a share of the submits, as networks do. The loops are what the clients' pages
lead to: asyncio, `--parallel` pictures at once, the result downloaded and decoded, and whatever
fails tried again, three times in all. What counts is how many pictures come, how fast, and how many
were paid for.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import fal_client
import httpx
from PIL import Image
from providers import buy
from runware import Runware
from standin_process import StandIn, standing_in

_TRIES = 3


def main() -> None:
    """Measures and prints two lines a provider."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--lost", type=float, default=0.02, help="share of submits left unanswered")
    given = parser.parse_args()
    for provider, loop in (("fal-bria", fal_loop), ("runware-bria", runware_loop)):
        for name in ("client", "alphabeam"):
            with tempfile.TemporaryDirectory() as folder:
                lost = ("--lost", str(given.lost))
                work, width = Path(folder), 256
                with standing_in(
                    provider, work, *lost, parallel=given.parallel, width=width
                ) as standin:
                    if name == "client":
                        began = time.perf_counter()
                        had = asyncio.run(loop(standin, given.pictures, given.parallel))
                        seconds = time.perf_counter() - began
                    else:
                        concurrency = 3 * given.parallel
                        outcomes, seconds = buy(
                            provider, standin, given.pictures, width, concurrency, work
                        )
                        had = sum(future.exception() is None for future in outcomes)
            print(
                f"{provider:12} {name:9} {had} of {given.pictures} pictures, "
                f"{standin.account['bills']} paid, {had / seconds:5.1f}/s",
                flush=True,
            )


async def fal_loop(standin: StandIn, pictures: int, parallel: int) -> int:
    """Buys the pictures by fal's own client; gives how many came."""
    client = _Fal(standin)
    async with httpx.AsyncClient() as web:

        async def cut_out(_: int) -> None:
            arguments = {"image_url": standin.picture}
            result = await client.subscribe("fal-ai/bria/background/remove", arguments)
            await _opened(web, result["image"]["url"])

        return await _looped(cut_out, pictures, parallel)


async def runware_loop(standin: StandIn, pictures: int, parallel: int) -> int:
    """Buys the pictures by Runware's own client; gives how many came."""
    url = f"{standin.urls['runware']}/v1"
    client = Runware(api_key=standin.key, transport="rest", http_base_url=url)
    async with client, httpx.AsyncClient() as web:

        async def cut_out(_: int) -> None:
            task = {
                "taskType": "removeBackground",
                "model": "bria:2@1",
                "inputs": {"image": standin.picture},
                "outputFormat": "PNG",
            }
            (item,) = await client.run(task)
            await _opened(web, item["imageURL"])

        return await _looped(cut_out, pictures, parallel)


async def _looped(cut_out: Callable[[int], Awaitable[None]], pictures: int, parallel: int) -> int:
    """Runs a client for every picture, a number at once, thrice at most; gives how many came."""
    places = asyncio.Semaphore(parallel)

    async def tried(number: int) -> bool:
        async with places:
            for attempt in range(_TRIES):
                try:
                    await cut_out(number)
                except Exception as error:  # noqa: BLE001 - as loops over a client do
                    if attempt + 1 == _TRIES:
                        print(f"  lost: {error}")
                else:
                    return True
        return False

    return sum(await asyncio.gather(*map(tried, range(pictures))))


async def _opened(web: httpx.AsyncClient, url: str) -> None:
    """Downloads a picture and decodes it."""
    answer = await web.get(url)
    answer.raise_for_status()
    await asyncio.to_thread(Image.open(io.BytesIO(answer.content)).load)


class _Fal(fal_client.AsyncClient):
    """fal's client knows its own hosts only; this one is led to a stand-in."""

    def __init__(self, standin: StandIn) -> None:
        super().__init__(key=standin.key)
        headers = {"Authorization": f"Key {standin.key}"}
        self._http = httpx.AsyncClient(transport=_Led(standin), headers=headers, timeout=120)

    @property
    def _client(self) -> Awaitable[httpx.AsyncClient]:
        async def made() -> httpx.AsyncClient:
            return self._http

        return made()


class _Led(httpx.AsyncBaseTransport):
    def __init__(self, standin: StandIn) -> None:
        self._urls = {"queue.fal.run": standin.urls["fal_queue"]}
        self._network = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host in self._urls:
            door = httpx.URL(self._urls[request.url.host])
            request.url = request.url.copy_with(scheme=door.scheme, host=door.host, port=door.port)
            request.headers["Host"] = f"{door.host}:{door.port}"
        return await self._network.handle_async_request(request)


if __name__ == "__main__":
    main()
