"""Every quality column, recomputed with scipy and scikit-image, and its symmetries."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import data, measure

from alphabeam.transforms.mask_stats import MaskStats, mask_stats

LEVELS = (0, 0, 0, 1, 12, 13, 100, 127, 128, 200, 242, 243, 254, 255, 255, 255)
mattes = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24),
    elements=st.sampled_from(LEVELS),
    fill=st.sampled_from((0, 255)),
)


def noise(height: int, width: int, opaque: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    soft = rng.integers(0, 256, (height, width), dtype=np.uint8)
    return np.where(rng.random((height, width)) < opaque, soft | 128, soft & 127).astype(np.uint8)


def differing(mask: np.ndarray, down: int, right: int) -> int:
    """Counts the pixels that differ from their neighbour `down` and `right` of them."""
    y, x = np.indices(mask.shape)
    inside = (y + down < mask.shape[0]) & (x + right >= 0) & (x + right < mask.shape[1])
    y, x = y[inside], x[inside]
    return int(np.count_nonzero(mask[y, x] != mask[y + down, x + right]))


def independent(alpha: np.ndarray) -> MaskStats:
    """Every column by its definition, with scipy and scikit-image and no thought of speed."""
    height, width = alpha.shape
    share = alpha / 255
    mask = share >= 0.5
    area = int(mask.sum())
    rows, columns = np.nonzero(mask)
    box = (rows.min(), rows.max(), columns.min(), columns.max()) if area else None

    regions = measure.label(mask, connectivity=2)
    areas = [region.area for region in measure.regionprops(regions)]
    holes = int(ndimage.binary_fill_holes(mask).sum()) - area
    centre = ndimage.center_of_mass(share) if share.any() else None

    soft = (share > 0.05) & (share < 0.95)
    straight = differing(mask, 0, 1) + differing(mask, 1, 0)
    diagonal = differing(mask, 1, 1) + differing(mask, 1, -1)
    length = math.pi / 8 * (straight + diagonal / math.sqrt(2))
    return MaskStats(
        coverage=float(share.mean()),
        mask_area_px=area,
        bbox_x=int(box[2]) if box else None,
        bbox_y=int(box[0]) if box else None,
        bbox_width=int(box[3] - box[2] + 1) if box else None,
        bbox_height=int(box[1] - box[0] + 1) if box else None,
        centroid_x=(centre[1] + 0.5) / width if centre else None,
        centroid_y=(centre[0] + 0.5) / height if centre else None,
        touches_top=bool(mask[0].any()),
        touches_right=bool(mask[:, -1].any()),
        touches_bottom=bool(mask[-1].any()),
        touches_left=bool(mask[:, 0].any()),
        components=len(areas),
        largest_component_ratio=max(areas) / area if area else None,
        hole_ratio=holes / (area + holes) if area else None,
        soft_fraction=float(soft.mean()),
        edge_width_px=float(soft.sum() / length) if length else None,
        alpha_entropy=float(measure.shannon_entropy(alpha)),
        alpha_histogram=tuple(np.histogram(alpha, bins=16, range=(0, 256))[0].tolist()),
        is_blank=not mask.any(),
        is_full=bool(mask.all()),
    )


def assert_same(found: MaskStats, expected: MaskStats) -> None:
    for field in dataclasses.fields(MaskStats):
        value, wanted = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(wanted, float):
            assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12), field.name
        else:
            assert value == wanted, field.name


@settings(deadline=None, max_examples=100)
@given(mattes)
def test_every_column_follows_its_definition(alpha: np.ndarray) -> None:
    assert_same(mask_stats(alpha), independent(alpha))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_every_column_follows_its_definition_on_noise(
    height: int, width: int, opaque: float, seed: int
) -> None:
    alpha = noise(height, width, opaque, seed)
    assert_same(mask_stats(alpha), independent(alpha))


@pytest.mark.parametrize(
    "alpha",
    [
        pytest.param(np.pad(data.coins(), 500), id="coins on a table"),
        pytest.param(noise(1203, 1601, 0.004), id="sparse noise"),
        pytest.param(noise(1203, 1601, 0.5), id="dense noise"),
        pytest.param(255 - noise(1203, 1601, 0.004), id="a picture full of pin-holes"),
        pytest.param(np.pad(data.camera(), ((300, 700), (200, 900))), id="a photograph"),
    ],
)
def test_every_column_follows_its_definition_above_a_million_pixels(alpha: np.ndarray) -> None:
    assert_same(mask_stats(alpha), independent(alpha))


@settings(deadline=None, max_examples=60)
@given(mattes)
def test_a_mirrored_matte_has_mirrored_columns(alpha: np.ndarray) -> None:
    one, mirrored = mask_stats(alpha), mask_stats(alpha[:, ::-1])
    right = None if one.bbox_x is None else alpha.shape[1] - one.bbox_x - (one.bbox_width or 0)
    expected = dataclasses.replace(
        one,
        bbox_x=right,
        centroid_x=None if one.centroid_x is None else 1 - one.centroid_x,
        touches_left=one.touches_right,
        touches_right=one.touches_left,
    )
    assert_same(mirrored, expected)


@settings(deadline=None, max_examples=60)
@given(mattes)
def test_a_transposed_matte_has_transposed_columns(alpha: np.ndarray) -> None:
    one = mask_stats(alpha)
    expected = dataclasses.replace(
        one,
        bbox_x=one.bbox_y,
        bbox_y=one.bbox_x,
        bbox_width=one.bbox_height,
        bbox_height=one.bbox_width,
        centroid_x=one.centroid_y,
        centroid_y=one.centroid_x,
        touches_top=one.touches_left,
        touches_left=one.touches_top,
        touches_bottom=one.touches_right,
        touches_right=one.touches_bottom,
    )
    assert_same(mask_stats(alpha.T), expected)


@settings(deadline=None, max_examples=60)
@given(mattes)
def test_ratios_stay_within_their_ranges(alpha: np.ndarray) -> None:
    stats = mask_stats(alpha)
    assert sum(stats.alpha_histogram) == alpha.size
    assert 0 <= stats.alpha_entropy <= 8
    for share in (stats.coverage, stats.soft_fraction):
        assert 0 <= share <= 1
    for share in (stats.largest_component_ratio, stats.hole_ratio):
        assert (share is None) == stats.is_blank
        assert share is None or 0 <= share <= 1
    for place in (stats.centroid_x, stats.centroid_y):
        assert (place is None) == (stats.coverage == 0)
        assert place is None or 0 < place < 1
    assert (stats.edge_width_px is None) == (stats.is_blank or stats.is_full)


def test_any_memory_layout_gives_the_same_columns() -> None:
    rgba = np.zeros((70, 90, 4), np.uint8)
    rgba[..., 3] = noise(70, 90, 0.1)
    expected = mask_stats(rgba[..., 3].copy())
    assert mask_stats(rgba[..., 3]) == expected
    assert mask_stats(np.asfortranarray(rgba[..., 3])) == expected


def test_threads_do_not_disturb_one_another() -> None:
    alphas = [noise(99 + n, 101, n / 32) for n in range(32)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(mask_stats, alphas)) == [mask_stats(alpha) for alpha in alphas]
