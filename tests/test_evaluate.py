"""Judging a dataset by its truth: scores, sums, every kind of trouble, and what is written."""

import csv
import json
import math
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluated import KEYS, NAMES, make_here, moved, rows_of, run, stored_alpha, write_masks
from photographs import write_manifest
from PIL import Image
from stub_engines import disc

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.evaluate import evaluate
from alphabeam.pipeline.evaluation.metrics import score
from alphabeam.pipeline.verify import verify


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return make_here(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def mattes(here):
    return stored_alpha(here / "out")


@pytest.fixture
def dataset(here, tmp_path):
    """A dataset of one's own, to be damaged."""
    return shutil.copytree(here / "out", tmp_path / "out")


def test_scores_are_those_of_the_stored_matte_and_the_truth(here, tmp_path, mattes):
    truth = {key: moved(levels, 5) for key, levels in mattes.items()}
    rows = rows_of(evaluate(str(here / "out"), str(write_masks(tmp_path / "m", truth))))
    for key in KEYS:
        expected = score(mattes[key], truth[key]).values()
        assert {name: rows[key][name] for name in NAMES} == expected
        assert 0.5 < rows[key]["iou"] < 1


def test_sums_are_those_of_the_rows_in_all_and_by_partition(here, tmp_path, mattes):
    truth = {key: moved(levels, shift) for shift, (key, levels) in enumerate(mattes.items())}
    evaluation = evaluate(str(here / "out"), str(write_masks(tmp_path / "m", truth)))
    rows = evaluation.table.to_pylist()
    split = dict(zip(*(open_dataset(str(here / "out")).to_table()[name].to_pylist()
                       for name in ("key", "split")), strict=True))  # fmt: skip
    assert {row["key"]: row["partition"] for row in rows} == {
        key: f"split={split[key]}" for key in KEYS
    }
    summary = evaluation.summary
    groups = [(summary["all"], rows)]
    for group in summary["partitions"]:
        groups.append((group, [row for row in rows if row["partition"] == group["partition"]]))
    assert [len(members) for _, members in groups] == [6, 2, 4]
    for group, members in groups:
        assert group["rows"] == group["counts"]["scored"] == len(members)
        for name in NAMES:
            values = [row[name] for row in members]
            assert group["metrics"][name]["mean"] == pytest.approx(np.mean(values))
            assert group["metrics"][name]["median"] == pytest.approx(np.median(values))
    worst = [row["iou"] for row in summary["worst"]]
    assert worst == sorted(row["iou"] for row in rows)
    assert summary["worst"][0]["key"] == list(mattes)[-1]


def test_a_blank_truth_has_no_f_measure_and_leaves_the_means(here, tmp_path, mattes):
    mattes["rocket_0"] = np.zeros_like(mattes["rocket_0"])
    evaluation = evaluate(str(here / "out"), str(write_masks(tmp_path / "m", mattes)))
    assert rows_of(evaluation)["rocket_0"]["f_max"] is None
    assert rows_of(evaluation)["rocket_0"]["iou"] == 0
    metrics = evaluation.summary["all"]["metrics"]
    assert (metrics["f_max"]["n"], metrics["iou"]["n"]) == (5, 6)
    assert metrics["f_max"]["mean"] > 0.99


def test_every_kind_of_trouble_is_named_and_the_rest_goes_on(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 12, size=48)
    (tmp_path / "photos" / "china_0.jpg").write_bytes(b"no picture")
    run(manifest, tmp_path / "out")
    mattes = stored_alpha(tmp_path / "out")
    masks = write_masks(tmp_path / "masks", mattes)
    (masks / "astronaut_0.png").unlink()
    (masks / "chelsea_0.png").write_bytes((masks / "chelsea_0.png").read_bytes()[:60])
    Image.fromarray(np.dstack([mattes["coffee_0"], *[mattes["coffee_0"] // 2] * 2])).save(
        masks / "coffee_0.png"
    )
    Image.fromarray((mattes["flower_0"] >= 128).astype(np.uint8)).save(masks / "flower_0.png")
    Image.fromarray(np.zeros((100, 30), np.uint8)).save(masks / "rocket_0.png")
    Image.fromarray(mattes["flower_1"]).save(masks / "stranger.png")
    Image.fromarray(mattes["flower_1"]).convert("RGB").save(masks / "flower_1.bmp")
    rows = {row["key"]: row for row in open_dataset(str(tmp_path / "out")).to_table().to_pylist()}
    (tmp_path / "out" / rows["coffee_1"]["image_path"]).unlink()
    (tmp_path / "out" / rows["rocket_1"]["image_path"]).write_bytes(b"torn")

    given = ["evaluate", str(tmp_path / "out"), "--truth", str(masks)]
    assert main(given) == 1
    table = pq.read_table(tmp_path / "out" / "evaluation.parquet")
    found = {row["key"]: (row["status"], row["error"]) for row in table.to_pylist()}
    scored = ("scored", None)
    assert found == {
        "astronaut_0": ("no_truth", None),
        "chelsea_0": ("bad_truth", "truncated"),
        "china_0": ("failed", "not_an_image"),
        "coffee_0": ("bad_truth", "not_a_mask"),
        "flower_0": ("bad_truth", "labels"),
        "rocket_0": ("bad_truth", "size_mismatch"),
        "stranger": ("no_cutout", None),
        "flower_1": ("duplicate_key", "repeated_truth"),
        "coffee_1": ("bad_cutout", "not_found"),
        "rocket_1": ("bad_cutout", "not_an_image"),
        "astronaut_1": scored,
        "chelsea_1": scored,
        "china_1": scored,
    }
    for row in table.to_pylist():
        assert all((row[name] is None) == (row["status"] != "scored") for name in NAMES)
        assert "\n" not in (row["message"] or "")
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["all"]["counts"] == {
        **{"scored": 3, "no_truth": 1, "bad_truth": 4, "no_cutout": 1, "bad_cutout": 2},
        **{"failed": 1, "duplicate_key": 1},
    }
    assert summary["all"]["rows"] == 13
    bad = summary["trouble"]["bad_truth"]
    assert [row["key"] for row in bad["rows"]] == ["chelsea_0", "coffee_0", "flower_0", "rocket_0"]
    printed = capsys.readouterr().out
    assert "3 of 13 keys scored" in printed
    for key, (status, _) in found.items():
        assert (key in printed) == (status != "scored"), key


def test_keys_that_rows_share_are_not_scored(tmp_path):
    manifest = write_manifest(str(tmp_path), 3, size=48)
    table = pq.read_table(manifest)
    table = table.set_column(0, "key", pa.array(["twin", "twin", "alone"]))
    pq.write_table(table, manifest)
    run(manifest, tmp_path / "out")
    row = next(r for r in open_dataset(str(tmp_path / "out")).to_table().to_pylist()
               if r["key"] == "alone")  # fmt: skip
    levels = disc(row["height"], row["width"])
    levels = (levels * 255).astype(np.uint8)
    masks = write_masks(tmp_path / "masks", {"twin": levels, "alone": levels})
    rows = rows_of(evaluate(str(tmp_path / "out"), str(masks)))
    assert (rows["twin"]["status"], rows["twin"]["error"]) == ("duplicate_key", "repeated_row")
    assert rows["alone"]["status"] == "scored"


def test_cropped_cutouts_are_put_back_where_they_were(here, tmp_path, mattes):
    run(here / "manifest.parquet", tmp_path / "cropped", "--crop_to_bbox", "--crop_margin", "6")
    evaluation = evaluate(str(tmp_path / "cropped"), str(here / "masks"))
    assert set(evaluation.table["status"].to_pylist()) == {"scored"}
    # The margin is wider than the soft rim, so nothing is lost.
    assert evaluation.table["mae"].to_pylist() == [0] * 6
    sizes = open_dataset(str(tmp_path / "cropped")).to_table(columns=["width", "source_width"])
    assert all(row["width"] < row["source_width"] for row in sizes.to_pylist())


def test_soft_pixels_that_a_crop_cut_off_count_as_none(here, tmp_path, mattes):
    run(here / "manifest.parquet", tmp_path / "tight", "--crop_to_bbox")
    for key, row in rows_of(evaluate(str(tmp_path / "tight"), str(here / "masks"))).items():
        mask = mattes[key] >= 128
        inside = np.outer(mask.any(axis=1), mask.any(axis=0))
        lost = mattes[key][~inside].sum() / 255_000
        assert lost > 0
        assert row["sad"] == pytest.approx(lost)
        assert row["iou"] == 1


def test_cutouts_on_a_background_need_their_masks(here, tmp_path, capsys):
    white = ["--background", "white", "--output_format", "jpg"]
    run(here / "manifest.parquet", tmp_path / "masked", *white, "--save_mask")
    evaluation = evaluate(str(tmp_path / "masked"), str(here / "masks"))
    assert evaluation.table["mae"].to_pylist() == [0] * 6
    run(here / "manifest.parquet", tmp_path / "bare", *white)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "bare"), "--truth", str(here / "masks")]) == 2
    assert "--save_mask" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["embedded", "webdataset"])
