"""What a dataset says of itself: its settings and its plan, as they are stored."""

from __future__ import annotations

import json
from typing import Any

from ..transforms import storage
from .errors import DatasetDamaged, UsageError, store_told
from .paths import DatasetPaths
from .planned import Plan


def read_settings(paths: DatasetPaths) -> dict[str, Any] | None:
    """Reads `dataset.json`; None when there is no dataset.

    Raises:
      DatasetDamaged: it is no JSON object.
    """
    uri = paths.uri(paths.SETTINGS)
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        return None
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetDamaged(f"{uri} is damaged ({error}): restore it, or start anew") from error
    if not isinstance(values, dict):
        raise DatasetDamaged(f"{uri} is damaged (no JSON object): restore it, or start anew")
    return values


def read_plan(paths: DatasetPaths) -> Plan | None:
    """Reads how many units and rows were planned; None before that is known."""
    try:
        return Plan.decode(storage.read_bytes(paths.uri(paths.PLAN)))
    except FileNotFoundError:
        return None


def require_dataset(root: str) -> dict[str, Any]:
    """Reads `dataset.json` of a dataset that has to be there.

    Raises:
      UsageError: there is none, or it cannot be read.
    """
    with store_told(f"{root} cannot be read"):
        values = read_settings(DatasetPaths(root))
    if values is None:
        raise UsageError(f"{root} holds no alphabeam dataset: it has no dataset.json")
    return values
