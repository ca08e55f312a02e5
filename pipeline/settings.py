"""One job's settings: checked before any work, small enough to send to every worker."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from ..transforms import storage
from ..transforms.codec import DecodeLimits
from ..transforms.cutout import ChainSettings
from ..transforms.cutters import CutterSettings
from ..transforms.fetch import FetchLimits
from ..transforms.matte import ComposeSettings, parse_background
from .columns import SCHEMA_VERSION
from .engine_settings import check_sources, cutter_settings, recorded_engines, works_here
from .errors import UsageError, store_told
from .intake import look_from
from .layouts.catalogue import LAYOUTS
from .manifest import Manifest, open_manifest
from .manifests.files import spell
from .manifests.tally import Look, ManifestChanged
from .options import (
    DeliveryOptions,
    EngineOptions,
    ManifestOptions,
    OutputOptions,
    WorkerOptions,
)
from .uploads import check_upload_column
from .webhook import WebhookSettings, check_webhook

_LONGEST_QUIET = 10.0

# Readers of Hive folders skip what begins with _ or ., and do not decode a column's name.
_FOLDER_NAME = re.compile(r"(?![._])[^/\\=%]+")
_NO_FOLDERS = (
    pa.types.is_nested,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
    pa.types.is_decimal,
    pa.types.is_interval,
)


@dataclass(frozen=True)
class JobSettings:
    """What a run does.

    Attributes:
      manifest: the pictures.
      output: the dataset's root, any fsspec URI.
      layout: name of the layout.
      partition_by: manifest columns that become Hive folders.
      unit_size: rows in a work unit.
      cutter: what cuts out.
      chain: limits, output form and concurrency.
      overwrite, retry_failed: what to do about what an earlier run left.
      grows: whether new files of the manifest are taken up, beside those of earlier runs.
      max_error_rate: share of failed rows, 0..1, above which the run counts as failed.
      report: whether a report is written at the end.
      upload_column: manifest column with each picture's address to be uploaded to.
      webhook: who is told of commits and of the end.
    """

    manifest: Manifest
    output: str
    layout: str
    partition_by: tuple[str, ...]
    unit_size: int
    cutter: CutterSettings
    chain: ChainSettings
    overwrite: bool = False
    retry_failed: bool = False
    grows: bool = False
    max_error_rate: float = 1.0
    report: bool = True
    upload_column: str | None = None
    webhook: WebhookSettings | None = None

    def recorded(self) -> dict[str, Any]:
        """Gives the settings that decide what the rows and pictures are, as plain JSON values.

        Where the job runs, how fast, and how long it waits are not among them: such settings may
        change from one run into an output to the next.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            "layout": self.layout,
            "partition_by": list(self.partition_by),
            "unit_size": self.unit_size,
            "image_column": self.manifest.columns.image if self.manifest.columns else None,
            "key_column": self.manifest.columns.key if self.manifest.columns else None,
            **recorded_engines(self.cutter),
            "compose": _plain(asdict(self.chain.compose)),
            "max_image_bytes": self.chain.fetch.max_bytes,
            "max_image_pixels": self.chain.decode.max_pixels,
            "upload_column": self.upload_column,
        }

    @property
    def settings_hash(self) -> str:
        """Gives 16 hexadecimal digits that change with any recorded setting."""
        return hash_of_settings(self.recorded())


def hash_of_settings(recorded: Mapping[str, Any]) -> str:
    """Gives the hash of settings as they are recorded, in a job or in `dataset.json`."""
    canonical = json.dumps(recorded, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values))


def settings_from_options(options: PipelineOptions) -> JobSettings:
    """Checks the flags and reads what the manifest says of itself.

    Raises:
      UsageError: a flag is missing, has a value that cannot work, or contradicts another.
    """
    given_output = options.view_as(OutputOptions)
    given_manifest = options.view_as(ManifestOptions)
    workers = options.view_as(WorkerOptions)
    if not given_manifest.manifest:
        raise UsageError(
            "--manifest is missing: give a Parquet, CSV, TSV or JSON Lines file, a "
            "folder or a glob, for example --manifest photos.parquet"
        )
    if not given_output.output:
        raise UsageError(
            "--output is missing: give the folder of the dataset, for example --output cutouts"
        )
    # No shell looks for a tilde after `--output=`.
    given_manifest.manifest = os.path.expanduser(given_manifest.manifest)
    given_output.output = _folder(os.path.expanduser(given_output.output))
    if given_output.overwrite and given_output.retry_failed:
        raise UsageError(
            "--overwrite and --retry_failed exclude each other: the one deletes what "
            "the other would mend"
        )
    if given_output.layout not in LAYOUTS:
        raise UsageError(
            f"--layout {given_output.layout!r} is unknown: use one of {', '.join(LAYOUTS)}"
        )
    if not 0 <= given_output.max_error_rate <= 1:
        raise UsageError(
            f"--max_error_rate is a share from 0 to 1: given {given_output.max_error_rate:g}"
        )
    for flag, value in (
        ("unit_size", given_manifest.unit_size),
        ("max_image_bytes", workers.max_image_bytes),
        ("max_image_pixels", workers.max_image_pixels),
        ("fetch_threads", workers.fetch_threads),
        ("fetch_timeout", workers.fetch_timeout),
        ("cpu_threads", workers.cpu_threads),
    ):  # fmt: skip
        if value is not None and not value > 0:
            raise UsageError(f"--{flag} must be greater than 0: given {value}")
    if given_manifest.watch is not None and given_manifest.watch < 0:
        raise UsageError(
            f"--watch is the seconds between two looks, 0 for a single one: "
            f"given {given_manifest.watch:g}"
        )
    chain = _chain(given_output, workers, options)
    manifest = _look_at_manifest(options, Look() if given_output.overwrite else _known(options))
    partition_by = _partition_by(given_manifest.partition_by, manifest)
    delivery = options.view_as(DeliveryOptions)
    upload_column = check_upload_column(delivery.upload_column, manifest.schema, partition_by)
    webhook = check_webhook(delivery.webhook_url, delivery.webhook_secret, here=works_here(options))
    cutter = cutter_settings(options)  # last: it may have to fetch a model
    check_sources(cutter, manifest, given_output.preserve_alpha)
    return JobSettings(
        manifest=manifest,
        output=given_output.output,
        layout=given_output.layout,
        partition_by=partition_by,
        unit_size=given_manifest.unit_size,
        cutter=cutter,
        chain=chain,
        overwrite=given_output.overwrite,
        retry_failed=given_output.retry_failed,
        grows=given_manifest.watch is not None,
        max_error_rate=given_output.max_error_rate,
        report=not given_output.no_report,
        upload_column=upload_column,
        webhook=webhook,
    )


