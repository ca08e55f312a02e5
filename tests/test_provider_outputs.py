"""Pictures that come back: whole, transparent and of the right shape, or refused and why."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from standins.studio import JPEG, PNG, WEBP, encoded, luminance_alpha

from alphabeam.transforms.providers.outputs import Output, OutputError, place, read_output


def cutout(width: int = 160, height: int = 120) -> np.ndarray:
    """A real photograph with a soft matte: uint8, (height, width, 4), RGBA."""
    rgb = cv2.resize(photograph("chelsea"), (width, height), interpolation=cv2.INTER_AREA)
    return np.dstack([rgb, luminance_alpha(rgb)])


def stored(rgba: np.ndarray, form: str = PNG) -> bytes:
    order = cv2.COLOR_RGBA2BGRA if rgba.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return encoded(cv2.cvtColor(rgba, order), form)


def read(data: bytes, size: tuple[int, int] | None = (160, 120), cropped: bool = False) -> Output:
    return read_output(data, size, cropped=cropped, max_pixels=10_000_000)


@pytest.mark.parametrize(("form", "name"), [(PNG, "png"), (WEBP, "webp")])
def test_a_whole_picture_comes_through_pixel_by_pixel(form, name):
    output = read(stored(cutout(), form))
    assert output.format == name
    assert np.array_equal(output.rgba[..., 3], cutout()[..., 3])
    visible = cutout()[..., 3] > 0
    assert np.array_equal(output.rgba[visible], cutout()[visible])
    assert (output.resized, output.is_blank, output.is_full) == (False, False, False)


@pytest.mark.parametrize(("alpha", "blank", "full"), [(0, True, False), (255, False, True)])
def test_a_matte_that_keeps_nothing_or_everything_is_flagged(alpha, blank, full):
    rgba = cutout()
    rgba[..., 3] = alpha
    output = read(stored(rgba))
    assert (output.is_blank, output.is_full) == (blank, full)


def test_sixteen_bits_become_eight():
    deep = cutout().astype(np.uint16) * 257
    output = read(encoded(cv2.cvtColor(deep, cv2.COLOR_RGBA2BGRA)))
    assert np.array_equal(output.rgba, cutout())


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_png_that_was_cut_or_changed_anywhere_is_never_taken(data):
    whole = stored(cutout(40, 30))
    if data.draw(st.booleans()):
        spoiled = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        spoiled = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    with pytest.raises(OutputError):
        read(spoiled, (40, 30))


def test_a_webp_that_was_cut_is_worth_another_download():
    whole = stored(cutout(), WEBP)
    with pytest.raises(OutputError) as caught:
        read(whole[: len(whole) // 2])
    assert caught.value.damaged


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (stored(cutout()[..., :3], JPEG), "a JPEG came back"),
        (stored(cutout()[..., :3], PNG), "without an alpha channel"),
        (stored(cutout(120, 160), PNG), "120 x 160 came back for a source of 160 x 120"),
    ],
)
def test_a_picture_that_cannot_be_used_is_not_downloaded_again(data, message):
    with pytest.raises(OutputError, match=message) as caught:
        read(data)
    assert not caught.value.damaged


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded():
    with pytest.raises(OutputError, match="160 x 120 is more than the 100 pixels allowed"):
        read_output(stored(cutout()), None, cropped=False, max_pixels=100)


def test_a_picture_that_was_scaled_down_is_flagged_and_scaled_back():
    source = cutout(320, 240)
    output = read(stored(cutout(160, 120)), (320, 240))
    assert output.resized
    placed = place(output, source[..., :3], cropped=False)
    assert placed.shape == (240, 320, 4)
    off = np.abs(placed[..., 3].astype(int) - source[..., 3].astype(int))
    assert off.mean() < 6


def test_scaling_does_not_bleed_the_grounds_colour_into_the_edge():
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:, :10] = (200, 100, 50, 255)
    rgba[:, 10:, 1] = 255
    placed = place(
        Output(rgba, "png", True, False, False), np.zeros((40, 40, 3), np.uint8), cropped=False
    )
    visible = placed[..., 3] > 0
    assert np.abs(placed[visible][:, :3].astype(int) - (200, 100, 50)).max() <= 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 100), st.integers(0, 70), st.integers(30, 60), st.integers(30, 50))
def test_a_cropped_picture_is_laid_back_where_it_came_from(left, top, width, height):
    source = cv2.resize(photograph("coffee"), (160, 120), interpolation=cv2.INTER_AREA)
    yy, xx = np.mgrid[:height, :width]
    inside = ((xx / width - 0.5) ** 2 + (yy / height - 0.5) ** 2) < 0.25
    crop = np.dstack(
        [source[top : top + height, left : left + width], inside.astype(np.uint8) * 255]
    )
    output = read(stored(crop), (160, 120), cropped=True)
    placed = place(output, source, cropped=True)
    expected = np.zeros((120, 160), np.uint8)
    expected[top : top + height, left : left + width] = crop[..., 3]
    assert np.array_equal(placed[..., 3], expected)


def test_a_crop_bigger_than_its_source_is_refused():
    with pytest.raises(OutputError, match="though cropped"):
        read(stored(cutout(200, 120)), (160, 120), cropped=True)
