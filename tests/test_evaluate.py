"""Judging a dataset by its truth: every form of truth, every kind of trouble, two side by side."""

import base64
import csv
import io
import json
import math
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photographs import write_manifest
from PIL import Image
from scipy.stats import wilcoxon
from stub_engines import disc
from website import Answer, Website

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.evaluate import evaluate
from alphabeam.pipeline.metrics import METRICS, score
from alphabeam.pipeline.verify import verify

KEYS = ["astronaut_0", "chelsea_0", "china_0", "coffee_0", "flower_0", "rocket_0"]
NAMES = [metric.name for metric in METRICS]
DISC = ["--engine", "stub_engines:Disc"]


def run(manifest, output, *flags, engine=DISC):
    given = ["--manifest", str(manifest), "--output", str(output), "--no_report"]
    assert main(["run", *given, *engine, *flags]) == 0


def stored_alpha(root):
    """Gives the mattes of a dataset of the `files` layout by key."""
    rows = open_dataset(str(root)).to_table().to_pylist()
    return {row["key"]: np.array(Image.open(root / row["image_path"]))[..., 3] for row in rows}


def write_masks(folder, mattes):
    folder.mkdir(parents=True, exist_ok=True)
    for key, levels in mattes.items():
        Image.fromarray(levels).save(folder / f"{key}.png")
    return folder


def moved(levels, pixels):
    return np.roll(levels, pixels, axis=1)


def png(levels):
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG")
    return stream.getvalue()


def rows_of(evaluation):
    return {row["key"]: row for row in evaluation.table.to_pylist()}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with six photographs, a dataset of them by split, and its own mattes as masks."""
    folder = tmp_path_factory.mktemp("evaluated")
    manifest = write_manifest(str(folder), 6, size=96)
    run(manifest, folder / "out", "--partition_by", "split")
    write_masks(folder / "masks", stored_alpha(folder / "out"))
    return folder


@pytest.fixture
def mattes(here):
    return stored_alpha(here / "out")


@pytest.fixture
def dataset(here, tmp_path):
    """A dataset of one's own, to be damaged."""
    return shutil.copytree(here / "out", tmp_path / "out")


def as_parquet(here, tmp_path, masks):
    path = tmp_path / "truth.parquet"
    pq.write_table(pa.table({"key": KEYS, "image": ["gone.jpg"] * 6, **masks}), path)
    return path


def paths(here, tmp_path):
    return as_parquet(here, tmp_path, {"mask": [f"{here}/masks/{key}.png" for key in KEYS]})


def inline_bytes(here, tmp_path):
    encoded = [(here / "masks" / f"{key}.png").read_bytes() for key in KEYS]
    return as_parquet(here, tmp_path, {"alpha": encoded})


def structs(here, tmp_path):
    encoded = [(here / "masks" / f"{key}.png").read_bytes() for key in KEYS]
    return as_parquet(here, tmp_path, {"matte": [{"bytes": e, "path": None} for e in encoded]})


def data_uris_in_csv(here, tmp_path):
    with open(tmp_path / "truth.csv", "w") as file:
        file.write("id,truth\n")
        for key in KEYS:
            encoded = base64.b64encode((here / "masks" / f"{key}.png").read_bytes()).decode()
            file.write(f'{key},"data:image/png;base64,{encoded}"\n')
    return tmp_path / "truth.csv"


def json_lines(here, tmp_path):
    rows = [{"key": key, "mask": f"{here}/masks/{key}.png"} for key in KEYS]
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "truth.jsonl"


def a_folder(here, tmp_path):
    return here / "masks"


def keys_from_images(here, tmp_path):
    table = pq.read_table(here / "manifest.parquet").select(["image"])
    masks = [image.replace("photos/", "masks/").replace(".jpg", ".png") for image in
             table["image"].to_pylist()]  # fmt: skip
    pq.write_table(table.append_column("mask", pa.array(masks)), here / "images_only.parquet")
    run(here / "images_only.parquet", here / "from_images")
    return here / "images_only.parquet"


@pytest.mark.parametrize(
    "truth",
    [paths, inline_bytes, structs, data_uris_in_csv, json_lines, a_folder],
    ids=lambda form: form.__name__,
)
def test_mattes_that_are_the_truth_have_full_marks(here, tmp_path, truth):
    evaluation = evaluate(str(here / "out"), str(truth(here, tmp_path)))
    assert evaluation.table["key"].to_pylist() == KEYS
    assert set(evaluation.table["status"].to_pylist()) == {"scored"}
    assert not evaluation.broken
    for row in evaluation.table.to_pylist():
        assert row["mae"] == row["sad"] == row["mse"] == row["gradient"] == row["connectivity"] == 0
        assert row["iou"] == row["boundary_iou"] == 1
        assert row["f_max"] > 0.99
        assert not row["resized"]


