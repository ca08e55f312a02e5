"""GMI's adapter without a server: the requests it builds and how it reads every answer."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace

import pytest
from answers import (
    PANDA,
    PNG,
    SUBMISSION,
    answered,
    submitted,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.providers.catalogue import make_adapter
from alphabeam.transforms.providers.messages import (
    Accepted,
    Done,
    Failed,
    Missing,
    Picture,
    Running,
    Ticket,
    Trouble,
)

SENT = int(SUBMISSION.sent_at)
GMI = "https://console.gmicloud.ai/api/v1/ie/requestqueue/apikey/requests"


def test_gmi_submits_what_its_page_shows():
    request = submitted("gmi-bria", Picture(url=PANDA), organization_id="org-1")
    assert (request.method, request.url) == ("POST", GMI)
    assert request.json == {"model": "bria-image-remove-background", "payload": {"image": PANDA}}
    assert request.headers == {"X-Organization-ID": "org-1"}


@pytest.mark.parametrize(
    ("form", "prefix"), [("data_uri", "data:image/png;base64,"), ("base64", "")]
)
def test_gmi_takes_encoded_pictures_in_two_forms(form, prefix):
    request = submitted("gmi-bria", Picture(data=PNG), image_form=form)
    assert request.json["payload"]["image"] == prefix + base64.b64encode(PNG).decode()


def test_gmi_never_takes_the_answer_to_a_submit_for_a_result():
    adapter = make_adapter("gmi-bria")
    outcome = adapter.read_submit(
        SUBMISSION, answered(200, {"request_id": "g1", "status": "success"})
    )
    assert outcome == Accepted(Ticket("gmi-bria", "g1"))
    assert adapter.poll(outcome.ticket).url == f"{GMI}/g1"
    warned = {"request_id": "g1", "error": "Insufficient credits for another one"}
    assert adapter.read_submit(SUBMISSION, answered(200, warned)) == outcome


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "created"}, Running(queued=True)),
        ({"status": "queued"}, Running(queued=True)),
        ({"status": "dispatched"}, Running()),
        ({"status": "processing"}, Running()),
        (
            {"status": "success", "outcome": {"media_urls": [{"id": "0", "url": "https://g/a"}]}},
            Done("https://g/a", "g1"),
        ),
        (
            {"status": "success", "outcome": {"media_urls": ["https://g/a"]}},
            Done("https://g/a", "g1"),
        ),
        ({"status": "success", "outcome": {"image_url": "https://g/b"}}, Done("https://g/b", "g1")),
    ],
)
def test_gmi_reads_a_job(document, expected):
    ticket = Ticket("gmi-bria", "g1")
    assert make_adapter("gmi-bria").read_poll(ticket, answered(200, document)) == expected


@pytest.mark.parametrize(
    ("status", "document", "trouble"),
    [
        (401, {"error": "no"}, Trouble.AUTH),
        (402, {"error": "no"}, Trouble.EXHAUSTED_BUDGET),
        (500, {"error": {"message": "Insufficient credits"}}, Trouble.EXHAUSTED_BUDGET),
        (403, {"error": "no"}, Trouble.AUTH),
        (404, {"error": "you do not have access"}, Trouble.AUTH),
        (400, {"error": "invalid payload parameters"}, Trouble.REJECTED_INPUT),
        (500, {"error": "Backend error (400). Please try again."}, Trouble.REJECTED_INPUT),
        (500, {"error": "Backend error (503). Please try again."}, Trouble.AMBIGUOUS),
        (500, {"error": "Backend error (408). Please try again."}, Trouble.AMBIGUOUS),
        (500, {"error": "Backend error (429). Please try again."}, Trouble.RATE_LIMITED),
        (500, {"error": "Backend error (403). Please try again."}, Trouble.FAILED),
        (429, {"error": "slow down"}, Trouble.RATE_LIMITED),
        (502, b"<html>", Trouble.AMBIGUOUS),
        (200, b"<html>", Trouble.AMBIGUOUS),
        (408, {"error": "timeout"}, Trouble.AMBIGUOUS),
        (200, {"error": "Insufficient credits"}, Trouble.EXHAUSTED_BUDGET),
    ],
)
def test_gmi_sorts_answers_to_a_submit(status, document, trouble):
    outcome = make_adapter("gmi-bria").read_submit(SUBMISSION, answered(status, document))
    assert isinstance(outcome, Failed)
    assert outcome.trouble is trouble


@pytest.mark.parametrize("wrap", [lambda jobs: jobs, lambda jobs: {"requests": jobs}])
def test_gmi_finds_a_lost_submit_by_the_payload_it_echoes(wrap):
    adapter = make_adapter("gmi-bria")
    payload = {"image": PANDA}
    jobs = [
        {"request_id": "old", "payload": payload, "created_at": 1_600_000_000},
        {"request_id": "other", "payload": {"image": "https://x/y"}, "created_at": 1_700_000_001},
        {"request_id": "g7", "payload": payload, "created_at": 1_700_000_001},
    ]
    found = adapter.read_find(SUBMISSION, answered(200, wrap(jobs)))
    assert found == Accepted(Ticket("gmi-bria", "g7"))
    assert adapter.read_find(SUBMISSION, answered(200, wrap(jobs[:2]))) == Missing()


@pytest.mark.parametrize(
    "document",
    [
        {"requests": [], "next_cursor": "abc"},
        {"requests": [{"request_id": "other"}], "total": 30, "next": None},
        {"items": [], "has_more": True},
        {"results": []},
        {},
        None,
    ],
)
def test_absence_from_what_may_be_a_part_of_the_list_proves_nothing(document):
    found = make_adapter("gmi-bria").read_find(SUBMISSION, answered(200, document))
    assert isinstance(found, Failed)
    assert found.trouble is Trouble.RETRYABLE


DATA = replace(SUBMISSION, picture=Picture(data=PNG))
BASE64 = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("echo", "expected"),
    [
        ("data:image/png;base64," + BASE64, Accepted),
        (BASE64, Accepted),
        ("data:image/png;base64," + BASE64[:12], Failed),
        (BASE64[:8] + "...", Failed),
        ("https://storage.googleapis.com/x/in.png", Failed),
        ("data:image/png;base64," + base64.b64encode(b"another").decode(), Missing),
        (base64.b64encode(PNG + b"more").decode(), Missing),
    ],
)
@pytest.mark.parametrize("form", ["data_uri", "base64"])
def test_gmi_knows_a_picture_that_was_sent_itself_however_it_is_echoed(form, echo, expected):
    job = {"request_id": "g9", "created_at": SENT + 1, "payload": {"image": echo}}
    adapter = make_adapter("gmi-bria", {"image_form": form})
    found = adapter.read_find(DATA, answered(200, {"requests": [job], "total": 1}))
    assert isinstance(found, expected)


def of_others(created: Iterable[float | str]) -> list[dict]:
    """Gives jobs that are not the one that is looked for."""
    return [
        {"request_id": f"r{n}", "payload": {"image": f"https://x/{n}"}, "created_at": moment}
        for n, moment in enumerate(created)
    ]


def test_absence_from_a_list_that_does_not_show_what_its_jobs_are_of_proves_nothing():
    adapter = make_adapter("gmi-bria")
    for payload in ({}, {"payload": None}, {"payload": {"image": ""}}, {"payload": "…"}):
        job = {"request_id": "g8", "created_at": SENT + 1, **payload}
        found = adapter.read_find(SUBMISSION, answered(200, {"requests": [job], "total": 1}))
        assert isinstance(found, Failed)
        older = {**job, "created_at": SENT - 500}
        known = replace(SUBMISSION, known_ids=("g8",))
        for submission, jobs in ((SUBMISSION, [older]), (known, [job])):
            listed = answered(200, {"requests": jobs, "total": 1})
            assert adapter.read_find(submission, listed) == Missing()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"requests": [], "total": 0, "next": None},
        of_others(range(SENT, SENT + 9)),
        {"requests": of_others(range(SENT, SENT + 30)), "total": 30},
        {"items": of_others(range(SENT, SENT + 30)), "has_more": False},
        of_others(range(SENT + 20, SENT - 200, -10)),
        {"requests": of_others(["2026-01-01T00:00:00Z"] + ["2020-01-01T00:00:00Z"] * 20)},
    ],
)
def test_absence_from_a_list_that_is_certain_to_be_whole_is_proof(document):
    assert make_adapter("gmi-bria").read_find(SUBMISSION, answered(200, document)) == Missing()


@pytest.mark.parametrize(
    "document",
    [
        of_others(range(SENT + 30, SENT, -1)),  # the newest, and none that is surely older
        of_others(range(SENT - 400, SENT + 20, 10)),  # the oldest, and perhaps not all
        of_others([SENT - 400] * 30),
        of_others([SENT + 20, SENT - 400] * 10),
        [{"request_id": f"r{n}"} for n in range(30)],
        {"requests": of_others(range(SENT + 20, SENT - 200, -10)), "has_next": True},
        {"requests": of_others(range(SENT, SENT + 30)), "count": 30},  # of this page, perhaps
    ],
)
def test_absence_from_a_list_that_may_have_been_cut_proves_nothing(document):
    found = make_adapter("gmi-bria").read_find(SUBMISSION, answered(200, document))
    assert isinstance(found, Failed)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(SENT - 1000, SENT + 1000), max_size=60),
    st.integers(0, 60),
    st.booleans(),
    st.integers(0, 60),
)
def test_a_job_that_a_sorted_list_was_cut_before_is_never_taken_for_absent(
    others, page, newest_first, later
):
    ours = {"request_id": "g7", "payload": {"image": PANDA}, "created_at": SENT + later}
    every = sorted([*of_others(others), ours], key=lambda job: job["created_at"])
    every = every[::-1] if newest_first else every
    shown = every[: max(page, 10)]
    found = make_adapter("gmi-bria").read_find(SUBMISSION, answered(200, shown))
    if ours in shown:
        assert found == Accepted(Ticket("gmi-bria", "g7"))
    else:
        assert isinstance(found, Failed)


def test_gmi_stops_at_a_job_that_failed_for_lack_of_money():
    job = {"status": "failed", "error": "Insufficient credits. Please top up."}
    ticket = Ticket("gmi-bria", "g1")
    outcome = make_adapter("gmi-bria").read_poll(ticket, answered(200, job))
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.billed) == (Trouble.EXHAUSTED_BUDGET, False)