def test_every_layout_gives_the_same_scores(here, tmp_path, mattes, layout):
    truth = {key: moved(levels, 3) for key, levels in mattes.items()}
    masks = str(write_masks(tmp_path / "m", truth))
    flags = ["--layout", layout, "--partition_by", "split", "--unit_size", "4"]
    run(here / "manifest.parquet", tmp_path / "out", *flags)
    expected = evaluate(str(here / "out"), masks).table.drop_columns(["picture"])
    assert evaluate(str(tmp_path / "out"), masks).table.drop_columns(["picture"]) == expected


def test_a_torn_shard_is_the_trouble_of_its_cutouts(here, tmp_path):
    run(here / "manifest.parquet", tmp_path / "out", "--layout", "webdataset")
    (shard,) = (tmp_path / "out" / "shards").iterdir()
    shard.write_bytes(b"x" * 3000)
    evaluation = evaluate(str(tmp_path / "out"), str(here / "masks"))
    assert set(evaluation.table["error"].to_pylist()) == {"io"}
    assert evaluation.broken


def test_a_dataset_in_memory_is_evaluated_where_it_is(here):
    run(here / "manifest.parquet", "memory://evaluate-test/out")
    truth = str(here / "masks")
    assert main(["evaluate", "memory://evaluate-test/out", "--truth", truth]) == 0
    table = pq.read_table(_memory_file("memory://evaluate-test/out/evaluation.parquet"))
    assert table["mae"].to_pylist() == [0] * 6


