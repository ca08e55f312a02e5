"""One picture's way through one provider: from what the ledger holds to a picture or an error.

Every step takes an entry of the ledger and gives the next one, which is stored before it is acted
on. Starting anew after a crash is therefore the same as going on.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from ..records import Payment
from . import delivery, following
from .budget import Reservation
from .entries import Bought, Entry, Intent, Lost, Open, Vacant
from .errors import ProviderError, ProviderStoppedError
from .lane import Lane
from .messages import (
    Accepted,
    Done,
    Failed,
    Missing,
    Outcome,
    Submission,
    Ticket,
    Trouble,
    due,
)
from .outputs import Output
from .reopening import Reopening
from .settings import Job, Result
from .source_address import as_data, looked_at
from .staged_copy import StagedCopy


class Purchase:
    """One picture on its way; used once."""

    def __init__(self, lane: Lane, job: Job, name: str) -> None:
        self._lane = lane
        self._ledger = lane.ledger
        self._job = job
        self._name = name
        self._reservation = Reservation(lane.budget)
        self._reopening = Reopening(lane.settings.repay_ambiguous)
        self._fresh: tuple[bytes, Output] | None = None
        self._copy = StagedCopy(lane, job.picture, name)
        self._sent = job.picture
        self._maybe_billed = False

    async def run(self) -> Result:
        """Gets the picture.

        Raises:
          ProviderError: it cannot be had.
          ProviderStoppedError: nothing is submitted to this provider any more.
        """
        lane = self._lane
        entry = await lane.blocking(self._ledger.latest, self._name)
        if isinstance(entry, Bought):
            lane.counts["reuses"] += 1
            stored = await delivery.stored(lane, entry, self._job.size)
            return self._result(entry, *stored, reused=True)
        async with lane.slots:
            try:
                while not isinstance(entry, Bought):
                    entry = await self._step(entry)
            except ProviderStoppedError as error:
                error.maybe_billed = self._maybe_billed
                raise
            finally:
                # What is still reserved may have been spent: it stays counted.
                await self._reservation.settle(self._reservation.usd)
        lane.counts["pictures"] += 1
        fresh = self._fresh or await delivery.stored(lane, entry, self._job.size)
        return self._result(entry, *fresh, reused=False)

    async def _step(self, entry: Entry) -> Entry:
        is_sent = isinstance(entry, Intent) and entry.sent
        self._maybe_billed = is_sent or isinstance(entry, Open)
        if isinstance(entry, Vacant):
            return await self._open(entry)
        if isinstance(entry, Intent):
            return await self._recover(entry)
        if isinstance(entry, Open):
            return await self._follow(entry)
        assert isinstance(entry, Lost)
        following_attempt = self._reopening.after(entry)
        if following_attempt is None:
            raise await self._failed(entry)
        return following_attempt

    async def _failed(self, lost: Lost) -> ProviderError:
        usd = await self._lane.blocking(self._ledger.paid_in_vain, self._name, lost.attempt)
        name, paid = self._lane.adapter.name, Payment(self._name, usd)
        return ProviderError(name, lost.failed, lost.attempt, ended=True, payment=paid)

    async def _open(self, vacant: Vacant) -> Entry:
        lane = self._lane
        lane.raise_if_stopped()
        refusal = None if self._copy.is_needed else lane.adapter.check(self._job.picture)
        if refusal is not None:
            failed = Failed(Trouble.REJECTED_INPUT, refusal, billed=False)
            raise ProviderError(lane.adapter.name, failed, vacant.attempt)
        turn = await lane.clear_to_submit(self._reservation)
        try:
            if vacant.as_data:
                self._sent = await as_data(lane, self._job.picture, vacant.attempt)
            else:
                self._sent = await self._copy.put(vacant.attempt)
        except ProviderError:
            await self._reservation.settle(0.0)
            raise
        intent = await lane.blocking(self._ledger.intend, self._name, vacant)
        if intent is None:
            await self._reservation.settle(0.0)
            return await self._latest()
        return await self._send(intent, turn)

    async def _send(self, intent: Intent, turn: float) -> Entry:
        """Submits until the provider accepts, refuses, or nobody knows."""
        lane, started, tries = self._lane, time.monotonic(), 0
        while True:
            is_old = self._ledger.clock() - intent.at > lane.timing.lease / 2
            if is_old and (current := await self._latest()) != intent:
                return current
            if is_old or tries:
                intent = await lane.blocking(self._ledger.renew, self._name, intent, sent=True)
            outcome = await self._post(intent, turn)
            if isinstance(outcome, Accepted):
                return await self._accept(intent, outcome.ticket)
            if isinstance(outcome, Done):
                return await self._accept_done(intent, outcome)
            assert isinstance(outcome, Failed)
            if outcome.trouble not in (Trouble.RATE_LIMITED, Trouble.RETRYABLE):
                return await self._refused(intent, outcome)
            # What is said of this submit says nothing of one before it whose answer was lost.
            self._maybe_billed = self._maybe_billed or outcome.billed
            # Where the same id may be sent again, it is, whatever was said of it.
            sent = self._maybe_billed or lane.adapter.idempotent
            intent = await lane.blocking(self._ledger.renew, self._name, intent, sent=sent)
            limit = lane.timing.deadline
            if outcome.trouble is Trouble.RETRYABLE:
                limit = lane.timing.retry_for
            if time.monotonic() - started > limit:
                await self._let_go(intent)
                raise self._given_up(intent, outcome)
            try:
                await lane.rest(tries, failed=outcome)
                turn = await lane.pace.turn()
                lane.raise_if_stopped()
            except ProviderStoppedError:
                await self._let_go(intent)
                raise
            tries += 1

    def _given_up(self, intent: Intent, failed: Failed) -> ProviderError:
        """Makes the error of a submit that was repeated for as long as it may be."""
        if self._maybe_billed:
            told = (
                f"{failed.message}; it may have been accepted: another run sends the same id again"
            )
            failed = replace(failed, trouble=Trouble.AMBIGUOUS, message=told, billed=True)
        name = self._lane.adapter.name
        return ProviderError(name, failed, intent.attempt, repeatable=self._maybe_billed)

    async def _post(self, intent: Intent | Open, turn: float) -> Outcome:
        submission = await self._submission(intent)
        adapter = self._lane.adapter
        return await self._lane.submit(
            adapter.submit(submission), turn, lambda r: adapter.read_submit(submission, r)
        )

    async def _submission(self, intent: Intent | Open) -> Submission:
        task_id = await self._lane.blocking(self._ledger.task_id, self._name, intent.attempt)
        sent_at = intent.first_at if isinstance(intent, Intent) else intent.ticket.submitted_at
        return Submission(self._sent, task_id, sent_at, intent.known_ids)

    async def _refused(self, intent: Intent, failed: Failed) -> Entry:
        if failed.trouble is Trouble.AMBIGUOUS:
            self._maybe_billed = True
            return await self._find(intent)
        if failed.trouble in (Trouble.AUTH, Trouble.EXHAUSTED_BUDGET):
            if self._maybe_billed:
                await self._let_go(intent)
            else:
                await self._lose(intent, failed, accepted=False)
            raise self._lane.stop(failed).again()
        failed = await looked_at(self._lane, self._sent, failed)
        return await self._lose(intent, failed, accepted=True)

    async def _accept(self, intent: Intent, ticket: Ticket) -> Open:
        ticket = due(ticket, time.time(), self._lane.timing.deadline)
        return await self._lane.blocking(self._ledger.accept, self._name, intent, ticket)

    async def _accept_done(self, intent: Intent, done: Done) -> Entry:
        """Stores where the picture is; one that came inside the answer is bought at once."""
        ticket = Ticket(self._lane.adapter.name, done.request_id)
        if isinstance(done.media, str):
            media = replace(ticket, media_url=done.media, cost_usd=done.cost_usd)
            return await self._accept(intent, media)
        opened = Open(intent.attempt, intent.counted, intent.known_ids, ticket, intent.as_data)
        return await self._deliver(opened, done)

    async def _recover(self, intent: Intent) -> Entry:
        """Goes on from an intent that somebody left behind, or waits for who is at work on it."""
        lane = self._lane
        waits = 0
        while self._ledger.is_held(intent, lane.timing.lease):
            await lane.pause(waits)
            waits += 1
            current = await self._latest()
            if current != intent:
                return current
        if not intent.sent:
            failed = Failed(Trouble.RETRYABLE, "the submit was never accepted", billed=False)
            return await self._lose(intent, failed, accepted=False)
        if intent.as_data:  # the search is for what was sent
            self._sent = await as_data(lane, self._job.picture, intent.attempt)
        if lane.adapter.idempotent:
            turn = await lane.clear_to_submit(self._reservation)
            current = await self._latest()
            if current != intent:
                await self._reservation.settle(0.0)
                return current
            intent = await lane.blocking(self._ledger.renew, self._name, intent, sent=True)
            return await self._send(intent, turn)
        return await self._find(intent)

    async def _find(self, intent: Intent) -> Entry:
        """Looks for a submit whose answer was lost."""
        lane = self._lane
        lane.counts["lost answers"] += 1
        submission = await self._submission(intent)
        # The answer was lost by now, and no later than a submit may take.
        t = lane.timing
        lost_at = min(time.time(), intent.at + t.connect_timeout + t.submit_timeout)
        found = await following.search(lane, submission, lost_at + t.find_for)
        if isinstance(found, Accepted):
            return await self._accept(intent, found.ticket)
        if isinstance(found, Done):
            return await self._accept_done(intent, found)
        if isinstance(found, Missing) and lane.adapter.absence_is_proof:
            failed = Failed(Trouble.RETRYABLE, "no trace of the submit", billed=False)
            return await self._lose(intent, failed, accepted=False)
        failed = Failed(
            Trouble.AMBIGUOUS,
            "the submit's answer was lost; it may have been paid for and cannot be found; "
            "--repay_ambiguous submits it again",
        )
        if self._reopening.may_repay:
            return await self._lose(intent, failed, accepted=True)
        await self._let_go(intent)
        raise ProviderError(lane.adapter.name, failed, intent.attempt)

    async def _follow(self, opened: Open) -> Entry:
        ticket = opened.ticket
        if ticket.media_url is not None:
            done = Done(ticket.media_url, ticket.request_id, ticket.cost_usd)
            return await self._deliver(opened, done)
        nudge = partial(self._send_again, opened) if self._lane.adapter.idempotent else None
        try:
            outcome = await following.follow(self._lane, ticket, opened.attempt, nudge)
        except ProviderError as error:
            if not (self._reopening.may_repay and error.trouble is Trouble.TIMEOUT):
                raise
            outcome = Failed(error.trouble, error.message)
        if isinstance(outcome, Failed) and outcome.trouble is Trouble.EXHAUSTED_BUDGET:
            await self._lose(opened, outcome, accepted=False)
            raise self._lane.stop(outcome).again()
        if isinstance(outcome, Failed) and outcome.trouble is not Trouble.EXPIRED_RESULT:
            return await self._lose(opened, outcome, accepted=True)
        return await self._deliver(opened, outcome if isinstance(outcome, Done) else None)

    async def _send_again(self, opened: Open) -> None:
        """Submits a task id that may or may not have arrived; who knows it answers so, unbilled."""
        if opened.as_data:
            self._sent = await as_data(self._lane, self._job.picture, opened.attempt)
        await self._post(opened, await self._lane.pace.turn())

    async def _deliver(self, opened: Open, done: Done | None) -> Entry:
        lane, ticket = self._lane, opened.ticket

        async def given() -> Done | None:
            return done

        asked_again = partial(following.asked_again, lane, ticket, opened.attempt)
        recalled = partial(following.recall, lane, ticket, opened.attempt)
        sources = (given, asked_again, recalled) if done else (recalled,)
        try:
            done, data, output = await delivery.deliver(
                lane, sources, self._job.size, opened.attempt
            )
        except delivery.ExpiredError as error:
            failed = Failed(Trouble.EXPIRED_RESULT, f"the result has expired: {error}")
            return await self._lose(opened, failed, accepted=True)
        except delivery.UselessError as error:
            failed = Failed(Trouble.FAILED, str(error))
            return await self._lose(opened, failed, accepted=True, stated_usd=error.cost_usd)
        cost = lane.adapter.price.of_one(done.cost_usd)
        await self._reservation.settle(self._reservation.usd if cost is None else cost)
        end = await lane.blocking(self._ledger.buy, self._name, opened.attempt, done, cost, data)
        await self._copy.remove(opened.attempt)
        if isinstance(end, Bought) and end.request_id == done.request_id:
            self._fresh = data, output
        return end

    async def _lose(
        self,
        entry: Intent | Open,
        failed: Failed,
        *,
        accepted: bool,
        stated_usd: float | None = None,
    ) -> Entry:
        self._reopening.closed(entry.attempt)
        self._maybe_billed = failed.billed
        await self._reservation.settle(self._reservation.usd if failed.billed else 0.0)
        cost = self._lane.adapter.price.of_one(stated_usd)
        end = await self._lane.blocking(
            self._ledger.lose, self._name, entry, failed, accepted=accepted, cost_usd=cost
        )
        await self._copy.remove(entry.attempt)
        return end

    async def _latest(self) -> Entry:
        return await self._lane.blocking(self._ledger.latest, self._name)

    async def _let_go(self, intent: Intent) -> None:
        """Leaves an attempt to whoever comes next."""
        if not self._maybe_billed:
            await self._reservation.settle(0.0)
        await self._lane.blocking(self._ledger.let_go, self._name, intent)

    def _result(self, bought: Bought, data: bytes, output: Output, *, reused: bool) -> Result:
        return Result(
            data=data,
            rgba=output.rgba,
            format=output.format,
            resized=output.resized,
            is_blank=output.is_blank,
            is_full=output.is_full,
            request_id=bought.request_id,
            cost_usd=bought.cost_usd,
            purchase=self._name,
            attempts=bought.attempt,
            reused=reused,
        )
