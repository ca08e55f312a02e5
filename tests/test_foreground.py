"""Foreground colours: how much old background is taken out of soft pixels, by numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from composites import Composite, composite_set
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms import foreground
from alphabeam.transforms.engines.foreground_torch import refine_foreground_batch
from alphabeam.transforms.foreground import refine_foreground

pytestmark = pytest.mark.usefixtures("one_thread")


def on_torch(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    batch = refine_foreground_batch(torch.from_numpy(rgb)[None], torch.from_numpy(alpha)[None])
    return batch[0].numpy()


def levels(alpha: np.ndarray) -> np.ndarray:
    return np.rint(alpha * 255).astype(np.uint8)


def remaining_error(refine, one: Composite) -> float:
    """Error of a recomposition's soft pixels, as a share of the error without correction."""
    alpha = levels(one.alpha)
    soft = (alpha > 0) & (alpha < 255)
    share = alpha[soft][:, None] / 255

    def error(rgb: np.ndarray) -> float:
        return float(np.abs(share * (rgb[soft].astype(float) - one.foreground[soft])).sum())

    return error(refine(one.picture, alpha)) / error(one.picture)


@pytest.fixture(scope="module")
def pictures() -> list[Composite]:
    return composite_set(("cup", "dahlia", "horse", "fur ball", "ring"), variants=1)


@pytest.mark.parametrize("refine", [refine_foreground, on_torch])
@pytest.mark.parametrize(("kind", "most"), [("studio", 0.10), ("defocused", 0.10), ("sharp", 0.14)])
def test_little_of_the_error_on_soft_pixels_remains(pictures, refine, kind, most):
    remaining = [remaining_error(refine, one) for one in pictures if one.kind == kind]
    assert np.mean(remaining) < most
    assert np.max(remaining) < 0.25


def test_torch_gives_the_colours_of_numpy(pictures):
    for one in pictures[::4]:
        alpha = levels(one.alpha)
        apart = on_torch(one.picture, alpha).astype(int) - refine_foreground(one.picture, alpha)
        assert np.abs(apart).max() <= 2


def test_a_batch_on_torch_gives_what_its_pictures_give_alone(pictures):
    same = [one for one in pictures if one.alpha.shape == pictures[0].alpha.shape][:2]
    assert len(same) == 2
    rgb = np.stack([one.picture for one in same])
    alpha = np.stack([levels(one.alpha) for one in same])
    batch = refine_foreground_batch(torch.from_numpy(rgb), torch.from_numpy(alpha)).numpy()
    for index in range(len(same)):
        apart = batch[index].astype(int) - on_torch(rgb[index], alpha[index])
        assert np.abs(apart).max() <= 1


def test_two_flat_colours_are_told_apart():
    subject, ground = np.array([200, 60, 30]), np.array([20, 90, 220])
    ramp = np.clip(np.linspace(-0.5, 1.5, 120), 0, 1)
    alpha = np.tile(levels(ramp), (60, 1))
    share = (alpha / 255)[..., None]
    rgb = np.rint(share * subject + (1 - share) * ground).astype(np.uint8)
    refined = refine_foreground(rgb, alpha)
    visible = alpha > 40
    assert np.abs(refined[visible].astype(int) - subject).max() <= 8
    assert np.abs(rgb[visible].astype(int) - subject).max() > 100


@pytest.mark.parametrize("refine", [refine_foreground, on_torch])
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    softness=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_opaque_and_transparent_pixels_stay_as_they_are(refine, height, width, softness, seed):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (height, width), dtype=np.uint8)
    hard = rng.random((height, width)) >= softness
    alpha[hard] = np.where(alpha[hard] < 128, 0, 255)
    before = rgb.copy()
    refined = refine(rgb, alpha)
    assert refined.dtype == np.uint8
    assert refined.shape == rgb.shape
    fixed = (alpha == 0) | (alpha == 255)
    assert np.array_equal(refined[fixed], rgb[fixed])
    assert np.array_equal(rgb, before)


@pytest.mark.parametrize("refine", [refine_foreground, on_torch])
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (33, 47)])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_mattes_of_one_level_leave_a_flat_picture_flat(refine, shape, level):
    rgb = np.full((*shape, 3), (10, 120, 250), np.uint8)
    refined = refine(rgb, np.full(shape, level, np.uint8))
    assert np.abs(refined.astype(int) - rgb).max() <= 1


def test_strips_leave_no_trace(pictures, monkeypatch):
    one = pictures[-1]
    alpha = levels(one.alpha)
    whole = refine_foreground(one.picture, alpha)
    monkeypatch.setattr(foreground, "_STRIP", 3000)
    assert np.array_equal(refine_foreground(one.picture, alpha), whole)


def test_a_picture_and_a_matte_of_different_sizes_are_refused():
    rgb, alpha = np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8)
    with pytest.raises(ValueError, match=r"\(4, 5\) and alpha \(5, 4\)"):
        refine_foreground(rgb, alpha)
    with pytest.raises(ValueError, match=r"\(1, 4, 5\) and alpha \(1, 5, 4\)"):
        on_torch(rgb, alpha)
