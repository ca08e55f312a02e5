"""What was bought and what is being bought, on storage, so that nothing is paid for twice.

A purchase is one picture from one provider and model with the options that change the result; its
name is a hash of these, so every process that wants the same picture looks in the same place. An
attempt is one submit. Under BASE, the attempt N of the purchase NAME has up to four files in the
folder NAME[:2]:

    NAME.N.intent.json   Intent: stored before the submit is sent
    NAME.N.ticket.json   Open: stored as soon as the provider has accepted
    NAME.N.HASH.media    the picture as the provider sent it
    NAME.N.result.json   Bought or Lost: the end of the attempt

What a process does with what it finds:

    nothing         create the intent exclusively. Who creates it submits, everyone else waits.
    intent          While its owner may be at work (it lives, as far as can be seen from here, and
                    its lease is not over), wait for a ticket or a result. Otherwise:
                    not sent: close the attempt as not accepted and open the next one.
                    sent: nobody knows whether the provider accepted. A provider that takes our
                    ids gets the same submit again. One with a list or a history is searched:
                    what is found becomes the ticket. Not found means not accepted where the
                    list is complete (GMI); elsewhere (fal, Pixazo) the purchase is ambiguous and
                    stays so until it is found, or until the user allows paying again.
    intent, ticket  poll. Any number of processes may: polls are free, and the first to store the
                    result wins, the others use that one.
    Bought          use the stored picture; no network.
    Lost            submit anew when that is worth it and sure not to pay twice (or allowed to),
                    else fail as the first time.

Attempts are closed and opened by exclusive creates, so of several processes that come to the
same conclusion, one submits.

What a lease can and cannot do. An owner that is seen to have ended (same machine, same container)
loses its intent at once; one on another machine keeps it for `Timing.lease` seconds after its last
record, which is longer than a submit is allowed to take. Nothing on storage can recall a request
that was already handed to the network, so one hole remains: a process that stops for longer than
the lease between storing the intent and sending the request, and then goes on. It is closed as far
as a clock can close it: a submit is not sent when its intent is older than half the lease.
On stores without exclusive creates two processes may both submit; local disks, GCS and S3 have it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import count
from typing import Any

from .. import storage
from . import lease
from .entries import Bought, Entry, Intent, Lost, Open, Vacant, decode, encode
from .messages import Done, Failed, Ticket, Trouble


def purchase_name(identity: str, provider: str, model: str, options: Mapping[str, Any]) -> str:
    """Names a purchase.

    Args:
      identity: what names the picture, for example the SHA-256 of its bytes.
      provider, model: where it is bought.
      options: those that change the result.

    Returns:
      64 hexadecimal digits.
    """
    parts = json.dumps([identity, provider, model, dict(options)], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


# After these nobody knows whether anything was paid.
_PERHAPS_PAID = (Trouble.AMBIGUOUS, Trouble.TIMEOUT)


class Ledger:
    """The ledger under one base URI. Thread-safe; all methods read or write storage."""

    def __init__(
        self, base: str, owner: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Name the place; nothing is read or written yet.

        Args:
          base: a folder's URI.
          owner: who writes; None for this process.
          clock: Unix time.
        """
        self.base = base
        self.owner = owner or lease.process(os.getpid())
        self.clock = clock

    def latest(self, name: str) -> Entry:
        """Gives the state of a purchase: its last attempt's last entry."""
        last: Entry = Vacant()
        for attempt in count(1):
            intent = self._read(name, attempt, "intent")
            if intent is None:
                return last
            # In this order: who closes an attempt has stored its ticket before.
            last = (
                self._read(name, attempt, "result") or self._read(name, attempt, "ticket") or intent
            )
            if not isinstance(last, Lost):
                return last
        raise AssertionError("count() has no end")

    def intend(self, name: str, vacant: Vacant) -> Intent | None:
        """Opens an attempt; None when another process has done so."""
        now = self.clock()
        intent = Intent(
            vacant.attempt,
            vacant.counted,
            vacant.known_ids,
            self.owner,
            at=now,
            first_at=now,
            as_data=vacant.as_data,
        )
        created = storage.write_exclusive(self._uri(name, intent.attempt, "intent"), encode(intent))
        return intent if created else None

    def renew(self, name: str, intent: Intent, *, sent: bool) -> Intent:
        """Stores that the attempt is about to be sent again, or that nothing of it was accepted."""
        return self._put_intent(name, replace(intent, at=self.clock(), sent=sent, owner=self.owner))

    def let_go(self, name: str, intent: Intent) -> None:
        """Stores that nobody is at work on the attempt, so that others need not wait."""
        self._put_intent(name, replace(intent, owner=""))

    def is_held(self, intent: Intent, seconds: float) -> bool:
        """Tells whether another process may be at work on an attempt.

        Args:
          intent: as read.
          seconds: how long a lease lasts.
        """
        if intent.owner == self.owner or lease.has_ended(intent.owner):
            return False
        return self.clock() < intent.at + seconds

    def accept(self, name: str, intent: Intent, ticket: Ticket) -> Open:
        """Stores a ticket."""
        opened = Open(intent.attempt, intent.counted, intent.known_ids, ticket, intent.as_data)
        storage.write_atomic(self._uri(name, intent.attempt, "ticket"), encode(opened))
        return opened

    def buy(
        self, name: str, attempt: int, done: Done, cost_usd: float | None, data: bytes
    ) -> Entry:
        """Stores a picture, then that it is there.

        Args:
          name: of the purchase.
          attempt: which one gave the picture.
          done: the provider's answer.
          cost_usd: of this attempt, as far as known.
          data: the encoded picture.

        Returns:
          The attempt's end: this one, or the one that another process stored first.
        """
        digest = hashlib.sha256(data).hexdigest()
        media = f"{name}.{attempt}.{digest[:16]}.media"
        storage.write_atomic(storage.join(self.base, name[:2], media), data)
        if cost_usd is not None:
            cost_usd += self.paid_in_vain(name, attempt - 1)
        return self._close(name, Bought(attempt, done.request_id, cost_usd, media, digest))

    def lose(
        self,
        name: str,
        entry: Intent | Open,
        failed: Failed,
        *,
        accepted: bool,
        cost_usd: float | None = None,
    ) -> Entry:
        """Stores that an attempt ended without a picture.

        Args:
          name: of the purchase.
          entry: the attempt.
          failed: why.
          accepted: whether it counts as one that the provider had accepted.
          cost_usd: what it cost if it was billed, as far as known.

        Returns:
          The attempt's end: this one, or the one that another process stored first.
        """
        known = entry.known_ids
        if isinstance(entry, Open):
            known = (*known, entry.ticket.request_id)
        counted = entry.counted + (1 if accepted else 0)
        is_paid = failed.billed and failed.trouble not in _PERHAPS_PAID
        paid = (cost_usd or 0.0) if is_paid else 0.0
        return self._close(name, Lost(entry.attempt, counted, known, failed, entry.as_data, paid))

    def paid_in_vain(self, name: str, attempts: int) -> float:
        """Gives the dollars that the first attempts of a purchase cost without giving a picture."""
        ends = (self._read(name, attempt + 1, "result") for attempt in range(attempts))
        return sum(end.paid_usd for end in ends if isinstance(end, Lost))

    def media(self, bought: Bought) -> bytes:
        """Reads a stored picture.

        Raises:
          ValueError: it is not what was stored.
        """
        uri = storage.join(self.base, bought.media[:2], bought.media)
        data = storage.read_bytes(uri)
        if hashlib.sha256(data).hexdigest() != bought.sha256:
            raise ValueError(f"{uri} is damaged: its SHA-256 is not the one in the ledger")
        return data

    def task_id(self, name: str, attempt: int) -> str:
        """Gives the id under which an attempt is submitted where the client chooses it.

        A UUID of version 4's form: the same for every process with this ledger, and, through the
        ledger's own random id, another for everybody else.
        """
        digest = hashlib.sha256(f"{self._salt}/{name}/{attempt}".encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))

    @cached_property
    def _salt(self) -> str:
        uri = storage.join(self.base, "ledger.json")
        storage.write_exclusive(uri, json.dumps({"id": str(uuid.uuid4())}).encode())
        return json.loads(storage.read_bytes(uri))["id"]

    def _close(self, name: str, end: Bought | Lost) -> Entry:
        if storage.write_exclusive(self._uri(name, end.attempt, "result"), encode(end)):
            return end
        return self.latest(name)

    def _put_intent(self, name: str, intent: Intent) -> Intent:
        storage.write_atomic(self._uri(name, intent.attempt, "intent"), encode(intent))
        return intent

    def _read(self, name: str, attempt: int, part: str) -> Entry | None:
        uri = self._uri(name, attempt, part)
        try:
            data = storage.read_bytes(uri)
        except FileNotFoundError:
            return None
        try:
            return decode(data)
        except ValueError as error:
            raise ValueError(f"{uri}: {error}") from error

    def _uri(self, name: str, attempt: int, part: str) -> str:
        return storage.join(self.base, name[:2], f"{name}.{attempt}.{part}.json")
