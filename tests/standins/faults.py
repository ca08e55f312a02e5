"""What goes wrong in a stand-in: by script for one test, or at random rates for many pictures.

Faults of any step: `drop_before` and `drop_after` (the connection closes before or after the
request was acted on), `NNN` or `NNN:S` (that status, with `Retry-After: S`), `after:NNN` (acted on, then
that status), `delay:S` (S seconds), `garbage_before` and `garbage` (an answer that is not JSON,
before or after). Others are the providers' own.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Iterable, Mapping


class Faults:
    """Draws the next fault of a step; thread-safe, and the same for the same seed and order."""

    def __init__(
        self,
        script: Mapping[str, Iterable[str | None]] | None = None,
        rates: Mapping[str, Mapping[str, float]] | None = None,
        seed: int = 0,
    ) -> None:
        """Plan.

        Args:
          script: step to the faults of its first requests, None for none.
          rates: step to the share of its later requests that have each fault.
          seed: of the draws.
        """
        self._script = {step: deque(faults) for step, faults in (script or {}).items()}
        self._rates = rates or {}
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def next(self, step: str) -> str | None:
        """Gives the fault of a step's next request, None for none."""
        with self._lock:
            planned = self._script.get(step)
            if planned:
                return planned.popleft()
            drawn = self._random.random()
            for fault, rate in self._rates.get(step, {}).items():
                if drawn < rate:
                    return fault
                drawn -= rate
            return None
