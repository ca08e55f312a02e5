"""From a ticket, or from a submit whose answer was lost, to the end of the job."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from .errors import ProviderError, ProviderStoppedError
from .lane import Lane
from .messages import (
    Accepted,
    Done,
    Failed,
    Missing,
    Outcome,
    Ready,
    Running,
    Submission,
    Ticket,
    Trouble,
    Unsettled,
)

# What a question may fail with in passing.
_PASSING = (Trouble.RATE_LIMITED, Trouble.RETRYABLE)
# How often it is asked where a result is that was not where it should be.
_ASKS = 5

Nudge = Callable[[], Awaitable[None]]


async def follow(lane: Lane, ticket: Ticket, attempt: int, nudge: Nudge | None) -> Done | Failed:
    """Polls until a job ends.

    Past its deadline a job that runs is given up: it is sent again where that is free (`nudge`),
    else cancelled, and polled for the grace period, since it may have been about to finish. One that
    is not known to run may have ended, and is only polled.

    Args:
      lane: the provider.
      ticket: the claim.
      attempt: goes into the error.
      nudge: submits the same task id once more.

    Raises:
      ProviderError: the deadline has passed. Nothing is stored of that: a later run polls again.
      ProviderStoppedError: the key was refused.
    """
    end = ticket.deadline
    overdue = given_up = False
    unsettled = _Unsettled(lane.timing.second)
    polls = failures = 0
    await lane.until_first_poll(ticket)
    while True:
        outcome = unsettled.seen(await look(lane, ticket))
        if isinstance(outcome, Done):
            lane.expectation.ended(outcome.took, time.time() - ticket.submitted_at)
            return outcome
        if isinstance(outcome, Failed) and outcome.trouble not in _PASSING:
            raise_if_auth(lane, outcome)
            return _too_late(ticket, outcome) if time.time() >= ticket.deadline else outcome
        if time.time() >= end:
            if overdue:
                raise ProviderError(lane.adapter.name, _timeout(ticket), attempt)
            overdue, end = True, time.time() + lane.timing.grace
        if overdue and not given_up and isinstance(outcome, Running):
            given_up, end = True, time.time() + lane.timing.grace
            cancelled = await _give_up(lane, ticket, nudge)
            if cancelled and outcome.queued and not await _has_begun(lane, ticket):
                return Failed(Trouble.TIMEOUT, _timeout(ticket).message, resubmits=1, billed=False)
        least = _least_pause(lane, ticket, outcome)
        if isinstance(outcome, Failed):
            await lane.rest(failures, least, outcome)
            failures += 1
        else:
            await lane.pause(polls, least)
            polls, failures = polls + 1, 0


def _least_pause(lane: Lane, ticket: Ticket, outcome: Outcome) -> float:
    """Gives the seconds for which a job is left alone, as its provider wants or foretells."""
    left = (outcome.seconds_left or 0.0) if isinstance(outcome, Running) else 0.0
    second = lane.timing.second
    return max(lane.adapter.poll_gap(ticket) * second, min(left * second, lane.timing.poll_cap))


async def look(lane: Lane, ticket: Ticket) -> Outcome:
    """Asks once how a job stands, and for its result when it is ready."""
    adapter = lane.adapter
    lane.counts["polls"] += 1
    outcome = await lane.ask(adapter.poll(ticket), lambda r: adapter.read_poll(ticket, r))
    if isinstance(outcome, Ready):
        ready = outcome
        return await lane.ask(adapter.fetch(ticket), lambda r: adapter.read_fetch(ticket, ready, r))
    return outcome


async def asked_again(lane: Lane, ticket: Ticket, attempt: int) -> Done | None:
    """Asks anew where a result is that was not where it was said to be; raises as `recall` does."""
    outcome = await _answered(lane, lambda: look(lane, ticket), attempt)
    return outcome if isinstance(outcome, Done) else None


async def recall(lane: Lane, ticket: Ticket, attempt: int) -> Done | None:
    """Asks the provider's archive for a result that has expired elsewhere.

    Raises:
      ProviderError: there is no answer for now; what cannot be asked for is not gone.
      ProviderStoppedError: the key was refused.
    """
    adapter = lane.adapter
    request = adapter.recall(ticket)
    if request is None:
        return None
    outcome = await _answered(
        lane, lambda: lane.ask(request, lambda r: adapter.read_recall(ticket, r)), attempt
    )
    return outcome if isinstance(outcome, Done) else None


async def _answered(lane: Lane, ask: Callable[[], Awaitable[Outcome]], attempt: int) -> Outcome:
    """Asks until there is an answer; raises as `recall` does."""
    outcome = await ask()
    for tries in range(_ASKS - 1):
        if not (isinstance(outcome, Failed) and outcome.trouble in _PASSING):
            break
        await lane.rest(tries, failed=outcome)
        outcome = await ask()
    if isinstance(outcome, Failed):
        raise_if_auth(lane, outcome)
        if outcome.trouble in _PASSING:
            told = f"it cannot be asked where the result is: {outcome.message}"
            raise ProviderError(lane.adapter.name, replace(outcome, message=told), attempt)
    return outcome


async def search(
    lane: Lane, submission: Submission, until: float
) -> Accepted | Done | Missing | None:
    """Looks for a submit whose answer was lost, again and again until it should have shown.

    Args:
      lane: the provider.
      submission: what was sent.
      until: Unix time from which on a look without a trace is the last; there is always one.

    Returns:
      What was found; Missing when there was no trace; None when the provider cannot be searched,
      or did not answer for as long again as it was to be searched.
    """
    looks = 0
    while True:
        last = time.time() >= until
        found = await _search_once(lane, submission)
        if isinstance(found, Failed):
            raise_if_auth(lane, found)
            if time.time() >= until + lane.timing.find_for:
                return None
        elif last or not isinstance(found, Missing):
            return found
        await lane.pause(looks)
        looks += 1


async def _search_once(
    lane: Lane, submission: Submission
) -> Accepted | Done | Missing | Failed | None:
    adapter = lane.adapter
    cursor = None
    while True:
        request = adapter.find(submission, cursor)
        if request is None:
            return None
        lane.counts["finds"] += 1
        found = await lane.ask(request, lambda r: adapter.read_find(submission, r))
        if isinstance(found, Unsettled):
            return found.then
        if not isinstance(found, Missing) or found.cursor is None:
            assert isinstance(found, (Accepted, Done, Missing, Failed))
            return found
        cursor = found.cursor


async def _give_up(lane: Lane, ticket: Ticket, nudge: Nudge | None) -> bool:
    """Sends a job again or cancels it.

    Returns:
      True when the provider confirmed the cancel.
    """
    if nudge is not None:
        await nudge()
        return False
    request = lane.adapter.cancel(ticket)
    if request is None:
        return False
    confirmed = await lane.ask(request, lambda r: lane.adapter.read_cancel(ticket, r))
    return confirmed is True


async def _has_begun(lane: Lane, ticket: Ticket) -> bool:
    """Tells whether a job had left the queue before it was cancelled there."""
    outcome = await look(lane, ticket)
    return isinstance(outcome, Done) or (isinstance(outcome, Running) and not outcome.queued)


def raise_if_auth(lane: Lane, failed: Failed) -> None:
    """Stops the provider when an answer says that the key is refused."""
    if failed.trouble is Trouble.AUTH:
        stopped: ProviderStoppedError = lane.stop(failed)
        raise stopped.again()


def _timeout(ticket: Ticket) -> Failed:
    waited = ticket.deadline - ticket.submitted_at
    return Failed(Trouble.TIMEOUT, f"job {ticket.request_id} did not end within {waited:.0f} s")


def _too_late(ticket: Ticket, failed: Failed) -> Failed:
    """Takes the failure of a job past its deadline for a timeout.

    The job may have ended because it was given up, in this run or an earlier one, and whether that
    is charged is not known: no reason to submit it anew.
    """
    if failed.trouble is not Trouble.FAILED or not failed.billed:
        return failed
    return Failed(Trouble.TIMEOUT, f"{_timeout(ticket).message}; then: {failed.message}")


class _Unsettled:
    """Turns an answer that does not right itself within its grace into a failure."""

    def __init__(self, second: float) -> None:
        self._second = second
        self._since: float | None = None

    def seen(self, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Unsettled):
            self._since = None
            return outcome
        now = time.monotonic()
        self._since = self._since or now
        return outcome.then if now - self._since >= outcome.grace * self._second else outcome
