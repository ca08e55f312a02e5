"""`verify` finds every broken promise, in every layout, and never breaks itself."""

import io
import json
import os
import shutil
import sys
from dataclasses import replace

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_datasets import LAYOUTS, decoded, make_each, run
from photographs import write_manifest
from PIL import Image
from planting import Planter

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.errors import UsageError
from alphabeam.pipeline.verification.inventory import Inventory, Listed
from alphabeam.pipeline.verify import verify

KEY = "coffee_0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("verify"))
    return make_each(folder, 7, "--partition_by", "split", "--save_mask", "--unit_size", "4")


@pytest.fixture(params=LAYOUTS)
def planter(request, made, tmp_path):
    shutil.copytree(made[request.param], tmp_path / "out")
    return Planter(tmp_path / "out")


def faults(planter, sample=None):
    found = verify(str(planter.root), sample)
    assert found.broken == len(found.faults)
    return found.faults


def encoded(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_what_a_run_wrote_has_no_fault(planter):
    result = verify(str(planter.root))
    assert result.faults == ()
    assert (result.units, result.rows, result.pictures) == (2, 7, 7)
    assert result.text().startswith("ok: 2 units, 7 rows, ")


def test_a_missing_file_is_named(planter):
    for pattern in ("data/**/*.parquet", "shards/**/*.tar", "images/**/*.png", "masks/**/*.png"):
        for path in planter.files(pattern)[:1]:
            (planter.root / path).rename(planter.root / "away")
            assert any(line.startswith(f"{path}: missing") for line in faults(planter))
            (planter.root / "away").rename(planter.root / path)
    assert faults(planter) == ()


@pytest.mark.parametrize("left", [0.5, -4])
def test_a_truncated_picture_is_found_by_decoding_alone(planter, left):
    def cut(stored):
        end = left if left < 0 else int(len(stored.image) * left)
        return replace(stored, image=stored.image[:end])

    planter.edit(KEY, cut)
    (fault,) = faults(planter)
    assert repr(KEY) in fault
    assert "the picture does not decode" in fault


def test_a_flipped_byte_is_found_in_every_file(planter):
    patterns = ("data/**/*.parquet", "shards/**/*.tar", "images/**/*.png", "masks/**/*.png")
    for pattern in patterns:
        for path in planter.files(pattern)[:1]:
            data = bytearray((planter.root / path).read_bytes())
            data[len(data) // 2] ^= 1
            (planter.root / path).write_bytes(data)
            assert f"{path}: its content differs from its marker's SHA-256" in faults(planter)
            data[len(data) // 2] ^= 1
            (planter.root / path).write_bytes(data)


def test_a_file_of_another_size_is_found_without_reading_it(planter):
    (path, *_) = planter.files("data/**/*.parquet")
    with open(planter.root / path, "ab") as file:
        file.write(b"more")
    found = faults(planter, sample=1)
    assert any(line.startswith(f"{path}: has ") and "bytes" in line for line in found)


def test_a_row_too_many_is_found(planter):
    (path, *_) = planter.files("data/**/*.parquet")
    planter.edit_rows(path, lambda rows: [*rows, rows[-1]])
    assert any("rows in data/" in line for line in faults(planter))


def test_a_row_too_few_is_found(planter):
    path = planter.files("data/**/*.parquet")[-1]
    planter.edit_rows(path, lambda rows: rows[1:])
    found = faults(planter)
    assert any("rows in data/" in line for line in found)
    if planter.layout == "files":
        assert sum("no row names this picture" in line for line in found) == 2


def test_a_row_in_place_of_another_is_found(planter):
    path = planter.files("data/**/*.parquet")[-1]
    assert len(pq.ParquetFile(planter.root / path).read()) > 1
    planter.edit_rows(path, lambda rows: [rows[1], *rows[1:]])
    assert faults(planter)


def test_an_error_row_too_many_is_found(tmp_path):
    manifest = write_manifest(str(tmp_path), 3, size=64)
    (tmp_path / "photos" / "coffee_0.jpg").unlink()
    run(manifest, tmp_path / "out", "embedded")
    planter = Planter(tmp_path / "out")
    assert faults(planter) == ()
    planter.edit_rows(*planter.files("errors/*.parquet"), lambda rows: rows * 2)
    (fault,) = faults(planter)
    assert "there are 2 rows in data/ and 2 in errors/, and not 2 and 1" in fault


@pytest.mark.parametrize("folder", ["data", "images", "masks", "shards/split=train", "errors/deep"])
def test_an_orphan_is_named(planter, folder):
    (planter.root / folder).mkdir(parents=True, exist_ok=True)
    (planter.root / folder / "stray.bin").write_bytes(b"mine")
    assert faults(planter) == (f"{folder}/stray.bin: no marker lists this file",)


def test_a_stale_marker_of_a_unit_that_the_manifest_has_not(planter):
    marker = planter.markers()[0]
    unit = marker.name.removesuffix(".json")
    stale = f"{unit[:-1]}8"
    values = json.loads(marker.read_bytes())
    values.update(unit=stale, files=[], rows=0, done=0)
    (planter.root / "_units" / f"{stale}.json").write_text(json.dumps(values))
    found = faults(planter)
    assert f"_units/{stale}.json: stale: the manifest has no such unit" in found
    assert any("3 units with 7 rows are committed, but 2 units" in line for line in found)


def test_a_marker_under_another_name_is_found(planter):
    first, second = planter.markers()
    shutil.copy(first, second)
    assert any("is the marker of another unit" in line for line in faults(planter))


def test_a_stale_marker_of_other_settings(planter):
    planter.edit_json(planter.markers()[0], lambda marker: marker.update(settings_hash="0" * 16))
    (fault,) = faults(planter)
    assert "stale: written with other settings (0000000000000000)" in fault


def test_a_stale_marker_of_an_earlier_generation(tmp_path):
    for layout in LAYOUTS:
        folder = tmp_path / layout
        manifest = write_manifest(str(folder), 3, size=64)
        photo = folder / "photos" / "coffee_0.jpg"
        hidden = photo.read_bytes()
        photo.unlink()
        run(manifest, folder / "out", layout)
        planter = Planter(folder / "out")
        (marker,) = planter.markers()
        stale = marker.read_bytes()
        photo.write_bytes(hidden)
        run(manifest, folder / "out", layout, "--retry_failed")
        assert faults(planter) == ()
        marker.write_bytes(stale)
        found = faults(planter)
        assert any(line.startswith("errors/") and "missing" in line for line in found)
        assert any("-r1" in line and "no marker lists this file" in line for line in found)


def test_a_missing_marker_makes_orphans_and_a_unit_too_few(planter):
    planter.markers()[0].unlink()
    found = faults(planter)
    assert any(
        "1 units with 3 rows are committed, but 2 units with 7 rows" in line for line in found
    )
    assert any("no marker lists this file" in line for line in found)


def test_statistics_that_do_not_fit_are_found(planter):
    planter.edit(KEY, lambda stored: replace(stored, row={**stored.row, "coverage": 0.25}))
    (fault,) = faults(planter)
    assert repr(KEY) in fault
    assert "coverage is 0.25, its pixels say 0.4" in fault


def test_statistics_of_cropped_pictures_are_checked_as_far_as_they_go(tmp_path):
    manifest = write_manifest(str(tmp_path), 2, size=64)
    run(
        manifest,
        tmp_path / "out",
        "embedded",
        "--crop_to_bbox",
        "--crop_margin",
        "2",
        "--save_mask",
    )
    planter = Planter(tmp_path / "out")
    assert faults(planter) == ()
    wrong = {"mask_area_px": 5, "bbox_width": 4}
    planter.edit("chelsea_0", lambda stored: replace(stored, row={**stored.row, **wrong}))
    found = faults(planter)
    assert any("mask_area_px is 5" in line for line in found)
    assert any("the bounding box and its margin 8×" in line for line in found)


def test_a_premultiplied_picture_is_found(planter):
    def multiply(stored):
        pixels = decoded(stored.image).astype(np.uint16)
        pixels[..., :3] = pixels[..., :3] * pixels[..., 3:] // 255
        return replace(stored, image=encoded(pixels.astype(np.uint8)))

    planter.edit(KEY, multiply)
    (fault,) = faults(planter)
    assert repr(KEY) in fault
    assert "premultiplied" in fault


def test_a_mask_of_something_else_is_found(planter):
    planter.edit(KEY, lambda stored: replace(stored, mask=encoded(255 - decoded(stored.mask))))
    assert any("the mask is not the picture's alpha" in line for line in faults(planter))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pixels: pixels[:-1], "the row says png 96×64 RGBA"),
        (lambda pixels: pixels[..., :3], "RGB, the row says"),
    ],
)
def test_a_picture_of_another_size_or_mode_is_found(planter, change, told):
    planter.edit(KEY, lambda stored: replace(stored, image=encoded(change(decoded(stored.image)))))
    (fault,) = faults(planter)
    assert told in fault


