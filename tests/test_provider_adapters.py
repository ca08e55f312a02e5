"""What holds for every adapter: no key in a request, and no answer that breaks it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from answers import (
    SUBMISSION,
    TASK,
    answered,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.providers import reading
from alphabeam.transforms.providers.catalogue import ADAPTERS, make_adapter
from alphabeam.transforms.providers.contract import Adapter
from alphabeam.transforms.providers.messages import (
    Accepted,
    Done,
    Failed,
    HttpResponse,
    Missing,
    Ready,
    Running,
    Ticket,
    Trouble,
    Unsettled,
)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_request_holds_no_key(name):
    adapter = make_adapter(name)
    request = adapter.submit(SUBMISSION)
    assert "authorization" not in {header.lower() for header in request.headers}
    assert "the-key" in str(adapter.authorization("the-key"))


@pytest.mark.parametrize(
    ("name", "first", "most"),
    [
        ("fal-bria", 1.0, 60.0),
        ("fal-rembg", 1.0, 60.0),
        ("pixazo-bria", 5.0, 60.0),
        ("gmi-bria", 15.0, 120.0),
        ("runware-bria", 1.0, 60.0),
    ],
)
def test_durations_are_those_of_the_contract(name, first, most):
    timing = ADAPTERS[name].timing
    assert (timing.retry_first, timing.retry_factor, timing.retry_cap) == (first, 2.0, most)
    assert (timing.poll_first, timing.poll_factor, timing.poll_cap) == (1.0, 1.5, 10.0)
    assert timing.deadline == 1800.0
    assert timing.submit_timeout >= 120.0


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_refusal_for_speed_carries_the_pause_that_was_asked_for(name):
    adapter = make_adapter(name)
    outcome = adapter.read_submit(SUBMISSION, answered(429, {"error": "x"}, retry_after="7"))
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.retry_after) == (Trouble.RATE_LIMITED, 7.0)
    dated = answered(
        429,
        {"error": "x"},
        retry_after="Fri, 20 Nov 2026 10:00:30 GMT",
        date="Fri, 20 Nov 2026 10:00:00 GMT",
    )
    outcome = adapter.read_submit(SUBMISSION, dated)
    assert isinstance(outcome, Failed)
    assert outcome.retry_after == 30.0


@pytest.mark.parametrize(
    ("value", "date", "least", "most"),
    [
        ("7", "", 7, 7),
        (" 0 ", "", 0, 0),
        ("Fri, 20 Nov 2026 10:00:30 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", 30, 30),
        ("Fri, 20 Nov 2026 10:00:30 -0000", "Fri, 20 Nov 2026 10:00:00 GMT", 30, 30),
        ("Fri, 20 Nov 2026 10:00:00 GMT", "Fri, 20 Nov 2026 10:00:30 GMT", 0, 0),
        (format_datetime(datetime.now(timezone.utc) + timedelta(hours=9)), "", 32_000, 32_400),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", 0, 0),
    ],
)
def test_a_pause_that_was_asked_for_is_read_in_seconds(value, date, least, most):
    read = reading.retry_after({"retry-after": value, "date": date})
    assert read is not None
    assert least <= read <= most


@pytest.mark.parametrize("value", ["", "soon", "-3", "1.5", "3 s", "٣ minutes"])
def test_what_is_no_pause_is_none(value):
    assert reading.retry_after({"retry-after": value}) is None


_NAMES = ["data", "errors", "error", "status", "request_id", "image", "url", "detail", "type"]
_NAMES += ["items", "result", "output", "outcome", "media_urls", "code", "taskUUID", "response"]
_NAMES += ["imageURL", "polling_url", "status_url", "response_url", "image_url", "media_url"]
_TEXTS = ["http://[", "https://queue.fal.run/\0", "https://[gateway.pixazo.ai]/", "data:,x"]
_TEXTS += [TASK, "taskFailedOrNotFound", "error", "success", "COMPLETED", "failed"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(_TEXTS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def readings(adapter: Adapter, response: HttpResponse) -> list[object]:
    ticket = Ticket(adapter.name, TASK)
    found: list[object] = [
        adapter.read_submit(SUBMISSION, response),
        adapter.read_poll(ticket, response),
    ]
    if adapter.name.startswith("fal"):
        found.append(adapter.read_fetch(ticket, Ready(), response))
    if adapter.find(SUBMISSION):
        found.append(adapter.read_find(SUBMISSION, response))
    if adapter.recall(ticket):
        found.append(adapter.read_recall(ticket, response))
    return found


@settings(deadline=None, max_examples=100)
@given(JSON, st.sampled_from([200, 202, 400, 401, 404, 422, 429, 500, 503]))
def test_no_answer_whatever_its_shape_breaks_an_adapter(document, status):
    for name in ADAPTERS:
        submitted, *others = readings(make_adapter(name), answered(status, document))
        assert isinstance(submitted, (Accepted, Done, Failed))
        for outcome in others:
            assert isinstance(outcome, (Accepted, Done, Failed, Missing, Ready, Running, Unsettled))
