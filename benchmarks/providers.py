"""How much of a provider's speed the driver uses: a stand-in that takes a second a picture.

    python benchmarks/providers.py [--pictures 1000] [--parallel 64] [--provider NAME …] [--dialect 2]

For each provider a stand-in runs as a process of its own, works on `--parallel` pictures at once
and takes one second for each, so `--parallel` pictures a second are the most there is. Every
picture is submitted, polled for, downloaded, checked, decoded and stored in a ledger on disk. The
start, until the stand-in is first full, and the end, while it runs empty, are part of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import skimage.data

from alphabeam.transforms.providers.catalogue import ADAPTERS
from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.messages import Picture
from alphabeam.transforms.providers.settings import Job, ProviderSettings

_TESTS = Path(__file__).resolve().parent.parent / "tests"


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
    file, width = folder / "picture.jpg", given.width
    photograph = cv2.resize(skimage.data.astronaut(), (width, width))
    file.write_bytes(cv2.imencode(".jpg", photograph)[1].tobytes())
    command = [sys.executable, "-m", "standins", name, "--seconds", "1", "--picture", str(file)]
    command += ["--parallel", str(given.parallel)]
    gap = 1
    if name == "pixazo-bria":
        command += ["--dialect", str(given.dialect)]
        gap = 1 if given.dialect == 1 else 5
    with subprocess.Popen(
        command, cwd=_TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as standin:
        assert standin.stdout is not None
        place = json.loads(standin.stdout.readline())
        os.environ["BENCHMARK_KEY"] = place["key"]
        settings = ProviderSettings(
            name,
            ledger=str(folder / "ledger"),
            provider_urls=place["urls"],
            api_key="env:BENCHMARK_KEY",
            # A picture takes a slot while it is made and until the next poll is allowed.
            concurrency=given.parallel * (2 + gap),
            allow_private_hosts=True,
        )
        with Provider(settings) as provider:
            jobs = [
                Job(str(n), Picture(url=place["picture"]), (width, width))
                for n in range(given.pictures)
            ]
            began = time.perf_counter()
            for future in provider.submit_all(jobs):
                future.result()
            seconds = time.perf_counter() - began
        standin.communicate()
    return seconds


if __name__ == "__main__":
    main()
