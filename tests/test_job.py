"""The main job: manifest in, dataset out, on real photographs."""

import datetime
import decimal
import hashlib
import io
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from photographs import write_manifest, write_photographs
from PIL import Image
from stub_engines import disc

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset, open_errors
from alphabeam.pipeline.verify import verify

DISC = ["--engine", "stub_engines:Disc", "--no_report"]


def run(manifest, output, *flags, engine=DISC):
    return main(["run", "--manifest", str(manifest), "--output", str(output), *engine, *flags])


def rows_of(output):
    return open_dataset(str(output)).to_table().sort_by("key").to_pylist()


def errors_of(output):
    return open_errors(str(output)).to_table().sort_by("key").to_pylist()


def stored(output):
    """Gives every stored file but those that may hold times, with its content."""
    found = {}
    for folder in ("data", "images", "masks", "errors"):
        for path, _, names in os.walk(os.path.join(output, folder)):
            for name in names:
                with open(os.path.join(path, name), "rb") as file:
                    found[os.path.relpath(os.path.join(path, name), output)] = file.read()
    return found


def test_photographs_become_cutouts_that_verify(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path))
    assert run(manifest, tmp_path / "out", engine=[]) == 0
    assert "6 rows: 6 cutouts, 0 errors" in capsys.readouterr().out
    assert verify(str(tmp_path / "out")).faults == ()
    rows = rows_of(tmp_path / "out")
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
    for row in rows:
        picture = Image.open(tmp_path / "out" / row["image_path"])
        source = Image.open(row["source_uri"])
        assert picture.mode == "RGBA"
        assert picture.size == source.size == (row["width"], row["height"])
        pixels = np.asarray(picture)
        visible = pixels[..., 3] > 0
        assert np.array_equal(pixels[visible][:, :3], np.asarray(source)[visible])
        assert not pixels[~visible].any()
        with open(row["source_uri"], "rb") as file:
            assert row["source_sha256"] == hashlib.sha256(file.read()).hexdigest()
        assert (row["engine"], row["device"], row["attempts"]) == ("grabcut", "cpu", 1)
    coffee = next(row for row in rows if row["key"] == "coffee_0")
    assert 0.1 < coffee["coverage"] < 0.7
    assert coffee["confidence"] is not None


@pytest.mark.parametrize("name", ["cut outs [2024]", "what?", "st*r", "ünï", "a#b%20c"])
def test_the_output_may_have_any_name(tmp_path, name):
    manifest = write_manifest(str(tmp_path), 3)
    output = tmp_path / name / "out"
    assert run(manifest, output, "--partition_by", "split", "--unit_size", "2") == 0
    assert len(rows_of(output)) == 3
    assert verify(str(output)).faults == ()
    before = stored(output)
    (output / "_SUCCESS").unlink()
    assert run(manifest, output, "--partition_by", "split", "--unit_size", "2") == 0
    assert stored(output) == before
    assert run(manifest, output, "--overwrite") == 0
    assert verify(str(output)).faults == ()


def test_a_dataset_within_the_manifests_folder_is_no_part_of_it(tmp_path):
    write_photographs(str(tmp_path), 3, 64)
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nothing.jpg")
    output = tmp_path / "out"
    assert run(tmp_path, output) == 0
    assert run(tmp_path, output) == 0
    assert run(tmp_path, output, "--overwrite") == 0
    assert len(rows_of(output)) == 3
    assert [row["error"] for row in errors_of(output)] == ["not_found"]
    assert verify(str(output)).faults == ()


def test_the_dataset_folder_holds_what_the_design_names(tmp_path):
    manifest = write_manifest(str(tmp_path))
    run(manifest, tmp_path / "out", "--partition_by", "split", "--save_mask", "--unit_size", "3")
    out = tmp_path / "out"
    units = sorted(name.removesuffix(".json") for name in os.listdir(out / "_units"))
    assert len(units) == 2
    assert units[0].startswith("manifest-")
    for split in ("train", "test"):
        for unit in units:
            assert (out / "data" / f"split={split}" / f"{unit}.parquet").exists()
            images = os.listdir(out / "images" / f"split={split}" / unit)
            assert images == os.listdir(out / "masks" / f"split={split}" / unit)
    assert (out / "_SUCCESS").exists()
    assert (out / "README.md").read_text().startswith("---\n")
    assert not (out / "_tmp").exists()
    settings = json.loads((out / "dataset.json").read_text())
    assert settings["state"] == "complete"
    assert settings["totals"]["done"] == 6
    marker = json.loads((out / "_units" / f"{units[0]}.json").read_text())
    assert marker["rows"] == marker["done"] == 3
    assert {"fetch", "decode", "engine", "compose", "write", "wall"} <= set(marker["seconds"])
    assert {row["split"] for row in rows_of(out)} == {"train", "test"}
    assert verify(str(out)).faults == ()


