"""What an evaluation says in sum: counts and means, of all rows and of every partition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .comparison import compare
from .files import FORMAT
from .mattes import Mattes
from .metrics import METRICS
from .statuses import SCORED, STATUSES
from .truth import Truths

_WORST = 24
_NAMED = 20  # keys named for each kind of trouble; the table has all


def summarise(table: pa.Table, truths: Truths, datasets: list[Mattes]) -> dict[str, Any]:
    """Gives the content of `evaluation.json`.

    Args:
      table: the rows, sorted by key.
      truths: what they were compared with.
      datasets: the one that is judged, and perhaps another.

    Returns:
      Plain JSON values:

      - `alphabeam_evaluation`: 1, the version of this form.
      - `truth`: `uri`, `column` (null for a folder), `identity` (changes with the masks' files).
      - `settings_hash`, `complete`: of the dataset: its job, and whether that had finished.
      - `metrics`: a list of `name`, `title`, `higher_is_better` and `unit`, in order of display.
      - `all`: a group, see below.
      - `partitions`: groups with their `partition`, such as `split=train, label=3`, sorted by it;
        empty for a dataset without.
      - `trouble`: for each status but `scored` that occurs: `meaning`, `count`, and `rows`, the
        first 20 by key, each with `key`, `error` and `message`.
      - `worst`: the 24 scored rows with the lowest IoU, lowest first: `key`, `partition`,
        `picture`, `truth_uri`, and a number for each metric.
      - `against`: null, or what `comparison.compare` gives.

      A group has `rows`; `counts` by status, each of them; `resized`, how many mattes were brought
      to the truth's size; and `metrics`: by name `n`, `mean`, `median`, `p05` and `p95` (5th and
      95th percentile) over the scored rows that have the metric; all but `n` are null without any.
    """
    return {
        "alphabeam_evaluation": FORMAT,
        "truth": {
            "uri": truths.masks.uri,
            "column": truths.column,
            "identity": truths.masks.identity,
        },
        "settings_hash": datasets[0].values["settings_hash"],
        "complete": datasets[0].values["state"] == "complete",
        "metrics": [
            {
                "name": metric.name,
                "title": metric.title,
                "higher_is_better": metric.higher_is_better,
                "unit": metric.unit,
            }
            for metric in METRICS
        ],
        "all": _group(table),
        "partitions": _partitions(table),
        "trouble": _trouble(table),
        "worst": _worst(table),
        "against": compare(table, datasets[1]) if len(datasets) > 1 else None,
    }


def _group(table: pa.Table) -> dict[str, Any]:
    statuses = table.column("status").value_counts().to_pylist()
    found = {entry["values"]: entry["counts"] for entry in statuses}
    return {
        "rows": table.num_rows,
        "counts": {status: found.get(status, 0) for status in STATUSES},
        "resized": table.filter(pc.field("resized")).num_rows,
        "metrics": {metric.name: _spread(table.column(metric.name)) for metric in METRICS},
    }


def _spread(column: pa.ChunkedArray) -> dict[str, float | int | None]:
    values = column.drop_null().to_numpy()
    if not len(values):
        return {"n": 0, "mean": None, "median": None, "p05": None, "p95": None}
    median, low, high = np.percentile(values, [50, 5, 95]).tolist()
    return {
        "n": len(values),
        "mean": float(values.mean()),
        "median": median,
        "p05": low,
        "p95": high,
    }


def _partitions(table: pa.Table) -> list[dict[str, Any]]:
    names = table.column("partition").unique().drop_null().to_pylist()
    groups = ((name, table.filter(pc.field("partition") == name)) for name in sorted(names))
    return [{"partition": name, **_group(rows)} for name, rows in groups]


def _trouble(table: pa.Table) -> dict[str, Any]:
    found = {}
    for status, meaning in STATUSES.items():
        rows = table.filter(pc.field("status") == status)
        if rows.num_rows and status != SCORED:
            named = rows.select(["key", "error", "message"]).slice(0, _NAMED)
            found[status] = {"meaning": meaning, "count": rows.num_rows, "rows": named.to_pylist()}
    return found


def _worst(table: pa.Table) -> list[dict[str, Any]]:
    scored = table.filter(pc.field("status") == SCORED)
    order = [("iou", "ascending"), ("mae", "descending"), ("key", "ascending")]
    names = ["key", "partition", "picture", "truth_uri", *(metric.name for metric in METRICS)]
    return scored.sort_by(order).select(names).slice(0, _WORST).to_pylist()
