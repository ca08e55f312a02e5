"""Commit markers and the records beside them, checked before anything is believed of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...transforms import storage
from ..compaction import Compaction
from ..layouts.contract import StoredFile
from ..markers import Marker, head_in
from ..paths import DatasetPaths
from ..stored_content import Damaged

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    """What the manifest was found to hold.

    Attributes:
      units, rows: how many.
      files: rows of each of the manifest's files, by the label that its units' names begin with.
      unit_size: rows in a unit; the last one of a file may have fewer.
    """

    units: int
    rows: int
    files: Mapping[str, int]
    unit_size: int

    def rows_of(self, unit: str) -> int | None:
        """Gives how many rows a unit has; None when the manifest has no such unit."""
        label, _, start = unit.rpartition("-")
        rows = self.files.get(label, 0)
        if not start.isdecimal() or int(start) >= rows or int(start) % self.unit_size:
            return None
        return min(self.unit_size, rows - int(start))


def load_marker(paths: DatasetPaths, unit: str) -> Marker:
    """Reads a unit's marker.

    Raises:
      FileNotFoundError: there is none.
      Damaged: it is not what a unit writes.
    """
    data = storage.read_bytes(paths.uri(paths.marker(unit)))
    try:
        marker = Marker.decode(data)
        _require_counts(
            marker.rows, marker.done, marker.failed, marker.generation, marker.compacted
        )
        _require_counts(*marker.failed_rows, *marker.errors.values())
        _require_amounts(
            marker.cost_usd,
            marker.failed_cost_usd,
            marker.finished,
            marker.seconds["wall"],
            *marker.seconds.values(),
        )
        _require_files(paths, marker.files)
        if not isinstance(marker.settings_hash, str):
            raise TypeError(f"settings_hash is {marker.settings_hash!r}")
        if not isinstance(marker.engine, dict):
            raise TypeError(f"engine is {marker.engine!r}")
    except Exception as error:
        raise Damaged(f"cannot be read as a commit marker: {_said(error)}") from error
    if marker.unit != unit:
        raise Damaged(f"is the marker of another unit, {marker.unit!r}")
    if head_in(data) not in (None, marker.head):
        raise Damaged("says at its beginning that it stores other files than it lists")
    return marker


def load_compaction(paths: DatasetPaths) -> Compaction | None:
    """Reads the record of the last compaction; None when there was none.

    Raises:
      Damaged: it is not what a compaction writes.
    """
    try:
        data = storage.read_bytes(paths.uri(paths.COMPACTION))
    except FileNotFoundError:
        return None
    try:
        compaction = Compaction.decode(data)
        _require_counts(compaction.generation, *(file.rows for file in compaction.files))
        _require_counts(*compaction.sums.values())
        _require_files(paths, compaction.files)
    except Exception as error:
        raise Damaged(f"cannot be read as a compaction's record: {_said(error)}") from error
    return compaction


def load_plan(paths: DatasetPaths, unit_size: int) -> Plan:
    """Reads what was planned.

    Raises:
      Damaged: it is missing, or not what a run writes.
    """
    try:
        values = json.loads(storage.read_bytes(paths.uri(paths.PLAN)))
        _require_counts(values["units"], values["rows"], *values["files"].values())
        return Plan(values["units"], values["rows"], values["files"], unit_size)
    except FileNotFoundError as error:
        raise Damaged("is missing") from error
    except Exception as error:
        raise Damaged(f"cannot be read as a plan: {_said(error)}") from error


def marker_faults(marker: Marker, settings: Mapping[str, Any], plan: Plan | None) -> Iterator[str]:
    """Checks what a marker says against itself, the settings and the plan.

    Args:
      marker: as `load_marker` gave it.
      settings: the content of `dataset.json`.
      plan: None when it cannot be read.
    """
    if marker.settings_hash != settings["settings_hash"]:
        yield f"stale: written with other settings ({marker.settings_hash})"
    if marker.rows != marker.done + marker.failed:
        yield f"{marker.rows} rows in, {marker.done} + {marker.failed} out"
    if marker.failed != len(marker.failed_rows):
        yield f"{marker.failed} rows failed, but it names {len(marker.failed_rows)}"
    elif len({row for row in marker.failed_rows if row < marker.rows}) < marker.failed:
        yield f"failed_rows names a row twice, or one that is not among its {marker.rows}"
    if marker.failed != sum(marker.errors.values()):
        yield f"{marker.failed} rows failed, but its errors are {marker.errors}"
    if plan is not None:
        planned = plan.rows_of(marker.unit)
        if planned is None:
            yield "stale: the manifest has no such unit"
        elif planned != marker.rows:
            yield f"{marker.rows} rows, but the manifest has {planned} for this unit"
    if settings["settings"]["layout"] == "files":
        masks = marker.done if settings["settings"]["compose"]["save_mask"] else 0
        for kind, expected in (("images", marker.done), ("masks", masks)):
            listed = sum(file.path.startswith(f"{kind}/") for file in marker.files)
            if listed != expected:
                yield f"lists {listed} files of {kind}/ for {marker.done} rows"


def _require_counts(*values: Any) -> None:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TypeError(f"{value!r} is no count")


def _require_amounts(*values: Any) -> None:
    for value in values:
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise TypeError(f"{value!r} is no amount")


def _require_files(paths: DatasetPaths, files: Iterable[StoredFile]) -> None:
    for file in files:
        _require_counts(file.size)
        if not isinstance(file.sha256, str) or not _SHA256.fullmatch(file.sha256):
            raise TypeError(f"{file.sha256!r} is no SHA-256")
        parts = file.path.split("/")
        if parts[0] not in paths.CONTENT or not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError(f"{file.path!r} is no path of this dataset's content")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
