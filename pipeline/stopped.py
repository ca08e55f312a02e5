"""What is said of a run that could not go on."""

from __future__ import annotations

import logging
import re

from ..transforms.providers.errors import ProviderStoppedError
from .dataset import add_up, read_heads, read_plan
from .paths import DatasetPaths

_LOG = logging.getLogger("alphabeam")
_LONGEST = 500
_TRACEBACK = "Traceback (most recent call last):"
# What Beam adds to the messages of exceptions.
_STEP = re.compile(r" \[while running '[^']*'\]")


def told(output: str, error: BaseException) -> str:
    """Puts the end of a run into one line: why, what is committed, and what is left."""
    paths = DatasetPaths(output)
    plan = read_plan(paths)
    committed = add_up(read_heads(paths)).rows
    count = f"{committed:,} rows are committed"
    if plan is not None:
        left = plan.rows - committed
        count = f"{committed:,} of {plan.rows:,} rows are committed, {left:,} are left"
    return f"{_reason(error)}; {count}, and the same command goes on from there"


def _reason(error: BaseException) -> str:
    text = _STEP.sub("", " ".join(str(error).split()))
    # From a worker in another process it comes as the text of a traceback.
    _, name, stopped = text.rpartition(f"{ProviderStoppedError.__name__}: ")
    if name or isinstance(error, ProviderStoppedError):
        return f"{stopped[:_LONGEST]}; what was bought is kept"
    reason = _from_traceback(str(error)) or f"{type(error).__name__}: {text}"
    where = "" if _LOG.isEnabledFor(logging.DEBUG) else " (--verbose shows where it happened)"
    return f"the run stopped: {reason[:_LONGEST]}{where}"


def _from_traceback(text: str) -> str | None:
    """Finds the exception at the end of a traceback's text, as workers elsewhere send it."""
    if _TRACEBACK not in text:
        return None
    lines = text.rpartition(_TRACEBACK)[2].splitlines()
    ends = [line for line in lines if line and not line.startswith(" ")]
    return _STEP.sub("", ends[0]) if ends else None