def _memory_file(uri):
    import fsspec

    return pa.BufferReader(fsspec.open(uri, "rb").open().read())


def test_the_same_evaluation_writes_the_same_bytes(here, dataset, tmp_path, mattes):
    truth = str(write_masks(tmp_path / "m", {k: moved(v, 4) for k, v in mattes.items()}))
    before = sorted(path.name for path in dataset.iterdir())
    contents = []
    for _ in range(2):
        assert main(["evaluate", str(dataset), "--truth", truth, "--against", str(dataset)]) == 0
        assert verify(str(dataset)).faults == ()
        contents.append([(dataset / name).read_bytes() for name in
                         ("evaluation.parquet", "evaluation.json")])  # fmt: skip
    assert contents[0] == contents[1]
    added = {"evaluation.parquet", "evaluation.json", "report.html"}
    assert sorted(path.name for path in dataset.iterdir()) == sorted([*before, *added])


def test_the_csv_has_the_rows_of_the_table(here, dataset, tmp_path):
    out = tmp_path / "rows.csv"
    assert main(["evaluate", str(dataset), "--truth", str(here / "masks"), "--csv", str(out)]) == 0
    table = pq.read_table(dataset / "evaluation.parquet")
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == table.column_names
    for row, expected in zip(rows, table.to_pylist(), strict=True):
        assert row["key"] == expected["key"]
        assert math.isclose(float(row["s_measure"]), expected["s_measure"])


def refusal(capsys, *arguments):
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_bad_arguments_are_refused_in_one_line(here, tmp_path, capsys, mattes):
    out, masks = here / "out", here / "masks"
    no_masks = tmp_path / "plain.csv"
    no_masks.write_text("key,gt\ncoffee_0,x.png\n")
    strangers = write_masks(tmp_path / "strangers", {"somebody": mattes["coffee_0"]})
    for expected, *arguments in (
        ("--truth is missing", out),
        ("no alphabeam dataset", tmp_path, "--truth", masks),
        ("no alphabeam dataset", out, "--truth", masks, "--against", tmp_path),
        ("there is no manifest", out, "--truth", tmp_path / "nowhere.parquet"),
        ("mask or alpha or matte or truth", out, "--truth", no_masks),
        ('did you mean "gt"', out, "--truth", no_masks, "--truth_column", "gtt"),
        ("holds pictures and no table", out, "--truth", masks, "--truth_column", "mask"),
        ("it names somebody", out, "--truth", strangers),
        ("is a folder", out, "--truth", masks, "--csv", tmp_path),
        ("there is no folder", out, "--truth", masks, "--csv", tmp_path / "a" / "b.csv"),
        ("unknown argument", out, "--truth", masks, "--agianst", out),
    ):
        assert expected in refusal(capsys, *arguments), expected
    assert not (out / "evaluation.json").exists()


def test_a_missing_package_is_named(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "py_sod_metrics", None)
    for name in (
        "evaluation.segmentation_metrics",
        "evaluation.metrics",
        "evaluation.rows",
        "evaluate",
    ):
        monkeypatch.delitem(sys.modules, f"alphabeam.pipeline.{name}", raising=False)
    line = refusal(capsys, here / "out", "--truth", here / "masks")
    assert "py_sod_metrics" in line
    assert "pip install 'alphabeam[evaluate]'" in line
