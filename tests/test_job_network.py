"""The main job over HTTP: pictures from a server, guarded addresses, limits, and the progress line."""

import fcntl
import functools
import http.server
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photographs import write_manifest, write_photographs
from test_job import errors_of, rows_of, run

from alphabeam.pipeline.verify import verify


@pytest.fixture
def server(tmp_path):
    """Serves a folder of photographs on loopback; gives its address."""
    write_photographs(str(tmp_path / "www"), 6)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def manifest_of(folder, addresses):
    pq.write_table(pa.table({"url": addresses}), folder / "m.parquet")
    return folder / "m.parquet"


def test_pictures_come_from_a_server_when_private_hosts_are_allowed(server, tmp_path):
    names = sorted(os.listdir(tmp_path / "www"))
    manifest = manifest_of(tmp_path, [f"{server}/{name}" for name in [*names, "gone.jpg"]])
    assert run(manifest, tmp_path / "out", "--allow_private_hosts") == 0
    assert {row["source_uri"] for row in rows_of(tmp_path / "out")} == {
        f"{server}/{name}" for name in names
    }
    assert [row["error"] for row in errors_of(tmp_path / "out")] == ["http_404"]
    assert verify(str(tmp_path / "out")).faults == ()


def test_private_addresses_are_refused_by_default(server, tmp_path):
    addresses = [
        f"{server}/coffee_0.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://[::ffff:127.0.0.1]/x.jpg",
        "http://2130706433/x.jpg",
    ]
    assert run(manifest_of(tmp_path, addresses), tmp_path / "out") == 0
    errors = errors_of(tmp_path / "out")
    assert [row["error"] for row in errors] == ["private_address"] * len(addresses)
    assert all("--allow_private_hosts" in row["message"] for row in errors)


def test_limits_on_bytes_and_pixels_make_error_rows(tmp_path):
    manifest = write_manifest(str(tmp_path), 6)
    sizes = sorted(
        (tmp_path / "photos" / name).stat().st_size for name in os.listdir(tmp_path / "photos")
    )
    run(manifest, tmp_path / "bytes", "--max_image_bytes", str(sizes[2]))
    errors = errors_of(tmp_path / "bytes")
    assert [row["error"] for row in errors] == ["too_large"] * 3
    assert all("--max_image_bytes" in row["message"] for row in errors)
    run(manifest, tmp_path / "pixels", "--max_image_pixels", "20000")
    assert {row["error"] for row in errors_of(tmp_path / "pixels")} == {"too_many_pixels"}


def test_a_terminal_shows_a_progress_line(tmp_path):
    manifest = write_manifest(str(tmp_path), 6)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [sys.executable, "-m", "alphabeam.pipeline", "run", "--manifest", manifest,
               "--output", str(tmp_path / "out"), "--no_report"]  # fmt: skip
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how a terminal says that the other side has hung up
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    last = shown.decode().replace("\r", "\n").strip().splitlines()[-1]
    assert "6/6" in last
    assert "errors=0" in last
    assert "image/s" in last or "s/image" in last
