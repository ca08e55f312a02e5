"""The driver against the stand-ins: every way of every provider, and what every error leads to."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from service import found_late, is_right, job_for, run_one
from standins.faults import Faults
from standins.kinds import QUICK, WAYS

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError
from alphabeam.transforms.providers.lane import Lane

EACH = ["fal-bria queue", "pixazo-bria 1", "gmi-bria queued", "runware-bria async"]


@pytest.mark.parametrize("label", WAYS)
def test_every_way_gives_the_right_picture_and_pays_once(label, tmp_path):
    way = WAYS[label]
    with way.open() as standin, Provider(way.settings(standin, tmp_path)) as provider:
        job = job_for(way, standin)
        first = provider.cut_out(job)
        again = provider.cut_out(job)
        assert is_right(first)
        assert is_right(again)
        assert (first.reused, again.reused) == (False, True)
        assert first.data == again.data
        assert (first.request_id, first.cost_usd) == (again.request_id, again.cost_usd)
        assert list(standin.billed().values()) == [1]
        assert provider.spent_usd == pytest.approx(first.cost_usd)


PASSING = {
    "submit": ["429:0", "429", None],
    "poll": ["503", "drop_before", "drop_after", "garbage", "429:0", None],
    "media": ["503", "truncate", "corrupt", "drop_after", None],
}


@pytest.mark.parametrize("label", EACH)
def test_what_fails_in_passing_is_repeated_and_paid_once(label, tmp_path):
    outcome, standin = run_one(label, tmp_path, PASSING)
    assert is_right(outcome)
    assert list(standin.billed().values()) == [1]


def test_fal_repeats_what_it_knows_was_not_accepted(tmp_path):
    script = {
        "submit": ["503", "500", "408", None],
        "fetch": ["503", "garbage", "drop_after", None],
    }
    outcome, standin = run_one("fal-bria queue", tmp_path, script)
    assert is_right(outcome)
    assert list(standin.billed().values()) == [1]


@pytest.mark.parametrize("label", EACH)
def test_a_refused_connection_is_repeated(label, tmp_path, monkeypatch):
    way = WAYS[label]
    resting, rest = threading.Semaphore(0), Lane.rest

    async def noticed(lane: Lane, *args: Any, **named: Any) -> None:
        resting.release()
        await rest(lane, *args, **named)

    monkeypatch.setattr(Lane, "rest", noticed)
    with way.open() as standin, Provider(way.settings(standin, tmp_path)) as provider:
        job = job_for(way, standin)
        with standin.down():
            future = provider.submit(job)
            assert resting.acquire(timeout=30)
            assert resting.acquire(timeout=30)
        assert is_right(future.result(30))
        assert list(standin.billed().values()) == [1]


@pytest.mark.parametrize(
    "label", ["fal-bria queue", "fal-bria sync", "fal-rembg queue", "gmi-bria queued"]
)
@pytest.mark.parametrize("fault", ["drop_after", "garbage"])
def test_an_accepted_submit_whose_answer_is_lost_is_found_again(label, fault, tmp_path):
    script = {"submit": [fault], "find": ["503", None]}
    outcome, standin = run_one(label, tmp_path, script, timing=replace(QUICK, find_for=20.0))
    assert is_right(outcome)
    assert (standin.steps["submit"], len(standin.bills)) == (1, 1)
    assert standin.steps["find"] >= 2


@pytest.mark.parametrize("label", ["runware-bria sync", "runware-bria async", "runware-bria joint"])
@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "garbage", "503"])
def test_runware_gets_the_same_task_again_and_bills_it_once(label, fault, tmp_path):
    outcome, standin = run_one(label, tmp_path, {"submit": [fault, fault, None]})
    assert is_right(outcome)
    assert len(standin.bills) == 1
    tasks = [r.document[0] for r in standin.seen if r.path == "/v1"]
    sent = [t["taskUUID"] for t in tasks if t["taskType"] == "removeBackground"]
    assert len(sent) == 3
    assert len(set(sent)) == 1


def test_gmi_submits_again_what_its_list_does_not_know(tmp_path):
    outcome, standin = run_one("gmi-bria queued", tmp_path, {"submit": ["drop_before", None]})
    assert is_right(outcome)
    assert (standin.steps["submit"], len(standin.bills)) == (2, 1)


def test_gmi_pays_once_though_its_list_is_cut_without_a_sign(tmp_path):
    way = WAYS["gmi-bria queued"]
    with way.open(Faults({"submit": ["drop_after"]})) as standin:
        standin.page = 20
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        accept = standin.accept

        def accept_many(*args):
            taken = accept(*args)
            if len(standin.jobs) == 1:
                for n in range(1, 30):
                    accept(job_for(way, standin, n).picture.url, {})
            return taken

        standin.accept = accept_many
        with Provider(settings) as provider, pytest.raises(ProviderError) as caught:
            provider.cut_out(job)
        assert (caught.value.kind, caught.value.retryable) == ("ambiguous", False)
        standin.page = None
        with Provider(settings) as provider:
            assert is_right(provider.cut_out(job))
        assert standin.billed()[job.picture.url] == standin.steps["submit"] == 1


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("fal-bria queue", "drop_before"),
        ("fal-bria sync", "garbage_before"),
        ("pixazo-bria 1", "drop_after"),
        ("pixazo-bria 2", "drop_before"),
        ("pixazo-bria 1", "503"),
    ],
)
def test_a_lost_submit_that_cannot_be_found_is_ambiguous_until_paying_again_is_allowed(
    label, fault, tmp_path
):
    way = WAYS[label]
    with way.open(Faults({"submit": [fault, None]})) as standin:
        settings = way.settings(standin, tmp_path)
        job = job_for(way, standin)
        with Provider(settings) as provider:
            for _ in range(2):
                with pytest.raises(ProviderError, match="--repay_ambiguous") as caught:
                    provider.cut_out(job)
                assert caught.value.kind == "ambiguous"
                assert not caught.value.retryable
        assert standin.steps["submit"] == 1
        with Provider(replace(settings, repay_ambiguous=True)) as provider:
            result = provider.cut_out(job)
        assert is_right(result)
        assert (standin.steps["submit"], result.attempts) == (2, 2)


def test_a_submit_that_shows_late_in_the_history_is_found_by_the_next_run(tmp_path):
    way = WAYS["fal-bria queue"]
    with way.open(Faults({"submit": ["drop_after"]})) as standin:
        assert is_right(found_late(way, standin, tmp_path))
        assert len(standin.bills) == 1


RESTLESS = replace(QUICK, retry_first=50.0, retry_cap=50.0, read_timeout=5.0)


@pytest.mark.parametrize("label", EACH)
def test_a_refusal_for_speed_is_waited_out_as_long_as_it_says_and_no_longer(
    label, tmp_path, monkeypatch
):
    slept, sleep = [], Lane._sleep

    async def noticed(lane: Lane, seconds: float) -> None:
        slept.append(seconds)
        await sleep(lane, 0.0)

    monkeypatch.setattr(Lane, "_sleep", noticed)
    script = {"submit": ["429:7", "429:0", None], "poll": ["429:7", "503:80", None]}
    outcome, standin = run_one(label, tmp_path, script, timing=RESTLESS)
    assert is_right(outcome)
    assert 7.0 in slept
    assert 80.0 in slept
    assert not [seconds for seconds in slept if 10.0 < seconds < 75.0]
    assert standin.steps["submit"] == 3


def test_a_refusal_that_does_not_say_how_long_is_waited_out_by_the_providers_own_measure(
    tmp_path, monkeypatch
):
    slept: list[float] = []

    async def noticed(lane: Lane, seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(Lane, "_sleep", noticed)
    timing = replace(QUICK, retry_first=1.0, retry_cap=2.0)
    run_one("gmi-bria queued", tmp_path, {"submit": ["429", "429", "429"]}, timing=timing)
    rests = [seconds for seconds in slept if seconds >= 0.5]
    assert 0.5 <= rests[0] <= 1.5
    assert all(1.0 <= seconds <= 3.0 for seconds in rests[1:3])
