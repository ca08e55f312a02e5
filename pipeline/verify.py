"""Every promise of a dataset, checked against what is stored."""

from __future__ import annotations

import os
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tqdm import tqdm

from ..transforms import storage
from ..transforms.stream import ordered_map
from .compaction import Compaction
from .dataset import require_dataset
from .errors import DatasetDamaged, UsageError
from .layouts.contract import StoredFile
from .markers import Marker, committed_units
from .paths import DatasetPaths
from .row_sums import SUMS
from .settings import hash_of_settings
from .stored_content import Damaged
from .verification.amounts import Amounts, same_cost
from .verification.inventory import Inventory, Listed
from .verification.marker import Plan, load_compaction, load_marker, load_plan, marker_faults
from .verification.rows import Check, Contents, Owner, RowChecks, closing_faults, found
from .verification.schemas import Schemas

_MARKER_READERS = 32
_OPEN_FILES = 8
_NAMED_FAULTS = 1000
_TOTALS = ("units", "rows", "done", "failed", "files", "bytes")


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
      faults: one line each, the first 1,000; empty when every promise holds.
      broken: how many faults there are in all.
      units, rows, files: how many there are.
      pictures: how many were looked at.
    """

    faults: tuple[str, ...]
    broken: int
    units: int
    rows: int
    files: int
    pictures: int

    def text(self) -> str:
        """Gives the closing line."""
        what = f"{self.units:,} units, {self.rows:,} rows, {self.files:,} files"
        if self.broken:
            return f"{self.broken:,} broken promises in {what}"
        return f"ok: {what}, every promise holds; {self.pictures:,} pictures were looked at"


def verify(root: str, sample: int | None = None, *, progress: bool = False) -> Verification:
    """Checks a dataset: counts, files and their hashes, pictures, and their statistics.

    Markers, and the names and sizes of all files, are always checked whole. Memory depends neither
    on how many files there are nor on how large they are.

    Args:
      root: the dataset's folder, any fsspec URI.
      sample: look at this many pictures, chosen anew each time, and into the files that hold their
        rows; None for all.
      progress: show a progress line where standard error is a terminal.

    Raises:
      UsageError: there is no dataset, or the sample is not at least 1.
    """
    if sample is not None and sample < 1:
        raise UsageError(f"--sample is a number of pictures from 1 on: given {sample}")
    try:
        walk = _Walk(root, sample)
    except Exception as error:
        if isinstance(error, UsageError) and not isinstance(error, DatasetDamaged):
            raise
        fault = f"{DatasetPaths.SETTINGS}: cannot be read as a run's settings: {error!r}"
        return Verification((fault,), 1, 0, 0, 0, 0)
    cores = os.cpu_count() or 1
    threads = cores if storage.is_local(root) else max(cores, 16)
    faults: list[str] = []
    broken = 0
    with tqdm(
        desc="verifying", total=walk.total, unit="row", disable=None if progress else True
    ) as bar:
        for lines in ordered_map(
            lambda check: check(), walk.checks(), threads=threads, lookahead=4 * threads
        ):
            broken += len(lines)
            faults += lines[: _NAMED_FAULTS - len(faults)]
            bar.update(walk.pictures - bar.n)
    return walk.result(faults, broken)


class _Walk:
    """The way through a dataset, and what was counted on it."""

    def __init__(self, root: str, sample: int | None) -> None:
        self._paths = DatasetPaths(root)
        self._values = values = require_dataset(root)
        settings = values["settings"]
        self._totals = {name: int(values["totals"][name]) for name in _TOTALS}
        self._unit_size = int(settings["unit_size"])
        self._draw = _Draw(self._totals["done"], sample)
        self._in_shards = settings["layout"] == "webdataset"
        self._rows = RowChecks(self._paths, values, Schemas.of(values))
        self._inventory = Inventory()
        self._counts = dict.fromkeys(self._totals, 0)
        self._amounts = Amounts.of_totals(values["totals"])
        self._found = Amounts()
        self._compacted = self._balance = 0
        self._paid = self._said = 0.0
        self._merged: Counter[str] = Counter()
        self._all_weighed = self._draw.whole

    @property
    def total(self) -> int:
        """Gives how many pictures are going to be looked at."""
        return self._draw.total

    @property
    def pictures(self) -> int:
        """Gives how many pictures have been given out to be looked at."""
        return self._rows.looked_at

    def result(self, faults: list[str], broken: int) -> Verification:
        """Sums up."""
        units, rows = self._counts["units"], self._counts["rows"]
        return Verification(
            tuple(faults), broken, units, rows, self._inventory.files, self.pictures
        )

    def checks(self) -> Iterator[Check]:
        """Gives all checks, which may then run in any thread."""
        compaction, plan, faults = self._records()
        yield found(*faults)
        for task in ordered_map(
            lambda task: self._rows.open(task) if isinstance(task, Contents) else task,
            self._tasks(compaction, plan),
            threads=_OPEN_FILES,
            lookahead=2 * _OPEN_FILES,
        ):
            if isinstance(task, Contents):
                yield from self._rows.checks(task)
            elif isinstance(task, Owner):
                self._weigh(task)
                yield found(*closing_faults(task))
            else:
                yield found(task)
        yield found(*self._sums(compaction, plan))
        yield found(*self._listing(compaction))

    def _records(self) -> tuple[Compaction | None, Plan | None, list[str]]:
        paths, faults = self._paths, []
        compaction = plan = None
        try:
            compaction = load_compaction(paths)
        except Damaged as fault:
            faults.append(f"{paths.COMPACTION}: {fault}")
        try:
            plan = load_plan(paths, self._unit_size)
        except Damaged as fault:
            faults.append(f"{paths.PLAN}: {fault}")
        if compaction is not None and not compaction.settled:
            faults.append(
                f"{paths.COMPACTION}: a compaction was interrupted: run alphabeam compact again"
            )
        if hash_of_settings(self._values["settings"]) != self._values["settings_hash"]:
            faults.append(f"{paths.SETTINGS}: its settings are not those of its settings_hash")
        state = self._values["state"]
        if state != "complete":
            faults.append(f"{paths.SETTINGS}: the run is not complete: its state is {state!r}")
            return compaction, plan, faults
        for name in (paths.SUCCESS, paths.CARD, paths.CROISSANT):
            if not storage.exists(paths.uri(name)):
                faults.append(f"{name}: missing")
        return compaction, plan, faults

    def _tasks(
        self, compaction: Compaction | None, plan: Plan | None
    ) -> Iterator[Contents | Owner | str]:
        """Gives the files to look into, each unit after its files, and faults between them."""
        for unit, marker in self._markers():
            name = self._paths.marker(unit)
            if isinstance(marker, Damaged):
                yield f"{name}: {marker}"
                continue
            for fault in marker_faults(marker, self._values, plan):
                yield f"{name}: {fault}"
            self._count(marker)
            in_data = marker.done - marker.compacted
            wanted = self._draw.next(marker.done if self._in_shards else in_data)
            owner = Owner(name, in_data, marker.errors, wanted, not marker.compacted)
            owner.cost_usd = marker.cost_usd - marker.failed_cost_usd
            owner.listed = {file.path: file for file in marker.files}
            yield from _files(owner, marker.files)
        for file in compaction.files if compaction else ():
            self._expect(file)
            wanted = self._draw.next(0 if self._in_shards else file.rows)
            owner = Owner(file.path, file.rows, {}, wanted, alone=False, merged=True)
            yield from _files(owner, [file])

    def _markers(self) -> Iterator[tuple[str, Marker | Damaged]]:
        def load(unit: str) -> tuple[str, Marker | Damaged]:
            try:
                return unit, load_marker(self._paths, unit)
            except (OSError, Damaged) as error:
                return unit, Damaged(str(error))

        return ordered_map(
            load,
            committed_units(self._paths),
            threads=_MARKER_READERS,
            lookahead=2 * _MARKER_READERS,
        )

    def _count(self, marker: Marker) -> None:
        for file in marker.files:
            self._expect(file)
        self._counts["units"] += 1
        self._counts["rows"] += marker.rows
        self._counts["done"] += marker.done
        self._counts["failed"] += marker.failed
        self._compacted += marker.compacted
        self._found.add(marker)

    def _expect(self, file: StoredFile) -> None:
        self._inventory.expect(Listed(file.path, file.size))
        self._counts["files"] += 1
        self._counts["bytes"] += file.size

    def _weigh(self, owner: Owner) -> None:
        owner.close()
        self._all_weighed &= owner.whole
        if owner.alone:
            return
        self._balance = (self._balance + owner.balance) % SUMS
        self._paid += owner.paid_usd
        self._said += owner.cost_usd
        if owner.merged:
            folder = owner.name.rpartition("/")[0]
            self._merged[folder] = (self._merged[folder] + owner.rows_sum) % SUMS

    def _sums(self, compaction: Compaction | None, plan: Plan | None) -> Iterator[str]:
        paths = self._paths
        units, rows = self._counts["units"], self._counts["rows"]
        if plan is not None and (plan.units, plan.rows) != (units, rows):
            yield (
                f"{paths.MARKERS}: {units} units with {rows} rows are committed, but "
                f"{plan.units} units with {plan.rows} rows were planned"
            )
        if self._values["state"] == "complete":
            if self._totals != self._counts:
                told = f"its totals are {self._totals}, the markers' {self._counts}"
                yield f"{paths.SETTINGS}: {told}"
            for difference in self._amounts.differences(self._found):
                yield f"{paths.SETTINGS}: its totals' {difference}"
        merged = sum(file.rows for file in compaction.files) if compaction else 0
        if merged != self._compacted:
            yield (
                f"{paths.COMPACTION}: its files have {merged} rows, the markers say that "
                f"{self._compacted} were taken over"
            )
        if self._all_weighed and self._balance:
            elsewhere = (
                "are not those in shards/" if self._in_shards else "do not name every picture once"
            )
            yield f"data/: its rows {elsewhere}"
        if self._all_weighed and not same_cost(self._paid, self._said):
            yield f"data/: its rows cost ${self._paid:g}, the markers say ${self._said:g}"
        for folder, rows in compaction.sums.items() if compaction and self._all_weighed else ():
            if self._merged[folder] != rows:
                yield f"{folder}/: its rows are not those that were merged"

    def _listing(self, compaction: Compaction | None) -> Iterator[str]:
        """Compares what markers list with what is stored."""
        for file in self._stored():
            self._inventory.find(file)
        if not self._inventory.balanced:
            yield from self._inventory.differences(self._listed(compaction), self._stored())

    def _listed(self, compaction: Compaction | None) -> Iterator[Listed]:
        for unit, marker in self._markers():
            if isinstance(marker, Marker):
                by = self._paths.marker(unit)
                yield from (Listed(file.path, file.size, by) for file in marker.files)
        for file in compaction.files if compaction else ():
            yield Listed(file.path, file.size, self._paths.COMPACTION)

    def _stored(self) -> Iterator[Listed]:
        """Lists everything below the folders that hold nothing but what markers list."""
        for folder in self._paths.CONTENT:
            for file in storage.list_files(f"{self._paths.uri(folder)}/"):
                yield Listed(self._paths.relative(file.uri), file.size)


def _files(owner: Owner, files: Iterable[StoredFile]) -> Iterator[Contents | Owner]:
    if owner.wanted is not None and not owner.wanted:
        return
    for file in files:
        if file.path.startswith(("data/", "errors/", "shards/")):
            yield Contents(file, owner)
    yield owner


class _Draw:
    """Chooses pictures among all, as they come by, unit for unit."""

    def __init__(self, pictures: int, sample: int | None) -> None:
        self.whole = sample is None or sample >= pictures
        self._chosen = [] if self.whole else sorted(random.sample(range(pictures), sample or 0))
        self._passed = 0
        self.total = pictures if self.whole else len(self._chosen)

    def next(self, pictures: int) -> frozenset[int] | None:
        """Gives which of the next pictures are chosen, counted from 0; None for all of them."""
        if self.whole:
            return None
        start, self._passed = self._passed, self._passed + pictures
        low, high = bisect_left(self._chosen, start), bisect_left(self._chosen, self._passed)
        return frozenset(position - start for position in self._chosen[low:high])
