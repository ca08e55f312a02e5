"""What ends a command, as opposed to what is wrong with one image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Arguments that cannot work; the message is one line that names the flag and what would do."""


class DatasetDamaged(UsageError):
    """What is stored of a dataset's settings or plan cannot be read as such."""


class RunError(RuntimeError):
    """A run that could not go on; the message is one line, and what is committed stays."""


def in_a_line(error: BaseException) -> str:
    """Gives what an exception of somebody else's says, in one line of up to 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextmanager
def store_told(told: str, hint: str = "") -> Iterator[None]:
    """Says in one line that a place in a store will not do; every store raises exceptions of its own.

    Args:
      told: the place and what cannot be done there.
      hint: what would do.

    Raises:
      UsageError: something was raised within.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{told}: {in_a_line(error)}{hint}") from error
