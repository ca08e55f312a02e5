"""The cards of a dataset: what the hub, `datasets` and `mlcroissant` make of them."""

import datetime
import decimal
import json
import re

import datasets
import mlcroissant
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from made_datasets import LAYOUTS, make_each, pixels_by_key, run
from photographs import write_manifest

from alphabeam.pipeline.cards.readme import dataset_card, licence_of
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.transforms.engines import registry

ODD = {
    "a_list": pa.array([[1, 2], [], None, [None], [5]], pa.list_(pa.int16())),
    "a_struct": pa.array([{"x": 1.5, "y": ["z"]}] * 4 + [None]),
    "structs": pa.array([[{"a": 1, "b": None}]] * 5, pa.list_(pa.struct([("a", pa.int8()), ("b", pa.string())]))),
    "a_map": pa.array([[("k", 1)]] * 5, pa.map_(pa.string(), pa.int32())),
    "lists": pa.array([[[1.5], []]] * 5, pa.large_list(pa.list_(pa.float32()))),
    "a_time": pa.array(
        [datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.timezone.utc)] * 5,
        pa.timestamp("us", "Europe/Berlin"),
    ),
    "nanoseconds": pa.array([1_700_000_000_123_456_789] * 5, pa.timestamp("ns")),
    "a_day": pa.array([datetime.date(2026, 1, 2)] * 5),
    "a_category": pa.array(["u", "v", None, "u", "v"]).dictionary_encode(),
    "a_null": pa.nulls(5),
    "a_decimal": pa.array([decimal.Decimal("1.25")] * 5, pa.decimal128(9, 4)),
    "some_bytes": pa.array([b"\x00\xff"] * 5, pa.large_binary()),
    "half": pa.array(np.arange(5, dtype=np.float16)),
    "not_a_number": pa.array([1.0, float("nan"), float("inf"), None, 0.1]),
    "flag": pa.array([True, None, False, True, True]),
    "two words, and: more": ["x"] * 5,
    "mask": ["truth.png"] * 5,
    "größe": pa.array([1, 2, 3, 4, 2**63 - 1]),
    "a_hash": pa.array([2**64 - 1, 0, None, 2**63, 7], pa.uint64()),
    "hashes": pa.array([[2**64 - 1], [], None, [None], [7]], pa.list_(pa.uint64())),
    "moments": pa.array([[{"at": 1_700_000_000_123_456_789}]] * 5, pa.list_(pa.struct([("at", pa.timestamp("ns"))]))),
    "a_sound": pa.array([{"bytes": b"RIFF", "path": "a.wav"}] * 5),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_each(str(tmp_path_factory.mktemp("cards")), 5, "--save_mask", **ODD)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("split"))
    flags = ["--partition_by", "label,split", "--save_mask"]
    return make_each(folder, 5, *flags, label=["a b", "ü", None, "c/d", "a b"])


def card_of(path):
    return DatasetCard.load(f"{path}/README.md", ignore_metadata_errors=False)


