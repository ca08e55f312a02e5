"""Runware: BRIA RMBG 2.0 as tasks whose ids we choose, so that a repeated submit is never billed.

Every request is an array of tasks and every answer is matched by `taskUUID` alone: the other
fields of an answer differ between the pages and the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from . import reading
from .contract import Adapter, Price
from .messages import (
    Accepted,
    Done,
    Failed,
    HttpRequest,
    HttpResponse,
    Missing,
    Outcome,
    Running,
    Submission,
    Ticket,
    Trouble,
    Unsettled,
)
from .options import option, sent


@dataclass(frozen=True)
class RunwareOptions:
    """What a task takes beside the picture, under Runware's own names.

    Attributes:
      output_type: how the picture comes back.
      output_format: PNG or WEBP; JPG, the provider's default, has no transparency.
      output_quality: 20 to 99.
      ttl: seconds until the result's address expires, at least 60; only with `URL`.
      webhook_url: told by Runware when the task ends.
      upload_endpoint: the result is also PUT there.
      delivery_method: `sync` answers with the picture, `async` is polled.
      include_cost: have the price in the answer.
      preserve_alpha: keep transparency that the picture already has.
      tasks_per_request: how many pictures may share one request.
    """

    output_type: str = option("outputType", str, "URL", choices=("URL", "base64Data", "dataURI"))
    output_format: str = option(
        "outputFormat",
        str,
        "PNG",
        choices=("PNG", "WEBP"),
        refused={"JPG": "JPG has no transparency; give PNG or WEBP"},
    )
    output_quality: int | None = option("outputQuality", int, None, minimum=20, maximum=99)
    ttl: int | None = option("ttl", int, None, minimum=60)
    webhook_url: str | None = option("webhookURL", str, None, is_url=True)
    upload_endpoint: str | None = option("uploadEndpoint", str, None, is_url=True)
    delivery_method: str = option("deliveryMethod", str, "sync", choices=("sync", "async"))
    include_cost: bool = option("includeCost", bool, True)
    preserve_alpha: bool = option("preserveAlpha", bool, False)
    tasks_per_request: int = option("tasks_per_request", int, 1, minimum=1, maximum=100)

    def __post_init__(self) -> None:
        if self.ttl is not None and self.output_type != "URL":
            raise ValueError(
                f"option ttl={self.ttl} goes only with outputType 'URL', not {self.output_type!r}"
            )


class RunwareBria(Adapter):
    """BRIA RMBG 2.0 on Runware."""

    name = "runware-bria"
    model = "bria:2@1"
    key_variable = "RUNWARE_API_KEY"
    price = Price(0.018, "image", 0.018, "https://runware.ai/docs/models/bria-rmbg-v2-0", "2026-11")
    takes = frozenset({"url", "data", "stored_id"})
    idempotent = True
    concurrency = 16
    options_type: ClassVar[type] = RunwareOptions
    options: RunwareOptions

    @property
    def tasks_per_post(self) -> int:
        return self.options.tasks_per_request

    def authorization(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    def result_options(self) -> dict[str, Any]:
        return sent(self.options, "output_format", "output_quality", "preserve_alpha")

    def _tasks(self, task: dict[str, Any]) -> HttpRequest:
        return HttpRequest("POST", self.endpoints.url("runware", "/v1"), {}, [task], joinable=True)

    def submit(self, submission: Submission) -> HttpRequest:
        return self._tasks(
            {
                "taskType": "removeBackground",
                "taskUUID": submission.task_id,
                "model": self.model,
                "inputs": {"image": reading.reference(submission.picture)},
                **sent(
                    self.options,
                    "output_type",
                    "output_format",
                    "output_quality",
                    "ttl",
                    "webhook_url",
                    "upload_endpoint",
                    "delivery_method",
                    "include_cost",
                ),
                "providerSettings": {"bria": sent(self.options, "preserve_alpha")},
            }
        )

    def read_submit(self, submission: Submission, response: HttpResponse) -> Outcome:
        task_id = submission.task_id
        error = _error_of(response.document, task_id)
        if error is not None and reading.dig(error, "code") == "conflictTaskUUID":
            return Accepted(Ticket(self.name, task_id))
        item = _item_of(response.document, task_id)
        if item is not None:
            failed = _error_in(item)
            if failed is not None:
                return _task_failure(failed)
            return self._done(item, task_id) or Accepted(Ticket(self.name, task_id))
        if error is not None:
            return _failure(response, error)
        return _http_failure(response)

    def poll(self, ticket: Ticket) -> HttpRequest:
        return self._tasks({"taskType": "getResponse", "taskUUID": ticket.request_id})

    def read_poll(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        item = _item_of(response.document, ticket.request_id)
        if item is not None:
            return self._state(item, ticket.request_id)
        error = _error_of(response.document, ticket.request_id)
        if error is None:
            # A task that is not known is answered like one that runs: with an empty list.
            listed = response.ok and response.document is not None
            return Running() if listed else _unanswered(_http_failure(response))
        named = reading.dig(error, "taskUUID") == ticket.request_id
        if named and response.status < 500 and response.status not in _REFUSED:
            return _ended(error, response)
        return _unanswered(_failure(response, error))

    def _state(self, item: Any, task_id: str) -> Outcome:
        error = _error_in(item)
        if error is not None:
            return _ended(error)
        done = self._done(item, task_id)
        if done is not None:
            return done
        if reading.dig(item, "imageUUID") or reading.dig(item, "status") == "success":
            return Unsettled(60.0, Failed(Trouble.FAILED, "runware succeeded without a picture"))
        return Running()

    def _done(self, item: Any, task_id: str) -> Done | None:
        media = self._media(item)
        if media is None:
            return None
        return Done(media, task_id, reading.number(reading.dig(item, "cost")))

    def _media(self, item: Any) -> str | bytes | None:
        inline = reading.decode_base64(reading.dig(item, "imageBase64Data"))
        if inline is not None:
            return inline
        for field in ("imageURL", "imageDataURI"):
            found = reading.media_of(reading.dig(item, field))
            if found is not None:
                return self.endpoints.localise(found) if isinstance(found, str) else found
        return None

    def recall(self, ticket: Ticket) -> HttpRequest | None:
        return self._tasks({"taskType": "getTaskDetails", "taskUUID": ticket.request_id})

    def read_recall(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        past = reading.dig(_item_of(response.document, ticket.request_id), "response")
        done = self._done(_item_of(past, ticket.request_id) or past, ticket.request_id)
        if done is not None:
            return done
        if response.document is None or response.status in _REFUSED or response.status >= 500:
            return _unanswered(_http_failure(response))
        return Missing()


def _item_of(document: Any, task_id: str) -> Any:
    for item in reading.listed(document, "data"):
        if reading.dig(item, "taskUUID") == task_id:
            return item
    return None


def _error_in(item: Any) -> Any:
    """Finds the error of a task that is listed as one that failed."""
    if reading.dig(item, "status") != "error":
        return None
    error = reading.dig(item, "error")
    return error if isinstance(error, dict) else item


def _error_of(document: Any, task_id: str) -> Any:
    """Finds the error of a task: its own, else one that names no task."""
    errors = reading.listed(document, "errors")
    if isinstance(reading.dig(document, "error"), dict):
        errors = [*errors, document["error"]]
    nameless = None
    for error in errors:
        named = reading.dig(error, "taskUUID")
        if named == task_id:
            return error
        if named is None:
            nameless = nameless or error
    return nameless


# Codes are being standardised and vary by model (D); these parts of them are what the official
# SDK sorts by (C), in this order.
_MONEY = ("Credits", "Quota", "Balance", "paymentRequired")
_AUTH = ("ApiKey", "unauthorized", "forbidden", "ermission", "uthentication", "token", "account")
_SAFETY = ("Content", "moderation", "Blocked")
_MALFORMED = ("invalid", "missing", "unsupported", "value", "unknownParameter", "incompatible")
_PASSING = ("noAvailableServer", "Timeout", "timeout", "processingFailed", "inferenceError")
_SERVER = ("Unavailable", "ServerError", "unknownError")


# Statuses that say what is wrong whatever the code is.
_REFUSED = (401, 402, 403, 429)
_WAITED = 504


def _ended(error: Any, response: HttpResponse | None = None) -> Failed | Unsettled:
    """Takes a task's error for its end: asking again would give the same, a new task may not."""
    if _code(error).endswith("NotFound"):
        return Unsettled(30.0, Failed(Trouble.EXPIRED_RESULT, _message(error, response)))
    failed = _task_failure(error, response)
    if failed.trouble in (Trouble.RETRYABLE, Trouble.RATE_LIMITED):
        return reading.refused(Trouble.FAILED, failed.message, resubmits=3)
    return failed


