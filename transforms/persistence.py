"""How often and after which pauses something that may pass is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from .errors import ImageError

Made = TypeVar("Made")

# A server that wants longer than this is not waited for: the row fails as one worth running again.
LONGEST_RETRY_AFTER = 60.0

_backoff = wait_random_exponential(multiplier=0.5, max=10.0)


def persistently(
    action: Callable[[], Made], attempts: int, sleep: Callable[[float], None]
) -> tuple[Made, int]:
    """Does something again, as long as its trouble is one that may pass.

    Pauses are random and grow exponentially, or are the ones that the server asks for.

    Args:
      action: raises `ImageError`s.
      attempts: how often it is tried in all.
      sleep: pauses between attempts.

    Returns:
      What it made, and how many attempts that took.

    Raises:
      ImageError: the last attempt's, with the number of attempts.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_worth_waiting),
        wait=_pause,
        stop=stop_after_attempt(attempts),
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(action), retrying.statistics["attempt_number"]
    except ImageError as error:
        error.attempts = retrying.statistics["attempt_number"]
        raise


def _is_worth_waiting(error: BaseException) -> bool:
    return (
        isinstance(error, ImageError)
        and error.retryable
        and (error.retry_after or 0.0) <= LONGEST_RETRY_AFTER
    )


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ImageError) else None
    # Those whom one answer sent away together come back spread out.
    return _backoff(state) if asked is None else asked + _backoff(state)
