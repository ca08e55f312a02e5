"""Charts of the report: histograms as inline SVG whose colours come from the page's own CSS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import pygal
from markupsafe import Markup
from pygal.style import Style

from .formats import count, duration, number, share
from .histogram import Bar, Histogram

_WIDTH, _HEIGHT = 360, 190
_TICKS = 6
_COUNT_TICKS = 4  # above 0
_STYLE = Style(label_font_size=11, major_label_font_size=11)
# What pygal draws for its own scripts and tooltips, and empty layers.
_DROPPED = {"defs", "title", "desc"}
_DROPPED_CLASSES = ("overlay", "titles", "background")


@dataclass(frozen=True)
class Measure:
    """What a histogram shows.

    Attributes:
      name: of the histogram.
      title: for people.
      meaning: one sentence on what the number is and what to look for.
      show: turns a value into text.
      tick: the same as short as it has to be on an axis.
      missing: what it means that a value is not there.
      counted: what the bars count.
    """

    name: str
    title: str
    meaning: str
    show: Callable[[float], str]
    tick: Callable[[float], str]
    missing: str = ""
    counted: str = "Cutouts"


@dataclass(frozen=True)
class Figure:
    """A chart and the same in words and numbers.

    Attributes:
      measure: what it shows.
      svg: the chart, safe to place in a page; empty when there is nothing to draw.
      summary: one line.
      notes: on values that are not in the chart.
      rows: label and count of every bar.
    """

    measure: Measure
    svg: Markup
    summary: str
    notes: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]


def _decimal(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


MEASURES = (
    Measure(
        "coverage",
        "Coverage",
        "Mean alpha: how much of the picture was kept. Spikes at either end are blank or full "
        "masks.",
        share,
        share,
    ),
    Measure(
        "confidence",
        "Confidence",
        "How decided the engine was about the pixels, from 0 to 1. A tail to the left is what to "
        "look at.",
        _decimal,
        _decimal,
        "its engine gave none",
    ),
    Measure(
        "edge_width_px",
        "Edge width",
        "Pixels from subject to background, the mean along the outline. Hair and blur make it "
        "wide.",
        lambda value: f"{number(value)} px",
        number,
        "the mask has no outline",
    ),
    Measure(
        "soft_fraction",
        "Softness",
        "Share of pixels that are neither subject nor background.",
        share,
        share,
    ),
    Measure(
        "size",
        "Size",
        "Million pixels of a cutout.",
        lambda value: f"{number(value)} MP",
        number,
    ),
    Measure(
        "latency",
        "Latency",
        "Time a picture spends in all stages, the mean of its work unit.",
        duration,
        duration,
        counted="Rows",
    ),
)


# Of an evaluation.
JUDGED = (
    Measure(
        "iou",
        "IoU",
        "How much of subject and cutout is common to both: 1 is all, 0 is nothing.",
        _decimal,
        _decimal,
    ),
    Measure(
        "boundary_iou",
        "Boundary IoU",
        "The same along the outline alone. Low where the shape is right and its edge is not.",
        _decimal,
        _decimal,
    ),
    Measure(
        "mae",
        "MAE",
        "Mean difference of alpha, over all pixels. A tail to the right is what to look at.",
        _decimal,
        _decimal,
    ),
)


def figure(measure: Measure, histogram: Histogram) -> Figure:
    """Draws a histogram.

    Args:
      measure: what it shows; its name makes the ids within the page unique.
      histogram: the counts.
    """
    bars = histogram.bars()
    rows = tuple((_span(bar, measure), count(bar.count)) for bar in bars if bar.count)
    notes = []
    if histogram.zeros:
        notes.append(f"Exactly 0: {count(histogram.zeros)}.")
    if histogram.missing:
        notes.append(f"Without a value, because {measure.missing}: {count(histogram.missing)}.")
    if not histogram.count:
        return Figure(measure, Markup(), "No values", tuple(notes), ())
    low, middle, high = (measure.show(histogram.quantile(q)) for q in (0.05, 0.5, 0.95))
    summary = f"Median {middle}; nine in ten from {low} to {high}"
    svg = _svg(measure, histogram, bars, summary) if bars else Markup()
    return Figure(measure, svg, summary, tuple(notes), rows)


def _span(bar: Bar, measure: Measure) -> str:
    return f"{measure.show(bar.low)} to {measure.show(bar.high)}"


def _svg(measure: Measure, histogram: Histogram, bars: list[Bar], summary: str) -> Markup:
    def place(value: float) -> float:
        return math.log2(value) if histogram.logarithmic else value

    chart = pygal.Histogram(
        width=_WIDTH,
        height=_HEIGHT,
        style=_STYLE,
        css=(),
        js=(),
        no_prefix=True,
        show_legend=False,
        margin=2,
        margin_right=14,
        truncate_label=-1,
        include_x_axis=True,
        value_formatter=count,
    )
    ticks = _log_ticks(bars) if histogram.logarithmic else _linear_ticks(bars)
    chart.y_labels = _count_ticks(max(bar.count for bar in bars))
    chart.x_labels = [{"value": place(tick), "label": measure.tick(tick)} for tick in ticks]
    chart.add(
        measure.title,
        [
            {
                "value": (bar.count, place(bar.low), place(bar.high)),
                "label": f"{_span(bar, measure)}: {count(bar.count)}",
            }
            for bar in bars
        ],
    )
    return _inline(chart.render(is_unicode=True), measure, summary)


def _inline(svg: str, measure: Measure, summary: str) -> Markup:
    """Makes pygal's document part of a page: no scripts or styles, and names for screen readers."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        label = next((child.text for child in parent if _tag(child) == "desc"), None)
        for child in list(parent):
            classes = child.get("class", "").split()
            if _tag(child) in _DROPPED or any(name in classes for name in _DROPPED_CLASSES):
                parent.remove(child)
        if parent.get("class") == "histbar":
            ElementTree.SubElement(parent, "title").text = label
    for element in root.iter():
        element.tag = _tag(element)
    name = f"chart-{measure.name}"
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "class": "chart",
        "role": "img",
        "aria-labelledby": f"{name}-title",
        "aria-describedby": f"{name}-desc",
    }
    title = ElementTree.Element("title", {"id": f"{name}-title"})
    title.text = f"Histogram: {measure.title}"
    description = ElementTree.Element("desc", {"id": f"{name}-desc"})
    description.text = summary
    root[:0] = [title, description]
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _count_ticks(most: int) -> list[int]:
    """Gives round whole numbers from 0 to `most` or a little more."""
    step = next(int(step) for step in _nice(1.0) if most / step <= _COUNT_TICKS)
    return [index * step for index in range(math.ceil(most / step) + 1)]


def _linear_ticks(bars: list[Bar]) -> list[float]:
    low, high = bars[0].low, bars[-1].high
    step = next(step for step in _nice(1e-9) if (high - low) / step < _TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(bars: list[Bar]) -> list[float]:
    low, high = bars[0].low, bars[-1].high
    decades = [10.0**power for power in range(_power(low), _power(high) + 1)]
    fine = [step * decade for decade in decades for step in (1, 2, 5)]
    ticks = [tick for tick in fine if low <= tick <= high]
    if len(ticks) > _TICKS:
        ticks = [tick for tick in decades if low <= tick <= high]
        ticks = ticks[:: math.ceil(len(ticks) / _TICKS)]
    return ticks if len(ticks) > 2 else _linear_ticks(bars)


def _power(value: float) -> int:
    return math.floor(math.log10(value))


def _nice(start: float) -> Iterator[float]:
    """Gives 1, 2, 5, 10, 20, … times `start`, without end."""
    while True:
        yield from (start, 2 * start, 5 * start)
        start *= 10
