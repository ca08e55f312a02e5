"""Mattes: size, threshold, multiplication, crop and background."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphabeam.transforms.mask_stats import mask_stats
from alphabeam.transforms.matte import (
    Box,
    composite,
    crop_box,
    multiply_alpha,
    parse_background,
    threshold,
    to_levels,
)

SIDE = st.integers(1, 60)
LEVEL = st.integers(0, 255)
ALPHA = hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)))
COLOUR = st.tuples(LEVEL, LEVEL, LEVEL)


@given(SIDE, SIDE, SIDE, SIDE, LEVEL, st.sampled_from([np.uint8, np.uint16, np.float32]))
@settings(deadline=None, max_examples=100)
def test_a_constant_matte_stays_constant_at_any_size(
    rows: int, columns: int, height: int, width: int, level: int, kind: type
) -> None:
    unit = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[kind]
    levels = to_levels(np.full((rows, columns), level * unit, kind), width, height)
    np.testing.assert_array_equal(levels, np.full((height, width), level))
    assert levels.dtype == np.uint8


@given(ALPHA, SIDE, SIDE)
@settings(deadline=None, max_examples=100)
def test_a_resized_matte_stays_within_the_levels_it_had(
    alpha: np.ndarray, width: int, height: int
) -> None:
    levels = to_levels(alpha, width, height)
    assert levels.shape == (height, width)
    assert alpha.min() <= levels.min()
    assert levels.max() <= alpha.max()


@given(
    hnp.arrays(np.float32, st.tuples(SIDE, SIDE), elements=st.floats(0, 1, width=32)),
    st.integers(0, 90),
    st.integers(0, 90),
)
@settings(deadline=None, max_examples=100)
def test_a_larger_size_is_interpolated_within_two_levels_of_floating_point(
    alpha: np.ndarray, more_columns: int, more_rows: int
) -> None:
    size = (alpha.shape[1] + more_columns, alpha.shape[0] + more_rows)
    wanted = 255 * cv2.resize(alpha.astype(np.float64), size, interpolation=cv2.INTER_LINEAR)
    assert np.abs(to_levels(alpha, *size) - wanted).max() <= 2


@given(ALPHA, st.integers(1, 5), st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_a_smaller_size_is_the_mean_of_what_it_covers(alpha: np.ndarray, x: int, y: int) -> None:
    height, width = alpha.shape
    larger = np.random.default_rng(int(alpha.sum())).integers(
        0, 256, (height * y, width * x), dtype=np.uint8
    )
    wanted = larger.reshape(height, y, width, x).mean(axis=(1, 3))
    assert np.abs(to_levels(larger, width, height) - wanted).max() <= 1


def test_one_axis_may_grow_while_the_other_shrinks() -> None:
    alpha = np.array([[0, 210], [100, 210], [0, 210], [100, 210]], np.uint8)
    levels = to_levels(alpha, 4, 2)
    np.testing.assert_array_equal(levels, [[50, 90, 170, 210], [50, 90, 170, 210]])


def test_a_matte_of_the_pictures_size_and_type_is_taken_as_it_is() -> None:
    alpha = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert to_levels(alpha, 4, 3) is alpha


def test_every_16_bit_level_and_probability_is_rounded_to_the_nearest() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(to_levels(deep, 256, 256), np.rint(deep / 257))
    shares = (deep / 65535).astype(np.float32)
    assert np.abs(to_levels(shares, 256, 256) - shares * 255.0).max() <= 0.5001


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_rounding_errors_beyond_0_and_1_are_clipped(kind: type) -> None:
    alpha = np.array([[-0.0009, 1.0009]], kind)
    np.testing.assert_array_equal(to_levels(alpha, 2, 1), [[0, 255]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.01, -0.01, 255.0])
def test_values_that_are_no_alpha_are_refused(value: float) -> None:
    alpha = np.full((3, 3), 0.5, np.float32)
    alpha[1, 2] = value
    with pytest.raises(ValueError, match=r"finite and within 0\.\.1, got .*"):
        to_levels(alpha, 3, 3)


@pytest.mark.parametrize(
    "alpha",
    [np.zeros((3, 3, 1), np.float32), np.zeros((0, 3), np.uint8), np.zeros((3, 3), np.int32)],
)
def test_arrays_that_are_no_matte_are_refused(alpha: np.ndarray) -> None:
    with pytest.raises(ValueError, match="alpha must"):
        to_levels(alpha, 3, 3)


@given(st.floats(0.001, 1))
@settings(deadline=None, max_examples=100)
def test_a_threshold_splits_the_levels_where_alpha_reaches_it(level: float) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wanted = np.where(levels / 255 >= level - 1e-10, 255, 0)
    np.testing.assert_array_equal(threshold(levels, level), wanted)


def test_a_threshold_given_as_a_level_includes_it() -> None:
    for first in range(1, 256):
        levels = np.array([[first - 1, first]], np.uint8)
        assert threshold(levels, first / 255).tolist() == [[0, 255]]


@pytest.mark.parametrize("level", [0, -0.1, 1.001, float("nan")])
def test_a_threshold_outside_its_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"above 0 and at most 1, got {level}"):
        threshold(np.zeros((2, 2), np.uint8), level)


def test_mattes_multiply_with_exact_rounding() -> None:
    one, other = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    exact = (2 * one.astype(int) * other + 255) // 510
    np.testing.assert_array_equal(multiply_alpha(one, other), exact)


def test_mattes_of_different_sizes_do_not_multiply() -> None:
    with pytest.raises(
        ValueError, match=r"source_alpha must have the shape \(2, 3\), got \(3, 2\)"
    ):
        multiply_alpha(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


@given(ALPHA, st.integers(0, 40))
@settings(deadline=None, max_examples=100)
def test_a_crop_keeps_the_mask_and_its_margin_within_the_picture(
    alpha: np.ndarray, margin: int
) -> None:
    height, width = alpha.shape
    box = crop_box(mask_stats(alpha), margin, width, height)
    kept = np.zeros(alpha.shape, bool)
    kept[box.y : box.y + box.height, box.x : box.x + box.width] = True
    assert (kept.sum(), box.width > 0, box.height > 0) == (box.width * box.height, True, True)
    mask = (alpha >= 128).astype(np.uint8)
    if not mask.any():
        assert box == Box(0, 0, width, height)
        return
    wide = cv2.dilate(mask, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    rows, columns = np.flatnonzero(wide.any(axis=1)), np.flatnonzero(wide.any(axis=0))
    assert (box.y, box.y + box.height) == (rows[0], rows[-1] + 1)
    assert (box.x, box.x + box.width) == (columns[0], columns[-1] + 1)


@given(ALPHA, COLOUR, st.data())
@settings(deadline=None, max_examples=100)
def test_a_composite_is_rounded_exactly_and_lies_between_its_parts(
    alpha: np.ndarray, ground: tuple[int, int, int], data: st.DataObject
) -> None:
    rgb = data.draw(hnp.arrays(np.uint8, (*alpha.shape, 3)))
    result = composite(rgb, alpha, ground)
    share = alpha[..., None].astype(int)
    exact = (2 * (rgb * share + np.array(ground) * (255 - share)) + 255) // 510
    np.testing.assert_array_equal(result, exact)
    assert (result >= np.minimum(rgb, ground)).all()
    assert (result <= np.maximum(rgb, ground)).all()


def test_a_composite_larger_than_a_strip_has_no_seam() -> None:
    random = np.random.default_rng(3)
    rgb = random.integers(0, 256, (700, 401, 3), dtype=np.uint8)
    alpha = random.integers(0, 256, (700, 401), dtype=np.uint8)
    share = alpha[..., None].astype(int)
    exact = (2 * (rgb * share + np.array((9, 99, 200)) * (255 - share)) + 255) // 510
    np.testing.assert_array_equal(composite(rgb, alpha, (9, 99, 200)), exact)


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (255, 255, 255)),
        (" Tomato ", (255, 99, 71)),
        ("#1a2", (17, 170, 34)),
        ("#10A0FF", (16, 160, 255)),
        ("1, 2,255", (1, 2, 255)),
        ("rgb(4, 5, 6)", (4, 5, 6)),
    ],
)
def test_a_background_is_read_from_its_spelling(text: str, colour: tuple) -> None:
    assert parse_background(text) == colour


@pytest.mark.parametrize(
    "text", ["", "whitish", "#12", "#11223344", "1,2", "1,2,256", "-1,2,3", "1,2,3,4", "a,b,c"]
)
def test_a_background_that_is_no_colour_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="give a name") as caught:
        parse_background(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)
