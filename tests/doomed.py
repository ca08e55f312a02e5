"""Processes that buy pictures and are killed, really, at a chosen point of a purchase's life."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.ledger import Ledger
from alphabeam.transforms.providers.settings import Job, ProviderSettings

# A purchase's life, as calls of the ledger: between any two of them the process may end.
POINTS = (
    "before intend",
    "after intend",
    "before accept",
    "after accept",
    "before buy",
    "within buy",
    "after buy",
)

processes = multiprocessing.get_context("forkserver")
# Imported once, in the process that all others are forked from, so that these start at once.
processes.set_forkserver_preload(["alphabeam.pipeline.commands"])


def die() -> None:
    """Ends this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(ledger: type[Ledger], point: str, strike: Any) -> dict[str, Any]:
    """Makes a ledger's class strike at a point; gives what was there before."""
    when, _, name = point.partition(" ")
    if when == "within":  # the picture is stored, the entry that says so is not
        name = "_close"
    whole = getattr(ledger, name)

    def struck(self: Ledger, *args: Any, **kwargs: Any) -> Any:
        if when != "after":
            strike()
        found = whole(self, *args, **kwargs)
        if when == "after":
            strike()
        return found

    setattr(ledger, name, struck)
    return {name: whole}


def _buy(settings: ProviderSettings, jobs: list[Job], point: str | None) -> None:
    if point is not None:
        arm(Ledger, point, die)
    with Provider(settings) as provider:
        for future in provider.submit_all(jobs):
            future.exception(60)


def start(settings: ProviderSettings, jobs: list[Job], point: str | None = None) -> Any:
    """Starts a process that buys pictures, to be killed at a point, or left alone."""
    process = processes.Process(target=_buy, args=(settings, jobs, point))
    process.start()
    return process
