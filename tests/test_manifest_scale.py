"""Planning holds neither rows nor footers, however many files and rows there are."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import run_program

FILES, ROWS = 2000, 5000


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of 100 and of 2,000 Parquet files, 5,000 rows each."""
    root = tmp_path_factory.mktemp("scale")
    # One value over and over: a few bytes a column, whatever the number of rows.
    table = pa.table({
        "image": pa.array(["a.jpg"] * ROWS),
        "label": pa.array(["x"] * ROWS).dictionary_encode(),
        "width": pa.array([1024] * ROWS),
    })  # fmt: skip
    pq.write_table(table, root / "one.parquet", row_group_size=500)
    for files in (100, FILES):
        folder = root / str(files)
        folder.mkdir()
        for i in range(files):
            os.link(root / "one.parquet", folder / f"part-{i:05d}.parquet")
    return root


PLAN = """
from memory import peak_rss
from alphabeam.pipeline.manifest import open_manifest, plan_units
for folder in ("100", "{files}"):  # the first warms everything up
    before = peak_rss()
    manifest = open_manifest("{root}/" + folder)
    units = rows = 0
    for unit in plan_units(manifest, {unit_size}):
        units += 1
        rows += unit.rows
print(peak_rss() - before, manifest.files, units, rows)
"""


@pytest.mark.parametrize("unit_size", [256, 20])
def test_ten_million_rows_in_two_thousand_files_plan_in_bounded_memory(folders, unit_size):
    program = PLAN.format(files=FILES, root=folders, unit_size=unit_size)
    grown, files, units, rows = map(int, run_program(program).split())
    assert (files, rows) == (FILES, FILES * ROWS)
    assert units == FILES * -(-ROWS // unit_size)
    assert grown < 32 << 20


def test_ten_million_lines_plan_in_bounded_memory(tmp_path):
    lines = b"".join(b"photos/%07d.jpg,train\n" % i for i in range(100_000))
    for name, repeats in (("small", 5), ("big", 100)):
        with open(tmp_path / f"{name}.csv", "wb") as file:
            file.write(b"image,split\n")
            for _ in range(repeats):
                file.write(lines)
    program = f"""
from memory import peak_rss
from alphabeam.pipeline.manifest import open_manifest, plan_units
for name in ("small", "big"):
    before = peak_rss()
    manifest = open_manifest("{tmp_path}/" + name + ".csv")
    last = None
    for last in plan_units(manifest, 256):
        pass
print(peak_rss() - before, last.start + last.rows, last.end)
"""
    grown, rows, end = map(int, run_program(program).split())
    assert (rows, end) == (100 * 100_000, os.path.getsize(tmp_path / "big.csv"))
    assert grown < 16 << 20
