"""Memory stays flat as the manifest grows."""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photographs import write_photographs

# Prints the peak of resident memory, in KiB, of a whole run in a process of its own.
_PROGRAM = """
import resource, sys
from alphabeam.pipeline.cli import main
assert main(sys.argv[1:]) == 0
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    write_photographs(str(folder / "photos"), 6, size=512)
    return folder


def peak(photos, count):
    names = sorted(os.listdir(photos / "photos"))
    table = pa.table({"image": [f"photos/{names[number % 6]}" for number in range(count)]})
    manifest = str(photos / f"m{count}.parquet")
    pq.write_table(table, manifest)
    printed = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "run", "--manifest", manifest, "--output",
         str(photos / f"out{count}"), "--engine", "stub_engines:Disc", "--unit_size", "100",
         "--no_report"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return int(printed.split("peak")[1])


def test_ten_times_the_pictures_take_no_more_memory(photos):
    assert peak(photos, 2000) <= 1.10 * peak(photos, 200)
