"""Reading every form of picture: pixels, transparency, orientation, profile."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import profiles
import pytest
import tifffile
from encoded import by_pillow, encoded, png
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image, ImageCms, ImageOps

from alphabeam.transforms.codec import DecodeLimits, Picture, decode

pillow_heif.register_heif_opener()

RGB = np.ascontiguousarray(photograph("coffee")[60:161, 100:255])
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
ALPHA = np.clip(np.linspace(-40, 300, RGB.shape[1]), 0, 255).astype(np.uint8)[None].repeat(101, 0)
RGBA = np.dstack([RGB, ALPHA])
LA = np.dstack([GREY, ALPHA])
PALETTE = Image.fromarray(RGB).quantize(50)
BITS = Image.fromarray(GREY).convert("1")
CMYK = Image.fromarray(RGB).convert("CMYK")
P3 = profiles.rgb_profile(profiles.DISPLAY_P3, profiles.srgb_curve())


def read(data: bytes) -> Picture:
    picture = decode(data, DecodeLimits())
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.flags.c_contiguous
    assert picture.rgb.flags.writeable
    return picture


def grey3(grey: np.ndarray) -> np.ndarray:
    return np.dstack([grey] * 3)


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("pixels", [RGB, RGBA, GREY, LA], ids=["rgb", "rgba", "grey", "grey-alpha"])
def test_lossless_pixels_and_transparency_come_back_exactly(form: str, pixels: np.ndarray) -> None:
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    picture = read(encoded(pixels, form, **options))
    transparent = pixels.ndim == 3 and pixels.shape[2] in (2, 4)
    colour = pixels if pixels.ndim == 2 else pixels[..., : pixels.shape[2] - transparent]
    np.testing.assert_array_equal(picture.rgb, np.broadcast_to(np.atleast_3d(colour), RGB.shape))
    if transparent:
        np.testing.assert_array_equal(picture.alpha, ALPHA)
    else:
        assert picture.alpha is None
    assert (picture.format, picture.icc_converted) == (form.lower(), False)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        *((encoded(RGB, "JPEG", quality=90, subsampling=s), "jpeg") for s in (0, 1, 2)),
        (encoded(RGB, "JPEG", progressive=True), "jpeg"),
        (encoded(GREY, "JPEG"), "jpeg"),
        (encoded(CMYK, "JPEG", quality=95), "jpeg"),
        (encoded(RGB, "WEBP", quality=80), "webp"),
        (encoded(RGB, "TIFF", compression="tiff_lzw"), "tiff"),
        (encoded(RGB, "TIFF", compression="jpeg"), "tiff"),
        (encoded(CMYK, "TIFF"), "tiff"),
        (encoded(PALETTE, "TIFF"), "tiff"),
        (encoded(BITS, "TIFF", compression="group4"), "tiff"),
        (encoded(PALETTE, "PNG", bits=8), "png"),
        (encoded(BITS, "PNG"), "png"),
        (encoded(PALETTE, "GIF"), "gif"),
        (encoded(RGB, "BMP"), "bmp"),
        (encoded(PALETTE, "BMP"), "bmp"),
        (encoded(RGB, "AVIF", quality=80), "avif"),
        (encoded(RGB, "HEIF", quality=80), "heif"),
        (encoded(RGB, "JPEG2000"), "jpeg2000"),
        (encoded(RGB, "PPM"), "ppm"),
        (encoded(GREY, "PPM"), "ppm"),
    ],
)
def test_opaque_pictures_come_out_as_from_pillow(data: bytes, name: str) -> None:
    picture = read(data)
    np.testing.assert_array_equal(picture.rgb, by_pillow(data))
    assert picture.alpha is None
    assert picture.format == name


@pytest.mark.parametrize(
    "data",
    [
        encoded(RGBA, "WEBP", quality=70),
        encoded(RGBA, "AVIF", quality=70),
        encoded(RGBA, "HEIF", quality=70),
        encoded(RGBA, "JPEG2000"),
        encoded(np.ascontiguousarray(RGBA[:64, 40:104]), "ICO", sizes=[(64, 64)]),
        encoded(
            np.ascontiguousarray(RGBA[:64, 40:104]), "ICO", sizes=[(64, 64)], bitmap_format="bmp"
        ),
        encoded(PALETTE, "PNG", transparency=3),
        encoded(PALETTE, "PNG", transparency=bytes(range(0, 250, 5))),
        encoded(PALETTE, "GIF", transparency=3),
        encoded(RGB, "PNG", transparency=tuple(RGB[5, 7].tolist())),
        encoded(GREY, "PNG", transparency=int(GREY[5, 7])),
        encoded(BITS, "PNG", transparency=0),
    ],
)
def test_transparent_pictures_come_out_as_from_pillow(data: bytes) -> None:
    picture = read(data)
    wanted = by_pillow(data, "RGBA")
    np.testing.assert_array_equal(picture.rgb, wanted[..., :3])
    np.testing.assert_array_equal(picture.alpha, wanted[..., 3])


def test_inks_in_ycck_are_read_as_adobe_writes_them() -> None:
    inverted = 255 - np.asarray(CMYK)
    data = imagecodecs.jpeg8_encode(inverted, level=97, colorspace="CMYK", outcolorspace="YCCK")
    assert decibels(read(data).rgb, RGB) > 25
    np.testing.assert_array_equal(read(data).rgb, by_pillow(data))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_16_bit_grey_keeps_its_high_byte(form: str) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(read(encoded(ramp, form)).rgb, grey3(ramp >> 8))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("form", [".png", ".tiff"])
def test_16_bit_colour_keeps_its_high_byte(form: str, channels: int) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (40, 50, channels), dtype=np.uint16)
    picture = read(cv2.imencode(form, deep)[1].tobytes())
    np.testing.assert_array_equal(picture.rgb, deep[..., 2::-1] >> 8)
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, deep[..., 3] >> 8)


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the imagecodecs of Python 3.10 cannot write such files"
)
def test_a_tiff_of_12_bits_is_read() -> None:
    samples = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    twelve = BytesIO()
    tifffile.imwrite(twelve, samples, bitspersample=12)
    np.testing.assert_array_equal(read(twelve.getvalue()).rgb, grey3(samples >> 4))


def test_a_tiff_of_dark_for_light_is_read() -> None:
    samples = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    inverted = BytesIO()
    tifffile.imwrite(inverted, samples, photometric="miniswhite")
    np.testing.assert_array_equal(read(inverted.getvalue()).rgb, grey3((65535 - samples) >> 8))


@pytest.mark.parametrize(
    ("data", "clear"),
    [
        (png(4, 1, 4, 0, b"\x0f\xf3", tRNS=b"\0\x0f"), [255, 0, 0, 255]),
        (png(4, 1, 2, 0, b"\x1b", tRNS=b"\0\x02"), [255, 255, 0, 255]),
        (png(2, 1, 16, 0, b"\x12\x34\x12\x35", tRNS=b"\x12\x34"), [0, 255]),
        (png(2, 1, 16, 2, b"\x12\x34" * 3 + b"\x13\x34" * 3, tRNS=b"\x12\x34" * 3), [0, 255]),
    ],
    ids=["grey-4", "grey-2", "grey-16", "colour-16"],
)
def test_the_transparent_colour_of_a_png_is_found_at_every_depth(data: bytes, clear: list) -> None:
    alpha = read(data).alpha
    assert alpha is not None
    assert alpha[0].tolist() == clear


@given(st.integers(1, 8), st.integers(1, 40), st.integers(1, 40), st.data())
@settings(deadline=None, max_examples=80)
def test_every_orientation_is_applied_in_every_form(
    orientation: int, width: int, height: int, data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]))
    mode = data.draw(st.sampled_from(["RGB", "L"] if form in ("JPEG", "AVIF") else ["RGB", "RGBA"]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.ascontiguousarray(RGBA[:height, 40 : 40 + width])
    stored = encoded(Image.fromarray(pixels).convert(mode), form, exif=exif)
    picture = read(stored)
    with Image.open(BytesIO(stored)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))
    np.testing.assert_array_equal(picture.rgb, upright[..., :3])
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, upright[..., 3])
    assert picture.exif_orientation == orientation


def test_heif_is_turned_once_and_its_orientation_reported() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read(encoded(RGB, "HEIF", quality=95, exif=exif.tobytes()))
    assert picture.rgb.shape == (RGB.shape[1], RGB.shape[0], 3)
    assert decibels(picture.rgb, np.rot90(RGB, -1)) > 30
    assert picture.exif_orientation == 6


@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0"])
def test_damaged_exif_leaves_the_picture_as_it_is(exif: bytes) -> None:
    picture = read(encoded(RGB, "JPEG", exif=exif))
    assert (picture.exif_orientation, picture.rgb.shape) == (1, RGB.shape)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_an_embedded_profile_is_converted_in_every_form(form: str) -> None:
    picture = read(encoded(RGB, form, quality=95, icc_profile=P3))
    without = read(encoded(RGB, form, quality=95)).rgb
    assert picture.icc_converted
    assert picture.rgb[..., 0].mean() > without[..., 0].mean() + 2


@pytest.mark.parametrize("profile", [b"damaged", profiles.cmyk_profile()])
def test_a_profile_that_cannot_be_used_leaves_the_pixels(profile: bytes) -> None:
    picture = read(encoded(RGB, "PNG", icc_profile=profile))
    assert not picture.icc_converted
    np.testing.assert_array_equal(picture.rgb, RGB)


def test_profiles_of_grey_and_of_inks_are_converted() -> None:
    grey = read(encoded(GREY, "PNG", icc_profile=profiles.grey_profile(profiles.gamma_curve(1.5))))
    inks = read(encoded(CMYK, "JPEG", quality=95, icc_profile=profiles.cmyk_profile()))
    assert grey.icc_converted
    assert inks.icc_converted
    assert grey.rgb.mean() > GREY.mean() + 5
    assert decibels(inks.rgb, read(encoded(CMYK, "JPEG", quality=95)).rgb) < 30


def test_lab_is_read_as_colour() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.buildTransform(srgb, lab, "RGB", "LAB").apply(Image.fromarray(RGB))
    image.info.clear()
    assert decibels(read(encoded(image, "TIFF")).rgb, RGB) > 35


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_read(form: str) -> None:
    first, second = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    if form == "GIF":
        first = PALETTE
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(first, form, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(read(data).rgb, np.asarray(first.convert("RGB")))


def test_a_jpeg_with_harmless_oddities_is_read_in_full() -> None:
    data = encoded(RGB, "JPEG")
    version = data.index(b"JFIF\0") + 5
    for odd in (
        data[:-2] + bytes(9) + data[-2:],
        data + b"left over",
        data[:version] + b"\x09" + data[version + 1 :],
    ):
        np.testing.assert_array_equal(read(odd).rgb, by_pillow(data))


def test_threads_get_the_pixels_that_one_gets() -> None:
    forms = [
        encoded(RGB, "JPEG", icc_profile=P3),
        encoded(CMYK, "JPEG", icc_profile=profiles.cmyk_profile()),
        *(encoded(RGBA, form) for form in ("PNG", "WEBP", "TIFF", "AVIF")),
    ]
    alone = [read(data) for data in forms]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(read, forms * 8))
    for number, picture in enumerate(together):
        np.testing.assert_array_equal(picture.rgb, alone[number % len(forms)].rgb)
