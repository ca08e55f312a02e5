"""Runware's adapter without a server: its tasks, and how it reads every answer."""

from __future__ import annotations

import base64

import pytest
from answers import (
    PNG,
    RUNWARE_REQUEST,
    RUNWARE_RESPONSE,
    SUBMISSION,
    TASK,
    answered,
    submitted,
)

from alphabeam.transforms.providers.catalogue import make_adapter
from alphabeam.transforms.providers.messages import (
    Accepted,
    Done,
    Failed,
    Missing,
    Picture,
    Running,
    Submission,
    Ticket,
    Trouble,
    Unsettled,
)


def test_runware_submits_the_task_of_its_page_as_one_of_an_array():
    adapter = make_adapter("runware-bria", {"includeCost": False})
    picture = Picture(url=RUNWARE_REQUEST["inputs"]["image"])
    request = adapter.submit(Submission(picture, TASK))
    assert (request.method, request.url) == ("POST", "https://api.runware.ai/v1")
    (task,) = request.json
    assert task == {
        **RUNWARE_REQUEST,
        "outputType": "URL",
        "outputFormat": "PNG",
        "deliveryMethod": "sync",
        "includeCost": False,
    }


def test_every_option_of_runware_reaches_the_wire():
    options = {
        "outputType": "URL",
        "outputFormat": "WEBP",
        "outputQuality": 80,
        "ttl": 120,
        "webhookURL": "https://me.example/hook",
        "uploadEndpoint": "https://bucket.example/put",
        "deliveryMethod": "async",
        "includeCost": True,
    }
    (task,) = submitted(
        "runware-bria", Picture(stored_id="image-uuid"), preserveAlpha=True, **options
    ).json
    assert {name: task[name] for name in options} == options
    assert task["providerSettings"] == {"bria": {"preserveAlpha": True}}
    assert task["inputs"] == {"image": "image-uuid"}


def test_runware_reads_the_answer_of_its_page_by_the_tasks_id_alone():
    adapter = make_adapter("runware-bria")
    other = {**RUNWARE_RESPONSE, "taskUUID": "other", "imageURL": "https://im.runware.ai/other"}
    response = answered(200, {"data": [other, RUNWARE_RESPONSE]})
    expected = Done(RUNWARE_RESPONSE["imageURL"], TASK, 0.018)
    assert adapter.read_submit(SUBMISSION, response) == expected


@pytest.mark.parametrize(
    "item",
    [
        {"imageBase64Data": base64.b64encode(PNG).decode()},
        {"imageDataURI": "data:image/png;base64," + base64.b64encode(PNG).decode()},
    ],
)
def test_runware_takes_a_picture_out_of_the_answer(item):
    response = answered(200, {"data": [{"taskUUID": TASK, **item}]})
    assert make_adapter("runware-bria").read_submit(SUBMISSION, response) == Done(PNG, TASK)


ACCEPTED = Accepted(Ticket("runware-bria", TASK))


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (200, {"data": [{"taskType": "removeBackground", "taskUUID": TASK}]}),
        (400, {"data": [], "errors": [{"code": "conflictTaskUUID", "taskUUID": TASK}]}),
    ],
)
def test_runware_takes_a_receipt_or_a_conflict_on_its_own_id_for_accepted(status, document):
    outcome = make_adapter("runware-bria").read_submit(SUBMISSION, answered(status, document))
    assert outcome == ACCEPTED


