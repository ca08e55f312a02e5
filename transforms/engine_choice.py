"""What cuts out, chosen by plain values: an engine, a hosted provider, or a chain of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from . import storage
from .conditions import Condition
from .cutters import CutterSettings
from .engine_flags import share_out
from .providers.catalogue import ADAPTERS
from .providers.endpoints import Endpoints
from .providers.settings import ProviderSettings, check_bounds
from .sharing import Share

# Options that a chain takes as NAME=VALUE, too.
_NAMED = ("model", "revision", "patch_order")


@dataclass(frozen=True)
class Hosting:
    """How hosted engines are used, under the names of the flags of `alphabeam run`.

    Attributes:
      ledger: folder of what was paid for; needed with hosted engines.
      allow_private_hosts, max_image_bytes, max_image_pixels: what may be downloaded.
      All others are as in `ProviderSettings`; `provider_options` are those of the one provider, or
        of several by their names.
    """

    ledger: str | None
    api_key: str | None
    provider_options: Mapping[str, Any] | None
    provider_url: Sequence[str] | None
    provider_concurrency: int | None
    max_cost_usd: float | None
    repay_ambiguous: bool
    staging_uri: str | None
    staging_url: str | None
    download_first: bool
    allow_private_hosts: bool
    max_image_bytes: int
    max_image_pixels: int


_LIMITS = ("allow_private_hosts", "max_image_bytes", "max_image_pixels")


def choose(
    engine: str,
    options: Mapping[str, Any],
    hosting: Hosting,
    escalate_when: str | None,
    share: Share,
) -> CutterSettings:
    """Makes the settings of what cuts out.

    Args:
      engine: a name, or several with commas between.
      options: of the engines that run here, by their flags; None or False where they are left out.
      hosting: of the others.
      escalate_when: which cutouts are asked of the next engine, too.
      share: who shares a loaded model.

    Raises:
      EngineUnusable: there is no such engine, or it is not said which one an option is for.
      ValueError: a value will not do.
    """
    names = tuple(name.strip() for name in engine.split(",") if name.strip())
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"engine takes a name, or different names with commas between: given {engine!r}"
        )
    if escalate_when and len(names) == 1:
        raise ValueError("escalate_when needs a second engine to ask: engine: FIRST,SECOND")
    local = [name for name in names if name not in ADAPTERS]
    given = {
        flag: [value] if flag in _NAMED and value and len(names) > 1 else value
        for flag, value in options.items()
    }
    shares = share_out(given, local)
    if options.get("batch_size") is not None:
        for wanted in shares.values():
            wanted["batch_size"] = options["batch_size"]
    hosted = {name: _hosted(name, hosting) for name in names if name in ADAPTERS}
    if not hosted:
        _refuse_unused(hosting, engine)
    doubtful = Condition(escalate_when) if escalate_when else None
    return CutterSettings(names, shares, hosted, doubtful, share)


def _hosted(name: str, hosting: Hosting) -> ProviderSettings:
    if not hosting.ledger:
        raise ValueError(
            f"engine {name} is paid for, and ledger is missing: give a folder where what was "
            f"bought is kept, so that nothing is paid for twice, for example "
            f"ledger: gs://my-bucket/ledger"
        )
    check_bounds(hosting.max_cost_usd, hosting.provider_concurrency)
    if hosting.staging_url is not None and hosting.staging_uri is None:
        raise ValueError("staging_url is the public address of staging_uri, which is not given")
    ledger = hosting.ledger
    if storage.is_local(ledger):
        ledger = os.path.abspath(storage.local_path(ledger))  # workers may live elsewhere
    options = _plain(hosting.provider_options or {})
    if options and set(options) <= set(ADAPTERS):
        options = options.get(name, {})
    return ProviderSettings(
        provider=name,
        ledger=ledger,
        options=options,
        provider_urls=Endpoints.parse(hosting.provider_url or ()).overrides,
        api_key=hosting.api_key,
        concurrency=hosting.provider_concurrency,
        max_cost_usd=hosting.max_cost_usd,
        repay_ambiguous=hosting.repay_ambiguous,
        staging_uri=hosting.staging_uri,
        staging_url=hosting.staging_url,
        download_first=hosting.download_first,
        **{name: getattr(hosting, name) for name in _LIMITS},
    )


def _refuse_unused(hosting: Hosting, engine: str) -> None:
    for field in fields(hosting):
        if field.name not in _LIMITS and getattr(hosting, field.name):
            raise ValueError(f"{field.name} is for hosted engines, and engine is {engine}")


def _plain(value: Any) -> Any:
    """Makes mappings of the rows that other languages send, without the lines Beam YAML notes."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if not isinstance(value, Mapping):
        return value
    return {name: _plain(inner) for name, inner in value.items() if not name.startswith("__")}
