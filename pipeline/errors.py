"""What ends a command, as opposed to what is wrong with one image."""

from __future__ import annotations


class UsageError(ValueError):
    """Arguments that cannot work; the message is one line that names the flag and what would do."""


class RunError(RuntimeError):
    """A run that could not go on; the message is one line, and what is committed stays."""
