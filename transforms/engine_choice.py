"""What cuts out, chosen by plain values: an engine, a hosted provider, or a chain of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import storage
from .conditions import Condition
from .cutters import CutterSettings
from .engine_flags import chain_of, share_out
from .engines.contract import EngineUnusable
from .providers.catalogue import ADAPTERS
from .providers.endpoints import Endpoints
from .providers.settings import ProviderSettings, check_bounds
from .providers.staging import takes_only_addresses
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


def choose(
    engine: str,
    options: Mapping[str, Any],
    hosting: Hosting,
    escalate_when: str | None,
    share: Share,
) -> CutterSettings:
    """Makes the settings of what cuts out.

    What none of the engines could do anything with is refused. Bounds, permissions and addresses
    are not (`max_cost_usd`, `repay_ambiguous`, `provider_url`, …): they hold where nothing comes
    near them, so that they may stand in a script for all engines.

    Args:
      engine: a name, or several with commas between.
      options: of the engines that run here, by their flags; None or False where they are left out.
      hosting: of the others.
      escalate_when: which cutouts are asked of the next engine, too.
      share: who shares a loaded model.

    Raises:
      EngineUnusable: there is no such engine, or it is not said which one an option is for.
      ValueError: a value will not do, or is for engines that are not among these.
    """
    names = chain_of(engine, ADAPTERS)
    _refuse_unused(hosting, names)
    try:
        check_bounds(hosting.max_cost_usd, hosting.provider_concurrency)
    except ValueError as error:
        raise ValueError(f"--{error}") from error
    urls = Endpoints.parse(hosting.provider_url or ()).overrides
    local = _shares(options, names)
    hosted = {name: _hosted(name, hosting, urls) for name in names if name in ADAPTERS}
    return CutterSettings(names, local, hosted, _doubtful(escalate_when, names), share)


def _shares(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Gives what each engine of this machine is asked for."""
    local = [name for name in names if name not in ADAPTERS]
    given = {
        flag: [value] if flag in _NAMED and isinstance(value, str) and len(names) > 1 else value
        for flag, value in options.items()
    }
    shares = share_out(given, local)
    if options.get("batch_size") is not None:
        if not local:
            raise EngineUnusable(
                "--batch_size is for engines that run here, and --engine names hosted ones"
            )
        for wanted in shares.values():
            wanted["batch_size"] = options["batch_size"]
    return shares


def _doubtful(escalate_when: str | None, names: Sequence[str]) -> Condition | None:
    if not escalate_when:
        return None
    if len(names) == 1:
        raise ValueError("--escalate_when needs a second engine to ask: --engine FIRST,SECOND")
    try:
        return Condition(escalate_when)
    except ValueError as error:
        raise ValueError(f"--escalate_when: {error}") from error


def _hosted(name: str, hosting: Hosting, urls: Mapping[str, str]) -> ProviderSettings:
    if not hosting.ledger:
        raise ValueError(
            f"engine {name} is paid for, and ledger is missing: give a folder where what was "
            f"bought is kept, so that nothing is paid for twice, for example "
            f"ledger: gs://my-bucket/ledger"
        )
    ledger = hosting.ledger
    if storage.is_local(ledger):
        ledger = os.path.abspath(storage.local_path(ledger))  # workers may live elsewhere
    options = _plain(hosting.provider_options or {})
    return ProviderSettings(
        provider=name,
        ledger=ledger,
        options=options.get(name, {}) if _is_by_name(options) else options,
        provider_urls=urls,
        api_key=hosting.api_key,
        concurrency=hosting.provider_concurrency,
        max_cost_usd=hosting.max_cost_usd,
        repay_ambiguous=hosting.repay_ambiguous,
        allow_private_hosts=hosting.allow_private_hosts,
        max_image_bytes=hosting.max_image_bytes,
        max_image_pixels=hosting.max_image_pixels,
        staging_uri=hosting.staging_uri,
        staging_url=hosting.staging_url,
        download_first=hosting.download_first,
    )


def _refuse_unused(hosting: Hosting, names: Sequence[str]) -> None:
    """Refuses what is for engines that are not among those that were chosen."""
    hosted = [name for name in names if name in ADAPTERS]
    fetching = [name for name, adapter in ADAPTERS.items() if takes_only_addresses(adapter)]
    for flags, takers, what in (
        (("api_key", "provider_options", "staging_uri", "staging_url"), ADAPTERS, "hosted engines"),
        (("staging_uri", "staging_url"), fetching, "engines that take addresses alone"),
    ):
        for flag in flags:
            if getattr(hosting, flag) and not set(hosted) & set(takers):
                raise ValueError(
                    f"--{flag} is for {what}, and --engine is {','.join(names)}: leave it out, or "
                    f"name one of {', '.join(takers)}"
                )
    if hosting.staging_url is not None and hosting.staging_uri is None:
        raise ValueError("--staging_url is the public address of --staging_uri, which is not given")
    options = _plain(hosting.provider_options or {})
    for name, inner in options.items() if _is_by_name(options) else ():
        if name not in names:
            raise ValueError(f"--provider_options: {name} is not one of --engine {','.join(names)}")
        if not isinstance(inner, Mapping):
            told = json.dumps(inner, default=repr)
            raise ValueError(f"--provider_options: the options of {name} are no object: {told}")


def _is_by_name(options: Iterable[str]) -> bool:
    """Tells options of several providers, by their names, from those of the one."""
    return set(options) <= set(ADAPTERS)


def _plain(value: Any) -> Any:
    """Makes mappings of the rows that other languages send, without the lines Beam YAML notes."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if not isinstance(value, Mapping):
        return value
    return {name: _plain(inner) for name, inner in value.items() if not name.startswith("__")}
