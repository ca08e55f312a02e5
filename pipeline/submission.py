"""A job on Dataflow from submission to its end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.options.pipeline_options import WorkerOptions as BeamWorkerOptions

from ..transforms.engines import registry
from .dataflow import DataflowJob, watch_seconds
from .dataflow_options import DataflowOptions
from .dry_run import is_dry_run
from .errors import RunError, UsageError
from .job import CutOutDataset
from .settings import JobSettings
from .shipping import is_installed, write_requirements, write_wheel
from .streaming import WatchDataset


@dataclass(frozen=True)
class Submission:
    """A job that was handed to Dataflow, or would have been.

    Attributes:
      job: how it runs.
      output: the dataset's root.
      job_id: Dataflow's; None when only a template was written or nothing was sent.
      result: what Beam knows of the job.
      template: where its description was written instead of being sent.
    """

    job: DataflowJob
    output: str
    job_id: str | None
    result: Any
    template: str | None = None

    broken = False

    @property
    def console_url(self) -> str:
        job = self.job
        return (
            f"https://console.cloud.google.com/dataflow/jobs/{job.region}/{self.job_id}"
            f"?project={job.project}"
        )

    def text(self) -> str:
        """Gives what a user needs to know who does not wait."""
        if self.template:
            return f"template: {self.template}"
        if self.job_id is None:
            return "dry run: the job was put together and checked, and nothing was sent or written"
        # To drain a streaming job is to let it finish what it took up.
        stop = "drain" if self.job.watch else "cancel"
        return "\n".join(
            [
                f"job: {self.job_id}",
                f"console: {self.console_url}",
                f"stop it: gcloud dataflow jobs {stop} {self.job_id} --project {self.job.project} "
                f"--region {self.job.region}",
                f"progress: alphabeam watch {self.output}",
            ]
        )

    def wait(self, display: Callable[[], AbstractContextManager[Any]] = nullcontext) -> None:
        """Waits for the job's end.

        Args:
          display: shows progress meanwhile.

        Raises:
          RunError: the job failed or was cancelled.
          KeyboardInterrupt: the user no longer waits; the job goes on and the message says so.
        """
        try:
            with display():
                self.result.wait_until_finish()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"no longer waiting; the job goes on\n{self.text()}") from None
        except Exception as error:
            told = " ".join(str(error).split())
            raise RunError(
                f"the job {self.job_id} ended early: {told[:500]}; what is committed stays, and "
                f"the same command goes on from there; {self.console_url}"
            ) from error


def is_waited_for(options: PipelineOptions) -> bool:
    """Tells whether the command ends with the job and not before it; some jobs never end."""
    return not (
        is_dry_run(options)
        or watch_seconds(options)
        or options.view_as(StandardOptions).no_wait_until_finish
        or options.view_as(GoogleCloudOptions).template_location
    )


def submit(settings: JobSettings, options: PipelineOptions, job: DataflowJob) -> Submission:
    """Sends a job to Dataflow.

    Args:
      settings: what to do.
      options: as `dataflow.prepare` left them.
      job: as it gave it.

    Raises:
      UsageError: Beam refuses an option.
      RunError: the job cannot be sent.
    """
    with tempfile.TemporaryDirectory(prefix="alphabeam-") as folder:
        _pack(settings, options, folder)
        try:
            pipeline = beam.Pipeline(options=options)
        except ValueError as error:
            raise UsageError(" ".join(str(error).split())) from error
        batch = CutOutDataset(settings, job.hints)
        whole = WatchDataset(settings, job.watch, job.hints) if job.watch else batch
        _ = pipeline | "CutOutDataset" >> whole
        try:
            result: Any = pipeline.run()
        except Exception as error:
            told = " ".join(str(error).split())
            raise RunError(
                f"the job was not taken: {type(error).__name__}: {told[:500]}"
            ) from error
    template = options.view_as(GoogleCloudOptions).template_location
    sent = not is_dry_run(options) and not template
    return Submission(job, settings.output, result.job_id() if sent else None, result, template)


def _pack(settings: JobSettings, options: PipelineOptions, folder: str) -> None:
    """Readies what the workers' image lacks, to be sent along."""
    setup = options.view_as(SetupOptions)
    if not options.view_as(DataflowOptions).package_in_image:
        setup.extra_packages = [*(setup.extra_packages or ()), write_wheel(folder)]
    if options.view_as(BeamWorkerOptions).sdk_container_image is None:
        extras = _extras(settings)
        setup.requirements_file = write_requirements(folder, extras, setup.requirements_file)
        if setup.requirements_cache is None:
            setup.requirements_cache = "skip"  # workers download; nothing is uploaded from here


def _extras(settings: JobSettings) -> set[str]:
    extras = {registry.find(name).extra for name in settings.cutter.options} - {""}
    # What pictures are and where they lie is only known once rows are read: what can be read here
    # can be read there.
    extras |= {extra for extra in ("s3", "heif") if is_installed(extra)}
    if settings.report:
        extras.add("report")
    return extras | {"gcp"}
