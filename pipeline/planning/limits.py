"""What holds a run up: how many images a second each part of it carries, the least first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .requests import inline, one_after_the_other
from .terms import Terms
from .workload import Workload


@dataclass(frozen=True)
class Limit:
    """How much one part of a run carries.

    Attributes:
      name: of the part.
      rate: images a second, of all workers together.
      text: how that comes about.
      remedy: what moves it.
    """

    name: str
    rate: float
    text: str
    remedy: str


def limits(workload: Workload, terms: Terms) -> list[Limit]:
    """Gives the parts of a run by what they carry, the narrowest first; none without rows."""
    if not workload.rows:
        return []
    found = [_network(workload, terms)]
    if not inline(workload):
        found.append(_fetching(terms))
    if terms.hosted_first:
        found.append(_provider(terms))
    if terms.rate is not None:
        found.append(_workers(workload, terms, terms.rate.value))
    return sorted(found, key=lambda limit: limit.rate)


def _workers(workload: Workload, terms: Terms, rate: float) -> Limit:
    """The workers' own speed, less what a unit costs beside its pictures and what stands idle."""
    rows = workload.rows / workload.units
    work = rows / rate
    beside = one_after_the_other(terms) * terms.request_seconds.value
    rounds = math.ceil(workload.units / terms.workers)
    busy = workload.units / (rounds * terms.workers)
    text = (
        f"{terms.workers:,} × {rate:g} images/s, {busy:.1%} busy ({workload.units:,} units in "
        f"{rounds:,} rounds); {_share(beside, beside + work)} of a unit's {work + beside:,.1f} s "
        f"goes into its {one_after_the_other(terms)} own requests"
    )
    remedy = f"more --workers, up to {workload.units:,} units, or a faster engine"
    if workload.units < terms.workers:
        remedy = f"{terms.workers - workload.units:,} workers have no unit: a smaller --unit_size"
    elif busy < 0.9:
        remedy = "a smaller --unit_size, whose last round is shorter"
    elif beside > 0.1 * work:
        remedy = "a larger --unit_size, which spreads the requests over more pictures"
    return Limit("workers", terms.workers * rate * busy * work / (work + beside), text, remedy)


def _network(workload: Workload, terms: Terms) -> Limit:
    size = terms.image_bytes.value + terms.stored_bytes
    return Limit(
        "network",
        terms.workers * terms.network_gbit.value * 1e9 / 8 / size,
        f"{terms.workers:,} × {terms.network_gbit.value:g} Gbit/s at "
        f"{terms.image_bytes.value / 1e6:.2f} MB in and {terms.stored_bytes / 1e6:.2f} MB out a "
        f"picture",
        "more --workers; --output_format webp stores less",
    )


def _fetching(terms: Terms) -> Limit:
    return Limit(
        "fetching",
        terms.workers * terms.units_at_once * terms.fetch_threads / terms.fetch_seconds.value,
        f"{terms.workers:,} × {terms.units_at_once} units at once × {terms.fetch_threads} threads "
        f"at {terms.fetch_seconds.value:g} s a picture",
        "--fetch_threads, as far as the pictures' hosts allow",
    )


def _provider(terms: Terms) -> Limit:
    assert terms.hosted is not None
    name, most = terms.hosted.name, terms.hosted.account_concurrency
    asked = terms.workers * terms.provider_concurrency
    under_way = asked if most is None else min(asked, most)
    text = (
        f"{terms.workers:,} × {terms.provider_concurrency} under way at {name}, "
        f"{terms.provider_seconds.value:g} s each"
    )
    if most is None:
        text += "; what it allows an account is not documented"
    elif asked > most:
        text += f", of which it works on {most} at once for an account at most"
    elif asked <= most:
        text += f"; it works on {most} at once for an account at most"
    remedy = "a higher limit from the provider, or a chain of providers"
    if most is None or asked < most:
        remedy = "--provider_concurrency or more --workers"
    return Limit(name, under_way / terms.provider_seconds.value, text, remedy)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "none"
