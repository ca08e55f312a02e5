"""The dataset as a whole: begun, finished, opened."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from ..transforms import storage
from .arrow_files import arrow_files
from .cards.croissant import croissant
from .cards.readme import dataset_card
from .columns import data_schema, error_schema, output_names, picture_columns, stored_schema
from .compaction import read_compaction, settle
from .errors import DatasetDamaged, UsageError, in_a_line
from .intake import LotTaken, read_lots, rewrite_lots, write_lot
from .manifests.lots import Lot
from .markers import committed_units, read_heads
from .paths import NULL_PARTITION, DatasetPaths
from .settings import JobSettings
from .stored_settings import read_plan, read_settings, require_dataset
from .totals import Summary, Totals, add_up, summarise

__all__ = [
    "Totals",
    "add_up",
    "begin",
    "committed_units",
    "finish",
    "open_dataset",
    "open_errors",
    "read_heads",
    "read_plan",
    "read_settings",
    "require_dataset",
]


def begin(job: JobSettings) -> None:
    """Readies the output: a new dataset, or one that this very job left unfinished.

    Raises:
      UsageError: the output holds something else, was made with other settings or from another
        state of the manifest, another run is taking up files for it, or it cannot be written.
    """
    paths = DatasetPaths(job.output)
    try:
        before = _read_before(paths, job)
        if before is not None and job.overwrite:
            _clear(paths)
            before = None
        elif before is None:
            if job.retry_failed:
                raise UsageError(f"--retry_failed: there is no dataset at {job.output} to mend")
            _check_empty(paths)
        if before is None:
            before = _create(paths, job)
        known = [] if before is None else _resume(paths, job, before)
        lot = job.manifest.lot
        if lot is not None and lot.files and not (known and _is_whole(before, job)):
            write_lot(paths, len(known), lot)
    except LotTaken as error:
        raise UsageError(
            f"another run is just taking up files of {job.manifest.uri} into {job.output}: run "
            f"the same command again"
        ) from error
    except UsageError:
        raise
    except Exception as error:  # every store raises exceptions of its own
        raise UsageError(
            f"--output {job.output} cannot be written: {in_a_line(error)}; give a folder you may "
            f"write to"
        ) from error


def _create(paths: DatasetPaths, job: JobSettings) -> dict[str, Any] | None:
    """Writes the settings of a new dataset; gives those of another run that was quicker."""
    values = _settings(job, state="running", totals=Totals())
    if storage.write_exclusive(paths.uri(paths.SETTINGS), _encode(values), paths.scratch):
        return None
    return require_dataset(job.output)


def _resume(paths: DatasetPaths, job: JobSettings, before: dict[str, Any]) -> list[Lot]:
    """Goes on with a dataset; gives the lots that are in its record."""
    known = read_lots(paths)
    _check_same(before, job)
    _check_manifest(before, job, begun=bool(known))
    settle(paths)
    rewrite_lots(paths, job.manifest.mended)
    _write_settings(paths, _settings(job, state="running", totals=Totals(), before=before))
    return known


def _read_before(paths: DatasetPaths, job: JobSettings) -> dict[str, Any] | None:
    try:
        return read_settings(paths)
    except DatasetDamaged:
        if not job.overwrite:
            raise
        return {}


def finish(job: JobSettings) -> Totals:
    """Adds up the commit markers and, when every planned row is accounted for, closes the dataset.

    Raises:
      RuntimeError: units are missing, so that running the job again is needed.
    """
    paths = DatasetPaths(job.output)
    summary = summarise(read_heads(paths), read_compaction(paths))
    totals = summary.totals
    plan = read_plan(paths)
    if plan is None or totals.rows != plan.rows:
        raise RuntimeError(
            f"{totals.rows} of {plan.rows if plan else 'an unknown number of'} rows are "
            f"committed in {job.output}: run the same command again to go on"
        )
    before = read_settings(paths)
    values = _settings(job, state="complete", totals=totals, engine=summary.engine, before=before)
    _write_settings(paths, values)
    _write_cards(paths, values, summary)
    paths.write(paths.SUCCESS, b"")
    with suppress(OSError):  # another run into the same output may be writing there
        storage.remove_tree(paths.uri(paths.TURNS))
        if paths.scratch:
            storage.remove_tree(paths.scratch)
    return totals


def refresh_totals(paths: DatasetPaths) -> None:
    """Sums up anew a complete dataset whose files were merged."""
    values = read_settings(paths)
    assert values is not None
    values["totals"] = asdict(summarise(read_heads(paths), read_compaction(paths)).totals)
    paths.write(paths.SETTINGS, _encode(values))


def _write_cards(paths: DatasetPaths, values: dict[str, Any], summary: Summary) -> None:
    schema, partitions = columns_of(values)
    card = dataset_card(values, schema, errors_of(values), partitions, summary.splits)
    paths.write(paths.CARD, card.encode())
    stored = stored_schema(schema, partitions, values["settings"]["layout"])
    paths.write(paths.CROISSANT, croissant(values, stored))


def open_dataset(root: str) -> pads.Dataset:
    """Opens the rows of a dataset, partition columns included, without reading them.

    Args:
      root: the dataset's folder, any fsspec URI.

    Returns:
      A pyarrow dataset with the columns of `data/`, in their order and with their types.

    Raises:
      UsageError: there is no dataset.
    """
    values = require_dataset(root)
    schema, partitions = columns_of(values)
    partitioning = None
    if partitions:
        fields = [_plain_field(schema.field(name)) for name in partitions]
        partitioning = pads.HivePartitioning(pa.schema(fields), null_fallback=NULL_PARTITION)
    return _open(root, "data", schema, partitioning)


def open_errors(root: str) -> pads.Dataset:
    """Opens the rows that failed, as `open_dataset` does the others."""
    return _open(root, "errors", errors_of(require_dataset(root)))


def _open(
    root: str, folder: str, schema: pa.Schema, partitioning: pads.HivePartitioning | None = None
) -> pads.Dataset:
    uri = storage.join(root, folder)
    if not storage.exists(uri):
        return pads.dataset(schema.empty_table())
    fs, path = arrow_files(uri)
    return pads.dataset(
        path, schema=schema, format="parquet", partitioning=partitioning, filesystem=fs
    )


def columns_of(values: Mapping[str, Any]) -> tuple[pa.Schema, list[str]]:
    """Gives the schema of `data/`, and which of its columns are Hive folders.

    Args:
      values: the content of `dataset.json`.
    """
    settings, extra = values["settings"], _extra(values)
    pictures = picture_columns(settings["layout"], settings["compose"]["save_mask"])
    names = output_names(extra)
    return data_schema(extra, pictures), [names[name] for name in settings["partition_by"]]


def errors_of(values: Mapping[str, Any]) -> pa.Schema:
    """Gives the schema of `errors/`.

    Args:
      values: the content of `dataset.json`.
    """
    return error_schema(_extra(values))


def _extra(values: Mapping[str, Any]) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(values["manifest"]["schema"])))


def _plain_field(field: pa.Field) -> pa.Field:
    """Partition values are read as plain values, whatever the manifest's encoding."""
    if pa.types.is_dictionary(field.type):
        return field.with_type(field.type.value_type)
    return field


