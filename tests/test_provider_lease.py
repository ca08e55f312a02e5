"""A purchase that somebody else began: waited for, taken over, or left to them."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from service import is_right, job_for, picture
from standins.faults import Faults
from standins.kinds import QUICK, WAYS, Way
from standins.studio import cut_out

from alphabeam.transforms.providers.catalogue import make_adapter
from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.entries import Bought, Intent, Vacant
from alphabeam.transforms.providers.lane import Lane
from alphabeam.transforms.providers.ledger import Ledger, purchase_name
from alphabeam.transforms.providers.messages import Done, Failed, Ticket, Trouble


def name_of(way: Way, identity: str) -> str:
    adapter = make_adapter(way.provider, way.options)
    return purchase_name(identity, adapter.name, adapter.model, adapter.result_options())


@pytest.fixture
def somebody(tmp_path):
    """A worker on another machine, with the same ledger."""
    return Ledger(str(tmp_path), owner="elsewhere|1|1")


@pytest.mark.parametrize("label", ["gmi-bria queued", "runware-bria sync"])
def test_a_submit_of_another_machine_is_taken_over_when_its_lease_is_over(
    label, tmp_path, somebody
):
    way = WAYS[label]
    with way.open() as standin:
        job = job_for(way, standin)
        almost_over = time.time() - QUICK.lease + 0.5
        somebody.clock = lambda: almost_over
        intent = somebody.intend(name_of(way, job.identity), Vacant())
        with Provider(way.settings(standin, tmp_path)) as provider:
            result = provider.cut_out(job)
        assert is_right(result)
        assert standin.steps["submit"] == 1
        assert time.time() >= intent.at + QUICK.lease


def test_a_submit_that_was_turned_away_is_made_anew_without_searching(tmp_path, somebody):
    way = WAYS["fal-bria queue"]
    with way.open() as standin:
        job = job_for(way, standin)
        name = name_of(way, job.identity)
        somebody.let_go(name, somebody.renew(name, somebody.intend(name, Vacant()), sent=False))
        with Provider(way.settings(standin, tmp_path)) as provider:
            assert is_right(provider.cut_out(job))
        assert (standin.steps["submit"], standin.steps["find"]) == (1, 0)


def test_somebody_elses_ticket_is_polled_for(tmp_path, somebody):
    way = WAYS["pixazo-bria 2"]
    with way.open(seconds=0.2) as standin:
        job = job_for(way, standin)
        name = name_of(way, job.identity)
        with Provider(way.settings(standin, tmp_path)) as provider:
            intent = somebody.intend(name, Vacant())
            future = provider.submit(job)

            async def accept() -> str:
                return standin.accept(job.picture.url, {}).id

            request_id = standin.do(accept())
            ticket = Ticket("pixazo-bria", request_id, {"polling_url": ""}, 0.0, 1e12)
            somebody.accept(name, intent, ticket)
            assert is_right(future.result(30))
        assert (standin.steps["submit"], len(standin.bills)) == (0, 1)


def test_who_was_stopped_for_longer_than_the_lease_does_not_submit(tmp_path, somebody, monkeypatch):
    way = WAYS["gmi-bria queued"]
    with way.open() as standin:
        job = job_for(way, standin)
        intend = Ledger.intend
        data, _ = cut_out(picture(0))

        def overtaken(self, name, vacant):
            intent = intend(self, name, vacant)
            assert intent is not None
            stale = self.renew(name, replace(intent, at=0.0), sent=True)
            failed = Failed(Trouble.RETRYABLE, "no trace of the submit", billed=False)
            lost = somebody.lose(name, stale, failed, accepted=False)
            assert intend(somebody, name, lost.next())
            assert isinstance(somebody.buy(name, 2, Done("x", "theirs"), 0.018, data), Bought)
            return replace(stale, at=stale.at - QUICK.lease)

        monkeypatch.setattr(Ledger, "intend", overtaken)
        with Provider(way.settings(standin, tmp_path)) as provider:
            result = provider.cut_out(job)
        assert is_right(result)
        assert result.request_id == "theirs"
        assert not standin.seen


@pytest.mark.parametrize("label", ["gmi-bria queued", "pixazo-bria 1", "runware-bria sync"])
def test_who_rested_for_longer_than_the_lease_does_not_submit_again(
    label, tmp_path, somebody, monkeypatch
):
    way = WAYS[label]
    with way.open(Faults({"submit": ["429", None]})) as standin:
        job = job_for(way, standin)
        name = name_of(way, job.identity)
        data, _ = cut_out(picture(0))

        async def overtaken(lane: Lane, tries: int, **_: object) -> None:
            lane.ledger.clock = lambda: time.time() + QUICK.lease
            intent = somebody.latest(name)
            assert isinstance(intent, Intent)
            failed = Failed(Trouble.RETRYABLE, "never accepted", billed=False)
            lost = somebody.lose(name, intent, failed, accepted=False)
            assert somebody.intend(name, lost.next())
            somebody.buy(name, 2, Done("x", "theirs"), 0.018, data)

        monkeypatch.setattr(Lane, "rest", overtaken)
        with Provider(way.settings(standin, tmp_path)) as provider:
            result = provider.cut_out(job)
        assert is_right(result)
        assert (result.request_id, standin.steps["submit"]) == ("theirs", 1)
