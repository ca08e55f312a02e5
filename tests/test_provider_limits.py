"""The driver's limits: a refused key, money, speed, company, cancelling, and what it is given."""

from __future__ import annotations

import logging
import os
import pickle
import threading
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
from service import SIZE, is_right, job_for, outcomes
from standins.faults import Faults
from standins.kinds import WAYS

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError, ProviderStoppedError
from alphabeam.transforms.providers.messages import Picture, Trouble
from alphabeam.transforms.providers.settings import Job, ProviderSettings

EACH = ["fal-bria queue", "pixazo-bria 1", "gmi-bria queued", "runware-bria async"]


@pytest.mark.parametrize("label", EACH)
def test_a_refused_key_stops_everything_with_one_line_and_bills_nothing(
    label, tmp_path, caplog, monkeypatch
):
    way = WAYS[label]
    with way.open(seconds=0.01) as standin:
        settings = way.settings(standin, tmp_path)
        monkeypatch.setenv("STANDIN_KEY", "wrong-key-of-somebody")
        with caplog.at_level(logging.INFO), Provider(settings) as provider:
            futures = provider.submit_all(job_for(way, standin, n) for n in range(40))
            for future in futures:
                with pytest.raises(ProviderStoppedError) as caught:
                    future.result(10)
                assert caught.value.trouble is Trouble.AUTH
        assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1
        assert not standin.bills
        monkeypatch.setenv("STANDIN_KEY", standin.key)
        with Provider(settings) as provider:
            assert all(
                is_right(result, n)
                for n, result in enumerate(
                    outcomes(provider, [job_for(way, standin, n) for n in range(40)])
                )
            )


@pytest.mark.parametrize("label", EACH)
def test_an_empty_account_stops_submits_while_open_jobs_are_finished(label, tmp_path):
    way = WAYS[label]
    with way.open(seconds=0.05, money=0.018 * 5) as standin:
        settings = way.settings(standin, tmp_path, concurrency=4)
        with Provider(settings) as provider:
            futures = provider.submit_all(job_for(way, standin, n) for n in range(12))
            stopped = [future.exception(20) for future in futures]
        assert sum(error is None for error in stopped) == 5
        assert {type(error) for error in stopped if error} == {ProviderStoppedError}
        standin.money = float("inf")
        with Provider(settings) as provider:
            jobs = [job_for(way, standin, n) for n in range(12)]
            assert all(is_right(r, n) for n, r in enumerate(outcomes(provider, jobs)))
        assert set(standin.billed().values()) == {1}


@pytest.mark.parametrize("label", EACH)
def test_no_more_than_the_limit_is_spent(label, tmp_path):
    way = WAYS[label]
    with way.open(seconds=0.01) as standin:
        settings = way.settings(standin, tmp_path, max_cost_usd=0.1)
        with Provider(settings) as provider:
            futures = provider.submit_all(job_for(way, standin, n) for n in range(12))
            errors = [future.exception(20) for future in futures]
            assert provider.spent_usd == pytest.approx(0.09)
        assert sum(error is None for error in errors) == 5
        assert all("--max_cost_usd 0.1 is reached" in str(error) for error in errors if error)
        assert len(standin.bills) == 5


@pytest.mark.parametrize("label", EACH)
def test_a_provider_that_refuses_for_speed_is_asked_more_slowly_and_gets_through(label, tmp_path):
    way = WAYS[label]
    script = {"submit": [None] * 5 + ["429:0"] * 3, "poll": [None] * 5 + ["429"]}
    with way.open(Faults(script)) as standin:
        settings = way.settings(standin, tmp_path)
        with Provider(settings) as provider:
            jobs = [job_for(way, standin, n) for n in range(20)]
            results = outcomes(provider, jobs)
            assert provider.counts()["refusals"] == 4
            assert provider._lane().pace.rate < settings.requests_per_second / 2
        assert all(is_right(result, n) for n, result in enumerate(results))
        assert set(standin.billed().values()) == {1}


def test_no_more_pictures_are_under_way_than_allowed(tmp_path):
    way = WAYS["runware-bria sync"]
    with way.open(seconds=0.02) as standin:
        most = []
        accept = standin.accept

        def counting(*args):
            most.append(sum(job.state != "done" for job in standin.jobs.values()) + 1)
            return accept(*args)

        standin.accept = counting
        with Provider(way.settings(standin, tmp_path, concurrency=3)) as provider:
            outcomes(provider, [job_for(way, standin, n) for n in range(20)])
        assert max(most) == 3