def test_keys_that_a_run_took_from_the_images_are_found_again(here, tmp_path):
    truth = keys_from_images(here, tmp_path)
    found = open_dataset(str(here / "from_images")).to_table()["key"].to_pylist()
    evaluation = evaluate(str(here / "from_images"), str(truth))
    assert evaluation.table["key"].to_pylist() == sorted(found)
    assert evaluation.table["mae"].to_pylist() == [0] * 6


def test_masks_in_folders_go_by_their_path_or_their_name(here, tmp_path, mattes):
    write_masks(tmp_path / "masks" / "a", {key: mattes[key] for key in KEYS[:3]})
    write_masks(tmp_path / "masks" / "b" / "c", {key: mattes[key] for key in KEYS[3:]})
    assert evaluate(str(here / "out"), str(tmp_path / "masks")).table["mae"].to_pylist() == [0] * 6


def form_of(mode, levels):
    if mode == "RGBA":
        colour = np.full((*levels.shape, 3), (200, 30, 30), np.uint8)
        return Image.fromarray(np.dstack([colour, levels]))
    if mode == "16-bit":
        return Image.fromarray(levels.astype(np.uint16) * 257)
    return Image.fromarray(levels).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "16-bit"])
def test_masks_may_be_of_any_common_form(here, tmp_path, mattes, mode):
    for key, levels in mattes.items():
        picture = form_of(mode, levels)
        if mode == "LA":
            picture.putalpha(Image.fromarray(levels))
        picture.save(tmp_path / f"{key}.png")
    evaluation = evaluate(str(here / "out"), str(tmp_path))
    assert evaluation.table["mae"].to_pylist() == [0] * 6


def test_masks_of_one_bit_are_the_mattes_cut_in_half(here, tmp_path, mattes):
    for key, levels in mattes.items():
        Image.fromarray(levels >= 128).save(tmp_path / f"{key}.png")
    for key, row in rows_of(evaluate(str(here / "out"), str(tmp_path))).items():
        assert row["iou"] == row["boundary_iou"] == 1
        hard = np.where(mattes[key] >= 128, 255, 0)
        assert row["sad"] == pytest.approx(np.abs(hard - mattes[key]).sum() / 255_000)


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


def test_masks_on_private_hosts_are_only_fetched_when_allowed(here, tmp_path):
    with Website() as site:
        urls = [
            site.on(f"/{key}.png", Answer((here / "masks" / f"{key}.png").read_bytes()))
            for key in KEYS
        ]
        truth = str(as_parquet(here, tmp_path, {"mask": urls}))
        refused = evaluate(str(here / "out"), truth)
        assert set(refused.table["error"].to_pylist()) == {"private_address"}
        assert refused.broken
        assert not site.requests
        allowed = evaluate(str(here / "out"), truth, allow_private_hosts=True)
    assert allowed.table["mae"].to_pylist() == [0] * 6


def test_a_row_without_a_mask_is_a_row_without_truth(here, tmp_path):
    masks = [f"{here}/masks/{key}.png" for key in KEYS[:5]] + [None]
    truth = as_parquet(here, tmp_path, {"mask": masks})
    evaluation = evaluate(str(here / "out"), str(truth))
    assert evaluation.table["status"].to_pylist() == ["scored"] * 5 + ["no_truth"]
    assert not evaluation.broken


def test_a_line_that_cannot_be_read_is_a_bad_truth(here, tmp_path):
    truth = json_lines(here, tmp_path)
    truth.write_text(truth.read_text() + '{"key": "torn"\n')
    rows = rows_of(evaluate(str(here / "out"), str(truth)))
    assert [rows[key]["status"] for key in KEYS] == ["scored"] * 6
    (other,) = rows.keys() - set(KEYS)
    assert (rows[other]["status"], rows[other]["error"]) == ("bad_truth", "bad_row")


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


