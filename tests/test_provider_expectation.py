"""When a job is first asked about, and how long it is left alone between two questions."""

from __future__ import annotations

import asyncio

import pytest
from answers import PIXAZO_ID, answered
from hypothesis import given, settings
from hypothesis import strategies as st
from service import is_right, job_for, outcomes
from standins.kinds import QUICK, WAYS

from alphabeam.transforms.providers import reading
from alphabeam.transforms.providers.catalogue import make_adapter
from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.expectation import Expectation, first_question
from alphabeam.transforms.providers.lane import Lane
from alphabeam.transforms.providers.messages import Done, Running, Ticket

NEWER = Ticket("pixazo-bria", PIXAZO_ID, {"polling_url": ""})
OLDER = Ticket("pixazo-bria", PIXAZO_ID)

SECONDS = st.floats(0.0, 1e6)
RANDOM = st.floats(0.0, 1.0)


@settings(deadline=None, max_examples=200)
@given(st.lists(SECONDS, min_size=1, max_size=64), SECONDS, SECONDS, SECONDS, RANDOM)
def test_a_known_provider_is_asked_when_nine_in_ten_jobs_had_ended(took, first, gap, cap, random):
    age = first_question(took, first, gap, cap, random)
    ended = sum(seconds <= age for seconds in took)
    assert age == cap or 10 * ended >= 9 * len(took) - 10
    assert min(min(took), cap) <= age <= min(1.1 * max(took), cap) + 1e-9


@settings(deadline=None, max_examples=200)
@given(st.floats(0.01, 10.0), st.floats(0.0, 20.0), RANDOM)
def test_an_unknown_provider_is_asked_between_its_first_poll_and_its_gap(first, gap, random):
    age = first_question((), first, gap, 100.0, random)
    if gap > first:
        assert first <= age <= gap + 1e-9
    else:
        assert 0.75 * first <= age <= 1.25 * first


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.none() | SECONDS, st.floats(-1e3, 1e6)), max_size=100))
def test_what_a_provider_states_is_never_longer_than_what_was_seen(ends):
    expectation = Expectation()
    for stated, age in ends:
        expectation.ended(stated, age)
    stated_ones = [(stated, max(0.0, age)) for stated, age in ends if stated is not None]
    assert list(expectation.took) == [min(both) for both in stated_ones][-64:]


@pytest.mark.parametrize(
    ("created", "completed", "took"),
    [
        ("2026-04-15T10:00:00.250Z", "2026-04-15T10:00:03.750Z", 3.5),
        ("2026-04-15T12:00:00+02:00", "2026-04-15T10:00:03", 3.0),
        (1_776_247_200, 1_776_247_204.5, 4.5),
        (1_776_247_200_000, 1_776_247_204_500, 4.5),
        ("2026-04-15T10:00:03Z", "2026-04-15T10:00:00Z", None),
        ("yesterday", "2026-04-15T10:00:00Z", None),
        (None, None, None),
        (True, [], None),
    ],
)
def test_pixazo_says_in_the_newer_dialect_how_long_a_job_took(created, completed, took):
    document = {"status": "COMPLETED", "output": {"media_url": ["https://x.r2.dev/a.png"]},
                "created_at": created, "completed_at": completed}  # fmt: skip
    outcome = make_adapter("pixazo-bria").read_poll(NEWER, answered(200, document))
    assert outcome == Done("https://x.r2.dev/a.png", PIXAZO_ID, took=took)


def test_pixazo_says_in_the_older_dialect_how_long_a_job_will_take():
    document = {"status": "IN_PROGRESS", "estimated_completion_time_seconds": 12}
    outcome = make_adapter("pixazo-bria").read_poll(OLDER, answered(200, document))
    assert outcome == Running(queued=False, seconds_left=12.0)


def test_only_pixazos_newer_dialect_wants_five_seconds_between_polls():
    adapter = make_adapter("pixazo-bria")
    assert (adapter.poll_gap(NEWER), adapter.poll_gap(OLDER)) == (5.0, 0.0)
    assert make_adapter("fal-bria").poll_gap(Ticket("fal-bria", "x")) == 0.0


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=40) | st.integers() | st.floats() | st.none())
def test_a_time_is_read_or_it_is_none(value):
    assert reading.moment(value) is None or isinstance(reading.moment(value), float)


@pytest.mark.parametrize(("label", "leasts"), [("pixazo-bria 2", {5.0}), ("pixazo-bria 1", {0, 1})])
def test_a_job_is_left_alone_as_long_as_its_dialect_and_its_estimate_want(
    label, leasts, tmp_path, monkeypatch
):
    asked: set[float] = set()

    async def pause(self: Lane, polls: int, least: float = 0.0) -> None:
        asked.add(least / QUICK.second)
        await asyncio.sleep(0.001)

    monkeypatch.setattr(Lane, "pause", pause)
    way = WAYS[label]
    with way.open(seconds=0.5) as standin, Provider(way.settings(standin, tmp_path)) as provider:
        assert is_right(provider.cut_out(job_for(way, standin)))
    assert max(asked) == max(leasts)
    assert asked <= leasts


def test_a_pause_is_never_below_the_least(tmp_path, monkeypatch):
    slept: list[float] = []

    async def sleep(self: Lane, seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(Lane, "_sleep", sleep)
    way = WAYS["pixazo-bria 2"]
    with way.open() as standin, Provider(way.settings(standin, tmp_path)) as provider:
        lane = provider._lane()
        asyncio.run(lane.pause(0, 7.0))
        asyncio.run(lane.rest(0, 7.0))
        asyncio.run(lane.pause(0))
    assert slept[:2] == [7.0, 7.0]
    assert slept[2] < 7.0


def test_a_provider_is_asked_first_when_its_jobs_have_mostly_ended(tmp_path):
    way = WAYS["pixazo-bria 2"]
    with way.open(seconds=0.03) as standin, Provider(way.settings(standin, tmp_path)) as provider:
        jobs = [job_for(way, standin, n) for n in range(20)]
        assert all(is_right(result, n) for n, result in enumerate(outcomes(provider, jobs)))
        took = provider._lane().expectation.took
        assert len(took) == 20
        assert all(0.0 < seconds <= 20.0 for seconds in took)
