"""rembg over a folder, its model loaded once a process; prints images a second as JSON.

python rembg_loop.py PHOTOS OUTPUT NETWORK.onnx PROCESSES
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rembg import new_session, remove

_session = None


def load(network: str) -> None:
    """Loads the model, once for each process."""
    global _session
    _session = new_session("u2net_custom", model_path=network)


def cut_out(job: tuple[Path, Path]) -> None:
    """Cuts out one picture."""
    source, target = job
    target.write_bytes(remove(source.read_bytes(), session=_session))


def main() -> None:
    photos, output, network, processes = *map(Path, sys.argv[1:3]), sys.argv[3], int(sys.argv[4])
    output.mkdir(exist_ok=True)
    jobs = [(photo, output / f"{photo.stem}.png") for photo in sorted(photos.iterdir())]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, load, (network,)) as pool:
        list(pool.map(cut_out, jobs[: 4 * processes]))  # starts the processes
        start = time.perf_counter()
        list(pool.map(cut_out, jobs))
        print(json.dumps({"rate": len(jobs) / (time.perf_counter() - start)}))


if __name__ == "__main__":
    main()
