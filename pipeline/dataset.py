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
from .errors import UsageError, store_told
from .intake import LotTaken, read_lots, rewrite_lots, write_lot
from .manifests.lots import Lot
from .markers import committed_units, read_heads
from .paths import NULL_PARTITION, DatasetPaths
from .resumable import check_same, is_whole, look
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
    told, hint = f"--output {job.output} cannot be written", "; give a folder you may write to"
    with store_told(told, hint):
        try:
            _begin(DatasetPaths(job.output), job)
        except LotTaken as error:
            raise UsageError(
                f"another run is just taking up files of {job.manifest.uri} into {job.output}: run "
                f"the same command again"
            ) from error


def _begin(paths: DatasetPaths, job: JobSettings) -> None:
    before = look(paths, job)
    if before is not None and job.overwrite:
        _clear(paths)
        before = None
    if before is None:
        before = _create(paths, job)
    known = [] if before is None else _resume(paths, job, before)
    lot = job.manifest.lot
    if lot is not None and lot.files and not (known and is_whole(before, job)):
        write_lot(paths, len(known), lot)


def _create(paths: DatasetPaths, job: JobSettings) -> dict[str, Any] | None:
    """Writes the settings of a new dataset; gives those of another run that was quicker."""
    values = _settings(job, state="running", totals=Totals())
    if storage.write_exclusive(paths.uri(paths.SETTINGS), _encode(values), paths.scratch):
        return None
    return require_dataset(job.output)


def _resume(paths: DatasetPaths, job: JobSettings, before: dict[str, Any]) -> list[Lot]:
    """Goes on with a dataset; gives the lots that are in its record."""
    known = read_lots(paths)
    check_same(before, job, begun=bool(known))
    settle(paths)
    rewrite_lots(paths, job.manifest.mended)
    _write_settings(paths, _settings(job, state="running", totals=Totals(), before=before))
    return known


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
