"""Judges a dataset's mattes by the truth, alone or beside another dataset's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from ..transforms.codec import DecodeLimits
from ..transforms.errors import DecodeError, ImageError
from ..transforms.fetch import FetchLimits, fetch
from ..transforms.matte import to_levels
from ..transforms.stream import ordered_map
from .errors import UsageError
from .evaluation.cases import Case, Matching
from .evaluation.mattes import Mattes
from .evaluation.metrics import score
from .evaluation.rows import Outcome, Row, collect, without_ambiguous
from .evaluation.statuses import (
    BAD_CUTOUT,
    BAD_TRUTH,
    DUPLICATE_KEY,
    NO_CUTOUT,
    NO_TRUTH,
    SCORED,
)
from .evaluation.stored_mattes import StoredMatte
from .evaluation.summary import summarise
from .evaluation.truth import decode_truth, open_truths

# Waiting for files is cheap; scoring takes some 40 bytes a pixel in every thread.
_READERS = 16
_SCORERS = min(os.cpu_count() or 1, 8)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      table: one row a key, sorted by it; see `evaluation_rows.schema`.
      summary: the content of `evaluation.json`; see `evaluation_summary.summarise`.
    """

    table: pa.Table
    summary: dict[str, Any]

    @property
    def broken(self) -> bool:
        """Tells whether a cutout or a truth that is there could not be compared."""
        return bool(self.summary["trouble"].keys() & {BAD_TRUTH, BAD_CUTOUT, DUPLICATE_KEY})


def evaluate(
    root: str,
    truth: str,
    *,
    truth_column: str | None = None,
    against: str | None = None,
    allow_private_hosts: bool = False,
) -> Evaluation:
    """Compares every matte of a dataset with its truth.

    Nothing is written. Pixels are in memory for a few rows at a time, names and scores of all: less
    than a kilobyte a row. The same inputs give the same result.

    Args:
      root: the dataset's folder, any fsspec URI.
      truth: a manifest with a mask column, or a folder or glob of masks.
      truth_column: the mask column; None finds it by name.
      against: another dataset of the same pictures.
      allow_private_hosts: whether truth may be fetched from http(s) hosts that are not public.

    Raises:
      UsageError: there is no such dataset or truth, one holds no mattes, or no key of the truth is
        one of the datasets'.
      RunError: the truth's manifest changed meanwhile.
    """
    datasets = [Mattes(root)] + ([Mattes(against)] if against is not None else [])
    made = datasets[0].values["settings"]
    truths = open_truths(truth, truth_column, made["image_column"], made["key_column"])
    limits = FetchLimits(
        datasets[0].reader.limits.max_bytes, allow_private_hosts=allow_private_hosts
    )
    matching = Matching(truths, datasets)
    read = ordered_map(
        lambda case: _read(case, datasets, limits),
        matching.cases(),
        threads=_READERS,
        lookahead=2 * _READERS,
    )
    rows = ordered_map(
        lambda case: _judge(case, datasets), read, threads=_SCORERS, lookahead=2 * _SCORERS
    )
    table = collect(_shown(rows, truths.rows), compared=against is not None)
    if not matching.matched:
        raise UsageError(matching.no_match())
    if matching.repeated:
        table = without_ambiguous(table, matching.repeated)
    table = table.sort_by("key")
    return Evaluation(table, summarise(table, truths, datasets))


def _shown(rows: Iterable[Row], total: int) -> Iterator[Row]:
    """Passes rows on and shows the progress through the truths on a terminal."""
    with tqdm(desc="evaluating", total=total, unit="image", disable=None) as bar:
        for row in rows:
            bar.update(row.truth_uri is not None)
            yield row


@dataclass(frozen=True)
class _Read:
    """A case with its encoded pictures.

    Attributes:
      case: what it is about.
      truth: the encoded truth, or what is wrong with it; None when there is none or nothing to
        compare it with.
      pictures: for each dataset the encoded matte, or what is wrong with it; None where there is
        none or nothing to compare it with.
    """

    case: Case
    truth: bytes | ImageError | None
    pictures: tuple[bytes | OSError | None, ...]


