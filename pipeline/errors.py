"""What ends a command, as opposed to what is wrong with one image."""

from __future__ import annotations


class UsageError(ValueError):
    """Arguments that cannot work; the message is one line that names the flag and what would do."""


class DatasetDamaged(UsageError):
    """What is stored of a dataset's settings or plan cannot be read as such."""


class RunError(RuntimeError):
    """A run that could not go on; the message is one line, and what is committed stays."""


def in_a_line(error: BaseException) -> str:
    """Gives what an exception of somebody else's says, in one line of up to 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
