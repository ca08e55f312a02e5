"""fal: BRIA RMBG 2.0 and rembg, through the queue or in one blocking request.

The same transport rules hold for both; they differ in one parameter and in the price.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

from . import fal_errors, reading
from .contract import Adapter, Price
from .messages import (
    Accepted,
    Done,
    Failed,
    HttpRequest,
    HttpResponse,
    Missing,
    Outcome,
    Ready,
    Running,
    Submission,
    Ticket,
    Trouble,
    Unsettled,
)
from .options import option, sent


@dataclass(frozen=True)
class FalOptions:
    """What both endpoints take.

    Attributes:
      sync_mode: the picture comes back inside the answer and stays out of the request history,
        so a lost answer cannot be found again.
      transport: `queue` submits and polls; `sync` blocks until the picture is there.
      start_timeout: seconds within which the job must start, more than 0.1.
      media_expiration: seconds after which fal deletes the result.
      priority: the queue's lane.
      webhook_url: told by fal when a queued job ends.
      max_queue_length: a longer queue refuses the submit, which is then repeated more slowly.
      no_retry: fal does not itself repeat a job whose runner failed.
      runner_hint: jobs of the same hint go to the same runner where that is possible.
      store_io: fal keeps what went in and out; without, a lost answer cannot be found again.
    """

    sync_mode: bool = option("sync_mode", bool, False)
    transport: Literal["queue", "sync"] = option(
        "transport", str, "queue", choices=("queue", "sync")
    )
    start_timeout: float | None = option("start_timeout", float, None, above=0.1)
    media_expiration: int | None = option("media_expiration", int, None, minimum=1)
    priority: str | None = option("priority", str, None, choices=("normal", "low"))
    webhook_url: str | None = option("webhook_url", str, None, is_url=True)
    max_queue_length: int | None = option("max_queue_length", int, None, minimum=1)
    no_retry: bool = option("no_retry", bool, False)
    runner_hint: str | None = option("runner_hint", str, None, is_header=True)
    store_io: bool = option("store_io", bool, True)

    def __post_init__(self) -> None:
        for name in ("priority", "webhook_url", "max_queue_length"):
            value = getattr(self, name)
            if value is not None and self.transport != "queue":
                raise ValueError(
                    f"option {name}={value!r} goes only with transport 'queue', "
                    f"not {self.transport!r}"
                )


@dataclass(frozen=True)
class RembgOptions(FalOptions):
    """What rembg takes beyond that.

    Attributes:
      crop_to_bbox: the answer holds only the subject's bounding box.
    """

    crop_to_bbox: bool = option("crop_to_bbox", bool, False)


class Fal(Adapter):
    """One fal endpoint."""

    key_variable = "FAL_KEY"
    takes = frozenset({"url", "data"})
    concurrency = 64
    account_concurrency = 40  # 2 in a new account, growing with what was bought
    options_type: ClassVar[type] = FalOptions
    options: FalOptions

    def authorization(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Key {key}"}

    def result_options(self) -> dict[str, Any]:
        return {}

    def submit(self, submission: Submission) -> HttpRequest:
        options = self.options
        base = "fal_run" if options.transport == "sync" else "fal_queue"
        asked = {
            "fal_webhook": options.webhook_url,
            "fal_max_queue_length": options.max_queue_length,
        }
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        url = self.endpoints.url(base, f"/{self.model}{'?' if query else ''}{query}")
        return HttpRequest("POST", url, self._headers(), json=self._arguments(submission))

    def _headers(self) -> dict[str, str]:
        options = self.options
        headers = {}
        if options.start_timeout is not None:
            headers["X-Fal-Request-Start-Timeout"] = f"{options.start_timeout:.15g}"
        if options.media_expiration is not None:
            headers["X-Fal-Object-Lifecycle-Preference"] = json.dumps(
                {"expiration_duration_seconds": options.media_expiration}
            )
        if options.priority is not None:
            headers["X-Fal-Queue-Priority"] = options.priority
        if options.no_retry:
            headers["X-Fal-No-Retry"] = "1"
        if options.runner_hint is not None:
            headers["X-Fal-Runner-Hint"] = options.runner_hint
        if not options.store_io:
            headers["X-Fal-Store-IO"] = "0"
        return headers

    def _arguments(self, submission: Submission) -> dict[str, Any]:
        arguments = {"image_url": reading.reference(submission.picture), **self.result_options()}
        if self.options.sync_mode:
            arguments["sync_mode"] = True
        return arguments

    def read_submit(self, submission: Submission, response: HttpResponse) -> Outcome:
        if not response.ok:
            return fal_errors.refusal(response)
        request_id = reading.dig(response.document, "request_id")
        if self.options.transport == "sync":
            request_id = reading.text(response.headers.get("x-fal-request-id"))
            done = self._done(response, request_id or "")
            if done is not None:
                return done
        ticket_urls = {
            role: url
            for role in ("status_url", "response_url", "cancel_url")
            if (url := self.endpoints.own(reading.dig(response.document, role), "fal_queue"))
        }
        return reading.accepted(self.name, request_id, response, ticket_urls)

    def _queue_url(self, ticket: Ticket, role: str, suffix: str) -> str:
        """Gives the address fal named, else the documented one, which drops the sub-path."""
        app = "/".join(self.model.split("/")[:2])
        default = f"/{app}/requests/{reading.segment(ticket.request_id)}{suffix}"
        named = self.endpoints.own(ticket.urls.get(role), "fal_queue")
        return named or self.endpoints.url("fal_queue", default)

    def poll(self, ticket: Ticket) -> HttpRequest:
        return HttpRequest("GET", self._queue_url(ticket, "status_url", "/status"))

    def read_poll(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        if not response.ok:
            return fal_errors.unanswered(response)
        status = reading.text(reading.dig(response.document, "status"))
        if status is None:
            return fal_errors.unanswered(response)
        if status == "COMPLETED":
            document = response.document
            failed = reading.dig(document, "error") or reading.dig(document, "error_type")
            return Ready(failed=bool(failed))
        return Running(queued=status == "IN_QUEUE")

    def fetch(self, ticket: Ticket) -> HttpRequest:
        return HttpRequest("GET", self._queue_url(ticket, "response_url", ""))

    def read_fetch(self, ticket: Ticket, ready: Ready, response: HttpResponse) -> Outcome:
        if response.status == 202:
            return Running()
        if response.ok:
            nothing = Failed(Trouble.FAILED, "no picture in fal's result")
            return self._done(response, ticket.request_id) or Unsettled(30.0, nothing)
        return fal_errors.job_failure(response, ready.failed)

    def _done(self, response: HttpResponse, request_id: str) -> Done | None:
        media = reading.media_of(reading.dig(response.document, "image", "url"))
        if media is None:
            return None
        return Done(self._local(media), request_id, self._cost(response))

    def _local(self, media: str | bytes) -> str | bytes:
        return self.endpoints.localise(media) if isinstance(media, str) else media

    def _cost(self, response: HttpResponse) -> float | None:
        units = reading.number(response.headers.get("x-fal-billable-units"))
        return None if units is None else round(units * self.price.usd, 6)

    def find(self, submission: Submission, cursor: str | None = None) -> HttpRequest | None:
        page = {"cursor": cursor} if cursor else {}
        return self._history(start=_iso(submission.sent_at - reading.CLOCK_SKEW), **page)

    def _history(self, **query: str) -> HttpRequest:
        asked = {"endpoint_id": self.model, **query, "limit": "100", "expand": "payloads"}
        url = self.endpoints.url("fal_rest", f"/v1/models/requests/by-endpoint?{urlencode(asked)}")
        return HttpRequest("GET", url)

    def read_find(self, submission: Submission, response: HttpResponse) -> Outcome:
        if not response.ok:
            return fal_errors.unanswered(response)
        picture = reading.reference(submission.picture)
        wanted = {"image_url": picture, **self.result_options()}
        for item in reading.listed(response.document, "items"):
            request_id = reading.text(reading.dig(item, "request_id"))
            given = reading.dig(item, "json_input")
            # A failure may be an earlier attempt's; taking it for this one's would hide a success.
            failed = (reading.number(reading.dig(item, "status_code")) or 200) >= 400
            if request_id is None or request_id in submission.known_ids or failed:
                continue
            # What is left out of an input has its default, which is False for every flag.
            if isinstance(given, dict) and all(given.get(k, False) == v for k, v in wanted.items()):
                return self._recorded(item, request_id) or Accepted(Ticket(self.name, request_id))
        more = reading.dig(response.document, "has_more")
        return Missing(
            reading.text(reading.dig(response.document, "next_cursor")) if more else None
        )

    def _recorded(self, item: Any, request_id: str) -> Done | None:
        media = reading.media_of(reading.dig(item, "json_output", "image", "url"))
        return None if media is None else Done(self._local(media), request_id)

    def recall(self, ticket: Ticket) -> HttpRequest | None:
        return self._history(request_id=ticket.request_id)

    def read_recall(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        # Not every key may read the history: a refusal is an answer.
        if (
            response.document is None
            or response.status in (401, 408, 429)
            or response.status >= 500
        ):
            return fal_errors.unanswered(response)
        for item in reading.listed(response.document, "items"):
            if reading.dig(item, "request_id") == ticket.request_id:
                return self._recorded(item, ticket.request_id) or Missing()
        return Missing()

    def cancel(self, ticket: Ticket) -> HttpRequest | None:
        return HttpRequest("PUT", self._queue_url(ticket, "cancel_url", "/cancel"))

    def read_cancel(self, ticket: Ticket, response: HttpResponse) -> bool:
        return response.status == 202


class FalBria(Fal):
    """BRIA RMBG 2.0 on fal."""

    name = "fal-bria"
    model = "fal-ai/bria/background/remove"
    price = Price(
        0.018, "image", 0.018, "https://fal.ai/models/fal-ai/bria/background/remove", "2026-11"
    )


class FalRembg(Fal):
    """rembg on fal. Billed by compute second; ten are set aside for a picture."""

    name = "fal-rembg"
    model = "fal-ai/imageutils/rembg"
    price = Price(
        0.00111,
        "compute second",
        0.0111,
        "https://fal.ai/models/fal-ai/imageutils/rembg",
        "2026-11",
    )
    options_type = RembgOptions
    options: RembgOptions

    def result_options(self) -> dict[str, Any]:
        return sent(self.options, "crop_to_bbox")


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
