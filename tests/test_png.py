"""The PNG writer: exact pixels through every decoder, hidden colour gone, sizes near Pillow's."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import imagecodecs
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from alphabeam.transforms import png

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field")


def by_pillow(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as picture:
        return np.asarray(picture)


def by_opencv(encoded: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    orders = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, orders[pixels.shape[2]])


def by_libpng(encoded: bytes) -> np.ndarray:
    return imagecodecs.png_decode(encoded)


def by_spng(encoded: bytes) -> np.ndarray:
    return imagecodecs.spng_decode(encoded)


DECODERS = (by_pillow, by_opencv, by_libpng, by_spng)


def assert_decodes_to(encoded: bytes, pixels: np.ndarray) -> None:
    for decode in DECODERS:
        np.testing.assert_array_equal(decode(encoded), pixels, err_msg=decode.__name__)


def joined(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.where(alpha[..., None] > 0, np.dstack((rgb, alpha)), 0).astype(np.uint8)


def ellipse(height: int, width: int) -> np.ndarray:
    """A matte with a soft edge: a third opaque, the rest transparent."""
    alpha = np.zeros((height, width), np.uint8)
    axes = (int(width * 0.3), int(height * 0.35))
    cv2.ellipse(alpha, (width // 2, height // 2), axes, 0, 0, 360, 255, -1)
    return cv2.GaussianBlur(alpha, (0, 0), 2)


def chunks(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Splits a PNG and checks each checksum."""
    assert encoded[:8] == b"\x89PNG\r\n\x1a\n"
    found, start = [], 8
    while start < len(encoded):
        size, kind = struct.unpack_from(">I4s", encoded, start)
        content = encoded[start + 8 : start + 8 + size]
        (checksum,) = struct.unpack_from(">I", encoded, start + 8 + size)
        assert checksum == zlib.crc32(kind + content)
        found.append((kind, content))
        start += 12 + size
    return found


@st.composite
def planes(draw: st.DrawFn, channels: int) -> np.ndarray:
    """uint8 of shape (H, W, channels): flat, noisy or anything between; lines of a pixel too."""
    line = st.tuples(st.just(1), st.integers(1, 700))
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 20), st.integers(1, 20)),
            line,
            line.map(lambda pair: pair[::-1]),
            st.tuples(st.integers(1, 90), st.integers(1, 90)),
        )
    )
    if draw(st.booleans()) and shape[0] * shape[1] <= 400:
        return draw(hnp.arrays(np.uint8, (*shape, channels)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    noise = rng.integers(low, high + 1, (*shape, channels), dtype=np.uint8)
    visible = rng.random(shape) < draw(st.sampled_from((0, 0.1, 0.5, 1)))
    return noise * visible[..., None]


@settings(deadline=None, max_examples=100)
@given(planes(4), st.data())
def test_rgba_comes_back_exactly_with_hidden_colour_zeroed(
    pixels: np.ndarray, choice: st.DataObject
) -> None:
    rgb, alpha = pixels[..., :3], pixels[..., 3]
    if choice.draw(st.booleans()):
        rgb = 255 - rgb  # colour where nothing shows
    assert_decodes_to(png.encode_rgba(rgb, alpha), joined(rgb, alpha))


@settings(deadline=None, max_examples=60)
@given(planes(3))
def test_rgb_comes_back_exactly(pixels: np.ndarray) -> None:
    assert_decodes_to(png.encode_rgb(pixels), pixels)


@settings(deadline=None, max_examples=60)
@given(planes(1))
def test_grey_comes_back_exactly(pixels: np.ndarray) -> None:
    assert_decodes_to(png.encode_grey(pixels[..., 0]), pixels[..., 0])


@pytest.mark.parametrize(
    "shape", [(1100, 1501), (3, 300_001), (300_001, 1), (262, 1000), (263, 999)]
)
def test_pictures_of_several_strips_come_back_exactly(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 4), dtype=np.uint8)
    rgb, alpha = pixels[..., :3], pixels[..., 3] * (pixels[..., 3] > 120)
    assert_decodes_to(png.encode_rgba(rgb, alpha), joined(rgb, alpha))
    assert_decodes_to(png.encode_rgb(rgb), rgb)
    assert_decodes_to(png.encode_grey(alpha), alpha)


def test_any_strides_give_the_same_bytes() -> None:
    photograph = skimage.data.coffee()[:123, :157]
    alpha = ellipse(123, 157)
    expected = png.encode_rgba(photograph, alpha)
    rgba = np.dstack((photograph, alpha))
    assert png.encode_rgba(rgba[..., :3], rgba[..., 3]) == expected
    bgr = np.ascontiguousarray(photograph[..., ::-1])
    flipped = np.ascontiguousarray(alpha[::-1, ::-1])
    assert png.encode_rgba(bgr[..., ::-1], flipped[::-1, ::-1]) == expected
    turned = np.asfortranarray(photograph)
    assert png.encode_rgba(turned, np.asfortranarray(alpha)) == expected
    photograph = photograph.copy()
    photograph.flags.writeable = alpha.flags.writeable = False
    assert png.encode_rgba(photograph, alpha) == expected
    assert png.encode_rgb(turned) == png.encode_rgb(photograph)
    assert png.encode_grey(rgba[..., 3]) == png.encode_grey(alpha)


def test_the_inputs_are_left_as_they_were() -> None:
    rgb, alpha = skimage.data.coffee(), ellipse(400, 600)
    before = rgb.copy(), alpha.copy()
    png.encode_rgba(rgb, alpha)
    np.testing.assert_array_equal(rgb, before[0])
    np.testing.assert_array_equal(alpha, before[1])


def test_the_file_is_made_as_the_specification_asks() -> None:
    rgb, alpha = skimage.data.coffee(), ellipse(400, 600)
    for encoded, colour_type, channels in (
        (png.encode_rgba(rgb, alpha), 6, 4),
        (png.encode_rgb(rgb), 2, 3),
        (png.encode_grey(alpha), 0, 1),
    ):
        (kind, header), *others, end = chunks(encoded)
        assert kind == b"IHDR"
        assert header == struct.pack(">IIBBBBB", 600, 400, 8, colour_type, 0, 0, 0)
        assert end == (b"IEND", b"")
        if channels > 1:
            assert others.pop(0) == (b"sRGB", b"\0")
        assert {name for name, _ in others} == {b"IDAT"}
        assert all(content for _, content in others)
        lines = zlib.decompress(b"".join(content for _, content in others))
        assert len(lines) == 400 * (1 + 600 * channels)


def test_readers_learn_the_colour_space() -> None:
    rgb, alpha = skimage.data.coffee(), ellipse(400, 600)
    for encoded in (png.encode_rgba(rgb, alpha), png.encode_rgb(rgb)):
        with Image.open(io.BytesIO(encoded)) as picture:
            assert picture.info == {"srgb": 0}
    with Image.open(io.BytesIO(png.encode_grey(alpha))) as picture:
        assert picture.info == {}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_take_little_more_than_with_pillow(name: str) -> None:
    rgb = np.ascontiguousarray(getattr(skimage.data, name)()[..., :3])
    alpha = ellipse(*rgb.shape[:2])
    encoded = png.encode_rgba(rgb, alpha)
    assert_decodes_to(encoded, joined(rgb, alpha))
    reference = io.BytesIO()
    Image.fromarray(joined(rgb, alpha)).save(reference, "PNG", compress_level=6)
    assert len(encoded) < 1.35 * reference.tell()


def test_hidden_colour_takes_no_room() -> None:
    rgb, alpha = skimage.data.astronaut(), ellipse(512, 512)
    assert png.encode_rgba(rgb, alpha) == png.encode_rgba(
        np.where(alpha[..., None], rgb, 99), alpha
    )
    assert len(png.encode_rgba(rgb, np.zeros_like(alpha))) < 0.02 * alpha.size


def test_the_same_picture_gives_the_same_bytes_in_every_thread() -> None:
    photographs = [np.roll(skimage.data.coffee(), shift, axis=1) for shift in range(12)]
    alpha = ellipse(400, 600)
    expected = [png.encode_rgba(rgb, alpha) for rgb in photographs]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda rgb: png.encode_rgba(rgb, alpha), photographs)
        assert list(found) == expected


