"""Sums over the commit markers of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .compaction import Compaction
from .markers import MarkerHead, splits_of


@dataclass(frozen=True)
class Totals:
    """Sums over the commit markers of a dataset.

    Attributes:
      units: committed units.
      rows, done, failed: of these.
      errors: failed rows by kind.
      files, bytes: stored.
      cost_usd: paid.
      failed_cost_usd: the part of it that was paid for rows that failed.
      seconds: by stage, added up over pictures and units.
    """

    units: int = 0
    rows: int = 0
    done: int = 0
    failed: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    cost_usd: float = 0.0
    failed_cost_usd: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Gives the share of rows that failed, 0 for an empty dataset."""
        return self.failed / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Summary:
    """What the markers say of the dataset as a whole.

    Attributes:
      totals: their sums.
      engine: what the last one records of the engine; empty without markers.
      splits: the values of a partition column `split`, as the folders spell them, sorted.
    """

    totals: Totals
    engine: dict[str, Any]
    splits: tuple[str, ...]


def add_up(markers: Iterable[MarkerHead]) -> Totals:
    """Sums commit markers."""
    return summarise(markers, None).totals


def summarise(markers: Iterable[MarkerHead], compaction: Compaction | None) -> Summary:
    """Sums commit markers and what a compaction took over from them."""
    counts, errors, seconds = Counter(), Counter(), Counter()
    cost = failed_cost = 0.0
    engine: dict[str, Any] = {}
    splits: set[str] = set()
    for marker in markers:
        counts["units"] += 1
        counts["rows"] += marker.rows
        counts["done"] += marker.done
        counts["failed"] += marker.failed
        counts["files"] += marker.stored.files
        counts["bytes"] += marker.stored.bytes
        errors.update(marker.errors)
        seconds.update(marker.seconds)
        cost += marker.cost_usd
        failed_cost += marker.failed_cost_usd
        engine = marker.engine
        splits.update(marker.stored.splits)
    if compaction is not None:
        counts["files"] += len(compaction.files)
        counts["bytes"] += sum(file.size for file in compaction.files)
        splits.update(splits_of(file.path for file in compaction.files))
    totals = Totals(
        **{name: counts[name] for name in ("units", "rows", "done", "failed", "files", "bytes")},
        errors=dict(errors.most_common()),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        cost_usd=cost,
        failed_cost_usd=failed_cost,
    )
    return Summary(totals, engine, tuple(sorted(splits)))