def test_mattes_are_brought_to_the_size_of_the_truth(here, tmp_path, mattes):
    half = {}
    for key, levels in mattes.items():
        height, width = levels.shape
        picture = Image.fromarray(levels).resize((width // 2, height // 2), Image.Resampling.BOX)
        half[key] = np.asarray(picture)
    evaluation = evaluate(str(here / "out"), str(write_masks(tmp_path / "m", half)))
    assert evaluation.summary["all"]["resized"] == 6
    for key, row in rows_of(evaluation).items():
        assert (row["height"], row["width"]) == half[key].shape
        assert row["iou"] > 0.96
        assert row["mae"] < 0.01


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


def test_two_datasets_stand_side_by_side(here, dataset, tmp_path, mattes, capsys):
    run(here / "manifest.parquet", tmp_path / "grabcut", engine=[])
    truth = str(write_masks(tmp_path / "m", {k: moved(v, 2) for k, v in mattes.items()}))
    evaluation = evaluate(str(here / "out"), truth, against=str(tmp_path / "grabcut"))
    alone = {root: rows_of(evaluate(str(root), truth)) for root in
             (here / "out", tmp_path / "grabcut")}  # fmt: skip
    for key, row in rows_of(evaluation).items():
        assert {name: row[name] for name in NAMES} == {
            name: alone[here / "out"][key][name] for name in NAMES
        }
        assert {name: row[f"other_{name}"] for name in NAMES} == {
            name: alone[tmp_path / "grabcut"][key][name] for name in NAMES
        }
    against = evaluation.summary["against"]
    assert (against["pairs"], against["only_here"], against["only_other"]) == (6, 0, 0)
    for metric in METRICS:
        found = against["metrics"][metric.name]
        pairs = [(row[metric.name], row[f"other_{metric.name}"])
                 for row in evaluation.table.to_pylist()]  # fmt: skip
        difference = np.array([one - other for one, other in pairs])
        assert found["difference"] == pytest.approx(difference.mean())
        assert found["here"] - found["other"] == pytest.approx(found["difference"])
        assert difference.min() <= found["low"] <= found["difference"] <= found["high"]
        assert found["high"] <= difference.max()
        assert found["p"] == pytest.approx(wilcoxon(difference).pvalue)
        better = difference > 0 if metric.higher_is_better else difference < 0
        assert (found["wins"], found["losses"]) == (better.sum(), 6 - better.sum())
    gaps = [abs(row["here"]["iou"] - row["other"]["iou"]) for row in against["differing"]]
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == 6

    given = ["evaluate", str(dataset), "--truth", truth]
    assert main([*given, "--against", str(tmp_path / "grabcut")]) == 0
    assert "6 pairs" in capsys.readouterr().out


def test_sides_change_when_datasets_do(here, tmp_path, mattes):
    run(here / "manifest.parquet", tmp_path / "hard", "--alpha_threshold", "0.3")
    truth = str(write_masks(tmp_path / "m", {k: moved(v, 1) for k, v in mattes.items()}))
    one, other = str(here / "out"), str(tmp_path / "hard")
    there = evaluate(one, truth, against=other).summary["against"]["metrics"]
    back = evaluate(other, truth, against=one).summary["against"]["metrics"]
    for name in NAMES:
        assert there[name]["difference"] == pytest.approx(-back[name]["difference"], abs=1e-12)
        assert there[name]["wins"] == back[name]["losses"]
        assert there[name]["ties"] == back[name]["ties"]
        assert there[name]["p"] == pytest.approx(back[name]["p"])


def test_a_dataset_is_as_good_as_itself(here, tmp_path, mattes):
    truth = str(write_masks(tmp_path / "m", {k: moved(v, 1) for k, v in mattes.items()}))
    against = evaluate(str(here / "out"), truth, against=str(here / "out")).summary["against"]
    for found in against["metrics"].values():
        assert found["difference"] == found["low"] == found["high"] == 0
        assert (found["wins"], found["ties"], found["losses"]) == (0, 6, 0)
        assert found["p"] is None


def test_pairs_need_both_sides(here, tmp_path, dataset):
    rows = open_dataset(str(dataset)).to_table().to_pylist()
    (dataset / rows[0]["image_path"]).unlink()
    against = evaluate(str(dataset), str(here / "masks"), against=str(here / "out")).summary[
        "against"
    ]
    assert (against["pairs"], against["only_here"], against["only_other"]) == (5, 0, 1)
    one = write_masks(tmp_path / "one", {KEYS[0]: np.asarray(
        Image.open(here / "masks" / f"{KEYS[0]}.png"))})  # fmt: skip
    single = evaluate(str(here / "out"), str(one), against=str(here / "out")).summary["against"]
    assert single["pairs"] == 1
    assert single["metrics"]["iou"]["low"] is None


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
    added = {"evaluation.parquet", "evaluation.json"}
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


def test_the_commands_of_the_guide_run(here, tmp_path, monkeypatch):
    shutil.copytree(here / "photos", tmp_path / "photos")
    shutil.copytree(here / "masks", tmp_path / "masks")
    paths(here, tmp_path)
    monkeypatch.chdir(tmp_path)
    guide = (Path(__file__).parent.parent / "docs" / "evaluate.md").read_text()
    commands = re.findall("^alphabeam (.+)$", guide, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    assert (tmp_path / "rows.csv").exists()


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
    for name in ("segmentation_metrics", "metrics", "evaluation_rows", "evaluate"):
        monkeypatch.delitem(sys.modules, f"alphabeam.pipeline.{name}", raising=False)
    line = refusal(capsys, here / "out", "--truth", here / "masks")
    assert "py_sod_metrics" in line
    assert "pip install 'alphabeam[evaluate]'" in line
