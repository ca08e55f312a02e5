"""Dataflow jobs: the defaults in one place, and what is said of them before launch."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.options.pipeline_options import WorkerOptions as BeamWorkerOptions

from ..transforms import storage
from ..transforms.providers import keys
from .dataflow_options import DataflowOptions
from .errors import UsageError
from .gpus import asked_in_beams_words, check_carries, gpu_for, gpu_machine, uses_gpu, usual_machine
from .options import ManifestOptions
from .settings import JobSettings
from .webhook import SECRET_FLAG

GPU_DISK_GB = 100  # the image with CUDA and weights unpacks to more than Dataflow's 25 GB
GPU_IMAGE = {"Python": "3.11", "Apache Beam": "2.77.0"}  # as its Dockerfile says
# One unit keeps the machine busy; the second one fills the gaps at a unit's beginning and end.
UNITS_AT_ONCE = 2
# Of itself Dataflow gives older GPUs, the T4 among them, a driver 4xx, too old for CUDA 12 and 13.
_DRIVER = "install-nvidia-driver:5xx"
_ONE_PROCESS = "no_use_multiple_sdk_containers"
# Without it Dataflow heeds resource hints in batch jobs only.
_STREAMING_HINTS = "enable_streaming_rightfitting"
_PROCESSES = ("use_multiple_sdk_containers", _ONE_PROCESS, "use_sibling_sdk_workers")
_DATAFLOWS_OWN = (
    (BeamWorkerOptions, "num_workers", "machines at first"),
    (BeamWorkerOptions, "autoscaling_algorithm", "autoscaling"),
    (BeamWorkerOptions, "worker_zone", "zone"),
    (GoogleCloudOptions, "service_account_email", "service account"),
    (BeamWorkerOptions, "network", "network"),
    (BeamWorkerOptions, "subnetwork", "subnetwork"),
    (BeamWorkerOptions, "use_public_ips", "public addresses"),
    (GoogleCloudOptions, "flexrs_goal", "FlexRS"),
    (GoogleCloudOptions, "dataflow_service_options", "service options"),
    (GoogleCloudOptions, "labels", "labels"),
)


@dataclass(frozen=True)
class Setting:
    """One line of what is said before launch.

    Attributes:
      name: what it is.
      value: what it will be.
      flag: what changes it.
      given: whether the user has chosen it.
    """

    name: str
    value: str
    flag: str
    given: bool


@dataclass(frozen=True)
class DataflowJob:
    """How a job will run on Dataflow.

    Attributes:
      name, project, region: of the job.
      settings: everything that was chosen, by the user or here.
      hints: resource hints of the one stage that holds fetch to write.
      watch: seconds between two looks for new files, in a streaming job; 0 for a batch job.
      warnings: what may go wrong there and cannot be known here; one line each.
    """

    name: str
    project: str
    region: str
    settings: tuple[Setting, ...]
    hints: Mapping[str, str] = field(default_factory=dict)
    watch: float = 0.0
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """Gives what is printed before launch."""
        rows = [(row.name, row.value, row.flag + (" (given)" if row.given else ""))
                for row in self.settings]  # fmt: skip
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(
            [
                f"Dataflow job {self.name}, project {self.project}, region {self.region}",
                *(f"  {n.ljust(widths[0])}  {v.ljust(widths[1])}  {f}" for n, v, f in rows),
            ]
        )


def is_chosen(options: PipelineOptions) -> bool:
    """Tells whether a job is to run on Dataflow."""
    runner = options.view_as(StandardOptions).runner or ""
    return runner.rpartition(".")[2].lower() in ("dataflowrunner", "dataflow")


def watch_seconds(options: PipelineOptions) -> float:
    """Gives the seconds between two looks of a streaming job; 0 for a batch job."""
    return options.view_as(ManifestOptions).watch or 0.0


def gpu_image(project: str, region: str) -> str:
    """Names the workers' image of GPU jobs that is used unless another one is given.

    `templates/flex` builds it and pushes it there.
    """
    path = project.replace(":", "/")  # domain-scoped projects: `example.com:photos`
    return f"{region}-docker.pkg.dev/{path}/alphabeam/alphabeam-gpu:{version('alphabeam')}"


def prepare(options: PipelineOptions, job: JobSettings) -> DataflowJob:
    """Fills in, in `options`, what the user left open.

    Args:
      options: as `dataflow_checks.check` left them.
      job: what will run.

    Raises:
      UsageError: two settings exclude each other.
    """
    cloud = options.view_as(GoogleCloudOptions)
    workers = options.view_as(BeamWorkerOptions)
    setup = options.view_as(SetupOptions)
    debug = options.view_as(DebugOptions)
    rows: list[Setting] = []

    def choose(view: PipelineOptions, option: str, name: str, default: object, flag: str) -> None:
        given = getattr(view, option)
        if given is None:
            setattr(view, option, default)
        shown = "Dataflow's own" if (given or default) is None else str(given or default)
        rows.append(Setting(name, shown, f"--{flag}", given is not None))

    watch = watch_seconds(options)
    if watch:
        options.view_as(StandardOptions).streaming = True
        rows.append(Setting("kind", f"streaming, a look every {watch:g} s", "--watch", True))
    gpu = gpu_for(options, job)
    hints = {}
    if watch and (gpu or options.view_as(StandardOptions).resource_hints):
        debug.add_experiment(_STREAMING_HINTS)
    if gpu:
        machine = gpu_machine(options)
        check_carries(machine, gpu)
        hints["accelerator"] = f"type:{gpu};count:1;machine_type:{machine};{_DRIVER}"
        chosen = options.view_as(DataflowOptions).gpu != "auto"
        rows.append(Setting("GPU", f"one {gpu} a machine that cuts out", "--gpu", chosen))
        rows.append(
            Setting("its machine", machine, "--machine_type", workers.machine_type is not None)
        )
    choose(workers, "machine_type", "other machines" if gpu else "machine", usual_machine(options),
           "machine_type")  # fmt: skip
    has_gpu = gpu or (asked_in_beams_words(options) and uses_gpu(job))
    choose(workers, "disk_size_gb", "disk, GB", GPU_DISK_GB if has_gpu else None, "disk_size_gb")
    choose(workers, "max_num_workers", "machines at most", None, "max_num_workers")
    image = gpu_image(cloud.project, cloud.region) if has_gpu else None
    choose(workers, "sdk_container_image", "image", image, "sdk_container_image")
    if not workers.sdk_container_image:
        if options.view_as(DataflowOptions).package_in_image:
            raise UsageError(
                "--package_in_image needs --sdk_container_image: Beam's own image has no alphabeam"
            )
        rows[-1] = Setting("image", "Beam's own", "--sdk_container_image", False)
    if setup.sdk_location == "default":
        setup.sdk_location = "container"  # Beam itself is in every image
    if setup.save_main_session is None:
        setup.save_main_session = False  # Beam would save this command's, where nothing is defined
    experiments = debug.experiments or []
    processes = [name for name in experiments if name in _PROCESSES]
    if not processes:
        debug.add_experiment(_ONE_PROCESS)
    shown = "one a machine" if _ONE_PROCESS in (processes or [_ONE_PROCESS]) else processes[0]
    rows.append(Setting("processes", shown, "--experiments", bool(processes)))
    choose(debug, "number_of_worker_harness_threads", "units at once, a process", UNITS_AT_ONCE,
           "number_of_worker_harness_threads")  # fmt: skip
    rows += _given(options)
    warnings = _warnings(job)
    if image is not None and workers.sdk_container_image == image:
        warnings += _differences(image)
    given = cloud.job_name
    cloud.job_name = given or _job_name(job.output)
    return DataflowJob(
        name=cloud.job_name,
        project=cloud.project,
        region=cloud.region,
        settings=tuple(rows),
        hints=hints,
        watch=watch,
        warnings=tuple(warnings),
    )


def _given(options: PipelineOptions) -> Iterator[Setting]:
    """Gives what was chosen of what is otherwise Dataflow's own, to be looked over once more."""
    for view, option, name in _DATAFLOWS_OWN:
        given = getattr(options.view_as(view), option)
        if given is not None:
            value = {True: "yes", False: "no"}.get(given) if isinstance(given, bool) else given
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            yield Setting(name, shown, f"--{option}", True)


