"""The HTTP clients: what they connect to, what they refuse, keep, drop and leave unsaid."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from website import PUBLIC, Answer, Switchboard, Website, redirect

from alphabeam.transforms.guard import PrivateAddressError
from alphabeam.transforms.http import (
    deadline,
    guarded_async_client,
    guarded_client,
    resolve_host,
    shared_client,
)


class NameServer:
    """Gives a name's answers in turn, as a rebinding one does; the last one forever."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def site():
    with Website() as website:
        yield website


def test_the_checked_address_is_the_one_connected_to(site):
    names, network = NameServer([PUBLIC], ["127.0.0.1"]), Switchboard()
    site.on("/a", Answer(b"picture"))
    with guarded_client(resolve=names, network=network) as client:
        assert client.get(site.url("/a", host="rebind.example")).content == b"picture"
    assert names.asked == ["rebind.example"]
    assert network.reached == [PUBLIC]
    assert site.requests[0].headers["Host"] == f"rebind.example:{site.port}"


def test_a_name_that_turns_private_is_refused_on_the_next_connection(site):
    names, network = NameServer([PUBLIC], ["127.0.0.1"]), Switchboard()
    site.on("/a", Answer(b"picture", headers={"Connection": "close"}))
    with guarded_client(resolve=names, network=network) as client:
        client.get(site.url("/a", host="rebind.example"))
        with pytest.raises(PrivateAddressError, match=r"rebind\.example \(127\.0\.0\.1\)"):
            client.get(site.url("/a", host="rebind.example"))
    assert network.reached == [PUBLIC]


def test_a_redirect_to_a_private_address_is_refused(site):
    network = Switchboard()
    site.on("/a", redirect(site.url("/secret")))
    with (
        guarded_client(
            resolve=lambda host, port: [PUBLIC] if host == "pictures.example" else [host],
            network=network,
        ) as client,
        pytest.raises(PrivateAddressError),
    ):
        client.get(site.url("/a", host="pictures.example"), follow_redirects=True)
    assert network.reached == [PUBLIC]
    assert [asked.path for asked in site.requests] == ["/a"]


def test_the_next_address_is_tried_when_one_is_dead(site):
    site.on("/a", Answer(b"picture"))
    with guarded_client(
        allow_private_hosts=True, resolve=lambda host, port: ["127.0.0.99", "127.0.0.1"]
    ) as client:
        assert client.get(site.url("/a", host="pictures.example")).content == b"picture"


@pytest.mark.parametrize("spelling", ["127.1", "0x7f.1", "2130706433", "0177.1", "127.0.0.1"])
def test_odd_spellings_are_resolved_as_the_system_reads_them(spelling):
    assert resolve_host(spelling, 80) == ["127.0.0.1"]


def test_connections_are_kept_and_cookies_are_not(site):
    url = site.on("/a", Answer(b"picture", headers={"Set-Cookie": "track=1; Path=/"}))
    with guarded_client(allow_private_hosts=True) as client:
        for _ in range(3):
            client.get(url)
        assert len(client.cookies) == 0
    assert site.connections == 1
    assert all("Cookie" not in asked.headers for asked in site.requests)


def test_proxies_of_the_environment_are_not_used(site, monkeypatch):
    with Website() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        url = site.on("/a", Answer(b"picture"))
        with guarded_client(allow_private_hosts=True) as client:
            assert client.get(url).content == b"picture"
        assert proxy.requests == []


def test_signatures_do_not_reach_the_log(site, caplog):
    url = site.on("/a", Answer(b"picture"))
    with guarded_client(allow_private_hosts=True) as client, caplog.at_level(logging.INFO):
        client.get(f"{url}?signature=s3cr3t")
    assert site.requests[0].path.endswith("s3cr3t")
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"]
)
def test_a_deadline_ends_a_server_that_drips(site, head):
    url = site.on("/slow", site.drip(head))
    with (
        guarded_client(allow_private_hosts=True) as client,
        deadline(0.2),
        pytest.raises(httpx.TimeoutException),
    ):
        client.get(url, timeout=60)


def test_the_async_client_refuses_and_connects_as_the_other_does(site):
    site.on("/a", Answer(b"picture"))

    async def visit() -> None:
        async with guarded_async_client() as guarded:
            for host in ("127.0.0.1", "127.1", "localhost", "[::ffff:127.0.0.1]"):
                with pytest.raises(PrivateAddressError):
                    await guarded.get(site.url("/a", host=host))
        async with guarded_async_client(
            allow_private_hosts=True, resolve=lambda host, port: ["127.0.0.99", "127.0.0.1"]
        ) as free:
            answer = await free.get(site.url("/a", host="pictures.example"))
            assert answer.content == b"picture"

    asyncio.run(visit())
    assert len(site.requests) == 1


def test_tls_is_checked_against_the_name_not_the_address(tmp_path):
    server, trusted = certificate_for("pictures.example", tmp_path)
    with (
        Website(tls=server) as site,
        guarded_client(
            allow_private_hosts=True, verify=trusted, resolve=lambda host, port: ["127.0.0.1"]
        ) as client,
    ):
        site.on("/a", Answer(b"picture"))
        assert client.get(site.url("/a", host="pictures.example")).content == b"picture"
        with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
            client.get(site.url("/a", host="other.example"))


def certificate_for(name: str, folder) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Makes a self-signed certificate; gives the server's context and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(private + public)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=public.decode())


def test_a_process_has_one_client_for_each_kind_of_trust():
    assert shared_client(True) is shared_client(True)
    assert shared_client(True) is not shared_client(False)


FORKED = """
import os, sys
from alphabeam.transforms.http import shared_client
url = sys.argv[1]
before = shared_client(True)
assert before.get(url).content == b"picture"
child = os.fork()
if child == 0:
    client = shared_client(True)
    os._exit(0 if client is not before and client.get(url).content == b"picture" else 1)
assert os.waitpid(child, 0)[1] == 0
assert shared_client(True) is before
assert before.get(url).content == b"picture"
"""


def test_a_forked_process_opens_connections_of_its_own(site):
    url = site.on("/a", Answer(b"picture"))
    subprocess.run([sys.executable, "-c", FORKED, url], check=True, timeout=60)
    assert len(site.requests) == 3
    assert site.connections == 2
