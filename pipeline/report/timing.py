"""Where the time went, as the commit markers tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..markers import MarkerHead
from .histogram import Histogram

_ORDER = ("fetch", "decode", "engine", "compose", "upload", "write")
_WALL = "wall"


@dataclass(frozen=True)
class Stage:
    """What one stage took.

    Attributes:
      name: of the stage.
      seconds: added up over pictures; stages overlap, so their sum may exceed the wall clock.
      share: of all stages' seconds, 0..1.
      each: seconds a row.
    """

    name: str
    seconds: float
    share: float
    each: float

    @property
    def rate(self) -> float:
        """Rows a second that one thread of this stage does."""
        return 1 / self.each if self.each else 0.0


class Timing:
    """Adds up the times of commit markers that pass by.

    Units of which failed rows were run again are left out: their markers time the last rows only.

    Attributes:
      rows: in the units that are counted.
      worker_seconds: wall-clock time of these units, added up.
      mended: units that are left out.
      latency: of a picture through all stages, seconds; the mean of its unit, counted once a row.
      first, last: seconds since 1970, when the first unit began and the last one was committed.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.worker_seconds = 0.0
        self.mended = 0
        self.latency = Histogram(logarithmic=True)
        self.first = float("inf")
        self.last = 0.0
        self._seconds: Counter[str] = Counter()
        self._spans: list[tuple[float, float]] = []

    def watching(self, markers: Iterable[MarkerHead]) -> Iterator[MarkerHead]:
        """Passes markers on, and takes note of each."""
        for marker in markers:
            self._note(marker)
            yield marker

    def _note(self, marker: MarkerHead) -> None:
        wall = marker.seconds.get(_WALL, 0.0)
        self._spans.append((marker.finished - wall, marker.finished))
        self.first = min(self.first, marker.finished - wall)
        self.last = max(self.last, marker.finished)
        if marker.generation:
            self.mended += 1
            return
        stages = {name: value for name, value in marker.seconds.items() if name != _WALL}
        self._seconds.update(stages)
        self.rows += marker.rows
        self.worker_seconds += wall
        if marker.rows:
            self.latency.add(np.array([sum(stages.values()) / marker.rows]), times=marker.rows)

    def busy(self) -> float:
        """Seconds in which at least one unit was at work; pauses between runs are none of them."""
        busy, reached = 0.0, 0.0
        for start, end in sorted(self._spans):
            busy += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return busy

    def stages(self) -> list[Stage]:
        """Gives the stages in the order that a picture passes them."""
        total = sum(self._seconds.values())
        names = [name for name in _ORDER if name in self._seconds]
        names += sorted(self._seconds.keys() - set(_ORDER))
        return [
            Stage(
                name,
                self._seconds[name],
                self._seconds[name] / total if total else 0.0,
                self._seconds[name] / self.rows if self.rows else 0.0,
            )
            for name in names
        ]
