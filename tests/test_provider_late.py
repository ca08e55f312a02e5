"""Jobs that are asked about late: past their deadline, or when the result is no longer there."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from service import is_right, job_for, outcomes, run_one
from standins.faults import Faults
from standins.kinds import QUICK, WAYS, Way

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.entries import Vacant
from alphabeam.transforms.providers.errors import ProviderError
from alphabeam.transforms.providers.ledger import Ledger
from alphabeam.transforms.providers.messages import Ticket
from alphabeam.transforms.providers.settings import Job

QUEUED = ["fal-bria queue", "gmi-bria queued", "runware-bria async", "pixazo-bria 2"]


def left_open(
    way: Way, standin: Any, folder: object, job: Job, job_fault: str | None = None
) -> None:
    """Lets a run of yesterday have had a picture accepted and not been there when it was done."""
    ledger = Ledger(str(folder))
    with Provider(way.settings(standin, folder)) as provider:
        name = provider._lane().name_of(job)
    intent = ledger.intend(name, Vacant())
    assert intent is not None

    async def accept() -> str:
        arguments = {"endpoint": "fal-ai/bria/background/remove"} | dict(way.options)
        task_id = ledger.task_id(name, 1) if way.provider == "runware-bria" else None
        taken = standin.accept(
            job.picture.url, {**arguments, "image_url": job.picture.url}, task_id
        )
        if job_fault is None:
            await taken.finished.wait()
        return taken.id

    request_id = standin.do(accept())
    urls = {"polling_url": ""} if standin.urls().get("pixazo") and way.standin else {}
    yesterday = time.time() - 86_400
    ledger.accept(name, intent, Ticket(way.provider, request_id, urls, yesterday, yesterday + 1800))


def by_address(label: str) -> Way:
    return replace(WAYS[label], as_data=False)


@pytest.mark.parametrize(
    ("label", "script"),
    [
        ("fal-bria queue", {"fetch": ["expired"]}),
        ("fal-bria queue", {"fetch": ["expired"], "find": ["503", "drop_after", "garbage"]}),
        ("runware-bria async", {"media": ["vanish"]}),
        ("runware-bria async", {"media": ["vanish"], "recall": ["503", "drop_after", "429:0"]}),
    ],
)
def test_what_expired_while_nobody_asked_is_recalled_from_the_archive(label, script, tmp_path):
    way = by_address(label)
    with way.open(Faults(script)) as standin:
        job = job_for(way, standin)
        left_open(way, standin, tmp_path, job)
        with Provider(way.settings(standin, tmp_path)) as provider:
            assert is_right(provider.cut_out(job))
        assert (standin.steps["submit"], len(standin.bills)) == (0, 1)


@pytest.mark.parametrize(
    ("label", "script"),
    [
        ("fal-bria queue", {"fetch": ["expired", None], "find": ["503"] * 5}),
        ("runware-bria async", {"media": ["vanish"], "recall": ["502"] * 5}),
        ("fal-bria sync", {"media": ["404"], "poll": ["503"] * 5}),
        ("pixazo-bria immediate", {"media": ["404"], "poll": ["drop_after"] * 5}),
    ],
)
def test_a_result_that_cannot_be_asked_for_now_is_not_given_up(label, script, tmp_path):
    way = WAYS[label]
    with way.open(Faults(script)) as standin:
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        with Provider(settings) as provider:
            with pytest.raises(ProviderError, match="cannot be asked where") as caught:
                provider.cut_out(job)
            assert caught.value.retryable
            assert is_right(provider.cut_out(job))
        assert (standin.steps["submit"], len(standin.bills)) == (1, 1)


@pytest.mark.parametrize("label", QUEUED)
@pytest.mark.parametrize("fault", ["503", "drop_after", "garbage"])
def test_a_job_of_yesterday_is_not_given_up_because_a_question_failed(label, fault, tmp_path):
    way = by_address(label)
    with way.open(Faults({"poll": [fault]})) as standin:
        job = job_for(way, standin)
        left_open(way, standin, tmp_path, job)
        with Provider(way.settings(standin, tmp_path)) as provider:
            assert is_right(provider.cut_out(job))
        assert (standin.steps["cancel"], standin.steps["submit"]) == (0, 0)


def test_a_finished_job_whose_picture_is_not_there_yet_is_not_cancelled(tmp_path):
    way = WAYS["gmi-bria queued"]
    with way.open(Faults({"poll": ["empty"]})) as standin:
        job = job_for(way, standin)
        left_open(way, standin, tmp_path, job)
        with Provider(way.settings(standin, tmp_path)) as provider:
            assert is_right(provider.cut_out(job))
        assert standin.steps["cancel"] == 0


def test_a_rejected_picture_stays_rejected_past_its_jobs_deadline(tmp_path):
    way = WAYS["pixazo-bria 2"]
    with way.open(Faults({"job": ["fail"]})) as standin:
        job = job_for(way, standin)
        left_open(way, standin, tmp_path, job)
        with Provider(way.settings(standin, tmp_path)) as provider:
            (outcome,) = outcomes(provider, [job])
        assert isinstance(outcome, ProviderError)
        assert outcome.kind == "rejected_input"


def test_a_job_that_left_the_queue_while_it_was_cancelled_is_not_bought_again(tmp_path):
    outcome, standin = run_one(
        "fal-bria queue",
        tmp_path,
        {"job": ["wedge_queued"], "cancel": ["late"]},
        timing=replace(QUICK, deadline=0.2),
    )
    assert is_right(outcome)
    assert (standin.steps["cancel"], standin.steps["submit"], len(standin.bills)) == (1, 1, 1)
