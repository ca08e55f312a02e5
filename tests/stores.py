"""Object stores on loopback, behind a door that counts what passes and can be told to make trouble.

The door also does what the GCS emulator leaves out and the real service does: it cuts listings into
pages, and refuses to create what exists.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
from gcp_storage_emulator.server import create_server
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from tenacity import retry, retry_if_exception_type, stop_after_attempt

BUCKET = "photo-bucket"

# Read when gcsfs is first imported; otherwise it asks Google for the kind of each bucket.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

Trouble = Callable[["Request"], "int | str | None"]


class Request(BaseHTTPRequestHandler):
    """One request on its way through the door."""

    protocol_version = "HTTP/1.1"
    door: Door
    body: bytes = b""

    @property
    def kind(self) -> str:
        """Gives what GCS bills: read, stat, list, write, copy or delete; elsewhere the method."""
        address = urlsplit(self.path)
        if address.path.startswith("/download/"):
            return "read"
        if address.path.startswith("/upload/"):
            return "write"
        if "/rewriteTo/" in address.path:
            return "copy"
        if self.command == "GET" and "/o/" in address.path:
            return "stat"
        if self.command == "GET" and address.path.endswith("/o"):
            return "list"
        return self.command.lower()

    @property
    def name(self) -> str:
        """Gives the name of the object in question."""
        described = re.search(rb'"name": *("(?:[^"\\]|\\.)*")', self.body[:2000])
        if self.kind == "write" and described:
            return json.loads(described[1])
        return unquote(urlsplit(self.path).path.rpartition("/o/")[2])

    def setup(self) -> None:
        self.door.connections += 1
        super().setup()

    def handle(self) -> None:
        with suppress(OSError):  # the client was killed
            super().handle()

    def pass_on(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        door = self.door
        with door.lock:
            door.requests[self.kind] += 1
            door.names.append((self.kind, self.name))
        wrong = door.trouble(self) if door.trouble else None
        if wrong == "lost":  # done, and nobody hears of it
            self._ask()
            self.close_connection = True
        elif wrong == "silence":
            self.door.closing.wait()
            self.close_connection = True
        elif isinstance(wrong, int):
            self._answer(wrong, [], json.dumps({"error": {"code": wrong, "message": ""}}).encode())
        else:
            self._answer(*self._ask())

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = pass_on  # noqa: N815

    def _ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        query = parse_qs(urlsplit(self.path).query)
        if query.get("ifGenerationMatch") == ["0"]:
            with self.door.creating:
                if self._exists():
                    return 412, [], b'{"error": {"code": 412, "message": "conditionNotMet"}}'
                return self._upstream()
        status, headers, body = self._upstream()
        if self.kind == "list" and status == 200:
            body = _page(json.loads(body), query)
            headers = [(name, value) for name, value in headers if name.lower() != "etag"]
        return status, headers, body

    def _exists(self) -> bool:
        fs = fsspec.filesystem("gs", endpoint_url=self.door.behind, token="anon")
        return fs.exists(f"{BUCKET}/{self.name}")

    # The emulators reset connections now and then on a busy machine, which is no request of ours.
    @retry(
        retry=retry_if_exception_type(ConnectionError), stop=stop_after_attempt(10), reraise=True
    )
    def _upstream(self) -> tuple[int, list[tuple[str, str]], bytes]:
        address = urlsplit(self.door.behind)
        upstream = http.client.HTTPConnection(address.hostname or "", address.port)
        try:
            upstream.request(self.command, self.path, self.body, dict(self.headers.items()))
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        head = self.command == "HEAD"
        self.send_response_only(status)
        ours = ("transfer-encoding", "connection", *(() if head else ("content-length",)))
        for name, value in headers:
            if name.lower() not in ours:
                self.send_header(name, value)
        if not head:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _page(listing: dict, query: dict[str, list[str]]) -> bytes:
    """Cuts a whole listing down to the page that was asked for."""
    start = query.get("pageToken", [""])[0]
    most = int(query.get("maxResults", ["1000"])[0])
    items = sorted(listing.get("items", []), key=lambda item: item["name"].encode())
    items = [item for item in items if item["name"].encode() >= start.encode()]
    listing["items"] = items[:most]
    if len(items) > most:
        listing["nextPageToken"] = items[most]["name"]
    return json.dumps(listing).encode()


class Door:
    """A server in front of a store.

    Attributes:
      behind: the store's address.
      address: the door's own.
      requests: counted by kind.
      names: each request's kind and object.
      connections: how many were made.
      trouble: asked of each request; gives the status to answer instead, `lost` for an answer that
        is lost after the work was done, `silence` for none at all, or None.
    """

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.requests: Counter[str] = Counter()
        self.names: list[tuple[str, str]] = []
        self.trouble: Trouble | None = None
        self.connections = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.creating = threading.Lock()
        handler = type("Request", (Request,), {"door": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def forget(self) -> None:
        self.requests.clear()
        self.names.clear()
        self.connections = 0
        self.trouble = None

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def gcs() -> Iterator[Door]:
    """Starts the GCS emulator; gcsfs and Beam find it, in this process and in those it starts."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    door = Door(f"http://127.0.0.1:{server._api._httpd.server_port}")
    environment = {"STORAGE_EMULATOR_HOST": door.address, "NO_GCE_CHECK": "true"}
    try:
        with patch.dict(os.environ, environment):
            yield door
    finally:
        _forget_connections("gs")
        door.close()
        server.stop()


@contextmanager
def s3() -> Iterator[Door]:
    """Starts moto's S3; s3fs finds it, in this process and in those it starts."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    door = Door(f"http://{host}:{port}")
    environment = {
        "AWS_ENDPOINT_URL": door.address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with patch.dict(os.environ, environment):
            fsspec.filesystem("s3").mkdir(BUCKET)
            yield door
    finally:
        _forget_connections("s3")
        door.close()
        s3_backends.reset()  # moto keeps one store a process
        server.stop()


def _forget_connections(scheme: str) -> None:
    """The next store is another one, under another address."""
    fsspec.get_filesystem_class(scheme).clear_instance_cache()
