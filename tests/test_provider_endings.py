"""How jobs end against the stand-ins: failures, useless and expired pictures, deadlines."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from service import SIZE, found_late, is_right, job_for, outcomes, picture, run_one
from standins.faults import Faults
from standins.kinds import QUICK, WAYS
from website import Answer, Website

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError
from alphabeam.transforms.providers.messages import Picture
from alphabeam.transforms.providers.settings import Job, Result

EACH = ["fal-bria queue", "pixazo-bria 1", "gmi-bria queued", "runware-bria async"]


@pytest.mark.parametrize(
    ("label", "fault", "jobs"),
    [
        ("fal-bria queue", "fail_file_download_error", 3),
        ("fal-bria queue", "fail_runner", 4),
        ("fal-bria queue", "fail_500", 4),
        ("fal-bria sync", "fail_file_download_error", 3),
        ("pixazo-bria 2", "fail_error", 4),
        ("pixazo-bria 1", "fail_download", 2),
        ("gmi-bria queued", "fail", 2),
        ("runware-bria sync", "fail_server", 4),
        ("runware-bria async", "fail_download", 3),
    ],
)
def test_a_failed_job_is_submitted_anew_as_often_as_its_failure_is_worth(
    label, fault, jobs, tmp_path
):
    outcome, standin = run_one(label, tmp_path, {"job": [fault] * 9})
    assert isinstance(outcome, ProviderError)
    assert (len(standin.jobs), outcome.attempts) == (jobs, jobs)
    outcome, standin = run_one(label, tmp_path / "cured", {"job": [fault, None]})
    assert is_right(outcome)
    assert (len(standin.jobs), len(standin.bills)) == (2, 1)


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("fal-bria queue", "fail_image_load_error"),
        ("fal-bria sync", "fail_image_load_error"),
        ("pixazo-bria 2", "fail"),
        ("runware-bria sync", "fail_safety"),
        ("runware-bria async", "fail_input"),
    ],
)
def test_a_rejected_picture_is_never_submitted_again(label, fault, tmp_path):
    way = WAYS[label]
    with way.open(Faults({"job": [fault]})) as standin:
        with Provider(way.settings(standin, tmp_path)) as provider:
            for _ in range(2):
                (outcome,) = outcomes(provider, [job_for(way, standin)])
                assert isinstance(outcome, ProviderError)
                assert (outcome.kind, outcome.retryable) == ("rejected_input", False)
        assert standin.steps["submit"] == 1


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("fal-bria queue", "fail_file_download_error"),
        ("runware-bria sync", "fail_download"),
    ],
)
def test_a_picture_that_the_provider_cannot_fetch_is_sent_itself(label, fault, tmp_path):
    outcome, standin = run_one(label, tmp_path, {"job": [fault, None]})
    assert is_right(outcome)
    by_address, itself = (job.reference for job in standin.jobs.values())
    assert by_address.startswith("http://127.0.0.1:")
    assert itself == "data:image/png;base64," + base64.b64encode(picture(0)).decode()
    assert len(standin.bills) == 1


@pytest.mark.parametrize(
    ("label", "faults"),
    [
        ("fal-bria queue", ["fail_file_download_error", "fail_runner", None]),
        ("runware-bria async", ["fail_download", "fail_server", None]),
    ],
)
def test_an_address_that_could_not_be_fetched_is_not_sent_again(label, faults, tmp_path):
    way = replace(WAYS[label], as_data=False)
    with way.open(Faults({"job": faults})) as standin:
        with Provider(way.settings(standin, tmp_path)) as provider:
            assert is_right(provider.cut_out(job_for(way, standin)))
        by_address, *itself = (job.reference[:5] for job in standin.jobs.values())
        assert (by_address, itself) == ("http:", ["data:", "data:"])


def test_a_picture_that_was_sent_itself_is_found_again_when_the_answer_is_lost(tmp_path):
    way = WAYS["fal-bria queue"]
    faults = Faults({"job": ["fail_file_download_error"], "submit": [None, "drop_after"]})
    with way.open(faults) as standin:
        assert is_right(found_late(way, standin, tmp_path))
        assert (standin.steps["submit"], len(standin.bills)) == (2, 1)


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (503, True)])
def test_a_picture_that_nobody_can_fetch_ends_as_an_error(status, retryable, tmp_path):
    way = WAYS["fal-bria queue"]
    faults = Faults({"job": ["fail_file_download_error"]})
    with way.open(faults) as standin, Website() as website:
        url = website.on("/p.png", Answer(b"", status))
        job = Job("a picture", Picture(url=url), SIZE)
        settings = way.settings(standin, tmp_path)
        with Provider(settings) as provider, pytest.raises(ProviderError) as caught:
            provider.cut_out(job)
        assert "neither it nor this machine can fetch" in caught.value.message
        assert (caught.value.retryable, standin.steps["submit"]) == (retryable, 1)


@pytest.mark.parametrize(
    ("status", "message", "retryable"),
    [
        (200, "its address can be fetched", False),
        (404, "its address cannot be fetched", False),
        (503, "its address cannot be fetched", True),
    ],
)
def test_pixazo_refusing_a_request_has_the_address_looked_at(status, message, retryable, tmp_path):
    way = WAYS["pixazo-bria 2"]
    with way.open(Faults({"submit": ["400"]})) as standin, Website() as website:
        url = website.on("/p.png", Answer(picture(0), status))
        settings = way.settings(standin, tmp_path)
        job = Job("a picture", Picture(url=url), SIZE)
        with Provider(settings) as provider, pytest.raises(ProviderError, match=message) as caught:
            provider.cut_out(job)
        assert caught.value.retryable == retryable
        assert (len(website.requests), standin.steps["submit"]) == (1, 1)


@pytest.mark.parametrize("label", EACH)
@pytest.mark.parametrize(
    ("fault", "message"),
    [("jpeg", "a JPEG came back"), ("rgb", "without an alpha"), ("wide", "another shape")],
)
def test_a_picture_that_cannot_be_used_is_neither_taken_nor_bought_again(
    label, fault, message, tmp_path
):
    outcome, standin = run_one(label, tmp_path, {"media": [fault]})
    assert isinstance(outcome, ProviderError)
    assert message in outcome.message
    assert (outcome.retryable, len(standin.bills)) == (False, 1)


def test_a_picture_that_comes_back_smaller_is_flagged(tmp_path):
    outcome, _ = run_one("gmi-bria queued", tmp_path, {"media": ["small"]})
    assert isinstance(outcome, Result)
    assert outcome.resized
    assert outcome.rgba.shape == (SIZE[1] // 2, SIZE[0] // 2, 4)


@pytest.mark.parametrize("label", EACH)
def test_a_download_that_fails_for_now_is_made_up_for_by_the_next_run(label, tmp_path):
    way = WAYS[label]
    with way.open(Faults({"media": ["truncate"] * 5})) as standin:
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        with Provider(settings) as provider:
            with pytest.raises(ProviderError, match="cannot be downloaded") as caught:
                provider.cut_out(job)
            assert caught.value.retryable
            assert is_right(provider.cut_out(job))
        assert len(standin.bills) == 1


@pytest.mark.parametrize(
    ("label", "script"),
    [
        ("fal-bria queue", {"fetch": ["expired"]}),
        ("runware-bria sync", {"media": ["vanish"]}),
        ("runware-bria async", {"media": ["vanish"]}),
    ],
)
def test_an_expired_result_is_recalled_from_the_archive(label, script, tmp_path):
    outcome, standin = run_one(label, tmp_path, script)
    assert is_right(outcome)
    assert len(standin.bills) == 1


@pytest.mark.parametrize("label", ["fal-bria queue", "pixazo-bria 1", "gmi-bria queued"])
def test_an_expired_result_is_paid_again_only_when_allowed(label, tmp_path):
    way = WAYS[label]
    with way.open(Faults({"media": ["vanish"]})) as standin:
        settings, job = way.settings(standin, tmp_path), job_for(way, standin)
        with Provider(settings) as provider:
            (outcome,) = outcomes(provider, [job])
        assert isinstance(outcome, ProviderError)
        assert (outcome.kind, outcome.retryable) == ("expired_result", False)
        assert len(standin.bills) == 1
        with Provider(replace(settings, repay_ambiguous=True)) as provider:
            assert is_right(provider.cut_out(job))
        assert len(standin.bills) == 2


@pytest.mark.parametrize("label", ["fal-bria queue", "pixazo-bria 1", "runware-bria async"])
def test_a_wedged_job_ends_at_its_deadline_and_is_polled_again_by_the_next_run(label, tmp_path):
    way = WAYS[label]
    timing = replace(QUICK, deadline=0.2, grace=0.1)
    with way.open(Faults({"job": ["wedge"]})) as standin:
        settings, job = way.settings(standin, tmp_path, timing=timing), job_for(way, standin)
        with Provider(settings) as provider:
            (outcome,) = outcomes(provider, [job])
            assert isinstance(outcome, ProviderError)
            assert (outcome.kind, outcome.retryable) == ("timeout", True)
            polls = standin.steps["poll"]
            outcomes(provider, [job])
        assert standin.steps["poll"] > polls
        assert len(standin.jobs) == 1


def test_a_wedged_job_of_gmi_is_given_up_and_not_submitted_blindly(tmp_path):
    timing = replace(QUICK, deadline=0.2, grace=0.1)
    way = WAYS["gmi-bria queued"]
    with way.open(Faults({"job": ["wedge", None]})) as standin:
        settings, job = way.settings(standin, tmp_path, timing=timing), job_for(way, standin)
        with Provider(settings) as provider:
            for _ in range(2):
                (outcome,) = outcomes(provider, [job])
                assert isinstance(outcome, ProviderError)
                assert (outcome.kind, outcome.retryable) == ("timeout", False)
        assert (standin.steps["cancel"], len(standin.jobs)) == (1, 1)
        with Provider(replace(settings, repay_ambiguous=True)) as provider:
            assert is_right(provider.cut_out(job))


def test_a_job_that_never_left_the_queue_is_cancelled_and_submitted_anew(tmp_path):
    timing = replace(QUICK, deadline=0.2)
    outcome, standin = run_one(
        "fal-bria queue", tmp_path, {"job": ["wedge_queued", None]}, timing=timing
    )
    assert is_right(outcome)
    assert (standin.steps["cancel"], len(standin.jobs), len(standin.bills)) == (1, 2, 1)
