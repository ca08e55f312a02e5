"""The end of a unit, from its rows to its marker, is for one attempt at a time.

Two runs into one output, or a bundle and its repetition on another worker, may be at the same unit.
Their pictures are the same files. Their rows differ where a picture failed for one of them in passing,
and each would then replace and remove files that the other's marker lists. So one takes the turn and
commits; who comes later finds the marker and leaves what it lists alone.

A turn is a file of its own, created exclusively. It is void when its owner has ended, as far as that
can be seen from here, or after `_LONGEST` seconds, and the turn of the next number may then be taken;
an owner that was held up for long looks for that before it commits. On stores without exclusive
creates two may hold a turn; local disks, GCS and S3 have it.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..transforms import storage
from ..transforms.providers import lease
from .paths import DatasetPaths

_LONGEST = 600.0  # seconds: rows and shards of a unit are written within
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0


@dataclass(frozen=True)
class Turn:
    """The right to end a unit.

    Attributes:
      number: 0, or how many earlier turns were left void.
    """

    paths: DatasetPaths
    unit: str
    number: int
    since: float = field(default_factory=time.monotonic)

    def confirm(self) -> None:
        """Makes sure, before the marker is written, that nobody has taken over.

        Raises:
          RuntimeError: somebody has, because this took too long.
        """
        following = self.paths.uri(self.paths.turn(self.unit, self.number + 1))
        if time.monotonic() - self.since > _LONGEST / 2 and storage.exists(following):
            raise RuntimeError(
                f"{self.unit} took so long to write that it was begun anew elsewhere"
            )


@contextmanager
def turn(paths: DatasetPaths, unit: str) -> Iterator[Turn]:
    """Waits for the turn to end a unit and holds it through the block."""
    taken = Turn(paths, unit, _take(paths, unit))
    number = taken.number
    try:
        yield taken
    finally:
        storage.remove(paths.uri(paths.turn(unit, number)))
    # With a marker in place nobody acts on a turn any more, not even on those that were left void.
    for earlier in range(number):
        storage.remove(paths.uri(paths.turn(unit, earlier)))


def _take(paths: DatasetPaths, unit: str) -> int:
    owner = lease.process(os.getpid())
    number, pause = 0, _FIRST_PAUSE
    while True:
        uri = paths.uri(paths.turn(unit, number))
        claim = {"owner": owner, "at": time.time(), "id": uuid.uuid4().hex}
        if storage.write_exclusive(uri, json.dumps(claim).encode(), paths.scratch):
            return number
        if _is_void(uri):
            number += 1
            continue
        _rest(pause)
        pause = min(2.0 * pause, _LAST_PAUSE)


def _is_void(uri: str) -> bool:
    try:
        claim = json.loads(storage.read_bytes(uri))
    except FileNotFoundError:
        return False  # given back by now
    return lease.has_ended(claim["owner"]) or time.time() > claim["at"] + _LONGEST


def _rest(seconds: float) -> None:
    time.sleep(seconds)
