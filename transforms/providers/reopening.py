"""Whether an attempt that ended without a picture is followed by another."""

from __future__ import annotations

from .entries import Lost, Vacant
from .messages import Trouble

# How often a purchase is opened anew because the provider turned out to have accepted nothing.
_NEVER_ACCEPTED = 3
# Paid for, perhaps, with nothing to show for it: paid again only when the user allows it.
_PAID_FOR_NOTHING = (Trouble.AMBIGUOUS, Trouble.EXPIRED_RESULT, Trouble.TIMEOUT)


class Reopening:
    """The decisions of one purchase in one run."""

    def __init__(self, may_repay: bool) -> None:
        """Begin.

        Args:
          may_repay: whether the user allows paying again for what was paid for in vain.
        """
        self.may_repay = may_repay
        self._closed_here: set[int] = set()
        self._never_accepted = 0

    def closed(self, attempt: int) -> None:
        """Notes that this run itself ended an attempt."""
        self._closed_here.add(attempt)

    def after(self, lost: Lost) -> Vacant | None:
        """Gives the attempt to open next, or None to fail.

        A job whose failure is worth it is submitted again, as often as its kind allows. What was
        never accepted, or ended unbilled in another run, costs nothing to try anew.
        """
        failed = lost.failed
        if failed.resubmits and lost.counted <= failed.resubmits:
            return lost.next()
        if failed.billed and failed.trouble in _PAID_FOR_NOTHING:
            return lost.next() if self._repays() else None
        if failed.billed or failed.trouble is Trouble.REJECTED_INPUT:
            return None
        if lost.attempt not in self._closed_here:
            return lost.next()
        if failed.trouble is Trouble.RETRYABLE and self._never_accepted < _NEVER_ACCEPTED:
            self._never_accepted += 1
            return lost.next()
        return None

    def _repays(self) -> bool:
        """Allows paying again once in a run."""
        allowed, self.may_repay = self.may_repay, False
        return allowed
