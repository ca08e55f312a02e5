"""Who is at work on something, and whether they still can be."""

from __future__ import annotations

import os
import platform
import uuid
from functools import cache

_SEPARATOR = "|"


def process(pid: int) -> str:
    """Names a process of this machine among all of all, so that others can tell when it has ended.

    The name holds the machine's boot, the process-id namespace (two containers of a machine do
    not see each other's processes), the process id and its start time.
    """
    return _SEPARATOR.join((_place(), str(pid), _start_time(pid)))


def has_ended(owner: str) -> bool:
    """Tells whether a process is certain to have ended; False when that cannot be seen from here.

    Args:
      owner: what `process` gave there; the empty string for one that has let go.
    """
    if not owner:
        return True
    place, pid, started = owner.split(_SEPARATOR)
    if place != _place():
        return False
    return not _runs(int(pid)) or _start_time(int(pid)) != started


@cache
def _place() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{platform.node()}:{uuid.getnode():x}"


def _start_time(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The second field, the program's name, may itself hold spaces and brackets.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    state, started = fields[0], fields[19]  # fields 3 and 22 of proc(5)
    return "" if state in "ZX" else started


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
