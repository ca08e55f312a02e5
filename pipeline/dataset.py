"""The dataset as a whole: begun, finished, opened."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from ..transforms import storage
from ..transforms.stream import ordered_map
from .card import dataset_card
from .columns import data_schema, error_schema, output_names
from .errors import UsageError
from .paths import NULL_PARTITION, DatasetPaths
from .settings import JobSettings
from .unit import Marker

_READERS = 32


@dataclass(frozen=True)
class Totals:
    """Sums over the commit markers of a dataset.

    Attributes:
      units: committed units.
      rows, done, failed: of these.
      errors: failed rows by kind.
      files, bytes: stored.
      cost_usd: paid.
      seconds: by stage, added up over pictures and units.
    """

    units: int = 0
    rows: int = 0
    done: int = 0
    failed: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    cost_usd: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Gives the share of rows that failed, 0 for an empty dataset."""
        return self.failed / self.rows if self.rows else 0.0


def begin(job: JobSettings) -> None:
    """Readies the output: a new dataset, or one that this very job left unfinished.

    Raises:
      UsageError: the output holds something else, was made with other settings or from another
        state of the manifest, or cannot be written.
    """
    paths = DatasetPaths(job.output)
    try:
        before = read_settings(paths)
        if before is not None and job.overwrite:
            _clear(paths)
            before = None
        if before is None:
            if job.retry_failed:
                raise UsageError(f"--retry_failed: there is no dataset at {job.output} to mend")
            _check_empty(paths)
        else:
            _check_same(before, job)
        _write_settings(paths, job, state="running", totals=Totals(), before=before)
    except OSError as error:
        raise UsageError(
            f"--output {job.output} cannot be written: {error}; give a folder you may write to"
        ) from error


def finish(job: JobSettings) -> Totals:
    """Adds up the commit markers and, when every planned row is accounted for, closes the dataset.

    Raises:
      RuntimeError: units are missing, so that running the job again is needed.
    """
    paths = DatasetPaths(job.output)
    totals, engine = _add_up(paths)
    plan = read_plan(paths)
    if plan is None or totals.rows != plan["rows"]:
        raise RuntimeError(
            f"{totals.rows} of {plan['rows'] if plan else 'an unknown number of'} rows are "
            f"committed in {job.output}: run the same command again to go on"
        )
    values = _write_settings(paths, job, state="complete", totals=totals, engine=engine)
    paths.write(paths.CARD, dataset_card(values, data_schema(job.manifest.schema)).encode())
    paths.write(paths.SUCCESS, b"")
    if paths.scratch:
        storage.remove_tree(paths.scratch)
    return totals


def read_settings(paths: DatasetPaths) -> dict[str, Any] | None:
    """Reads `dataset.json`; None when there is no dataset."""
    return _read_json(paths, paths.SETTINGS)


def read_plan(paths: DatasetPaths) -> dict[str, Any] | None:
    """Reads how many units and rows were planned; None before that is known."""
    return _read_json(paths, paths.PLAN)


def _read_json(paths: DatasetPaths, path: str) -> dict[str, Any] | None:
    try:
        return json.loads(storage.read_bytes(paths.uri(path)))
    except FileNotFoundError:
        return None


def require_dataset(root: str) -> dict[str, Any]:
    """Reads `dataset.json` of a dataset that has to be there.

    Raises:
      UsageError: there is none.
    """
    values = read_settings(DatasetPaths(root))
    if values is None:
        raise UsageError(f"{root} holds no alphabeam dataset: it has no dataset.json")
    return values


def committed_units(paths: DatasetPaths) -> Iterator[str]:
    """Names the committed units, sorted, from one listing."""
    for file in storage.list_files(paths.uri(paths.MARKERS)):
        name = storage.basename(file.uri)
        if name.endswith(".json"):
            yield name[: -len(".json")]


def read_markers(paths: DatasetPaths) -> Iterator[Marker]:
    """Reads every commit marker, in the order of the units' names, many at a time."""

    def read(unit: str) -> Marker:
        return Marker.decode(storage.read_bytes(paths.uri(paths.marker(unit))))

    return ordered_map(read, committed_units(paths), threads=_READERS, lookahead=4 * _READERS)


def add_up(markers: Iterator[Marker]) -> Totals:
    """Sums commit markers."""
    totals, _ = _sums(markers)
    return totals


