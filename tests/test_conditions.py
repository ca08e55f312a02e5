"""Conditions over quality columns: what they mean, and that nothing else gets in."""

import contextlib
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.conditions import Condition
from alphabeam.transforms.mask_stats import mask_stats
from alphabeam.transforms.records import Cutout, EngineInfo, ImageRecord, SourceInfo


def cutout(confidence=0.5, level=255):
    alpha = np.full((4, 4), level, np.uint8)
    return Cutout(
        ImageRecord("k", "x"), b"", None, "png", 4, 4,
        SourceInfo("png", 4, 4, 1, "", 1, False), mask_stats(alpha), confidence,
        EngineInfo("e", "", "", "cpu", ""), {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("confidence < 0.8 or is_blank", True),
        ("confidence < 0.4", False),
        ("0.4 < confidence <= 0.5", True),
        ("not is_full and confidence < 0.8", False),
        ("coverage == 1", True),
        ("components != 1 or hole_ratio > 0.1", False),
        ("centroid_x > -1", True),
    ],
)
def test_conditions_mean_what_they_say(text, expected):
    assert Condition(text).holds(cutout()) is expected
    assert pickle.loads(pickle.dumps(Condition(text))).holds(cutout()) is expected


def test_a_value_that_is_not_there_compares_as_false():
    assert not Condition("confidence < 0.8").holds(cutout(confidence=None))
    assert not Condition("confidence >= 0.8").holds(cutout(confidence=None))
    assert Condition("confidence < 0.8 or is_blank").holds(cutout(None, level=0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("confidense < 1", "did you mean confidence"),
        ("__import__('os').system('x')", "not understood"),
        ("confidence.real < 1", "not understood"),
        ("confidence < 'a'", "not understood"),
        ("[x for x in is_blank]", "not understood"),
        ("confidence <", "not a condition"),
        ("confidence in is_blank", "not understood"),
        ("", "not a condition"),
    ],
)
def test_anything_else_is_refused_in_one_line(text, expected):
    with pytest.raises(ValueError, match=expected) as caught:
        Condition(text)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=30))
def test_no_text_is_run_or_breaks_the_parser(text):
    with contextlib.suppress(ValueError, TypeError):
        Condition(text).holds(cutout())
