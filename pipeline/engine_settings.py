"""From the engine flags to what cuts out: engines of this machine, providers, chains of both."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ..transforms import storage
from ..transforms.cutters import CutterSettings
from ..transforms.engine_choice import Hosting, choose
from ..transforms.engines import registry
from ..transforms.providers import keys
from ..transforms.providers.catalogue import make_adapter
from ..transforms.providers.endpoints import Endpoints
from ..transforms.providers.settings import ProviderSettings
from ..transforms.providers.staging import Staging, stages, takes_only_addresses
from ..transforms.rows import is_web
from .errors import UsageError
from .manifest import Manifest
from .options import (
    EngineOptions,
    OutputOptions,
    ProviderOptions,
    SourceOptions,
    WorkerOptions,
)
from .paths import DatasetPaths

# Engine flags that change where and how fast an engine runs, and not what it is.
_PASSING = ("device", "batch_size", "compile")

# Runners whose work happens on the machine that launches them; None becomes one of them.
RUNNERS_HERE = (None, "DirectRunner", "FnApiRunner", "BundleBasedDirectRunner")


def cutter_settings(options: PipelineOptions) -> CutterSettings:
    """Checks the engine flags.

    Raises:
      UsageError: an engine is unknown or cannot run here, or a flag will not do.
    """
    given = options.view_as(EngineOptions)
    flags = {flag: getattr(given, flag) for flag in registry.OPTIONS}
    if given.batch_size != "auto":
        flags["batch_size"] = int(given.batch_size)
    condition = options.view_as(ProviderOptions).escalate_when
    share = options.view_as(WorkerOptions).share_model
    try:
        cutter = choose(given.engine, flags, _hosting(options), condition, share)
    except ValueError as error:
        raise UsageError(str(error)) from error
    here = works_here(options)
    local = {name: _engine(name, wanted, here) for name, wanted in cutter.options.items()}
    for name, settings in cutter.providers.items():
        _check_provider(name, settings, here)
    return replace(cutter, options=local)


def works_here(options: PipelineOptions) -> bool:
    """Tells whether the work happens on the machine that launches it."""
    return options.view_as(StandardOptions).runner in RUNNERS_HERE


def recorded_engines(cutter: CutterSettings) -> dict[str, Any]:
    """Gives the settings of what cuts out that decide what the rows are, as plain JSON values."""
    recorded: dict[str, Any] = {"engine": ",".join(cutter.engines)}
    for name, options in cutter.options.items():
        kept = {key: value for key, value in options.items() if key not in _PASSING}
        if kept:
            recorded.setdefault("engine_options", {})[name] = kept
    for name, provider in cutter.providers.items():
        changes = make_adapter(name, provider.options).result_options()
        if changes:
            recorded.setdefault("engine_options", {})[name] = changes
    if any(provider.download_first for provider in cutter.providers.values()):
        recorded["download_first"] = True
    if cutter.doubtful is not None:
        recorded["escalate_when"] = cutter.doubtful.text
    return recorded


def _engine(name: str, wanted: Mapping[str, Any], here: bool) -> dict[str, Any]:
    try:
        engine = registry.create(name, wanted)
        if here:
            registry.check(name, engine)
        return registry.settings_of(engine, wanted)
    except registry.EngineUnusable as error:
        raise UsageError(str(error)) from error


def _hosting(options: PipelineOptions) -> Hosting:
    given = options.view_as(ProviderOptions)
    sources = options.view_as(SourceOptions)
    workers = options.view_as(WorkerOptions)
    output = options.view_as(OutputOptions).output
    staging = sources.staging_uri
    if staging is not None and _spelt(staging).startswith(_spelt(output)):
        raise UsageError(
            f"--staging_uri {staging} is within --output, where only the dataset is: give another "
            f"folder"
        )
    return Hosting(
        ledger=DatasetPaths(output).uri(DatasetPaths.LEDGER),
        api_key=given.api_key,
        provider_options=_provider_options(given.provider_options),
        provider_url=given.provider_url,
        provider_concurrency=given.provider_concurrency,
        max_cost_usd=given.max_cost_usd,
        repay_ambiguous=given.repay_ambiguous,
        staging_uri=staging,
        staging_url=sources.staging_url,
        download_first=sources.download_first,
        allow_private_hosts=workers.allow_private_hosts,
        max_image_bytes=workers.max_image_bytes,
        max_image_pixels=workers.max_image_pixels,
    )


def _provider_options(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--provider_options is not JSON: {error.msg} in {text!r}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--provider_options takes a JSON object: given {text!r}")
    return values


def _check_provider(name: str, settings: ProviderSettings, here: bool) -> None:
    try:
        adapter = make_adapter(name, settings.options, Endpoints(settings.provider_urls))
    except ValueError as error:
        raise UsageError(f"--provider_options: {error}") from error
    try:
        keys.check_reference(settings.api_key)
        if here:
            keys.resolve(settings.api_key, adapter.key_variable)
        if settings.staging_uri is not None and stages(adapter, settings):
            staging = Staging(settings.staging_uri, settings.staging_url)
            if here:
                staging.check()
    except ValueError as error:
        raise UsageError(f"--engine {name}: {error}") from error


def _spelt(folder: str) -> str:
    if storage.is_local(folder):
        folder = os.path.abspath(storage.local_path(folder))
    return folder.rstrip("/") + "/"


def check_sources(cutter: CutterSettings, manifest: Manifest, preserve_alpha: bool) -> None:
    """Refuses what a provider that fetches every picture itself cannot do, as far as it is known.

    Raises:
      UsageError: no picture of the job could reach the provider.
    """
    for name, settings in cutter.providers.items():
        adapter = make_adapter(name, settings.options)
        if not takes_only_addresses(adapter) or stages(adapter, settings):
            continue
        for why, holds in (
            (f"the manifest {manifest.uri} is pictures of a store", _is_listed(manifest)),
            ("--preserve_alpha needs every picture here first", preserve_alpha),
            ("--download_first gets every picture here first", settings.download_first),
        ):
            if holds:
                raise UsageError(
                    f"--engine {name} fetches pictures from public addresses only, and {why}: give "
                    f"--staging_uri, a folder on gs:// or s3:// through which they go"
                )


def _is_listed(manifest: Manifest) -> bool:
    return manifest.kind == "images" and not is_web(manifest.uri)
