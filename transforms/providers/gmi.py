"""GMI Cloud: BRIA RMBG 2.0 through its request queue.

The submit may block until the picture is finished and then say so without naming it, so the
answer is only ever taken for a receipt, and the job's own page for the truth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

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
from .options import option
from .timing import Timing

_REQUESTS = "/api/v1/ie/requestqueue/apikey/requests"
_OUT_OF_MONEY = re.compile(r"insufficient (credit|balance)", re.IGNORECASE)
_UPSTREAM_REFUSED = re.compile(r"backend error \((4\d\d)\)", re.IGNORECASE)
# Refusals of the service behind that are not about the picture: GMI's own account there.
_NOT_THE_PICTURE = ("401", "402", "403")
# What lists of other services say when they go on, or do not; GMI documents no pages.
_MORE = ("next", "next_page", "next_page_token", "next_cursor", "has_more", "has_next")
_TOTALS = ("total", "total_count")
# A list of fewer jobs is not cut: no service has pages as short as that by default.
_SHORTEST_PAGE = 10


@dataclass(frozen=True)
class GmiOptions:
    """What the queue takes beside the picture.

    Attributes:
      image_form: how encoded pictures are sent: as a `data_uri` or as bare `base64`.
      organization_id: the organisation that is billed.
    """

    image_form: str = option("image_form", str, "data_uri", choices=("data_uri", "base64"))
    organization_id: str | None = option("organization_id", str, None, is_header=True)


class GmiBria(Adapter):
    """BRIA RMBG 2.0 on GMI Cloud."""

    name = "gmi-bria"
    model = "bria-image-remove-background"
    key_variable = "GMI_API_KEY"
    price = Price(0.018, "image", 0.018, "https://docs.gmicloud.ai", "2026-11")
    takes = frozenset({"url", "data"})
    absence_is_proof = True
    timing = Timing(retry_first=15.0, retry_cap=120.0)
    concurrency = 16
    options_type: ClassVar[type] = GmiOptions
    options: GmiOptions

    def authorization(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    def _request(self, method: str, path: str = "", json: Any = None) -> HttpRequest:
        headers = {}
        if self.options.organization_id:
            headers["X-Organization-ID"] = self.options.organization_id
        return HttpRequest(method, self.endpoints.url("gmi", _REQUESTS + path), headers, json)

    def submit(self, submission: Submission) -> HttpRequest:
        body = {"model": self.model, "payload": {"image": self._image(submission)}}
        return self._request("POST", json=body)

    def _image(self, submission: Submission) -> str:
        reference = reading.reference(submission.picture)
        if submission.picture.form == "data" and self.options.image_form == "base64":
            return reference.partition(",")[2]
        return reference

    def read_submit(self, submission: Submission, response: HttpResponse) -> Outcome:
        if not response.ok:
            return _refusal(response)
        accepted = reading.accepted(self.name, _id(response.document), response)
        if isinstance(accepted, Failed) and _OUT_OF_MONEY.search(_message(response)):
            return reading.refused(Trouble.EXHAUSTED_BUDGET, _message(response))
        return accepted

    def poll(self, ticket: Ticket) -> HttpRequest:
        return self._request("GET", f"/{reading.segment(ticket.request_id)}")

    def read_poll(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        if not response.ok or reading.text(reading.dig(response.document, "status")) is None:
            return reading.unanswered(response, _message(response))
        return self._state(response.document, ticket.request_id)

    def _state(self, job: Any, request_id: str) -> Outcome:
        status = reading.dig(job, "status")
        if status == "success":
            media = self._media(reading.dig(job, "outcome"))
            if media is not None:
                return Done(media, request_id)
            return Unsettled(60.0, Failed(Trouble.FAILED, "gmi succeeded without a picture"))
        if status == "failed":
            said = _said(job) or "gmi: the job failed"
            if _OUT_OF_MONEY.search(said):
                return reading.refused(Trouble.EXHAUSTED_BUDGET, said)
            return Failed(Trouble.FAILED, said, resubmits=1)
        if status == "cancelled":
            return Failed(Trouble.FAILED, "gmi: the job was cancelled", resubmits=1)
        return Running(queued=status in ("created", "queued"))

    def _media(self, outcome: Any) -> str | bytes | None:
        for path in (
            ("media_urls", 0, "url"),
            ("media_urls", 0),
            ("image_url",),
            ("url",),
            ("thumbnail_image_url",),
        ):
            found = reading.media_of(reading.dig(outcome, *path))
            if found is not None:
                return self.endpoints.localise(found) if isinstance(found, str) else found
        return None

    def find(self, submission: Submission, cursor: str | None = None) -> HttpRequest | None:
        return self._request("GET", "?" + urlencode({"model_id": self.model}))

    def read_find(self, submission: Submission, response: HttpResponse) -> Outcome:
        if not response.ok:
            return reading.unanswered(response, _message(response))
        image = self._image(submission)
        listed = _listed(response.document)
        since = submission.sent_at - reading.CLOCK_SKEW
        could_be_ours = False
        for job in listed or ():
            request_id = _id(job)
            # A failure may be an earlier attempt's; taking it for this one's would hide a success.
            failed = reading.dig(job, "status") in ("failed", "cancelled")
            if request_id is None or request_id in submission.known_ids or failed:
                continue
            created = _created(job)
            if created is not None and created < since:
                continue
            is_ours = _echoes(reading.text(reading.dig(job, "payload", "image")), image)
            if is_ours:
                return Accepted(Ticket(self.name, request_id))
            could_be_ours = could_be_ours or is_ours is None
        if could_be_ours:
            return Failed(Trouble.RETRYABLE, "gmi's list does not show what its jobs are of")
        if listed is None or not _covers(response.document, listed, since):
            # Absence from a part of the list proves nothing, and a submit may have been billed.
            return Failed(Trouble.RETRYABLE, "gmi's list of jobs may not be whole")
        return Missing()

    def cancel(self, ticket: Ticket) -> HttpRequest | None:
        return self._request("DELETE", f"/{reading.segment(ticket.request_id)}")


def _id(job: Any) -> str | None:
    return reading.text(reading.dig(job, "request_id")) or reading.text(reading.dig(job, "id"))


def _echoes(echo: str | None, image: str) -> bool | None:
    """Tells whether a job's echo is of the picture that was sent; None where that cannot be told.

    What was sent by address is echoed as it is. What was sent itself may come back without the head
    of its data URI, cut short, or as an address where it has been put.
    """
    if echo is None:
        return None
    if echo == image or reading.web_address(image) is not None:
        return echo == image
    ours, theirs = image.rpartition(",")[2], echo.rpartition(",")[2]
    if theirs == ours:
        return True
    is_cut = ours.startswith(theirs.rstrip(".…"))
    return None if is_cut or reading.web_address(echo) is not None else False


def _listed(document: Any) -> list[Any] | None:
    """Finds the jobs in a list; None in an answer that has none in any known form."""
    if isinstance(document, list):
        return document
    for key in ("requests", "data", "items"):
        found = reading.dig(document, key)
        if isinstance(found, list):
            return found
    return None


def _created(job: Any) -> float | None:
    return reading.moment(reading.dig(job, "created_at"))


def _covers(document: Any, listed: list[Any], since: float) -> bool:
    """Tells whether a list is certain to hold every job that was created since a moment.

    It is when it says that it is whole, when it is too short to have been cut, or when it goes from
    the newest job back to one that is older. A list may be cut without saying so.
    """
    says = _says_whole(document, len(listed))
    if says is not None:
        return says
    if len(listed) < _SHORTEST_PAGE:
        return True
    created = [_created(job) for job in listed]
    times = [moment for moment in created if moment is not None]
    is_newest_first = times == sorted(times, reverse=True) and times[:1] > times[-1:]
    return len(times) == len(created) and is_newest_first and times[-1] < since


def _says_whole(document: Any, listed: int) -> bool | None:
    """Gives what a list says of itself, if anything: whether nothing more is to come."""
    if not isinstance(document, dict):
        return None
    totals = [
        number for name in _TOTALS if (number := reading.number(document.get(name))) is not None
    ]
    if any(document.get(sign) for sign in _MORE) or any(total > listed for total in totals):
        return False
    return True if totals or any(sign in document for sign in _MORE) else None


def _said(document: Any) -> str:
    """Finds the error text in any of the shapes GMI sends it in."""
    error = reading.dig(document, "error")
    if isinstance(error, dict):
        error = ": ".join(str(error[key]) for key in ("message", "details") if error.get(key))
    return reading.one_line(error) if error else ""


def _message(response: HttpResponse) -> str:
    said = _said(response.document) or response.body[:200].decode("utf-8", "replace")
    return reading.one_line(f"HTTP {response.status} {said}")


def _refusal(response: HttpResponse) -> Failed:
    status, message = response.status, _message(response)
    if status == 402 or _OUT_OF_MONEY.search(message):
        return reading.refused(Trouble.EXHAUSTED_BUDGET, message)
    if status in (401, 403, 404, 405) or 300 <= status < 400:
        return reading.refused(Trouble.AUTH, message)
    if status == 429:
        return reading.limited(response, message)
    if status < 500 and status != 408:
        return reading.refused(Trouble.REJECTED_INPUT, message)
    upstream = _UPSTREAM_REFUSED.search(message)
    behind = upstream.group(1) if upstream else None
    if behind == "429":
        return reading.limited(response, message)
    if behind is None or behind == "408":
        return Failed(Trouble.AMBIGUOUS, message)
    trouble = Trouble.FAILED if behind in _NOT_THE_PICTURE else Trouble.REJECTED_INPUT
    return reading.refused(trouble, message, resubmits=1)
