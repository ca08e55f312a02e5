"""`alphabeam run` as a process that is killed, really, at a chosen point of a paid request's life."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import doomed
from standins.kinds import hurry

from alphabeam.pipeline import job
from alphabeam.pipeline.cli import main
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.transforms.providers.ledger import Ledger

# A picture's life goes on after its purchase: its unit is committed, then the dataset finished.
POINTS = (*doomed.POINTS, "before commit", "after commit", "before finish")


def start(flags: list[str], log: Path, point: str | None = None, times: int = 1) -> Any:
    """Starts a run in a process of its own.

    Args:
      flags: after `alphabeam run`.
      log: the file that takes what it says.
      point: where it is to be killed; None lets it live.
      times: how often it has to come there.
    """
    process = doomed.processes.Process(
        target=_run, args=(flags, dict(os.environ), log, point, times)
    )
    process.start()
    return process


def _run(
    flags: list[str], environment: dict[str, str], log: Path, point: str | None, times: int
) -> None:
    os.environ.update(environment)  # the fork server's is as old as its first process
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(said, stream.fileno())
    hurry()
    if point is not None:
        _arm(point, _last_of(times))
    sys.exit(main(["run", *flags]))


def _last_of(times: int) -> Callable[[], None]:
    passed = itertools.count(1)

    def strike() -> None:
        if next(passed) == times:
            doomed.die()

    return strike


def _arm(point: str, strike: Callable[[], None]) -> None:
    when, _, name = point.partition(" ")
    if name == "finish":
        job.finish = lambda _: strike()
    elif name == "commit":
        _arm_commit(when, strike)
    else:
        doomed.arm(Ledger, point, strike)


def _arm_commit(when: str, strike: Callable[[], None]) -> None:
    write = DatasetPaths.write

    def struck(self: DatasetPaths, path: str, data: bytes) -> None:
        is_marker = path.startswith(f"{self.MARKERS}/")
        if is_marker and when == "before":
            strike()
        write(self, path, data)
        if is_marker and when == "after":
            strike()

    DatasetPaths.write = struck
