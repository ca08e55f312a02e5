"""Numbers, words and charts of the report."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.pipeline.report import formats
from alphabeam.pipeline.report.figures import MEASURES, figure
from alphabeam.pipeline.report.flags import reasons
from alphabeam.pipeline.report.histogram import Histogram


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=200),
    st.lists(st.floats(1e-4, 1e6), min_size=1, max_size=200),
)
def test_histograms_hold_every_value_and_tell_quantiles(shares, sizes):
    for values, logarithmic in ((shares, False), (sizes, True)):
        histogram = Histogram(logarithmic=logarithmic)
        half = len(values) // 2
        histogram.add(np.array(values[:half]))
        histogram.add(np.array([*values[half:], math.nan]))
        assert (histogram.count, histogram.missing) == (len(values), 1)
        bars = histogram.bars()
        assert 6 <= len(bars) <= 24
        assert sum(bar.count for bar in bars) == len(values)
        assert all(one.high == other.low for one, other in itertools.pairwise(bars))
        assert bars[0].low <= min(values) * (1 + 1e-9)
        assert max(values) <= bars[-1].high * (1 + 1e-9)
        for bar in bars[1:-1]:
            inside = [v for v in values if bar.low + 1e-9 < v < bar.high - 1e-9]
            assert bar.count >= len(inside)
        ordered = sorted(values)
        for share in (0.05, 0.5, 0.95):
            exact = ordered[math.ceil(share * len(values)) - 1]
            tolerance = 0.045 * exact if logarithmic else 0.001
            assert abs(histogram.quantile(share) - exact) <= tolerance


def test_zeros_count_in_quantiles_but_have_no_place_among_octaves():
    histogram = Histogram(logarithmic=True)
    histogram.add(np.array([0.0, 0.0, 0.0, 8.0]))
    assert (histogram.zeros, histogram.count) == (3, 4)
    assert histogram.quantile(0.5) == 0
    assert abs(histogram.quantile(1) - 8) < 0.4
    assert sum(bar.count for bar in histogram.bars()) == 1


@pytest.mark.parametrize("low", [1e-6, 0.03, 1.0, 950.0])
@pytest.mark.parametrize("spread", [1.01, 3, 100, 1e6])
def test_axes_have_a_few_round_ticks_within_their_bars(low, spread):
    histogram = Histogram(logarithmic=True)
    histogram.add(np.geomspace(low, low * spread, 50))
    svg = figure(MEASURES[4], histogram).svg
    ticks = re.findall(r'class="axis x".*?</g></g>', svg)[0].count("<text")
    assert 2 <= ticks <= 7
    assert svg.count('class="histbar"') == len(histogram.bars())


def test_a_figure_says_in_words_and_numbers_what_it_draws():
    histogram = Histogram(logarithmic=True)
    histogram.add(np.array([0.0, 2.0, 2.0, 7.0, math.nan]))
    drawn = figure(
        next(measure for measure in MEASURES if measure.name == "edge_width_px"), histogram
    )
    assert drawn.summary.startswith("Median 2.04 px; nine in ten from 0 px to ")
    assert drawn.notes == (
        "Exactly 0: 1.",
        "Without a value, because the mask has no outline: 1.",
    )
    assert sorted(rows for _, rows in drawn.rows) == ["1", "2"]
    assert "<script" not in drawn.svg
    assert "<style" not in drawn.svg
    empty = figure(MEASURES[0], Histogram(logarithmic=False))
    assert (empty.svg, empty.summary, empty.rows) == ("", "No values", ())


FINE = {
    "is_blank": False, "is_full": False, "coverage": 0.4, "confidence": 0.97, "components": 1,
    "largest_component_ratio": 1.0, "soft_fraction": 0.03, "edge_width_px": 2.5, "hole_ratio": 0.0,
    "touches_top": False, "touches_right": False, "touches_bottom": False, "touches_left": False,
    "source_width": 800, "source_height": 600, "provider_resized": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"is_blank": True, "largest_component_ratio": None, "hole_ratio": None},
            "Nothing was cut",
        ),
        ({"is_full": True, "coverage": 1.0}, "whole picture was kept"),
        ({"coverage": 0.0042}, "tiny: 0.42 % of"),
        ({"coverage": 0.97}, "97 % was kept"),
        ({"confidence": 0.6}, "undecided"),
        ({"components": 7, "largest_component_ratio": 0.99}, "6 stray pieces"),
        ({"components": 3, "largest_component_ratio": 0.41}, "3 pieces; the largest is 41 % of it"),
        ({"soft_fraction": 0.3}, "30 % of the picture is half transparent"),
        ({"edge_width_px": 41.0}, "blurred over 41 pixels"),
        ({"hole_ratio": 0.25}, "holes as large as 25 %"),
        ({"provider_resized": True}, "sent it in another size"),
        (
            {"touches_top": True, "touches_right": True, "touches_left": True},
            "at the top, right and left.",
        ),
    ],
)
def test_every_reason_to_distrust_is_said_in_words(changed, words):
    assert reasons(FINE) == []
    (reason,) = reasons({**FINE, **changed})
    assert words in reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formats.share(0.0004), "0.04 %"),
        (formats.share(0.9997), "99.97 %"),
        (formats.share(1), "100 %"),
        (formats.number(1234.5), "1,234"),
        (formats.number(0.01234), "0.0123"),
        (formats.duration(0.00025), "250 µs"),
        (formats.duration(0.99996), "1 s"),
        (formats.duration(245), "4 min 5 s"),
        (formats.duration(12_000), "3 h 20 min"),
        (formats.duration(3600), "1 h"),
        (formats.duration(190_000), "2 d 5 h"),
        (formats.size(980), "980 B"),
        (formats.size(1.23e18), "1,230 PB"),
        (formats.usd(0.0034), "$0.0034"),
        (formats.usd(1234.5), "$1,234.50"),
        (formats.many(1, "file"), "1 file"),
        (formats.many(2000, "file"), "2,000 files"),
        (formats.clean("a\nb\u202ec"), "a\\nb\\u202ec"),
        (formats.clean("0123456789", 7), "01234…9"),
    ],
)
def test_numbers_and_text_are_written_for_people(text, expected):
    assert text == expected
