"""Two lists of files, however long, compared in a fixed amount of memory."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BUCKETS = 1 << 16
_VALUES = 1 << 64


@dataclass(frozen=True)
class Listed:
    """A file as one list has it.

    Attributes:
      path: relative to the dataset's root.
      size: bytes.
      by: who lists it.
    """

    path: str
    size: int
    by: str = ""


class Inventory:
    """Tells whether markers and storage list the same files.

    Every file is hashed into one of 65,536 buckets, by its path; a bucket holds the sum of what the
    markers list less what is stored, each file a 64-bit hash of path and size. Where a sum is not
    zero the lists differ, and only such buckets are looked at by name: a second time through both
    lists, in memory that depends on the differences alone.
    """

    def __init__(self) -> None:
        self._sums = array("Q", bytes(8 * _BUCKETS))
        self.files = 0

    def expect(self, file: Listed) -> None:
        """Takes up a file that a marker lists."""
        self.files += 1
        bucket, value = _place(file)
        self._sums[bucket] = (self._sums[bucket] + value) % _VALUES

    def find(self, file: Listed) -> None:
        """Takes up a file that is stored."""
        bucket, value = _place(file)
        self._sums[bucket] = (self._sums[bucket] - value) % _VALUES

    @property
    def balanced(self) -> bool:
        """Tells whether both lists were the same."""
        return not any(self._sums)

    def differences(self, expected: Iterable[Listed], found: Iterable[Listed]) -> Iterator[str]:
        """Names what differs, from both lists once more."""
        sizes: dict[str, Listed] = {}
        for file in filter(self._differs, expected):
            if file.path in sizes:
                yield f"{file.path}: listed by {sizes[file.path].by} and by {file.by}"
            sizes[file.path] = file
        for file in filter(self._differs, found):
            listed = sizes.pop(file.path, None)
            if listed is None:
                yield f"{file.path}: no marker lists this file"
            elif listed.size != file.size:
                yield f"{file.path}: has {file.size} bytes, {listed.by} says {listed.size}"
        for path, listed in sizes.items():
            yield f"{path}: missing, and {listed.by} lists it"

    def _differs(self, file: Listed) -> bool:
        return bool(self._sums[_place(file)[0]])


def _place(file: Listed) -> tuple[int, int]:
    """Gives a file's bucket, by its path alone, and its value."""
    path = file.path.encode("utf-8", "surrogatepass")
    bucket = int.from_bytes(hashlib.blake2b(path, digest_size=2).digest(), "little")
    value = hashlib.blake2b(b"%d:%s" % (file.size, path), digest_size=8).digest()
    return bucket, int.from_bytes(value, "little")
