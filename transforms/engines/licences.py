"""Under which licence weights are: of the model that is used, not of the engine's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import storage
from .catalog import BUILT_IN
from .contract import EngineUnusable
from .registry import find

UNKNOWN = "unknown"

_CARD = "README.md"
_FENCE = "---"


def licence_of(engine: str, options: Mapping[str, Any] | None = None) -> str:
    """Says under which licence an engine's weights are, for people.

    Weights that the engine does not bring by itself are those of a known hub id, or of a folder
    whose model card states a licence; of all others nothing is known. A `_name_or_path` in their
    config.json is no answer: fine-tuned models carry the name of what they were made from.

    Args:
      engine: as `registry.find` takes it.
      options: of the engine; `model` counts.

    Returns:
      The licence; empty for an engine of which nobody says.
    """
    try:
        entry = find(engine)
    except EngineUnusable:
        return ""
    model = str((options or {}).get("model") or "")
    if model in ("", entry.model):
        return entry.licence
    known = next((other.licence for other in BUILT_IN if other.model == model), "")
    stated = known or _stated_in_card(model)
    if stated or not entry.licence:
        return stated
    if not entry.model:
        return f"{entry.licence}, see {model}"
    return f"{UNKNOWN}, see {model}; that of {entry.model} is {entry.licence}"


def _stated_in_card(model: str) -> str:
    """Reads the licence off the model card of a local folder; empty where there is none to read."""
    if not storage.is_local(model):
        return ""
    card = Path(storage.local_path(model), _CARD)
    try:
        text = card.read_text("utf-8") if card.is_file() else ""
        metadata = yaml.safe_load(text.split(_FENCE)[1]) if text.startswith(_FENCE) else {}
    except (OSError, ValueError, yaml.YAMLError):  # a card nobody can read states nothing
        return ""
    if not isinstance(metadata, dict):
        return ""
    said = metadata.get("license_name") or metadata.get("license")
    return f"{said}, says its model card" if isinstance(said, str) else ""