def _add_up(paths: DatasetPaths) -> tuple[Totals, dict[str, Any]]:
    return _sums(read_markers(paths))


def _sums(markers: Iterator[Marker]) -> tuple[Totals, dict[str, Any]]:
    counts, errors, seconds = Counter(), Counter(), Counter()
    cost = 0.0
    engine: dict[str, Any] = {}
    for marker in markers:
        counts["units"] += 1
        counts["rows"] += marker.rows
        counts["done"] += marker.done
        counts["failed"] += marker.failed
        counts["files"] += len(marker.files)
        counts["bytes"] += sum(file.size for file in marker.files)
        errors.update(marker.errors)
        seconds.update(marker.seconds)
        cost += marker.cost_usd
        engine = marker.engine
    totals = Totals(
        **{name: counts[name] for name in ("units", "rows", "done", "failed", "files", "bytes")},
        errors=dict(errors.most_common()),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        cost_usd=cost,
    )
    return totals, engine


def open_dataset(root: str) -> pads.Dataset:
    """Opens the rows of a dataset, partition columns included, without reading them.

    Args:
      root: the dataset's folder, any fsspec URI.

    Returns:
      A pyarrow dataset with the columns of `data/`, in their order and with their types.

    Raises:
      UsageError: there is no dataset.
    """
    return _open(root, "data", data_schema)


def open_errors(root: str) -> pads.Dataset:
    """Opens the rows that failed, as `open_dataset` does the others."""
    return _open(root, "errors", error_schema)


def _open(root: str, folder: str, schema_of: Any) -> pads.Dataset:
    values = require_dataset(root)
    extra = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(values["manifest"]["schema"])))
    schema = schema_of(extra)
    names = output_names(extra)
    partition_by = [names[name] for name in values["settings"]["partition_by"]]
    partitioning = None
    if partition_by and folder == "data":
        fields = [_plain_field(schema.field(name)) for name in partition_by]
        partitioning = pads.HivePartitioning(pa.schema(fields), null_fallback=NULL_PARTITION)
    fs, path = storage.resolve(storage.join(root, folder))
    if not fs.exists(path):
        return pads.dataset(schema.empty_table())
    return pads.dataset(
        path, schema=schema, format="parquet", partitioning=partitioning, filesystem=fs
    )


def _plain_field(field: pa.Field) -> pa.Field:
    """Partition values are read as plain values, whatever the manifest's encoding."""
    if pa.types.is_dictionary(field.type):
        return field.with_type(field.type.value_type)
    return field


def _check_empty(paths: DatasetPaths) -> None:
    """Refuses a folder with foreign files: nothing of the user's is ever mixed or overwritten."""
    for file in storage.list_files(paths.root):
        if f"/{paths.SCRATCH}/" not in file.uri:
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
    if before["manifest"]["identity"] != job.manifest.identity:
        raise UsageError(
            f"the manifest {job.manifest.uri} has changed since {job.output} was begun: use "
            f"another --output, or --overwrite to start anew"
        )


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
    for folder in (paths.MARKERS, *paths.CONTENT, paths.SCRATCH):
        storage.remove_tree(paths.uri(folder))
    for name in (paths.PLAN, paths.CARD, paths.REPORT, "croissant.json", paths.SETTINGS):
        storage.remove(paths.uri(name))


def _write_settings(
    paths: DatasetPaths,
    job: JobSettings,
    *,
    state: str,
    totals: Totals,
    engine: dict[str, Any] | None = None,
    before: dict[str, Any] | None = None,
) -> dict[str, Any]:
    storage.remove(paths.uri(paths.SUCCESS))
    values = {
        "alphabeam": 1,
        "state": state,
        "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": job.recorded(),
        "settings_hash": job.settings_hash,
        "engine": engine or (before or {}).get("engine") or {"engine": job.engine},
        "manifest": {
            "uri": job.manifest.uri,
            "identity": job.manifest.identity,
            "files": job.manifest.files,
            "bytes": job.manifest.bytes,
            "schema": job.manifest.schema.serialize().to_pybytes().hex(),
        },
        "totals": asdict(totals),
    }
    paths.write(paths.SETTINGS, json.dumps(values, indent=1).encode())
    return values
