"""The report as a file: its pictures, its size, and what it says when something is not there."""

import base64
import json
import math
import re
import sys
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photographs import write_manifest, write_photographs
from report_dataset import moody_dataset, page_of, rows_of, run

from alphabeam.pipeline.errors import UsageError
from alphabeam.pipeline.report import ReportUnavailable, write_report
from alphabeam.pipeline.report.contents import gather
from alphabeam.pipeline.report.pictures import MOST_BYTES, Absent, Thumbnail, thumbnail
from alphabeam.pipeline.report.survey import SAMPLES, WORST
from alphabeam.transforms.codec import DecodeLimits, Picture, decode


@pytest.fixture
def dataset(tmp_path_factory):
    return moody_dataset(tmp_path_factory.getbasetemp() / "moody")


def test_thumbnails_stay_within_their_bytes_and_keep_transparency():
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (700, 500, 4), np.uint8)
    small = thumbnail(Picture(noise[..., :3].copy(), noise[..., 3].copy(), "png", 1, False))
    assert decoded(small).rgb.shape == (small.height, small.width, 3)
    assert len(small.uri) <= 4 * math.ceil(MOST_BYTES / 3) + 30
    rgb = np.full((100, 1000, 3), (200, 30, 60), np.uint8)
    alpha = np.zeros((100, 1000), np.uint8)
    alpha[:, 500:] = 255
    half = thumbnail(Picture(rgb, alpha, "png", 1, False))
    assert (half.width, half.height) == (320, 32)
    seen = decoded(half)
    assert not seen.alpha[:, :155].any()
    assert seen.alpha[:, 165:].min() == 255
    assert np.abs(seen.rgb[:, 165:].astype(int) - (200, 30, 60)).max() < 12


def decoded(small):
    return decode(base64.b64decode(small.uri.partition(",")[2]), DecodeLimits())


def test_a_cropped_cutout_lies_over_the_same_part_of_its_source(tmp_path):
    manifest = write_manifest(str(tmp_path), 2, size=200)
    output = tmp_path / "out"
    run(manifest, output, "--crop_to_bbox", "--crop_margin", "5", engine="stub_engines:Disc")
    samples = gather(str(tmp_path / "out")).samples
    assert len(samples) == 2
    for sample in samples:
        assert (sample.source.width, sample.source.height) == (
            sample.cutout.width,
            sample.cutout.height,
        )
        cutout, source = decoded(sample.cutout), decoded(sample.source)
        opaque = cutout.alpha > 250
        assert np.abs(cutout.rgb.astype(int) - source.rgb)[opaque].mean() < 8


@pytest.mark.parametrize("layout", ["files", "embedded", "webdataset"])
def test_pictures_are_shown_whatever_the_layout(tmp_path, layout):
    manifest = write_manifest(str(tmp_path), 5, size=64)
    output = tmp_path / "out"
    flags = ("--layout", layout, "--partition_by", "split", "--unit_size", "3")
    run(manifest, output, *flags, engine="stub_engines:Disc")
    for sample in gather(str(output)).samples:
        assert decoded(sample.cutout).alpha.min() == 0
        assert isinstance(sample.source, Thumbnail)
        assert sample.partition == f"split={'train' if sample.row['key'] in TRAIN else 'test'}"
    write_report(str(output))
    links = re.findall(r'<a href="./([^"]*)"', page_of(output))
    assert all((output / unquote(link)).is_file() for link in links)
    assert len(links) == (10 if layout == "files" else 0)


TRAIN = ("chelsea_0", "coffee_0", "flower_0")


