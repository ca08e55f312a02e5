"""Conversion of embedded profiles to sRGB, against the formulas and against LittleCMS."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import profiles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from photographs import photograph
from PIL import Image, ImageCms

from alphabeam.transforms.colour import cmyk_to_rgb, lab_to_srgb, to_srgb

BYTES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def linear_srgb(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return curve * 255


def littlecms(pixels: np.ndarray, profile: bytes, mode: str) -> np.ndarray:
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return np.asarray(transform.apply(Image.fromarray(pixels)))


def farthest(one: np.ndarray, other: np.ndarray) -> float:
    return np.abs(one.astype(float) - other).max()


@given(BYTES)
@settings(deadline=None, max_examples=50)
def test_display_p3_follows_its_formula_within_a_level(pixels: np.ndarray) -> None:
    matrix = np.linalg.solve(profiles.SRGB, profiles.DISPLAY_P3)
    wanted = srgb(linear_srgb(pixels / 255) @ matrix.T)
    profile = profiles.rgb_profile(profiles.DISPLAY_P3, profiles.srgb_curve())
    converted = to_srgb(pixels, profile)
    assert converted is not None
    assert farthest(converted, wanted) <= 1.1


@pytest.mark.parametrize(
    "profile",
    [
        profiles.rgb_profile(profiles.DISPLAY_P3, profiles.srgb_curve()),
        profiles.rgb_profile(profiles.ADOBE_RGB, profiles.gamma_curve(2.19921875)),
        profiles.rgb_profile(profiles.SRGB, profiles.gamma_curve(1.8)),
        profiles.rgb_profile(profiles.SRGB, profiles.table_curve(np.linspace(0, 1, 33) ** 2)),
        profiles.rgb_profile(profiles.DISPLAY_P3, profiles.table_curve(np.array([]))),
    ],
    ids=["display-p3", "adobe-rgb", "gamma-1.8", "table", "linear"],
)
def test_a_photograph_comes_out_as_from_littlecms(profile: bytes) -> None:
    pixels = photograph("coffee")
    converted = to_srgb(pixels, profile)
    assert converted is not None
    assert converted.flags.c_contiguous
    assert farthest(converted, littlecms(pixels, profile, "RGB")) <= 1
    assert farthest(converted, pixels) > 5


def test_a_parametric_curve_of_a_rare_form_is_left_to_littlecms() -> None:
    curve = b"para" + bytes(4) + bytes((0, 4, 0, 0)) + profiles.fixed(2, 0.9, 0.1, 0.5, 0.04, 0, 0)
    profile = profiles.rgb_profile(profiles.SRGB, curve)
    pixels = photograph("coffee")[:100]
    converted = to_srgb(pixels, profile)
    assert converted is not None
    np.testing.assert_array_equal(converted, littlecms(pixels, profile, "RGB"))


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        profiles.rgb_profile(profiles.SRGB, profiles.srgb_curve()),
        profiles.rgb_profile(
            profiles.SRGB, profiles.table_curve(linear_srgb(np.linspace(0, 1, 1024)))
        ),
    ],
    ids=["littlecms", "parametric", "table"],
)
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)], ids=["grey", "rgb"])
def test_srgb_in_any_spelling_needs_no_conversion(profile: bytes, shape: tuple) -> None:
    assert to_srgb(np.full(shape, 90, np.uint8), profile) is None


def test_grey_follows_its_curve() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    converted = to_srgb(ramp, profiles.grey_profile(profiles.gamma_curve(1.0)))
    assert converted is not None
    assert converted.shape == (16, 16, 3)
    assert farthest(converted, srgb(ramp / 255)[..., None]) <= 1


def test_grey_takes_an_rgb_profile_too() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    profile = profiles.rgb_profile(profiles.DISPLAY_P3, profiles.gamma_curve(1.8))
    converted = to_srgb(ramp, profile)
    assert converted is not None
    assert farthest(converted, srgb((ramp / 255) ** 1.8)[..., None]) <= 1


@pytest.mark.parametrize("black", [0.0, 12.0])
def test_paper_is_white_and_full_black_is_black(black: float) -> None:
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
    converted = to_srgb(inks, profiles.cmyk_profile(black))
    assert converted is not None
    assert farthest(converted, np.array([[[255] * 3, [0] * 3]])) <= 1


def test_inks_come_out_as_from_littlecms() -> None:
    pixels = np.asarray(Image.fromarray(photograph("chelsea")).convert("CMYK"))
    image = Image.fromarray(photograph("chelsea")).convert("CMYK")
    profile = profiles.cmyk_profile()
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), "CMYK", "RGB", 1
    )
    converted = to_srgb(pixels, profile)
    assert converted is not None
    assert farthest(converted, np.asarray(transform.apply(image))) <= 1


def test_a_profile_that_is_damaged_or_of_another_space_is_left_aside(caplog) -> None:
    good = profiles.rgb_profile(profiles.DISPLAY_P3, profiles.gamma_curve(1.4))
    pixels = photograph("coffee")[:8]
    for profile in (b"", b"junk", good[:100], good[:300], profiles.cmyk_profile()):
        assert to_srgb(pixels, profile) is None
    assert to_srgb(np.zeros((2, 2, 4), np.uint8), good) is None
    assert "not usable" in caplog.text


@given(st.binary(max_size=40), st.integers(0, 600))
@settings(deadline=None, max_examples=100)
def test_a_profile_with_any_damage_raises_nothing(noise: bytes, place: int) -> None:
    good = profiles.rgb_profile(profiles.DISPLAY_P3, profiles.srgb_curve())
    profile = good[:place] + noise + good[place + len(noise) :]
    converted = to_srgb(photograph("coffee")[:2, :4], profile)
    assert converted is None or converted.shape == (2, 4, 3)


def test_threads_share_a_conversion_and_get_the_same_pixels() -> None:
    cmyk = np.asarray(Image.fromarray(photograph("coffee")).convert("CMYK"))
    rgb = photograph("coffee")
    work = [
        (cmyk, profiles.cmyk_profile(3.0)),
        (rgb, profiles.rgb_profile(profiles.ADOBE_RGB, profiles.gamma_curve(2.2))),
    ] * 12
    alone = [to_srgb(pixels, profile) for pixels, profile in work[:2]]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda item: to_srgb(*item), work))
    for result, wanted in zip(together, itertools.cycle(alone), strict=False):
        np.testing.assert_array_equal(result, wanted)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))))
@settings(deadline=None, max_examples=50)
def test_inks_without_a_profile_let_their_share_of_light_through(inks: np.ndarray) -> None:
    light = 255 - inks.astype(int)
    exact = light[..., :3] * light[..., 3:] / 255
    np.testing.assert_array_equal(cmyk_to_rgb(inks), np.rint(exact))


def test_lab_comes_back_as_the_colours_it_was_made_of() -> None:
    pixels = photograph("coffee")[:100, :100]
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    back = lab_to_srgb(transform.apply(Image.fromarray(pixels)))
    assert np.abs(back.astype(int) - pixels).mean() < 2