def _check_empty(paths: DatasetPaths) -> None:
    """Refuses a folder with foreign files: nothing of the user's is ever mixed or overwritten."""
    for file in storage.list_files(paths.root):
        # What was paid for stays when a dataset is started anew.
        if any(f"/{name}/" in file.uri for name in (paths.SCRATCH, paths.LEDGER)):
            continue
        if storage.exists(paths.uri(paths.SETTINGS)):
            return  # another run has begun the dataset in this moment
        raise UsageError(
            f"--output {paths.root} is not empty and holds no alphabeam dataset "
            f"(it has {storage.basename(file.uri)}): give an empty or new folder"
        )


def _check_same(before: dict[str, Any], job: JobSettings) -> None:
    if before["manifest"]["uri"] != job.manifest.uri:
        raise UsageError(
            f"--output {job.output} was made from the manifest {before['manifest']['uri']}, not "
            f"from {job.manifest.uri}: use another --output, or --overwrite to start anew"
        )
    differences = _differences(before["settings"], _as_json(job.recorded()))
    if differences:
        raise UsageError(
            f"--output {job.output} was made with other settings: {'; '.join(differences)}. Use "
            f"the same settings to resume, another --output, or --overwrite to start anew"
        )


def _check_manifest(before: dict[str, Any], job: JobSettings, begun: bool) -> None:
    """Refuses a manifest that grew, unless that is asked for; `begun` tells a record of its files.

    Files that are in the record were compared when the manifest was opened.
    """
    new = job.manifest.lot
    refusal = f"the manifest {job.manifest.uri} has changed since {job.output} was begun"
    if not begun:  # the run before ended before there was a record, or a plan
        if before["manifest"]["identity"] != job.manifest.identity:
            raise UsageError(f"{refusal}: use another --output, or --overwrite to start anew")
    elif new is not None and new.files and not job.grows and not _is_whole(before, job):
        raise UsageError(
            f"{refusal}: it has {new.files} new files. --watch 0 takes them up; or use another "
            f"--output, or --overwrite to start anew"
        )


