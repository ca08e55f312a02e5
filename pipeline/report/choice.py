"""Which rows stand for the dataset: the same ones every time, and some of every kind."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import numpy as np

from .rows import Chunk, Place


class Lowest:
    """Keeps the places of the rows with the lowest ranks; of equal ranks, the first ones seen."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[tuple[float, Place]] = []

    def offer(self, chunk: Chunk, ranks: np.ndarray, wanted: np.ndarray) -> None:
        """Looks at the rows of a chunk.

        Args:
          chunk: the rows.
          ranks: float64, one a row.
          wanted: bool, which rows may be kept.
        """
        limit = self._kept[-1][0] if len(self._kept) == self._size else np.inf
        rows = np.flatnonzero(wanted & (ranks < limit))
        best = rows[np.argsort(ranks[rows], kind="stable")[: self._size]]
        self._kept += [(float(ranks[row]), chunk.place(int(row))) for row in best]
        self._kept.sort(key=lambda kept: kept[0])
        del self._kept[self._size :]

    def places(self) -> list[Place]:
        """Gives what was kept, lowest rank first."""
        return [place for _, place in self._kept]


def key_ranks(chunk: Chunk) -> np.ndarray:
    """Gives every row a rank that follows from its key alone and favours no kind of key.

    Returns:
      float64, 0..2**32 - 1.
    """
    keys = chunk.table.column("key").to_pylist()
    hashes = np.fromiter((crc32(key.encode()) for key in keys), np.uint32, len(keys))
    # CRC-32 is linear, so keys that count up would come in patterns; Knuth's multiplier and the
    # high bits folded into the low ones break these.
    mixed = (hashes ^ (hashes >> 16)) * np.uint32(2654435761)
    return (mixed ^ (mixed >> 15)).astype(np.float64)


def in_turns(lists: Iterable[list[Place]], most: int) -> list[Place]:
    """Takes one place from every list in turn, none twice, until there are `most`."""
    queues = [list(reversed(places)) for places in lists]
    chosen: dict[tuple[str, int], Place] = {}
    while any(queues):
        for queue in queues:
            while queue:
                place = queue.pop()
                identity = (place.fragment.path, place.offset)
                if identity not in chosen:
                    chosen[identity] = place
                    break
            if len(chosen) == most:
                return list(chosen.values())
    return list(chosen.values())
