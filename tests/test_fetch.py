"""Fetching a picture from wherever it is: every kind of source, limits, retries, messages."""

from __future__ import annotations

import base64
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from urllib.parse import quote

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from website import Answer, Website, raw, redirect, reset

from alphabeam.transforms.errors import FetchError
from alphabeam.transforms.fetch import Fetched, FetchLimits, fetch, shown
from alphabeam.transforms.persistence import LONGEST_RETRY_AFTER

LIMITS = FetchLimits(allow_private_hosts=True)
GUARDED = FetchLimits()


@pytest.fixture
def site():
    with Website() as website:
        yield website


def trouble(source: str | bytes, limits: FetchLimits = LIMITS, sleep=None) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch(source, limits, sleep=sleep or (lambda seconds: None))
    assert type(caught.value) is FetchError
    assert caught.value.message.isprintable()
    return caught.value


def test_the_same_photograph_comes_from_every_kind_of_source(tmp_path, site, astronaut_jpeg):
    path = tmp_path / "a picture & 100%.jpg"
    path.write_bytes(astronaut_jpeg)
    fsspec.filesystem("memory").pipe_file("/fetch/a.jpg", astronaut_jpeg)
    text = base64.b64encode(astronaut_jpeg).decode()
    sources = [
        astronaut_jpeg,
        str(path),
        path.as_uri(),
        path.as_uri().replace("file://", "FILE://localhost"),
        site.on("/a.jpg", Answer(astronaut_jpeg)),
        site.on("/moved", redirect("/a.jpg")),
        "memory://fetch/a.jpg",
        f"data:image/jpeg;base64,{text}",
        f"data:,{quote(astronaut_jpeg)}",
        text,
    ]
    for source in sources:
        assert fetch(source, LIMITS) == Fetched(astronaut_jpeg, attempts=1)


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    kinds = {
        f"{tmp_path}/missing.jpg": "not_found",
        f"{tmp_path}/empty/a.jpg": "not_found",
        str(tmp_path): "not_a_file",
        f"{tmp_path}/pipe": "not_a_file",
        "/dev/zero": "not_a_file",
        f"{tmp_path}/empty": "empty",
        f"{tmp_path}/circle": "bad_path",
        f"{tmp_path}/a\0b": "bad_path",
        f"{tmp_path}/{'a' * 5000}": "bad_path",
        "file://server/share/a.jpg": "bad_path",
        "file://[": "bad_path",
        "": "not_found",
        b"": "empty",
        "data:,": "empty",
    }
    for source, kind in kinds.items():
        error = trouble(source)
        assert (error.kind, error.retryable, error.attempts) == (kind, False, 1), source


def test_a_disk_in_trouble_is_worth_another_run():
    error = trouble("/proc/self/mem")  # a file whose first byte cannot be read
    assert (error.kind, error.retryable) == ("io", True)


@given(st.integers(1, 300), st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_the_limit_holds_alike_for_every_kind_of_source(tmp_path_factory, size, limit):
    content = b"\xff" * size
    path = tmp_path_factory.getbasetemp() / "limited"
    path.write_bytes(content)
    fsspec.filesystem("memory").pipe_file("/fetch/limited", content)
    text = base64.b64encode(content).decode()
    for source in (content, str(path), "memory://fetch/limited", f"data:;base64,{text}"):
        if size <= limit:
            assert fetch(source, FetchLimits(max_bytes=limit)).data == content
        else:
            error = trouble(source, FetchLimits(max_bytes=limit))
            assert (error.kind, error.retryable) == ("too_large", False)
            assert f"{limit:,}" in error.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "HtTp://127.0.0.1:8080/a.jpg",
        "https://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://LOCALHOST./",
        "http://example.com@127.0.0.1/",
        "http://10.0.0.1#@example.com/",
        "zip://a.jpg::https://127.0.0.1/all.zip",
    ],
)
def test_private_addresses_are_refused_at_once_in_every_spelling(url):
    error = trouble(url, GUARDED)
    assert (error.kind, error.retryable, error.attempts) == ("private_address", False, 1)
    assert "--allow_private_hosts" in error.message


@given(st.ip_addresses(v=4, network="127.0.0.0/8"))
@settings(deadline=None, max_examples=50)
def test_no_number_that_means_this_machine_is_reached(address):
    number = int(address)
    a, b, c, d = address.packed
    spellings = [
        str(address),
        str(number),
        hex(number),
        f"{a}.{number & 0xFFFFFF}",
        f"{a:#x}.{b}.{c << 8 | d}",
        f"[::ffff:{address}]",
    ]
    for host in spellings:
        assert trouble(f"http://{host}/", GUARDED).kind == "private_address"


@pytest.mark.parametrize(
    "hindrance",
    [
        Answer(status=503),
        Answer(status=500),
        Answer(status=429),
        reset,
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
    ],
)
def test_what_may_pass_is_tried_again_after_growing_pauses(site, astronaut_jpeg, hindrance):
    pauses: list[float] = []
    url = site.on("/a", hindrance, hindrance, hindrance, Answer(astronaut_jpeg))
    assert fetch(url, LIMITS, sleep=pauses.append) == Fetched(astronaut_jpeg, attempts=4)
    assert len(pauses) == 3
    assert all(0 <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses))


