"""What totals say beside counts: errors by kind, money and time, compared with the markers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..markers import Marker

_ROUNDED = 1e-3  # totals give seconds with three places


@dataclass
class Amounts:
    """Sums over markers.

    Attributes:
      errors: failed rows by kind of error.
      cost_usd: paid.
      failed_cost_usd: the part of it that was paid for rows that failed.
      seconds: by stage.
    """

    errors: Counter[str] = field(default_factory=Counter)
    cost_usd: float = 0.0
    failed_cost_usd: float = 0.0
    seconds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_totals(cls, totals: Mapping[str, Any]) -> Amounts:
        """Reads them from the totals of `dataset.json`.

        Raises:
          Exception: they are not there, or are no numbers.
        """
        errors = Counter({kind: int(count) for kind, count in totals["errors"].items()})
        seconds = Counter({stage: float(spent) for stage, spent in totals["seconds"].items()})
        failed = float(totals.get("failed_cost_usd", 0.0))  # earlier datasets do not say
        return cls(errors, float(totals["cost_usd"]), failed, seconds)

    def add(self, marker: Marker) -> None:
        """Adds a marker's."""
        self.errors.update(marker.errors)
        self.cost_usd += marker.cost_usd
        self.failed_cost_usd += marker.failed_cost_usd
        self.seconds.update(marker.seconds)

    def differences(self, found: Amounts) -> Iterator[str]:
        """Says where other sums are not these, without whose they are."""
        if self.errors != found.errors:
            yield _line("errors", dict(self.errors), dict(found.errors))
        for name in ("cost_usd", "failed_cost_usd"):
            said, summed = getattr(self, name), getattr(found, name)
            if not same_cost(said, summed):
                yield _line(name, said, summed)
        stages = self.seconds.keys() | found.seconds.keys()
        if any(not abs(self.seconds[name] - found.seconds[name]) <= _ROUNDED for name in stages):
            yield _line("seconds", dict(self.seconds), dict(found.seconds))


def same_cost(one: float, other: float) -> bool:
    """Tells whether sums of dollars are the same but for the order in which they were added up."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


def _line(name: str, said: Any, found: Any) -> str:
    return f"{name} is {said}, the markers' {found}"