def test_another_picture_under_a_row_is_found(planter):
    planter.edit(
        KEY, lambda stored: replace(stored, image=encoded(decoded(stored.image))), rehash=False
    )
    (fault,) = faults(planter)
    assert "the picture is not the one the row describes" in fault


def test_rows_that_differ_between_shards_and_parquet_are_found(made, tmp_path):
    shutil.copytree(made["webdataset"], tmp_path / "out")
    planter = Planter(tmp_path / "out")
    (path, *_) = planter.files("data/**/*.parquet")
    planter.edit_rows(path, lambda rows: [{**row, "confidence": 0.5} for row in rows])
    (fault,) = faults(planter)
    assert "its rows in data/ are not those in shards/" in fault


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"unit": 1}', b"[" * 100_000,
        b'{"rows": "many"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["marker", "_plan.json", "_compaction.json", "dataset.json"])
def test_broken_json_is_a_fault_and_no_crash(made, tmp_path, name, content):
    shutil.copytree(made["embedded"], tmp_path / "out")
    planter = Planter(tmp_path / "out")
    path = planter.markers()[0] if name == "marker" else planter.root / name
    path.write_bytes(content)
    found = faults(planter)
    assert any(str(path.relative_to(planter.root)) in line for line in found)
    assert not any("\n" in line for line in found)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1},
        {"rows": "4"},
        {"failed_rows": 7},
        {"files": [{"path": "../../etc/passwd", "size": 1, "sha256": "0" * 64}]},
        {"files": [{"path": "/etc/passwd", "size": 1, "sha256": "0" * 64}]},
        {"files": [{"path": "data/x", "size": 1, "sha256": "short"}]},
        {"files": [{"path": "data/x"}]},
        {"surprise": 1},
        {"settings_hash": None},
    ],
)
def test_a_marker_with_nonsense_in_it_is_a_fault(made, tmp_path, change):
    shutil.copytree(made["embedded"], tmp_path / "out")
    planter = Planter(tmp_path / "out")
    planter.edit_json(planter.markers()[0], lambda marker: marker.update(change))
    assert any("cannot be read as a commit marker" in line for line in faults(planter))


