"""On what terms a run is planned: figures that were given, measured or assumed, each saying which."""

from __future__ import annotations

from dataclasses import dataclass

from ...transforms.providers.contract import Adapter
from .machines import Machine

ASSUMED = "assumed"

# What a picture of about a megapixel takes: a JPEG, its cutout as an RGBA PNG, its matte.
_IMAGE_BYTES = 300_000
_CUTOUT_BYTES = 1_000_000
_MASK_BYTES = 100_000


@dataclass(frozen=True)
class Figure:
    """A number and where it comes from: `given`, `assumed`, `measured in …`."""

    value: float
    source: str


@dataclass(frozen=True)
class Terms:
    """What a plan takes for granted.

    Attributes:
      unit_size: rows in a unit.
      layout: of the dataset.
      save_mask: whether mattes are stored as well.
      workers: at the same time.
      rate: images a second of one worker; None when nobody has said.
      image_bytes, cutout_bytes, mask_bytes: of a source picture and of what is stored for it.
      machine: of a worker; None when it is not one of Google Cloud's, or not known.
      usd_per_hour: of one worker; None when nobody has said.
      disk_gb: of one worker.
      units_at_once: that a worker works on.
      network_gbit: gigabits a second that a worker moves.
      fetch_threads: pictures a worker fetches at the same time.
      fetch_seconds: from asking for a picture to having it.
      request_seconds: one small request to the store.
      hosted: the first hosted engine; None without one.
      hosted_first: whether every row is sent there, and not only what other engines leave.
      provider_concurrency: pictures that a worker has under way there.
      provider_seconds: one picture's, there.
    """

    unit_size: int
    layout: str = "files"
    save_mask: bool = False
    workers: int = 1
    rate: Figure | None = None
    image_bytes: Figure = Figure(_IMAGE_BYTES, ASSUMED)
    cutout_bytes: Figure = Figure(_CUTOUT_BYTES, ASSUMED)
    mask_bytes: Figure = Figure(_MASK_BYTES, ASSUMED)
    machine: Machine | None = None
    usd_per_hour: Figure | None = None
    disk_gb: float = 25.0
    units_at_once: int = 1
    network_gbit: Figure = Figure(10.0, ASSUMED)
    fetch_threads: int = 16
    fetch_seconds: Figure = Figure(0.1, ASSUMED)
    request_seconds: Figure = Figure(0.05, ASSUMED)
    hosted: type[Adapter] | None = None
    hosted_first: bool = False
    provider_concurrency: int = 0
    provider_seconds: Figure = Figure(2.0, ASSUMED)

    @property
    def stored_bytes(self) -> float:
        """Gives the bytes stored for a picture."""
        return self.cutout_bytes.value + (self.mask_bytes.value if self.save_mask else 0.0)

    def lines(self) -> list[str]:
        """Gives the terms in words, one line each."""
        shown = [
            ("images a second of a worker", self.rate),
            ("bytes of a source picture", self.image_bytes),
            ("bytes of a cutout", self.cutout_bytes),
            ("bytes of a mask", self.mask_bytes if self.save_mask else None),
            ("gigabits a second of a worker's network", self.network_gbit),
            ("seconds to fetch a picture", self.fetch_seconds),
            ("seconds of a small request to the store", self.request_seconds),
            ("seconds of a picture at the provider", self.provider_seconds if self.hosted else None),
        ]  # fmt: skip
        return [
            f"{figure.value:,.7g} {what} ({figure.source})"
            for what, figure in shown
            if figure and figure.value
        ]
