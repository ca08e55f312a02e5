"""The measures of an evaluation: against other libraries, by hand, and what must always hold."""

import math

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.measure
import skimage.morphology
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import fbeta_score, jaccard_score

from alphabeam.pipeline.evaluation.matte_metrics import (
    connectivity_error,
    gradient_error,
    mean_absolute_error,
    mean_squared_error,
    sum_of_absolute_differences,
)
from alphabeam.pipeline.evaluation.metrics import METRICS, Scores, score
from alphabeam.pipeline.evaluation.segmentation_metrics import (
    boundary_iou,
    iou,
    salient_object_scores,
)

SHAPES = st.tuples(st.integers(1, 14), st.integers(1, 14))
# Few levels make regions that touch, levels at thresholds, and ties.
LEVELS = st.one_of(st.sampled_from([0, 26, 51, 127, 128, 230, 255]), st.integers(0, 255))


@st.composite
def pairs(draw, levels=LEVELS):
    shape = draw(SHAPES)
    return tuple(draw(arrays(np.uint8, shape, elements=levels)) for _ in range(2))


hard_pairs = pairs(levels=st.sampled_from([0, 255]))
cheap = settings(deadline=None, max_examples=60)


def disc(size, radius, x=0.5, y=0.5, soft=6.0):
    rows, columns = np.mgrid[:size, :size]
    distance = np.hypot(rows - y * size, columns - x * size)
    return (np.clip((radius - distance) / soft + 0.5, 0, 1) * 255).round().astype(np.uint8)


SOFT = (disc(120, 40), disc(120, 44, x=0.53, soft=12))


@cheap
@given(pairs())
def test_a_matte_is_no_distance_from_itself(pair):
    scores = score(pair[0], pair[0])
    assert scores.mae == scores.sad == scores.mse == scores.gradient == scores.connectivity == 0
    assert scores.iou == scores.boundary_iou == 1


@cheap
@given(hard_pairs)
def test_a_mask_has_full_marks_against_itself(pair):
    scores = score(pair[0], pair[0])
    assert scores.s_measure == pytest.approx(1, abs=1e-9)
    if pair[0].any():
        assert scores.f_max == scores.f_adaptive == pytest.approx(1)
        assert scores.e_adaptive == pytest.approx(1)
        assert scores.e_mean >= 255 / 256 - 1e-9
    else:
        assert (scores.f_max, scores.f_adaptive, scores.e_adaptive) == (None, None, None)
        assert scores.e_mean == pytest.approx(255 / 256)


@cheap
@given(pairs())
def test_every_measure_is_finite_and_in_its_range(pair):
    predicted, truth = pair
    values = score(predicted, truth).values()
    known = {name: value for name, value in values.items() if value is not None}
    assert all(math.isfinite(value) and value >= 0 for value in known.values())
    shares = {metric.name for metric in METRICS if not metric.unit}
    assert all(value <= 1 + 1e-9 for name, value in known.items() if name in shares)
    assert set(values) - set(known) <= {"f_max", "f_adaptive", "e_adaptive"}
    assert ("f_max" in known) == bool((truth >= 128).any())


@cheap
@given(pairs())
def test_distances_are_the_same_both_ways(pair):
    one, other = pair
    for distance in (
        mean_absolute_error,
        mean_squared_error,
        gradient_error,
        connectivity_error,
        iou,
        boundary_iou,
    ):
        assert distance(one, other) == distance(other, one)


@cheap
@given(pairs())
def test_sums_and_means_of_differences_agree_with_numpy(pair):
    predicted, truth = (levels / 255 for levels in pair)
    difference = predicted - truth
    assert mean_absolute_error(*pair) == pytest.approx(np.abs(difference).mean())
    assert mean_squared_error(*pair) == pytest.approx((difference**2).mean())
    assert sum_of_absolute_differences(*pair) == pytest.approx(np.abs(difference).sum() / 1000)


def test_means_are_exact_on_large_pictures():
    predicted, truth = np.full((3000, 4000), 255, np.uint8), np.zeros((3000, 4000), np.uint8)
    assert mean_absolute_error(predicted, truth) == 1
    assert mean_squared_error(predicted, truth) == 1
    assert sum_of_absolute_differences(predicted, truth) == 12_000
    assert connectivity_error(predicted, truth) == 12_000


