"""What the rows of a dataset say in sum: one pass over a few columns, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as pads

from .choice import Lowest, in_turns, key_ranks
from .flags import FLAG_COLUMNS, FLAGS
from .histogram import Histogram
from .rows import Chunk, Place, chunks

SAMPLES = 96
WORST = 24
_A_FLAG = 12
_UNFLAGGED = 96
_A_GROUP = 4
_SAMPLED_GROUPS = 40

_NEEDED = [flag.needs for flag in FLAGS if flag.needs]
_ENGINE = ("engine", "model", "revision")
_SEPARATOR = "\x1f"
_COLUMNS = (
    "key",
    "width",
    "height",
    "coverage",
    "soft_fraction",
    "edge_width_px",
    "cost_usd",
    *FLAG_COLUMNS,
    *_ENGINE,
)


@dataclass
class Group:
    """Sums over the rows of one partition or one engine.

    Attributes:
      rows: how many there are.
      flagged: how many carry a flag.
      coverage: sum of their coverage.
      confidence: sum of the known confidences.
      confident: how many have a confidence.
      cost_usd: paid for the rows.
    """

    rows: int = 0
    flagged: int = 0
    coverage: float = 0.0
    confidence: float = 0.0
    confident: int = 0
    cost_usd: float = 0.0

    @property
    def mean_coverage(self) -> float:
        return self.coverage / self.rows

    @property
    def mean_confidence(self) -> float | None:
        return self.confidence / self.confident if self.confident else None


@dataclass
class Survey:
    """What one pass over `data/` found.

    Attributes:
      rows: how many there are.
      flagged: how many carry at least one flag.
      flags: how many carry each, by the flag's name.
      known: columns that flags need and that at least one row has a value in.
      histograms: of `coverage`, `confidence`, `size` (million pixels of the cutout),
        `edge_width_px` and `soft_fraction`.
      partitions: by the partition's label; one without a name when there are none.
      engines: by engine, model and revision.
      samples: places of rows of every kind that occurs, at most 96.
      worst: places of the rows with the lowest confidence, lowest first, at most 24.
    """

    rows: int = 0
    flagged: int = 0
    flags: dict[str, int] = field(default_factory=lambda: {flag.name: 0 for flag in FLAGS})
    known: set[str] = field(default_factory=set)
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: {
            "coverage": Histogram(logarithmic=False),
            "confidence": Histogram(logarithmic=False),
            "size": Histogram(logarithmic=True),
            "edge_width_px": Histogram(logarithmic=True),
            "soft_fraction": Histogram(logarithmic=False),
        }
    )
    partitions: dict[str, Group] = field(default_factory=dict)
    engines: dict[tuple[str, ...], Group] = field(default_factory=dict)
    samples: list[Place] = field(default_factory=list)
    worst: list[Place] = field(default_factory=list)


def survey(dataset: pads.Dataset) -> Survey:
    """Adds up the rows of a dataset and chooses those to show.

    Args:
      dataset: the rows of `data/`, as `open_dataset` gives them.
    """
    found = Survey()
    worst = Lowest(WORST)
    strata = {flag.name: Lowest(_A_FLAG) for flag in FLAGS}
    unflagged, anyone = Lowest(_UNFLAGGED), Lowest(SAMPLES)
    groups: dict[tuple[str, ...], Lowest] = {}
    for chunk in chunks(dataset, _COLUMNS):
        numbers = {name: chunk.numbers(name) for name in FLAG_COLUMNS}
        raised = {flag.name: flag.raised(numbers) for flag in FLAGS}
        found.known |= {name for name in _NEEDED if not np.isnan(numbers[name]).all()}
        flagged = np.logical_or.reduce(list(raised.values()))
        ranks = key_ranks(chunk)
        worst.offer(chunk, numbers["confidence"], ~np.isnan(numbers["confidence"]))
        unflagged.offer(chunk, ranks, ~flagged)
        anyone.offer(chunk, ranks, np.ones_like(flagged))
        for name, rows in raised.items():
            strata[name].offer(chunk, ranks, rows)
            found.flags[name] += int(rows.sum())
        found.rows += chunk.table.num_rows
        found.flagged += int(flagged.sum())
        _measure(found.histograms, chunk)
        for names, codes, sums in (
            (*chunk.partitions(), found.partitions),
            (*_engines(chunk), found.engines),
        ):
            _add_groups(sums, names, codes, chunk, flagged)
            for number, name in enumerate(names):
                key = name if isinstance(name, tuple) else (name,)
                if key in groups or len(groups) < _SAMPLED_GROUPS:
                    groups.setdefault(key, Lowest(_A_GROUP)).offer(chunk, ranks, codes == number)
    lists = [*strata.values(), *groups.values(), unflagged]
    kinds = in_turns((stratum.places() for stratum in lists), SAMPLES)
    found.samples = in_turns([[*kinds, *anyone.places()]], SAMPLES)
    found.worst = worst.places()
    return found


def _measure(histograms: dict[str, Histogram], chunk: Chunk) -> None:
    for name, histogram in histograms.items():
        if name == "size":
            histogram.add(chunk.numbers("width") * chunk.numbers("height") / 1e6)
        else:
            histogram.add(chunk.numbers(name))


def _engines(chunk: Chunk) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Gives the engines that occur, and every row's as a position in that list."""
    columns = [pc.fill_null(chunk.table.column(name), "") for name in _ENGINE]
    labels = pc.call_function("binary_join_element_wise", [*columns, _SEPARATOR])
    encoded = labels.combine_chunks().dictionary_encode()
    names = [tuple(label.split(_SEPARATOR)) for label in encoded.dictionary.to_pylist()]
    return names, encoded.indices.to_numpy()


def _add_groups(
    groups: dict[Any, Group], names: list[Any], codes: np.ndarray, chunk: Chunk, flagged: np.ndarray
) -> None:
    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(codes, values, len(names))

    confidence, coverage = chunk.numbers("confidence"), chunk.numbers("coverage")
    known = ~np.isnan(confidence)
    columns = (
        np.bincount(codes, minlength=len(names)),
        sums(flagged),
        sums(coverage),
        sums(np.where(known, confidence, 0)),
        sums(known),
        sums(np.nan_to_num(chunk.numbers("cost_usd"))),
    )
    for name, *values in zip(names, *(column.tolist() for column in columns), strict=True):
        group = groups.setdefault(name, Group())
        group.rows += values[0]
        group.flagged += int(values[1])
        group.coverage += values[2]
        group.confidence += values[3]
        group.confident += int(values[4])
        group.cost_usd += values[5]