@pytest.mark.parametrize(
    "garbage", [b"", b"PAR1", b"PAR1" + bytes(500) + b"PAR1", os.urandom(4096)]
)
def test_garbage_for_parquet_and_shards_is_a_fault(planter, garbage):
    for pattern in ("data/**/*.parquet", "shards/**/*.tar"):
        for path in planter.files(pattern)[:1]:
            (planter.root / path).write_bytes(garbage)
            planter.rehash(path)
            assert any(line.startswith(f"{path}: ") for line in faults(planter))


def test_parquet_with_other_columns_is_a_fault(planter):
    (path, *_) = planter.files("data/**/*.parquet")
    pq.write_table(pa.table({"key": ["a"], "width": ["wide"]}), planter.root / path)
    planter.rehash(path)
    assert any(line.startswith(f"{path}: has no column") for line in faults(planter))


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_path": None},
        {"image_path": "../../../../etc/passwd"},
        {"width": None},
        {"alpha_histogram": None},
        {"image_sha256": None, "image_bytes": None},
        {"format": "tiff"},
        {"settings_hash": "other"},
        {"image": None},
    ],
)
def test_rows_with_nonsense_in_them_are_faults(planter, wrong):
    columns = {
        name: wrong[name] for name in wrong if name != "image" or planter.layout == "embedded"
    }
    (path, *_) = planter.files("data/**/*.parquet")
    planter.edit_rows(path, lambda rows: [{**row, **columns} for row in rows])
    if columns and not (planter.layout == "embedded" and "image_path" in wrong):
        assert faults(planter)


