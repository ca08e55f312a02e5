"""One provider's live state in this process: key, pace, budget, and whether it has been stopped."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ParamSpec, TypeVar

from ..fetch import FetchLimits
from . import keys, reading, wire
from .budget import Budget, BudgetReachedError, Reservation
from .catalogue import make_adapter
from .endpoints import Endpoints
from .errors import ProviderStoppedError
from .expectation import Expectation, first_question
from .join import Joiner
from .ledger import Ledger, purchase_name
from .messages import Failed, HttpRequest, HttpResponse, Outcome, Ticket, Trouble, Unsettled
from .pace import LONGEST_HOLD, Pace, backoff
from .settings import Job, ProviderSettings
from .staging import Staging, hide_queries, stages

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Lane:
    """What all pictures on their way through one provider share. For one event loop.

    Attributes:
      staging: where pictures are put for this provider to fetch; None where it takes them as they are.
      fetch_limits: of pictures that this process downloads, results and sources.
      expectation: how long its jobs take.
      counts: how often what happened: submits, polls, finds, refusals, retries, pictures, reuses.
    """

    def __init__(
        self, settings: ProviderSettings, connections: wire.Connections, pool: ThreadPoolExecutor
    ) -> None:
        """Resolve the key and make ready.

        Raises:
          ValueError: the settings will not do, or there is no key.
        """
        self.settings = settings
        self.adapter = make_adapter(
            settings.provider, settings.options, Endpoints(settings.provider_urls)
        )
        self.timing = settings.timing or self.adapter.timing
        self.fetch_limits = FetchLimits(
            max_bytes=settings.max_image_bytes,
            timeout=self.timing.read_timeout,
            attempts=1,
            allow_private_hosts=settings.allow_private_hosts,
        )
        self.ledger = Ledger(settings.ledger)
        self.staging: Staging | None = None
        if settings.staging_uri is not None and stages(self.adapter, settings):
            self.staging = Staging(settings.staging_uri, settings.staging_url)
        self.budget = Budget(settings.max_cost_usd)
        self.slots = asyncio.Semaphore(settings.concurrency or self.adapter.concurrency)
        self.pace = Pace(settings.requests_per_second, sleep=self._sleep)
        self.expectation = Expectation()
        self.stopped: ProviderStoppedError | None = None
        self.counts: Counter[str] = Counter()
        self._refused = asyncio.Event()
        self._secret = keys.resolve(settings.api_key, self.adapter.key_variable)
        self._connections = connections
        self._pool = pool
        most = self.adapter.tasks_per_post
        self._submits = Joiner(self._sender(self.timing.submit_timeout), most)
        self._questions = Joiner(self._sender(self.timing.read_timeout), most)

    def _sender(self, timeout: float) -> Callable[[HttpRequest], asyncio.Future[HttpResponse]]:
        def send(request: HttpRequest) -> asyncio.Future[HttpResponse]:
            return asyncio.ensure_future(
                wire.send(
                    self._connections,
                    request,
                    self.adapter.authorization(self._secret.reveal()),
                    connect_timeout=self.timing.connect_timeout,
                    timeout=timeout,
                )
            )

        return send

    async def submit(
        self, request: HttpRequest, turn: float, read: Callable[[HttpResponse], Outcome]
    ) -> Outcome:
        """Sends a paid request, once.

        Args:
          request: what to send.
          turn: what the pace gave for it.
          read: reads the answer.
        """
        self.counts["submits"] += 1
        try:
            response = await self._submits.send(request)
        except wire.NotSentError as error:
            return Failed(Trouble.RETRYABLE, self.clean(str(error)), billed=False)
        except wire.NoAnswerError as error:
            lost = Trouble.RETRYABLE if self.adapter.idempotent else Trouble.AMBIGUOUS
            return Failed(lost, f"no answer to the submit: {self.clean(str(error))}")
        return self._noted(read(response), response, turn)

    async def ask(self, request: HttpRequest, read: Callable[[HttpResponse], T]) -> T | Failed:
        """Sends a free request, once, in its turn.

        Raises:
          ProviderStoppedError: the key has been refused.
        """
        turn = await self.pace.turn()
        self.raise_if_refused()
        try:
            response = await self._questions.send(request)
        except (wire.NotSentError, wire.NoAnswerError) as error:
            return Failed(Trouble.RETRYABLE, self.clean(str(error)))
        return self._noted(read(response), response, turn)

    def _noted(self, outcome: T, response: HttpResponse, turn: float) -> T | Failed:
        if isinstance(outcome, Failed) and outcome.trouble is Trouble.RATE_LIMITED:
            self.counts["refusals"] += 1
            self.pace.refused(turn, outcome.retry_after)
        else:
            self.pace.succeeded()
        if isinstance(outcome, Failed):
            asked = reading.retry_after(response.headers)
            return replace(outcome, message=self.clean(outcome.message), retry_after=asked)
        if isinstance(outcome, Unsettled):
            then = replace(outcome.then, message=self.clean(outcome.then.message))
            return replace(outcome, then=then)
        return outcome

    def clean(self, text: str) -> str:
        """Blots the key, and signatures of web addresses, out of a text that came from outside."""
        return hide_queries(self._secret.hide_in(text))

    def stop(self, failed: Failed) -> ProviderStoppedError:
        """Stops submitting (and, when the key is refused, everything); says so once."""
        if self.stopped is None or self.stopped.trouble is Trouble.EXHAUSTED_BUDGET:
            was = self.stopped
            self.stopped = ProviderStoppedError(
                self.adapter.name, failed.trouble, self.clean(failed.message)
            )
            if was is None or was.trouble is not failed.trouble:
                _logger.error("%s", self.stopped)
            if failed.trouble is Trouble.AUTH:
                self._refused.set()
        return self.stopped

    def raise_if_stopped(self) -> None:
        """Raises ProviderStoppedError when nothing more is to be submitted."""
        if self.stopped is not None:
            raise self.stopped.again()

    def raise_if_refused(self) -> None:
        """Raises ProviderStoppedError when not even open jobs can be polled."""
        if self.stopped is not None and self.stopped.trouble is Trouble.AUTH:
            raise self.stopped.again()

    async def clear_to_submit(self, reservation: Reservation) -> float:
        """Sets one picture's price aside and waits for the turn to submit it.

        Returns:
          The turn.

        Raises:
          ProviderStoppedError: the limit is reached, or nothing more is to be submitted.
        """
        try:
            await reservation.hold(self.adapter.price.reserve_usd)
        except BudgetReachedError as error:
            raise self.stop(Failed(Trouble.EXHAUSTED_BUDGET, str(error))).again() from None
        try:
            turn = await self.pace.turn()
            self.raise_if_stopped()
        except ProviderStoppedError:
            await reservation.settle(0.0)
            raise
        return turn

    def name_of(self, job: Job) -> str:
        """Names the purchase of a job."""
        adapter = self.adapter
        return purchase_name(job.identity, adapter.name, adapter.model, adapter.result_options())

    async def blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that waits for a disk, the network or a decoder in a thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: call(*args, **kwargs)
        )

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, but not on after the key has been refused."""
        self.raise_if_refused()
        try:
            await asyncio.wait_for(self._refused.wait(), seconds)
        except asyncio.TimeoutError:
            return
        self.raise_if_refused()

    async def rest(self, tries: int, least: float = 0.0, failed: Failed | None = None) -> None:
        """Pauses before a repeat.

        Args:
          tries: how many repeats there were; each pause is longer than the one before.
          least: the pause is never below it.
          failed: what is to be repeated. Where it was refused for speed and told how long to wait,
            that long is right; after other failures it is the least.
        """
        t = self.timing
        self.counts["retries"] += 1
        pause = backoff(t.retry_first, t.retry_factor, t.retry_cap, tries, random.random())
        if failed is not None and failed.retry_after is not None:
            asked = min(failed.retry_after, LONGEST_HOLD)
            pause = asked if failed.trouble is Trouble.RATE_LIMITED else max(pause, asked)
        await self._sleep(max(least, pause))

    async def pause(self, polls: int, least: float = 0.0) -> None:
        """Pauses before the next question, longer with every one, but never below the least."""
        t = self.timing
        jittered = 0.25 + 0.5 * random.random()
        grown = backoff(t.poll_first, t.poll_factor, t.poll_cap, polls, jittered)
        await self._sleep(max(least, grown))

    async def until_first_poll(self, ticket: Ticket) -> None:
        """Pauses until a job is to be asked about for the first time."""
        t, gap = self.timing, self.adapter.poll_gap(ticket) * self.timing.second
        age = first_question(self.expectation.took, t.poll_first, gap, t.poll_cap, random.random())
        # A clock that was set back would otherwise hold the job for as long.
        left = min(age, ticket.submitted_at + age - time.time())
        if left > 0:
            await self._sleep(left)
