"""Where the command line prints to: gone, closed, or a terminal that lacks the signs."""

import subprocess
import sys

import processes
from photographs import write_manifest

from alphabeam.pipeline.cli import main


def test_a_reader_that_has_gone_is_no_trouble():
    process = processes.start(
        "alphabeam.pipeline", "engines", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(120) == 141


def test_a_terminal_without_the_signs_is_printed_on_all_the_same():
    process = processes.start(
        "alphabeam.pipeline", "engines", env={"PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    printed, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")
    assert "1024\\xd71024" in printed


def test_streams_that_are_closed_are_no_trouble(tmp_path):
    manifest = write_manifest(str(tmp_path), 2)
    command = [sys.executable, "-m", "alphabeam.pipeline", "run", "--manifest", manifest]
    command += ["--output", str(tmp_path / "out"), "--no_report"]
    closed = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    assert subprocess.run(closed, timeout=120, check=False).returncode == 0
    assert main(["verify", str(tmp_path / "out")]) == 0
