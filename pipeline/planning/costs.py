"""What a run costs: workers, providers, requests and storage, each item with its price."""

from __future__ import annotations

from dataclasses import dataclass

from . import prices
from .delays import shuffled_gb
from .requests import requests_of
from .terms import Terms
from .workload import Workload


@dataclass(frozen=True)
class Cost:
    """One item of the bill.

    Attributes:
      name: of what is paid for.
      usd: dollars; None where they cannot be known yet.
      text: how that comes about.
      sources: whose prices these are, and when they were read; none where they were given.
    """

    name: str
    usd: float | None
    text: str
    sources: tuple[str, ...] = ()


def costs(
    workload: Workload, terms: Terms, hours: float | None, on_google: bool, paid: bool
) -> list[Cost]:
    """Gives what running costs, once.

    Args:
      workload: how much there is.
      terms: what is taken for granted.
      hours: of the whole run; None when the speed is not known.
      on_google: whether the dataset goes to Google Cloud Storage.
      paid: whether workers are paid by the hour.
    """
    found = []
    if paid:
        found.append(_workers(terms, hours))
    if terms.machine is not None:
        gb = shuffled_gb(workload)
        found.append(
            Cost(
                "shuffle",
                gb * prices.SHUFFLED_GB.usd,
                f"{gb:,.3f} GB: units only, never pictures",
                (prices.SHUFFLED_GB.text(),),
            )
        )
    if terms.hosted is not None:
        found.append(_provider(workload, terms))
    if on_google:
        found += _requests(workload, terms)
    return found


def storage_cost(workload: Workload, terms: Terms) -> Cost:
    """Gives what keeping the dataset costs a month, on Google Cloud Storage."""
    gb = workload.rows * terms.stored_bytes / 2**30
    return Cost(
        "storage",
        gb * prices.STORED_GB_MONTH.usd,
        f"{gb:,.1f} GB of cutouts, every month",
        (prices.STORED_GB_MONTH.text(),),
    )


def _workers(terms: Terms, hours: float | None) -> Cost:
    sources = ()
    if terms.usd_per_hour is None:
        assert terms.machine is not None
        each = terms.machine.price(terms.disk_gb)
        parts = terms.machine.parts(terms.disk_gb)
        what = f"{terms.machine.text()}, {terms.disk_gb:g} GB of disk"
        sources = tuple(price.text() for price, _ in parts)
    else:
        each = terms.usd_per_hour.value
        what = "as given"
    if hours is None:
        return Cost("workers", None, f"${each:,.3f} an hour each: {what}", sources)
    spent = hours * terms.workers
    gpus = terms.machine.gpus if terms.machine else 0
    gpu_hours = f" ({spent * gpus:,.1f} of GPUs)" if gpus else ""
    text = f"{spent:,.1f} hours{gpu_hours} at ${each:,.3f}: {what}"
    return Cost("workers", spent * each, text, sources)


def _provider(workload: Workload, terms: Terms) -> Cost:
    assert terms.hosted is not None
    price = terms.hosted.price
    sources = (f"${price.usd:g} per {price.unit} ({price.source}, {price.checked})",)
    if price.unit == "image":
        return Cost(
            terms.hosted.name,
            workload.rows * price.usd,
            f"at most {workload.rows:,} paid requests; pictures that are in the output's ledger "
            f"already cost nothing again",
            sources,
        )
    seconds = terms.provider_seconds.value
    return Cost(
        terms.hosted.name,
        workload.rows * price.usd * seconds,
        f"at most {workload.rows:,} paid requests of {seconds:g} seconds; "
        f"${workload.rows * price.reserve_usd:,.2f} is what the job sets aside for them",
        sources,
    )


def _requests(workload: Workload, terms: Terms) -> list[Cost]:
    asked = requests_of(workload, terms)
    class_a = asked.writes + asked.listings
    return [
        Cost(
            "writes and listings",
            class_a / 1000 * prices.CLASS_A.usd,
            f"{asked.writes:,} objects written, {asked.listings:,} pages listed",
            (prices.CLASS_A.text(),),
        ),
        Cost(
            "reads",
            asked.reads / 1000 * prices.CLASS_B.usd,
            f"{asked.reads:,} at least, when the pictures are in Google Cloud Storage as well",
            (prices.CLASS_B.text(),),
        ),
    ]
