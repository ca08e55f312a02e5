"""When a job is asked about for the first time: at its end, as the ends of earlier ones foretell it.

A provider that wants seconds between two questions about a job makes a question too early as dear as
one too late. Where its answers say how long each job took, the first question is put when most of the
latest jobs had ended; until something is known, first questions are spread out, so that some come
early and nothing happens in step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

_LATEST = 64  # jobs
_MOST = 0.9  # of them
# The ends of jobs that began together are not asked about together.
_JITTER = 0.1


def first_question(
    took: Collection[float], first: float, gap: float, cap: float, random: float
) -> float:
    """Gives the age at which a job is asked about for the first time, seconds.

    Args:
      took: how long the latest jobs took, seconds; empty where that is not known.
      first: when to ask where nothing is known.
      gap: least pause before a second question; 0 where the provider asks for none.
      cap: never later than that.
      random: 0 to 1.

    Returns:
      Where the jobs' times are known, the age by which nine in ten of them had ended, or up to a
      tenth later; else between `first` and `gap` where there is a gap, and otherwise within a quarter
      of `first`.
    """
    if took:
        ordered = sorted(took)
        age = ordered[int(_MOST * (len(ordered) - 1))] * (1.0 + _JITTER * random)
    elif gap > first:
        age = first + (gap - first) * random
    else:
        age = first * (0.75 + 0.5 * random)
    return min(age, cap)


class Expectation:
    """How long the latest jobs of one provider took; for one event loop."""

    def __init__(self) -> None:
        self.took: deque[float] = deque(maxlen=_LATEST)

    def ended(self, stated: float | None, age: float) -> None:
        """Notes a job that has ended.

        Args:
          stated: how long it took, as the provider says; None where it does not.
          age: seconds from its submit until it was seen to have ended, which is no less.
        """
        if stated is not None:
            self.took.append(min(stated, max(0.0, age)))