def test_partitions_open_with_plain_readers(tmp_path):
    manifest = write_manifest(str(tmp_path), label=[1, 2, None, 1, 2, 1])
    run(manifest, tmp_path / "out", "--partition_by", "split,label")
    data = tmp_path / "out" / "data"
    assert pads.dataset(data, partitioning="hive").to_table().num_rows == 6
    assert pq.read_table(data).num_rows == 6
    assert sorted(row["label"] or 0 for row in rows_of(tmp_path / "out")) == [0, 1, 1, 1, 2, 2]
    assert (data / "split=test" / "label=1").exists()
    assert list(data.glob("split=*/label=__HIVE_DEFAULT_PARTITION__"))


@pytest.mark.parametrize("layout", ["files", "embedded", "webdataset"])
def test_a_partition_value_too_long_for_a_folder_is_a_row_that_failed(tmp_path, layout):
    labels = ["long" * 80, "\N{CJK UNIFIED IDEOGRAPH-732B}" * 29, "a", "b", "a", None]
    manifest = write_manifest(str(tmp_path), label=labels)
    flags = ["--partition_by", "label", "--layout", layout]
    assert run(manifest, tmp_path / "out", *flags) == 0
    errors = errors_of(tmp_path / "out")
    assert [error["error"] for error in errors] == ["partition_too_long"] * 2
    assert sorted(error["label"] for error in errors) == sorted(labels[:2])
    assert len(rows_of(tmp_path / "out")) == 4
    assert verify(str(tmp_path / "out")).faults == ()


def test_masks_are_the_alpha_of_the_cutouts(tmp_path):
    manifest = write_manifest(str(tmp_path))
    run(manifest, tmp_path / "out", "--save_mask")
    for row in rows_of(tmp_path / "out"):
        alpha = np.asarray(Image.open(tmp_path / "out" / row["image_path"]))[..., 3]
        mask = Image.open(tmp_path / "out" / row["mask_path"])
        assert mask.mode == "L"
        assert np.array_equal(alpha, np.asarray(mask))
        expected = disc(row["height"], row["width"])
        assert np.abs(alpha / 255 - expected).max() <= 0.5 / 255 + 1e-6


def test_other_manifest_columns_come_out_unchanged(tmp_path):
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
    columns = {
        "a_list": pa.array([[1, 2], [], None, [None], [5], [6]], pa.list_(pa.int16())),
        "a_struct": pa.array([{"x": 1.5, "y": ["z"]}] * 5 + [None]),
        "a_map": pa.array([[("k", 1)]] * 6, pa.map_(pa.string(), pa.int32())),
        "a_time": pa.array([moment] * 6, pa.timestamp("us", "Europe/Berlin")),
        "a_category": pa.array(["u", "v", None, "u", "u", "v"]).dictionary_encode(),
        "a_null": pa.nulls(6),
        "a_decimal": pa.array([decimal.Decimal("1.25")] * 6, pa.decimal128(9, 4)),
        "some_bytes": pa.array([b"\x00\xff"] * 6, pa.large_binary()),
        "half": pa.array(np.arange(6, dtype=np.float16)),
        "flag": pa.array([True, None] * 3),
        "a_view": pa.array(["a view of text longer than twelve bytes"] * 6, pa.string_view()),
        "coverage": ["mine"] * 6,
        "width": [7] * 6,
    }
    manifest = write_manifest(str(tmp_path), **columns)
    assert run(manifest, tmp_path / "out") == 0
    table = open_dataset(str(tmp_path / "out")).to_table()
    source = pq.read_table(manifest)
    for name in columns:
        output = f"manifest_{name}" if name in ("coverage", "width") else name
        assert table.schema.field(output).type == source.schema.field(name).type, name
        assert table[output].to_pylist() == source[name].to_pylist(), name
    assert max(table["coverage"].to_pylist()) <= 1


