"""What fal's error answers mean: the model's typed list, or the platform's single text."""

from __future__ import annotations

from . import reading
from .messages import Failed, HttpResponse, Outcome, Running, Trouble

# Errors of the model (typed, in a list) that a new submit may cure, and how often to try.
_WORTH_RESUBMITTING = {"file_download_error": 2, "downstream_service_error": 1}
# Headers by which fal says that a request had no effect, the newer name first.
_WORTH_REPEATING = ("x-fal-needs-retry", "x-fal-retryable")


def _error_type(response: HttpResponse) -> str:
    found = (
        reading.dig(response.document, "detail", 0, "type")
        or reading.dig(response.document, "error_type")
        or response.headers.get("x-fal-error-type")
    )
    return found if isinstance(found, str) else ""


def message(response: HttpResponse) -> str:
    """Makes one line of an error answer."""
    detail = reading.dig(response.document, "detail")
    said = reading.dig(detail, 0, "msg") or detail or response.body[:200].decode("utf-8", "replace")
    kind = _error_type(response)
    return reading.one_line(f"HTTP {response.status} {kind + ': ' if kind else ''}{said}")


def refusal(response: HttpResponse) -> Failed:
    """Reads the answer to a submit that was not taken."""
    status, said = response.status, message(response)
    if status == 401:
        return reading.refused(Trouble.AUTH, said)
    if status == 402:
        return reading.refused(Trouble.EXHAUSTED_BUDGET, said)
    if status == 403:
        locked = "user is locked" in said.lower()
        return reading.refused(Trouble.EXHAUSTED_BUDGET if locked else Trouble.AUTH, said)
    if status in (404, 405) or 300 <= status < 400:
        return reading.refused(Trouble.AUTH, said)
    if status in (408, 409, 429):
        return reading.limited(response, said)
    if status >= 500:
        if _is_billed(response):
            return Failed(Trouble.FAILED, said)
        worth_it = any(response.headers.get(name) == "1" for name in _WORTH_REPEATING)
        if response.document is None and not worth_it:
            return Failed(Trouble.AMBIGUOUS, said)
        return reading.refused(Trouble.RETRYABLE, said)
    return _refused_input(response)


def _is_billed(response: HttpResponse) -> bool:
    """Tells whether an error answer says that it was charged, as one can that used a GPU."""
    return bool(reading.number(response.headers.get("x-fal-billable-units")))


def _refused_input(response: HttpResponse) -> Failed:
    billed = _is_billed(response)
    kind = _error_type(response)
    return Failed(
        Trouble.REJECTED_INPUT,
        message(response),
        resubmits=0 if billed else _WORTH_RESUBMITTING.get(kind, 0),
        billed=billed,
        wants_data=kind == "file_download_error",
    )


def unanswered(response: HttpResponse) -> Outcome:
    """Reads the answer to a status or history question that is not as it should be."""
    return reading.unanswered(response, message(response))


def job_failure(response: HttpResponse, known: bool) -> Outcome:
    """Reads the result of a completed job that is not 2xx: the model's own answer, or fal's.

    Args:
      response: the result.
      known: whether the job's status already said that it failed.
    """
    status, said = response.status, message(response)
    if status == 400 and "still in progress" in said:
        return Running()
    runner = _error_type(response).startswith(("runner_", "startup_timeout", "request_timeout"))
    if status in (401, 429) or (status == 408 and not runner):
        return reading.unanswered(response, said)
    if status == 404:
        wrong_path = "path " in said.lower()
        return Failed(Trouble.AUTH if wrong_path else Trouble.EXPIRED_RESULT, said)
    if status == 499:
        return Failed(Trouble.TIMEOUT, said)
    if status < 400 or status in (403, 409):
        return Failed(Trouble.RETRYABLE, said)
    if status < 500 and not runner:
        return _refused_input(response)
    # A failed job's 5xx is documented as not billed. A 5xx of the gateway in front of a good
    # result looks the same, and submitting anew would pay twice, so the failure needs a witness.
    if known or runner or "x-fal-billable-units" in response.headers:
        billed = _is_billed(response)
        return Failed(Trouble.FAILED, said, resubmits=0 if billed else 3, billed=billed)
    return Failed(Trouble.RETRYABLE, said)
