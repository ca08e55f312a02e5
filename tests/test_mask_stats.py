"""The quality columns of shapes with known answers."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import data, measure

from alphabeam.transforms.mask_stats import MaskStats, confidence, mask_stats


def disc(radius: float, size: int = 201, blur: float = 0) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    alpha = np.where(x * x + y * y <= radius * radius, 255, 0).astype(np.uint8)
    return cv2.GaussianBlur(alpha, (0, 0), blur) if blur else alpha


def test_fields_stand_in_the_order_of_the_columns() -> None:
    assert [field.name for field in dataclasses.fields(MaskStats)] == [
        *("coverage", "mask_area_px", "bbox_x", "bbox_y", "bbox_width", "bbox_height"),
        *("centroid_x", "centroid_y"),
        *("touches_top", "touches_right", "touches_bottom", "touches_left"),
        *("components", "largest_component_ratio", "hole_ratio", "soft_fraction"),
        *("edge_width_px", "alpha_entropy", "alpha_histogram", "is_blank", "is_full"),
    ]


def test_an_empty_matte_is_blank() -> None:
    stats = mask_stats(np.zeros((5, 7), np.uint8))
    assert (stats.is_blank, stats.is_full, stats.coverage) == (True, False, 0)
    assert (stats.mask_area_px, stats.components, stats.alpha_entropy) == (0, 0, 0)
    assert {stats.bbox_x, stats.bbox_y, stats.bbox_width, stats.bbox_height} == {None}
    assert {stats.largest_component_ratio, stats.hole_ratio, stats.edge_width_px} == {None}
    assert {stats.centroid_x, stats.centroid_y} == {None}
    assert not any((stats.touches_top, stats.touches_right))
    assert not any((stats.touches_bottom, stats.touches_left))


def test_a_full_matte_is_full() -> None:
    stats = mask_stats(np.full((5, 7), 255, np.uint8))
    assert (stats.is_blank, stats.is_full, stats.coverage) == (False, True, 1)
    assert (stats.mask_area_px, stats.components, stats.alpha_entropy) == (35, 1, 0)
    assert (stats.bbox_x, stats.bbox_y, stats.bbox_width, stats.bbox_height) == (0, 0, 7, 5)
    assert (stats.largest_component_ratio, stats.hole_ratio, stats.edge_width_px) == (1, 0, None)
    assert (stats.centroid_x, stats.centroid_y) == (0.5, 0.5)
    assert all((stats.touches_top, stats.touches_right, stats.touches_bottom, stats.touches_left))


def test_a_faint_matte_is_blank_but_has_a_centre() -> None:
    alpha = np.zeros((4, 10), np.uint8)
    alpha[1, 2] = 127
    stats = mask_stats(alpha)
    assert stats.is_blank
    assert stats.edge_width_px is None
    assert (stats.centroid_x, stats.centroid_y) == pytest.approx((0.25, 0.375))
    assert stats.soft_fraction == 1 / 40


def test_one_pixel_is_found_where_it_is() -> None:
    alpha = np.zeros((9, 11), np.uint8)
    alpha[3, 10] = 255
    stats = mask_stats(alpha)
    box = (stats.bbox_x, stats.bbox_y, stats.bbox_width, stats.bbox_height)
    assert box == (10, 3, 1, 1)
    assert (stats.mask_area_px, stats.components, stats.largest_component_ratio) == (1, 1, 1.0)
    assert (stats.touches_top, stats.touches_right) == (False, True)
    assert (stats.touches_bottom, stats.touches_left) == (False, False)
    assert stats.edge_width_px == 0.0


def test_half_a_picture_touches_three_sides() -> None:
    alpha = np.zeros((60, 80), np.uint8)
    alpha[:, :40] = 255
    stats = mask_stats(alpha)
    assert stats.coverage == 0.5
    assert (stats.touches_top, stats.touches_right) == (True, False)
    assert (stats.touches_bottom, stats.touches_left) == (True, True)
    assert (stats.centroid_x, stats.centroid_y) == pytest.approx((0.25, 0.5))
    assert stats.alpha_entropy == 1.0


@pytest.mark.parametrize(("level", "in_mask"), [(127, False), (128, True)])
def test_the_mask_begins_at_half(level: int, in_mask: bool) -> None:
    assert mask_stats(np.full((3, 3), level, np.uint8)).is_full is in_mask


@pytest.mark.parametrize(("level", "soft"), [(12, 0), (13, 1), (242, 1), (243, 0)])
def test_soft_pixels_are_between_a_twentieth_and_nineteen(level: int, soft: int) -> None:
    assert mask_stats(np.full((3, 3), level, np.uint8)).soft_fraction == soft


@pytest.mark.parametrize("radius", [5.5, 20.5, 80.5])
def test_a_disc_has_the_area_and_contour_of_a_disc(radius: float) -> None:
    alpha = disc(radius)
    alpha[0, 0] = 100  # one soft pixel, so that the width is one over the contour's length
    stats = mask_stats(alpha)
    assert stats.mask_area_px == pytest.approx(math.pi * radius**2, rel=0.03)
    assert (stats.components, stats.hole_ratio) == (1, 0)
    assert stats.edge_width_px == pytest.approx(1 / (2 * math.pi * radius), rel=0.03)


def test_the_contour_length_is_that_of_scikit_image() -> None:
    alpha = np.pad(np.where(data.horse(), 0, 255).astype(np.uint8), 3)
    alpha[0, 0] = 100
    expected = 1 / measure.perimeter_crofton(alpha >= 128, directions=4)
    assert mask_stats(alpha).edge_width_px == pytest.approx(expected)


@pytest.mark.parametrize("deviation", [2.0, 4.0, 8.0])
def test_the_edge_width_measures_a_blur(deviation: float) -> None:
    # A Gaussian edge passes from 0.05 to 0.95 within 2 * 1.645 deviations.
    width = mask_stats(disc(150, 401, blur=deviation)).edge_width_px
    assert width == pytest.approx(2 * 1.645 * deviation, rel=0.06)


@pytest.mark.parametrize("angle", [0, 10, 22.5, 45, 80])
def test_the_edge_width_hardly_depends_on_the_angle(angle: float) -> None:
    y, x = np.mgrid[:400, :400] - 199.5
    across = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    ramp = np.clip(0.5 + across / 20, 0, 1)
    width = mask_stats(np.rint(ramp * 255).astype(np.uint8)).edge_width_px
    assert width is not None
    assert 0.97 * 18 < width < 1.06 * 18


def test_a_ring_has_the_hole_it_surrounds() -> None:
    ring = disc(60) - disc(30)
    hole = np.count_nonzero(disc(30))
    stats = mask_stats(ring)
    assert stats.hole_ratio == hole / (stats.mask_area_px + hole)
    ring[100, :] = 0  # cut open on both sides
    cut = mask_stats(ring)
    assert (cut.components, cut.hole_ratio) == (2, 0.0)


def test_corners_join_the_mask_and_not_its_background() -> None:
    diamond = np.zeros((5, 5), np.uint8)
    diamond[[1, 2, 2, 3], [2, 1, 3, 2]] = 255
    stats = mask_stats(diamond)
    assert (stats.components, stats.hole_ratio) == (1, 1 / 5)


def test_several_components_are_told_apart() -> None:
    alpha = np.zeros((50, 50), np.uint8)
    alpha[5:15, 5:15] = alpha[30:40, 20:25] = alpha[16:20, 45:] = 255
    stats = mask_stats(alpha)
    assert (stats.components, stats.largest_component_ratio) == (3, 100 / 170)


@pytest.mark.parametrize(
    "alpha",
    [
        np.zeros((3, 3), np.float32),
        np.zeros((3, 3), np.bool_),
        np.zeros((3, 3, 1), np.uint8),
        np.zeros((0, 3), np.uint8),
    ],
)
def test_what_is_no_matte_is_refused(alpha: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \(H, W\).*got"):
        mask_stats(alpha)


@pytest.mark.parametrize(("probability", "sure"), [(0.5, 0), (0, 1), (1, 1), (0.75, 0.5)])
def test_confidence_is_the_distance_from_doubt(probability: float, sure: float) -> None:
    assert confidence(np.full((6, 4), probability, np.float32)) == sure


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.floats(0, 1, width=32),
    )
)
def test_confidence_is_the_mean_over_the_picture(probabilities: np.ndarray) -> None:
    expected = np.abs(2 * probabilities.astype(np.float64) - 1).mean()
    assert confidence(probabilities) == pytest.approx(expected, abs=1e-6)
    assert confidence(probabilities[::-1, ::-1]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "probabilities",
    [
        np.zeros((3, 3), np.uint8),
        np.zeros((3, 3, 1), np.float32),
        np.zeros((0, 3), np.float32),
    ],
)
def test_confidence_refuses_what_is_no_probability(probabilities: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"float32 of shape \(h, w\).*got"):
        confidence(probabilities)
