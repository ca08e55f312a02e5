"""fal's adapter without a server: the requests it builds and how it reads every answer."""

from __future__ import annotations

import base64

import pytest
from answers import (
    FAL_QUEUED,
    FAL_RESULT,
    PANDA,
    PNG,
    SUBMISSION,
    TASK,
    answered,
    submitted,
)

from alphabeam.transforms.providers.catalogue import make_adapter
from alphabeam.transforms.providers.endpoints import Endpoints
from alphabeam.transforms.providers.messages import (
    Accepted,
    Done,
    Failed,
    Missing,
    Picture,
    Ready,
    Running,
    Submission,
    Ticket,
    Trouble,
)

FAL_JOB = Ticket("fal-bria", "r1", {k: str(v) for k, v in FAL_QUEUED.items() if "url" in k})


def test_fal_submits_to_the_queue_what_its_page_shows():
    request = submitted("fal-bria", Picture(url=PANDA))
    assert (request.method, request.url) == (
        "POST",
        "https://queue.fal.run/fal-ai/bria/background/remove",
    )
    assert request.json == {"image_url": PANDA}


def test_every_option_of_fal_reaches_the_wire():
    request = submitted(
        "fal-rembg",
        Picture(data=PNG),
        sync_mode=True,
        crop_to_bbox=True,
        start_timeout=90,
        media_expiration=3600,
        priority="low",
        webhook_url="https://me.example/hook?secret=1",
        max_queue_length=50,
        no_retry=True,
        runner_hint="shard-7",
        store_io=False,
    )
    assert request.url == (
        "https://queue.fal.run/fal-ai/imageutils/rembg"
        "?fal_webhook=https%3A%2F%2Fme.example%2Fhook%3Fsecret%3D1&fal_max_queue_length=50"
    )
    encoded = base64.b64encode(PNG).decode()
    assert request.json == {
        "image_url": f"data:image/png;base64,{encoded}",
        "sync_mode": True,
        "crop_to_bbox": True,
    }
    assert request.headers == {
        "X-Fal-Request-Start-Timeout": "90",
        "X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 3600}',
        "X-Fal-Queue-Priority": "low",
        "X-Fal-No-Retry": "1",
        "X-Fal-Runner-Hint": "shard-7",
        "X-Fal-Store-IO": "0",
    }


def test_fal_runs_synchronously_on_its_other_host():
    request = submitted("fal-bria", Picture(url=PANDA), transport="sync")
    assert request.url == "https://fal.run/fal-ai/bria/background/remove"


def test_fal_follows_the_urls_of_the_answer():
    adapter = make_adapter("fal-bria")
    outcome = adapter.read_submit(SUBMISSION, answered(200, FAL_QUEUED))
    assert isinstance(outcome, Accepted)
    assert adapter.poll(outcome.ticket).url == FAL_QUEUED["status_url"]
    assert adapter.fetch(outcome.ticket).url == FAL_QUEUED["response_url"]
    cancel = adapter.cancel(outcome.ticket)
    assert cancel is not None
    assert (cancel.method, cancel.url) == ("PUT", FAL_QUEUED["cancel_url"])


def test_fal_never_sends_the_key_to_an_address_that_is_not_fals():
    adapter = make_adapter("fal-bria")
    leading_away = {**FAL_QUEUED, "status_url": "https://evil.example/fal-ai/bria/requests/r1"}
    outcome = adapter.read_submit(SUBMISSION, answered(200, leading_away))
    assert isinstance(outcome, Accepted)
    own = "https://queue.fal.run/fal-ai/bria/requests/r1/status"
    assert adapter.poll(outcome.ticket).url == own


def test_fal_builds_its_urls_without_the_endpoints_sub_path():
    adapter = make_adapter("fal-rembg")
    assert adapter.poll(Ticket("fal-rembg", "r/1")).url == (
        "https://queue.fal.run/fal-ai/imageutils/requests/r%2F1/status"
    )


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        (202, {"status": "IN_QUEUE", "queue_position": 3}, Running(queued=True)),
        (202, {"status": "IN_PROGRESS", "logs": None}, Running()),
        (200, {"status": "COMPLETED", "logs": None}, Ready()),
        (200, {"status": "COMPLETED", "error": "x", "error_type": "y"}, Ready(failed=True)),
        (200, {"status": "SOMETHING_NEW"}, Running()),
    ],
)
def test_fal_reads_a_status_whatever_the_http_code(status, document, expected):
    assert make_adapter("fal-bria").read_poll(FAL_JOB, answered(status, document)) == expected


def test_fal_reads_the_result_of_its_page_and_what_it_cost():
    response = answered(200, FAL_RESULT, x_fal_billable_units="1")
    outcome = make_adapter("fal-bria").read_fetch(FAL_JOB, Ready(), response)
    assert outcome == Done(FAL_RESULT["image"]["url"], "r1", 0.018)


