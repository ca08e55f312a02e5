"""A Hugging Face hub on loopback with an open, a gated, a missing model and one in pieces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34
FILES = {"model.safetensors": b"weights " * 4000, "config.json": b'{"patch_order": "rmbg2"}'}
PIECES = {
    "model-1-of-2.safetensors": b"some ",
    "model-2-of-2.safetensors": b"more",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1-of-2.safetensors",'
    b' "b": "model-2-of-2.safetensors", "c": "model-1-of-2.safetensors"}}',
    "config.json": b"{}",
}
TOKEN = "hf_good"


class _Hub(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        owner, _model, _, revision, name = self.path.lstrip("/").split("/")
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if owner == "nobody":
            return self._refuse(404, "RepoNotFound")
        if owner == "gated" and not authorised:
            return self._refuse(401, "GatedRepo")
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        files = PIECES if owner == "pieces" else FILES
        if name not in files:
            return self._refuse(404, "EntryNotFound")
        data = files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{name}-{len(data)}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _refuse(self, status, kind):
        self.send_response(status)
        self.send_header("X-Error-Code", kind)
        self.send_header("X-Error-Message", kind)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def hub() -> Iterator[str]:
    """Serves; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
