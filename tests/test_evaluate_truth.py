"""The truth of an evaluation: every form of mask, and which row it belongs to."""

import base64
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluated import KEYS, make_here, rows_of, run, stored_alpha, write_masks
from PIL import Image
from website import Answer, Website

from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.evaluate import evaluate


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return make_here(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def mattes(here):
    return stored_alpha(here / "out")


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
