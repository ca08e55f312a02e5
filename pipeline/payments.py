"""Which row carries the cost of a purchase that several rows share: the first to be stored.

Equal pictures are bought once, whatever units their rows lie in. So that costs add up to what was
paid, the first row puts its place under the purchase's name, and the others cost nothing. A row that
is stored again, in a run that resumes or retries, finds its own place there.
"""

from __future__ import annotations

from dataclasses import replace

from ..transforms import storage
from ..transforms.records import Cutout, Payment
from .paths import DatasetPaths


def booked(cutout: Cutout, paths: DatasetPaths, unit: str) -> Cutout:
    """Gives a cutout with the cost that its row carries; does I/O where something was paid for it.

    Args:
      cutout: as it was cut out.
      paths: of the dataset.
      unit: that its row lies in, without a generation.
    """
    own = [paid.usd for paid in cutout.payments if _is_own(paid, cutout, paths, unit)]
    if len(own) == len(cutout.payments):
        return cutout
    return replace(cutout, engine=replace(cutout.engine, cost_usd=sum(own)))


def _is_own(paid: Payment, cutout: Cutout, paths: DatasetPaths, unit: str) -> bool:
    """Tells whether a row carries a cost: it is the first to be stored, or the same row again."""
    if not paid.usd:
        return True
    uri = paths.uri(paths.payment(paid.purchase))
    place = f"{unit} {cutout.record.row}\n".encode()
    return storage.write_exclusive(uri, place, paths.scratch) or storage.read_bytes(uri) == place
