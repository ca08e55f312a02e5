"""Everything that a report shows, gathered from a dataset in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...transforms.codec import DecodeLimits
from ..compaction import read_compaction
from ..dataset import open_dataset, open_errors, read_plan, require_dataset
from ..markers import read_heads
from ..paths import DatasetPaths
from ..totals import Totals, summarise
from .failures import ErrorClass, error_classes
from .judgement import Judgement, read_judgement
from .pictures import Album, Sample
from .survey import Survey, survey
from .timing import Timing

_ERROR_CLASSES = 24


@dataclass(frozen=True)
class Contents:
    """What a report shows.

    Attributes:
      root: the dataset's folder.
      settings: the content of `dataset.json`.
      planned: rows in all units; None before that is known.
      totals: sums over the commit markers.
      timing: where the time went, from the same.
      survey: what the rows say in sum.
      errors: the most frequent classes of errors.
      error_classes: how many classes there are.
      samples: rows of every kind, with pictures.
      worst: the rows with the lowest confidence, with pictures, lowest first.
      judgement: what an evaluation found; None without one.
    """

    root: str
    settings: dict[str, Any]
    planned: int | None
    totals: Totals
    timing: Timing
    survey: Survey
    errors: list[ErrorClass]
    error_classes: int
    samples: list[Sample]
    worst: list[Sample]
    judgement: Judgement | None


def gather(root: str) -> Contents:
    """Reads a dataset, finished or not.

    Args:
      root: the dataset's folder, any fsspec URI.

    Raises:
      UsageError: there is no dataset.
    """
    values = require_dataset(root)
    paths = DatasetPaths(root)
    settings = values["settings"]
    compose = settings["compose"]
    album = Album(
        paths,
        DecodeLimits(settings["max_image_bytes"], settings["max_image_pixels"]),
        compose["crop_margin"] if compose["crop_to_bbox"] else None,
    )
    timing = Timing()
    totals = summarise(timing.watching(read_heads(paths)), read_compaction(paths)).totals
    found = survey(open_dataset(root))
    errors, classes = error_classes(open_errors(root), _ERROR_CLASSES)
    plan = read_plan(paths)
    return Contents(
        root=root,
        settings=values,
        planned=plan.rows if plan else None,
        totals=totals,
        timing=timing,
        survey=found,
        errors=errors,
        error_classes=classes,
        samples=list(album.samples(found.samples)),
        worst=list(album.samples(found.worst)),
        judgement=read_judgement(root, values, totals),
    )
