"""A thousand rows with one in ten requests going wrong: each ends in data or errors, paid once."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest
from hosted_jobs import ended, flags_for, small_manifest
from standins.faults import Faults
from standins.kinds import QUEUED, QUICK, WAYS, hurry
from test_job import run
from test_provider_faults import JOBS, REQUESTS

ROWS = 1000
# Beyond what one driver is tried with. Refusals for speed are left to a test of their own: at random
# they would slow the run down for good, as they should.
MORE = {
    "submit": {"delay:0.05": 0.02, "500": 0.01, "429:0": 0.0},
    "poll": {"delay:0.05": 0.02},
    "fetch": {"expired": 0.01},
    "media": {"small": 0.01, "rgb": 0.01, "delay:0.05": 0.01},
}
WEDGED = {"wedge": 0.004, "wedge_queued": 0.004}
# What an error row may say: not one of them is a surprise.
KINDS = {"ambiguous", "unavailable", "rejected_input", "expired_result", "failed", "timeout"}


@pytest.mark.parametrize("label", QUEUED)
def test_every_row_of_a_faulty_job_ends_and_none_is_paid_for_twice(label, tmp_path, monkeypatch):
    hurry(monkeypatch.setattr, replace(QUICK, deadline=4.0, lease=60.0))
    way = WAYS[label]
    rates = {step: {**faults, **MORE.get(step, {})} for step, faults in REQUESTS.items()}
    rates["job"] = {**JOBS[label], **WEDGED}
    with way.open(Faults(rates=rates, seed=9)) as standin:
        manifest = small_manifest(way, standin, tmp_path, range(ROWS))
        flags = flags_for(way, standin)
        outage = threading.Thread(target=refuse_for_a_while, args=(standin, ROWS // 2))
        outage.start()
        code = run(manifest, tmp_path / "out", *flags, engine=["--engine", way.provider])
        outage.join()
        assert code == 0
        errors = ended(tmp_path / "out", ROWS, spoiled=ROWS // 20)
        told = Counter(row["error"] for row in errors)
        assert set(told) <= KINDS
        assert sum(told.values()) < 0.3 * ROWS
        assert set(standin.billed().values()) == {1}


def refuse_for_a_while(standin, jobs):
    """Refuses connections, and breaks those there are, once a number of jobs has been taken."""
    standin.wait_for("accepted", jobs)
    with standin.down():
        refused = threading.Event()
        refused.wait(0.2)


@pytest.mark.parametrize("label", QUEUED)
def test_a_job_that_is_refused_for_speed_slows_down_and_loses_nothing(label, tmp_path, monkeypatch):
    hurry(monkeypatch.setattr)
    way = WAYS[label]
    script = {"submit": [None] * 10 + ["429:0"] * 3 + ["429"], "poll": [None] * 10 + ["429:0"]}
    with way.open(Faults(script)) as standin:
        manifest = small_manifest(way, standin, tmp_path, range(40))
        flags = flags_for(way, standin)
        assert run(manifest, tmp_path / "out", *flags, engine=["--engine", way.provider]) == 0
        assert ended(tmp_path / "out", 40) == []
        assert standin.steps["submit"] == 44
        assert len(standin.bills) == 40


@pytest.mark.parametrize("label", ["fal-bria queue", "pixazo-bria 1"])
def test_rows_that_may_have_been_paid_for_are_paid_again_only_when_told_to(
    label, tmp_path, monkeypatch
):
    hurry(monkeypatch.setattr)
    way = WAYS[label]
    with way.open(Faults({"submit": ["drop_before"]})) as standin:
        manifest = small_manifest(way, standin, tmp_path, range(6))
        output, flags = tmp_path / "out", flags_for(way, standin, "--retry_failed")
        engine = ["--engine", way.provider]
        assert run(manifest, output, *flags[:-1], engine=engine) == 0
        for _ in range(2):
            (error,) = ended(output, 6)
            assert (error["error"], error["retryable"]) == ("ambiguous", False)
            assert standin.steps["submit"] == 6
            assert run(manifest, output, *flags, engine=engine) == 0
        assert run(manifest, output, *flags, "--repay_ambiguous", engine=engine) == 0
        assert ended(output, 6) == []
        assert standin.steps["submit"] == 7
        assert set(standin.billed().values()) == {1}