def test_every_kind_of_trouble_is_one_error_row_and_the_rest_goes_on(tmp_path):
    names = write_photographs(str(tmp_path / "photos"), 3)
    (tmp_path / "photos" / "torn.jpg").write_bytes(
        (tmp_path / "photos" / names[0]).read_bytes()[:2000]
    )
    (tmp_path / "photos" / "text.jpg").write_text("no picture at all")
    table = pa.table(
        {
            "key": ["good0", "good1", "good2", "gone", "torn", "text", "none", "data"],
            "image": [
                *(f"photos/{name}" for name in names),
                "photos/nowhere.jpg",
                "photos/torn.jpg",
                "photos/text.jpg",
                None,
                "data:image/png;base64,@@@",
            ],
            "note": list("abcdefgh"),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    assert run(tmp_path / "m.parquet", tmp_path / "out") == 0
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["good0", "good1", "good2"]
    errors = {row["key"]: row for row in errors_of(tmp_path / "out")}
    assert {key: row["stage"] for key, row in errors.items()} == {
        "gone": "fetch",
        "torn": "decode",
        "text": "decode",
        "none": "manifest",
        "data": "fetch",
    }
    assert errors["gone"]["error"] == "not_found"
    assert "nowhere.jpg" in errors["gone"]["message"]
    assert errors["gone"]["note"] == "d"
    assert not any(row["retryable"] for row in errors.values())
    assert all("\n" not in row["message"] for row in errors.values())
    assert verify(str(tmp_path / "out")).faults == ()


def test_engine_trouble_is_the_trouble_of_its_picture_alone(tmp_path):
    write_manifest(str(tmp_path), 8)
    for name, width in (("coffee_0", 161), ("rocket_0", 99)):
        path = tmp_path / "photos" / f"{name}.jpg"
        Image.open(path).resize((width, 80)).save(path)
    manifest = tmp_path / "manifest.parquet"
    assert run(manifest, tmp_path / "out", engine=["--engine", "stub_engines:Choosy"]) == 0
    errors = errors_of(tmp_path / "out")
    assert [row["key"] for row in errors] == ["coffee_0", "rocket_0"]
    assert {row["stage"] for row in errors} == {"engine"}
    assert len(rows_of(tmp_path / "out")) == 6


def test_a_matte_of_nans_is_an_error_row(tmp_path):
    manifest = write_manifest(str(tmp_path), 2)
    run(manifest, tmp_path / "out", engine=["--engine", "stub_engines:NotANumber"])
    assert [row["error"] for row in errors_of(tmp_path / "out")] == ["not_finite"] * 2


def test_batched_engines_give_the_same_dataset(tmp_path):
    manifest = write_manifest(str(tmp_path), 11)
    run(manifest, tmp_path / "one")
    run(manifest, tmp_path / "four", engine=["--engine", "stub_engines:BatchedDisc"])
    assert {name: data for name, data in stored(tmp_path / "one").items() if "images" in name} == {
        name: data for name, data in stored(tmp_path / "four").items() if "images" in name
    }


def test_hostile_and_duplicate_keys_stay_in_the_dataset_and_overwrite_nothing(tmp_path):
    names = write_photographs(str(tmp_path / "photos"), 12)
    keys = ["../../x", "", "y" * 5000, "a\nb", "CON", "same", "same", "SAME", "раypal", "paypal",
            "/etc/passwd", "a/b"]  # fmt: skip
    table = pa.table({"key": keys, "image": [f"photos/{name}" for name in names]})
    pq.write_table(table, tmp_path / "m.parquet")
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    assert run(tmp_path / "m.parquet", tmp_path / "out") == 0
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == before
    rows = rows_of(tmp_path / "out")
    assert len({row["image_path"].lower() for row in rows}) == len(keys)
    assert {row["key"] for row in rows} >= set(keys) - {""}
    for row in rows:
        assert (tmp_path / "out" / row["image_path"]).resolve().is_relative_to(tmp_path / "out")
    assert verify(str(tmp_path / "out")).faults == ()


@pytest.mark.parametrize(
    ("flags", "suffix", "mode"),
    [
        (["--output_format", "webp", "--output_quality", "100"], "webp", "RGBA"),
        (["--output_format", "jpg", "--background", "white", "--save_mask"], "jpg", "RGB"),
        (["--background", "#102030", "--refine_foreground"], "png", "RGB"),
        (["--crop_to_bbox", "--crop_margin", "3", "--alpha_threshold", "0.5"], "png", "RGBA"),
        (["--refine_foreground", "--preserve_alpha", "--save_mask"], "png", "RGBA"),
        (
            ["--crop_to_bbox", "--background", "0,0,0", "--output_format", "webp", "--save_mask",
             "--refine_foreground", "--preserve_alpha", "--alpha_threshold", "0.3"], "webp", "RGB",
        ),
    ],
)  # fmt: skip
def test_output_flags_combine(tmp_path, flags, suffix, mode):
    manifest = write_manifest(str(tmp_path), 3)
    assert run(manifest, tmp_path / "out", *flags) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    for row in rows_of(tmp_path / "out"):
        picture = Image.open(tmp_path / "out" / row["image_path"])
        assert row["image_path"].endswith(f".{suffix}")
        assert picture.convert(mode).mode == mode
        assert picture.mode == mode
        margin = 3 if "--crop_margin" in flags else 0
        if "--crop_to_bbox" in flags:
            assert picture.size == (
                row["bbox_width"] + 2 * margin,
                row["bbox_height"] + 2 * margin,
            )
        if "--save_mask" in flags:
            assert Image.open(tmp_path / "out" / row["mask_path"]).size == picture.size


def test_running_again_resumes_and_changes_nothing(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 9)
    run(manifest, tmp_path / "out", "--unit_size", "2")
    before = stored(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "images").rglob("*")}
    for marker in sorted((tmp_path / "out" / "_units").iterdir())[:2]:
        marker.unlink()
    capsys.readouterr()
    assert run(manifest, tmp_path / "out", "--unit_size", "2") == 0
    assert "4 pictures in" in capsys.readouterr().out
    assert stored(tmp_path / "out") == before
    untouched = [path for path, time in times.items() if path.stat().st_mtime_ns == time]
    assert len([path for path in untouched if path.suffix == ".png"]) == 5
    assert verify(str(tmp_path / "out")).faults == ()


def test_what_an_uncommitted_attempt_left_is_swept(tmp_path):
    manifest = write_manifest(str(tmp_path), 4)
    run(manifest, tmp_path / "out")
    before = stored(tmp_path / "out")
    (marker,) = (tmp_path / "out" / "_units").iterdir()
    unit = marker.name.removesuffix(".json")
    marker.unlink()
    (tmp_path / "out" / "images" / unit / "stray.png").write_bytes(b"left over")
    (tmp_path / "out" / "errors").mkdir()
    (tmp_path / "out" / "errors" / f"{unit}.parquet").write_bytes(b"left over")
    run(manifest, tmp_path / "out")
    assert stored(tmp_path / "out") == before


def test_other_settings_into_the_same_output_are_refused_with_the_difference(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 2)
    run(manifest, tmp_path / "out")
    assert run(manifest, tmp_path / "out", "--crop_to_bbox") == 2
    assert "compose.crop_to_bbox was false, now true" in capsys.readouterr().err
    assert run(manifest, tmp_path / "out", "--fetch_threads", "3") == 0
    assert run(manifest, tmp_path / "out", "--crop_to_bbox", "--overwrite") == 0
    assert verify(str(tmp_path / "out")).faults == ()


def test_a_changed_manifest_is_refused_by_name(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 3)
    run(manifest, tmp_path / "out")
    write_manifest(str(tmp_path), 4)
    assert run(manifest, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "manifest.parquet has changed" in message
    assert "--overwrite" in message


def test_the_same_manifest_written_again_still_resumes(tmp_path):
    manifest = write_manifest(str(tmp_path), 3)
    run(manifest, tmp_path / "out")
    os.utime(manifest)
    assert run(manifest, tmp_path / "out") == 0


def test_overwriting_never_deletes_what_is_not_a_dataset(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    assert run(manifest, tmp_path / "out", "--overwrite") == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


def test_starting_anew_deletes_the_dataset_and_leaves_what_lies_beside_it(tmp_path):
    manifest = write_manifest(str(tmp_path), 2)
    run(manifest, tmp_path / "out")
    (tmp_path / "out" / "evaluation.json").write_text("{}")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert run(manifest, tmp_path / "out", "--overwrite", "--save_mask") == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "evaluation.json").exists()
    assert verify(str(tmp_path / "out")).faults == ()


def test_failed_rows_are_run_again_alone_and_move_when_they_succeed(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 6)
    hidden = {}
    for name in ("coffee_0", "rocket_0"):
        path = tmp_path / "photos" / f"{name}.jpg"
        hidden[name] = path.read_bytes()
        path.unlink()
    run(manifest, tmp_path / "out", "--unit_size", "4")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "images").rglob("*.png")}
    (tmp_path / "photos" / "coffee_0.jpg").write_bytes(hidden["coffee_0"])

    assert run(manifest, tmp_path / "out", "--unit_size", "4") == 0
    assert len(errors_of(tmp_path / "out")) == 2
    capsys.readouterr()
    assert run(manifest, tmp_path / "out", "--unit_size", "4", "--retry_failed") == 0
    assert "2 pictures in" in capsys.readouterr().out
    assert [row["key"] for row in errors_of(tmp_path / "out")] == ["rocket_0"]
    assert len(rows_of(tmp_path / "out")) == 5
    assert verify(str(tmp_path / "out")).faults == ()

    (tmp_path / "photos" / "rocket_0.jpg").write_bytes(hidden["rocket_0"])
    assert run(manifest, tmp_path / "out", "--unit_size", "4", "--retry_failed") == 0
    assert errors_of(tmp_path / "out") == []
    assert len(rows_of(tmp_path / "out")) == 6
    assert verify(str(tmp_path / "out")).faults == ()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_an_error_rate_above_the_limit_fails_after_everything_is_committed(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 4)
    (tmp_path / "photos" / "coffee_0.jpg").unlink()
    assert run(manifest, tmp_path / "out", "--max_error_rate", "0.2") == 1
    assert "error rate 0.250 is above --max_error_rate 0.2" in capsys.readouterr().out
    assert len(rows_of(tmp_path / "out")) == 3
    assert verify(str(tmp_path / "out")).faults == ()
    assert run(manifest, tmp_path / "out", "--max_error_rate", "0.25") == 0


