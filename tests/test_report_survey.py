"""What the report counts, ranks and chooses from a dataset's rows, errors and commit markers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import write_manifest
from PIL import Image
from report_dataset import RARE, ROWS, moody_dataset, page_of, rows_of, run

from alphabeam.pipeline.dataset import open_dataset, open_errors
from alphabeam.pipeline.markers import read_heads
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.pipeline.report import write_report
from alphabeam.pipeline.report.choice import Lowest, in_turns, key_ranks
from alphabeam.pipeline.report.contents import gather
from alphabeam.pipeline.report.failures import error_classes
from alphabeam.pipeline.report.flags import FLAG_COLUMNS, FLAGS, flags_of
from alphabeam.pipeline.report.rows import chunks
from alphabeam.pipeline.report.survey import SAMPLES, WORST, survey
from alphabeam.pipeline.report.timing import Timing


@pytest.fixture
def dataset(tmp_path_factory):
    return moody_dataset(tmp_path_factory.getbasetemp() / "moody")


def test_flags_are_counted_over_all_rows(dataset):
    rows = rows_of(dataset)
    found = survey(open_dataset(str(dataset)))
    expected = {
        "blank": [row for row in rows if row["is_blank"]],
        "full": [row for row in rows if row["is_full"]],
        "border": [
            row
            for row in rows
            if any(row[f"touches_{side}"] for side in ("top", "right", "bottom", "left"))
        ],
        "unsure": [row for row in rows if row["confidence"] < 0.85],
        "pieces": [
            row
            for row in rows
            if row["components"] >= 5 or (row["largest_component_ratio"] or 1) < 0.8
        ],
        "scaled": [row for row in rows if row["provider_resized"]],
    }
    assert found.rows == len(rows)
    assert found.flags == {name: len(flagged) for name, flagged in expected.items()}
    assert all(found.flags.values())
    assert found.known == {"confidence", "provider_resized"}
    assert found.flagged == sum(bool(flags_of(row)) for row in rows)
    for flag in FLAGS:
        assert all(flag.name in flags_of(row) for row in expected[flag.name])


def test_partitions_and_engines_are_summed_up(dataset):
    rows = rows_of(dataset)
    found = survey(open_dataset(str(dataset)))
    assert set(found.partitions) == {f"split={split}" for split in ("test", "train", "val", RARE)}
    assert {engine for engine, _, _ in found.engines} == {
        "moody_engine:Moody",
        "moody_engine:Other",
    }
    for groups, label in (
        (found.partitions, lambda row: f"split={row['split']}"),
        (found.engines, lambda row: (row["engine"], row["model"] or "", row["revision"] or "")),
    ):
        for name, group in groups.items():
            here = [row for row in rows if label(row) == name]
            assert group.rows == len(here)
            assert group.flagged == sum(bool(flags_of(row)) for row in here)
            assert math.isclose(group.mean_coverage, np.mean([row["coverage"] for row in here]))
            assert math.isclose(group.mean_confidence, np.mean([row["confidence"] for row in here]))


def test_the_worst_are_those_with_the_lowest_confidence(dataset):
    worst = survey(open_dataset(str(dataset))).worst
    found = [place.read(["confidence"])["confidence"] for place in worst]
    assert found == sorted(row["confidence"] for row in rows_of(dataset))[:WORST]


def test_samples_are_of_every_kind_and_the_same_every_time(dataset):
    found = survey(open_dataset(str(dataset)))
    rows = [place.read(["key", "engine", *FLAG_COLUMNS]) for place in found.samples]
    assert len(rows) == len({row["key"] for row in rows}) == SAMPLES
    shown = {name for row in rows for name in flags_of(row)}
    assert shown == {flag.name for flag in FLAGS}
    assert any(not flags_of(row) for row in rows)
    assert {row["engine"] for row in rows} == {"moody_engine:Moody", "moody_engine:Other"}
    assert {place.partition for place in found.samples} == set(found.partitions)
    again = survey(open_dataset(str(dataset))).samples
    assert [(place.fragment.path, place.offset) for place in again] == [
        (place.fragment.path, place.offset) for place in found.samples
    ]


def test_every_cutout_is_a_sample_while_they_are_few(tmp_path):
    manifest = write_manifest(str(tmp_path), 30, size=32)  # all of them blank, for they are alike
    for name in (tmp_path / "photos").iterdir():
        Image.new("RGB", (32, 32), "white").save(name)
    assert run(manifest, tmp_path / "out", engine="grabcut") == 0
    found = survey(open_dataset(str(tmp_path / "out")))
    assert found.flagged == found.rows == len(found.samples) == 30


_FLAG_COLUMNS = [
    "is_blank", "is_full", "touches_top", "touches_right", "touches_bottom", "touches_left",
    "confidence", "components", "largest_component_ratio", "provider_resized",
]  # fmt: skip


def test_rows_of_many_small_files_are_joined(tmp_path):
    for number in range(700):
        table = pa.table({"key": [f"{number:03d}"], "width": [number]})
        pq.write_table(table, tmp_path / f"{number:03d}.parquet")
    (chunk,) = chunks(pads.dataset(tmp_path), ["key", "width"])
    assert chunk.table["width"].to_pylist() == list(range(700))
    assert chunk.table["width"].num_chunks == 3
    assert chunk.place(699).read(["key"]) == {"key": "699"}


def test_errors_are_counted_by_class_with_examples(dataset):
    rows = open_errors(str(dataset)).to_table().to_pylist()
    classes, count = error_classes(open_errors(str(dataset)), 24)
    assert count == 2
    assert {(found.stage, found.kind): found.rows for found in classes} == {
        ("fetch", "bad_base64"): sum(row["error"] == "bad_base64" for row in rows),
        ("fetch", "not_found"): sum(row["error"] == "not_found" for row in rows),
    }
    for found in classes:
        assert len(found.examples) == 3
        messages = {row["key"]: row["message"] for row in rows if row["error"] == found.kind}
        assert all(messages[row["key"]] == row["message"] for row in found.examples)
    first, count = error_classes(open_errors(str(dataset)), 1)
    assert [found.kind for found in first] == ["bad_base64"]
    assert count == 2


def test_time_is_what_the_commit_markers_say(dataset):
    markers = [json.loads(path.read_text()) for path in (dataset / "_units").iterdir()]
    contents = gather(str(dataset))
    stages = {stage.name: stage for stage in contents.timing.stages()}
    assert list(stages) == ["fetch", "decode", "engine", "compose", "write"]
    for name, stage in stages.items():
        seconds = sum(marker["seconds"][name] for marker in markers)
        assert math.isclose(stage.seconds, seconds)
        assert math.isclose(stage.each, seconds / ROWS)
        assert math.isclose(stage.rate * stage.each, 1)
    assert math.isclose(sum(stage.share for stage in stages.values()), 1)
    assert contents.timing.first <= contents.timing.last
    walls = [marker["seconds"]["wall"] for marker in markers]
    assert math.isclose(contents.timing.worker_seconds, sum(walls))
    assert contents.timing.last == max(marker["finished"] for marker in markers)
    assert contents.timing.latency.count == ROWS


def test_units_whose_failed_rows_ran_again_are_not_timed(tmp_path):
    manifest = write_manifest(str(tmp_path), 6)
    hidden = (tmp_path / "photos" / "coffee_0.jpg").rename(tmp_path / "hidden.jpg")
    run(manifest, tmp_path / "out", "--unit_size", "3")
    hidden.rename(tmp_path / "photos" / "coffee_0.jpg")
    run(manifest, tmp_path / "out", "--unit_size", "3", "--retry_failed")
    contents = gather(str(tmp_path / "out"))
    assert (contents.timing.rows, contents.timing.mended) == (3, 1)
    assert contents.totals.done == 6
    write_report(str(tmp_path / "out"))
    assert "because failed rows were run again: 1 unit." in page_of(tmp_path / "out")


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 60))
def test_rows_are_scanned_in_order_and_found_again(tmp_path_factory, sizes, rows):
    folder = tmp_path_factory.mktemp("rows")
    start = 0
    for number, size in enumerate(sizes):
        (folder / f"part={number % 2}").mkdir(exist_ok=True)
        table = pa.table({"x": pa.array(range(start, start + size), pa.int64())})
        pq.write_table(table, folder / f"part={number % 2}" / f"{number}.parquet", row_group_size=7)
        start += size
    dataset = pads.dataset(folder, partitioning="hive")
    seen = []
    for chunk in chunks(dataset, ["x"], rows=rows):
        assert 0 < chunk.table.num_rows <= rows
        values = chunk.table.column("x").to_pylist()
        names, codes = chunk.partitions()
        for row, value in enumerate(values):
            place = chunk.place(row)
            assert place.read(["x"]) == {"x": value}
            assert place.partition == names[codes[row]]
            assert f"/{place.partition}/" in place.fragment.path
        seen += values
    assert sorted(seen) == list(range(start))


def chunk_of(folder, keys):
    pq.write_table(pa.table({"key": keys}), folder / "keys.parquet")
    (chunk,) = chunks(pads.dataset(folder / "keys.parquet"), ["key"])
    return chunk


def test_ranks_follow_from_keys_alone_and_spread_evenly(tmp_path):
    keys = [f"{number:07d}" for number in range(4000)]
    ranks = key_ranks(chunk_of(tmp_path, keys))
    assert np.array_equal(key_ranks(chunk_of(tmp_path, keys[::-1])), ranks[::-1])
    assert len(set(ranks)) == len(keys)
    shares = np.histogram(ranks, 8, (0, 2**32))[0] / len(keys)
    assert np.abs(shares - 1 / 8).max() < 0.03
    assert abs(np.corrcoef(ranks[1:], ranks[:-1])[0, 1]) < 0.1


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=4),
    st.integers(1, 6),
)
def test_the_lowest_ranks_are_kept_the_first_seen_first(tmp_path_factory, parts, size):
    folder = tmp_path_factory.mktemp("lowest")
    lowest = Lowest(size)
    everything = []
    for number, ranks in enumerate(parts):
        pq.write_table(pa.table({"x": ranks}), folder / f"{number}.parquet")
        (chunk,) = chunks(pads.dataset(folder / f"{number}.parquet"), ["x"])
        wanted = np.array(ranks) != 5
        lowest.offer(chunk, np.array(ranks, float), wanted)
        everything += [(rank, number, row) for row, rank in enumerate(ranks) if rank != 5]
    found = [(int(Path(place.fragment.path).stem), place.offset) for place in lowest.places()]
    assert found == [(number, row) for _, number, row in sorted(everything)[:size]]


def test_turns_are_taken_and_nothing_is_taken_twice(tmp_path):
    chunk = chunk_of(tmp_path, list("abcdef"))
    a, b, c, d, e, f = (chunk.place(row) for row in range(6))
    chosen = in_turns([[a, b, c], [a, d], [], [e, f]], 5)
    assert [place.offset for place in chosen] == [0, 3, 4, 1, 5]
    assert len(in_turns([[a, b], [b, a]], 9)) == 2


def test_pauses_between_runs_are_no_time_at_work(dataset):
    timing = Timing()
    marker = next(read_heads(DatasetPaths(str(dataset))))
    for finished, wall in ((110.0, 10.0), (112.0, 11.0), (108.0, 4.0), (9000.0, 5.0)):
        list(timing.watching([replace(marker, finished=finished, seconds={"wall": wall})]))
    assert timing.busy() == 12 + 5
    assert (timing.first, timing.last) == (100, 9000)
    assert Timing().busy() == 0


def test_a_row_is_found_again_in_a_file_of_many_row_groups(tmp_path):
    table = pa.table({"number": range(50), "key": [f"k{number}" for number in range(50)]})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=7)
    found = pads.dataset(tmp_path)
    read = [
        chunk.place(row).read(["key", "number"])
        for chunk in chunks(found, ["number"], rows=30)
        for row in range(len(chunk.table))
    ]
    assert read == 2 * table.select(["key", "number"]).to_pylist()
