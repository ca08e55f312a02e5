"""The rows that failed, by class of error, with examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as pads

from .choice import Lowest, key_ranks
from .rows import chunks

_EXAMPLES = 3
_DETAILS = ("key", "source_uri", "message", "attempts", "engine")


@dataclass
class ErrorClass:
    """Rows that failed in the same way.

    Attributes:
      stage: where.
      kind: how.
      rows: how many.
      retryable: how many of them may succeed when they are run again.
      examples: key, source_uri, message, attempts and engine of up to three.
    """

    stage: str
    kind: str
    rows: int = 0
    retryable: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


def error_classes(dataset: pads.Dataset, most: int) -> tuple[list[ErrorClass], int]:
    """Counts the rows of `errors/` by stage and kind.

    Args:
      dataset: as `open_errors` gives it.
      most: how many classes to give.

    Returns:
      The most frequent classes, with examples, and the number of all classes.
    """
    classes: dict[tuple[str, str], ErrorClass] = {}
    examples: dict[tuple[str, str], Lowest] = {}
    for chunk in chunks(dataset, ("key", "stage", "error", "retryable")):
        ranks = key_ranks(chunk)
        stages = np.array(chunk.table.column("stage").to_pylist(), object)
        kinds = np.array(chunk.table.column("error").to_pylist(), object)
        counted = chunk.table.group_by(["stage", "error"]).aggregate(
            [("key", "count", pc.CountOptions(mode="all")), ("retryable", "sum")]
        )
        for row in counted.to_pylist():
            name = (row["stage"], row["error"])
            found = classes.setdefault(name, ErrorClass(*name))
            found.rows += row["key_count"]
            found.retryable += row["retryable_sum"]
            same = (stages == name[0]) & (kinds == name[1])
            examples.setdefault(name, Lowest(_EXAMPLES)).offer(chunk, ranks, same)
    frequent = sorted(classes.values(), key=lambda found: (-found.rows, found.stage, found.kind))
    for found in frequent[:most]:
        places = examples[found.stage, found.kind].places()
        found.examples = [place.read(_DETAILS) for place in places]
    return frequent[:most], len(frequent)