def test_the_job_runs_wholly_in_memory(tmp_path):
    manifest = write_manifest(str(tmp_path), 3)
    assert run(manifest, "memory://job-test/out", "--partition_by", "split") == 0
    assert verify("memory://job-test/out").faults == ()
    assert len(rows_of("memory://job-test/out")) == 3


def test_inline_pictures_are_read_from_every_form(tmp_path):
    names = write_photographs(str(tmp_path / "photos"), 2)
    encoded = [(tmp_path / "photos" / name).read_bytes() for name in names]
    forms = {
        "bytes": pa.array(encoded),
        "hugging_face": pa.array([{"bytes": data, "path": "x.jpg"} for data in encoded]),
    }
    for form, column in forms.items():
        pq.write_table(pa.table({"image": column}), tmp_path / f"{form}.parquet")
        assert run(tmp_path / f"{form}.parquet", tmp_path / form) == 0
        rows = rows_of(tmp_path / form)
        assert {row["source_sha256"] for row in rows} == {
            hashlib.sha256(data).hexdigest() for data in encoded
        }
        assert not any(isinstance(value, bytes) for row in rows for value in row.values())


def test_pixels_do_not_depend_on_the_form_of_the_manifest(tmp_path):
    write_manifest(str(tmp_path), 4)
    table = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    with open(tmp_path / "m.csv", "w") as file:
        file.write("key,image\n" + "".join(f"{row['key']},{row['image']}\n" for row in table))
    with open(tmp_path / "m.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in table)
    pictures = []
    for name in ("manifest.parquet", "m.csv", "m.jsonl", "photos"):
        output = tmp_path / f"out_{name}"
        assert run(tmp_path / name, output) == 0
        pictures.append({row["image_sha256"] for row in rows_of(output)})
    assert all(found == pictures[0] for found in pictures)
    assert len(pictures[0]) == 4


def test_png_pictures_are_straight_alpha_in_pillow(tmp_path):
    manifest = write_manifest(str(tmp_path), 1)
    run(manifest, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    data = (tmp_path / "out" / row["image_path"]).read_bytes()
    assert len(data) == row["image_bytes"]
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
