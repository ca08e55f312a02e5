"""Two datasets side by side: which one's mattes are nearer to the truth, and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import bootstrap, wilcoxon

from .mattes import Mattes
from .metrics import METRICS, Metric
from .rows import other
from .statuses import SCORED

_DIFFERING = 24
_RESAMPLES = 2000
_AT_ONCE = 4_000_000  # numbers drawn in one go


def compare(table: pa.Table, against: Mattes) -> dict[str, Any]:
    """Compares the two datasets of an evaluation, pair by pair.

    Args:
      table: the rows, sorted by key, with columns for both.
      against: the other dataset.

    Returns:
      Plain JSON values:

      - `root`, `settings_hash`, `complete`: of the other dataset.
      - `pairs`: keys that are scored in both; everything below is about these.
      - `only_here`, `only_other`: keys that are scored in just the one or the other.
      - `metrics`: by name `n`, the pairs that have it; `here` and `other`, the means; `difference`,
        the mean of here - other; `low` and `high`, its 95% confidence interval by bootstrap (2,000
        resamples of the pairs, percentiles); `p`, of Wilcoxon's signed-rank test, two-sided, pairs
        without a difference left out; `wins`, `losses` and `ties` of here. With too few pairs
        numbers are null: all but the counts without any, `low` and `high` with one, `p` when no
        two differ.
      - `differing`: the 24 pairs that differ most in IoU (then in MAE), most first: `key`,
        `partition`, `truth_uri`, `picture`, `other_picture`, and `here` and `other` with a number
        for each metric.
    """
    here, there = pc.field("status") == SCORED, pc.field(other("status")) == SCORED
    pairs = table.filter(here & there)
    return {
        "root": against.root,
        "settings_hash": against.values["settings_hash"],
        "complete": against.values["state"] == "complete",
        "pairs": pairs.num_rows,
        "only_here": table.filter(here).num_rows - pairs.num_rows,
        "only_other": table.filter(there).num_rows - pairs.num_rows,
        "metrics": {metric.name: _compare_metric(pairs, metric) for metric in METRICS},
        "differing": _differing(pairs),
    }


def _compare_metric(pairs: pa.Table, metric: Metric) -> dict[str, Any]:
    here, there = _numbers(pairs, metric.name), _numbers(pairs, other(metric.name))
    known = ~np.isnan(here) & ~np.isnan(there)
    here, there = here[known], there[known]
    difference = here - there
    better = difference if metric.higher_is_better else -difference
    low, high = _interval(difference)
    return {
        "n": len(difference),
        "here": _mean(here),
        "other": _mean(there),
        "difference": _mean(difference),
        "low": low,
        "high": high,
        "p": _probability(difference),
        "wins": int(np.count_nonzero(better > 0)),
        "losses": int(np.count_nonzero(better < 0)),
        "ties": int(np.count_nonzero(better == 0)),
    }


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _interval(difference: np.ndarray) -> tuple[float | None, float | None]:
    if len(difference) < 2:
        return None, None
    interval = bootstrap(
        (difference,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // len(difference)),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _probability(difference: np.ndarray) -> float | None:
    difference = difference[difference != 0]
    if not len(difference):
        return None
    return float(wilcoxon(difference).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def _differing(pairs: pa.Table) -> list[dict[str, Any]]:
    distances = [
        -np.abs(_numbers(pairs, name) - _numbers(pairs, other(name))) for name in ("mae", "iou")
    ]
    most = np.lexsort(distances)[:_DIFFERING]  # the last key counts first; ties stay in key order
    return [_side_by_side(row) for row in pairs.take(most).to_pylist()]


def _side_by_side(row: dict[str, Any]) -> dict[str, Any]:
    names = ("key", "partition", "truth_uri", "picture", other("picture"))
    return {
        **{name: row[name] for name in names},
        "here": {metric.name: row[metric.name] for metric in METRICS},
        "other": {metric.name: row[other(metric.name)] for metric in METRICS},
    }