def load(path, tmp_path, **options):
    return datasets.load_dataset(path, cache_dir=str(tmp_path / "cache"), **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_hub_reads_the_metadata(made, layout):
    data = card_of(made[layout]).data
    assert data.license == "other"
    assert re.fullmatch(r"[a-z0-9.-]+", data.license_name)
    assert data.size_categories == ["n<1K"]
    assert data.task_categories == ["image-segmentation"]
    configs = MetadataConfigs.from_dataset_card_data(data)
    assert configs.get_default_config_name() == "default"
    infos = DatasetInfosDict.from_dataset_card_data(data)
    features = infos["default"].features
    assert features._to_yaml_list() == data.dataset_info["features"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_of_column_is_loaded_as_the_card_says(made, tmp_path, layout, streaming):
    loaded = load(made[layout], tmp_path, streaming=streaming, split="train")
    listed = DatasetInfosDict.from_dataset_card_data(card_of(made[layout]).data)["default"].features
    assert loaded.features == listed
    rows = list(
        loaded.remove_columns([name for name in listed if listed[name] == datasets.Image()])
    )
    assert len(rows) == 5
    row = rows[0]["json"] if layout == "webdataset" else rows[0]
    assert row["a_struct"] == {"x": 1.5, "y": ["z"]}
    assert row["lists"] == [[1.5], []]
    assert row["manifest_mask"] == "truth.png"
    if layout == "webdataset":
        assert row["a_map"] == [{"key": "k", "value": 1}]
        assert row["a_time"] == "2026-01-02T04:04:05.000006+01:00"
        assert row["nanoseconds"] == "2023-11-14 22:13:20.123456789"
        assert row["some_bytes"] == "AP8="
        assert row["a_hash"] == "18446744073709551615"
        assert row["hashes"] == ["18446744073709551615"]
        assert row["moments"] == [{"at": "2023-11-14 22:13:20.123456789"}]
        assert row["a_sound"] == {"bytes": "UklGRg==", "path": "a.wav"}
        assert [row["json"]["not_a_number"] for row in rows] == [1.0, None, None, None, 0.1]
    else:
        assert "a_map" not in row  # which `datasets` cannot read; it is in the file all the same
        assert row["some_bytes"] == b"\x00\xff"
        assert row["a_hash"] == 2**64 - 1
        assert row["a_sound"] == {"bytes": b"RIFF", "path": "a.wav"}
    assert open_dataset(made[layout]).to_table()["a_map"].to_pylist() == [[("k", 1)]] * 5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_column_called_split_makes_the_splits(split, tmp_path, layout):
    loaded = load(split[layout], tmp_path)
    assert {name: len(loaded[name]) for name in loaded} == {"test": 2, "train": 3}
    rows = [row["json"] if layout == "webdataset" else row for row in loaded["train"]]
    if layout == "files":
        assert "label" not in loaded["train"].features
        assert "which hold label" in card_of(split[layout]).text
    else:
        assert sorted(row["label"] or "" for row in rows) == ["", "a b", "ü"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("layout", ["files", "embedded"])
def test_the_rows_that_failed_are_a_config_of_their_own(tmp_path, layout, streaming):
    manifest = write_manifest(str(tmp_path), 3, size=64, pairs=ODD["a_map"][:3])
    (tmp_path / "photos" / "coffee_0.jpg").unlink()
    out = str(tmp_path / "out")
    run(manifest, out, layout, "--partition_by", "split")
    loaded = load(out, tmp_path, streaming=streaming)
    assert {row["key"] for name in loaded for row in loaded[name]} == {"astronaut_0", "chelsea_0"}
    (row,) = load(out, tmp_path, name="errors", split="train", streaming=streaming)
    assert (row["key"], row["error"], row["split"]) == ("coffee_0", "not_found", "train")
    assert "pairs" not in row
    infos = DatasetInfosDict.from_dataset_card_data(card_of(out).data)
    assert set(infos) == {"default", "errors"}


def test_without_failures_there_is_no_config_of_them(made):
    configs = MetadataConfigs.from_dataset_card_data(card_of(made["files"]).data)
    assert list(configs) == ["default"]


def test_the_card_says_how_pandas_reads_folders_whose_names_are_columns_too(split):
    with pytest.raises(pa.ArrowTypeError):
        pd.read_parquet(f"{split['embedded']}/data")
    (call,) = re.findall(r"`(pandas\.read_parquet\(.*?\))`", card_of(split["embedded"]).text)
    rows = eval(call, {"pandas": pd, "FOLDER": split["embedded"]})
    assert sorted(rows["split"]) == ["test", "test", "train", "train", "train"]
    assert "pandas" not in card_of(split["webdataset"]).text


def test_splits_that_are_no_names_are_left_to_the_column(tmp_path):
    manifest = write_manifest(str(tmp_path), 3, size=64, split=["train", "hold out", None])
    run(manifest, tmp_path / "out", "embedded", "--partition_by", "split")
    loaded = load(str(tmp_path / "out"), tmp_path)
    assert list(loaded) == ["train"]
    assert set(loaded["train"]["split"]) == {"train", "hold out", None}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_card_shows_how_to_load_it(made, layout, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", card_of(made[layout]).text, re.DOTALL)
    names = {"FOLDER": made[layout]}
    exec(code, names)
    pictures = pixels_by_key(made["files"], open_dataset(made["files"]).to_table().to_pylist())
    if layout == "webdataset":
        found = {sample["__key__"]: sample["rgba.png"] for sample in names["samples"]}
    else:
        found = {row["key"]: row["image"] for row in names["pictures"]}
    assert found.keys() == pictures.keys()
    for key, picture in found.items():
        assert np.array_equal(np.asarray(picture), pictures[key].image)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mlcroissant_finds_nothing_wrong_and_reads_the_records(made, layout):
    described = mlcroissant.Dataset(f"{made[layout]}/croissant.json")
    issues = described.metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings
    records = list(described.records("cutouts"))
    rows = open_dataset(made[layout]).to_table().to_pylist()
    assert [record["cutouts/key"].decode() for record in records] == [row["key"] for row in rows]
    for record, row in zip(records, rows, strict=True):
        assert record["cutouts/coverage"] == row["coverage"]
        assert record["cutouts/alpha_histogram"] == row["alpha_histogram"]
        assert record["cutouts/two%20words%2C%20and%3A%20more"] == b"x"
        assert record["cutouts/gr%C3%B6%C3%9Fe"] == row["größe"]
        if layout == "embedded":
            assert record["cutouts/image"].mode == "RGBA"
            assert record["cutouts/image"].size == (row["width"], row["height"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mlcroissant_finds_the_files_of_partitions(split, layout):
    described = mlcroissant.Dataset(f"{split[layout]}/croissant.json")
    assert len(list(described.records("cutouts"))) == 5
    sets = {node.id: node.includes for node in described.metadata.distribution}
    assert (
        sets.keys()
        == {
            "files": {"rows", "images", "masks"},
            "embedded": {"rows"},
            "webdataset": {"rows", "shards"},
        }[layout]
    )


def test_the_licence_of_the_model_is_stated(made):
    with open(f"{made['files']}/dataset.json") as file:
        values = json.load(file)
    for engine, name, told in (
        ("birefnet", "mit", "MIT"),
        ("grabcut,rmbg-2.0", "apache-2.0-and-cc-by-nc-4.0", "Apache-2.0; CC BY-NC 4.0"),
        ("birefnet-lite,fal-bria", "mit", "MIT; the provider's terms (fal-bria)"),
        ("package.module:Mine", "model", "not stated"),
    ):
        values["settings"]["engine"] = engine
        text = dataset_card(values, pa.schema([]), pa.schema([]), [], [])
        assert f"license_name: source-pictures-and-{name}\n" in text
        assert f"| licence of the model | {told}" in text
    for name in registry.entries():
        assert licence_of({"engine": name})


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"),
        (10**6, "1M<n<10M"), (10**9, "1B<n<10B"), (10**12 - 1, "100B<n<1T"), (10**13, "n>1T"),
    ],
)  # fmt: skip
def test_sizes_have_the_names_of_the_hub(made, rows, category):
    with open(f"{made['files']}/dataset.json") as file:
        values = json.load(file)
    values["totals"]["done"] = rows
    assert f"size_categories:\n- {category}\n" in dataset_card(
        values, pa.schema([]), pa.schema([]), [], []
    )
