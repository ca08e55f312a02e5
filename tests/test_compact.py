"""`compact` merges small files, loses nothing at any moment, and leaves a dataset that goes on."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_datasets import LAYOUTS, make_each, run, stored
from photographs import write_manifest
from planting import Planter

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.compact import compact
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.errors import RunError
from alphabeam.pipeline.sorted_rows import sorted_rows
from alphabeam.pipeline.verify import verify

FLAGS = ["--unit_size", "2", "--partition_by", "split", "--save_mask"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("compact"))
    return make_each(
        folder, 11, *FLAGS, a_category=pa.array(list("abcabcabcab")).dictionary_encode()
    )


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture
def out(made, layout, tmp_path):
    shutil.copytree(made[layout], tmp_path / "out")
    return str(tmp_path / "out")


def rows(root):
    return open_dataset(root).to_table().sort_by("key").to_pylist()


def test_few_files_hold_the_same_rows_sorted_by_key(out):
    before, files = rows(out), stored(out)
    summary = compact(out)
    assert (summary.before, summary.after, summary.rows) == (10, 2, 11)
    assert rows(out) == before
    planter = Planter(out)
    for path in planter.files("data/**/*.parquet"):
        keys = pq.ParquetFile(planter.root / path).read(columns=["key"])["key"].to_pylist()
        assert keys == sorted(keys)
    after = stored(out)
    assert {name for name in files if not name.startswith("data/")} == {
        name for name in after if not name.startswith("data/")
    }
    assert sum(name.startswith("data/") for name in after) == 2
    result = verify(out)
    assert result.faults == ()
    assert result.pictures == 11
    assert verify(out, 3).faults == ()
    totals = json.loads((planter.root / "dataset.json").read_bytes())["totals"]
    assert totals["files"] == len(after)
    assert totals["bytes"] == sum(map(len, after.values()))
    assert sorted(os.listdir(planter.root / "data")) == ["split=test", "split=train"]
    assert not (planter.root / "_tmp").exists()
    assert not (planter.root / "_compacting").exists()


def test_compacting_again_changes_nothing(out):
    compact(out)
    files = stored(out)
    assert compact(out).text() == "nothing to compact: 2 files with 11 rows"
    assert stored(out) == files


def test_datasets_still_opens_what_was_compacted(made, tmp_path):
    shutil.copytree(made["embedded"], tmp_path / "out")
    compact(str(tmp_path / "out"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in loaded} == {"test": 4, "train": 7}
    assert loaded["train"][0]["image"].mode == "RGBA"


def test_files_hold_as_many_rows_as_were_asked_for(out):
    summary = compact(out, rows_per_file=3)
    planter = Planter(out)
    counts = [
        pq.read_metadata(planter.root / path).num_rows
        for path in planter.files("data/**/*.parquet")
    ]
    assert counts == [3, 1, 3, 3, 1]
    assert summary.after == 5
    assert verify(out).faults == ()


def test_files_end_at_the_size_that_was_asked_for(out, layout):
    row = 30_000 if layout == "embedded" else 2_000
    compact(out, target_bytes=2 * row)
    planter = Planter(out)
    assert len(planter.files("data/split=train/*.parquet")) > 1
    assert verify(out).faults == ()
    keys = [
        pq.ParquetFile(planter.root / path).read(columns=["key"])["key"].to_pylist()
        for path in planter.files("data/split=train/*.parquet")
    ]
    flat = [key for some in keys for key in some]
    assert flat == sorted(flat)


def test_a_resumed_run_redoes_nothing(made, layout, out, capsys):
    compact(out)
    files = stored(out)
    manifest = os.path.join(os.path.dirname(made[layout]), "manifest.parquet")
    capsys.readouterr()
    assert run(manifest, out, layout, *FLAGS) == 0
    assert "0 pictures in" in capsys.readouterr().out
    assert stored(out) == files
    assert verify(out).faults == ()


def test_failed_rows_are_still_run_again_and_then_merged(tmp_path, layout):
    manifest = write_manifest(str(tmp_path), 6, size=64)
    hidden = {}
    for name in ("chelsea_0", "flower_0"):
        path = tmp_path / "photos" / f"{name}.jpg"
        hidden[path] = path.read_bytes()
        path.unlink()
    flags = ["--unit_size", "3", "--partition_by", "split", "--save_mask"]
    out = str(tmp_path / "out")
    run(manifest, out, layout, *flags)
    compact(out)
    assert verify(out).faults == ()
    for path, content in hidden.items():
        path.write_bytes(content)
    assert run(manifest, out, layout, *flags, "--retry_failed") == 0
    assert len(rows(out)) == 6
    assert verify(out).faults == ()
    assert verify(out, 4).faults == ()
    summary = compact(out)
    assert (summary.before, summary.after, summary.rows) == (4, 2, 6)
    assert len(rows(out)) == 6
    assert verify(out).faults == ()
    assert main(["run", "--manifest", manifest, "--output", out, "--layout", layout, "--no_report",
                 "--engine", "stub_engines:Disc", *flags, "--overwrite"]) == 0  # fmt: skip
    assert len(rows(out)) == 6
    assert verify(out).faults == ()


def test_damage_to_compacted_files_is_found(out):
    compact(out)
    planter = Planter(out)
    (path, other) = planter.files("data/**/*.parquet")

    def found(told):
        return any(told in line for line in verify(out).faults)

    whole = (planter.root / path).read_bytes()
    (planter.root / path).write_bytes(whole[:-9] + b"?" + whole[-8:])
    assert found(f"{path}: its content differs")
    (planter.root / path).write_bytes(whole)
    planter.edit_rows(path, lambda found: found[1:])
    assert found("rows in data/")
    planter.edit_rows(other, lambda found: [*found, found[-1]])
    assert found(f"{other}: ")
    (planter.root / other).unlink()
    assert found(f"{other}: missing")
    (planter.root / "_compaction.json").unlink()
    assert found(f"{path}: no marker lists this file")


def test_what_cannot_be_compacted_is_refused_and_left_alone(out, capsys):
    planter = Planter(out)
    (path, *_) = planter.files("data/**/*.parquet")
    data = (planter.root / path).read_bytes()
    before = stored(out)

    (planter.root / path).write_bytes(data[:-1] + b"?")
    with pytest.raises(RunError, match="its content differs"):
        compact(out)
    (planter.root / path).write_bytes(data)
    (planter.root / "data" / "split=test" / "stray.parquet").write_bytes(data)
    with pytest.raises(RunError, match=r"stray.parquet: no marker lists this file"):
        compact(out)
    (planter.root / "data" / "split=test" / "stray.parquet").unlink()
    planter.edit_rows(path, lambda rows: rows * 2)
    with pytest.raises(RunError, match=r"data/ has 1[23] rows and the markers say 11"):
        compact(out)
    (planter.root / path).write_bytes(data)
    planter.rehash(path)
    assert stored(out) == before
    assert main(["compact", out, "--rows_per_file", "0"]) == 2
    assert "--rows_per_file must be at least 1: given 0" in capsys.readouterr().err
    planter.edit_json("dataset.json", lambda values: values.update(state="running"))
    assert main(["compact", out]) == 2
    assert "its run is not complete" in capsys.readouterr().err


def test_datasets_are_compacted_on_any_storage(made, layout):
    memory = fsspec.filesystem("memory")
    memory.put(made[layout], f"/compact-{layout}", recursive=True)
    root = f"memory://compact-{layout}"
    before = rows(root)
    assert main(["compact", root]) == 0
    assert rows(root) == before
    assert len(memory.glob(f"/compact-{layout}/data/**/*.parquet")) == 2
    assert verify(root).faults == ()


def kill(out, moment):
    """Compacts in a process that dies at that moment; gives its exit code."""
    code = "import sys, suicidal; from alphabeam.pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ALPHABEAM_KILL_AT": str(moment),
    }
    command = [sys.executable, "-c", code, "compact", out]
    return subprocess.run(command, env=environment, capture_output=True).returncode


def test_kills_lose_no_row(made, tmp_path):
    before = rows(made["files"])
    out = str(tmp_path / "out")
    shutil.copytree(made["files"], out)
    assert kill(out, 5) == -signal.SIGKILL  # both large files are staged, the record is not there
    assert rows(out) == before
    assert verify(out).faults == ()
    assert (
        kill(out, 13) == -signal.SIGKILL
    )  # the record is, both are moved, one marker is rewritten
    assert any("a compaction was interrupted" in line for line in verify(out).faults)
    compact(out)
    assert rows(out) == before
    assert verify(out).faults == ()
    assert not (tmp_path / "out" / "_compacting").exists()


class Died(BaseException):
    """Stands for a process that ends before one change of the disk."""


@pytest.fixture(scope="module")
def compacted_before(tmp_path_factory):
    """A dataset with large files, and small ones beside them from rows that were run again."""
    folder = tmp_path_factory.mktemp("before")
    manifest = write_manifest(str(folder), 6, size=64)
    photo = folder / "photos" / "chelsea_0.jpg"
    hidden = photo.read_bytes()
    photo.unlink()
    out = str(folder / "out")
    run(manifest, out, "webdataset", *FLAGS)
    compact(out, rows_per_file=2)
    photo.write_bytes(hidden)
    run(manifest, out, "webdataset", *FLAGS, "--retry_failed")
    return out


@pytest.mark.parametrize("again", [False, True])
def test_an_end_before_any_change_of_the_disk_loses_no_row(
    made, compacted_before, tmp_path, monkeypatch, again
):
    base = compacted_before if again else made["files"]
    before = rows(base)
    changes = []
    moment = 0

    def dying(change):
        def changed(*arguments, **options):
            changes.append(change)
            if len(changes) == moment:
                raise Died
            return change(*arguments, **options)

        return changed

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    for moment in range(1, 200):
        out = str(tmp_path / str(moment))
        shutil.copytree(base, out)
        changes.clear()
        try:
            compact(out)
        except Died:
            changes.extend([None] * 1000)
            compact(out)
        else:
            break
        assert rows(out) == before
        assert verify(out).faults == ()
        shutil.rmtree(out)
    assert moment > 8


def test_a_run_finishes_an_interrupted_compaction_first(made, tmp_path):
    out = str(tmp_path / "out")
    shutil.copytree(made["embedded"], out)
    before = rows(out)
    assert kill(out, 9) == -signal.SIGKILL
    manifest = os.path.join(os.path.dirname(made["embedded"]), "manifest.parquet")
    assert run(manifest, out, "embedded", *FLAGS) == 0
    assert rows(out) == before
    assert verify(out).faults == ()
    assert compact(out).before == 2


KEYS = st.lists(st.text(st.characters(codec="utf-8"), max_size=4), max_size=60)


@given(st.lists(KEYS, max_size=90), st.integers(1, 2000))
@settings(deadline=None, max_examples=60)
def test_rows_are_sorted_whatever_fits_into_memory(lists, memory):
    tables = []
    for number, keys in enumerate(lists):
        places = pa.array([1000 * number + row for row in range(len(keys))], pa.int64())
        tables.append(pa.table({"key": pa.array(keys, pa.string()), "place": places}))
    found = [row for table in sorted_rows(tables, "key", None, memory) for row in table.to_pylist()]
    everything = [row for table in tables for row in table.to_pylist()]
    assert [row["key"] for row in found] == sorted(row["key"] for row in everything)
    assert sorted(row["place"] for row in found) == sorted(row["place"] for row in everything)


def test_sorted_rows_of_every_type_stay_whole():
    numbers = list(range(500))
    random.Random(7).shuffle(numbers)
    table = pa.table(
        {
            "key": [f"{number:04d}" for number in numbers],
            "view": pa.array([str(number) for number in numbers], pa.string_view()),
            "category": pa.array([str(number % 3) for number in numbers]).dictionary_encode(),
            "map": pa.array(
                [[("k", number)] for number in numbers], pa.map_(pa.string(), pa.int64())
            ),
            "half": pa.array(np.array(numbers, np.float16)),
        }
    )
    pieces = [table.slice(start, 20) for start in range(0, 500, 20)]
    merged = pa.concat_tables(sorted_rows(pieces, "key", None, 2000)).to_pylist()
    assert merged == sorted(table.to_pylist(), key=lambda row: row["key"])