def test_a_server_too_slow_at_first_is_tried_again(site):
    url = site.on("/a", site.drip(b"HTTP/1.1 200 OK\r\n"), Answer(b"picture"))
    limits = FetchLimits(timeout=0.3, allow_private_hosts=True)
    assert fetch(url, limits, sleep=lambda seconds: None) == Fetched(b"picture", attempts=2)


def test_the_last_trouble_is_told_with_the_number_of_attempts(site):
    url = site.on("/a", Answer(status=500), Answer(status=502), Answer(status=503))
    error = trouble(url, FetchLimits(attempts=3, allow_private_hosts=True))
    assert (error.kind, error.retryable, error.attempts) == ("http_503", True, 3)
    assert len(site.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_what_cannot_pass_is_asked_once(site, status):
    error = trouble(site.on("/a", Answer(status=status)))
    assert (error.kind, error.retryable, error.attempts) == (f"http_{status}", False, 1)
    assert len(site.requests) == 1


def in_seconds(seconds: int) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("written", [str, in_seconds])
def test_the_pause_a_server_asks_for_is_kept(site, written):
    pauses: list[float] = []
    busy = Answer(status=429, headers={"Retry-After": written(50)})
    url = site.on("/a", busy, Answer(b"picture"))
    assert fetch(url, LIMITS, sleep=pauses.append).attempts == 2
    assert 20 < pauses[0] <= 50.5


def test_a_pause_longer_than_a_picture_may_wait_is_left_to_a_later_run(site):
    asked = f"{LONGEST_RETRY_AFTER + 1:.0f}"
    url = site.on("/a", Answer(status=503, headers={"Retry-After": asked}), Answer(b"picture"))
    error = trouble(url, sleep=pytest.fail)
    assert (error.kind, error.retryable, error.attempts) == ("http_503", True, 1)
    assert f"{asked} s" in error.message


def test_many_threads_share_the_connections(site, astronaut_jpeg):
    urls = [site.on(f"/{n}", Answer(astronaut_jpeg + bytes([n]))) for n in range(50)]
    with ThreadPoolExecutor(16) as pool:
        fetched = list(pool.map(lambda url: fetch(url, LIMITS).data, urls * 4))
    assert fetched == [astronaut_jpeg + bytes([n]) for n in range(50)] * 4
    assert site.connections <= 16


def test_messages_hold_no_secrets(site):
    url = site.on("/a", Answer(status=403))
    secret = url.replace("://", "://me:passw0rd@") + "?X-Signature=s3cr3t#token"
    message = str(trouble(secret))
    assert message.startswith(f"{url}?…: HTTP 403")
    for hidden in ("passw0rd", "s3cr3t", "token"):
        assert hidden not in message
    moved = site.on("/moved", redirect(f"ftp://me:passw0rd@127.0.0.1/?{secret}"))
    assert "passw0rd" not in str(trouble(moved))


def test_messages_hold_no_data(astronaut_jpeg):
    text = base64.b64encode(astronaut_jpeg).decode()
    for source in (astronaut_jpeg, text, f"data:image/jpeg;base64,{text}"):
        message = str(trouble(source, FetchLimits(max_bytes=100)))
        assert len(message) < 200


@given(st.text(max_size=400) | st.binary(max_size=20))
@settings(deadline=None, max_examples=100)
def test_a_source_is_always_shown_short_and_on_one_line(source):
    name = shown(source)
    assert name.isprintable()
    assert len(name) <= 160


@given(st.from_regex(r"[a-z0-9]{1,20}:[a-z0-9]{4,20}", fullmatch=True), st.text(min_size=4))
@settings(deadline=None, max_examples=100)
def test_logins_and_queries_are_never_shown(login, query):
    for scheme in ("https", "s3", "zip://a.jpg::https"):
        assert shown(f"{scheme}://{login}@host/~a.jpg?{query}").endswith("://host/~a.jpg?…")


@given(st.text(max_size=80))
@settings(deadline=None, max_examples=100)
def test_any_text_ends_in_bytes_or_a_fetch_error(text):
    limits = FetchLimits(attempts=1)
    for source in (f"/nowhere/{text}", f"http://127.0.0.1:9/{text}", f"memory://nowhere/{text}"):
        trouble(source, limits)
    for source in (f"data:{text}", f"file://{text}", f"http://[{text}/", f"{text}://"):
        outcome = outcome_of(source, limits)
        assert outcome if isinstance(outcome, bytes) else outcome.message.isprintable()


def outcome_of(source: str, limits: FetchLimits) -> bytes | FetchError:
    try:
        return fetch(source, limits).data
    except FetchError as error:
        return error


def test_trouble_travels_between_processes_whole(site):
    error = trouble(site.on("/a", Answer(status=503)))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.kind, copy.retryable, copy.attempts) == (error.kind, True, 4)
