"""The embedded engine: how well it cuts out, that it repeats itself, and pictures of every kind."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from composites import Composite, composite_set, iou, photographs
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.engines import guided_filter
from alphabeam.transforms.engines.contract import Matte
from alphabeam.transforms.engines.grabcut import GrabCut


def matte_of(picture: np.ndarray) -> Matte:
    (matte,) = GrabCut().predict([picture])
    assert matte.alpha.shape == picture.shape[:2]
    assert matte.alpha.dtype == np.uint8
    return matte


@pytest.fixture(scope="module")
def cutouts() -> list[tuple[Composite, Matte, float]]:
    """Every subject on one ground of each kind: the picture, the engine's matte and its IoU."""
    mattes = [(one, matte_of(one.picture)) for one in composite_set(variants=1)]
    return [(one, matte, iou(matte.alpha / 255, one.alpha)) for one, matte in mattes]


@pytest.mark.parametrize(
    ("kind", "least"), [("studio", 0.95), ("defocused", 0.88), ("sharp", 0.75)]
)
def test_cutouts_reach_the_measured_quality(cutouts, kind, least):
    assert np.mean([found for one, _, found in cutouts if one.kind == kind]) >= least


def test_nine_in_ten_subjects_on_studio_ground_are_cut_out_well(cutouts):
    found = [found for one, _, found in cutouts if one.kind == "studio"]
    assert np.mean(np.array(found) > 0.8) >= 0.9


def test_edges_on_studio_ground_are_fine(cutouts):
    errors = [
        np.abs(matte.alpha / 255 - one.alpha).mean()
        for one, matte, found in cutouts
        if one.kind == "studio"
    ]
    assert np.mean(errors) < 0.015


def test_confidence_ranks_good_cutouts_above_bad_ones(cutouts):
    good = [matte.confidence for _, matte, found in cutouts if found > 0.8]
    bad = [matte.confidence for _, matte, found in cutouts if found <= 0.8]
    wins = [better > worse for better in good for worse in bad]
    assert len(bad) >= 3
    assert np.mean(wins) > 0.85


def test_clear_subjects_of_real_photographs_are_found():
    found = {one.name: iou(matte_of(one.picture).alpha / 255, one.alpha) for one in photographs()}
    assert found["cup"] > 0.95
    assert found["pagoda"] > 0.8
    assert found["dahlia"] > 0.85


def test_many_threads_at_once_get_the_bytes_of_one(cutouts):
    engine = GrabCut()
    sample = cutouts[::7]

    def again(turn: int) -> bool:
        one, matte, _ = sample[turn % len(sample)]
        (other,) = engine.predict([one.picture])
        return np.array_equal(other.alpha, matte.alpha) and other.confidence == matte.confidence

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(again, range(3 * len(sample))))


def test_opencvs_random_state_does_not_matter(cutouts):
    one, matte, _ = cutouts[-1]
    cv2.setRNGSeed(12345)
    assert np.array_equal(matte_of(one.picture).alpha, matte.alpha)


def test_a_batch_gives_each_picture_its_own_matte(cutouts):
    several = cutouts[:6:2]
    mattes = GrabCut().predict([one.picture for one, _, _ in several])
    assert all(
        np.array_equal(matte.alpha, alone.alpha)
        for matte, (_, alone, _) in zip(mattes, several, strict=True)
    )


def test_the_picture_is_not_touched_and_may_be_a_view(cutouts):
    one, matte, _ = cutouts[0]
    mirrored = one.picture[:, ::-1].copy()[:, ::-1]
    before = mirrored.copy()
    assert np.array_equal(matte_of(mirrored).alpha, matte.alpha)
    assert np.array_equal(mirrored, before)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_pictures_of_any_size_and_content_give_a_matte(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    levels = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    picture = (rng.integers(0, levels, (height, width, 3)) * 255 // max(1, levels - 1)).astype(
        np.uint8
    )
    matte = matte_of(picture)
    assert matte.confidence is None or 0 <= matte.confidence <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 2), (3, 3), (10, 4000)])
def test_pictures_of_extreme_shape_and_one_colour_are_blank(shape):
    matte = matte_of(np.full((*shape, 3), 90, np.uint8))
    assert matte.alpha.max() == 0
    assert matte.confidence is None


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("noise", [0, 3, 10])
def test_nothing_stands_out_from_plain_ground_even_with_noise(level, noise):
    rng = np.random.default_rng(level)
    picture = np.clip(rng.normal(level, noise, (300, 400, 3)), 0, 255).astype(np.uint8)
    matte = matte_of(picture)
    assert matte.alpha.max() == 0
    assert matte.confidence is None


def test_a_grey_subject_on_grey_ground_is_found():
    picture = np.full((300, 400, 3), 200, np.uint8)
    truth = np.zeros((300, 400), np.uint8)
    cv2.circle(truth, (210, 140), 80, 1, -1)
    picture[truth == 1] = 90
    assert iou(matte_of(picture).alpha / 255, truth) > 0.97


def test_a_large_picture_gives_the_matte_of_the_small_one(cutouts):
    one, matte, _ = cutouts[0]
    large = cv2.resize(one.picture, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    alpha = matte_of(large).alpha
    shrunk = cv2.resize(alpha, matte.alpha.shape[::-1], interpolation=cv2.INTER_AREA)
    assert iou(shrunk / 255, matte.alpha / 255) > 0.98


def test_strips_leave_no_trace(cutouts, monkeypatch):
    one, matte, _ = cutouts[3]
    monkeypatch.setattr(guided_filter, "_STRIP", 1000)
    assert np.array_equal(matte_of(one.picture).alpha, matte.alpha)


def test_a_mask_with_no_edge_comes_back_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for value in (0.0, 1.0):
        alpha = guided_filter.guided_matte(picture, picture, np.full((60, 90), value, np.float32))
        assert np.all(alpha == 255 * value)


def test_more_resolution_finds_finer_parts():
    picture = np.full((600, 600, 3), 235, np.uint8)
    truth = np.zeros((600, 600), np.uint8)
    cv2.circle(truth, (300, 420), 90, 1, -1)
    cv2.line(truth, (300, 420), (300, 60), 1, 5)
    picture[truth == 1] = (180, 30, 40)
    fine, coarse = (
        GrabCut(resolution=size).predict([picture])[0].alpha[60:320] for size in (448, 48)
    )
    thin = truth[60:320] == 1
    assert fine[thin].mean() > coarse[thin].mean()


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(TypeError, match="threads"):
        GrabCut(threads=2)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="resolution=8 "):
        GrabCut(resolution=8)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3), np.float32)],
)
def test_what_is_no_rgb_picture_is_refused_by_name(picture):
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) of uint8"):
        GrabCut().predict([picture])


def test_an_engine_can_be_pickled():
    engine = pickle.loads(pickle.dumps(GrabCut(resolution=128)))
    assert engine.resolution == 128
    assert (engine.name, engine.device, engine.parallel) == ("grabcut", "cpu", True)
