"""Which row carries the cost of a purchase that several rows share: the first to be stored.

Equal pictures are bought once, whatever units their rows lie in. So that costs add up to what was
paid, the first row puts its place under the purchase's name, and the others cost nothing. A row that
is stored again, in a run that resumes or retries, finds its own place there.
"""

from __future__ import annotations

from dataclasses import replace

from ..transforms import storage
from ..transforms.records import Cutout, Failure, Payment
from .paths import DatasetPaths


def booked(result: Cutout | Failure, paths: DatasetPaths, unit: str) -> Cutout | Failure:
    """Gives a result with the payments that its row carries; does I/O where something was paid.

    Args:
      result: as it came from the engines.
      paths: of the dataset.
      unit: that its row lies in, without a generation.
    """
    own = tuple(p for p in result.payments if _is_own(p, result.record.row, paths, unit))
    if len(own) == len(result.payments):
        return result
    if isinstance(result, Failure):
        return replace(result, payments=own)
    cost = sum(paid.usd for paid in own)
    return replace(result, payments=own, engine=replace(result.engine, cost_usd=cost))


def _is_own(paid: Payment, row: int, paths: DatasetPaths, unit: str) -> bool:
    """Tells whether a row carries a cost: it is the first to be stored, or the same row again."""
    if not paid.usd:
        return True
    uri = paths.uri(paths.payment(paid.purchase))
    place = f"{unit} {row}\n".encode()
    return storage.write_exclusive(uri, place, paths.scratch) or storage.read_bytes(uri) == place
