"""What a provider's adapter is: requests built and answers read, with no I/O and no clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .endpoints import Endpoints
from .messages import HttpRequest, HttpResponse, Outcome, Picture, Ready, Submission, Ticket
from .options import NoOptions, read_options
from .timing import Timing


@dataclass(frozen=True)
class Price:
    """What a picture costs.

    Attributes:
      usd: dollars a unit.
      unit: `image` or `compute second`.
      reserve_usd: dollars set aside for one picture before it is submitted.
      source, checked: where the price was read, and when.
    """

    usd: float
    unit: str
    reserve_usd: float
    source: str
    checked: str

    def of_one(self, stated_usd: float | None) -> float | None:
        """Gives what a picture cost: as the provider says, else the price of one, if it has one."""
        return self.usd if stated_usd is None and self.unit == "image" else stated_usd


class Adapter(ABC):
    """One provider's wire contract.

    Class attributes describe it; the methods come in pairs, one that builds a request and one
    that reads its answer. An optional step whose builder gives None does not exist there.
    """

    name: ClassVar[str]
    model: ClassVar[str]
    key_variable: ClassVar[str]
    """Environment variable that holds the key by convention."""
    price: ClassVar[Price]
    takes: ClassVar[frozenset[str]]
    """Forms of `Picture` the provider accepts."""
    options_type: ClassVar[type] = NoOptions
    """Data class of the options it takes."""
    idempotent: ClassVar[bool] = False
    """Submitting the same task_id again never creates a second job."""
    absence_is_proof: ClassVar[bool] = False
    """When `find` has no trace after the settling time, the submit was not accepted."""
    timing: ClassVar[Timing] = Timing()
    concurrency: ClassVar[int] = 32
    """How many pictures may be under way at once by default."""
    account_concurrency: ClassVar[int | None] = None
    """Most pictures that the provider works on at once for one account, where it says so."""

    def __init__(
        self, options: Mapping[str, Any] | None = None, endpoints: Endpoints | None = None
    ) -> None:
        """Check the options and keep them.

        Raises:
          ValueError: an option is unknown, or its value is not allowed; one line that says so.
        """
        self.endpoints = endpoints or Endpoints()
        self.options: Any = read_options(self.options_type, options or {}, self.name)

    @property
    def tasks_per_post(self) -> int:
        """How many joinable requests may travel as one."""
        return 1

    def result_options(self) -> dict[str, Any]:
        """Gives the options that change the picture; they are part of a purchase's name."""
        return {}

    @abstractmethod
    def authorization(self, key: str) -> dict[str, str]:
        """Gives the headers that carry the key."""

    @abstractmethod
    def submit(self, submission: Submission) -> HttpRequest:
        """Builds the paid request."""

    @abstractmethod
    def read_submit(self, submission: Submission, response: HttpResponse) -> Outcome:
        """Reads its answer: Accepted, Done or Failed."""

    @abstractmethod
    def poll(self, ticket: Ticket) -> HttpRequest:
        """Builds the question whether the job is finished; free and repeatable."""

    @abstractmethod
    def read_poll(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        """Reads its answer: Running, Ready, Done, Unsettled or Failed."""

    def poll_gap(self, ticket: Ticket) -> float:
        """Gives the least seconds that the provider wants between two polls of a job."""
        return 0.0

    def fetch(self, ticket: Ticket) -> HttpRequest:
        """Builds the request for a result that `read_poll` called Ready."""
        raise NotImplementedError(f"{self.name} gives its result with the poll")

    def read_fetch(self, ticket: Ticket, ready: Ready, response: HttpResponse) -> Outcome:
        """Reads its answer: Done, Running, Unsettled or Failed."""
        raise NotImplementedError(f"{self.name} gives its result with the poll")

    def find(self, submission: Submission, cursor: str | None = None) -> HttpRequest | None:
        """Builds the search for a submit whose answer was lost.

        Args:
          submission: what was sent.
          cursor: where the page before left off.
        """
        return None

    def read_find(self, submission: Submission, response: HttpResponse) -> Outcome:
        """Reads its answer: Accepted, Done, Failed or Missing."""
        raise NotImplementedError(f"{self.name} cannot be searched")

    def recall(self, ticket: Ticket) -> HttpRequest | None:
        """Builds the request that may still find a result which has expired elsewhere."""
        return None

    def read_recall(self, ticket: Ticket, response: HttpResponse) -> Outcome:
        """Reads its answer: Done, Missing, or Failed where that cannot be told."""
        raise NotImplementedError(f"{self.name} keeps no archive")

    def cancel(self, ticket: Ticket) -> HttpRequest | None:
        """Builds the request that gives a job up."""
        return None

    def read_cancel(self, ticket: Ticket, response: HttpResponse) -> bool:
        """Tells whether the provider confirmed that it will not run a job still queued."""
        return False

    def check(self, picture: Picture) -> str | None:
        """Says in one line why this provider cannot take the picture; None when it can."""
        if picture.form in self.takes:
            return None
        return f"{self.name} takes {' or '.join(sorted(self.takes))}, not {picture.form}"
