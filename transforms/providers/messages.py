"""What passes between the driver and an adapter: requests, answers, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any


class Trouble(str, Enum):
    """What kind of failure an answer reports; it decides what is done about it."""

    AUTH = "auth"
    """Key, account or endpoint refused. Nothing of this provider can succeed: stop it."""
    EXHAUSTED_BUDGET = "exhausted_budget"
    """The account is out of money. Submit nothing more, go on polling what is open."""
    REJECTED_INPUT = "rejected_input"
    """This picture is refused. Recorded and never submitted again."""
    RATE_LIMITED = "rate_limited"
    """Too fast. Nothing was accepted; slow down and repeat."""
    RETRYABLE = "unavailable"
    """This request failed in passing. Nothing was accepted; repeat it."""
    AMBIGUOUS = "ambiguous"
    """The submit may have been accepted and billed, and nobody knows."""
    EXPIRED_RESULT = "expired_result"
    """The job was done and billed, and its result is gone."""
    TIMEOUT = "timeout"
    """No result before the ticket's deadline."""
    FAILED = "failed"
    """The job ended without a picture."""


@dataclass(frozen=True)
class HttpRequest:
    """One request, without the key: that is added at the moment of sending.

    Attributes:
      method: `GET`, `POST`, `PUT` or `DELETE`.
      url: absolute, already on the configured host.
      headers: all but the authorization.
      json: the body, or None for none.
      joinable: several such requests with list bodies may travel as one, lists concatenated.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    joinable: bool = False


@dataclass(frozen=True)
class HttpResponse:
    """One answer.

    Attributes:
      status: HTTP status code.
      headers: names in lower case.
      body: as received, content encodings undone.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Tells whether the status is 2xx."""
        return 200 <= self.status < 300

    @cached_property
    def document(self) -> Any:
        """The body as JSON, or None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Picture:
    """A picture in one of the forms a provider may take; exactly one is set.

    Attributes:
      url: a public address the provider fetches from.
      data: an encoded JPEG or PNG, upright and in sRGB.
      stored_id: the id under which the provider already holds it.
    """

    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    stored_id: str | None = None

    def __post_init__(self) -> None:
        if (self.url, self.data, self.stored_id).count(None) != 2:
            raise ValueError("a Picture takes exactly one of url, data and stored_id")

    @property
    def form(self) -> str:
        """`url`, `data` or `stored_id`: the one that is set."""
        return "url" if self.url else "data" if self.data else "stored_id"


@dataclass(frozen=True)
class Submission:
    """One picture to be cut out, as an adapter sees it.

    Attributes:
      picture: what is sent.
      task_id: a UUID for this attempt, for providers that let the client choose the id.
      sent_at: Unix time before which this attempt was not sent.
      known_ids: request ids of earlier attempts, which `find` must not take for this one.
    """

    picture: Picture
    task_id: str
    sent_at: float = 0.0
    known_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ticket:
    """A claim on a job that was accepted; plain data that survives the process as JSON.

    Attributes:
      provider: the adapter's name.
      request_id: the provider's id of the job.
      urls: addresses the provider gave for it, by role.
      submitted_at: Unix time, set by the driver.
      deadline: Unix time after which the job counts as lost, set by the driver.
      media_url: where the picture is, when the answer to the submit already said so.
      cost_usd: what that answer said it cost.
    """

    provider: str
    request_id: str
    urls: Mapping[str, str] = field(default_factory=dict)
    submitted_at: float = 0.0
    deadline: float = 0.0
    media_url: str | None = None
    cost_usd: float | None = None


def due(ticket: Ticket, submitted_at: float, allowance: float) -> Ticket:
    """Puts the times on a ticket: when it was submitted and when it counts as lost."""
    return replace(ticket, submitted_at=submitted_at, deadline=submitted_at + allowance)


@dataclass(frozen=True)
class Accepted:
    """The submit was taken; the result is to be polled for."""

    ticket: Ticket


@dataclass(frozen=True)
class Running:
    """The job is not finished.

    Attributes:
      queued: True when it is known not to have started.
      seconds_left: until it ends, as the provider expects; None where it does not say.
    """

    queued: bool = False
    seconds_left: float | None = None


@dataclass(frozen=True)
class Ready:
    """The job is finished and its result waits at `fetch`.

    Attributes:
      failed: the job is known to have failed; the result says how.
    """

    failed: bool = False


@dataclass(frozen=True)
class Done:
    """The job is finished.

    Attributes:
      media: the picture's address, or the encoded picture itself.
      request_id: the provider's id of the job.
      cost_usd: what the provider says it cost, None where it does not say.
      took: seconds from its submit to its end, as the provider says; None where it does not.
    """

    media: str | bytes = field(repr=False)
    request_id: str
    cost_usd: float | None = None
    took: float | None = None


@dataclass(frozen=True)
class Failed:
    """The request or the job failed.

    Attributes:
      trouble: the kind of failure.
      message: one line for people.
      retry_after: seconds the provider asks to wait.
      resubmits: how many new submits this kind of failure is worth, over all attempts.
      billed: False where the provider documents or shows that nothing was charged.
      suspects_address: the picture's address may be what is wrong.
      wants_data: the address could not be fetched; the picture itself may be taken.
    """

    trouble: Trouble
    message: str
    retry_after: float | None = None
    resubmits: int = 0
    billed: bool = True
    suspects_address: bool = False
    wants_data: bool = False


@dataclass(frozen=True)
class Unsettled:
    """An answer that may right itself: ask again for `grace` seconds, then take it as `then`."""

    grace: float
    then: Failed


@dataclass(frozen=True)
class Missing:
    """No trace of the job in this answer; with a `cursor` the search goes on at the next page."""

    cursor: str | None = None


Outcome = Accepted | Running | Ready | Done | Failed | Unsettled | Missing