def test_fal_bills_rembg_by_the_compute_second():
    response = answered(200, FAL_RESULT, x_fal_billable_units="2.5")
    outcome = make_adapter("fal-rembg").read_fetch(FAL_JOB, Ready(), response)
    assert isinstance(outcome, Done)
    assert outcome.cost_usd == pytest.approx(2.5 * 0.00111)


def test_fal_takes_a_picture_out_of_the_answer():
    encoded = base64.b64encode(PNG).decode()
    result = {"image": {"url": f"data:image/png;base64,{encoded}"}}
    adapter = make_adapter("fal-bria", {"transport": "sync"})
    outcome = adapter.read_submit(SUBMISSION, answered(200, result, x_fal_request_id="r7"))
    assert outcome == Done(PNG, "r7")


def test_fal_finds_a_lost_submit_in_its_history():
    adapter = make_adapter("fal-bria")
    request = adapter.find(SUBMISSION)
    assert request is not None
    assert request.url == (
        "https://api.fal.ai/v1/models/requests/by-endpoint"
        "?endpoint_id=fal-ai%2Fbria%2Fbackground%2Fremove"
        "&start=2023-11-14T22%3A11%3A20Z&limit=100&expand=payloads"
    )
    other = {"request_id": "r0", "json_input": {"image_url": "https://example.com/other.jpg"}}
    ours = {"request_id": "r9", "json_input": {"image_url": PANDA, "sync_mode": False}}
    page = answered(200, {"items": [other, {**ours, "json_output": FAL_RESULT}]})
    assert adapter.read_find(SUBMISSION, page) == Done(FAL_RESULT["image"]["url"], "r9")
    without_output = answered(200, {"items": [other, ours]})
    assert adapter.read_find(SUBMISSION, without_output) == Accepted(Ticket("fal-bria", "r9"))
    last = answered(200, {"items": [other], "has_more": False, "next_cursor": None})
    assert adapter.read_find(SUBMISSION, last) == Missing()
    more = answered(200, {"items": [other], "has_more": True, "next_cursor": "Mg=="})
    assert adapter.read_find(SUBMISSION, more) == Missing("Mg==")
    next_page = adapter.find(SUBMISSION, "Mg==")
    assert next_page is not None
    assert "cursor=Mg%3D%3D" in next_page.url


def test_fal_does_not_take_an_earlier_attempt_or_other_options_for_a_lost_submit():
    adapter = make_adapter("fal-rembg")
    known = Submission(Picture(url=PANDA), TASK, known_ids=("r9",))
    cropped = {"request_id": "r8", "json_input": {"image_url": PANDA, "crop_to_bbox": True}}
    earlier = {"request_id": "r9", "json_input": {"image_url": PANDA}}
    assert adapter.read_find(known, answered(200, {"items": [cropped, earlier]})) == Missing()


MODEL_ERROR = [{"loc": ["body", "image_url"], "msg": "no", "type": "image_load_error"}]
DOWNLOAD_ERROR = [{"loc": ["body", "image_url"], "msg": "no", "type": "file_download_error"}]
LOCKED = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/billing."


@pytest.mark.parametrize(
    ("status", "document", "trouble", "billed", "resubmits"),
    [
        (401, {"detail": "no"}, Trouble.AUTH, False, 0),
        (402, {"detail": "payment required"}, Trouble.EXHAUSTED_BUDGET, False, 0),
        (403, {"detail": LOCKED}, Trouble.EXHAUSTED_BUDGET, False, 0),
        (403, {"detail": "scope"}, Trouble.AUTH, False, 0),
        (404, {"detail": "Path /x not found"}, Trouble.AUTH, False, 0),
        (408, {}, Trouble.RATE_LIMITED, False, 0),
        (409, {}, Trouble.RATE_LIMITED, False, 0),
        (429, {}, Trouble.RATE_LIMITED, False, 0),
        (422, {"detail": MODEL_ERROR}, Trouble.REJECTED_INPUT, False, 0),
        (422, {"detail": DOWNLOAD_ERROR}, Trouble.REJECTED_INPUT, False, 2),
        (
            400,
            {"detail": "x", "error_type": "downstream_service_error"},
            Trouble.REJECTED_INPUT,
            False,
            1,
        ),
        (500, {"detail": "internal_server_error"}, Trouble.RETRYABLE, False, 0),
        (503, {"detail": "busy"}, Trouble.RETRYABLE, False, 0),
        (502, b"<html>nginx</html>", Trouble.AMBIGUOUS, True, 0),
        (200, b"<html>proxy</html>", Trouble.AMBIGUOUS, True, 0),
    ],
)
def test_fal_sorts_answers_to_a_submit(status, document, trouble, billed, resubmits):
    outcome = make_adapter("fal-bria").read_submit(SUBMISSION, answered(status, document))
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.billed, outcome.resubmits) == (trouble, billed, resubmits)


