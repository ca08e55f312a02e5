"""What of all that is logged a user gets to read."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from typing import Any

# Where Beam logs the traceback of what ends a run, which is told in one line.
_TRACEBACKS = (
    "apache_beam.runners.common",
    "apache_beam.runners.direct.executor",
    "apache_beam.runners.worker.sdk_worker",
)
_OF_A_WORKER = "Worker: %s"

# Where Google's libraries, which Beam imports, advise against the user's Python, each for itself.
_ADVICE = "google.api_core._python_version_support"


def set_up_logging(verbose: bool) -> None:
    """Sends warnings, and what alphabeam has to say, to the standard error stream.

    Args:
      verbose: also show where in the code a run stopped.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_of_use)
        if not verbose:
            handler.addFilter(_is_in_place)
    logging.getLogger("alphabeam").setLevel(logging.DEBUG if verbose else logging.INFO)
    _silence_advice()


def _silence_advice() -> None:
    """Drops the warnings of Google's libraries about old Pythons, which this package still takes.

    In Beam's worker processes, too. What the user said of warnings has the last word.
    """
    warnings.filterwarnings("ignore", "", FutureWarning, re.escape(_ADVICE), append=True)
    ours = f"ignore::FutureWarning:{_ADVICE}"
    said = os.environ.get("PYTHONWARNINGS", "")
    if ours not in said:
        os.environ["PYTHONWARNINGS"] = f"{ours},{said}".rstrip(",")  # the last one counts


def _is_of_use(record: logging.LogRecord) -> bool:
    """Drops what Beam says of BigQuery clients that nobody asked for, and its tracebacks of ends
    that have a line of their own."""
    if type(record.msg).__name__ == "ProviderStoppedError":
        return False
    return not str(record.msg).startswith("apitools not found")


def _is_in_place(record: logging.LogRecord) -> bool:
    """Drops Beam's and gcsfs's tracebacks, and what its workers in other processes say of themselves."""
    if record.name in _TRACEBACKS and record.levelno >= logging.WARNING:
        return False
    if record.name == "gcsfs" and record.exc_info:  # raised as well, and told in one line
        return False
    if record.msg == _OF_A_WORKER and record.args:
        entry = _entry(record.args)
        record.msg, record.args = entry.message, ()
        return "/apache_beam/" not in entry.log_location
    return True


def _entry(arguments: Any) -> Any:
    """Reads a worker's log entry, which Beam hands on as text."""
    from apache_beam.portability.api import beam_fn_api_pb2
    from google.protobuf import text_format

    return text_format.Parse(arguments[0], beam_fn_api_pb2.LogEntry())
