"""A purchase whose process ends at any point: gone on with, and never paid for twice."""

from __future__ import annotations

import signal
from dataclasses import replace

import doomed
import pytest
from service import is_right, job_for, outcomes
from standins.kinds import QUICK, WAYS

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError
from alphabeam.transforms.providers.ledger import Ledger
from alphabeam.transforms.providers.reading import reference

EACH = [
    "fal-bria queue",
    "fal-rembg queue",
    "pixazo-bria 1",
    "gmi-bria queued",
    "runware-bria sync",
    "runware-bria async",
]
# Where a submit can get lost without a trace that the provider lets one find.
UNKNOWABLE = {
    "fal": {"after intend"},
    "pixazo": {"after intend", "before accept"},
    "gmi": set(),
    "runware": set(),
}


class CrashError(Exception):
    """What a purchase meets where its process would have ended."""


def crash() -> None:
    raise CrashError


def check(label: str, point: str, outcome: object, bills: list, number: int = 0) -> None:
    provider = label.partition("-")[0]
    if point in UNKNOWABLE[provider]:
        assert isinstance(outcome, ProviderError)
        assert (outcome.kind, outcome.retryable) == ("ambiguous", False)
        assert len(bills) <= 1
    else:
        assert is_right(outcome, number)
        assert len(bills) == 1


@pytest.mark.parametrize("label", EACH)
@pytest.mark.parametrize("point", doomed.POINTS)
def test_a_purchase_goes_on_from_wherever_it_broke_off(label, point, tmp_path, monkeypatch):
    way = WAYS[label]
    with way.open() as standin:
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        with Provider(settings) as provider, monkeypatch.context() as patch:
            for name, whole in doomed.arm(Ledger, point, crash).items():
                struck = getattr(Ledger, name)
                setattr(Ledger, name, whole)
                patch.setattr(Ledger, name, struck)
            with pytest.raises(CrashError):
                provider.cut_out(job)
        with Provider(settings) as provider:
            (outcome,) = outcomes(provider, [job])
        check(label, point, outcome, standin.bills)


@pytest.mark.parametrize("label", EACH)
def test_a_killed_process_is_gone_on_from_by_another(label, tmp_path):
    way = WAYS[label]
    with way.open() as standin:
        runs = []
        for number, point in enumerate(doomed.POINTS):
            settings = way.settings(standin, tmp_path / point)
            job = job_for(way, standin, number)
            runs.append((point, settings, job, number, doomed.start(settings, [job], point)))
        for point, settings, job, number, process in runs:
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
            with Provider(settings) as provider:
                (outcome,) = outcomes(provider, [job])
            sent = reference(job.picture)
            bills = [bill for bill in standin.bills if bill.reference == sent]
            check(label, point, outcome, bills, number)


@pytest.mark.parametrize(
    "label", ["fal-bria sync", "gmi-bria blocking", "runware-bria sync", "pixazo-bria immediate"]
)
def test_a_process_killed_while_it_waits_for_the_answer_pays_once(label, tmp_path):
    way = WAYS[label]
    with way.open(seconds=0.3) as standin:
        # The stand-in's history shows a job when it is done, which this one is a while later.
        timing = replace(QUICK, find_for=10.0)
        settings, job = way.settings(standin, tmp_path, timing=timing), job_for(way, standin)
        process = doomed.start(settings, [job])
        standin.wait_for("accepted")
        process.kill()
        process.join(60)
        with Provider(settings) as provider:
            (outcome,) = outcomes(provider, [job])
        check(label, "before accept", outcome, standin.bills)


@pytest.mark.parametrize("label", ["fal-bria queue", "pixazo-bria 2", "gmi-bria queued"])
def test_workers_with_the_same_pictures_buy_each_once(label, tmp_path):
    way = WAYS[label]
    with way.open(seconds=0.05) as standin:
        settings = way.settings(standin, tmp_path)
        jobs = [job_for(way, standin, number) for number in range(12)]
        workers = [doomed.start(settings, jobs) for _ in range(3)]
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        assert set(standin.billed().values()) == {1}
        with Provider(settings) as provider:
            results = outcomes(provider, jobs)
        assert all(is_right(result, number) for number, result in enumerate(results))
        assert standin.steps["submit"] == len(jobs)