def test_differences_of_four_pixels_by_hand():
    predicted = np.array([[255, 51], [0, 102]], np.uint8)
    truth = np.array([[255, 0], [255, 102]], np.uint8)
    assert sum_of_absolute_differences(predicted, truth) == pytest.approx(0.0012)
    assert mean_absolute_error(predicted, truth) == pytest.approx(0.3)
    assert mean_squared_error(predicted, truth) == pytest.approx((0.04 + 1) / 4)


@cheap
@given(pairs())
def test_iou_agrees_with_scikit_learn(pair):
    predicted, truth = ((levels >= 128).ravel() for levels in pair)
    assert iou(*pair) == pytest.approx(jaccard_score(truth, predicted, zero_division=1))


def gradient_length(levels):
    """The gradient by full two-dimensional kernels in double precision."""
    offsets = np.arange(-4, 5)
    gauss = np.exp(-(offsets**2) / (2 * 1.4**2)) / (1.4 * math.sqrt(2 * math.pi))
    kernel = np.outer(gauss, -offsets * gauss / 1.4**2)
    kernel /= np.sqrt((kernel**2).sum())
    alpha = levels / 255
    along_x = scipy.ndimage.convolve(alpha, kernel, mode="nearest")
    along_y = scipy.ndimage.convolve(alpha, kernel.T, mode="nearest")
    return np.hypot(along_x, along_y)


@cheap
@given(pairs())
def test_gradient_agrees_with_scipy(pair):
    expected = ((gradient_length(pair[0]) - gradient_length(pair[1])) ** 2).sum() / 1000
    assert gradient_error(*pair) == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_gradient_of_an_edge_by_hand():
    edge = np.zeros((1, 40), np.uint8)
    edge[:, 20:] = 255
    offsets = np.arange(-4, 5)
    gauss = np.exp(-(offsets**2) / (2 * 1.4**2))
    slope = offsets * gauss / np.linalg.norm(offsets * gauss)
    # Along a line the picture goes on as it is; across, a pixel k beyond the edge sees the part of
    # the slope that reaches back over it.
    smooth = gauss.sum() / np.linalg.norm(gauss)
    lengths = [smooth * abs(slope[:first].sum()) for first in range(1, 9)]
    expected = sum(length**2 for length in lengths) / 1000
    assert gradient_error(edge, np.zeros_like(edge)) == pytest.approx(expected, rel=1e-5)


def connectivity_by_labels(predicted, truth):
    """The published procedure, step by step, with another library's regions."""
    predicted, truth = predicted.astype(int), truth.astype(int)
    level = np.full(predicted.shape, -1.0)
    for step in range(1, 11):
        both = (10 * predicted >= 255 * step) & (10 * truth >= 255 * step)
        labels = skimage.measure.label(both, connectivity=1)
        sizes = np.bincount(labels.ravel())[1:]
        omega = labels == 1 + sizes.argmax() if len(sizes) else np.zeros_like(both)
        level[(level == -1) & ~omega] = (step - 1) / 10
    level[level == -1] = 1
    phis = []
    for levels in (predicted, truth):
        distance = levels / 255 - level
        phis.append(1 - distance * (distance >= 0.15))
    return np.abs(phis[0] - phis[1]).sum() / 1000


@settings(deadline=None, max_examples=100)
@given(pairs())
def test_connectivity_agrees_with_the_published_procedure(pair):
    assert connectivity_error(*pair) == pytest.approx(connectivity_by_labels(*pair), abs=1e-7)


def test_connectivity_of_soft_and_noisy_mattes_agrees_with_the_published_procedure():
    noise = np.random.default_rng(0).integers(0, 256, (2, 120, 120), np.uint8)
    for pair in (SOFT, tuple(noise), (SOFT[0], cv2.min(SOFT[1], noise[0]))):
        assert connectivity_error(*pair) == pytest.approx(connectivity_by_labels(*pair), rel=1e-5)


def test_a_piece_that_is_missing_counts_every_pixel_for_connectivity():
    truth = np.zeros((20, 20), np.uint8)
    truth[2:12, 2:12] = 255
    without = truth.copy()
    truth[15:18, 15:18] = 255
    assert connectivity_error(without, truth) == pytest.approx(0.009)
    assert connectivity_error(truth, truth) == 0


def test_a_matte_that_is_thinner_all_over_counts_for_connectivity_by_its_difference():
    truth = np.full((10, 10), 255, np.uint8)
    assert connectivity_error(np.full_like(truth, 153), truth) == pytest.approx(0.1 * 0.4)
    assert connectivity_error(np.full_like(truth, 230), truth) == 0  # 0.1 is no distance


