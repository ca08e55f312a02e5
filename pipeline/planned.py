"""What was planned of a dataset: how many units and rows its manifest's files come to."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from .manifest import Manifest, ManifestUnusable, WorkUnit


@dataclass
class Plan:
    """The sums of planning, which `_plan.json` holds.

    Attributes:
      units, rows: how many.
      files: rows of each of the manifest's files, by the label that its units' names begin with.
      taken: how many of the manifest's files were counted, in the order of its lots.
    """

    units: int = 0
    rows: int = 0
    files: Counter[str] = field(default_factory=Counter)
    taken: int = 0

    def add(self, unit: WorkUnit, manifest: Manifest) -> None:
        """Counts a unit.

        Raises:
          ManifestUnusable: its file would be called as another one is.
        """
        label = unit.name.rpartition("-")[0]
        if unit.start == 0 and label in self.files:
            raise ManifestUnusable(
                f"{unit.file} and another file of {manifest.uri} would both be called {label}: "
                f"rename one"
            )
        self.units += 1
        self.rows += unit.rows
        self.files[label] += unit.rows

    def encode(self) -> bytes:
        return json.dumps(vars(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        values = json.loads(data)
        files = Counter(values["files"])
        # Before jobs could watch as a stream nobody asked how many files were counted.
        return cls(values["units"], values["rows"], files, values.get("taken", 0))