@pytest.mark.parametrize(
    ("status", "error", "trouble", "resubmits"),
    [
        (401, {"code": "invalidApiKey"}, Trouble.AUTH, 0),
        (403, {"code": "forbidden"}, Trouble.AUTH, 0),
        (402, {"code": "anything"}, Trouble.EXHAUSTED_BUDGET, 0),
        (400, {"code": "insufficientCredits"}, Trouble.EXHAUSTED_BUDGET, 0),
        (200, {"code": "invalidApiKey"}, Trouble.AUTH, 0),
        (400, {"code": "invalidImage", "parameter": "inputs.image"}, Trouble.REJECTED_INPUT, 0),
        (400, {"code": "invalidValue", "parameter": "outputFormat"}, Trouble.AUTH, 0),
        (400, {"code": "unsafeContentDetected"}, Trouble.REJECTED_INPUT, 0),
        (400, {"code": "invalidProviderContent"}, Trouble.REJECTED_INPUT, 0),
        (400, {"code": "downloadFailed"}, Trouble.REJECTED_INPUT, 2),
        (200, {"code": "noAvailableServer"}, Trouble.FAILED, 3),
        (200, {"code": "timeoutProvider"}, Trouble.FAILED, 3),
        (429, {"code": "rateLimitExceeded"}, Trouble.RATE_LIMITED, 0),
        (500, {"code": "internalServerError"}, Trouble.RETRYABLE, 0),
        (503, {"code": "timeoutProvider"}, Trouble.RETRYABLE, 0),
        (400, {"code": "invalidImage"}, Trouble.REJECTED_INPUT, 0),
        (400, {"code": "unsupportedImageFormat", "parameter": "outputFormat"}, Trouble.AUTH, 0),
        (404, {"code": "modelNotFound", "parameter": "model"}, Trouble.AUTH, 0),
        (404, {"code": "imageNotFound", "parameter": "inputs.image"}, Trouble.REJECTED_INPUT, 0),
        (400, {"code": "taskFailedOrNotFound"}, Trouble.AUTH, 0),
    ],
)
def test_runware_sorts_errors(status, error, trouble, resubmits):
    response = answered(status, {"errors": [{**error, "message": "m", "taskUUID": TASK}]})
    outcome = make_adapter("runware-bria").read_submit(SUBMISSION, response)
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.resubmits, outcome.billed) == (trouble, resubmits, False)


@pytest.mark.parametrize(
    ("status", "document", "trouble", "billed"),
    [
        (504, {"errors": [{"code": "timeout", "message": "m"}]}, Trouble.RETRYABLE, True),
        (502, b"<html>", Trouble.RETRYABLE, True),
        (200, b"<html>", Trouble.RETRYABLE, True),
        (200, {"data": []}, Trouble.RETRYABLE, True),
        (413, b"<html>", Trouble.REJECTED_INPUT, False),
        (404, b"<html>", Trouble.AUTH, False),
    ],
)
def test_runware_may_have_a_task_whose_answer_does_not_speak_of_it(
    status, document, trouble, billed
):
    outcome = make_adapter("runware-bria").read_submit(SUBMISSION, answered(status, document))
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.billed) == (trouble, billed)


def test_runware_is_asked_again_for_a_task_that_succeeded_without_a_picture():
    response = answered(200, {"data": [{"taskUUID": TASK, "imageUUID": "i", "status": "success"}]})
    adapter = make_adapter("runware-bria")
    assert adapter.read_submit(SUBMISSION, response) == ACCEPTED
    outcome = adapter.read_poll(ACCEPTED.ticket, response)
    assert isinstance(outcome, Unsettled)
    assert (outcome.grace, outcome.then.trouble) == (60.0, Trouble.FAILED)


def test_a_task_that_runware_no_longer_knows_has_expired_after_a_while():
    error = {"code": "taskFailedOrNotFound", "message": "m"}
    for document in (
        {"data": [{"taskUUID": TASK, "status": "error", "error": error}]},
        {"errors": [{**error, "taskUUID": TASK}]},
    ):
        outcome = make_adapter("runware-bria").read_poll(ACCEPTED.ticket, answered(200, document))
        assert isinstance(outcome, Unsettled)
        assert outcome.then.trouble is Trouble.EXPIRED_RESULT