@cheap
@given(pairs())
def test_boundary_iou_agrees_with_distances_of_scipy(pair):
    check_boundary_iou(*pair)


def test_boundary_iou_of_discs_agrees_with_distances_of_scipy():
    check_boundary_iou(*SOFT)
    check_boundary_iou(disc(300, 100), disc(300, 98, y=0.52))


def check_boundary_iou(predicted, truth):
    reach = max(1, round(0.02 * math.hypot(*truth.shape)))
    boundaries = []
    for levels in (predicted, truth):
        mask = np.pad(levels >= 128, 1)
        depth = scipy.ndimage.distance_transform_cdt(mask, "chessboard")[1:-1, 1:-1]
        boundaries.append((depth > 0) & (depth <= reach))
    union = (boundaries[0] | boundaries[1]).sum()
    expected = (boundaries[0] & boundaries[1]).sum() / union if union else 1
    assert boundary_iou(predicted, truth) == pytest.approx(expected)


def test_boundary_iou_of_squares_by_hand():
    # A diagonal of 141 pixels makes boundaries 3 pixels wide.
    truth, predicted = np.zeros((2, 100, 100), np.uint8)
    truth[30:70, 30:70] = 255
    predicted[33:67, 33:67] = 255
    assert boundary_iou(predicted, truth) == 0
    assert iou(predicted, truth) == 34**2 / 40**2
    predicted[30:70, 30:70] = 255
    predicted[45:55, 45:55] = 0  # a hole: 16² - 10² pixels of boundary more
    ring = 40**2 - 34**2
    assert boundary_iou(predicted, truth) == ring / (ring + 16**2 - 10**2)


@settings(deadline=None, max_examples=15)
@given(pairs())
def test_f_measure_agrees_with_scikit_learn(pair):
    predicted, truth = pair[0].ravel(), (pair[1] >= 128).ravel()
    scores = salient_object_scores(*pair)
    if not truth.any():
        assert scores.f_max is None
        return

    def f_beta(chosen):
        return fbeta_score(truth, chosen, beta=math.sqrt(0.3), zero_division=0)

    levels = np.unique(predicted)  # between two of them nothing changes
    assert scores.f_max == pytest.approx(max(f_beta(predicted >= level) for level in levels))
    adaptive = predicted / 255 >= min(2 * (predicted / 255).mean(), 1)
    assert scores.f_adaptive == pytest.approx(f_beta(adaptive))


def e_measure_by_matrices(chosen, truth):
    """The published formula on whole matrices."""
    if not truth.any():
        matrix = 1.0 - chosen
    elif truth.all():
        matrix = chosen.astype(float)
    else:
        one, other = chosen - chosen.mean(), truth - truth.mean()
        alignment = 2 * one * other / (one**2 + other**2 + np.spacing(1))
        matrix = (alignment + 1) ** 2 / 4
    return min(matrix.sum() / max(truth.size - 1, 1e-9), 1)


@settings(deadline=None, max_examples=15)
@given(pairs())
def test_e_measure_agrees_with_the_published_formula(pair):
    predicted, truth = pair[0], pair[1] >= 128
    curve = [e_measure_by_matrices(predicted >= level, truth) for level in range(256)]
    assert salient_object_scores(*pair).e_mean == pytest.approx(np.mean(curve), abs=1e-9)


def test_predictions_are_not_stretched():
    truth = disc(64, 20, soft=1)
    faint = (truth // 4).astype(np.uint8)
    assert salient_object_scores(faint, truth).s_measure < 0.7
    assert salient_object_scores(truth, truth).s_measure > 0.98


def test_s_measure_of_a_subject_in_the_last_corner_is_a_number():
    corner = np.zeros((9, 7), np.uint8)
    corner[-1, -1] = 255
    assert salient_object_scores(corner, corner).s_measure == pytest.approx(1)


def test_opposites_score_nothing():
    truth = np.where(disc(60, 20) >= 128, 255, 0).astype(np.uint8)
    scores = score(255 - truth, truth)
    assert scores.mae == scores.mse == 1
    assert scores.iou == scores.boundary_iou == scores.f_adaptive == 0
    assert scores.s_measure == pytest.approx(0, abs=0.01)


def test_scores_are_the_metrics_in_their_order():
    values = score(*SOFT).values()
    assert list(values) == [metric.name for metric in METRICS]
    assert Scores(**values) == score(*SOFT)


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8)),
    ],
)
def test_mattes_of_another_form_are_refused(predicted, truth):
    with pytest.raises(ValueError, match="shape"):
        score(predicted, truth)
