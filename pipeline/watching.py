"""A run that goes on: whenever its manifest has new files, they are worked on in one more round."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from apache_beam.options.pipeline_options import PipelineOptions

from . import dataflow, launch
from .dry_run import DryRun, is_dry_run
from .engine_settings import cutter_settings
from .errors import UsageError
from .intake import read_lots
from .launch import RunSummary
from .manifest import look_again
from .manifests.files import ManifestEmpty, spell
from .manifests.tally import Look, ManifestChanged
from .options import ManifestOptions
from .paths import DatasetPaths
from .runners import choose_runner
from .settings import JobSettings, manifest_changed, quiet_seconds, settings_from_options
from .submission import Submission

_LOG = logging.getLogger("alphabeam")


def run(options: PipelineOptions) -> RunSummary | Submission | DryRun:
    """Runs a job, and then, until it is stopped, every so many seconds what is new.

    On Dataflow one streaming job does that, and is not waited for. Elsewhere each round is a run of
    its own, at whose end the dataset is complete. Stopped between two rounds, by Ctrl-C or SIGTERM,
    it ends well; stopped within one, as any run that is stopped.

    Returns:
      The summary of all rounds; early when more rows failed than may.

    Raises:
      UsageError: the flags cannot work, or a file that was taken up has changed or is gone.
    """
    seconds = options.view_as(ManifestOptions).watch
    if dataflow.is_chosen(options) or is_dry_run(options):
        return launch.run(options)
    choose_runner(options)
    look = Look(quiet=quiet_seconds(seconds))
    with _terminable():
        job = _first(options, seconds)
        summary = launch.run_job(job, options)
        while not summary.broken:
            look = replace(look, known=read_lots(DatasetPaths(job.output)), apart=spell(job.output))
            try:
                job = _next(job, look, seconds)
            except KeyboardInterrupt:
                break
            latest = launch.run_job(job, options)
            summary = replace(
                latest,
                fresh=summary.fresh + latest.fresh,
                seconds=summary.seconds + latest.seconds,
            )
    return summary


def _first(options: PipelineOptions, seconds: float) -> JobSettings:
    """Waits until there is something to begin with; all else is checked before."""
    told = False
    while True:
        try:
            return settings_from_options(options)
        except UsageError as error:
            if not isinstance(error.__cause__, ManifestEmpty):
                raise
            if not told:
                cutter_settings(options)
                _LOG.info("%s yet: looking again every %g s, Ctrl-C stops", error, seconds)
                told = True
        time.sleep(seconds)


def _next(job: JobSettings, look: Look, seconds: float) -> JobSettings:
    """Waits until there are new files; gives the job with them."""
    _LOG.info("watching %s: looking every %g s, Ctrl-C stops", job.manifest.uri, seconds)
    while True:
        time.sleep(seconds)
        try:
            manifest = look_again(job.manifest, look)
        except ManifestChanged as error:
            raise manifest_changed(job.manifest.uri, job.output, error) from error
        if manifest is not None and manifest.lot is not None and manifest.lot.files:
            _LOG.info("%d new files in %s", manifest.lot.files, manifest.uri)
            return replace(job, manifest=manifest, overwrite=False, retry_failed=False)


@contextmanager
def _terminable() -> Iterator[None]:
    """Takes SIGTERM, by which services are stopped, for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