@pytest.mark.parametrize("label", EACH)
def test_equal_pictures_at_the_same_time_are_bought_once(label, tmp_path):
    way = WAYS[label]
    with way.open(seconds=0.05) as standin, Provider(way.settings(standin, tmp_path)) as provider:
        job = job_for(way, standin)
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(provider.cut_out(job))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(is_right(result) for result in found)
        assert len({result.request_id for result in found}) == 1
        assert standin.steps["submit"] == 1


def test_a_cancelled_job_can_be_gone_on_with(tmp_path):
    way = WAYS["fal-bria queue"]
    with way.open(seconds=0.3) as standin, Provider(way.settings(standin, tmp_path)) as provider:
        job = job_for(way, standin)
        future = provider.submit(job)
        standin.wait_for("poll")
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result(10)
        assert is_right(provider.cut_out(job))
        assert len(standin.bills) == 1


def test_cancelling_one_of_two_equal_jobs_leaves_the_other(tmp_path):
    way = WAYS["gmi-bria queued"]
    with way.open(seconds=0.1) as standin, Provider(way.settings(standin, tmp_path)) as provider:
        first, second = provider.submit_all([job_for(way, standin)] * 2)
        standin.wait_for("submit")
        first.cancel()
        assert is_right(second.result(10))


def test_pixazo_says_what_it_cannot_take(tmp_path):
    way = WAYS["pixazo-bria 1"]
    with way.open() as standin, Provider(way.settings(standin, tmp_path)) as provider:
        with pytest.raises(ProviderError, match="--staging_uri"):
            provider.cut_out(Job("x", Picture(data=b"\x89PNG"), SIZE))
        assert not standin.seen


def test_a_stored_runware_picture_is_sent_by_its_id(tmp_path):
    way = WAYS["runware-bria sync"]
    with way.open() as standin, Provider(way.settings(standin, tmp_path)) as provider:
        url = job_for(way, standin).picture.url
        assert url is not None
        standin._inputs["/inputs/stored-id"] = standin._inputs[url.removeprefix(standin.url)]
        result = provider.cut_out(Job("stored", Picture(stored_id="stored-id"), SIZE))
        assert is_right(result)


def test_a_provider_travels_to_workers_without_its_key(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNWARE_API_KEY", "key-that-must-not-travel")
    provider = Provider(ProviderSettings("runware-bria", ledger=str(tmp_path)))
    provider.open()
    sent = pickle.dumps(provider)
    assert b"must-not-travel" not in sent
    assert pickle.loads(sent).settings == provider.settings
    assert "must-not-travel" not in repr(vars(provider))
    provider.close()


def test_bad_settings_are_found_before_any_work(tmp_path):
    for others, message in [
        ({"provider": "fal-bra"}, "did you mean fal-bria"),
        ({"options": {"sinc_mode": True}}, "did you mean sync_mode"),
        ({"provider_urls": {"fal_que": "http://x"}}, "did you mean fal_queue"),
        ({"api_key": "sk-1234567"}, "takes a reference"),
    ]:
        settings = ProviderSettings("fal-bria", ledger=str(tmp_path))
        with pytest.raises(ValueError, match=message):
            Provider(replace(settings, **others))


def test_a_missing_key_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.delenv("PIXAZO_API_KEY", raising=False)
    with pytest.raises(ValueError, match="no key in env:PIXAZO_API_KEY"):
        Provider(ProviderSettings("pixazo-bria", ledger=str(tmp_path))).open()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("label", ["gmi-bria queued", "runware-bria async"])
def test_a_job_that_fails_for_lack_of_money_stops_the_provider_and_is_made_later(label, tmp_path):
    way = WAYS[label]
    with way.open(Faults({"job": ["fail_money"]})) as standin:
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        with Provider(settings) as provider, pytest.raises(ProviderStoppedError) as caught:
            provider.cut_out(job)
        assert caught.value.trouble is Trouble.EXHAUSTED_BUDGET
        with Provider(settings) as provider:
            assert is_right(provider.cut_out(job))
        assert (len(standin.jobs), len(standin.bills)) == (2, 1)
