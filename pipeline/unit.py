"""One work unit from rows to commit marker: the commit protocol."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ..transforms import storage
from ..transforms.cutout import cut_out
from ..transforms.engines.loaded import LoadedEngine
from ..transforms.records import Cutout, Failure, ImageRecord
from ..transforms.stream import ordered_map
from .columns import error_table
from .layouts import LAYOUTS, Placed, StoredFile, UnitContext, parquet_bytes, write_file
from .manifest import WorkUnit, read_unit
from .naming import Stems
from .paths import DatasetPaths, partition_folders
from .settings import JobSettings

# Concurrent writes of one unit: object stores answer slowly, local disks at once.
_REMOTE_WRITERS = 16
_LOCAL_WRITERS = 2


@dataclass(frozen=True)
class Marker:
    """A commit marker: written last, and everything it lists is there.

    Attributes:
      unit: the unit's name.
      rows, done, failed: how many rows, and what became of them.
      failed_rows: positions of the failed rows within the unit.
      errors: failed rows by kind of error.
      files: everything the unit consists of.
      generation: how often failed rows were run again.
      engine: what rows record of the engine.
      cost_usd: paid for the unit.
      seconds: time spent by stage, added up over its pictures; `wall` is the unit's own.
      finished: seconds since 1970.
      settings_hash: of the job that wrote it.
    """

    unit: str
    rows: int
    done: int
    failed: int
    failed_rows: tuple[int, ...]
    errors: dict[str, int]
    files: tuple[StoredFile, ...]
    generation: int
    engine: dict[str, Any]
    cost_usd: float
    seconds: dict[str, float]
    finished: float
    settings_hash: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> Marker:
        values = json.loads(data)
        values["failed_rows"] = tuple(values["failed_rows"])
        values["files"] = tuple(StoredFile(**entry) for entry in values["files"])
        return cls(**values)


@dataclass(frozen=True)
class UnitReport:
    """What the job hears of a unit; tiny.

    Attributes:
      unit: its name.
      rows, done, failed: as in its marker.
      errors: failed rows by kind.
      fresh: how many of its pictures were worked on in this run.
    """

    unit: str
    rows: int
    done: int
    failed: int
    errors: dict[str, int] = field(default_factory=dict)
    fresh: int = 0


def write_unit(
    unit: WorkUnit,
    job: JobSettings,
    engine: LoadedEngine,
    on_picture: Callable[[bool], None] = lambda done: None,
) -> UnitReport:
    """Makes a unit's part of the dataset and commits it.

    Pictures come first, then the rows, then errors, then, last and atomically, the marker. All
    names follow from the manifest, so a unit that runs twice writes the same files. A committed
    unit is left alone, save for its failed rows with `retry_failed`: those form a generation of
    their own (`UNIT-r1`), so that nothing committed is touched before the new marker stands.

    Args:
      unit: what to do.
      job: how.
      engine: ready to predict.
      on_picture: called from the calling thread for each picture, with True when it is done.

    Returns:
      The unit's counts.
    """
    paths = DatasetPaths(job.output)
    before = read_marker(paths, unit.name)
    if before is not None and not (job.retry_failed and before.failed):
        return _report(before, fresh=0)
    after = _write(unit, job, engine, paths, before, on_picture)
    paths.write(paths.marker(unit.name), after.encode())
    if before is not None:
        kept = {file.path for file in after.files}
        for file in before.files:
            if file.path not in kept:
                storage.remove(paths.uri(file.path))
    return _report(after, fresh=before.failed if before else after.rows)


def read_marker(paths: DatasetPaths, unit: str) -> Marker | None:
    """Reads a unit's commit marker; None when it is not committed."""
    try:
        return Marker.decode(storage.read_bytes(paths.uri(paths.marker(unit))))
    except FileNotFoundError:
        return None


def _write(
    unit: WorkUnit,
    job: JobSettings,
    engine: LoadedEngine,
    paths: DatasetPaths,
    before: Marker | None,
    on_picture: Callable[[bool], None],
) -> Marker:
    start = time.perf_counter()
    rows = read_unit(job.manifest, unit)
    generation = before.generation + 1 if before else 0
    name = f"{unit.name}-r{generation}" if generation else unit.name
    context = UnitContext(paths, name, job.partition_by, rows.columns, job.settings_hash)
    writer = LAYOUTS[job.layout](context)
    partitions = partition_folders(rows.columns, job.partition_by)
    leftovers = _files_of(paths, name, sorted(set(partitions) or {""}), writer.folders)
    stems: dict[int, str] = {}

    def store(result: Cutout | Failure) -> tuple[Placed | Failure, dict[str, float]]:
        began = time.perf_counter()
        if isinstance(result, Failure):
            return result, dict(result.seconds)
        row = result.record.row
        placed = writer.store(result, stems[row], partitions[row])
        return placed, {**result.seconds, "write": time.perf_counter() - began}

    writers = _LOCAL_WRITERS if storage.is_local(job.output) else _REMOTE_WRITERS
    wanted = set(before.failed_rows) if before else None
    done, failures, seconds = 0, [], Counter()
    results = ordered_map(
        store,
        cut_out(_named(rows.records, stems, wanted), engine, job.chain),
        threads=writers,
        lookahead=2 * writers,
    )
    for placed, spent in results:
        seconds.update(spent)
        if isinstance(placed, Failure):
            failures.append(placed)
        else:
            writer.add(placed)
            done += 1
        on_picture(not isinstance(placed, Failure))

    files = writer.finish()
    if failures:
        table = error_table(failures, rows.columns)
        files.append(write_file(paths, paths.errors(name), parquet_bytes(table)))
    for path in leftovers - {file.path for file in files}:
        storage.remove(paths.uri(path))
    if before is not None:
        gone = {paths.errors(unit.name), paths.errors(f"{unit.name}-r{before.generation}")}
        files = [file for file in before.files if file.path not in gone] + files
        done += before.done
    seconds["wall"] = time.perf_counter() - start
    return Marker(
        unit=unit.name,
        rows=done + len(failures),
        done=done,
        failed=len(failures),
        failed_rows=tuple(failure.record.row for failure in failures),
        errors=dict(Counter(failure.error.kind for failure in failures)),
        files=tuple(files),
        generation=generation,
        engine=asdict(engine.info),
        cost_usd=0.0,
        seconds=dict(seconds),
        finished=time.time(),
        settings_hash=job.settings_hash,
    )


def _named(
    records: Iterator[ImageRecord], stems: dict[int, str], wanted: set[int] | None
) -> Iterator[ImageRecord]:
    """Notes every row's file stem and passes on the rows that are wanted; None wants all."""
    taken = Stems()
    for record in records:
        stems[record.row] = taken.take(record.key)
        if wanted is None or record.row in wanted:
            yield record


def _files_of(
    paths: DatasetPaths, unit: str, partitions: list[str], folders: tuple[str, ...]
) -> set[str]:
    """Lists what an earlier, uncommitted attempt at a unit left."""
    found = set()
    for partition in partitions:
        for kind in folders:
            folder = paths.pictures(kind, unit, partition)
            for file in storage.list_files(paths.uri(folder)):
                found.add(f"{folder}/{storage.basename(file.uri)}")
        found.add(paths.data(unit, partition))
    found.add(paths.errors(unit))
    return found


def _report(marker: Marker, fresh: int) -> UnitReport:
    return UnitReport(marker.unit, marker.rows, marker.done, marker.failed, marker.errors, fresh)
