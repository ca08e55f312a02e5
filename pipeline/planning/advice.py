"""What would make a run quicker, cheaper or easier to live with."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .amounts import duration
from .requests import LISTED_A_PAGE, one_after_the_other, pictures_a_row, requests_of
from .terms import Terms
from .workload import Workload

_SIZES = tuple(2**power for power in range(17))  # of units: 1 to 65,536 rows
# A round in which some workers have nothing to do is then at most an eighth of all rounds.
_UNITS_A_WORKER = 8
# A worker that is lost takes at most this much unfinished work with it.
_UNIT_SECONDS = 900.0
_OWN_SHARE = 0.05
# Markers are read one by one when a run finishes, resumes, is verified or compacted.
_MARKERS = 200_000
_UNIT_BYTES = 1 << 30  # of a Parquet file or shard with pictures inside

_SMALL_FILE = 8 << 20
_MANY_OBJECTS = 10_000_000
_ROW_BYTES = 400  # of `data/`, as Parquet
_COMPACTED = 256 << 20

# https://cloud.google.com/storage/docs/request-rate (read 2026-11): what a bucket begins with, and
# how quickly a load on it may grow.
_BUCKET_WRITES = 1000.0
_DOUBLING_MINUTES = 20


def unit_size_for(workload: Workload, terms: Terms) -> tuple[int, str]:
    """Chooses a unit size: what is asked for if it will do, else the smallest power of two that does.

    What a size must not exceed counts more than what it should reach: idle workers cost more than
    many markers.

    Returns:
      Rows, and the reason in words.
    """
    rate = terms.rate.value if terms.rate else None
    least, why_least = max(_floors(workload, terms, rate), default=(1.0, ""))
    most, why_most = min(_ceilings(workload, terms, rate), default=(float("inf"), ""))
    if min(least, most) <= terms.unit_size <= most:
        return terms.unit_size, "nothing asks for another"
    fitting = [size for size in _SIZES if least <= size <= most]
    if fitting and terms.unit_size < least:
        return fitting[0], why_least
    return max((size for size in _SIZES if size <= most), default=1), why_most


def _floors(workload: Workload, terms: Terms, rate: float | None) -> Iterator[tuple[float, str]]:
    yield (
        workload.rows / _MARKERS,
        f"so that at most {_MARKERS:,} markers have to be read to finish, resume or verify",
    )
    if rate:
        beside = one_after_the_other(terms) * terms.request_seconds.value
        yield (
            beside * rate * (1 - _OWN_SHARE) / _OWN_SHARE,
            f"so that a unit's {beside:,.2f} s of own requests are at most {_OWN_SHARE:.0%} of it",
        )


def _ceilings(workload: Workload, terms: Terms, rate: float | None) -> Iterator[tuple[float, str]]:
    if terms.workers > 1:
        yield (
            workload.rows / (_UNITS_A_WORKER * terms.workers),
            f"so that each of {terms.workers:,} workers gets {_UNITS_A_WORKER} units or more",
        )
    if rate:
        yield (
            _UNIT_SECONDS * rate,
            f"so that a lost worker loses at most {_UNIT_SECONDS / 60:g} minutes of work",
        )
    if terms.layout != "files":
        yield (
            _UNIT_BYTES / terms.stored_bytes,
            f"so that a file of the {terms.layout} layout has at most {_UNIT_BYTES >> 20:,} MiB",
        )


def advice(workload: Workload, terms: Terms, wanted_rate: float | None, remote: bool) -> list[str]:
    """Says what would help, one line each, with the numbers that say so.

    Args:
      workload: how much there is.
      terms: what is taken for granted.
      wanted_rate: images a second of the whole run; None when that is not known.
      remote: whether the dataset goes to an object store.
    """
    if not workload.rows:
        return []
    lines = [_unit_size(workload, terms)]
    if workload.files > 1 and workload.rows / workload.files < terms.unit_size / 2:
        lines.append(
            f"manifest: {workload.files:,} files hold {workload.rows / workload.files:,.1f} rows "
            f"each, and no unit crosses files, so {workload.units:,} units hold "
            f"{workload.rows / workload.units:,.1f} rows, not {terms.unit_size:,}: join the files"
        )
    objects = requests_of(workload, terms).objects
    pages = math.ceil(objects / LISTED_A_PAGE)
    if terms.layout == "files" and objects > _MANY_OBJECTS:
        lines.append(
            f"--layout: files makes {objects:,} objects, whose listing (verify, a copy) takes "
            f"{pages:,} pages, {duration(pages * terms.request_seconds.value)} one after the other; "
            f"embedded makes {2 * workload.units:,}, webdataset {3 * workload.units:,}"
        )
    if terms.layout != "embedded" and workload.units > 1:
        rows = workload.rows / workload.units
        if rows * _ROW_BYTES < _SMALL_FILE:
            merged = math.ceil(workload.rows * _ROW_BYTES / _COMPACTED)
            lines.append(
                f"alphabeam compact, afterwards: {workload.units:,} Parquet files of about "
                f"{rows * _ROW_BYTES / 1e3:,.0f} kB become about {merged:,}"
            )
    if remote and wanted_rate:
        writes = wanted_rate * max(pictures_a_row(terms), workload.units / workload.rows)
        if writes > _BUCKET_WRITES:
            minutes = math.ceil(math.log2(writes / _BUCKET_WRITES)) * _DOUBLING_MINUTES
            lines.append(
                f"bucket: {writes:,.0f} writes/s, and a bucket on Google Cloud begins with "
                f"{_BUCKET_WRITES:,.0f}: start with "
                f"{max(1, int(terms.workers * _BUCKET_WRITES / writes)):,} workers and double them "
                f"every {_DOUBLING_MINUTES} minutes, for {minutes} minutes; until then the store "
                f"answers 429 and requests are repeated"
            )
    return lines


def _unit_size(workload: Workload, terms: Terms) -> str:
    size, why = unit_size_for(workload, terms)
    if size == terms.unit_size:
        return f"--unit_size {size}: as it is, {why}"
    units = workload.units_at(size)
    return f"--unit_size {size} instead of {terms.unit_size}: {units:,} units, {why}"
