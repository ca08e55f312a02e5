"""Pictures in stores: one request each, within the limits, and every trouble by its name."""

from __future__ import annotations

import os
import zipfile

import fsspec
import pytest
from website import Answer, Responder, Website, reset

from alphabeam.transforms.errors import FetchError
from alphabeam.transforms.stored import read_object

# gcsfs otherwise asks Google's control plane what kind of bucket each one is.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

XML = "<?xml version='1.0'?><Error><Code>{}</Code><Message>told so</Message></Error>"


class Store:
    """A website that speaks as much of one store's protocol as reading needs."""

    def __init__(self, site: Website, scheme: str) -> None:
        self.site = site
        self.scheme = scheme

    def put(self, name: str, *answers: Responder) -> str:
        folder = "/download/storage/v1/b/bucket/o/" if self.scheme == "gs" else "/bucket/"
        self.site.on(folder + name, *answers)
        return f"{self.scheme}://bucket/{name}"

    def refusal(self, status: int, code: str) -> Answer:
        text = (
            f'{{"error": {{"code": {status}, "message": "told so"}}}}'
            if self.scheme == "gs"
            else XML.format(code)
        )
        return Answer(text.encode(), status)


@pytest.fixture(params=["gs", "s3"])
def store(request, monkeypatch):
    with Website() as site:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", site.url(""))
        monkeypatch.setenv("AWS_ENDPOINT_URL", site.url(""))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        file_system = fsspec.get_filesystem_class(request.param)
        file_system.clear_instance_cache()
        yield Store(site, request.param)
        file_system.clear_instance_cache()


def trouble(uri: str, *, max_bytes: int = 10_000, timeout: float = 20) -> FetchError:
    with pytest.raises(FetchError) as caught:
        read_object(uri, max_bytes=max_bytes, timeout=timeout)
    assert caught.value.message.isprintable()
    return caught.value


def test_a_picture_takes_one_request(store):
    uris = [store.put(f"{n}.jpg", Answer(bytes([n]) * 5000, 206)) for n in range(1, 9)]
    for n, uri in enumerate(uris, start=1):
        assert read_object(uri, max_bytes=10_000, timeout=20) == bytes([n]) * 5000
    assert len(store.site.requests) == len(uris)
    assert {asked.headers["Range"] for asked in store.site.requests} == {"bytes=0-10000"}
    assert store.site.connections == 1


def test_one_byte_over_the_limit_is_too_large(store):
    uri = store.put("big", Answer(b"a" * 1001, 206))
    assert len(read_object(uri, max_bytes=1001, timeout=20)) == 1001
    error = trouble(uri, max_bytes=1000)
    assert (error.kind, error.retryable) == ("too_large", False)
    assert "--max_image_bytes" in error.message


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidArgument", "http_400"),
        (403, "AccessDenied", "permission"),
        (404, "NoSuchKey", "not_found"),
        (416, "InvalidRange", "empty"),
    ],
)
def test_refusals_are_named_alike_for_every_store(store, status, code, kind):
    error = trouble(store.put("a", store.refusal(status, code)))
    assert (error.kind, error.retryable) == (kind, False)


def test_a_picture_that_does_not_come_in_time_is_worth_another_try(store):
    drip = store.site.drip(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9999\r\n\r\n")
    error = trouble(store.put("slow", drip), timeout=0.3)
    assert (error.kind, error.retryable) == ("timeout", True)


def test_trouble_that_passes_within_the_time_is_not_even_seen(store):
    uri = store.put("a", reset, Answer(b"picture", 206))
    assert read_object(uri, max_bytes=100, timeout=20) == b"picture"


def test_memory_and_archives_are_stores_too(tmp_path):
    fsspec.filesystem("memory").pipe_file("/stored/a", b"picture")
    assert read_object("memory://stored/a", max_bytes=7, timeout=20) == b"picture"
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a", b"picture")
    uri = f"zip://a::file://{tmp_path}/all.zip"
    assert read_object(uri, max_bytes=7, timeout=20) == b"picture"
    assert trouble(uri, max_bytes=6).kind == "too_large"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("memory://stored/nothing", "not_found"),
        ("nonsense://bucket/a", "unknown_scheme"),
        ("oci://bucket@namespace/a", "missing_package"),
    ],
)
def test_what_cannot_be_read_is_named(uri, kind):
    error = trouble(uri)
    assert (error.kind, error.retryable) == (kind, False)
