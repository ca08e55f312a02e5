"""Commit markers at scale: heads without file names, and a set of units that stays small."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.pipeline.committed import CommittedUnits
from alphabeam.pipeline.layouts.contract import StoredFile
from alphabeam.pipeline.manifests.contract import unit_name
from alphabeam.pipeline.markers import Marker, committed_units, head_in, read_heads
from alphabeam.pipeline.paths import DatasetPaths


def marker(unit="photos-0123abcd-000000000", files=256, failed=0):
    stored = tuple(
        StoredFile(f"images/split=train/{unit}/{i:06d}.png", i, "a" * 64) for i in range(files)
    )
    rows = StoredFile(f"data/split=train/{unit}.parquet", 1000, "b" * 64)
    return Marker(
        unit=unit,
        rows=files + failed,
        done=files,
        failed=failed,
        failed_rows=tuple(range(files, files + failed)),
        errors={"not_found": failed} if failed else {},
        files=(*stored, rows),
        generation=0,
        engine={"engine": "grabcut", "model": None},
        cost_usd=0.25,
        seconds={"wall": 1.5},
        finished=1.0,
        settings_hash="c" * 16,
    )


def test_a_head_needs_the_first_bytes_only():
    made = marker()
    data = made.encode()
    assert len(data) > 40_000
    assert head_in(data[:4096]) == made.head
    assert made.head.stored.files == 257
    assert made.head.stored.bytes == sum(range(256)) + 1000
    assert made.head.stored.splits == ("train",)
    assert Marker.decode(data) == made


@pytest.mark.parametrize("store", ["disk", "memory"])
def test_heads_are_read_where_failures_fill_the_beginning_and_from_older_markers(tmp_path, store):
    root = str(tmp_path) if store == "disk" else f"memory://{tmp_path.name}"
    paths = DatasetPaths(root)
    short, long = marker("a-01234567-000000000"), marker("b-01234567-000000000", 3, failed=900)
    old = marker("c-01234567-000000000", 2)
    for made in (short, long):
        paths.write(paths.marker(made.unit), made.encode())
    paths.write(paths.marker(old.unit), json.dumps(dataclasses.asdict(old), indent=1).encode())
    assert head_in(long.encode()[:4096]) is None
    assert list(read_heads(paths)) == [short.head, long.head, old.head]
    assert list(committed_units(paths)) == [short.unit, long.unit, old.unit]


@settings(deadline=None)
@given(
    st.sets(st.tuples(st.sampled_from(["a-01234567", "b-c-89abcdef"]), st.integers(0, 200))),
    st.integers(1, 300),
)
def test_committed_units_are_those_and_no_others(places, unit_size):
    def names(placed):
        return {unit_name(label, number * unit_size) for label, number in placed}

    units = CommittedUnits(names(places), unit_size)
    every = {(label, number) for label in ("a-01234567", "b-c-89abcdef") for number in range(202)}
    assert {name for name in names(every) if name in units} == names(places)


def test_what_is_no_unit_is_not_committed():
    units = CommittedUnits(["a-01234567-000000256", "notes", "a-01234567-000000100"], 256)
    assert "a-01234567-000000256" in units
    for name in ("a-01234567-000000000", "a-01234567-000000512", "a-01234567-000000100", "notes"):
        assert name not in units
