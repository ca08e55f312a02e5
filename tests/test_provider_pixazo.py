"""Pixazo's adapter without a server: both dialects, and how it reads every answer."""

from __future__ import annotations

import pytest
from answers import (
    PANDA,
    PIXAZO_COMPLETED,
    PIXAZO_ID,
    PIXAZO_QUEUED,
    PNG,
    SUBMISSION,
    answered,
    submitted,
)

from alphabeam.transforms.providers.catalogue import make_adapter
from alphabeam.transforms.providers.messages import (
    Accepted,
    Done,
    Failed,
    Picture,
    Ticket,
    Trouble,
    Unsettled,
)

PIXAZO = "https://gateway.pixazo.ai/bria-rmbg-2-0-682/v1/bria-rmbg-2-0-request"


def test_pixazo_submits_what_its_page_shows():
    request = submitted("pixazo-bria", Picture(url=PANDA), webhook_url="https://me.example/hook")
    assert (request.method, request.url) == ("POST", PIXAZO)
    assert request.json == {"image_url": PANDA}
    assert request.headers == {
        "Cache-Control": "no-cache",
        "X-Webhook-URL": "https://me.example/hook",
    }


def test_pixazo_polls_by_post_when_the_answer_is_of_the_older_dialect():
    adapter = make_adapter("pixazo-bria")
    outcome = adapter.read_submit(SUBMISSION, answered(200, PIXAZO_QUEUED))
    assert outcome == Accepted(Ticket("pixazo-bria", PIXAZO_ID))
    request = adapter.poll(outcome.ticket)
    assert (request.method, request.url) == ("POST", f"{PIXAZO}-result")
    assert request.json == {"request_id": PIXAZO_ID}


def test_pixazo_polls_by_get_when_the_answer_is_of_the_newer_dialect():
    adapter = make_adapter("pixazo-bria")
    polling_url = f"https://gateway.pixazo.ai/v2/requests/status/{PIXAZO_ID}"
    newer = {"request_id": PIXAZO_ID, "status": "QUEUED", "polling_url": polling_url}
    outcome = adapter.read_submit(SUBMISSION, answered(202, newer))
    assert isinstance(outcome, Accepted)
    request = adapter.poll(outcome.ticket)
    assert (request.method, request.url, request.json) == ("GET", polling_url, None)
    leading_away = {**newer, "polling_url": "https://evil.example/"}
    outcome = adapter.read_submit(SUBMISSION, answered(202, leading_away))
    assert isinstance(outcome, Accepted)
    assert adapter.poll(outcome.ticket).url == polling_url


@pytest.mark.parametrize(
    ("document", "url"),
    [
        (PIXAZO_COMPLETED, PIXAZO_COMPLETED["result"]["image_url"]),
        (
            {"status": "COMPLETED", "output": {"media_url": ["https://x.r2.dev/a.png"]}},
            "https://x.r2.dev/a.png",
        ),
        ({"status": "SUCCEEDED", "output_url": "https://x.r2.dev/b.png"}, "https://x.r2.dev/b.png"),
        ({"status": "COMPLETED", "url": "https://x.r2.dev/c.png"}, "https://x.r2.dev/c.png"),
    ],
)
def test_pixazo_finds_the_picture_in_either_dialect(document, url):
    ticket = Ticket("pixazo-bria", PIXAZO_ID)
    outcome = make_adapter("pixazo-bria").read_poll(ticket, answered(200, document))
    assert outcome == Done(url, PIXAZO_ID)


def test_pixazo_takes_a_picture_that_comes_with_the_answer_to_the_submit():
    document = {"request_id": "x", "images": [{"url": "https://x.r2.dev/a.png"}]}
    outcome = make_adapter("pixazo-bria").read_submit(SUBMISSION, answered(200, document))
    assert outcome == Done("https://x.r2.dev/a.png", "x")


@pytest.mark.parametrize(
    ("status", "document", "trouble"),
    [
        (400, {"error": "Invalid request parameters"}, Trouble.REJECTED_INPUT),
        (401, {"error": "Invalid or missing authentication"}, Trouble.AUTH),
        (401, {"statusCode": 401, "message": "Access denied"}, Trouble.AUTH),
        (403, {"error": "Access denied for this operation"}, Trouble.AUTH),
        (402, {"error": "Insufficient Balance"}, Trouble.EXHAUSTED_BUDGET),
        (400, {"error": "Insufficient Balance"}, Trouble.EXHAUSTED_BUDGET),
        (404, {"error": "Endpoint not found"}, Trouble.AUTH),
        (429, {"error": "Rate limit exceeded"}, Trouble.RATE_LIMITED),
        (500, {"error": "An unexpected error occurred"}, Trouble.AMBIGUOUS),
        (504, b"", Trouble.AMBIGUOUS),
        (408, b"", Trouble.AMBIGUOUS),
        (200, b"<html>", Trouble.AMBIGUOUS),
        (200, {"error": "Insufficient Balance", "message": "top up"}, Trouble.EXHAUSTED_BUDGET),
    ],
)
def test_pixazo_sorts_answers_to_a_submit(status, document, trouble):
    outcome = make_adapter("pixazo-bria").read_submit(SUBMISSION, answered(status, document))
    assert isinstance(outcome, Failed)
    assert outcome.trouble is trouble


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "FAILED", "error": "no subject"}, (Trouble.REJECTED_INPUT, 0, True)),
        ({"status": "FAILED", "error": "cannot download"}, (Trouble.REJECTED_INPUT, 1, True)),
        ({"status": "ERROR", "error": "system"}, (Trouble.FAILED, 3, False)),
        (
            {"status": "FAILED", "error": "Insufficient Balance"},
            (Trouble.EXHAUSTED_BUDGET, 0, False),
        ),
    ],
)
def test_pixazo_sorts_failed_jobs(document, expected):
    ticket = Ticket("pixazo-bria", PIXAZO_ID)
    outcome = make_adapter("pixazo-bria").read_poll(ticket, answered(200, document))
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.resubmits, outcome.billed) == expected


def test_pixazo_gives_answers_time_that_may_right_themselves():
    adapter, ticket = make_adapter("pixazo-bria"), Ticket("pixazo-bria", PIXAZO_ID)
    unknown = adapter.read_poll(ticket, answered(404, {"error": "Endpoint not found"}))
    assert isinstance(unknown, Unsettled)
    assert (unknown.grace, unknown.then.trouble) == (30.0, Trouble.EXPIRED_RESULT)
    empty = adapter.read_poll(ticket, answered(200, {"status": "COMPLETED", "result": {}}))
    assert isinstance(empty, Unsettled)
    assert (empty.grace, empty.then.trouble) == (60.0, Trouble.FAILED)


def test_pixazo_refuses_what_is_not_at_a_public_address():
    refusal = make_adapter("pixazo-bria").check(Picture(data=PNG))
    assert refusal is not None
    assert "--staging_uri" in refusal
