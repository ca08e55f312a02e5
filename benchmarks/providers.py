"""How much of a provider's speed the driver uses: a stand-in that takes a second a picture.

    python benchmarks/providers.py [--pictures 1000] [--parallel 64] [--provider NAME …] [--dialect 2]

For each provider a stand-in runs as a process of its own, works on `--parallel` pictures at once
and takes one second for each, so `--parallel` pictures a second are the most there is. Every
picture is submitted, polled for, downloaded, checked, decoded and stored in a ledger on disk. The
start, until the stand-in is first full, and the end, while it runs empty, are part of the time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import Future, wait
from pathlib import Path

from standin_process import StandIn, standing_in

from alphabeam.transforms.providers.catalogue import ADAPTERS
from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.messages import Picture
from alphabeam.transforms.providers.settings import Job, ProviderSettings, Result


def main() -> None:
    """Measures and prints one line a provider."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--width", type=int, default=256, help="of the square pictures, pixels")
    parser.add_argument("--provider", choices=ADAPTERS, nargs="+", default=list(ADAPTERS))
    parser.add_argument("--dialect", type=int, choices=(1, 2), default=1, help="of Pixazo's two")
    given = parser.parse_args()
    for name in given.provider:
        with tempfile.TemporaryDirectory() as folder:
            seconds = run(name, given, Path(folder))
        rate = given.pictures / seconds
        print(
            f"{name:13} {given.pictures} pictures in {seconds:5.1f} s: {rate:5.1f}/s, "
            f"{rate / given.parallel:4.0%} of the stand-in's {given.parallel}/s",
            flush=True,
        )


def run(name: str, given: argparse.Namespace, folder: Path) -> float:
    """Gives the seconds that a number of pictures take."""
    dialect = ("--dialect", str(given.dialect)) if name == "pixazo-bria" else ()
    gap = 5 if dialect and given.dialect == 2 else 1
    with standing_in(name, folder, *dialect, parallel=given.parallel, width=given.width) as standin:
        # A picture takes a slot while it is made and until the next poll is allowed.
        concurrency = given.parallel * (2 + gap)
        outcomes, seconds = buy(name, standin, given.pictures, given.width, concurrency, folder)
    for future in outcomes:
        future.result()
    return seconds


def buy(
    name: str, standin: StandIn, pictures: int, width: int, concurrency: int, folder: Path
) -> tuple[list[Future[Result]], float]:
    """Buys the stand-in's picture a number of times; gives what came of each, and the seconds."""
    os.environ["BENCHMARK_KEY"] = standin.key
    settings = ProviderSettings(
        name,
        ledger=str(folder / "ledger"),
        provider_urls=standin.urls,
        api_key="env:BENCHMARK_KEY",
        concurrency=concurrency,
        allow_private_hosts=True,
    )
    jobs = [Job(str(n), Picture(url=standin.picture), (width, width)) for n in range(pictures)]
    with Provider(settings) as provider:
        began = time.perf_counter()
        outcomes = provider.submit_all(jobs)
        wait(outcomes)
        return outcomes, time.perf_counter() - began


if __name__ == "__main__":
    main()
