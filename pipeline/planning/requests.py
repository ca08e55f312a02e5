"""Objects and requests: what a run stores, and how often it asks the store."""

from __future__ import annotations

from dataclasses import dataclass

from .terms import Terms
from .workload import Workload

LISTED_A_PAGE = 1000  # objects in one page of a listing, on GCS and S3

# Of a unit, whatever its size: its rows read (footer and row group), the looks whether it is
# committed, before and after its pictures, the looks for leftovers, its turn, rows, shard and
# marker written.
_UNIT_READS = 4
_LISTINGS = {"files": 2}
_UNIT_WRITES = {"files": 3, "embedded": 3, "webdataset": 4}


@dataclass(frozen=True)
class Requests:
    """What a run stores and asks.

    Attributes:
      objects: stored by the run, at least: partitions make more.
      writes, listings: class A, as Google calls them.
      reads: class B.
    """

    objects: int
    writes: int
    listings: int
    reads: int


def requests_of(workload: Workload, terms: Terms) -> Requests:
    """Counts the objects and requests of a run; every picture is taken to succeed and be fetched
    from the same store."""
    pictures = pictures_a_row(terms)
    writes = workload.rows * pictures + workload.units * _UNIT_WRITES[terms.layout]
    turns = workload.units  # which are removed again
    finish_pages = -(-workload.units // LISTED_A_PAGE)
    fetched = workload.rows if not inline(workload) else 0
    return Requests(
        objects=writes - turns,
        writes=writes,
        listings=workload.units * _LISTINGS.get(terms.layout, 0) + 2 * finish_pages,
        reads=fetched + workload.units * (_UNIT_READS + 1),  # a marker is read again at the end
    )


def pictures_a_row(terms: Terms) -> int:
    """Counts the objects that a row has for itself."""
    return (2 if terms.save_mask else 1) if terms.layout == "files" else 0


def one_after_the_other(terms: Terms) -> int:
    """Counts a unit's own requests, none of which waits for pictures: what a unit costs in time."""
    return _UNIT_READS + _LISTINGS.get(terms.layout, 0) + _UNIT_WRITES[terms.layout]


def inline(workload: Workload) -> bool:
    """Tells whether the pictures come with the manifest's rows."""
    return workload.kind != "images" and workload.picture_bytes is not None
