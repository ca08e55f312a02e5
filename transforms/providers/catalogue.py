"""The providers by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from .contract import Adapter
from .endpoints import Endpoints
from .fal import FalBria, FalRembg
from .gmi import GmiBria
from .pixazo import PixazoBria
from .runware import RunwareBria

ADAPTERS: dict[str, type[Adapter]] = {
    adapter.name: adapter for adapter in (FalBria, FalRembg, PixazoBria, GmiBria, RunwareBria)
}


def make_adapter(
    name: str, options: Mapping[str, Any] | None = None, endpoints: Endpoints | None = None
) -> Adapter:
    """Makes a provider's adapter, its options checked.

    Raises:
      ValueError: there is no such provider, or an option will not do.
    """
    if name not in ADAPTERS:
        near = difflib.get_close_matches(name, ADAPTERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ADAPTERS)}"
        raise ValueError(f"unknown provider {name}; {hint}")
    return ADAPTERS[name](options, endpoints)
