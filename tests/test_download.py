"""One HTTP download: its limits hold while it streams, and whatever goes wrong has a name."""

from __future__ import annotations

import gzip
import ssl
import zlib
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from website import PUBLIC, Answer, Switchboard, Website, raw, redirect, reset

from alphabeam.transforms.download import download, retry_after_seconds
from alphabeam.transforms.errors import FetchError
from alphabeam.transforms.http import guarded_client

LIMIT = 1_000_000
TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(scope="module")
def client():
    with guarded_client(allow_private_hosts=True) as one:
        yield one


@pytest.fixture
def site():
    with Website() as website:
        yield website


def get(client, url: str, max_bytes: int = LIMIT, timeout: float = 20, redirects: int = 5) -> bytes:
    return download(client, url, max_bytes=max_bytes, timeout=timeout, max_redirects=redirects)


def trouble(client, url: str, **limits) -> FetchError:
    with pytest.raises(FetchError) as caught:
        get(client, url, **limits)
    assert "\n" not in caught.value.message
    return caught.value


def test_a_photograph_comes_whole_and_is_asked_for_uncompressed(client, site, astronaut_jpeg):
    assert get(client, site.on("/a.jpg", Answer(astronaut_jpeg))) == astronaut_jpeg
    assert site.requests[0].headers["Accept-Encoding"] == "identity"
    assert site.requests[0].headers["User-Agent"].startswith("alphabeam/")


def test_chunks_are_joined(client, site):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    url = site.on("/a", raw(head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"))
    assert get(client, url) == b"abcdefg"


def test_redirects_are_followed_up_to_the_limit_on_one_connection(client, site):
    for step in range(6):
        site.on(f"/{step}", redirect(f"/{step + 1}", status=(301, 302, 303, 307, 308)[step % 5]))
    site.on("/6", Answer(b"picture"))
    assert get(client, site.url("/1"), redirects=5) == b"picture"
    assert site.connections == 1
    error = trouble(client, site.url("/0"), redirects=5)
    assert (error.kind, error.retryable) == ("too_many_redirects", False)
    assert "5" in error.message


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gs://bucket/a", "FILE:///a"]
)
def test_redirects_lead_to_the_web_only(client, site, location):
    error = trouble(client, site.on("/a", redirect(location)))
    assert (error.kind, error.retryable) == ("bad_redirect", False)
    assert location.partition(":")[0].lower() in error.message


def test_the_guard_stands_between_redirects(site):
    network = Switchboard()
    site.on("/a", redirect("/b"))
    site.on("/b", redirect(site.url("/secret")))
    with guarded_client(
        resolve=lambda host, port: [PUBLIC] if host == "pictures.example" else [host],
        network=network,
    ) as guarded:
        error = trouble(guarded, site.url("/a", host="pictures.example"))
    assert (error.kind, error.retryable) == ("private_address", False)
    assert "--allow_private_hosts" in error.message
    assert network.reached == [PUBLIC]
    assert [asked.path for asked in site.requests] == ["/a", "/b"]


def test_a_login_in_the_address_does_not_follow_to_another_host(client, site):
    with Website() as other:
        other.on("/b", Answer(b"picture"))
        site.on("/a", redirect(other.url("/b")))
        assert get(client, site.url("/a", host="me:secret@127.0.0.1")) == b"picture"
        assert "Authorization" in site.requests[0].headers
        assert "Authorization" not in other.requests[0].headers


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (304, 400, 401, 403, 404, 410)),
        *((status, True) for status in (408, 425, 429, 500, 502, 503, 504)),
    ],
)
def test_statuses_are_named_and_sorted_by_whether_they_may_pass(client, site, status, retryable):
    error = trouble(client, site.on("/a", Answer(b"", status)))
    assert (error.kind, error.retryable) == (f"http_{status}", retryable)
    assert f"HTTP {status}" in error.message


def test_a_refusal_leaves_the_connection_open(client, site, astronaut_jpeg):
    site.on("/missing", Answer(b"<html>not here</html>", 404))
    site.on("/a", Answer(astronaut_jpeg))
    trouble(client, site.url("/missing"))
    assert get(client, site.url("/a")) == astronaut_jpeg
    assert site.connections == 1


def test_an_announced_size_over_the_limit_is_refused_unread(client, site):
    url = site.on("/a", site.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"))
    error = trouble(client, url, max_bytes=1000)
    assert (error.kind, error.retryable) == ("too_large", False)
    assert "1,001" in error.message
    assert "--max_image_bytes" in error.message


@pytest.mark.parametrize("framing", ["Connection: close", "Transfer-Encoding: chunked"])
def test_an_unannounced_size_over_the_limit_is_cut_off(client, site, framing):
    body = b"7d0\r\n" + b"a" * 2000 if "chunked" in framing else b"a" * 2000
    url = site.on("/a", site.drip(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + body))
    assert trouble(client, url, max_bytes=1000).kind == "too_large"


def test_the_limit_itself_is_allowed(client, site):
    url = site.on("/a", Answer(b"a" * 1000))
    assert len(get(client, url, max_bytes=1000)) == 1000
    assert trouble(client, url, max_bytes=999).kind == "too_large"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"a" * 600,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"a" * 600,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n"
        + gzip.compress(bytes(range(256)) * 9)[:-30],
    ],
)
def test_a_body_that_ends_too_early_is_truncated_and_worth_another_try(client, site, answer):
    error = trouble(client, site.on("/a", raw(answer)))
    assert (error.kind, error.retryable) == ("truncated", True)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 99999\r\n\r\n",
    ],
)
def test_a_server_that_drips_is_ended_by_the_time_limit(client, site, head):
    error = trouble(client, site.on("/slow", site.drip(head)), timeout=0.2)
    assert (error.kind, error.retryable) == ("timeout", True)
    assert "0.2 s" in error.message


