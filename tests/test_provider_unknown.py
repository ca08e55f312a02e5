"""Submits of which nobody knows whether they were accepted, and what must not be concluded then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from service import is_right, job_for, run_one
from standins.faults import Faults
from standins.kinds import QUICK, WAYS

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.entries import Intent, Vacant
from alphabeam.transforms.providers.errors import ProviderError, ProviderStoppedError
from alphabeam.transforms.providers.ledger import Ledger

RUNWARE = ["runware-bria sync", "runware-bria async"]


def tasks_of(standin) -> set[str]:
    """Gives the ids under which pictures were submitted to Runware."""
    tasks = [request.document[0] for request in standin.seen if request.path == "/v1"]
    return {task["taskUUID"] for task in tasks if task["taskType"] == "removeBackground"}


@pytest.mark.parametrize("label", RUNWARE)
@pytest.mark.parametrize("fault", ["after:504", "garbage", "drop_after"])
def test_runware_gets_the_same_task_again_from_the_next_run(label, fault, tmp_path):
    way = WAYS[label]
    timing = replace(QUICK, retry_for=0.0)
    with way.open(Faults({"submit": [fault]})) as standin:
        settings, job = way.settings(standin, tmp_path, timing=timing), job_for(way, standin)
        with Provider(settings) as provider:
            with pytest.raises(ProviderError, match="sends the same id again") as caught:
                provider.cut_out(job)
            assert (caught.value.kind, caught.value.retryable) == ("ambiguous", True)
            assert provider.spent_usd == pytest.approx(0.018)
        with Provider(settings) as provider:
            assert is_right(provider.cut_out(job))
        assert (len(tasks_of(standin)), len(standin.bills)) == (1, 1)


@pytest.mark.parametrize("label", RUNWARE)
@pytest.mark.parametrize("fault", ["429:0", "429", "500", "503", "504"])
def test_runware_gets_the_same_task_again_where_it_could_not_take_it(label, fault, tmp_path):
    outcome, standin = run_one(label, tmp_path, {"submit": [fault, fault, None]})
    assert is_right(outcome)
    assert (len(tasks_of(standin)), standin.steps["submit"]) == (1, 3)


@pytest.mark.parametrize("label", RUNWARE)
def test_runware_saying_that_it_failed_does_not_make_a_task_another(label, tmp_path):
    way = WAYS[label]
    timing = replace(QUICK, retry_for=0.0)
    with way.open(Faults({"submit": ["after:503"]})) as standin:
        settings, job = way.settings(standin, tmp_path, timing=timing), job_for(way, standin)
        with Provider(settings) as provider:
            with pytest.raises(ProviderError, match="503") as caught:
                provider.cut_out(job)
            assert (caught.value.kind, caught.value.retryable) == ("unavailable", True)
            assert provider.spent_usd == 0.0
        with Provider(settings) as provider:
            assert is_right(provider.cut_out(job))
        assert (len(tasks_of(standin)), len(standin.bills)) == (1, 1)


@pytest.mark.parametrize("label", RUNWARE)
@pytest.mark.parametrize(
    "faults", [["402"], ["401"], ["429:0", "402"], ["503", "401"], ["drop_before", "402"]]
)
def test_a_refusal_tells_nothing_of_the_submit_before_it(label, faults, tmp_path):
    way = WAYS[label]
    with way.open(Faults({"submit": ["drop_after", *faults, faults[-1], None]})) as standin:
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        for _ in range(2):
            with Provider(settings) as provider, pytest.raises(ProviderStoppedError) as caught:
                provider.cut_out(job)
            assert caught.value.maybe_billed
        with Provider(settings) as provider:
            assert is_right(provider.cut_out(job))
        assert (len(tasks_of(standin)), len(standin.bills)) == (1, 1)


def test_a_key_refused_while_a_lost_submit_is_searched_for_leaves_it_maybe_billed(tmp_path):
    way = WAYS["fal-bria queue"]
    with way.open(Faults({"submit": ["drop_after"], "find": ["401"]})) as standin:
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        with Provider(settings) as provider, pytest.raises(ProviderStoppedError) as caught:
            provider.cut_out(job)
        assert caught.value.maybe_billed
        with Provider(settings) as provider:
            assert is_right(provider.cut_out(job))
        assert (standin.steps["submit"], len(standin.bills)) == (1, 1)


@pytest.mark.parametrize("label", ["fal-bria queue", "gmi-bria queued", "runware-bria sync"])
def test_a_key_that_is_refused_at_once_leaves_nothing_maybe_billed(label, tmp_path):
    way = WAYS[label]
    with way.open(Faults({"submit": ["401"]})) as standin:
        with Provider(way.settings(standin, tmp_path)) as provider:
            with pytest.raises(ProviderStoppedError) as caught:
                provider.cut_out(job_for(way, standin))
            assert provider.spent_usd == 0.0
        assert not caught.value.maybe_billed


def test_gmi_pays_once_though_its_list_does_not_show_what_its_jobs_are_of(tmp_path):
    way = WAYS["gmi-bria queued"]
    with way.open(Faults({"submit": ["drop_after"]})) as standin:
        standin.echoes = False
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        with Provider(settings) as provider, pytest.raises(ProviderError) as caught:
            provider.cut_out(job)
        assert (caught.value.kind, caught.value.retryable) == ("ambiguous", False)
        standin.echoes = True
        with Provider(settings) as provider:
            assert is_right(provider.cut_out(job))
        assert (standin.steps["submit"], len(standin.bills)) == (1, 1)


def test_gmi_is_searched_for_a_while_after_the_answer_was_lost_not_after_the_submit_began(
    tmp_path, monkeypatch
):
    way = WAYS["gmi-bria queued"]
    intend = Ledger.intend

    def long_ago(self: Ledger, name: str, vacant: Vacant) -> Intent | None:
        intent = intend(self, name, vacant)
        return intent and replace(intent, at=intent.at - QUICK.find_for - 1.0)

    monkeypatch.setattr(Ledger, "intend", long_ago)
    with way.open(Faults({"submit": ["drop_before"]})) as standin:
        job, list_jobs = job_for(way, standin), standin._list

        def listed_before_it_was_accepted() -> dict:
            listed = list_jobs()
            if not standin.jobs:
                standin.accept(job.picture.url, {})
            return listed

        standin._list = listed_before_it_was_accepted
        with Provider(way.settings(standin, tmp_path)) as provider:
            assert is_right(provider.cut_out(job))
        assert (standin.steps["submit"], len(standin.bills)) == (1, 1)
