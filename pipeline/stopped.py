"""What is said of a run that could not go on."""

from __future__ import annotations

import re

from ..transforms.providers.errors import ProviderStoppedError
from .dataset import add_up, read_heads, read_plan
from .paths import DatasetPaths

_LONGEST = 500
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
    return (
        f"the run stopped: {type(error).__name__}: {text[:_LONGEST]} "
        "(--verbose shows where it happened)"
    )
