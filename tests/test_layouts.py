"""Every layout, opened by the tools that people train with: the same rows, the same pixels."""

import glob
import json
import os
import signal
import subprocess
import sys
import tarfile

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import webdataset
from made_datasets import LAYOUTS, decoded, make_each, pixels_by_key, run, stored
from photographs import write_manifest
from PIL import Image
from torch.utils.data import DataLoader

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset, open_errors
from alphabeam.pipeline.layouts import embedded as layout_embedded
from alphabeam.pipeline.verify import verify

NEW = ("embedded", "webdataset")
PARTITIONED = ["--partition_by", "split,label", "--save_mask", "--unit_size", "4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("layouts"))
    return make_each(folder, 9, *PARTITIONED, label=[1, 2, None] * 3)


@pytest.fixture(scope="module")
def pixels(made):
    return pixels_by_key(made["files"], open_dataset(made["files"]).to_table().to_pylist())


def load(path, tmp_path, **options):
    return datasets.load_dataset(path, cache_dir=str(tmp_path / "cache"), **options)


def same(found, key, pixels):
    image, mask = found
    return np.array_equal(np.asarray(image), pixels[key].image) and np.array_equal(
        np.asarray(mask), pixels[key].mask
    )


def test_every_layout_has_the_same_rows(made):
    own = ("image_path", "mask_path", "settings_hash", "image", "mask")
    tables = [open_dataset(made[layout]).to_table().sort_by("key") for layout in LAYOUTS]
    rows = [
        [{name: row[name] for name in row if name not in own} for row in table.to_pylist()]
        for table in tables
    ]
    assert rows[0] == rows[1] == rows[2]
    assert {row["label"] for row in rows[0]} == {1, 2, None}
    assert all(verify(made[layout]).faults == () for layout in LAYOUTS)


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_the_embedded_layout_as_pictures(made, pixels, tmp_path, streaming):
    loaded = load(made["embedded"], tmp_path, streaming=streaming)
    assert set(loaded) == {"train", "test"}
    assert loaded["train"].features["image"] == datasets.Image()
    rows = [(split, row) for split in loaded for row in loaded[split]]
    assert len(rows) == 9
    for split, row in rows:
        assert row["split"] == split
        assert row["image_path"] is None
        assert row["image"].mode == "RGBA"
        assert same((row["image"], row["mask"]), row["key"], pixels)


def test_embedded_files_open_as_pictures_one_by_one(made, pixels, tmp_path):
    files = glob.glob(f"{made['embedded']}/data/**/*.parquet", recursive=True)
    loaded = load("parquet", tmp_path, data_files=files, split="train")
    assert loaded.features["mask"] == datasets.Image()
    assert all(same((row["image"], row["mask"]), row["key"], pixels) for row in loaded)
    unread = loaded.cast_column("image", datasets.Image(decode=False))
    assert {row["image"]["path"] for row in unread} == {f"{key}.png" for key in pixels}


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_the_webdataset_layout_as_pictures(made, pixels, tmp_path, streaming):
    loaded = load(made["webdataset"], tmp_path, streaming=streaming)
    samples = [(split, sample) for split in loaded for sample in loaded[split]]
    assert len(samples) == 9
    for split, sample in samples:
        assert sample["json"]["split"] == split
        assert sample["__key__"] == sample["json"]["key"]
        assert same((sample["rgba.png"], sample["mask.png"]), sample["__key__"], pixels)


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_the_files_layout_as_rows_that_name_pictures(
    made, pixels, tmp_path, streaming
):
    loaded = load(made["files"], tmp_path, streaming=streaming)
    rows = [row for split in loaded for row in loaded[split]]
    assert len(rows) == 9
    for row in rows:
        paths = [os.path.join(made["files"], row[name]) for name in ("image_path", "mask_path")]
        assert same(tuple(map(Image.open, paths)), row["key"], pixels)


def test_the_webdataset_library_reads_the_shards(made, pixels):
    shards = sorted(glob.glob(f"{made['webdataset']}/shards/**/*.tar", recursive=True))
    rows = {row["key"]: row for row in open_dataset(made["webdataset"]).to_table().to_pylist()}
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pilrgba"))
    assert len(samples) == len(rows) == 9
    for sample in samples:
        key = sample["__key__"]
        assert same((sample["rgba.png"], sample["mask.png"].getchannel(0)), key, pixels)
        assert sample["json"] == rows[key]


def test_a_torch_loader_batches_pictures_of_both_layouts(made, pixels, tmp_path):
    rows = load(made["embedded"], tmp_path, split="train").with_format("numpy")
    shards = sorted(glob.glob(f"{made['webdataset']}/shards/split=train/**/*.tar", recursive=True))
    samples = (
        webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
        .decode("rgba8")
        .rename(key="__key__", image="rgba.png", mask="mask.png")
    )
    for source in (rows, samples):
        loader = DataLoader(source, batch_size=2, num_workers=1, collate_fn=list)
        seen = [row for batch in loader for row in batch]
        assert len(seen) == 6
        for row in seen:
            mask = row["mask"] if row["mask"].ndim == 2 else row["mask"][..., 0]
            assert same((row["image"], mask), row["key"], pixels)


def test_pyarrow_opens_every_layout(made, pixels):
    for layout in ("files", "webdataset"):
        table = pads.dataset(f"{made[layout]}/data", partitioning="hive").to_table()
        assert sorted(table["key"].to_pylist()) == sorted(pixels)
        assert set(table["split"].to_pylist()) == {"train", "test"}
        assert pq.read_table(f"{made[layout]}/data").num_rows == 9
    table = pq.read_table(f"{made['embedded']}/data", partitioning=None)
    for row in table.to_pylist():
        assert same(
            (decoded(row["image"]["bytes"]), decoded(row["mask"]["bytes"])), row["key"], pixels
        )


def test_duckdb_filters_rows_and_finds_their_pictures(made, pixels):
    for layout in LAYOUTS:
        found = duckdb.sql(
            f"SELECT * FROM '{made[layout]}/data/**/*.parquet' "
            "WHERE split = 'train' AND label = 2 AND confidence > 0.5 ORDER BY key"
        ).to_arrow_table()
        assert found.num_rows == 3
        for row in found.to_pylist():
            if layout == "embedded":
                data = row["image"]["bytes"]
            elif layout == "files":
                with open(os.path.join(made[layout], row["image_path"]), "rb") as file:
                    data = file.read()
            else:
                shard, _, member = row["image_path"].rpartition("/")
                with tarfile.open(os.path.join(made[layout], shard)) as tar:
                    data = tar.extractfile(member).read()
            assert np.array_equal(decoded(data), pixels[row["key"]].image)


def test_shards_say_nothing_of_when_and_by_whom(made):
    for path in glob.glob(f"{made['webdataset']}/shards/**/*.tar", recursive=True):
        with tarfile.open(path) as shard:
            members = shard.getmembers()
        assert {
            (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in members
        } == {(0, 0, 0, "", "", 0o644)}
        for info in members:
            assert info.name.split(".", 1)[1] in ("rgba.png", "mask.png", "json")


def test_a_row_group_ends_before_its_pictures_fill_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(layout_embedded, "ROW_GROUP_BYTES", 50_000)
    manifest = write_manifest(str(tmp_path), 9, size=96)
    run(manifest, tmp_path / "out", "embedded")
    (path,) = (tmp_path / "out" / "data").iterdir()
    stored_file = pq.ParquetFile(path)
    assert stored_file.num_row_groups > 2
    for number in range(stored_file.num_row_groups):
        group = stored_file.read_row_group(number, columns=["image_bytes"])
        sizes = group["image_bytes"].to_pylist()
        assert sum(sizes) <= 50_000 or len(sizes) == 1
    assert verify(str(tmp_path / "out")).faults == ()


@pytest.mark.parametrize("layout", NEW)
@pytest.mark.parametrize(
    "flags",
    [
        ["--output_format", "webp"],
        ["--output_format", "jpg", "--background", "white", "--save_mask"],
        [
            "--crop_to_bbox",
            "--crop_margin",
            "2",
            "--output_format",
            "webp",
            "--output_quality",
            "100",
        ],
    ],
)
def test_every_output_form_fits_every_layout(tmp_path, layout, flags):
    manifest = write_manifest(str(tmp_path), 3, size=96)
    assert run(manifest, tmp_path / "out", layout, *flags) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    (row, *_) = load(str(tmp_path / "out"), tmp_path, split="train")
    picture = (
        row["image"]
        if layout == "embedded"
        else row[f"rgba.{flags[flags.index('--output_format') + 1]}"]
    )
    assert picture.mode == ("RGB" if "--background" in flags else "RGBA")


def test_hostile_keys_make_safe_members(tmp_path):
    keys = ["a.b.c", "../../x", "y" * 5000, "same", "same", "раypal", "__init__", "x" * 99]
    write_manifest(str(tmp_path), len(keys), size=64)
    table = pq.read_table(tmp_path / "manifest.parquet").set_column(0, "key", pa.array(keys))
    pq.write_table(table, tmp_path / "manifest.parquet")
    for layout in NEW:
        assert run(str(tmp_path / "manifest.parquet"), tmp_path / layout, layout) == 0
        assert verify(str(tmp_path / layout)).faults == ()
    (shard,) = (tmp_path / "webdataset" / "shards").iterdir()
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [json.loads(sample["json"])["key"] for sample in samples] == keys
    loaded = load(str(tmp_path / "webdataset"), tmp_path, split="train")
    assert [row["key"] for row in loaded["json"]] == keys
    with tarfile.open(shard) as tar:
        assert not any("/" in name or ".." in name for name in tar.getnames())


@pytest.mark.parametrize("layout", NEW)
def test_an_unfinished_attempt_leaves_nothing_behind(tmp_path, layout):
    manifest = write_manifest(str(tmp_path), 4, size=64)
    flags = ["--partition_by", "split"]
    run(manifest, tmp_path / "out", layout, *flags)
    before = stored(tmp_path / "out")
    (marker,) = (tmp_path / "out" / "_units").iterdir()
    marker.unlink()
    (tmp_path / "photos" / "astronaut_0.jpg").unlink()  # which alone is in split=test,
    (tmp_path / "photos" / "rocket_0.jpg").unlink()  # with this one
    run(manifest, tmp_path / "out", layout, *flags)
    after = stored(tmp_path / "out")
    assert any("split=test" in name for name in before)
    assert not any("split=test" in name for name in after)
    assert verify(str(tmp_path / "out")).faults == ()


@pytest.mark.parametrize("layout", NEW)
def test_failed_rows_are_run_again_in_every_layout(tmp_path, layout):
    manifest = write_manifest(str(tmp_path), 6, size=64)
    photo = tmp_path / "photos" / "coffee_0.jpg"
    hidden = photo.read_bytes()
    photo.unlink()
    run(manifest, tmp_path / "out", layout, "--unit_size", "4")
    before = stored(tmp_path / "out")
    photo.write_bytes(hidden)
    assert run(manifest, tmp_path / "out", layout, "--unit_size", "4", "--retry_failed") == 0
    after = stored(tmp_path / "out")
    assert {name for name in before if after.get(name) != before[name]} == {
        name for name in before if name.startswith("errors/")
    }
    assert len(open_dataset(str(tmp_path / "out")).to_table()) == 6
    assert len(open_errors(str(tmp_path / "out")).to_table()) == 0
    assert verify(str(tmp_path / "out")).faults == ()


@pytest.mark.parametrize("layout", NEW)
def test_every_layout_is_written_to_object_stores(tmp_path, layout):
    manifest = write_manifest(str(tmp_path), 3, size=64)
    output = f"memory://layouts-{layout}/out"
    assert run(manifest, output, layout, "--partition_by", "split", "--save_mask") == 0
    assert verify(output).faults == ()
    assert len(open_dataset(output).to_table()) == 3


@pytest.mark.parametrize("layout", NEW)
def test_kills_leave_no_trace_in_any_layout(tmp_path, layout, monkeypatch):
    manifest = write_manifest(str(tmp_path), 12, size=64)
    (tmp_path / "photos" / "coffee_1.jpg").unlink()
    monkeypatch.setenv("ALPHABEAM_KILL_AT", "0")

    def command(output):
        return [
            "run", "--manifest", manifest, "--output", str(tmp_path / output), "--layout", layout,
            "--engine", "suicidal:Suicidal", "--no_report", "--unit_size", "3", "--save_mask",
            "--partition_by", "split",
        ]  # fmt: skip

    assert main(command("whole")) == 0
    for kill_at in (7, 13):  # before files of the first unit, and of a later one
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ALPHABEAM_KILL_AT": str(kill_at),
        }
        killed = subprocess.run(
            [sys.executable, "-m", "alphabeam.pipeline", *command("killed")], env=environment
        )
        assert killed.returncode == -signal.SIGKILL
    assert main(command("killed")) == 0
    assert stored(tmp_path / "killed") == stored(tmp_path / "whole")
    assert verify(str(tmp_path / "killed")).faults == ()
    assert not (tmp_path / "killed" / "_tmp").exists()
