"""One work unit from rows to commit marker: the commit protocol."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

from ..transforms import storage
from ..transforms.cutters import Cutter
from ..transforms.records import Cutout, Failure, ImageRecord
from ..transforms.stream import ordered_map
from .announcements import Announcer
from .columns import error_table
from .layouts.catalogue import LAYOUTS
from .layouts.contract import Placed, UnitContext, parquet_bytes, write_file
from .manifest import WorkUnit, read_unit
from .markers import Marker, read_marker
from .naming import Stems
from .paths import DatasetPaths, partition_folders
from .payments import booked
from .settings import JobSettings
from .uploads import addressed, uploaded

# Concurrent writes of one unit: object stores answer slowly, local disks at once.
_REMOTE_WRITERS = 16
_LOCAL_WRITERS = 2


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
    cutter: Cutter,
    on_picture: Callable[[bool], None] = lambda done: None,
    announcer: Announcer | None = None,
) -> UnitReport:
    """Makes a unit's part of the dataset and commits it.

    Pictures come first, then the rows, then errors, then, last and atomically, the marker. All
    names follow from the manifest, so a unit that runs twice writes the same files. A committed
    unit is left alone, save for its failed rows with `retry_failed`: those form a generation of
    their own (`UNIT-r1`), so that nothing committed is touched before the new marker stands.

    Args:
      unit: what to do.
      job: how.
      cutter: ready to cut out.
      on_picture: called from the calling thread for each picture, with True when it is done.
      announcer: tells a webhook of the commit.

    Returns:
      The unit's counts.
    """
    paths = DatasetPaths(job.output)
    before = read_marker(paths, unit.name)
    if before is not None and not (job.retry_failed and before.failed):
        return _report(before, fresh=0)
    after = _write(unit, job, cutter, paths, before, on_picture)
    if announcer is not None:
        announcer.expect(unit.name)
    paths.write(paths.marker(unit.name), after.encode())
    if before is not None:
        kept = {file.path for file in after.files}
        for file in before.files:
            if file.path not in kept:
                storage.remove(paths.uri(file.path))
    if announcer is not None:
        announcer.committed(after)
    return _report(after, fresh=before.failed if before else after.rows)


def _write(
    unit: WorkUnit,
    job: JobSettings,
    cutter: Cutter,
    paths: DatasetPaths,
    before: Marker | None,
    on_picture: Callable[[bool], None],
) -> Marker:
    start = time.perf_counter()
    rows = read_unit(job.manifest, unit)
    generation = before.generation + 1 if before else 0
    name = f"{unit.name}-r{generation}" if generation else unit.name
    context = UnitContext(
        paths,
        name,
        job.partition_by,
        rows.columns,
        job.settings_hash,
        job.chain.compose.save_mask,
    )
    writer = LAYOUTS[job.layout](context)
    partitions = partition_folders(rows.columns, job.partition_by)
    leftovers = {paths.errors(name)}.union(*map(writer.leftovers, set(partitions) or {""}))
    stems: dict[int, str] = {}

    def store(result: Cutout | Failure) -> tuple[Placed | Failure, dict[str, float]]:
        began = time.perf_counter()
        if isinstance(result, Failure):
            return result, dict(result.seconds)
        row = result.record.row
        result = booked(result, paths, unit.name)
        placed = writer.store(result, stems[row], partitions[row])
        return placed, {**result.seconds, "write": time.perf_counter() - began}

    writers = _LOCAL_WRITERS if storage.is_local(job.output) else _REMOTE_WRITERS
    wanted = set(before.failed_rows) if before else None
    done, failures = 0, []
    seconds: dict[str, float] = defaultdict(float)
    cost = 0.0
    records = _named(rows.records, stems, wanted)
    if job.upload_column is None:
        cutouts = cutter.cut_out(records, job.chain)
    else:
        targets = rows.columns.column(job.upload_column).to_pylist()
        cutouts = cutter.cut_out(addressed(records, targets), job.chain)
        cutouts = uploaded(cutouts, targets, job.chain.fetch)
    results = ordered_map(store, cutouts, threads=writers, lookahead=2 * writers)
    for placed, spent in results:
        for stage, time_spent in spent.items():
            seconds[stage] += time_spent
        if isinstance(placed, Failure):
            failures.append(placed)
        else:
            writer.add(placed)
            done += 1
            cost += placed.cutout.engine.cost_usd or 0.0
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
        engine=asdict(cutter.info),
        cost_usd=cost + (before.cost_usd if before else 0.0),
        seconds=dict(seconds),
        finished=time.time(),
        settings_hash=job.settings_hash,
        compacted=before.compacted if before else 0,
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


def _report(marker: Marker, fresh: int) -> UnitReport:
    return UnitReport(marker.unit, marker.rows, marker.done, marker.failed, marker.errors, fresh)