def _unanswered(failed: Failed) -> Failed:
    """Takes lack of money for passing where a question, which is free, was refused for it."""
    if failed.trouble is Trouble.EXHAUSTED_BUDGET:
        return reading.refused(Trouble.RETRYABLE, failed.message)
    return failed


def _failure(response: HttpResponse, error: Any) -> Failed:
    """Reads an entry of `errors`, for the whole request or for one task."""
    if response.status >= 500:
        # Who waited too long (504) need not have given the task up.
        return Failed(
            Trouble.RETRYABLE, _message(error, response), billed=response.status == _WAITED
        )
    if response.status in _REFUSED:
        return _http_failure(response, error)
    return _task_failure(error, response)


def _code(error: Any) -> str:
    return str(reading.dig(error, "code") or "")


def _task_failure(error: Any, response: HttpResponse | None = None) -> Failed:
    """Reads one task's error. Failed tasks are not charged (T)."""
    code = _code(error)
    message = _message(error, response)

    def says(parts: tuple[str, ...]) -> bool:
        return any(part in code for part in parts)

    if says(_MONEY):
        return reading.refused(Trouble.EXHAUSTED_BUDGET, message)
    if says(_AUTH):
        return reading.refused(Trouble.AUTH, message)
    if "ateLimit" in code:
        return reading.refused(Trouble.RATE_LIMITED, message)
    if code == "downloadFailed":
        return Failed(Trouble.REJECTED_INPUT, message, resubmits=2, billed=False, wants_data=True)
    if says(_PASSING):
        return reading.refused(Trouble.FAILED, message, resubmits=3)
    if says(_SAFETY):
        return reading.refused(Trouble.REJECTED_INPUT, message)
    if code.startswith(_MALFORMED) or code.endswith("NotFound"):
        # A task that ran was well-formed; what is wrong then is the picture.
        named = str(reading.dig(error, "parameter") or code)
        about_picture = response is None or "image" in named.lower()
        trouble = Trouble.REJECTED_INPUT if about_picture else Trouble.AUTH
        return reading.refused(trouble, message)
    if says(_SERVER):
        return reading.refused(Trouble.RETRYABLE, message)
    return reading.refused(Trouble.FAILED, message)


def _http_failure(response: HttpResponse, error: Any = None) -> Failed:
    """Reads an answer by its status alone. Repeating the same task is always safe."""
    message = _message(error, response)
    if response.status in (401, 403, 404, 405) or 300 <= response.status < 400:
        return reading.refused(Trouble.AUTH, message)
    if response.status == 402:
        return reading.refused(Trouble.EXHAUSTED_BUDGET, message)
    if response.status == 429:
        return reading.limited(response, message)
    if response.status == 413:
        return reading.refused(Trouble.REJECTED_INPUT, message)
    # Who does not speak Runware's language may have passed the task on before.
    return Failed(Trouble.RETRYABLE, message)


def _message(error: Any, response: HttpResponse | None) -> str:
    said = [str(reading.dig(error, key)) for key in ("code", "message") if reading.dig(error, key)]
    if response is not None and not response.ok:
        said.insert(0, f"HTTP {response.status}")
        if error is None:
            said.append(response.body[:200].decode("utf-8", "replace"))
    return reading.one_line(": ".join(said) or "runware gave no reason")
