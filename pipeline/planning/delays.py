"""What a run does beside its pictures, on one worker, while the others wait or are gone."""

from __future__ import annotations

from dataclasses import dataclass

from ..markers import READERS
from .requests import LISTED_A_PAGE
from .terms import Terms
from .workload import Workload

# One core's seconds, from benchmarks/plan.py.
_MARKER_SECONDS = 45e-6
_SHUFFLED_HERE = 18e-6  # an element of a Reshuffle on Beam's local runner
_PASSES = 2  # over the markers
# What Beam's coder and the shuffle add to an element.
_ENVELOPE = 50


@dataclass(frozen=True)
class Delay:
    """Time in which no picture is worked on.

    Attributes:
      name: of what happens.
      seconds: it takes.
      text: how that comes about.
    """

    name: str
    seconds: float
    text: str


def delays(workload: Workload, terms: Terms) -> list[Delay]:
    """Gives what happens before the first picture and after the last."""
    units = workload.units
    spread = Delay(
        "spreading units",
        units * _SHUFFLED_HERE,
        f"{units:,} × {workload.unit_bytes + _ENVELOPE} bytes = "
        f"{shuffled_gb(workload) * 1e3:,.1f} MB through one Reshuffle, as fast as Beam's local "
        f"runner; Dataflow does it on all workers",
    )
    return [
        Delay(
            "planning",
            workload.seconds,
            f"{workload.files:,} files into {units:,} units, as timed here just now",
        ),
        spread,
        _finish(units, terms),
    ]


def _finish(units: int, terms: Terms) -> Delay:
    pages = -(-units // LISTED_A_PAGE)
    request = terms.request_seconds.value
    each = max(_MARKER_SECONDS, request / READERS)
    return Delay(
        "finishing",
        _PASSES * (pages * request + units * each),
        f"{pages:,} pages of the listing one after the other, {units:,} markers at {1 / each:,.0f} "
        f"a second ({READERS} at a time), once for the totals and once for the report, which reads "
        f"all rows as well (not counted here; --no_report leaves it out)",
    )


def shuffled_gb(workload: Workload) -> float:
    """Gives the gigabytes that the one shuffle moves."""
    return workload.units * (workload.unit_bytes + _ENVELOPE) / 1e9
