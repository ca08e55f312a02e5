"""From flags to a finished run: check, begin, run the graph, sum up."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ..transforms import storage
from ..transforms.engines.registry import EngineUnusable
from . import dataflow
from .announcements import Untold, make_announcer, read_untold
from .dataflow_checks import check, check_engines
from .dataset import Totals, add_up, begin, read_heads
from .dry_run import DryRun, check_only, is_dry_run
from .errors import RunError, UsageError
from .job import CutOutDataset
from .paths import DatasetPaths
from .progress import TALLY, CommitReader, Display, Progress
from .resumable import check_output
from .runners import choose_runner
from .settings import JobSettings, settings_from_options
from .stopped import told
from .submission import Submission, is_waited_for, submit

_LOG = logging.getLogger("alphabeam")
_LOCAL_RUNNERS = ("FnApiRunner", "BundleBasedDirectRunner")
_REMOTE_SECONDS = 60.0  # every look at a remote run lists its commits


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes:
      output: the dataset's root.
      totals: of the whole dataset.
      seconds: this run took.
      fresh: pictures that this run worked on.
      max_error_rate: above which the run counts as broken.
      untold: posts that the webhook did not take.
    """

    output: str
    totals: Totals
    seconds: float
    fresh: int
    max_error_rate: float
    untold: tuple[Untold, ...] = ()

    @property
    def broken(self) -> bool:
        return self.totals.error_rate > self.max_error_rate or bool(self.untold)

    def text(self) -> str:
        """Gives the closing lines."""
        totals = self.totals
        lines = [
            f"{totals.rows:,} rows: {totals.done:,} cutouts, {totals.failed:,} errors",
            *(f"  {count:,} × {kind}" for kind, count in totals.errors.items()),
            f"{self.fresh:,} pictures in {self.seconds:.1f} s, "
            f"{self.fresh / self.seconds if self.seconds else 0:.1f} images/s",
            f"dataset: {self.output}",
        ]
        report = DatasetPaths(self.output).uri(DatasetPaths.REPORT)
        if storage.exists(report):
            lines.append(f"report: {report}")
        if totals.cost_usd:
            in_vain = f", ${totals.failed_cost_usd:,.3f} of it for errors"
            told = in_vain if totals.failed_cost_usd else ""
            lines.insert(-1, f"paid: ${totals.cost_usd:,.3f}{told}")
        if totals.error_rate > self.max_error_rate:
            lines.append(
                f"error rate {totals.error_rate:.3f} is above --max_error_rate "
                f"{self.max_error_rate:g}; --retry_failed runs the failed rows again"
            )
        if self.untold:
            lines.append(
                f"{len(self.untold):,} posts to the webhook are not delivered "
                f"({self.untold[0].error or 'not tried'}); the same command posts them again"
            )
        return "\n".join(lines)


def run(options: PipelineOptions) -> RunSummary | Submission | DryRun:
    """Runs a job to its end, hands it over where nobody waits for it, or only checks it.

    Raises:
      UsageError: the flags cannot work; nothing has been done then.
    """
    if dataflow.is_chosen(options):
        return _run_on_dataflow(options)
    choose_runner(options)
    job = settings_from_options(options)
    return check_only(job) if is_dry_run(options) else run_job(job, options)


def run_job(job: JobSettings, options: PipelineOptions) -> RunSummary:
    """Runs what is left of a job.

    Raises:
      UsageError: the output holds something else, or an engine cannot be used.
    """
    begin(job)
    TALLY.reset()
    start = time.perf_counter()
    committed = add_up(read_heads(DatasetPaths(job.output)))
    local = options.view_as(StandardOptions).runner in _LOCAL_RUNNERS
    with Display(_reader(job)) if local else nullcontext():
        _run_graph(job, options)
    return _summary(job, committed, time.perf_counter() - start)


def _run_on_dataflow(options: PipelineOptions) -> RunSummary | Submission:
    check(options)
    job = settings_from_options(options)
    check_engines(options, job)
    chosen = dataflow.prepare(options, job)
    _LOG.info("%s", chosen.text())
    for warning in chosen.warnings:
        _LOG.warning("%s", warning)
    if is_dry_run(options):
        check_output(job)
        return submit(job, options, chosen)
    begin(job)
    if not is_waited_for(options):
        return submit(job, options, chosen)
    start = time.perf_counter()
    committed = add_up(read_heads(DatasetPaths(job.output)))
    submission = submit(job, options, chosen)
    _LOG.info("%s", submission.text())
    submission.wait(lambda: Display(CommitReader(job.output).read, seconds=_REMOTE_SECONDS))
    return _summary(job, committed, time.perf_counter() - start)


def _summary(job: JobSettings, committed: Totals, seconds: float) -> RunSummary:
    totals = add_up(read_heads(DatasetPaths(job.output)))
    fresh = totals.rows - committed.rows + (committed.failed if job.retry_failed else 0)
    untold = tuple(read_untold(job.output)) if job.webhook else ()
    return RunSummary(job.output, totals, seconds, fresh, job.max_error_rate, untold)


def _run_graph(job: JobSettings, options: PipelineOptions) -> None:
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "CutOutDataset" >> CutOutDataset(job)
    try:
        pipeline.run().wait_until_finish()
    except EngineUnusable as error:
        raise UsageError(str(error)) from error
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # how the in-memory runner hands on Ctrl-C
            raise KeyboardInterrupt from error
        _LOG.debug("the run stopped", exc_info=True)
        reason = told(job.output, error)
        announcer = make_announcer(job.output, job.webhook)
        if announcer is not None:
            announcer.stopped(reason)
        raise RunError(reason) from error


def _reader(job: JobSettings):
    """Reads progress from this process where the work happens here, else from the commits."""
    commits = CommitReader(job.output)

    def read() -> Progress:
        here = TALLY.read()
        if here.done or here.failed or (here.total is not None and here.finished == here.total):
            return here
        return commits.read()

    return read
