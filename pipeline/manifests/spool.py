"""Local copies of what is slow to reach again, on disk and bounded: gzip members, row groups."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

_MOST_BYTES = 16 << 30


@dataclass(frozen=True)
class LocalCopy:
    """One local copy: a file without a name, which is gone when nothing holds it any more.

    It leaves the disk when the process ends, however it ends. Reading takes no position, so
    several threads may do it.

    Attributes:
      index: what its writer says of where things lie in it.
      size: bytes.
    """

    index: Any
    size: int
    _file: BinaryIO

    def read_at(self, offset: int, size: int) -> bytes:
        """Reads up to `size` bytes from `offset` on; fewer at the end."""
        return os.pread(self._file.fileno(), size, offset)


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    copy: LocalCopy | None = None


class Spool:
    """Keeps the copies used last, up to a number of bytes.

    Args:
      limit: bytes; the copy asked for last is kept even beyond it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()

    def get(self, key: Hashable, write: Callable[[BinaryIO], Any]) -> LocalCopy:
        """Gives the copy of that key, made by one caller while the others wait.

        Args:
          key: names what is copied.
          write: fills the file and returns the copy's index.

        Raises:
          Exception: what `write` raised; the next caller tries again.
        """
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
        with slot.lock:
            if slot.copy is None:
                slot.copy = _make(write)
            copy = slot.copy
        self._evict(key)
        return copy

    def _evict(self, kept: Hashable) -> None:
        with self._lock:
            filled = {key: slot.copy for key, slot in self._slots.items() if slot.copy}
            total = sum(copy.size for copy in filled.values())
            for key, copy in filled.items():
                if total <= self.limit:
                    break
                if key != kept:
                    del self._slots[key]
                    total -= copy.size


def _make(write: Callable[[BinaryIO], Any]) -> LocalCopy:
    file: Any = tempfile.TemporaryFile(prefix="alphabeam-")  # noqa: SIM115 - the copy owns it
    try:
        index = write(file)
        file.flush()
    except BaseException:
        file.close()
        raise
    copy = LocalCopy(index, file.tell(), file)
    weakref.finalize(copy, file.close)
    return copy


def room() -> int:
    """Gives how many bytes of copies a process may keep: half of what its disk has free."""
    return min(_MOST_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2)


SPOOL = Spool(room())
