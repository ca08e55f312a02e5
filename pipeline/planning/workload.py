"""How much there is to do: a manifest's rows and units, from footers and listings alone."""

from __future__ import annotations

import pickle
import time
from array import array
from dataclasses import dataclass

import numpy as np

from ..manifest import Manifest, plan_units

# Rows of references are a few hundred bytes; with so many, a manifest holds the pictures themselves.
_BYTES_OF_A_PICTURE = 4096


@dataclass(frozen=True)
class Workload:
    """What a manifest asks for.

    Attributes:
      kind: of the manifest: `parquet`, `csv`, `tsv`, `jsonl` or `images`.
      rows, units: as a run would plan them.
      bytes: of the manifest's files.
      file_rows: rows of each file that has any; a folder of images counts as one file. int64.
      unit_bytes: of a unit on its way to a worker, as pickled.
      seconds: planning took, here.
    """

    kind: str
    rows: int
    units: int
    bytes: int
    file_rows: np.ndarray
    unit_bytes: int
    seconds: float

    @property
    def files(self) -> int:
        """Gives the number of files that hold rows."""
        return len(self.file_rows)

    @property
    def picture_bytes(self) -> float | None:
        """Gives the bytes of a picture, where the manifest itself holds the pictures."""
        if not self.rows:
            return None
        mean = self.bytes / self.rows
        return mean if self.kind == "images" or mean >= _BYTES_OF_A_PICTURE else None

    def units_at(self, unit_size: int) -> int:
        """Counts the units of another size; none crosses files."""
        return int((-(-self.file_rows // unit_size)).sum())


def measure(manifest: Manifest, unit_size: int) -> Workload:
    """Plans a manifest as a run does, and keeps counts only.

    Raises:
      ManifestUnusable: the manifest cannot be planned.
    """
    start = time.perf_counter()
    file_rows = array("q")
    file, rows, units, unit_bytes = None, 0, 0, 0
    for unit in plan_units(manifest, unit_size):
        if units == 0:
            unit_bytes = len(pickle.dumps(unit))
        if unit.file != file:
            file = unit.file
            file_rows.append(0)
        file_rows[-1] += unit.rows
        rows += unit.rows
        units += 1
    return Workload(
        kind=manifest.kind,
        rows=rows,
        units=units,
        bytes=manifest.bytes,
        file_rows=np.frombuffer(file_rows, np.int64) if units else np.zeros(0, np.int64),
        unit_bytes=unit_bytes,
        seconds=time.perf_counter() - start,
    )
