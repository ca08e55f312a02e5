"""Processes of their own, as a user would start them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

HERE = os.path.dirname(__file__)


def environment(**others: str) -> dict[str, str]:
    """Gives an environment in which `python` is this one, and finds the tests' modules."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": HERE, **others}


def start(
    *arguments: str, env: Mapping[str, str] | None = None, **options: object
) -> subprocess.Popen:
    """Starts `python -m` with arguments, and more in its environment."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(command, env=environment(**(env or {})), text=True, **options)  # type: ignore


def run(*arguments: str, cwd: object = None) -> subprocess.CompletedProcess:
    """Runs `python -m` with arguments to its end."""
    process = start(*arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def wait_until(true: Callable[[], object], process: subprocess.Popen, seconds: float = 120) -> None:
    """Waits until something holds, while a process lives."""
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def server(port: int, *arguments: str, cwd: object = None) -> Iterator[None]:
    """Runs a server, until the block ends, from when it answers at a port."""
    process = start(*arguments, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
