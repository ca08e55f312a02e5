"""Keys by reference: the key itself is only ever in the memory of the process that uses it."""

from __future__ import annotations

import os
from typing import NoReturn

from .. import storage

API_KEY = "--api_key"
_FORMS = "env:NAME, file:PATH or gcp-secret:projects/PROJECT/secrets/NAME[/versions/VERSION]"


class Secret:
    """A key that shows itself only when asked to by name.

    It has no value in its repr, its str, its pickles or a dump of its attributes' names.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Gives the key."""
        return self.__value

    def hide_in(self, text: str) -> str:
        """Blots the key, and each half of one made of two, out of a text."""
        for part in (self.__value, *self.__value.split(":")):
            if len(part) >= 6:
                text = text.replace(part, "***")
        return text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not travel; send its reference and resolve it there")


def check_reference(reference: str | None, flag: str = API_KEY) -> None:
    """Checks the form of a reference, given by a flag, without looking at what it refers to.

    Raises:
      ValueError: it is no reference. It may be the key itself, so the message does not repeat it.
    """
    if reference is None:
        return
    scheme, colon, rest = reference.partition(":")
    if not colon or not rest or scheme not in ("env", "file", "gcp-secret"):
        raise ValueError(f"{flag} takes a reference, never the key itself: {_FORMS}")


def is_readable_elsewhere(reference: str | None) -> bool:
    """Tells whether a reference means the same on another machine."""
    scheme, _, place = (reference or "env:").partition(":")
    return scheme == "gcp-secret" or (scheme == "file" and not storage.is_local(place))


def resolve(reference: str | None, variable: str, flag: str = API_KEY) -> Secret:
    """Gets a key.

    Args:
      reference: `env:NAME`, `file:PATH` (any fsspec URI) or `gcp-secret:RESOURCE`; None for the
        environment variable that is meant by convention.
      variable: that variable.
      flag: which gives the reference.

    Raises:
      ValueError: there is no key there; the message names the place and what would do.
    """
    check_reference(reference, flag)
    reference = reference or f"env:{variable}"
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        value = os.environ.get(place, "")
    elif scheme == "file":
        value = _read_file(place, flag)
    else:
        value = _read_gcp_secret(place, flag)
    value = value.strip()
    if not value:
        raise ValueError(f"no key in {reference}; give {flag} {_FORMS}")
    if not value.isprintable() or not value.isascii():
        raise ValueError(f"what {reference} holds cannot be a key: it must be one ASCII line")
    return Secret(value)


def _read_file(path: str, flag: str) -> str:
    try:
        return storage.read_bytes(path).decode("utf-8", "replace")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{flag} file:{path} cannot be read: {reason}") from None


def _read_gcp_secret(resource: str, flag: str) -> str:
    try:
        from google.cloud import secretmanager  # type: ignore[import-not-found]
    except ImportError:
        raise ValueError(
            f"{flag} gcp-secret: needs google-cloud-secret-manager; install alphabeam[gcp]"
        ) from None
    if "/versions/" not in resource:
        resource += "/versions/latest"
    client = secretmanager.SecretManagerServiceClient()
    answer = client.access_secret_version(name=resource)
    return answer.payload.data.decode("utf-8", "replace")