def _is_whole(before: dict[str, Any] | None, job: JobSettings) -> bool:
    """Tells whether a job's files are all that a dataset was begun from.

    They are recorded already then when another run into the same output has begun at the same time.
    """
    lot = job.manifest.lot
    if before is None or lot is None or lot.files != job.manifest.files:
        return False
    return before["manifest"]["identity"] == job.manifest.identity


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in sorted(before.keys() | now.keys()):
            found += _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        return found
    return [] if before == now else [f"{name} was {json.dumps(before)}, now {json.dumps(now)}"]


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values))


def _clear(paths: DatasetPaths) -> None:
    """Deletes a dataset, and nothing else that may lie in its folder."""
    storage.remove(paths.uri(paths.SUCCESS))
    for folder in (
        paths.MARKERS, paths.MANIFEST, *paths.CONTENT, paths.PAYMENTS, paths.SCRATCH,
        paths.STAGING, paths.TURNS, paths.UNTOLD,
    ):  # fmt: skip
        storage.remove_tree(paths.uri(folder))
    for name in (
        paths.PLAN,
        paths.COMPACTION,
        paths.CARD,
        paths.CROISSANT,
        paths.REPORT,
        paths.EVALUATION,
        paths.EVALUATION_ROWS,
        paths.SETTINGS,
    ):
        storage.remove(paths.uri(name))


def _settings(
    job: JobSettings,
    *,
    state: str,
    totals: Totals,
    engine: dict[str, Any] | None = None,
    before: dict[str, Any] | None = None,
) -> dict[str, Any]:
    known = before or {}
    return {
        "alphabeam": 1,
        "id": known.get("id") or str(uuid.uuid4()),
        "runs": known.get("runs", 0) + (state == "running"),
        "state": state,
        "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": job.recorded(),
        "settings_hash": job.settings_hash,
        "engine": engine or known.get("engine") or {"engine": ",".join(job.cutter.engines)},
        "manifest": {
            "uri": job.manifest.uri,
            "identity": job.manifest.identity,
            "files": job.manifest.files,
            "bytes": job.manifest.bytes,
            "schema": job.manifest.schema.serialize().to_pybytes().hex(),
        },
        "totals": asdict(totals),
    }


def _write_settings(paths: DatasetPaths, values: dict[str, Any]) -> None:
    """Replaces the settings of a dataset, which is not complete for that moment."""
    storage.remove(paths.uri(paths.SUCCESS))
    paths.write(paths.SETTINGS, _encode(values))


def _encode(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=1).encode()
