"""How a provider's failures reach the caller: as trouble with one picture, or with all of them."""

from __future__ import annotations

from ..errors import EngineError
from ..records import Payment
from .messages import Failed, Trouble

# What another run may mend by asking again: it submits what was not accepted, polls what was.
_PASSING = {Trouble.RATE_LIMITED, Trouble.RETRYABLE, Trouble.TIMEOUT}


class ProviderError(EngineError):
    """One picture could not be had.

    Attributes:
      trouble: the kind of failure; its value is the error's `kind`.
      billed: whether it was, or may have been, paid for.
      payment: what is taken to have been paid; None while that is not at an end.
    """

    def __init__(
        self,
        provider: str,
        failed: Failed,
        attempts: int,
        *,
        ended: bool = False,
        repeatable: bool = False,
        payment: Payment | None = None,
    ) -> None:
        """Describe it.

        Args:
          provider: its name.
          failed: what went wrong.
          attempts: how many submits there were.
          ended: whether the attempt is closed in the ledger, so that another run would have to
            submit anew.
          repeatable: whether another run may send the same submit again without paying twice.
          payment: what is taken to have been paid.
        """
        if ended:
            retryable = not failed.billed and failed.trouble is not Trouble.REJECTED_INPUT
        else:
            retryable = repeatable or failed.trouble in _PASSING
        super().__init__(
            failed.trouble.value,
            f"{provider}: {failed.message}",
            retryable=retryable,
            attempts=attempts,
        )
        self.trouble = failed.trouble
        self.billed = failed.billed
        self.payment = payment

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are pickled as a call with their args, which are not this class's parameters.
        return (ProviderError.__new__, (type(self), *self.args), self.__dict__)


class ProviderStoppedError(Exception):
    """Nothing more is submitted to a provider: its key, account or budget is at an end.

    Attributes:
      provider: its name.
      trouble: `AUTH`, or `EXHAUSTED_BUDGET`: then open jobs are still polled for.
      reason: one line.
      maybe_billed: the picture for which this was raised may have been paid for.
    """

    maybe_billed = False

    def __init__(self, provider: str, trouble: Trouble, reason: str) -> None:
        super().__init__(provider, trouble, reason)
        self.provider = provider
        self.trouble = trouble
        self.reason = reason

    def again(self) -> ProviderStoppedError:
        """Gives a copy to raise, so that tracebacks of different pictures stay apart."""
        return ProviderStoppedError(self.provider, self.trouble, self.reason)

    def __str__(self) -> str:
        return f"{self.provider} stopped: {self.reason}"
