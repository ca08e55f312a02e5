"""What is checked of a Dataflow job before anything of it is written or sent."""

from __future__ import annotations

import os

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from ..transforms import storage
from ..transforms.engines import registry
from .dataflow import watch_seconds
from .errors import UsageError
from .gpus import gpu_machine
from .options import ManifestOptions, OutputOptions
from .settings import JobSettings


def check(options: PipelineOptions) -> None:
    """Checks what Dataflow needs, before anything is read; completes the region as Beam does.

    Raises:
      UsageError: a flag is missing, or names a place that the workers cannot reach.
    """
    try:
        from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--runner DataflowRunner needs packages that are not installed: "
            "pip install 'alphabeam[gcp]'"
        ) from error
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.project:
        raise UsageError(
            "--project is missing: DataflowRunner needs a Google Cloud project, for example "
            "--project my-project"
        )
    cloud.region = cloud.region or DataflowRunner().get_default_gcp_region()
    if not cloud.region:
        raise UsageError(
            "--region is missing: DataflowRunner needs a region, for example --region europe-west4"
        )
    cloud.temp_location = cloud.temp_location or cloud.staging_location
    if not cloud.temp_location:
        raise UsageError(
            "--temp_location is missing: DataflowRunner needs a folder of a bucket for what it "
            "sends along, for example --temp_location gs://my-bucket/tmp"
        )
    validator = PipelineOptionsValidator(options, DataflowRunner())
    for flag in ("temp_location", "staging_location"):
        given = getattr(cloud, flag)
        # Beam itself would take another folder, or make a bucket.
        if given and validator.validate_gcs_path(cloud, flag):
            raise UsageError(
                f"--{flag} {given}: DataflowRunner needs a folder of a bucket, for example "
                f"gs://my-bucket/tmp"
            )
    check_places(options)
    _check_files(options)
    gpu_machine(options)
    if watch_seconds(options):
        _check_streaming(options)
    elif options.view_as(StandardOptions).streaming:
        raise UsageError("--streaming: give --watch SECONDS, which makes it a streaming job")
    elif cloud.update:
        raise UsageError(
            "--update is for streaming jobs: give --watch SECONDS; a batch job goes on where "
            "another one stopped without it"
        )
    # As it will be once more when the graph is made, which is after the output was begun.
    if wrong := validator.validate():
        raise UsageError(" ".join("; ".join(wrong).split()))


def check_places(options: PipelineOptions) -> None:
    """Refuses a manifest or an output that only this machine has.

    Raises:
      UsageError: one is.
    """
    for flag, given in (
        ("manifest", options.view_as(ManifestOptions).manifest),
        ("output", options.view_as(OutputOptions).output),
    ):
        if given and (storage.is_local(given) or given.startswith("memory://")):
            raise UsageError(
                f"--{flag} {given} is on this machine, where Dataflow's workers cannot reach it: "
                f"copy it to a bucket and give gs://…"
                if flag == "manifest"
                else f"--{flag} {given} is on this machine, where Dataflow's workers cannot reach "
                f"it: give gs://…"
            )


def _check_files(options: PipelineOptions) -> None:
    """Refuses files of this machine that are to be sent along and are not there."""
    setup = options.view_as(SetupOptions)
    for flag, given in (
        ("setup_file", [setup.setup_file]),
        ("requirements_file", [setup.requirements_file]),
        ("extra_package", setup.extra_packages or []),
    ):
        for name in filter(None, given):
            if storage.is_local(name) and not os.path.isfile(storage.local_path(name)):
                raise UsageError(f"--{flag} {name}: there is no such file")


def _check_streaming(options: PipelineOptions) -> None:
    """Refuses what only a job with an end can do."""
    for flag, given in (
        ("flexrs_goal", options.view_as(GoogleCloudOptions).flexrs_goal),
        ("retry_failed", options.view_as(OutputOptions).retry_failed),
    ):
        if given:
            raise UsageError(
                f"--{flag} is for batch jobs: leave out --watch {watch_seconds(options):g}, which "
                f"makes it a streaming one, or give --watch 0"
            )


def check_engines(options: PipelineOptions, job: JobSettings) -> None:
    """Refuses engines of other packages that nothing brings to the workers.

    Raises:
      UsageError: there is one.
    """
    setup = options.view_as(SetupOptions)
    image = options.view_as(WorkerOptions).sdk_container_image
    if any([setup.setup_file, setup.requirements_file, setup.extra_packages, image]):
        return
    for name in job.cutter.options:
        if registry.is_elsewhere(name):
            module = registry.find(name).target.partition(":")[0]
            raise UsageError(
                f"--engine {name}: Dataflow's workers have no {module}: send its package along with "
                f"--extra_package, --setup_file or --requirements_file, or give "
                f"--sdk_container_image with an image that has it"
            )
