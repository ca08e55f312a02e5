"""Memory stays flat as the manifest grows."""

import os
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import run_program
from photographs import write_photographs

_RUN = """
from alphabeam.pipeline.cli import main
from memory import peak_rss
assert main(["run", "--manifest", "{manifest}", "--output", "{output}", "--unit_size", "100",
             "--engine", "stub_engines:Disc", "--no_report"]) == 0
print("peak", peak_rss())
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    write_photographs(str(folder / "photos"), 6, size=512)
    return folder


def peak(photos, count):
    """Gives the peak of resident memory of a whole run over `count` pictures, in bytes."""
    names = sorted(os.listdir(photos / "photos"))
    table = pa.table({"image": [f"photos/{names[number % 6]}" for number in range(count)]})
    pq.write_table(table, photos / f"m{count}.parquet")
    output = tempfile.mkdtemp(dir=photos)
    program = _RUN.format(manifest=photos / f"m{count}.parquet", output=output)
    return int(run_program(program).split("peak")[1])


def test_ten_times_the_pictures_take_no_more_memory(photos):
    # The heap's pieces lie differently each time; what grows with the pictures shows in both runs.
    assert min(peak(photos, 2000), peak(photos, 2000)) <= 1.10 * peak(photos, 200)