@pytest.mark.parametrize("answer", [reset, raw(b""), raw(b"HTTP/1.1 2"), raw(b"SSH-2.0-x\r\n")])
def test_a_connection_that_breaks_before_an_answer_is_worth_another_try(client, site, answer):
    error = trouble(client, site.on("/a", answer))
    assert (error.kind, error.retryable) == ("connection", True)


def test_nobody_listening_is_worth_another_try(client):
    with Website() as gone:
        url = gone.url("/a")
    assert trouble(client, url).kind == "connection"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_compression_nobody_asked_for_is_undone(client, site, astronaut_jpeg, encoding):
    packed = (
        zlib.compress(astronaut_jpeg) if encoding == "deflate" else gzip.compress(astronaut_jpeg)
    )
    url = site.on("/a", Answer(packed, headers={"Content-Encoding": encoding}))
    assert get(client, url) == astronaut_jpeg


def test_a_compressed_bomb_is_cut_off_at_the_limit(client, site):
    bomb = gzip.compress(b"\0" * 60_000_000, compresslevel=1)
    assert len(bomb) < LIMIT
    url = site.on("/a", Answer(bomb, headers={"Content-Encoding": "gzip"}))
    assert trouble(client, url).kind == "too_large"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip"])
def test_other_encodings_and_lies_about_them_are_refused(client, site, encoding):
    url = site.on("/a", Answer(b"not packed at all", headers={"Content-Encoding": encoding}))
    error = trouble(client, url)
    assert (error.kind, error.retryable) == ("bad_encoding", False)


@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_answer_is_no_picture(client, site, status):
    assert trouble(client, site.on("/a", Answer(b"", status))).kind == "empty"


@pytest.mark.parametrize("url", ["http://", "http:///a", "http://127.0.0.1:http/"])
def test_addresses_that_are_none_are_named(client, url):
    assert trouble(client, url).kind == "bad_url"


def test_an_unknown_host_is_no_dns_trouble_that_passes(client):
    error = trouble(client, f"http://{'a' * 64}.example/")
    assert (error.kind, error.retryable) == ("dns", False)


def said(answer: bytes) -> bytes | FetchError:
    """What comes of an answer from a server on the internet."""
    network = httpcore.MockBackend([answer, b""])
    with guarded_client(
        verify=TRUSTING_NOBODY, resolve=lambda host, port: ["8.8.8.8"], network=network
    ) as client:
        try:
            return get(client, "http://pictures.example/", max_bytes=100)
        except FetchError as error:
            return error


@given(st.binary(max_size=400), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 "]))
@settings(deadline=None, max_examples=100)
def test_whatever_a_server_says_ends_in_bytes_or_a_fetch_error(answer, head):
    outcome = said(head + answer)
    assert outcome if isinstance(outcome, bytes) else outcome.message.isprintable()


@given(
    st.lists(
        st.sampled_from(
            [
                "Content-Length: 5",
                "Content-Length: 7",
                "Content-Length: -1",
                f"Content-Length: {'9' * 5000}",
                "Transfer-Encoding: chunked",
                "Content-Encoding: gzip",
                f"Retry-After: {'9' * 5000}",
                "Location: http://\0",
                "Location: //[",
                "Location: data:,a",
                "Location: ",
            ]
        ),
        max_size=4,
    ),
    st.sampled_from([200, 206, 301, 429, 503]),
)
@settings(deadline=None, max_examples=100)
def test_lies_in_headers_end_in_bytes_or_a_fetch_error(headers, status):
    outcome = said("\r\n".join([f"HTTP/1.1 {status} X", *headers, "", "hello"]).encode())
    assert outcome == b"hello" if isinstance(outcome, bytes) else outcome.message.isprintable()


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_retry_after_reads_seconds_and_dates(seconds):
    assert retry_after_seconds(str(seconds)) == seconds
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    then = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    told = retry_after_seconds(format_datetime(then, usegmt=True))
    assert told is not None
    assert abs(told - seconds) < 5


@given(st.text(max_size=40) | st.none())
@settings(deadline=None, max_examples=100)
def test_retry_after_that_says_nothing_is_none_or_seconds(value):
    told = retry_after_seconds(value)
    assert told is None or told >= 0
