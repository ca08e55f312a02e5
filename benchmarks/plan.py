"""What planning, resuming and finishing cost as rows and units grow; nothing is cut out.

    python benchmarks/plan.py [--rows 1000000000] [--unit_size 256] [--markers 100000]

A manifest of that many rows is made of hard links to one small Parquet file in each of three
shapes; footers and listing are real, so the planner does all that it does for a run. The markers
are as a run writes them, for 256 pictures each; one written out, the others hard links to it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alphabeam.pipeline.committed import CommittedUnits
from alphabeam.pipeline.layouts.contract import StoredFile
from alphabeam.pipeline.manifest import open_manifest
from alphabeam.pipeline.manifests.contract import unit_name
from alphabeam.pipeline.manifests.tally import Look
from alphabeam.pipeline.markers import Marker, committed_units, read_heads
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.pipeline.planning.workload import measure
from alphabeam.pipeline.totals import add_up

_FILES = (100, 1000, 10_000)
_GROUPS = 10  # row groups of a file
_UNITS_A_FILE = 4000
_MOST_LINKS = 30_000  # file systems allow 65,000 links to a file, some fewer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**9)
    parser.add_argument("--unit_size", type=int, default=256)
    parser.add_argument("--markers", type=int, default=100_000)
    parser.add_argument("--only", nargs=2, metavar=("plan|resume|finish", "FOLDER"))
    given = parser.parse_args()
    if given.only:
        what, folder = given.only
        measure_one(what, folder, given.unit_size)
        return
    with tempfile.TemporaryDirectory() as folder:
        for files in _FILES:
            manifest = write_manifest(Path(folder) / str(files), files, given.rows // files)
            again(given, "plan", manifest)
        output = write_markers(Path(folder) / "dataset", given.markers, given.unit_size)
        again(given, "resume", output)
        again(given, "finish", output)


def again(given: argparse.Namespace, what: str, folder: str) -> None:
    """Measures in a process of its own, whose peak of memory is that of nothing else."""
    command = [
        sys.executable,
        __file__,
        "--unit_size",
        str(given.unit_size),
        "--only",
        what,
        folder,
    ]
    subprocess.run(command, check=True)


def measure_one(what: str, folder: str, unit_size: int) -> None:
    start, worked, before = time.perf_counter(), time.process_time(), peak()
    if what == "plan":
        work = measure(open_manifest(folder, look=Look(identify=False)), unit_size)
        done = f"{work.rows:,} rows in {work.files:,} files into {work.units:,} units"
    elif what == "resume":
        paths = DatasetPaths(folder)
        kept = CommittedUnits(committed_units(paths), unit_size)
        found = sum(unit in kept for unit in committed_units(paths))
        done = f"{found:,} committed units listed, kept, listed and found again"
    else:
        totals = add_up(read_heads(DatasetPaths(folder)))
        done = f"{totals.units:,} markers of {totals.files:,} files added up"
    print(
        f"{what}: {done} in {time.perf_counter() - start:.1f} s, {time.process_time() - worked:.1f} "
        f"s of CPU, {(peak() - before) / 1e6:.0f} MB more memory",
        flush=True,
    )


def write_manifest(folder: Path, files: int, rows: int) -> str:
    """Writes Parquet files of one value over and over: the footers are as large as any."""
    table = pa.table({
        "image": pa.array(["gs://bucket/photos/a.jpg"]).take(pa.nulls(rows, pa.int32()).fill_null(0)),
        "width": pa.nulls(rows, pa.int64()).fill_null(1024),
    })  # fmt: skip
    folder.mkdir()
    one = folder.with_suffix(".one")
    pq.write_table(table, one, row_group_size=max(1, rows // _GROUPS))
    for number in range(files):
        os.link(one, folder / f"part-{number:05d}.parquet")
    return str(folder)


def write_markers(folder: Path, count: int, unit_size: int) -> str:
    """Writes the markers of a run over `count` units, with `unit_size` pictures each."""
    (folder / "_units").mkdir(parents=True)
    unit = unit_name("part-00000-0123abcd", 0)
    pictures = (
        StoredFile(f"images/{unit}/{number:012d}.png", 1_000_000, f"{number:064x}")
        for number in range(unit_size)
    )
    marker = Marker(
        unit=unit, rows=unit_size, done=unit_size, failed=0, failed_rows=(), errors={},
        files=(*pictures, StoredFile(f"data/{unit}.parquet", 100_000, "0" * 64)),
        generation=0, engine={"engine": "birefnet", "device": "cuda"}, cost_usd=0.0,
        seconds={"wall": 10.0, "engine": 9.0}, finished=0.0, settings_hash="0" * 16,
    )  # fmt: skip
    for number in range(count):
        if number % _MOST_LINKS == 0:
            one = folder / f"one-{number}"
            one.write_bytes(marker.encode())
        file, place = divmod(number, _UNITS_A_FILE)
        name = unit_name(f"part-{file:05d}-0123abcd", place * unit_size)
        os.link(one, folder / "_units" / f"{name}.json")
    return str(folder)


def peak() -> int:
    """Gives the process's greatest resident memory so far, in bytes."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    main()
