"""Google Cloud's list prices in dollars, each with its page and how it was read.

Prices differ by region (these are Iowa's, us-central1) and change; none is fetched. They give the
size of a bill, and the flags of `alphabeam plan` take the price you pay instead.
"""

from __future__ import annotations

from dataclasses import dataclass

_DATAFLOW = "https://cloud.google.com/dataflow/pricing"
_STORAGE = "https://cloud.google.com/storage/pricing"
_REMEMBERED = "as remembered in 2026-11, not looked up"
_READ = "as in a stored copy of the page, 2026-11"


@dataclass(frozen=True)
class ListPrice:
    """One price.

    Attributes:
      usd: dollars a unit.
      unit: of what.
      source: the page.
      checked: how and when it was read.
    """

    usd: float
    unit: str
    source: str
    checked: str

    def text(self) -> str:
        return f"${self.usd:g} per {self.unit} ({self.source}, {self.checked})"


# Dataflow bills a batch worker's parts, not its machine type. GB here are GiB.
VCPU_HOUR = ListPrice(0.056, "vCPU and hour", _DATAFLOW, _REMEMBERED)
MEMORY_GB_HOUR = ListPrice(0.003557, "GB of memory and hour", _DATAFLOW, _REMEMBERED)
DISK_GB_HOUR = ListPrice(0.000054, "GB of standard disk and hour", _DATAFLOW, _REMEMBERED)
SHUFFLED_GB = ListPrice(0.011, "GB shuffled", _DATAFLOW, _REMEMBERED)
GPU_HOUR = {
    kind: ListPrice(usd, f"{kind} and hour", _DATAFLOW, _REMEMBERED)
    for kind, usd in {
        "nvidia-tesla-t4": 0.42,
        "nvidia-l4": 0.672,
        "nvidia-tesla-p100": 1.752,
        "nvidia-tesla-v100": 2.976,
        "nvidia-tesla-a100": 3.52,
        "nvidia-a100-80gb": 4.71,
    }.items()
}

STORED_GB_MONTH = ListPrice(0.020, "GB stored and month", _STORAGE, _READ)
CLASS_A = ListPrice(0.005, "1,000 writes or pages of a listing (class A)", _STORAGE, _READ)
CLASS_B = ListPrice(0.0004, "1,000 reads (class B)", _STORAGE, _READ)
