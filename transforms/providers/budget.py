"""Money set aside before it is spent, so that a limit is never passed."""

from __future__ import annotations

import asyncio

# Sums of prices such as 0.018 are not exact in binary.
_ROUNDING = 1e-9


class BudgetReachedError(Exception):
    """The next picture could cost more than what is left of `--max_cost_usd`."""


class Budget:
    """What this process may spend at one provider; for one event loop.

    The limit holds for what is submitted through this object: with W processes that are each
    given the whole limit, at most W times the limit is spent.
    """

    def __init__(self, limit_usd: float | None, spent_usd: float = 0.0) -> None:
        """Start counting.

        Args:
          limit_usd: None for no limit.
          spent_usd: already spent when this begins.
        """
        self.spent_usd = spent_usd
        self.reserved_usd = 0.0
        self._limit = limit_usd
        self._settled = asyncio.Condition()

    async def reserve(self, usd: float) -> None:
        """Sets money aside, waiting for open reservations that may yet be returned.

        Raises:
          BudgetReachedError: it would not fit even if all of those were returned.
        """
        async with self._settled:
            while self._limit is not None:
                if self.spent_usd + self.reserved_usd + usd <= self._limit + _ROUNDING:
                    break
                if self.spent_usd + usd > self._limit + _ROUNDING:
                    raise BudgetReachedError(
                        f"--max_cost_usd {self._limit:g} is reached: {self.spent_usd:.4g} spent, "
                        f"the next picture may cost {usd:g}"
                    )
                await self._settled.wait()
            self.reserved_usd += usd

    async def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """Exchanges a reservation for what was really spent."""
        async with self._settled:
            self.reserved_usd -= reserved_usd
            self.spent_usd += spent_usd
            self._settled.notify_all()


class Reservation:
    """What one purchase holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        self.usd = 0.0
        self._budget = budget

    async def hold(self, usd: float) -> None:
        """Sets money aside.

        Raises:
          BudgetReachedError: there is not enough.
        """
        await self._budget.reserve(usd)
        self.usd += usd

    async def settle(self, spent_usd: float) -> None:
        """Exchanges all that is held for what was really spent; nothing held, nothing happens."""
        held, self.usd = self.usd, 0.0
        if held:
            await self._budget.settle(held, spent_usd)
