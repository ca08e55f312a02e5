"""alphabeam against a bare loop over the same libraries, interleaved in one run.

    python benchmarks/pipeline.py [--pictures 400] [--size 1024] [--rounds 3]

The bare loop decodes, prepares for a model, measures the matte, composes, encodes and writes, in two
processes, with nothing around it: no manifest, no threads, no rows, no hashes, no commits.
Start-up stands apart on both sides: the loop is timed once its processes are warm, `alphabeam run` by
its commit markers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from fixed_matte import matte, prepared

from alphabeam.transforms.mask_stats import mask_stats
from alphabeam.transforms.png import encode_rgba

_PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = write_pictures(Path(folder) / "photos", given.pictures, given.size)
        with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
            bare_rate(pool, photos[:8], folder)
            ratios = []
            for number in range(given.rounds):
                loop = bare_rate(pool, photos, folder)
                run, whole = alphabeam_rate(folder, len(photos))
                again = bare_rate(pool, photos, folder)
                ratios.append(2 * run / (loop + again))
                print(
                    f"round {number}: bare loop {loop:.1f} and {again:.1f}/s, alphabeam "
                    f"{run:.1f}/s ({whole:.1f} s with start-up), ratio {ratios[-1]:.3f}",
                    flush=True,
                )
    print(f"median ratio {statistics.median(ratios):.3f}")


def write_pictures(folder: Path, count: int, size: int) -> list[str]:
    """Writes `count` square JPEGs (quality 92) cut from real photographs."""
    import skimage.data
    import sklearn.datasets

    folder.mkdir()
    sources = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    sources += [sklearn.datasets.load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    chance = np.random.default_rng(1)
    paths = []
    for number in range(count):
        source = sources[number % len(sources)]
        side = int(min(source.shape[:2]) * chance.uniform(0.7, 1))
        top = chance.integers(0, source.shape[0] - side + 1)
        left = chance.integers(0, source.shape[1] - side + 1)
        square = cv2.resize(
            source[top : top + side, left : left + side],
            (size, size),
            interpolation=cv2.INTER_CUBIC,
        )
        path = folder / f"{number:05d}.jpg"
        path.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(square), quality=92))
        paths.append(str(path))
    return paths


def bare(job: tuple[str, str]) -> None:
    """Cuts out one picture with nothing around it."""
    path, folder = job
    cv2.setNumThreads(1)
    with open(path, "rb") as file:
        picture = simplejpeg.decode_jpeg(file.read())
    prepared(picture)
    height, width = picture.shape[:2]
    alpha = matte()
    if alpha.shape != (height, width):
        alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    mask_stats(alpha)
    with open(os.path.join(folder, "bare", os.path.basename(path) + ".png"), "wb") as file:
        file.write(encode_rgba(picture, alpha))


def bare_rate(pool: multiprocessing.pool.Pool, photos: list[str], folder: str) -> float:
    """Gives the bare loop's images a second."""
    shutil.rmtree(os.path.join(folder, "bare"), ignore_errors=True)
    os.mkdir(os.path.join(folder, "bare"))
    start = time.perf_counter()
    for _ in pool.imap_unordered(bare, [(photo, folder) for photo in photos]):
        pass
    return len(photos) / (time.perf_counter() - start)


def alphabeam_rate(
    folder: str, pictures: int, engine: Sequence[str] = ("--engine", "fixed_matte:FixedMatte")
) -> tuple[float, float]:
    """Gives the images a second of `alphabeam run`, start-up apart, and the seconds of it all."""
    output = os.path.join(folder, "out")
    shutil.rmtree(output, ignore_errors=True)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "alphabeam.pipeline", "run", "--manifest", f"{folder}/photos",
         "--output", output, *engine, "--no_report"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    whole = time.perf_counter() - start
    markers = [json.loads(path.read_text()) for path in Path(output, "_units").iterdir()]
    assert sum(marker["done"] for marker in markers) == pictures
    return pictures / sum(marker["seconds"]["wall"] for marker in markers), whole


if __name__ == "__main__":
    main()