def test_runware_leaves_another_tasks_error_alone():
    errors = [{"code": "invalidImage", "taskUUID": "other", "parameter": "inputs.image"}]
    response = answered(200, {"data": [RUNWARE_RESPONSE], "errors": errors})
    outcome = make_adapter("runware-bria").read_submit(SUBMISSION, response)
    assert isinstance(outcome, Done)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], Running()),
        ([{"taskUUID": TASK, "status": "processing", "progress": 40}], Running()),
        ([{"taskUUID": TASK, "status": "pending"}], Running()),
        (
            [{**RUNWARE_RESPONSE, "status": "success"}],
            Done(RUNWARE_RESPONSE["imageURL"], TASK, 0.018),
        ),
    ],
)
def test_runware_reads_a_task_under_way(data, expected):
    adapter, ticket = make_adapter("runware-bria"), ACCEPTED.ticket
    assert adapter.poll(ticket).json == [{"taskType": "getResponse", "taskUUID": TASK}]
    assert adapter.read_poll(ticket, answered(200, {"data": data})) == expected


def test_runware_reads_a_task_that_failed():
    item = {"taskUUID": TASK, "status": "error", "error": {"code": "processingFailed"}}
    outcome = make_adapter("runware-bria").read_poll(
        ACCEPTED.ticket, answered(200, {"data": [item]})
    )
    assert isinstance(outcome, Failed)
    assert (outcome.trouble, outcome.billed) == (Trouble.FAILED, False)


@pytest.mark.parametrize(
    ("code", "trouble", "resubmits"),
    [
        ("serviceUnavailable", Trouble.FAILED, 3),
        ("rateLimitExceeded", Trouble.FAILED, 3),
        ("insufficientCredits", Trouble.EXHAUSTED_BUDGET, 0),
        ("downloadFailed", Trouble.REJECTED_INPUT, 2),
    ],
)
def test_runware_does_not_go_on_asking_for_a_task_that_has_failed(code, trouble, resubmits):
    error = {"code": code, "message": "m"}
    for document in (
        {"data": [{"taskUUID": TASK, "status": "error", "error": error}]},
        {"errors": [{**error, "taskUUID": TASK}]},
    ):
        outcome = make_adapter("runware-bria").read_poll(ACCEPTED.ticket, answered(200, document))
        assert isinstance(outcome, Failed)
        assert (outcome.trouble, outcome.resubmits) == (trouble, resubmits)
        assert not outcome.billed


@pytest.mark.parametrize(("status", "code"), [(402, "paymentRequired"), (503, "unavailable")])
def test_runware_asks_again_where_the_question_itself_was_refused(status, code):
    response = answered(status, {"errors": [{"code": code, "message": "m"}]})
    outcome = make_adapter("runware-bria").read_poll(ACCEPTED.ticket, response)
    assert isinstance(outcome, Failed)
    assert outcome.trouble is Trouble.RETRYABLE


def test_runware_recalls_a_past_task():
    adapter, ticket = make_adapter("runware-bria"), ACCEPTED.ticket
    request = adapter.recall(ticket)
    assert request is not None
    assert request.json == [{"taskType": "getTaskDetails", "taskUUID": TASK}]
    for past in ({"data": [RUNWARE_RESPONSE]}, RUNWARE_RESPONSE):
        document = {"data": [{"taskUUID": TASK, "request": [], "response": past}]}
        outcome = adapter.read_recall(ticket, answered(200, document))
        assert outcome == Done(RUNWARE_RESPONSE["imageURL"], TASK, 0.018)
    assert adapter.read_recall(ticket, answered(200, {"data": []})) == Missing()
    unknown = {"errors": [{"code": "taskFailedOrNotFound", "taskUUID": TASK}]}
    assert adapter.read_recall(ticket, answered(400, unknown)) == Missing()
    for status, document in ((503, {}), (402, {}), (429, {}), (200, b"<html>")):
        outcome = adapter.read_recall(ticket, answered(status, document))
        assert isinstance(outcome, Failed)
        assert outcome.trouble in (Trouble.RETRYABLE, Trouble.RATE_LIMITED)
