"""Pictures put where a provider that takes only web addresses can fetch them, for as long as it needs.

A staged picture's name is the id of the attempt to buy it, which follows from the picture's hash and
the ledger's own random id: the same whenever the attempt is gone on with, different for every ledger
that stages in the same folder, and not to be guessed. It is removed when the attempt has ended. What a
killed process or an attempt without an end leaves behind is for the bucket's lifecycle rule.
"""

from __future__ import annotations

import logging
import re
import uuid
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem

from .. import storage
from ..rows import is_web
from .contract import Adapter
from .settings import ProviderSettings
from .timing import Timing

_logger = logging.getLogger(__name__)

_QUERY = re.compile(r"""(https?://[^\s?"'<>]*)\?[^\s"'<>]*""", re.IGNORECASE)


def hide_queries(text: str) -> str:
    """Cuts the queries, where signatures are, off the web addresses in a text."""
    return _QUERY.sub(r"\1?…", text)


def stages(adapter: Adapter, settings: ProviderSettings) -> bool:
    """Tells whether a picture that is at no public address reaches a provider by staging it."""
    return settings.staging_uri is not None and takes_only_addresses(adapter)


def takes_only_addresses(adapter: Adapter | type[Adapter]) -> bool:
    """Tells whether a provider has to fetch every picture itself."""
    return "url" in adapter.takes and "data" not in adapter.takes


def lifetime(timing: Timing) -> int:
    """Gives the seconds that a staged picture can be fetched.

    From before its first submit: as long as that may be repeated, and then as long as its job may take.
    """
    return int(2 * timing.deadline + timing.submit_timeout + timing.grace) + 1


class Staging:
    """A folder of staged pictures. Thread-safe; every method but the constructor does I/O."""

    def __init__(self, uri: str, public_url: str | None = None) -> None:
        """Name the place.

        Args:
          uri: of the folder.
          public_url: the web address under which its files can be had; None where the store signs
            addresses.

        Raises:
          ValueError: it has no address that a provider could fetch from; one line says what would do.
        """
        self._uri = uri
        self._public = public_url.rstrip("/") if public_url is not None else None
        if public_url is not None:
            if not is_web(public_url) or not urlsplit(public_url).hostname:
                raise ValueError(f"--staging_url takes http(s)://HOST…: given {public_url!r}")
            return
        try:
            signs = type(storage.resolve(uri)[0]).sign is not AbstractFileSystem.sign
        except (ImportError, ValueError) as error:
            raise ValueError(f"--staging_uri {uri}: {error}") from error
        if not signs:
            raise ValueError(
                f"--staging_uri {uri}: its store cannot sign web addresses; give a folder on gs:// or "
                f"s3://, or --staging_url with the public address of this one"
            )

    def check(self) -> None:
        """Tries out whether pictures can be put there, and addressed.

        Raises:
          ValueError: they cannot.
        """
        name = f"check-{uuid.uuid4()}"
        try:
            self.put(name, b"", 60)
            self.remove(name)
        except Exception as error:  # every store raises exceptions of its own
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(
                f"--staging_uri {self._uri} cannot be used: {hide_queries(told)}"
            ) from error

    def put(self, name: str, data: bytes, seconds: int) -> str:
        """Stores a picture and gives the web address where it is to be had for so many seconds.

        Raises:
          Exception: what the store raises.
        """
        uri = self._place(name)
        storage.write_atomic(uri, data)
        if self._public is not None:
            return f"{self._public}/{name}"
        fs, path = _signer(uri)
        return fs.sign(path, expiration=seconds, **_how_to_sign(fs))

    def remove(self, name: str) -> None:
        """Removes a picture that is not needed any more; one that is gone already is fine."""
        storage.remove(self._place(name))

    def _place(self, name: str) -> str:
        return storage.join(self._uri, name)


def _signer(uri: str) -> tuple[Any, str]:
    """Finds the file system that signs for a URI, and the path within it.

    For S3 one of its own: botocore signs addresses of older regions by default in a way (version 2)
    that buckets made since June 2020 refuse.
    """
    if uri.partition("://")[0] not in ("s3", "s3a"):
        return storage.resolve(uri)
    return fsspec.core.url_to_fs(uri, config_kwargs={"signature_version": "s3v4"})


def _how_to_sign(fs: Any) -> dict[str, Any]:
    """Gives what GCS needs beside the file's name.

    A service account's key file signs by itself. The credentials of a worker hold no private key, so
    that Google's IAM has to sign for them (`iam.serviceAccounts.signBlob`).
    """
    if "gs" not in fs.protocol:
        return {}
    from google.auth.credentials import Signing
    from google.auth.transport.requests import Request

    credentials = fs.credentials.credentials
    if isinstance(credentials, Signing):
        return {"version": "v4"}
    credentials.refresh(Request())
    return {
        "version": "v4",
        "service_account_email": credentials.service_account_email,
        "access_token": credentials.token,
    }
