"""Writing WebP and JPEG."""

from __future__ import annotations

import numpy as np
import pytest
from encoded import by_pillow
from photographs import photograph

from alphabeam.transforms.codec import encode_jpg, encode_webp
from alphabeam.transforms.errors import ComposeError

RGB = np.ascontiguousarray(photograph("coffee")[60:161, 100:255])
ALPHA = np.clip(np.linspace(-40, 300, RGB.shape[1]), 0, 255).astype(np.uint8)[None].repeat(101, 0)


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def test_lossless_webp_keeps_what_is_seen_and_zeroes_the_rest() -> None:
    stored = by_pillow(encode_webp(RGB, ALPHA, 100), "RGBA")
    np.testing.assert_array_equal(stored[..., 3], ALPHA)
    np.testing.assert_array_equal(stored[..., :3], RGB * (ALPHA > 0)[..., None])
    np.testing.assert_array_equal(by_pillow(encode_webp(RGB, None, 100)), RGB)


@pytest.mark.parametrize("quality", [1, 50, 90, 99, 100])
def test_webp_keeps_alpha_exactly_and_nothing_of_the_hidden_colour(quality: int) -> None:
    data = encode_webp(RGB, ALPHA, quality)
    np.testing.assert_array_equal(by_pillow(data, "RGBA")[..., 3], ALPHA)
    assert data == encode_webp(np.where((ALPHA > 0)[..., None], RGB, 255 - RGB), ALPHA, quality)


def test_higher_quality_is_nearer_to_the_picture() -> None:
    for encode in (encode_jpg, lambda rgb, quality: encode_webp(rgb, None, quality)):
        nearness = [decibels(by_pillow(encode(RGB, quality)), RGB) for quality in (20, 60, 95)]
        assert nearness == sorted(nearness)
        assert nearness[-1] > 36


def test_parts_of_a_picture_are_written_as_if_they_were_whole() -> None:
    part = (slice(10, 60), slice(30, 90))
    whole = np.ascontiguousarray(RGB[part])
    assert encode_jpg(RGB[part], 80) == encode_jpg(whole, 80)
    assert encode_webp(RGB[part], ALPHA[part], 80) == encode_webp(whole, ALPHA[part].copy(), 80)


@pytest.mark.parametrize(("encode", "side"), [(encode_webp, 16384), (encode_jpg, 65536)])
def test_a_side_that_the_format_cannot_hold_is_refused(encode, side: int) -> None:
    line = np.zeros((1, side, 3), np.uint8)
    with pytest.raises(ComposeError, match=f"{side} x 1; use png"):
        encode(line, *([None] if encode is encode_webp else []), 90)
