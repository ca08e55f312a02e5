"""The finished picture: every setting alone and together, read back from its bytes."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from encoded import by_pillow
from photographs import photograph

from alphabeam.transforms.codec import Picture
from alphabeam.transforms.errors import ComposeError
from alphabeam.transforms.mask_stats import mask_stats
from alphabeam.transforms.matte import ComposeSettings, compose, composite

RGB = np.ascontiguousarray(photograph("astronaut")[0:200, 150:330])
HEIGHT, WIDTH = RGB.shape[:2]
SOURCE_ALPHA = np.full((HEIGHT, WIDTH), 255, np.uint8)
SOURCE_ALPHA[:, :70] = 51
PICTURE = Picture(RGB, SOURCE_ALPHA, "png", 1, False)


def soft_disc() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.clip(255 * (60.5 - np.hypot(x - 80, y - 90)) / 8, 0, 255).astype(np.uint8)


ALPHA = soft_disc()


def test_the_default_is_the_whole_picture_with_the_matte_as_its_alpha() -> None:
    composed = compose(PICTURE, ALPHA, ComposeSettings())
    stored = by_pillow(composed.image, "RGBA")
    np.testing.assert_array_equal(stored[..., 3], ALPHA)
    np.testing.assert_array_equal(stored[..., :3], RGB * (ALPHA > 0)[..., None])
    assert (composed.width, composed.height, composed.mask) == (WIDTH, HEIGHT, None)
    assert composed.stats == mask_stats(ALPHA)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_statistics_are_of_the_final_matte_before_the_crop(form: str) -> None:
    settings = ComposeSettings(
        alpha_threshold=0.3,
        preserve_alpha=True,
        crop_to_bbox=True,
        crop_margin=4,
        save_mask=True,
        output_format=form,
    )
    composed = compose(PICTURE, ALPHA, settings)
    final = np.where(ALPHA >= 77, SOURCE_ALPHA, 0).astype(np.uint8)
    assert composed.stats == mask_stats(final)
    assert composed.stats.bbox_x == 70  # what the source itself hides is no subject
    kept = final[
        composed.stats.bbox_y - 4 : composed.stats.bbox_y + composed.stats.bbox_height + 4,
        composed.stats.bbox_x - 4 : composed.stats.bbox_x + composed.stats.bbox_width + 4,
    ]
    assert composed.mask is not None
    np.testing.assert_array_equal(by_pillow(composed.mask, "L"), kept)
    np.testing.assert_array_equal(by_pillow(composed.image, "RGBA")[..., 3], kept)
    assert (composed.height, composed.width) == kept.shape


def test_a_blank_matte_is_not_cropped() -> None:
    composed = compose(PICTURE, np.zeros_like(ALPHA), ComposeSettings(crop_to_bbox=True))
    assert (composed.width, composed.height) == (WIDTH, HEIGHT)
    assert not by_pillow(composed.image, "RGBA").any()


@pytest.mark.parametrize("form", ["png", "webp", "jpg"])
def test_a_background_makes_the_picture_opaque(form: str) -> None:
    settings = ComposeSettings(
        background=(10, 200, 30), output_format=form, output_quality=100, save_mask=True
    )
    composed = compose(PICTURE, ALPHA, settings)
    stored = by_pillow(composed.image, "RGBA")
    assert (stored[..., 3] == 255).all()
    wanted = composite(RGB, ALPHA, (10, 200, 30))
    off = np.abs(stored[..., :3].astype(int) - wanted)
    assert off.max() == 0 if form != "jpg" else off.mean() < 1
    assert composed.mask is not None
    np.testing.assert_array_equal(by_pillow(composed.mask, "L"), ALPHA)


def test_without_preserve_alpha_the_sources_transparency_is_left_out() -> None:
    opaque = Picture(RGB, None, "png", 1, False)
    assert compose(PICTURE, ALPHA, ComposeSettings()) == compose(opaque, ALPHA, ComposeSettings())
    preserved = ComposeSettings(preserve_alpha=True)
    assert compose(opaque, ALPHA, preserved) == compose(opaque, ALPHA, ComposeSettings())


def test_refined_edges_lose_the_colour_of_the_ground() -> None:
    share = ALPHA[..., None] / 255
    mixed = np.rint(share * (200, 40, 40) + (1 - share) * (30, 220, 30)).astype(np.uint8)
    picture = Picture(mixed, None, "png", 1, False)
    plain = by_pillow(compose(picture, ALPHA, ComposeSettings()).image, "RGBA")
    refined = compose(picture, ALPHA, ComposeSettings(refine_foreground=True))
    stored = by_pillow(refined.image, "RGBA")
    soft = (ALPHA > 40) & (ALPHA < 215)
    assert stored[soft][:, 1].mean() < 60 < plain[soft][:, 1].mean()
    np.testing.assert_array_equal(stored[..., 3], ALPHA)
    np.testing.assert_array_equal(stored[ALPHA == 255], plain[ALPHA == 255])


def test_all_settings_combine() -> None:
    part = (slice(20, 80), slice(40, 110))
    small = Picture(RGB[part].copy(), SOURCE_ALPHA[part].copy(), "png", 1, False)
    alpha = ALPHA[part].copy()
    flags = ("refine_foreground", "crop_to_bbox", "preserve_alpha", "save_mask")
    choices = itertools.product(
        itertools.product([False, True], repeat=4),
        [None, (255, 255, 255)],
        [None, 0.5],
        ["png", "webp", "jpg"],
    )
    for flagged, background, level, form in choices:
        if form == "jpg" and background is None:
            continue
        settings = ComposeSettings(
            **dict(zip(flags, flagged, strict=True)),
            background=background,
            alpha_threshold=level,
            output_format=form,
            crop_margin=3,
        )
        composed = compose(small, alpha, settings)
        mode = "RGBA" if background is None else "RGB"
        assert by_pillow(composed.image, mode).shape[:2] == (composed.height, composed.width)
        assert (composed.mask is not None) == settings.save_mask


def test_the_same_picture_gives_the_same_bytes() -> None:
    for form in ("png", "webp", "jpg"):
        settings = ComposeSettings(output_format=form, background=(0, 0, 0))
        assert compose(PICTURE, ALPHA, settings) == compose(PICTURE, ALPHA.copy(), settings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"output_format": "gif"}, "output_format must be one of png, webp, jpg, got 'gif'"),
        ({"output_format": "jpg"}, "output_format jpg has no transparency: give a background"),
        ({"output_quality": 0}, "output_quality must be 1..100, got 0"),
        ({"output_quality": 101}, "output_quality must be 1..100, got 101"),
        ({"crop_margin": -1}, "crop_margin must be 0 or more pixels, got -1"),
        ({"alpha_threshold": 0.0}, "alpha_threshold must be above 0 and at most 1, got 0.0"),
        ({"background": (0, 0, 256)}, "three numbers of 0..255"),
        ({"background": (0, 0)}, "three numbers of 0..255"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ComposeSettings(**options)


def test_settings_travel_to_workers() -> None:
    settings = ComposeSettings(background=(1, 2, 3), output_format="jpg", alpha_threshold=0.4)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_matte_of_another_size_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"alpha must have the shape \(200, 180\), got \(200, 179\)"
    ):
        compose(PICTURE, ALPHA[:, 1:], ComposeSettings())


def test_a_picture_too_long_for_webp_says_so() -> None:
    line = Picture(np.zeros((1, 20_000, 3), np.uint8), None, "png", 1, False)
    with pytest.raises(ComposeError, match="20000 x 1; use png"):
        compose(line, np.zeros((1, 20_000), np.uint8), ComposeSettings(output_format="webp"))
