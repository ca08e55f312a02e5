"""The states of a purchase as the ledger stores them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from .messages import Failed, Ticket, Trouble


@dataclass(frozen=True)
class Vacant:
    """Nothing is under way: the attempt of this number may be opened.

    Attributes:
      attempt: from 1.
      counted: how many earlier attempts were accepted by the provider.
      known_ids: request ids of earlier attempts.
      as_data: a picture at an address is to be fetched here and sent itself.
    """

    attempt: int = 1
    counted: int = 0
    known_ids: tuple[str, ...] = ()
    as_data: bool = False


@dataclass(frozen=True)
class Intent:
    """A submit is about to be sent, is being sent, or was sent and its answer is not known.

    Attributes:
      attempt, counted, known_ids, as_data: as in Vacant.
      owner: the process at work on it; empty when it has let go.
      at: Unix time of this record.
      first_at: Unix time of the attempt's first record; no submit of it was sent before.
      sent: False while it is certain that the provider has accepted nothing.
    """

    attempt: int
    counted: int
    known_ids: tuple[str, ...]
    owner: str
    at: float
    first_at: float
    sent: bool = True
    as_data: bool = False


@dataclass(frozen=True)
class Open:
    """The provider has accepted, and the ticket is the claim on the result.

    Attributes:
      attempt, counted, known_ids, as_data: as in Vacant.
    """

    attempt: int
    counted: int
    known_ids: tuple[str, ...]
    ticket: Ticket
    as_data: bool = False


@dataclass(frozen=True)
class Bought:
    """The picture is in the ledger.

    Attributes:
      attempt: how many attempts it took.
      request_id: the provider's id of the job.
      cost_usd: what it cost, with the attempts before, as far as known.
      media: name of the file that holds the encoded picture.
      sha256: of that file, hexadecimal.
    """

    attempt: int
    request_id: str
    cost_usd: float | None
    media: str
    sha256: str


@dataclass(frozen=True)
class Lost:
    """The attempt ended without a picture.

    Attributes:
      attempt, known_ids, as_data: as in Vacant, this attempt's id included.
      counted: how many attempts were accepted by the provider, up to and with this one.
      failed: why.
      paid_usd: what is taken to have been paid for it.
    """

    attempt: int
    counted: int
    known_ids: tuple[str, ...]
    failed: Failed
    as_data: bool = False
    paid_usd: float = 0.0

    def next(self) -> Vacant:
        """Gives the attempt that may follow."""
        as_data = self.as_data or self.failed.wants_data
        return Vacant(self.attempt + 1, self.counted, self.known_ids, as_data)


Entry = Vacant | Intent | Open | Bought | Lost


def encode(entry: Intent | Open | Bought | Lost) -> bytes:
    """Writes an entry as JSON."""
    document = {"state": type(entry).__name__.lower(), **asdict(entry)}
    return json.dumps(document, indent=1, sort_keys=True).encode()


def decode(data: bytes) -> Entry:
    """Reads an entry that `encode` wrote.

    Raises:
      ValueError: it is none.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        kind = {"intent": Intent, "open": Open, "bought": Bought, "lost": Lost}[
            document.pop("state")
        ]
        if "known_ids" in document:
            document["known_ids"] = tuple(document["known_ids"])
        if "ticket" in document:
            document["ticket"] = Ticket(**document["ticket"])
        if "failed" in document:
            failed = document["failed"]
            document["failed"] = Failed(**{**failed, "trouble": Trouble(failed["trouble"])})
        return kind(**document)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a ledger entry: {error}") from error