def _folder(output: str) -> str:
    """Spells the output so that it means the same to all workers."""
    if "://" not in output:
        return os.path.abspath(output)
    if not storage.is_local(output) and storage.has_glob(output):
        # Deleting from stores goes through fsspec, which would take it for a pattern.
        raise UsageError(
            f"--output {output} looks like a glob: give a folder whose name is without *, ? and ["
        )
    return output


def _known(options: PipelineOptions) -> Look:
    output = options.view_as(OutputOptions).output
    with store_told(f"--output {output} cannot be read"):
        return look_from(output, options.view_as(ManifestOptions).manifest)


def _look_at_manifest(options: PipelineOptions, look: Look) -> Manifest:
    given = options.view_as(ManifestOptions)
    output = options.view_as(OutputOptions)
    look = replace(
        look,
        quiet=quiet_seconds(given.watch),
        apart=spell(output.output),
        mends=output.retry_failed,
    )
    try:
        return open_manifest(given.manifest, given.image_column, given.key_column, look)
    except ManifestChanged as error:
        raise manifest_changed(given.manifest, output.output, error) from error
    except ValueError as error:
        raise UsageError(f"--manifest: {error}") from error


def manifest_changed(uri: str, output: str, error: ManifestChanged) -> UsageError:
    """Says what to do about a manifest whose files are not what they were."""
    remedy = "--retry_failed runs it again" if error.mendable else "put it back as it was"
    return UsageError(
        f"the manifest {uri} has changed since {output} was begun: {error}: {remedy}; or use "
        f"another --output, or --overwrite to start anew"
    )


def quiet_seconds(watch: float | None) -> float:
    """Gives for how long a new file must have been left alone; a while, however rare the looks."""
    return min(watch or 0.0, _LONGEST_QUIET)


def _chain(output: Any, workers: Any, options: PipelineOptions) -> ChainSettings:
    batch_size = options.view_as(EngineOptions).batch_size
    if batch_size != "auto" and not (batch_size.isdecimal() and int(batch_size) > 0):
        raise UsageError(f"--batch_size is auto or a number from 1 on: given {batch_size!r}")
    try:
        background = parse_background(output.background) if output.background else None
    except ValueError as error:
        raise UsageError(f"--background: {error}") from error
    if output.output_format == "jpg" and background is None:
        raise UsageError(
            "--output_format jpg has no transparency: give a --background, for "
            "example --background white, or use png or webp"
        )
    try:
        compose = ComposeSettings(
            refine_foreground=output.refine_foreground,
            crop_to_bbox=output.crop_to_bbox,
            crop_margin=output.crop_margin,
            background=background,
            preserve_alpha=output.preserve_alpha,
            alpha_threshold=output.alpha_threshold,
            output_format=output.output_format,
            output_quality=output.output_quality,
            save_mask=output.save_mask,
        )
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    return ChainSettings(
        fetch=FetchLimits(
            max_bytes=workers.max_image_bytes,
            timeout=workers.fetch_timeout,
            allow_private_hosts=workers.allow_private_hosts,
        ),
        decode=DecodeLimits(max_bytes=workers.max_image_bytes, max_pixels=workers.max_image_pixels),
        compose=compose,
        fetch_threads=workers.fetch_threads,
        cpu_threads=workers.cpu_threads,
        batch_size=None if batch_size == "auto" else int(batch_size),
    )


def _partition_by(given: str, manifest: Manifest) -> tuple[str, ...]:
    columns, schema = manifest.columns, manifest.schema
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    for name in names:
        if columns is not None and name in (columns.image, columns.key):
            raise UsageError(
                f"--partition_by: column {name!r} is the pictures' own, which would make a folder "
                f"of each; partition by one of {', '.join(schema.names) or 'none'}"
            )
        if name not in schema.names:
            raise UsageError(
                f"--partition_by: the manifest has no column {name!r} to partition "
                f"by; it has {', '.join(schema.names) or 'none'}"
            )
        if not _FOLDER_NAME.fullmatch(name):
            raise UsageError(
                f"--partition_by: readers would not find or not understand folders called "
                f"{name}=…; rename the column so that it begins with neither _ nor . and has no "
                f"/, \\, = or %"
            )
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if any(test(kind) for test in _NO_FOLDERS):
            raise UsageError(
                f"--partition_by: column {name!r} is of type {kind}, which makes no "
                f"folder name; use a column of strings, numbers, bools or dates"
            )
    if len(set(names)) < len(names):
        raise UsageError(f"--partition_by: each column is given once: given {given}")
    return names
