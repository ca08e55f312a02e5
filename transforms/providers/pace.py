"""How fast to ask: additive increase, halving on refusal (the rule of TCP, RFC 5681)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

_SLOWEST = 0.1  # requests a second
_RECOVERY = 10.0  # seconds in which what a halving took is gained back, unless refused again
_WINDOW = 1.0  # seconds over which the rate in use is measured
_SHORTEST = 0.05
LONGEST_HOLD = 300.0  # seconds; who is told to wait longer asks again after them


class Pace:
    """The rate of one provider's requests in this process; for one event loop.

    Requests start at least `1 / rate` seconds apart. A refusal halves the rate that was really
    used, once for all requests that were already under way, and holds everything for the pause
    that the provider asks for. Steps grow with every doubling, or a burst of refusals would be felt
    for hours.
    """

    def __init__(
        self,
        limit: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start at the limit.

        Args:
          limit: requests a second that are never exceeded.
          clock: seconds, monotonic.
          sleep: waits; what it raises ends the wait.
        """
        self.rate = limit
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self._held_until = 0.0
        self._last_cut = float("-inf")
        self._rest_on(limit)
        self._recent: deque[float] = deque()

    async def turn(self) -> float:
        """Waits for the next turn; those who wait when the rate is cut queue up anew.

        Returns:
          When it came, to be given to `refused`.
        """
        while True:
            now = self._clock()
            start = max(now, self._next, self._held_until)
            self._next = start + 1.0 / self.rate
            if start > now:
                await self._sleep(start - now)
            if self._held_until <= start and self._last_cut <= now:
                self._count(start)
                return start

    def succeeded(self) -> None:
        """Notes that a request was not refused."""
        self.rate = min(self._limit, self.rate + self._increase / self.rate)
        if self.rate >= 2.0 * self._base:
            self._rest_on(self.rate)

    def refused(self, turn: float, retry_after: float | None) -> None:
        """Notes that a request was refused for speed.

        Args:
          turn: what `turn` gave before it.
          retry_after: seconds the provider asks to wait.
        """
        now = self._clock()
        if retry_after is not None:
            self._held_until = max(self._held_until, now + min(retry_after, LONGEST_HOLD))
        if turn <= self._last_cut:
            return
        self._last_cut = now
        self.rate = max(_SLOWEST, min(self.rate, self._used()) / 2.0)
        self._rest_on(self.rate)
        self._next = now + 1.0 / self.rate

    def _rest_on(self, rate: float) -> None:
        """Lets the steps be such that a rate is doubled in the time of recovery."""
        self._base = rate
        self._increase = rate / _RECOVERY

    def _count(self, start: float) -> None:
        self._recent.append(start)
        while self._recent[0] <= start - _WINDOW:
            self._recent.popleft()

    def _used(self) -> float:
        """Requests a second over the last window, or since the first of them."""
        if not self._recent:
            return self.rate
        return len(self._recent) / max(_SHORTEST, min(_WINDOW, self._clock() - self._recent[0]))


def backoff(first: float, factor: float, cap: float, tries: int, random: float) -> float:
    """Gives the pause before a repeat: exponential, with jitter of half to three halves.

    Args:
      first, factor, cap: the first pause, its growth and its limit, seconds.
      tries: how many pauses there were before.
      random: 0 to 1.
    """
    # The exponent is bounded so that a long wait cannot overflow the power.
    return min(cap, first * factor ** min(tries, 64)) * (0.5 + random)