def test_fal_does_not_resubmit_a_failure_that_was_billed():
    response = answered(422, {"detail": DOWNLOAD_ERROR}, x_fal_billable_units="1")
    outcome = make_adapter("fal-bria").read_submit(SUBMISSION, response)
    assert isinstance(outcome, Failed)
    assert (outcome.resubmits, outcome.billed) == (0, True)


def test_fal_does_not_repeat_a_request_that_it_charged_for_and_failed():
    failed = answered(500, {"detail": "x"}, x_fal_billable_units="2")
    adapter = make_adapter("fal-rembg", {"transport": "sync"})
    for outcome in (
        adapter.read_submit(SUBMISSION, failed),
        adapter.read_fetch(FAL_JOB, Ready(failed=True), failed),
    ):
        assert isinstance(outcome, Failed)
        assert (outcome.trouble, outcome.resubmits, outcome.billed) == (Trouble.FAILED, 0, True)


LATE = {"detail": "x", "error_type": "request_timeout"}
RUNNER = {"detail": "x", "error_type": "runner_disconnected"}


@pytest.mark.parametrize(
    ("status", "document", "known", "expected"),
    [
        (500, {"detail": "x"}, True, (Trouble.FAILED, 3, False)),
        (503, RUNNER, False, (Trouble.FAILED, 3, False)),
        (408, LATE, True, (Trouble.FAILED, 3, False)),
        (400, RUNNER, True, (Trouble.FAILED, 3, False)),
        (408, {"detail": "x"}, False, (Trouble.RETRYABLE, 0, True)),
        (
            503,
            {"detail": "x", "error_type": "service_unavailable"},
            False,
            (Trouble.RETRYABLE, 0, True),
        ),
        (502, b"<html>", False, (Trouble.RETRYABLE, 0, True)),
        (404, {"detail": "Request not found"}, False, (Trouble.EXPIRED_RESULT, 0, True)),
        (404, {"detail": "Path /x not found"}, False, (Trouble.AUTH, 0, True)),
        (499, {"detail": "cancelled"}, False, (Trouble.TIMEOUT, 0, True)),
        (422, {"detail": MODEL_ERROR}, True, (Trouble.REJECTED_INPUT, 0, False)),
        (403, {"detail": LOCKED}, False, (Trouble.RETRYABLE, 0, True)),
    ],
)
def test_fal_tells_a_failed_job_from_a_failing_gateway(status, document, known, expected):
    adapter = make_adapter("fal-bria")
    outcome = adapter.read_fetch(FAL_JOB, Ready(failed=known), answered(status, document))
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.resubmits, outcome.billed) == expected


def test_fal_waits_for_a_result_that_is_not_there_yet():
    adapter = make_adapter("fal-bria")
    for response in (
        answered(400, {"detail": "Request is still in progress"}),
        answered(202, {"status": "IN_PROGRESS"}),
    ):
        assert adapter.read_fetch(FAL_JOB, Ready(), response) == Running()


def test_fal_is_asked_again_for_an_archive_that_cannot_be_read_now():
    adapter = make_adapter("fal-bria")
    for status, document in ((503, {}), (429, {}), (200, b"<html>")):
        outcome = adapter.read_recall(FAL_JOB, answered(status, document))
        assert isinstance(outcome, Failed)
        assert outcome.trouble in (Trouble.RETRYABLE, Trouble.RATE_LIMITED)
    assert adapter.read_recall(FAL_JOB, answered(403, {"detail": "scope"})) == Missing()
    assert adapter.read_recall(FAL_JOB, answered(200, {"items": []})) == Missing()


def test_an_address_of_the_provider_moves_with_its_override():
    endpoints = Endpoints({"fal_cdn": "http://127.0.0.1:9", "fal_queue": "http://127.0.0.1:8"})
    adapter = make_adapter("fal-bria", {}, endpoints)
    assert adapter.submit(SUBMISSION).url.startswith("http://127.0.0.1:8/fal-ai/bria/")
    assert adapter.poll(FAL_JOB).url == "http://127.0.0.1:8/fal-ai/bria/requests/r1/status"
    outcome = adapter.read_fetch(FAL_JOB, Ready(), answered(200, FAL_RESULT))
    assert isinstance(outcome, Done)
    assert outcome.media == "http://127.0.0.1:9/files/tiger/GQEMNjRyxSoza7N8LPPqb_070c.png"


def test_fal_takes_a_synchronous_jobs_id_from_the_header():
    adapter = make_adapter("fal-bria", {"transport": "sync"})
    response = answered(200, {"image": {"url": ""}}, x_fal_request_id="r1")
    assert adapter.read_submit(SUBMISSION, response) == Accepted(Ticket("fal-bria", "r1"))


def test_fal_repeats_a_submit_that_it_says_is_worth_repeating():
    adapter = make_adapter("fal-bria", {"transport": "sync"})
    for header in ("x_fal_needs_retry", "x_fal_retryable"):
        outcome = adapter.read_submit(SUBMISSION, answered(503, b"<html>", **{header: "1"}))
        assert isinstance(outcome, Failed)
        assert outcome.trouble is Trouble.RETRYABLE
