"""One work unit from rows to commit marker: the commit protocol."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from ..transforms import storage
from ..transforms.cutters import Cutter
from ..transforms.errors import ManifestError
from ..transforms.records import Cutout, Failure, ImageRecord
from ..transforms.stream import ordered_map
from .announcements import Announcer
from .columns import error_table
from .layouts.catalogue import LAYOUTS
from .layouts.contract import Placed, StoredFile, UnitContext, parquet_bytes, write_file
from .manifest import WorkUnit, read_unit
from .markers import Marker, read_marker
from .naming import Stems
from .paths import LONGEST_NAME, DatasetPaths, is_possible, partition_folders
from .payments import booked
from .settings import JobSettings
from .turn import turn
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
    their own (`UNIT-r1`), so that nothing committed is touched before the new marker stands. Of
    several attempts at the same time one commits, and the others leave its files alone.

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
    attempt = _Attempt(unit, job, before)
    attempt.cut_out(cutter, on_picture)
    with turn(paths, unit.name) as held:
        committed = read_marker(paths, unit.name)
        if committed is not None and committed != before:
            attempt.withdraw(committed)
            return _report(committed, fresh=0)
        if held.number and not attempt.is_whole():
            attempt = _Attempt(unit, job, before)
            attempt.cut_out(cutter, lambda done: None)
        after = attempt.finish(cutter)
        if announcer is not None:
            announcer.expect(unit.name)
        held.confirm()
        paths.write(paths.marker(unit.name), after.encode())
        if before is not None:
            _remove(paths, before.files, after.files)
    if announcer is not None:
        announcer.committed(after)
    return _report(after, fresh=before.failed if before else after.rows)


class _Attempt:
    """One attempt at a unit: pictures as they come, then rows and errors, then the marker's content."""

    def __init__(self, unit: WorkUnit, job: JobSettings, before: Marker | None) -> None:
        self._start = time.perf_counter()
        self._unit, self._job, self._before = unit, job, before
        self._paths = DatasetPaths(job.output)
        self._rows = read_unit(job.manifest, unit)
        self._generation = before.generation + 1 if before else 0
        self._name = f"{unit.name}-r{self._generation}" if self._generation else unit.name
        context = UnitContext(
            self._paths,
            self._name,
            job.partition_by,
            self._rows.columns,
            job.settings_hash,
            job.chain.compose.save_mask,
        )
        self._writer = LAYOUTS[job.layout](context)
        self._partitions = partition_folders(self._rows.columns, job.partition_by)
        self._files: list[StoredFile] = []
        self._failures: list[Failure] = []
        self._done = 0
        self._cost = self._failed_cost = 0.0
        self._seconds: dict[str, float] = defaultdict(float)

    def cut_out(self, cutter: Cutter, on_picture: Callable[[bool], None]) -> None:
        """Has every row cut out, and its pictures stored."""
        job, stems = self._job, {}
        wanted = set(self._before.failed_rows) if self._before else None
        records = _named(_placeable(self._rows.records, self._partitions), stems, wanted)
        if job.upload_column is None:
            cutouts = cutter.cut_out(records, job.chain)
        else:
            targets = self._rows.columns.column(job.upload_column).to_pylist()
            cutouts = cutter.cut_out(addressed(records, targets), job.chain)
            cutouts = uploaded(cutouts, targets, job.chain.fetch)
        writers = _LOCAL_WRITERS if storage.is_local(job.output) else _REMOTE_WRITERS
        results = ordered_map(
            lambda result: self._store(result, stems),
            cutouts,
            threads=writers,
            lookahead=2 * writers,
        )
        for placed, spent in results:
            for stage, time_spent in spent.items():
                self._seconds[stage] += time_spent
            if isinstance(placed, Failure):
                self._failures.append(placed)
                self._failed_cost += sum(paid.usd for paid in placed.payments)
            else:
                self._writer.add(placed)
                self._files.extend(placed.files)
                self._done += 1
                self._cost += placed.cutout.engine.cost_usd or 0.0
            on_picture(not isinstance(placed, Failure))

    def _store(
        self, result: Cutout | Failure, stems: dict[int, str]
    ) -> tuple[Placed | Failure, dict[str, float]]:
        began = time.perf_counter()
        result = booked(result, self._paths, self._unit.name)
        if isinstance(result, Failure):
            return result, dict(result.seconds)
        row = result.record.row
        placed = self._writer.store(result, stems[row], self._partitions[row])
        return placed, {**result.seconds, "write": time.perf_counter() - began}

    def is_whole(self) -> bool:
        """Tells whether the pictures are still there: who held the turn before may have tidied up."""
        return {file.path for file in self._files} <= self._leftovers()

    def withdraw(self, committed: Marker) -> None:
        """Removes what another attempt, which has committed the unit, does not list."""
        _remove(self._paths, self._files, committed.files)

    def finish(self, cutter: Cutter) -> Marker:
        """Writes rows and errors, removes what an uncommitted attempt left, and gives the marker."""
        before, paths = self._before, self._paths
        leftovers = self._leftovers()
        files = self._writer.finish()
        if self._failures:
            table = error_table(self._failures, self._rows.columns)
            files.append(write_file(paths, paths.errors(self._name), parquet_bytes(table)))
        for path in leftovers - {file.path for file in files}:
            storage.remove(paths.uri(path))
        if before is not None:
            unit = self._unit.name
            gone = {paths.errors(unit), paths.errors(f"{unit}-r{before.generation}")}
            files = [file for file in before.files if file.path not in gone] + files
        failures, done = self._failures, self._done + (before.done if before else 0)
        # Rows that are run again say anew what was paid for them.
        kept_cost = before.cost_usd - before.failed_cost_usd if before else 0.0
        self._seconds["wall"] = time.perf_counter() - self._start
        return Marker(
            unit=self._unit.name,
            rows=done + len(failures),
            done=done,
            failed=len(failures),
            failed_rows=tuple(failure.record.row for failure in failures),
            errors=dict(Counter(failure.error.kind for failure in failures)),
            files=tuple(files),
            generation=self._generation,
            engine=asdict(cutter.info),
            cost_usd=self._cost + self._failed_cost + kept_cost,
            seconds=dict(self._seconds),
            finished=time.time(),
            settings_hash=self._job.settings_hash,
            compacted=before.compacted if before else 0,
            failed_cost_usd=self._failed_cost,
        )

    def _leftovers(self) -> set[str]:
        partitions = set(filter(is_possible, self._partitions)) or {""}
        found = {self._paths.errors(self._name)}
        return found.union(*map(self._writer.leftovers, partitions))


def _remove(paths: DatasetPaths, files: Iterable[StoredFile], kept: Iterable[StoredFile]) -> None:
    """Removes files, save those that are kept."""
    keeping = {file.path for file in kept}
    for file in files:
        if file.path not in keeping:
            storage.remove(paths.uri(file.path))


def _placeable(records: Iterable[ImageRecord], partitions: Sequence[str]) -> Iterator[ImageRecord]:
    """Gives rows whose partition cannot be a folder their trouble, before anything is done for them."""
    for record in records:
        folder = partitions[record.row]
        if is_possible(folder):
            yield record
        else:
            trouble = ManifestError(
                "partition_too_long",
                f"the partition folder {folder[:40]}… would need more than {LONGEST_NAME} bytes: "
                f"partition by a column of shorter values",
            )
            yield replace(record, trouble=trouble)


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
