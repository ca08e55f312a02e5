"""Speed, money and company: the rate of requests, the budget, and requests that travel together."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.providers.budget import Budget, BudgetReachedError, Reservation
from alphabeam.transforms.providers.join import Joiner
from alphabeam.transforms.providers.messages import HttpRequest, HttpResponse
from alphabeam.transforms.providers.pace import Pace, backoff


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def paced(limit: float) -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(limit, clock, clock.sleep), clock


def turns(pace: Pace, count: int) -> list[float]:
    async def take() -> list[float]:
        return [await pace.turn() for _ in range(count)]

    return asyncio.run(take())


@settings(deadline=None, max_examples=50)
@given(st.floats(1.0, 1000.0), st.integers(2, 50))
def test_requests_never_start_faster_than_the_limit(limit, count):
    pace, _ = paced(limit)
    taken = turns(pace, count)
    assert taken[-1] - taken[0] >= (count - 1) / limit * 0.999


def test_a_refusal_halves_the_rate_in_use_once_for_all_that_were_under_way():
    pace, _ = paced(1000.0)
    before = turns(pace, 100)
    pace.rate = 50.0
    slow = turns(pace, 60)
    pace.refused(slow[-1], None)
    assert pace.rate == pytest.approx(25.0, rel=0.1)
    halved = pace.rate
    for turn in before:
        pace.refused(turn, None)
    assert pace.rate == halved
    pace.refused(turns(pace, 1)[0], None)
    assert pace.rate < halved


def test_the_rate_comes_back_by_equal_steps_a_second():
    pace, clock = paced(200.0)
    turns(pace, 200)
    pace.refused(clock.now, None)
    halved = pace.rate
    began = clock.now
    while clock.now < began + 5.0:
        turns(pace, 1)
        pace.succeeded()
    assert pace.rate == pytest.approx(1.5 * halved, rel=0.1)
    for _ in range(100_000):
        pace.succeeded()
    assert pace.rate == 200.0


def test_what_a_burst_of_refusals_took_comes_back_within_minutes():
    pace, clock = paced(200.0)
    for _ in range(20):
        pace.refused(turns(pace, 1)[0], None)
    assert pace.rate < 0.5
    began = clock.now
    while pace.rate < 100.0:
        turns(pace, 1)
        pace.succeeded()
        assert clock.now < began + 180.0


def test_nobody_starts_within_the_pause_that_was_asked_for():
    pace, clock = paced(100.0)
    turn = turns(pace, 1)[0]
    pace.refused(turn, 30.0)
    asked = clock.now
    assert turns(pace, 1)[0] >= asked + 30.0


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_a_pause_before_a_repeat_is_bounded_and_never_nothing(tries, random):
    assert 0.5 <= backoff(1.0, 2.0, 60.0, tries, random) <= 90.0


def test_a_budget_is_never_passed_and_uses_what_is_returned():
    async def run() -> list[str]:
        budget = Budget(0.05)
        held = [Reservation(budget) for _ in range(4)]
        events = []
        await held[0].hold(0.018)
        await held[1].hold(0.018)

        async def third() -> None:
            await held[2].hold(0.018)
            events.append("third")

        waiting = asyncio.ensure_future(third())
        await asyncio.sleep(0)
        assert not waiting.done()
        events.append("one settles for nothing")
        await held[0].settle(0.0)
        await waiting
        await held[1].settle(0.018)
        await held[2].settle(0.018)
        with pytest.raises(
            BudgetReachedError, match=r"--max_cost_usd 0.05 is reached: 0.036 spent"
        ):
            await held[3].hold(0.018)
        assert budget.spent_usd == pytest.approx(0.036)
        return events

    assert asyncio.run(run()) == ["one settles for nothing", "third"]


def test_a_budget_that_is_an_exact_multiple_of_the_price_is_used_up():
    async def run() -> int:
        budget, bought = Budget(0.018 * 7), 0
        for _ in range(7):
            reservation = Reservation(budget)
            await reservation.hold(0.018)
            await reservation.settle(0.018)
            bought += 1
        with pytest.raises(BudgetReachedError):
            await Reservation(budget).hold(0.018)
        return bought

    assert asyncio.run(run()) == 7


def joined(count: int, most: int, refuse: set[str]) -> tuple[list[int], list[list[str]]]:
    """Sends requests together; gives their statuses and what travelled together."""
    travelled: list[list[str]] = []

    async def send(request: HttpRequest) -> HttpResponse:
        travelled.append(request.json)
        bad = refuse & set(request.json)
        return HttpResponse(400 if bad else 200, {}, json.dumps(request.json).encode())

    async def run() -> list[int]:
        joiner = Joiner(send, most)
        requests = [
            HttpRequest("POST", "http://x", json=[str(n)], joinable=True) for n in range(count)
        ]
        answers = await asyncio.gather(*(joiner.send(request) for request in requests))
        assert all(str(n) in answer.document for n, answer in enumerate(answers))
        return [answer.status for answer in answers]

    return asyncio.run(run()), travelled


def test_requests_travel_together_up_to_the_limit():
    statuses, travelled = joined(10, 4, set())
    assert statuses == [200] * 10
    assert [len(tasks) for tasks in travelled] == [4, 4, 2]


def test_one_malformed_request_does_not_take_its_company_along():
    statuses, travelled = joined(4, 4, {"2"})
    assert statuses == [200, 200, 400, 200]
    assert [len(tasks) for tasks in travelled] == [4, 1, 1, 1, 1]