def test_scratch_memory_does_not_grow_with_the_picture() -> None:
    def scratch(height: int) -> int:
        rgb, alpha = np.zeros((height, 1000, 3), np.uint8), np.zeros((height, 1000), np.uint8)
        tracemalloc.start()
        png.encode_rgba(rgb, alpha)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert scratch(8000) < scratch(1000) + 500_000 < 5_000_000


PICTURE, MATTE = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize(
    ("rgb", "alpha", "complaint"),
    [
        (PICTURE.astype(np.float32), MATTE, r"rgb .* got float32 of shape \(4, 5, 3\)"),
        (PICTURE, MATTE.astype(np.bool_), r"alpha .* got bool of shape \(4, 5\)"),
        (PICTURE[..., :2], MATTE, r"rgb .* got uint8 of shape \(4, 5, 2\)"),
        (PICTURE[0], MATTE, r"rgb .* got uint8 of shape \(5, 3\)"),
        (PICTURE, MATTE[..., None], r"alpha .* got uint8 of shape \(4, 5, 1\)"),
        (PICTURE, MATTE.T, r"share height and width, got \(4, 5\) and \(5, 4\)"),
        (PICTURE[:0], MATTE[:0], r"at least one pixel, got uint8 of shape \(0, 5, 3\)"),
    ],
)
def test_what_is_no_picture_with_a_matte_is_refused(
    rgb: np.ndarray, alpha: np.ndarray, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        png.encode_rgba(rgb, alpha)


@pytest.mark.parametrize("pixels", [MATTE, PICTURE[:, :0], PICTURE.astype(np.uint16)])
def test_what_is_no_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"rgb must be uint8 of shape \(H, W, 3\)"):
        png.encode_rgb(pixels)


@pytest.mark.parametrize("pixels", [PICTURE, MATTE[:0], MATTE.astype(np.float64)])
def test_what_is_no_plane_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"grey must be uint8 of shape \(H, W\)"):
        png.encode_grey(pixels)