def test_pictures_that_cannot_be_had_are_said(tmp_path):
    names = write_photographs(str(tmp_path / "photos"), 4, size=64)
    held = (tmp_path / "photos" / names[3]).read_bytes()
    table = pa.table(
        {
            "key": ["gone", "changed", "fine", "held", "damaged", "missing"],
            "image": pa.array(
                [
                    *({"path": str(tmp_path / "photos" / name)} for name in names[:3]),
                    {"bytes": held},
                    {"bytes": held},
                    {"bytes": held},
                ],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    run(tmp_path / "m.parquet", tmp_path / "out", engine="stub_engines:Disc")
    (tmp_path / "photos" / names[0]).unlink()
    (tmp_path / "photos" / names[1]).write_bytes(held)
    paths = {row["key"]: tmp_path / "out" / row["image_path"] for row in rows_of(tmp_path / "out")}
    paths["missing"].unlink()
    paths["damaged"].write_bytes(b"no picture")
    samples = {sample.row["key"]: sample for sample in gather(str(tmp_path / "out")).samples}
    sources = {key: sample.source for key, sample in samples.items()}
    assert sources["gone"] == Absent("source not reachable")
    assert sources["changed"] == Absent("the source has changed since")
    assert sources["held"] == Absent("the source was inline in the manifest")
    assert isinstance(sources["fine"], Thumbnail)
    assert samples["missing"].cutout == Absent("the cutout is missing")
    assert samples["damaged"].cutout.why.startswith("the cutout cannot be decoded: ")
    write_report(str(tmp_path / "out"))
    for why in ("not reachable", "has changed since", "was inline", "cutout is missing"):
        assert why in page_of(tmp_path / "out")


def test_the_page_is_small_at_any_size(dataset):
    page = page_of(dataset)
    pictures = re.findall(r'src="(data:[^"]*)"', page)
    assert SAMPLES < len(pictures) <= 2 * (SAMPLES + WORST)
    rest = len(page.encode()) - sum(map(len, pictures))
    most = 2 * (SAMPLES + WORST) * (4 * math.ceil(MOST_BYTES / 3) + 30)
    assert rest < 400_000
    assert rest + most < 5_000_000


def test_the_same_dataset_gives_the_same_page_and_leaves_nothing_else(dataset):
    before = page_of(dataset)
    write_report(str(dataset))
    assert page_of(dataset) == before
    assert not (dataset / "_tmp").exists()


def test_foreign_text_is_shown_and_never_obeyed(dataset):
    page = page_of(dataset)
    assert page.count("<script") == 1
    assert "&lt;script&gt;document.title = &#39;taken&#39;&lt;/script&gt;" in page
    assert "<img src=http" not in page
    assert "onerror=alert(1)&gt;" in page
    assert "\u202e" not in page
    assert "x" * 80 in page
    assert "x" * 200 not in page
    assert "split=&lt;i&gt;rare&lt;/i&gt; &#34;&#39;&gt;" in page
    assert "<i>" not in page


def test_rows_without_a_confidence_are_named_instead_of_ranked(tmp_path):
    manifest = write_manifest(str(tmp_path), 6, size=64)
    run(manifest, tmp_path / "out", engine="moody_engine:Silent")
    write_report(str(tmp_path / "out"))
    page = page_of(tmp_path / "out")
    assert "None of the 6 cutouts has a confidence, because the engine gives none." in page
    assert '<li class="case">' not in page
    assert "Touches the border" in page
    assert "Low confidence" not in page  # 0 of them would say that all are sure
    assert "Scaled by the provider" not in page
    path = next((tmp_path / "out" / "data").iterdir())
    table = pq.read_table(path)
    column = table.schema.get_field_index("confidence")
    known = pa.array([0.5, None, 0.4, None, None, None], pa.float64())
    pq.write_table(table.set_column(column, "confidence", known), path)
    write_report(str(tmp_path / "out"))
    page = page_of(tmp_path / "out")
    assert page.count('<li class="case">') == 2
    assert "Low confidence" in page
    assert "Without a confidence, because their engine gave none: 4 of 6 cutouts." in page


def test_a_run_that_is_not_finished_or_has_no_cutout_has_a_report_too(tmp_path):
    manifest = write_manifest(str(tmp_path), 4, size=64)
    run(manifest, tmp_path / "out", "--unit_size", "2", engine="stub_engines:Disc")
    sorted((tmp_path / "out" / "_units").iterdir())[0].unlink()
    values = json.loads((tmp_path / "out" / "dataset.json").read_text())
    values |= {"state": "running", "engine": {"engine": "stub_engines:Disc"}}
    (tmp_path / "out" / "dataset.json").write_text(json.dumps(values))
    write_report(str(tmp_path / "out"))
    assert "2 of 4 rows are committed" in page_of(tmp_path / "out")

    pq.write_table(pa.table({"image": ["nowhere.png"]}), tmp_path / "none.parquet")
    run(tmp_path / "none.parquet", tmp_path / "none", engine="stub_engines:Disc")
    write_report(str(tmp_path / "none"))
    page = page_of(tmp_path / "none")
    assert "There are no cutouts yet." in page
    assert "1 of 1 row failed" in page


def test_the_report_works_on_any_store(tmp_path):
    manifest = write_manifest(str(tmp_path), 2, size=64)
    run(manifest, "memory://report-test/out", "--partition_by", "split", engine="stub_engines:Disc")
    assert write_report("memory://report-test/out") == "memory://report-test/out/report.html"
    assert len(gather("memory://report-test/out").samples) == 2


def test_missing_packages_are_named_with_the_extra_that_brings_them(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(ReportUnavailable) as trouble:
        write_report(str(dataset))
    assert str(trouble.value) == "the report needs pygal: pip install 'alphabeam[report]'"


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no alphabeam dataset"):
        write_report(str(tmp_path))
