"""The report in a real browser: filters, sliders, keyboard, light and dark, phone."""

import itertools
import re

import pytest
from chromium import CONTRAST, report_opened
from report_dataset import moody_dataset, rows_of

from alphabeam.pipeline.report.figures import MEASURES
from alphabeam.pipeline.report.flags import FLAGS
from alphabeam.pipeline.report.survey import SAMPLES, WORST


@pytest.fixture
def dataset(tmp_path_factory):
    return moody_dataset(tmp_path_factory.getbasetemp() / "moody")


@pytest.fixture
def opened(chromium, dataset):
    with report_opened(chromium, dataset / "report.html") as page:
        yield page


def visible(page):
    return page.locator(".tile:visible")


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(opened):
    assert opened.title() == "out · alphabeam report"
    assert opened.locator("script").count() == 1
    assert opened.locator("[onerror], [onmouseover]").count() == 0
    loaded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert opened.evaluate(loaded)
    assert visible(opened).count() == SAMPLES
    assert opened.locator(".case").count() == WORST


def test_cutouts_are_filtered_by_flag(opened):
    for flag in FLAGS:
        opened.get_by_role("radio", name=re.compile(flag.title)).check()
        shown = visible(opened)
        assert 0 < shown.count() < SAMPLES
        assert shown.locator(f".tag[title='{flag.title}']").count() == shown.count()
        assert opened.locator("output").inner_text() == f"{shown.count()} of {SAMPLES} shown"
    opened.get_by_role("radio", name="No warning").check()
    assert visible(opened).count() > 0
    assert visible(opened).locator(".tag").count() == 0
    opened.get_by_role("radio", name="All").check()
    assert visible(opened).count() == SAMPLES


def test_a_warning_leads_to_the_cutouts_that_have_it(opened):
    for flag in FLAGS:
        opened.get_by_role("table", name="Cutouts by warning").get_by_role(
            "link", name=flag.title
        ).click()
        assert opened.get_by_role("radio", name=re.compile(flag.title)).is_checked()
        shown = visible(opened)
        assert 0 < shown.count() < SAMPLES
        assert shown.locator(f".tag[title='{flag.title}']").count() == shown.count()
    assert opened.url.endswith("#cutouts")


def test_cutouts_are_filtered_by_partition_and_engine_together(opened, dataset):
    splits = {row["key"]: row["split"] for row in rows_of(dataset)}
    engines = {row["key"]: row["engine"] for row in rows_of(dataset)}
    opened.get_by_label("Partition").select_option("split=val")
    keys = visible(opened).locator(".key bdi").all_inner_texts()
    assert keys
    assert {splits[key] for key in keys if key in splits} == {"val"}
    opened.get_by_label("Engine").select_option("moody_engine:Other")
    keys = visible(opened).locator(".key bdi").all_inner_texts()
    assert keys
    assert {engines[key] for key in keys if key in engines} == {"moody_engine:Other"}
    opened.get_by_label("Partition").select_option("split=test")
    assert visible(opened).count() == 0
    assert opened.get_by_text("No cutout shown here is of this kind.").is_visible()


def test_a_picture_is_wiped_by_arrow_keys_by_pointer_and_all_at_once(opened):
    compare = opened.locator(".tile .compare:has(.wipe)").first
    wipe, source = compare.locator(".wipe"), compare.locator(".source")

    def covered():
        return source.evaluate("image => getComputedStyle(image).clipPath")

    assert covered() == "inset(0px 100% 0px 0px)"
    wipe.focus()
    for _ in range(3):
        opened.keyboard.press("ArrowRight")
    assert covered() == "inset(0px 97% 0px 0px)"
    assert wipe.get_attribute("aria-valuetext") == "3 % source"
    opened.get_by_label("Source shown over all cutouts").fill("40")
    assert covered() == "inset(0px 60% 0px 0px)"
    compare.scroll_into_view_if_needed()
    box = compare.bounding_box()
    opened.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    assert covered() == "inset(0px 25% 0px 0px)"
    opened.mouse.move(1, 1)
    assert covered() == "inset(0px 60% 0px 0px)"


def test_the_keyboard_reaches_every_control_in_order(opened):
    wanted = opened.evaluate(
        """() => {
            const all = [...document.querySelectorAll("a, input, select, summary")];
            const found = all.filter((one) =>
                one.checkVisibility() && !one.disabled && (one.type !== "radio" || one.checked));
            window.reached = [];
            document.addEventListener("focusin", (event) => {
                reached.push(found.indexOf(event.target));
            });
            return found.length;
        }"""
    )
    for _ in range(wanted):
        opened.keyboard.press("Tab")
    reached = opened.evaluate("reached")
    assert reached == list(range(wanted))
    opened.get_by_role("radio", name="All").focus()
    opened.keyboard.press("ArrowRight")
    assert opened.get_by_role("radio", name="No warning").is_checked()
    opened.get_by_label("Partition").focus()
    opened.keyboard.press("ArrowDown")
    assert opened.get_by_label("Partition").input_value() != ""
    opened.locator("summary").first.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("details").first.locator("table").is_visible()


def test_screen_readers_get_a_name_for_everything(opened):
    unnamed = """() => [...document.querySelectorAll("input, select")].filter(
        (one) => !one.labels.length && !one.getAttribute("aria-label")).length"""
    assert opened.evaluate(unnamed) == 0
    assert opened.locator("img:not([alt])").count() == 0
    assert opened.locator("table:not(:has(caption))").count() == 0
    assert opened.locator("main").count() == opened.locator("h1").count() == 1
    levels = [int(name[1]) for name in opened.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((one) => one.tagName)"
    )]  # fmt: skip
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = opened.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    for measure in MEASURES:
        chart = opened.get_by_role("img", name=f"Histogram: {measure.title}", exact=True)
        assert chart.count() == 1
        assert "Median" in chart.locator("desc").first.text_content()
        assert opened.locator("figure", has=chart).locator("tbody tr").count() > 0


def test_light_and_dark_differ_and_both_can_be_read(opened):
    colours = "getComputedStyle(document.documentElement).backgroundColor"
    bars = "getComputedStyle(document.querySelector('.chart .rect')).fill"
    seen = []
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        seen.append((opened.evaluate(colours), opened.evaluate(bars)))
        for selector in (
            ".lead",
            ".eyebrow",
            ".tag",
            ".chart text",
            ".key a",
            ".chip span",
            ".small",
        ):
            assert opened.evaluate(CONTRAST, selector) >= 4.5, (scheme, selector)
        assert opened.evaluate(CONTRAST, ".chart .rect") >= 3
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]


def test_nothing_sticks_out_on_a_phone(opened):
    for width in (320, 360, 768):
        opened.set_viewport_size({"width": width, "height": 740})
        for details in opened.locator("details").all():
            details.evaluate("one => { one.open = true; }")
        assert opened.evaluate("document.documentElement.scrollWidth") == width
    narrow = opened.locator(".tile").first.bounding_box()
    assert narrow["width"] >= 140


def test_without_scripts_the_cutouts_are_there_and_no_dead_controls(chromium, dataset):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((dataset / "report.html").as_uri())
    assert visible(page).count() == SAMPLES
    assert page.locator(".tools").is_hidden()
    context.close()
