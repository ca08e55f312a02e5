"""What an evaluation found, as the report shows it: numbers, distributions, and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ...transforms import storage
from ..dataset import open_dataset, require_dataset
from ..errors import UsageError
from ..evaluation.files import read_evaluation
from ..evaluation.statuses import DUPLICATE_KEY, FAILED
from ..paths import DatasetPaths
from ..totals import Totals
from .histogram import Histogram
from .judged_pictures import Judged, JudgedAlbum, read_truths
from .pictures import Absent, Thumbnail
from .rows import Place, chunks

DISTRIBUTIONS = ("iou", "boundary_iou", "mae")
WORST = 24
DIFFERING = 12


@dataclass(frozen=True)
class Case:
    """One judged row.

    Attributes:
      row: its entry in `evaluation.json`.
      cutout: of this dataset.
      other: of the dataset it is compared with; None without one.
      truth: the mask.
      difference: where the matte of this dataset departs from the truth.
    """

    row: dict[str, Any]
    cutout: Thumbnail | Absent
    other: Thumbnail | Absent | None
    truth: Thumbnail | Absent
    difference: Thumbnail | Absent


@dataclass(frozen=True)
class Judgement:
    """An evaluation of the dataset.

    Attributes:
      summary: the content of `evaluation.json`.
      outdated: why it may not hold for the dataset as it is now; empty when nothing says so.
      histograms: of the scored rows' measures, by name.
      worst: the rows that are furthest from their truth, with pictures, the worst first.
      differing: the rows that differ most from the other dataset's; empty without one.
    """

    summary: dict[str, Any]
    outdated: str
    histograms: dict[str, Histogram]
    worst: list[Case]
    differing: list[Case]


def read_judgement(root: str, values: dict[str, Any], totals: Totals) -> Judgement | None:
    """Reads the evaluation of a dataset; None when there is none.

    Args:
      root: the dataset's folder, any fsspec URI.
      values: the content of `dataset.json`.
      totals: sums over its commit markers.

    Raises:
      UsageError: there is one, and it cannot be read.
    """
    summary = read_evaluation(root)
    if summary is None:
        return None
    worst = summary["worst"][:WORST]
    compared = summary["against"]
    differing = compared["differing"][:DIFFERING] if compared else []
    truths = read_truths(summary["truth"], values["settings"], [*worst, *differing])
    here = _judged(root, values, [*worst, *differing], truths)
    there = _judged_elsewhere(compared["root"], differing, truths) if compared else {}
    return Judgement(
        summary=summary,
        outdated=_outdated(summary, values, totals),
        histograms=_distributions(root),
        worst=[_case(row, here, None) for row in worst],
        differing=[_case(row, here, there) for row in differing],
    )


def _distributions(root: str) -> dict[str, Histogram]:
    paths = DatasetPaths(root)
    uri = paths.uri(paths.EVALUATION_ROWS)
    histograms = {name: Histogram(logarithmic=False) for name in DISTRIBUTIONS}
    try:
        with storage.open_input(uri) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=list(DISTRIBUTIONS)):
                for name, histogram in histograms.items():
                    histogram.add(batch.column(name).drop_null().to_numpy())
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{uri} cannot be read ({error}): run alphabeam evaluate again") from error
    return histograms


def _outdated(summary: dict[str, Any], values: dict[str, Any], totals: Totals) -> str:
    if summary["settings_hash"] != values["settings_hash"]:
        return "the dataset was made anew with other settings"
    if not summary["complete"] and values["state"] == "complete":
        return "the run had not finished then"
    counts = summary["all"]["counts"]
    if not counts[DUPLICATE_KEY] and counts[FAILED] != totals.failed:
        return "failed rows were run again"
    return ""


def _case(row: dict[str, Any], here: dict[str, Judged], there: dict[str, Judged] | None) -> Case:
    judged = here[row["key"]]
    other = None if there is None else there[row["key"]].cutout
    return Case(row, judged.cutout, other, judged.truth, judged.difference)


def _judged_elsewhere(
    root: str, rows: list[dict[str, Any]], truths: dict[str, bytes | Absent]
) -> dict[str, Judged]:
    """Reads the pictures of the other dataset, if it is still where it was."""
    try:
        return _judged(root, require_dataset(root), rows, truths)
    except (UsageError, OSError):
        gone = Absent("the other dataset is not there any more")
        return {row["key"]: Judged(gone, gone, gone) for row in rows}


def _judged(
    root: str,
    values: dict[str, Any],
    rows: list[dict[str, Any]],
    truths: dict[str, bytes | Absent],
) -> dict[str, Judged]:
    keys = list(dict.fromkeys(row["key"] for row in rows))
    places = _places(open_dataset(root), keys) if keys else {}
    found = JudgedAlbum(root, values).judged(places, truths)
    gone = Absent("the row is not there any more")
    return {key: found.get(key, Judged(gone, gone, gone)) for key in keys}


def _places(dataset: pads.Dataset, keys: Iterable[str]) -> dict[str, Place]:
    """Finds rows by their keys: one pass over that column, in bounded memory."""
    wanted = pa.array(keys, pa.string())
    found: dict[str, Place] = {}
    for chunk in chunks(dataset, ("key",)):
        column = chunk.table.column("key")
        among = pc.call_function("is_in", [column], pc.SetLookupOptions(value_set=wanted))
        numbers = pc.call_function("indices_nonzero", [among]).to_pylist()
        for number in numbers:
            found.setdefault(column[number].as_py(), chunk.place(number))
        if len(found) == len(wanted):
            break
    return found
