"""Pictures that must be refused: too large, cut short, damaged, or no pictures at all."""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Callable

import numpy as np
import pytest
from encoded import encoded, png
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image

from alphabeam.transforms.codec import DecodeLimits, decode
from alphabeam.transforms.errors import DecodeError

RGB = np.ascontiguousarray(photograph("chelsea")[50:100, 100:180])
RGBA = np.dstack([RGB, RGB[..., 0] | 1])
FORMS = {
    "jpeg": encoded(RGB, "JPEG", quality=85),
    "progressive": encoded(RGB, "JPEG", quality=85, progressive=True),
    "grey jpeg": encoded(RGB[..., 0].copy(), "JPEG"),
    "cmyk jpeg": encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    "png": encoded(RGB, "PNG"),
    "palette": encoded(Image.fromarray(RGB).quantize(40), "PNG"),
    "webp": encoded(RGB, "WEBP"),
    "webp alpha": encoded(RGBA, "WEBP"),
    "tiff": encoded(RGB, "TIFF"),
    "lzw": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "gif": encoded(Image.fromarray(RGB).quantize(40), "GIF"),
    "bmp": encoded(RGB, "BMP"),
    "ico": encoded(RGBA[:48, :48].copy(), "ICO", sizes=[(48, 48)]),
    "avif": encoded(RGB, "AVIF"),
    "heif": encoded(RGB, "HEIF"),
    "jpeg2000": encoded(RGB, "JPEG2000"),
    "ppm": encoded(RGB, "PPM"),
}
LIMITS = DecodeLimits(max_pixels=1_000_000)


def refusal(data: bytes, limits: DecodeLimits = LIMITS) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data, limits)
    return caught.value


def patched(data: bytes, place: int, content: bytes) -> bytes:
    return data[:place] + content + data[place + len(content) :]


@given(st.sampled_from(sorted(FORMS)), st.data())
@settings(deadline=None, max_examples=100)
def test_a_picture_cut_short_is_refused_or_complete(form: str, data: st.DataObject) -> None:
    whole = FORMS[form]
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with contextlib.suppress(DecodeError):
        np.testing.assert_array_equal(decode(short, LIMITS).rgb, decode(whole, LIMITS).rgb)


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"avif", "ico", "jpeg2000", "lzw"}))
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_picture_that_ends_early_is_called_truncated(form: str, share: float) -> None:
    data = FORMS[form]
    assert refusal(data[: int(len(data) * share)]).kind == "truncated"


@given(st.sampled_from(sorted(FORMS)), st.data())
@settings(deadline=None, max_examples=100)
def test_damage_anywhere_raises_nothing_else(form: str, data: st.DataObject) -> None:
    whole = FORMS[form]
    place = data.draw(st.integers(0, len(whole) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=6))
    with contextlib.suppress(DecodeError):
        picture = decode(patched(whole, place, noise), LIMITS)
        assert picture.rgb.dtype == np.uint8
        assert picture.rgb.shape[0] * picture.rgb.shape[1] <= LIMITS.max_pixels


@pytest.mark.parametrize("form", ["jpeg", "progressive", "grey jpeg", "cmyk jpeg"])
def test_a_jpeg_with_its_middle_missing_is_refused_though_it_ends_well(form: str) -> None:
    data = FORMS[form]
    assert refusal(data[: len(data) // 2] + b"\xff\xd9").kind in ("truncated", "broken")


def test_a_flipped_bit_in_a_png_is_found() -> None:
    data = FORMS["png"]
    assert refusal(patched(data, len(data) // 2, bytes([data[len(data) // 2] ^ 1]))).kind in (
        "broken",
        "truncated",
    )


def test_too_many_bytes_are_refused_unread() -> None:
    error = refusal(b"anything", DecodeLimits(max_bytes=7))
    assert (error.kind, str(error), error.stage) == (
        "too_large",
        "8 bytes, 7 are allowed",
        "decode",
    )
    assert not error.retryable


@pytest.mark.parametrize("form", sorted(FORMS))
def test_too_many_pixels_are_refused(form: str) -> None:
    size = decode(FORMS[form], LIMITS).rgb.shape
    pixels = size[0] * size[1]
    decode(FORMS[form], DecodeLimits(max_pixels=pixels))
    error = refusal(FORMS[form], DecodeLimits(max_pixels=pixels - 1))
    assert error.kind == "too_many_pixels"
    assert str(error) == f"{size[1]} x {size[0]} pixels, {pixels - 1} are allowed"


def jpeg_bomb(side: int) -> bytes:
    frame = FORMS["jpeg"].index(b"\xff\xc0")
    return patched(FORMS["jpeg"], frame + 5, struct.pack(">HH", side, side))


def icon_bomb(side: int) -> bytes:
    return patched(FORMS["ico"], FORMS["ico"].index(b"IHDR") + 4, struct.pack(">II", side, side))


@pytest.mark.parametrize(
    "bomb",
    [
        lambda side: png(side, side, 8, 6, b"\0"),
        lambda side: patched(FORMS["bmp"], 18, struct.pack("<ii", side, side)),
        lambda side: patched(FORMS["gif"], 6, struct.pack("<HH", side, side)),
        jpeg_bomb,
        icon_bomb,
    ],
    ids=["png", "bmp", "gif", "jpeg", "ico"],
)
def test_a_bomb_is_refused_by_its_header(bomb: Callable[[int], bytes]) -> None:
    # 65,000 pixels a side would take 12 GB.
    error = refusal(bomb(65_000), DecodeLimits())
    assert error.kind == "too_many_pixels"
    assert "65000 x 65000 pixels" in str(error)


def test_a_jpeg_with_a_second_larger_header_takes_no_more_memory() -> None:
    data = FORMS["jpeg"]
    frame = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[frame + 2 : frame + 4], "big")
    larger = patched(data[frame : frame + length], 5, struct.pack(">HH", 60_000, 60_000))
    assert refusal(data[:frame] + larger + data[frame:]).kind in ("broken", "too_many_pixels")


@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "avif", "bmp", "ppm"])
def test_only_our_limit_counts_not_the_process_wide_one_of_pillow(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(FORMS[form], LIMITS).rgb.shape == RGB.shape


def test_a_limit_of_pillow_that_does_count_is_the_same_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert refusal(FORMS["tiff"]).kind == "too_many_pixels"


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"<!DOCTYPE html><html>", b"RIFF\x10\0\0\0WAVEfmt ", bytes(1000)]
)
def test_what_is_no_picture_is_called_so(data: bytes) -> None:
    error = refusal(data)
    assert error.kind == "not_an_image"
    assert repr(data[:16]) in str(error)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"%PDF-1.7", "PDF is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript is not read"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL is not read"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "b'mp42' is not read"),
        (encoded(np.zeros((4, 4), np.float32), "TIFF"), "32-bit samples"),
        (encoded(np.zeros((4, 4), np.int32), "TIFF"), "32-bit samples"),
        (patched(FORMS["jpeg"], FORMS["jpeg"].index(b"\xff\xc0") + 4, b"\x0c"), "12-bit"),
    ],
)
def test_what_is_known_but_not_read_is_named(data: bytes, says: str) -> None:
    error = refusal(data)
    assert error.kind == "unsupported"
    assert says in str(error)


def test_heif_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = refusal(FORMS["heif"])
    assert (error.kind, str(error)) == ("unsupported", "HEIF needs `pip install pillow-heif`")
