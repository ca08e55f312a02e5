"""The job as a stream: new files of its manifest are looked for until it is stopped.

What was taken up is recorded in the dataset, lot by lot, before any of it goes out as units, and
how far that is is the state that the runner keeps: whatever is retried or starts anew gives
the same units again, and none is lost. No key, no state and no shuffle is needed for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import WalltimeWatermarkEstimator
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, Repeatedly
from apache_beam.transforms.window import GlobalWindows, TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from ..transforms import storage
from .committed import CommittedUnits
from .dataset import begin, committed_units, read_plan
from .intake import read_lots
from .job import close, cut_out_units
from .manifest import Manifest, WorkUnit, look_again, plan_onwards
from .manifests.files import spell
from .manifests.lots import Lot
from .manifests.tally import Look
from .paths import DatasetPaths
from .planned import Plan
from .settings import JobSettings, quiet_seconds
from .unit import UnitReport

_NEVER = sys.maxsize


class WatchDataset(beam.PTransform):
    """Makes the dataset of a job, and of what comes to its manifest; gives one report a unit.

    The graph is the one of `CutOutDataset`, but for its beginning, which never ends, and its end.
    Whenever everything is committed that was taken up, the next look closes the dataset: its
    totals, cards and report are then those of the moment.

    Args:
      job: what to do; its output was begun.
      seconds: between two looks.
      hints: resource hints of the stage that does it all, from fetch to write.
      stopped: asked after each look that found nothing new; once it says so, the stream ends.
    """

    def __init__(
        self,
        job: JobSettings,
        seconds: float,
        hints: Mapping[str, str] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._job = job
        self._seconds = seconds
        self._hints = hints or {}
        self._stopped = stopped

    def expand(self, pbegin: PBegin) -> PCollection[UnitReport]:
        units: Any = (
            pbegin
            | "Manifest" >> beam.Create([self._job.manifest], reshuffle=False)
            | "TakeUp" >> beam.ParDo(TakeUp(self._job, self._seconds, self._stopped))
            | "EachAtOnce"
            >> beam.WindowInto(
                GlobalWindows(),
                trigger=Repeatedly(AfterCount(1)),
                accumulation_mode=AccumulationMode.DISCARDING,
            )
        )
        return cut_out_units(units, self._job, self._hints)


class _InOrder(OffsetRestrictionTracker):
    """One place looks for files: what is left of a range is only ever put off."""

    def try_split(self, fraction_of_remainder: float) -> Any:
        return super().try_split(0)


class _Files(RestrictionProvider):
    """The files of a manifest by their number, in the order in which they were taken up."""

    def initial_restriction(self, element: Manifest) -> OffsetRange:
        return OffsetRange(0, _NEVER)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return _InOrder(restriction)

    def restriction_size(self, element: Manifest, restriction: OffsetRange) -> int:
        return 1  # nobody knows what will come

    def truncate(self, element: Manifest, restriction: OffsetRange) -> None:
        """Takes up nothing more when the job is drained."""


_FILES = beam.DoFn.RestrictionParam(_Files())
_CLOCK = beam.DoFn.WatermarkEstimatorParam(WalltimeWatermarkEstimator.default_provider())


class TakeUp(beam.DoFn):
    """Takes up files, and passes on their units, each once but those that are committed already."""

    def __init__(
        self, job: JobSettings, seconds: float, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._job = replace(job, overwrite=False, retry_failed=False, grows=True)
        self._seconds = seconds
        self._stopped = stopped

    def setup(self) -> None:
        self._paths = DatasetPaths(self._job.output)
        self._lots: list[Lot] = []
        self._look = Look(quiet=quiet_seconds(self._seconds), apart=spell(self._job.output))
        self._committed: CommittedUnits | None = None

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        manifest: Manifest,
        tracker: Any = _FILES,
        _watermark: Any = _CLOCK,
    ) -> Iterator[TimestampedValue]:
        position = tracker.current_restriction().start
        while True:
            self._lots += read_lots(self._paths, len(self._lots))
            if position < (known := sum(lot.files for lot in self._lots)):
                position = yield from self._take_out(manifest, position, tracker)
                if position < known:  # the runner wants to have the others later
                    return
            found = look_again(manifest, replace(self._look, known=self._lots))
            if found is None or found.lot is None or not found.lot.files:
                break
            begin(replace(self._job, manifest=found))
        if found is not None:
            self._close(found)
        if self._stopped():
            tracker.try_claim(_NEVER)
        else:
            tracker.defer_remainder(Duration(self._seconds))

    def _take_out(
        self, manifest: Manifest, start: int, tracker: Any
    ) -> Generator[TimestampedValue, None, int]:
        """Passes on the units of recorded files from one on; returns how far that came.

        The plan may be ahead of that when this is a second try: its files are not counted again.
        """
        plan = read_plan(self._paths)
        if plan is None or not plan.taken:
            plan = Plan()
        position = start
        for done, units in plan_onwards(manifest, self._job.unit_size, self._lots, start):
            if not tracker.try_claim(done - 1):
                break
            for unit in units:
                if done > plan.taken:
                    plan.add(unit, manifest)
                if not self._is_committed(unit):
                    yield TimestampedValue(unit, Timestamp.now())
            position, plan.taken = done, max(done, plan.taken)
        self._paths.write(self._paths.PLAN, plan.encode())
        return position

    def _is_committed(self, unit: WorkUnit) -> bool:
        """Tells what was committed when this worker began; whoever gets a unit looks again."""
        if self._committed is None:
            names = committed_units(self._paths)
            self._committed = CommittedUnits(names, self._job.unit_size)
        return unit.name in self._committed

    def _close(self, manifest: Manifest) -> None:
        """Closes the dataset, unless that is done already or units are still being made."""
        paths = self._paths
        if storage.exists(paths.uri(paths.SUCCESS)):
            return
        plan = read_plan(paths)
        if plan is not None and sum(1 for _ in committed_units(paths)) == plan.units:
            close(replace(self._job, manifest=manifest))
