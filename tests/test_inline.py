"""Data URIs and base64 pictures: told from paths, decoded exactly, refused when damaged or big."""

from __future__ import annotations

import base64
import io
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from alphabeam.transforms.errors import FetchError
from alphabeam.transforms.inline import decode_inline, is_inline

LIMIT = 10_000_000


def encoded(form: str) -> bytes:
    target = io.BytesIO()
    Image.fromarray(data.astronaut()[:64, :64]).save(target, form)
    return target.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_bare_base64_of_a_picture_is_recognised_and_decoded(form):
    picture = encoded(form)
    text = base64.b64encode(picture).decode()
    wrapped = base64.encodebytes(picture).decode()
    url_safe = base64.urlsafe_b64encode(picture).decode().rstrip("=")
    for spelling in (text, wrapped, url_safe, f"  {text}\n"):
        assert is_inline(spelling)
        assert decode_inline(spelling, LIMIT) == picture


@given(st.lists(st.text(alphabet="abc9j/RGPUik0-_ ", min_size=1), min_size=1), st.text(max_size=3))
@settings(deadline=None, max_examples=100)
def test_a_path_with_an_extension_is_never_taken_for_base64(parts, name):
    assert not is_inline("/" + "/".join(parts) + f"/{name}.jpg")


@pytest.mark.parametrize(
    "path",
    [
        "/home/someone/pictures/2024/summer/holiday/beach/sunset",
        "/data/iVBORw0KGgo/R0lGODdh/UklGR/pictures/and/more/pictures",
        "/9j/4AAQ",
        "https://example.com/iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
        "gs://bucket/9j/4AAQSkZJRgABAQAAAQABAAD",
        "",
    ],
)
def test_names_of_pictures_are_not_pictures(path):
    assert not is_inline(path)


@given(
    st.binary(max_size=300),
    st.sampled_from(["", "image/png", "image/svg+xml;charset=utf-8", "image/jpeg;name=a%2Cb"]),
    st.sampled_from(["data:", "DATA:"]),
)
@settings(deadline=None, max_examples=100)
def test_data_uris_give_back_what_was_written(content, media_type, scheme):
    standard = base64.b64encode(content).decode()
    spellings = [
        f"{media_type};base64,{standard}",
        f"{media_type};BASE64,{standard.rstrip('=')}",
        f"{media_type};base64,{quote(standard, safe='')}",
        f"{media_type};base64,{base64.urlsafe_b64encode(content).decode()}",
        f"{media_type};base64,{base64.encodebytes(content).decode()}",
        f"{media_type},{quote(content, safe='')}",
    ]
    for spelling in spellings:
        assert is_inline(scheme + spelling)
        assert decode_inline(scheme + spelling, LIMIT) == content


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("data:image/png;base64", "bad_data_uri"),
        ("data:image/png;base64,AAAAA", "bad_base64"),
        ("data:image/png;base64,AA!A", "bad_base64"),
        ("data:image/png;base64,AA=AAAAA", "bad_base64"),
        ("data:image/png;base64,Ω", "bad_base64"),
        ("iVBORw0KGgo" + "A" * 500 + "é", "bad_base64"),
    ],
)
def test_damage_is_named(source, kind):
    assert is_inline(source)
    with pytest.raises(FetchError) as trouble:
        decode_inline(source, LIMIT)
    assert trouble.value.kind == kind
    assert not trouble.value.retryable


@given(st.integers(0, 200), st.integers(1, 200), st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_limit_is_met_exactly(size, limit, as_base64):
    content = b"\xff" * size
    payload = base64.b64encode(content).decode() if as_base64 else quote(content)
    source = f"data:{';base64' if as_base64 else ''},{payload}"
    if size <= limit:
        assert decode_inline(source, limit) == content
    else:
        with pytest.raises(FetchError, match="--max_image_bytes") as trouble:
            decode_inline(source, limit)
        assert trouble.value.kind == "too_large"