def _read(case: Case, datasets: list[Mattes], limits: FetchLimits) -> _Read:
    truth = _read_truth(case, limits)
    pictures = [
        _read_picture(dataset, side)
        if isinstance(side, StoredMatte) and isinstance(truth, bytes)
        else None
        for dataset, side in zip(datasets, case.sides, strict=True)
    ]
    return _Read(case, truth, tuple(pictures))


def _read_truth(case: Case, limits: FetchLimits) -> bytes | ImageError | None:
    record = case.truth
    if record is None:
        return None
    if record.trouble is not None:
        return record.trouble
    if record.source is None or not any(isinstance(side, StoredMatte) for side in case.sides):
        return None
    try:
        return fetch(record.source, limits).data
    except ImageError as error:
        return error


def _read_picture(dataset: Mattes, matte: StoredMatte) -> bytes | OSError:
    try:
        return dataset.reader.read(matte)
    except OSError as error:
        return error


def _judge(read: _Read, datasets: list[Mattes]) -> Row:
    case = read.case
    truth = _truth_levels(read.truth, datasets[0].reader.limits)
    outcomes = [
        _outcome(side, picture, truth, dataset)
        for side, picture, dataset in zip(case.sides, read.pictures, datasets, strict=True)
    ]
    height, width = truth.shape if isinstance(truth, np.ndarray) else (None, None)
    return Row(
        key=case.key,
        partition=case.partition,
        truth_uri=case.truth.source_uri if case.truth is not None else None,
        width=width,
        height=height,
        here=outcomes[0],
        other=outcomes[1] if len(outcomes) > 1 else None,
    )


def _truth_levels(truth: bytes | ImageError | None, limits: DecodeLimits) -> np.ndarray | Outcome:
    """Gives the truth's levels, or what that makes of cutouts which have none to compare with."""
    if truth is None:
        return Outcome(NO_TRUTH)
    try:
        if isinstance(truth, ImageError):
            raise truth
        return decode_truth(truth, limits)
    except ImageError as error:
        status = NO_TRUTH if error.kind == "no_image" else BAD_TRUTH
        return Outcome(status, error.kind, error.message)


def _outcome(
    side: StoredMatte | Outcome,
    picture: bytes | OSError | None,
    truth: np.ndarray | Outcome,
    dataset: Mattes,
) -> Outcome:
    if isinstance(side, Outcome):
        if side.status == NO_CUTOUT and isinstance(truth, Outcome) and truth.status == BAD_TRUTH:
            return truth  # of a row that cannot be read not even the key is sure
        return side
    if isinstance(truth, Outcome):
        return replace(truth, picture=side.picture)
    if isinstance(picture, OSError):
        kind = "not_found" if isinstance(picture, FileNotFoundError) else "io"
        return Outcome(BAD_CUTOUT, kind, str(picture), side.picture)
    assert picture is not None
    try:
        matte = dataset.reader.decode(side, picture)
    except DecodeError as error:
        return Outcome(BAD_CUTOUT, error.kind, error.message, side.picture)
    return _compared(matte, truth, side.picture)


def _compared(matte: np.ndarray, truth: np.ndarray, picture: str | None) -> Outcome:
    """Scores a matte at the size of its truth."""
    height, width = truth.shape
    if not _same_shape(matte.shape, truth.shape):
        why = f"the truth is {width} x {height}, the picture {matte.shape[1]} x {matte.shape[0]}"
        return Outcome(BAD_TRUTH, "size_mismatch", f"{why}: no scale of the other", picture)
    resized = matte.shape != truth.shape
    scores = score(to_levels(matte, width, height), truth)
    return Outcome(SCORED, picture=picture, resized=resized, scores=scores)


def _same_shape(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Tells whether one size is the other one scaled, but for the rounding of a side to a pixel."""
    (height, width), (other_height, other_width) = one, other
    return (
        abs(width * other_height / height - other_width) <= 1
        or abs(height * other_width / width - other_height) <= 1
    )
