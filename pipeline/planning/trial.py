"""What a finished run over a sample teaches: speed and sizes, read from its `dataset.json`."""

from __future__ import annotations

from dataclasses import dataclass

from ..dataset import require_dataset
from ..errors import UsageError


@dataclass(frozen=True)
class Trial:
    """What a run measured.

    Attributes:
      output: its dataset.
      layout: how that is stored.
      engine: what cut it out.
      rows: it had.
      rate: images a second of one process, start-up apart.
      stored_bytes: of a picture, with its mask and its share of rows.
      cost_usd: paid to providers for a row.
    """

    output: str
    layout: str
    engine: str
    rows: int
    rate: float
    stored_bytes: float
    cost_usd: float


def read_trial(output: str) -> Trial:
    """Reads the totals of a run.

    Raises:
      UsageError: there is no dataset, or its run is not complete.
    """
    values = require_dataset(output)
    totals, settings = values["totals"], values["settings"]
    seconds = totals["seconds"].get("wall", 0.0)
    if values["state"] != "complete" or not totals["done"] or not seconds:
        raise UsageError(f"--trial {output} is not complete: run its command again, then plan")
    return Trial(
        output=output,
        layout=settings["layout"],
        engine=settings["engine"],
        rows=totals["rows"],
        rate=totals["rows"] / seconds,
        stored_bytes=totals["bytes"] / totals["done"],
        cost_usd=totals["cost_usd"] / totals["rows"],
    )