def test_a_picture_larger_than_the_run_took_is_not_decoded(planter):
    planter.edit(
        KEY, lambda stored: replace(stored, image=encoded(np.zeros((9000, 9000), np.uint8)))
    )
    planter.edit_json(
        "dataset.json", lambda values: values["settings"].update(max_image_pixels=10**6)
    )
    assert any("9000×9000 pixels, too many" in line for line in faults(planter))


def test_an_unfinished_run_and_missing_cards_are_told(planter):
    (planter.root / "README.md").unlink()
    assert faults(planter) == ("README.md: missing",)
    planter.edit_json("dataset.json", lambda values: values.update(state="running"))
    assert faults(planter) == ("dataset.json: the run is not complete: its state is 'running'",)


def test_totals_that_do_not_fit_are_found(planter):
    planter.edit_json("dataset.json", lambda values: values["totals"].update(done=8))
    (fault,) = faults(planter)
    assert "its totals are" in fault


@pytest.mark.parametrize("sample", [1, 3, 100])
def test_a_sample_looks_at_so_many_pictures(planter, sample):
    result = verify(str(planter.root), sample)
    assert result.faults == ()
    assert result.pictures == min(sample, 7)


def test_a_sample_finds_what_all_pictures_share(planter):
    for key in {
        "astronaut_0",
        "chelsea_0",
        "coffee_0",
        "rocket_0",
        "flower_0",
        "china_0",
        "astronaut_1",
    }:
        planter.edit(key, lambda stored: replace(stored, row={**stored.row, "is_full": True}))
    assert len(faults(planter, sample=2)) == 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_datasets_are_checked_on_any_storage(made, layout):
    memory = fsspec.filesystem("memory")
    root = f"/verify-{layout}"
    memory.put(made[layout], root, recursive=True)
    assert verify(f"memory://verify-{layout}").faults == ()
    (path, *_) = memory.glob(f"{root}/data/**/*.parquet")
    memory.pipe_file(path, memory.cat_file(path)[:-1] + b"?")
    (fault, *_) = verify(f"memory://verify-{layout}").faults
    assert "its content differs" in fault


def test_the_command_names_what_is_broken_and_exits_with_1(made, tmp_path, capsys):
    shutil.copytree(made["files"], tmp_path / "out")
    assert main(["verify", str(tmp_path / "out"), "--sample", "2"]) == 0
    assert "2 pictures were looked at" in capsys.readouterr().out
    (tmp_path / "out" / "data" / "stray").write_bytes(b"")
    assert main(["verify", str(tmp_path / "out")]) == 1
    assert "data/stray: no marker lists this file\n1 broken promises in" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "out"), "--sample", "0"]) == 2
    assert "--sample is a number of pictures from 1 on" in capsys.readouterr().err
    with pytest.raises(UsageError, match="holds no alphabeam dataset"):
        verify(str(tmp_path))


def test_a_terminal_sees_how_far_it_is(made, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    verify(made["files"], progress=True)
    assert "verifying" in sys.stderr.getvalue()
    assert "7/7" in sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    verify(made["files"], progress=True)
    assert sys.stderr.getvalue() == ""


def test_thousands_of_faults_are_counted_and_the_first_named(made, tmp_path):
    shutil.copytree(made["embedded"], tmp_path / "out")
    for number in range(1500):
        (tmp_path / "out" / "data" / f"stray{number}").write_bytes(b"")
    result = verify(str(tmp_path / "out"))
    assert (len(result.faults), result.broken) == (1000, 1500)


def test_an_inventory_tells_apart_lists_that_differ_in_one_file():
    files = [Listed(f"data/{number}", number) for number in range(3000)]
    inventory = Inventory()
    for file in files:
        inventory.expect(file)
    for file in reversed(files):
        inventory.find(file)
    assert inventory.balanced
    inventory.expect(Listed("data/7", 7, "twice"))
    assert not inventory.balanced
    assert list(inventory.differences([*files, Listed("data/7", 7, "twice")], files)) == [
        "data/7: listed by  and by twice"
    ]