def _job_name(output: str) -> str:
    """Names a job after its output; Dataflow wants lower-case letters, digits and dashes."""
    dataset = re.sub(r"[^a-z0-9]+", "-", storage.basename(output).lower()).strip("-")[:24]
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return "-".join(filter(None, ["alphabeam", dataset, moment, os.urandom(2).hex()]))


def _differences(image: str) -> list[str]:
    """Says where an image, as `templates/flex` builds it, has another Python or Beam than is here.

    Both have to be the same where a job is put together and where it runs.
    """
    here = {"Python": "{}.{}".format(*sys.version_info), "Apache Beam": version("apache-beam")}
    return [
        f"the image {image} has {name} {there}, and this is {here[name]}, so that workers may not "
        f"be able to read the job: launch with {name} {there}, or build an image with {here[name]} "
        f"and give --sdk_container_image"
        for name, there in GPU_IMAGE.items()
        if here[name] != there
    ]


def _warnings(job: JobSettings) -> list[str]:
    references = [
        (f"--engine {name}: the key", keys.API_KEY, settings.api_key)
        for name, settings in job.cutter.providers.items()
    ]
    if job.webhook is not None:
        references.append(("--webhook_url: the secret", SECRET_FLAG, job.webhook.secret))
    return [
        f"{what} is read by the workers, and Dataflow's have neither this machine's environment nor "
        f"its files: give {flag} gcp-secret:projects/… unless the image has it"
        for what, flag, reference in references
        if not keys.is_readable_elsewhere(reference)
    ]
