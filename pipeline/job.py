"""The job as a Beam graph: manifest -> units -> reports -> finished dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import AsIter, PBegin, PCollection

from ..transforms.cutters import Cutter, make_cutter
from .announcements import make_announcer
from .committed import CommittedUnits
from .dataset import Totals, committed_units, finish
from .heap import bound_heap, trim_heap
from .intake import read_lots
from .manifest import Manifest, WorkUnit, plan_units
from .paths import DatasetPaths
from .planned import Plan
from .progress import TALLY
from .report import ReportUnavailable, write_report
from .settings import JobSettings
from .unit import UnitReport, write_unit

_LOG = logging.getLogger("alphabeam")


class CutOutDataset(beam.PTransform):
    """Makes the whole dataset of a job; gives one report a unit.

    Only units and reports, both tiny, leave a worker: the pictures are fetched, cut out and
    stored within one call for a unit.

    Args:
      job: what to do.
      hints: resource hints of the stage that does it all, from fetch to write.
      strict: fail, after everything is committed, when too many rows failed; otherwise whoever runs
        the pipeline looks.
    """

    def __init__(
        self, job: JobSettings, hints: Mapping[str, str] | None = None, strict: bool = False
    ) -> None:
        super().__init__()
        self._job = job
        self._hints = hints or {}
        self._strict = strict

    def expand(self, pbegin: PBegin) -> PCollection[UnitReport]:
        job = self._job
        units: Any = (
            pbegin
            | "Manifest" >> beam.Create([job.manifest], reshuffle=False)
            | "PlanUnits" >> beam.ParDo(PlanUnits(job))
        )
        reports: Any = cut_out_units(units, job, self._hints)
        # Nothing, which is only known once every unit has been committed.
        ended = reports | "Ended" >> beam.Filter(lambda _: False)
        totals: Any = (
            pbegin.pipeline
            | "Once" >> beam.Create([None], reshuffle=False)
            | "Finish" >> beam.ParDo(_Finish(job), AsIter(ended))
        )
        if self._strict:
            _ = totals | "ErrorRate" >> beam.Map(_check_error_rate, job)
        return reports


def cut_out_units(
    units: PCollection, job: JobSettings, hints: Mapping[str, str]
) -> PCollection[UnitReport]:
    """Spreads units over the workers, which make and commit them; gives one report a unit.

    Args:
      units: of the job; each once.
      job: what to do.
      hints: resource hints of the stage that does it all, from fetch to write.
    """
    reports: Any = (
        units
        | "NameUnits" >> beam.Map(_named).with_output_types(tuple[str, WorkUnit])
        # Not Reshuffle, whose last steps would be another stage than the one with the hints.
        | "SpreadUnits" >> beam.GroupByKey()
        | "CutOutUnits" >> beam.ParDo(CutOutUnits(job)).with_resource_hints(**hints)
    )
    return reports


def _named(unit: WorkUnit) -> tuple[str, WorkUnit]:
    return unit.name, unit


class PlanUnits(beam.DoFn):
    """Plans a manifest's units and passes on those that are not committed yet."""

    def __init__(self, job: JobSettings) -> None:
        self._job = job

    def process(self, manifest: Manifest) -> Iterator[WorkUnit]:
        job = self._job
        paths = DatasetPaths(job.output)
        committed = CommittedUnits(committed_units(paths), job.unit_size)
        lots = read_lots(paths)
        plan = Plan(taken=sum(lot.files for lot in lots))
        resumed = 0
        for unit in plan_units(manifest, job.unit_size, lots=lots):
            plan.add(unit, manifest)
            if unit.name in committed and not job.retry_failed:
                resumed += unit.rows
            else:
                yield unit
        paths.write(paths.PLAN, plan.encode())
        TALLY.planned(plan.rows, resumed)


class CutOutUnits(beam.DoFn):
    """Makes and commits one unit a call."""

    def __init__(self, job: JobSettings) -> None:
        self._job = job
        self._done = Metrics.counter("alphabeam", "images_done")
        self._failed = Metrics.counter("alphabeam", "images_failed")
        self._cutter: Cutter | None = None

    def setup(self) -> None:
        bound_heap()
        self._cutter = make_cutter(self._job.cutter)
        self._announcer = make_announcer(self._job.output, self._job.webhook)

    def teardown(self) -> None:
        if self._cutter is not None:
            self._cutter.close()

    def process(self, named: tuple[str, Iterable[WorkUnit]]) -> Iterator[UnitReport]:
        assert self._cutter is not None
        for unit in named[1]:  # one: names are unique
            yield write_unit(unit, self._job, self._cutter, self._count, self._announcer)
            trim_heap()

    def _count(self, done: bool) -> None:
        TALLY.picture(done)
        (self._done if done else self._failed).inc()


class _Finish(beam.DoFn):
    """Closes the dataset once every report is in."""

    def __init__(self, job: JobSettings) -> None:
        self._job = job

    def process(self, _: None, ended: Iterable[UnitReport]) -> Iterator[Totals]:
        for _report in ended:  # there is none, and that is not known before
            pass
        yield close(self._job)


def close(job: JobSettings) -> Totals:
    """Closes a dataset whose units are all committed: totals, cards, report, webhook.

    Raises:
      RuntimeError: units are missing, so that running the job again is needed.
    """
    totals = finish(job)
    if job.report:
        try:
            write_report(job.output)
        except ReportUnavailable as error:
            _LOG.warning("%s", error)
    announcer = make_announcer(job.output, job.webhook)
    if announcer is not None:
        announcer.finished(totals)
    return totals


def _check_error_rate(totals: Totals, job: JobSettings) -> None:
    if totals.error_rate > job.max_error_rate:
        raise RuntimeError(
            f"{totals.failed} of {totals.rows} rows failed, which is more than the max_error_rate "
            f"{job.max_error_rate:g}; everything is committed in {job.output}"
        )
