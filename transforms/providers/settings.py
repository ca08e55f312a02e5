"""What a provider is to be used with, and what passes in and out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .messages import Picture
from .timing import Timing


@dataclass(frozen=True)
class ProviderSettings:
    """Everything a worker needs to know; picklable, and free of secrets.

    Attributes:
      provider: a name of the catalogue.
      ledger: URI of the ledger's folder.
      options: of the provider, under its own names.
      provider_urls: base addresses that stand in for the provider's, by name.
      api_key: reference of the key; None for the provider's environment variable.
      concurrency: how many pictures may be under way at once; None for the provider's own.
      requests_per_second: never exceeded; refusals lower it.
      max_cost_usd: what this process may spend; None for no limit.
      repay_ambiguous: pay again for a picture that may have been, or was, paid for and cannot be
        had: a submit nobody can find, a result that expired, a job that never ended.
      allow_private_hosts: let results be downloaded from addresses that are not public.
      max_image_bytes, max_image_pixels: the biggest result.
      timing: durations; None for the provider's own.
      staging_uri: folder through which pictures reach a provider that takes only addresses.
      staging_url: its public web address; None where its store signs addresses.
      download_first: whether pictures are also fetched here that the provider could fetch itself.
    """

    provider: str
    ledger: str
    options: Mapping[str, Any] = field(default_factory=dict)
    provider_urls: Mapping[str, str] = field(default_factory=dict)
    api_key: str | None = None
    concurrency: int | None = None
    requests_per_second: float = 500.0
    max_cost_usd: float | None = None
    repay_ambiguous: bool = False
    allow_private_hosts: bool = False
    max_image_bytes: int = 100_000_000
    max_image_pixels: int = 200_000_000
    timing: Timing | None = None
    staging_uri: str | None = None
    staging_url: str | None = None
    download_first: bool = False


def check_bounds(max_cost_usd: float | None, concurrency: int | None) -> None:
    """Checks what bounds a provider's use, before anything is asked of it.

    Raises:
      ValueError: a bound would bound nothing, or stop everything; the message begins with its flag.
    """
    if max_cost_usd is not None and not 0 <= max_cost_usd < float("inf"):
        raise ValueError(f"max_cost_usd is a sum of dollars: given {max_cost_usd:g}")
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"provider_concurrency must be at least 1: given {concurrency}")


@dataclass(frozen=True)
class Job:
    """One picture to be cut out.

    Attributes:
      identity: what names the picture in the ledger, for example the SHA-256 of its bytes.
      picture: what is sent.
      size: the upright source's (width, height) when known; the result is checked against it.
    """

    identity: str
    picture: Picture
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Result:
    """One picture cut out.

    Attributes:
      data: the encoded picture as the provider sent it.
      rgba: the same decoded: uint8, shape (h, w, 4), straight alpha.
      format: `png` or `webp`.
      resized: its size is not the source's.
      is_blank, is_full: alpha is 0, or 255, everywhere.
      request_id: the provider's id of the job.
      cost_usd: what it cost, as far as known. Rows that name the same picture share one
        purchase, and with it the request id and the cost.
      purchase: its name in the ledger.
      attempts: how many submits it took.
      reused: nothing was sent for it: the ledger had it.
    """

    data: bytes = field(repr=False)
    rgba: np.ndarray = field(repr=False)
    format: str
    resized: bool
    is_blank: bool
    is_full: bool
    request_id: str
    cost_usd: float | None
    purchase: str
    attempts: int
    reused: bool
