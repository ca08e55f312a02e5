"""What a run would take and cost, before anything is fetched or sent."""

from __future__ import annotations

from dataclasses import dataclass

from ..transforms.engines import registry
from ..transforms.providers.catalogue import ADAPTERS
from .errors import UsageError
from .manifest import Manifest, plan_units


@dataclass(frozen=True)
class Plan:
    """What a run would take.

    Attributes:
      rows, units, files, bytes: of the manifest; planned from footers and listings.
      engines: names, in the order in which they are asked.
      requests: paid requests of the first hosted engine when every row needs one.
      cost_usd: what those would cost at most; None where a price depends on the picture.
      price: of one, with source and date.
      hours: of one worker at `rate`; None where no rate is given.
      rate: images a second of one worker.
      workers: at the same time.
    """

    rows: int
    units: int
    files: int
    bytes: int
    engines: tuple[str, ...]
    requests: int
    cost_usd: float | None
    price: str
    hours: float | None
    rate: float | None
    workers: int

    def text(self) -> str:
        """Gives the plan in words."""
        lines = [
            f"{self.rows:,} rows in {self.files:,} files ({self.bytes / 1e6:,.1f} MB of manifest), "
            f"{self.units:,} units",
            f"engine {','.join(self.engines)}",
        ]
        if self.requests:
            cost = "unknown" if self.cost_usd is None else f"${self.cost_usd:,.2f}"
            lines.append(f"at most {self.requests:,} paid requests, {cost} ({self.price})")
            lines.append("pictures that are in the output's ledger already cost nothing again")
        if self.hours is not None:
            lines.append(
                f"{self.hours / self.workers:,.2f} hours on {self.workers} worker(s) at "
                f"{self.rate:g} images/s each"
            )
        else:
            lines.append("give --images_per_second, as measured on your worker, for the hours")
        if self.units < 4 * self.workers:
            lines.append(
                f"bottleneck: {self.units:,} units do not keep {self.workers} workers busy; "
                f"a smaller --unit_size makes more"
            )
        return "\n".join(lines)


def make_plan(
    manifest: Manifest,
    engine: str,
    unit_size: int,
    *,
    rate: float | None = None,
    workers: int = 1,
) -> Plan:
    """Plans a run without doing any of it.

    Args:
      manifest: the pictures.
      engine: a name, or a chain `a,b`.
      unit_size: rows in a unit.
      rate: images a second of one worker, as measured there; None leaves the hours out.
      workers: at the same time.

    Raises:
      UsageError: an engine is unknown.
      ManifestUnusable: the manifest cannot be planned.
    """
    engines = tuple(name.strip() for name in engine.split(",") if name.strip())
    for name in engines:
        if name not in ADAPTERS:
            try:
                registry.find(name)
            except registry.EngineUnusable as error:
                raise UsageError(str(error)) from error
    rows = units = 0
    for unit in plan_units(manifest, unit_size):
        rows += unit.rows
        units += 1
    hosted = next((ADAPTERS[name] for name in engines if name in ADAPTERS), None)
    cost, price = None, ""
    if hosted is not None:
        price = (
            f"${hosted.price.usd:g} per {hosted.price.unit}, {hosted.price.source}, "
            f"{hosted.price.checked}"
        )
        cost = rows * hosted.price.usd if hosted.price.unit == "image" else None
    return Plan(
        rows=rows,
        units=units,
        files=manifest.files,
        bytes=manifest.bytes,
        engines=engines,
        requests=rows if hosted is not None else 0,
        cost_usd=cost,
        price=price,
        hours=rows / rate / 3600 if rate else None,
        rate=rate,
        workers=workers,
    )
