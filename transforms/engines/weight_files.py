"""Which files hold a model's weights: one, or the pieces that an index names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"

_PIECE = re.compile(r"\w[\w.-]*\.safetensors")  # beside the index, wherever that is


def pieces_of(index: bytes) -> Sequence[str]:
    """Gives the names of the files that an index names, which lie beside it.

    Raises:
      ValueError: it is no such index.
    """
    try:
        names = sorted(set(json.loads(index)["weight_map"].values()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{INDEX} has no weight_map from names to files") from error
    strange = [name for name in names if not _PIECE.fullmatch(str(name))]
    if strange:
        raise ValueError(f"{INDEX} names {strange[0]!r}, which is no safetensors file beside it")
    return names


def weight_names(folder: Path) -> Sequence[str]:
    """Gives the names of the files that hold a folder's weights.

    Raises:
      FileNotFoundError: it holds neither weights nor an index.
      ValueError: its index is none.
    """
    if (folder / WEIGHTS).is_file():
        return (WEIGHTS,)
    if (folder / INDEX).is_file():
        return pieces_of((folder / INDEX).read_bytes())
    raise FileNotFoundError(f"{folder} holds no {WEIGHTS}")
