"""An engine whose process dies, as by `kill -9`, at the file write that ALPHABEAM_KILL_AT names.

Every file of a dataset comes into being by `os.replace`. Odd numbers die just before one (the
temporary file is left behind), even ones just after it.
"""

from __future__ import annotations

import itertools
import os
import signal

from stub_engines import Disc

_WRITES = itertools.count(1)
_REPLACE = os.replace


def _replace(source, destination):
    moment = 2 * next(_WRITES)
    if moment - 1 == _KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        _REPLACE(source, destination)
    finally:  # a move into a folder that is not there yet fails at first, and counts
        if moment == _KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)


_KILL_AT = int(os.environ["ALPHABEAM_KILL_AT"])
if _KILL_AT:
    os.replace = _replace


class Suicidal(Disc):
    """The disc again; importing its module is what is deadly."""
