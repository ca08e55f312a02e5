"""Pixazo's gateway: BRIA RMBG 2.0 by public address only, in the two dialects it is documented in.

Which dialect a key gets is seen from the answer to the submit: one with a `polling_url` speaks
the newer (poll by GET), any other the older (poll by POST). There is no list of jobs, so a
submit whose answer was lost cannot be found again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from . import reading
from .contract import Adapter, Price
from .messages import (
    Done,
    Failed,
    HttpRequest,
    HttpResponse,
    Outcome,
    Picture,
    Running,
    Submission,
    Ticket,
    Trouble,
    Unsettled,
)
from .options import option
from .timing import Timing

_MODEL = "bria-rmbg-2-0-682"
# Seconds: the newer dialect is to be polled "every 5-10 s"; of the older nothing is said.
_NEWER_GAP = 5.0


@dataclass(frozen=True)
class PixazoOptions:
    """What the gateway takes beside the picture.

    Attributes:
      webhook_url: told by Pixazo when the job ends (newer dialect).
    """

    webhook_url: str | None = option("webhook_url", str, None, is_url=True)


class PixazoBria(Adapter):
    """BRIA RMBG 2.0 on Pixazo."""

    name = "pixazo-bria"
    model = _MODEL
    key_variable = "PIXAZO_API_KEY"
    price = Price(
        0.018, "image", 0.018, "https://www.pixazo.ai/models/image/bria-rmbg-2-0", "2026-11"
    )
    takes = frozenset({"url"})
    timing = Timing(retry_first=5.0)
    concurrency = 16
    options_type: ClassVar[type] = PixazoOptions
    options: PixazoOptions

    def authorization(self, key: str) -> dict[str, str]:
        return {"Ocp-Apim-Subscription-Key": key}

    def check(self, picture: Picture) -> str | None:
        if picture.form == "url":
            return None
        return (
            f"{self.name} fetches pictures from public addresses only; this one is not at a "
            "public address or needs a local change first: give --staging_uri"
        )

    def submit(self, submission: Submission) -> HttpRequest:
        headers = {"Cache-Control": "no-cache"}
        if self.options.webhook_url:
            headers["X-Webhook-URL"] = self.options.webhook_url
        url = self.endpoints.url("pixazo", f"/{_MODEL}/v1/bria-rmbg-2-0-request")
        return HttpRequest("POST", url, headers, {"image_url": submission.picture.url})

    def read_submit(self, submission: Submission, response: HttpResponse) -> Outcome:
        if not response.ok:
            return _refusal(response)
        document = response.document
        # Pixazo's own samples elsewhere show answers that hold the picture at once.
        media = self._media(document)
        if media is not None:
            return Done(media, reading.text(reading.dig(document, "request_id")) or "")
        urls = {}
        if "polling_url" in (document if isinstance(document, dict) else {}):
            named = self.endpoints.own(document["polling_url"], "pixazo")
            urls["polling_url"] = named or ""
        request_id = reading.dig(document, "request_id")
        accepted = reading.accepted(self.name, request_id, response, urls)
        if isinstance(accepted, Failed) and _is_out_of_money(response):
            return reading.refused(Trouble.EXHAUSTED_BUDGET, _message(response))
        return accepted

    def poll(self, ticket: Ticket) -> HttpRequest:
        headers = {"Cache-Control": "no-cache"}
        if "polling_url" in ticket.urls:
            path = f"/v2/requests/status/{reading.segment(ticket.request_id)}"
            named = ticket.urls["polling_url"]
            return HttpRequest("GET", named or self.endpoints.url("pixazo", path), headers)
        url = self.endpoints.url("pixazo", f"/{_MODEL}/v1/bria-rmbg-2-0-request-result")
        return HttpRequest("POST", url, headers, {"request_id": ticket.request_id})

    def poll_gap(self, ticket: Ticket) -> float:
        return _NEWER_GAP if "polling_url" in ticket.urls else 0.0

    def read_poll(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        if not response.ok:
            return reading.unanswered(response, _message(response))
        status = reading.text(reading.dig(response.document, "status"))
        if status is None:
            return reading.unanswered(response, _message(response))
        if status in ("COMPLETED", "SUCCEEDED"):
            media = self._media(response.document)
            if media is not None:
                return Done(media, ticket.request_id, took=_took(response.document))
            return Unsettled(60.0, Failed(Trouble.FAILED, "pixazo completed without a picture"))
        if status == "FAILED":
            if _is_out_of_money(response):
                return reading.refused(Trouble.EXHAUSTED_BUDGET, _message(response))
            return _failed_job(_message(response))
        if status == "ERROR":
            return Failed(Trouble.FAILED, _message(response), resubmits=3, billed=False)
        left = reading.number(reading.dig(response.document, "estimated_completion_time_seconds"))
        return Running(queued=status in ("IN_QUEUE", "QUEUED"), seconds_left=left)

    def _media(self, document: Any) -> str | None:
        for path in (
            ("result", "image_url"),
            ("output", "media_url", 0),
            ("output", "media_url"),
            ("output", 0, "url"),
            ("images", 0, "url"),
            ("output_url",),
            ("url",),
        ):
            found = reading.web_address(reading.dig(document, *path))
            if found is not None:
                return self.endpoints.localise(found)
        return None


def _took(document: Any) -> float | None:
    """Reads how long a job took from the times in the newer dialect's answer."""
    began, ended = (
        reading.moment(reading.dig(document, name)) for name in ("created_at", "completed_at")
    )
    return ended - began if began is not None and ended is not None and ended >= began else None


def _message(response: HttpResponse) -> str:
    document = response.document
    said = [
        found for key in ("error", "message") if (found := reading.text(reading.dig(document, key)))
    ] or [response.body[:200].decode("utf-8", "replace")]
    return reading.one_line(f"HTTP {response.status} {': '.join(said)}")


def _is_out_of_money(response: HttpResponse) -> bool:
    return response.status == 402 or "insufficient balance" in _message(response).lower()


def _refusal(response: HttpResponse) -> Failed:
    status, message = response.status, _message(response)
    if _is_out_of_money(response):
        return reading.refused(Trouble.EXHAUSTED_BUDGET, message)
    if status in (401, 403, 404, 405) or 300 <= status < 400:
        return reading.refused(Trouble.AUTH, message)
    if status == 429:
        return reading.limited(response, message)
    if status < 500 and status != 408:
        suspects = status == 400
        return Failed(Trouble.REJECTED_INPUT, message, billed=False, suspects_address=suspects)
    # The gateway forwards to another provider and may fail, or be late, after that one has accepted.
    return Failed(Trouble.AMBIGUOUS, message)


def _failed_job(message: str) -> Failed:
    """A failed job; one that could not fetch the picture is worth another try."""
    fetching = any(word in message.lower() for word in ("download", "fetch", "unreachable"))
    return Failed(Trouble.REJECTED_INPUT, message, resubmits=1 if fetching else 0)
