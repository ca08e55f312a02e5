"""Peak memory of a program, measured in a process of its own."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys


def peak_rss() -> int:
    """Gives this process's greatest resident memory so far, in bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux's ru_maxrss begins with that of the process that started this one.
    with open("/proc/self/status") as status:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read())
    assert found
    return int(found[1]) << 10


def run_program(program: str) -> str:
    """Runs a Python program, which may import what tests import, and gives what it prints."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
