"""An evaluation in the report: its numbers, its pictures, and what it says when one is missing."""

import base64
import io
import json
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chromium import CONTRAST, report_opened
from evaluated import KEYS, make_here, moved, run, stored_alpha, write_masks
from PIL import Image

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.errors import UsageError
from alphabeam.pipeline.report import write_report
from alphabeam.pipeline.report.contents import gather
from alphabeam.pipeline.report.judged_pictures import (
    ADDED,
    CUTOUT_BYTES,
    MASK_BYTES,
    MISSING,
    difference,
)
from alphabeam.pipeline.report.judgement import DIFFERING, WORST
from alphabeam.pipeline.report.pictures import MOST_BYTES, Absent
from alphabeam.pipeline.report.survey import SAMPLES
from alphabeam.pipeline.report.survey import WORST as LEAST_CERTAIN


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A dataset of discs, one of another threshold, and masks that are ever further off."""
    folder = make_here(tmp_path_factory.mktemp("judged"))
    run(folder / "manifest.parquet", folder / "hard", "--alpha_threshold", "0.3")
    mattes = stored_alpha(folder / "out")
    shifted = {key: moved(levels, 4 * n) for n, (key, levels) in enumerate(mattes.items())}
    write_masks(folder / "masks", shifted)
    return folder


@pytest.fixture(scope="module")
def judged(here):
    """The dataset with its report, compared with the other one."""
    given = ["--truth", str(here / "masks"), "--against", str(here / "hard")]
    assert main(["evaluate", str(here / "out"), *given]) == 0
    return here / "out"


@pytest.fixture
def opened(chromium, judged):
    with report_opened(chromium, judged / "report.html") as page:
        yield page


def evaluation(dataset):
    return json.loads((dataset / "evaluation.json").read_text())


def pixels(thumbnail):
    data = base64.b64decode(thumbnail.uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def test_a_difference_tells_too_much_from_too_little_and_how_much():
    matte = np.array([[255, 255, 0, 0, 128]], np.uint8)
    truth = np.array([[255, 0, 255, 0, 0]], np.uint8)
    both, added, missing, neither, half = difference(matte, truth)[0].tolist()
    assert both == [128, 128, 128, 76]
    assert added == [*ADDED, 255]
    assert missing == [*MISSING, 255]
    assert neither[3] == 0
    assert half == [*ADDED, 128]


def test_the_worst_rows_come_with_cutout_truth_and_difference(here, judged):
    found = gather(str(judged)).judgement
    summary = evaluation(judged)
    assert [case.row for case in found.worst] == summary["worst"]
    assert [case.row["iou"] for case in found.worst] == sorted(
        case.row["iou"] for case in found.worst
    )
    assert [case.row for case in found.differing] == summary["against"]["differing"]
    assert found.outdated == ""
    for name, histogram in found.histograms.items():
        assert histogram.count == 6
        assert abs(histogram.quantile(1) - max(row[name] for row in summary["worst"])) < 0.002
    mattes = stored_alpha(judged)
    for case in found.worst:
        key = case.row["key"]
        cutout, truth, apart = map(pixels, (case.cutout, case.truth, case.difference))
        mask = np.asarray(Image.open(here / "masks" / f"{key}.png")).astype(int)
        assert cutout.shape == truth.shape == apart.shape
        assert np.abs(cutout[..., 3] - mattes[key]).mean() < 4
        assert np.abs(truth[..., 0] - mask).mean() < 4
        distance = np.abs(mattes[key].astype(int) - mask)
        assert apart[..., 3][distance < 3].max() < 160
        assert apart[..., 3][distance > 250].min(initial=255) > 200


def test_cropped_cutouts_embedded_pictures_and_inline_truths_are_shown_alike(here, tmp_path):
    out = tmp_path / "out"
    flags = ("--layout", "embedded", "--crop_to_bbox", "--crop_margin", "3", "--save_mask")
    run(here / "manifest.parquet", out, *flags)
    masks = [{"bytes": (here / "masks" / f"{key}.png").read_bytes()} for key in KEYS]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"key": KEYS, "mask": pa.array(masks, struct)})
    pq.write_table(table, tmp_path / "truth.parquet")
    assert main(["evaluate", str(out), "--truth", str(tmp_path / "truth.parquet")]) == 0
    for case in gather(str(out)).judgement.worst:
        cutout, truth, apart = map(pixels, (case.cutout, case.truth, case.difference))
        assert cutout.shape == truth.shape == apart.shape
        assert truth[..., 0].max() > 250
    (tmp_path / "truth.parquet").unlink()
    for case in gather(str(out)).judgement.worst:
        assert isinstance(case.truth, Absent)
        assert "truth.parquet" in case.truth.why


def test_what_cannot_be_shown_any_more_is_said(here, judged, tmp_path):
    out = shutil.copytree(judged, tmp_path / "out")
    values = evaluation(out)
    first, second = (row["key"] for row in values["worst"][:2])
    values["against"]["root"] = str(tmp_path / "nowhere")
    for row in [*values["worst"], *values["against"]["differing"]]:
        if row["key"] == second:
            row["truth_uri"] = str(tmp_path / "nothing.png")
    (out / "evaluation.json").write_text(json.dumps(values))
    (out / values["worst"][0]["picture"]).unlink()
    write_report(str(out))
    found = gather(str(out)).judgement
    by_key = {case.row["key"]: case for case in found.worst}
    assert "cannot be read" in by_key[first].cutout.why
    assert "cannot be read" in by_key[first].difference.why
    assert by_key[second].truth.why == "the truth is not reachable"
    assert {case.other.why for case in found.differing} == {
        "the other dataset is not there any more"
    }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"settings_hash": "0" * 16}, "made anew with other settings"),
        ({"complete": False}, "had not finished"),
    ],
)
def test_an_evaluation_of_an_earlier_state_is_called_that(judged, tmp_path, change, why):
    out = shutil.copytree(judged, tmp_path / "out")
    (out / "evaluation.json").write_text(json.dumps({**evaluation(out), **change}))
    assert why in gather(str(out)).judgement.outdated
    write_report(str(out))
    assert why in (out / "report.html").read_text()


def test_rows_that_were_run_again_make_an_evaluation_outdated(judged, tmp_path):
    out = shutil.copytree(judged, tmp_path / "out")
    values = evaluation(out)
    values["all"]["counts"]["failed"] = 3
    (out / "evaluation.json").write_text(json.dumps(values))
    assert "run again" in gather(str(out)).judgement.outdated


@pytest.mark.parametrize("content", ["{", "[]", '{"alphabeam_evaluation": 99}'])
def test_an_evaluation_that_cannot_be_read_is_named(judged, tmp_path, content):
    out = shutil.copytree(judged, tmp_path / "out")
    (out / "evaluation.json").write_text(content)
    with pytest.raises(UsageError, match=r"evaluation\.json cannot be read .* run alphabeam"):
        write_report(str(out))


def test_the_report_needs_no_package_of_the_evaluation(judged, monkeypatch):
    before = (judged / "report.html").read_bytes()
    for name in [name for name in sys.modules if name.startswith("alphabeam.pipeline.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "py_sod_metrics", None)
    from alphabeam.pipeline.report import write_report as afresh

    afresh(str(judged))
    assert (judged / "report.html").read_bytes() == before


def test_pictures_of_an_evaluation_leave_the_page_below_its_limit():
    def encoded(most):
        return 4 * -(-most // 3) + 30

    shown = 2 * (SAMPLES + LEAST_CERTAIN) * encoded(MOST_BYTES)
    worst = WORST * (encoded(CUTOUT_BYTES) + 2 * encoded(MASK_BYTES))
    differing = DIFFERING * (2 * encoded(CUTOUT_BYTES) + encoded(MASK_BYTES))
    assert shown + worst + differing < 4_750_000


def test_no_report_is_written_where_none_is_wanted(here, tmp_path, capsys):
    out = shutil.copytree(here / "hard", tmp_path / "out")
    given = ["evaluate", str(out), "--truth", str(here / "masks")]
    assert main([*given, "--no_report"]) == 0
    assert not (out / "report.html").exists()
    assert main(given) == 0
    assert capsys.readouterr().out.endswith(f"report: {out}/report.html#truth\n")
    assert "Against the truth" in (out / "report.html").read_text()


def test_the_page_has_the_numbers_and_pictures_of_the_evaluation(opened, judged):
    summary = evaluation(judged)
    opened.get_by_role("link", name="Truth", exact=True).click()
    section = opened.locator("#truth")
    assert section.get_by_text("6 of 6 keys were compared").is_visible()
    rows = section.get_by_role("table", name="Measures against the truth").locator("tbody tr")
    for metric, row in zip(summary["metrics"], rows.all(), strict=True):
        cells = row.locator("td.n").all_inner_texts()
        spread = summary["all"]["metrics"][metric["name"]]
        names = ("mean", "median", "p05", "p95")
        assert cells == [f"{spread[name]:.4f}" for name in names]
    partitions = section.get_by_role("table", name="Mean measures by partition")
    assert partitions.locator("tbody th").all_inner_texts() == ["split=test", "split=train"]
    sides = section.get_by_role("table", name="Measures here and in the other dataset")
    difference = summary["against"]["metrics"]["iou"]["difference"]
    assert sides.get_by_role("row", name="IoU", exact=False).first.is_visible()
    assert f"{difference:+.4f}" in sides.inner_text()
    worst, differing = section.locator(".judged").all()
    assert worst.locator("li .key bdi").all_inner_texts() == [
        row["key"] for row in summary["worst"]
    ]
    first = summary["worst"][0]["key"]
    for title in ("Cutout", "Truth", "Difference"):
        assert worst.get_by_role("img", name=f"{title} of {first}").is_visible()
    assert differing.get_by_role("img").count() == 3 * 6
    loaded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert opened.evaluate(loaded)


def test_the_section_can_be_read_in_light_and_dark_and_on_a_phone(opened):
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        for selector in (".too-much", ".too-little", ".verdict .small", ".panel > p"):
            assert opened.evaluate(CONTRAST, selector) >= 4.5, (scheme, selector)
    assert opened.locator("#truth table:not(:has(caption))").count() == 0
    assert opened.locator("#truth img:not([alt*=' of '])").count() == 0
    for width in (320, 768):
        opened.set_viewport_size({"width": width, "height": 740})
        assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_a_report_without_an_evaluation_says_nothing_of_truth(chromium, here, tmp_path):
    out = shutil.copytree(here / "hard", tmp_path / "out")
    write_report(str(out))
    with report_opened(chromium, out / "report.html") as page:
        assert page.locator("#truth").count() == 0
        assert page.get_by_role("link", name="Truth", exact=True).count() == 0
