"""What opening, checking, reporting and compacting a dataset of many small units cost.

    python benchmarks/compact.py [--units 100000] [--dataset FOLDER]

The dataset is made by `alphabeam run` itself, with an engine that costs nothing: one picture of
32 pixels a unit, two partitions, one in 500 broken. With `--dataset` one that is there already is
taken instead; it is compacted. Each step runs in a process of its own, whose peak of memory is that
of nothing else; caches of the file system are warm.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from alphabeam.pipeline.cli import main as alphabeam
from alphabeam.pipeline.dataset import open_dataset

_SIDE = 32
_BROKEN = 500  # one picture in so many
_SAMPLE = "1000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--dataset")
    parser.add_argument("--only", nargs=2, metavar=("STEP", "FOLDER"))
    given = parser.parse_args()
    if given.only:
        step, folder = given.only
        measure(step, folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        output = given.dataset or make(Path(folder), given.units)
        for step in (*_LOOKS, "compact", *_LOOKS):
            command = [sys.executable, __file__, "--only", step, output]
            subprocess.run(command, check=True)


class Nothing:
    """Answers half a picture."""

    parallel = True

    def __init__(self, **options: object) -> None:
        self.options = options

    def load(self) -> None:
        pass

    def predict(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        mattes = [np.zeros(picture.shape[:2], np.float32) for picture in pictures]
        for matte in mattes:
            matte[:, : matte.shape[1] // 2] = 1
        return mattes


def make(folder: Path, units: int) -> str:
    """Makes a dataset of so many units; gives its folder."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    pictures = [b"broken" if n % _BROKEN == 0 else stream.getvalue() for n in range(units)]
    splits = ["test" if n % 10 == 0 else "train" for n in range(units)]
    keys = [f"{n * 7919 % units:09d}" for n in range(units)]
    table = pa.table({"key": keys, "image": pictures, "split": splits})
    pq.write_table(table, folder / "manifest.parquet", row_group_size=1000)
    flags = ["--engine", "compact:Nothing", "--unit_size", "1", "--partition_by", "split"]
    alphabeam(
        ["run", "--manifest", str(folder / "manifest.parquet"), "--output", str(folder / "out"),
         "--no_report", *flags]
    )  # fmt: skip
    return str(folder / "out")


def _open(folder: str) -> None:
    open_dataset(folder)


def _filter(folder: str) -> None:
    rows = open_dataset(folder).to_table(["key", "coverage"], filter=pc.field("is_blank"))
    print(f"{rows.num_rows} blank", end="; ")


def _verify(folder: str) -> None:
    assert alphabeam(["verify", folder, "--sample", _SAMPLE]) == 0


def _verify_all(folder: str) -> None:
    assert alphabeam(["verify", folder]) == 0


def _report(folder: str) -> None:
    assert alphabeam(["report", folder]) == 0
    print(f"{(Path(folder) / 'report.html').stat().st_size / 1e6:.1f} MB", end="; ")


def _compact(folder: str) -> None:
    assert alphabeam(["compact", folder]) == 0


_LOOKS: dict[str, Callable[[str], None]] = {
    "open": _open,
    "filter": _filter,
    f"verify --sample {_SAMPLE}": _verify,
    "verify": _verify_all,
    "report": _report,
}


def measure(step: str, folder: str) -> None:
    before = peak()
    start, worked = time.perf_counter(), time.process_time()
    (_compact if step == "compact" else _LOOKS[step])(folder)
    wall, cpu = time.perf_counter() - start, time.process_time() - worked
    print(
        f"{step}: {wall:.1f} s, {cpu:.1f} s of CPU, {(peak() - before) / 1e6:.0f} MB more memory",
        flush=True,
    )


def peak() -> int:
    """Gives the process's greatest resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    main()
