"""Signed posts to a web address, as Standard Webhooks 1.0 has them.

Every post carries `webhook-id`, the same whenever the same event is posted again; `webhook-timestamp`,
the Unix time of the attempt; and `webhook-signature`, `v1,` and the base64 of HMAC-SHA256 over
`ID.TIMESTAMP.BODY`. The HMAC's key is the secret itself, or what its base64 decodes to when the secret
begins with `whsec_` (https://github.com/standard-webhooks/standard-webhooks, read November 2026).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from ..transforms.errors import DeliveryError
from ..transforms.fetch import shown
from ..transforms.http import shared_client
from ..transforms.providers import keys
from ..transforms.providers.keys import Secret
from ..transforms.sending import SendLimits, send
from .errors import UsageError

SECRET_VARIABLE = "ALPHABEAM_WEBHOOK_SECRET"
SECRET_FLAG = "--webhook_secret"

_ENCODED = "whsec_"
_LIMITS = SendLimits(timeout=10.0, attempts=4)
_ONCE = SendLimits(timeout=10.0, attempts=1)


@dataclass(frozen=True)
class WebhookSettings:
    """Where to post; picklable, and free of secrets.

    Attributes:
      url: the receiver's web address.
      secret: reference of the secret; None for `ALPHABEAM_WEBHOOK_SECRET`.
    """

    url: str
    secret: str | None = None


@dataclass(frozen=True)
class Event:
    """Something to tell.

    Attributes:
      id: a UUID, the same whenever this is told again.
      type: for example `unit.committed`.
      at: Unix time when it happened.
      data: plain JSON values.
    """

    id: str
    type: str
    at: float
    data: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Gives the body of a post."""
        moment = datetime.fromtimestamp(self.at, timezone.utc).isoformat(timespec="milliseconds")
        return json.dumps({"type": self.type, "timestamp": moment, "data": self.data}).encode()


def check_webhook(url: str | None, secret: str | None, here: bool) -> WebhookSettings | None:
    """Checks the flags of the webhook.

    Args:
      url, secret: as given.
      here: whether the work happens on this machine, so that the secret has to be here.

    Returns:
      None when no webhook is wanted.

    Raises:
      UsageError: they will not do.
    """
    if url is None:
        if secret is not None:
            raise UsageError(f"{SECRET_FLAG} signs the posts to --webhook_url, which is not given")
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"--webhook_url takes a web address, http(s)://…: given {shown(url)!r}")
    settings = WebhookSettings(url, secret)
    try:
        keys.check_reference(secret, SECRET_FLAG)
        if here:
            Webhook(settings)
    except ValueError as error:
        raise UsageError(f"--webhook_url: {error}") from error
    return settings


class Webhook:
    """A receiver of posts. Thread-safe."""

    def __init__(self, settings: WebhookSettings) -> None:
        """Get the secret.

        Raises:
          ValueError: there is none where its reference points, or it cannot be one.
        """
        self._url = settings.url
        self._secret = keys.resolve(settings.secret, SECRET_VARIABLE, SECRET_FLAG)
        _key(self._secret)
        self._is_down = False

    def post(self, event: Event) -> None:
        """Posts an event until the receiver takes it, so perhaps more than once.

        A receiver that did not take the last one is tried once only, so that one which is down does
        not hold up every unit.

        Raises:
          DeliveryError: it does not; the message names it without query or login.
        """
        body = event.encode()
        limits = _ONCE if self._is_down else _LIMITS
        client = shared_client(allow_private_hosts=True)  # whoever runs the job names the receiver
        try:
            send(client, "POST", self._url, body, lambda: self._headers(event.id, body), limits)
        except DeliveryError as error:
            self._is_down = error.retryable
            error.message = f"{shown(self._url)}: {self._secret.hide_in(error.message)}"
            raise
        self._is_down = False

    def _headers(self, identity: str, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        return {
            "Content-Type": "application/json",
            "webhook-id": identity,
            "webhook-timestamp": now,
            "webhook-signature": signature(self._secret, identity, now, body),
        }


def signature(secret: Secret, identity: str, timestamp: str, body: bytes) -> str:
    """Gives the value of `webhook-signature`."""
    signed = b".".join([identity.encode(), timestamp.encode(), body])
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: Secret) -> bytes:
    text = secret.reveal()
    if not text.startswith(_ENCODED):
        return text.encode()
    encoded = text.removeprefix(_ENCODED).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise ValueError(f"a secret that begins with {_ENCODED} goes on with base64") from None
