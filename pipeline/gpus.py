"""Which GPU the workers of a Dataflow job have, and on which machine."""

from __future__ import annotations

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)

from ..transforms.engines import registry
from .dataflow_options import DEFAULT_GPU, DataflowOptions
from .errors import UsageError
from .planning.machines import comes_with_gpus, find_machine
from .settings import JobSettings

# What carries one of each on Compute Engine, with eight vCPUs or the next more: decoding and PNG
# writing for one GPU keep about that many busy.
GPU_MACHINES = {
    "nvidia-l4": "g2-standard-8",
    "nvidia-tesla-t4": "n1-standard-8",
    "nvidia-tesla-v100": "n1-standard-8",
    "nvidia-tesla-a100": "a2-highgpu-1g",
    "nvidia-a100-80gb": "a2-ultragpu-1g",
    "nvidia-h100-80gb": "a3-highgpu-1g",
}
MACHINE = "e2-standard-4"
_EVERYWHERE = "worker_accelerator="


def gpu_for(options: PipelineOptions, job: JobSettings) -> str | None:
    """Gives the GPU to ask for; None for none, or when the user asks in Beam's own words."""
    given = options.view_as(DataflowOptions).gpu
    own_words = asked_in_beams_words(options)
    if own_words and given not in ("auto", "none"):
        raise UsageError(f"--gpu {given} and {own_words} exclude each other: give one of them")
    if given == "none" or own_words:
        return None
    if given == "auto":
        if not uses_gpu(job):
            return None
        given = DEFAULT_GPU
    if options.view_as(GoogleCloudOptions).flexrs_goal:
        raise UsageError(
            "--flexrs_goal: FlexRS has no GPUs: leave it out, or give --gpu none"
        )  # fmt: skip
    return given


def uses_gpu(job: JobSettings) -> bool:
    """Tells whether an engine of a job can use a GPU and is not told to leave it."""
    return any(
        registry.can_use_gpu(name) and options.get("device") != "cpu"
        for name, options in job.cutter.options.items()
    )


def asked_in_beams_words(options: PipelineOptions) -> str | None:
    """Gives the flag of Beam's by which the user asks for GPUs."""
    for hint in options.view_as(StandardOptions).resource_hints or ():
        if hint.startswith("accelerator="):
            return f"--resource_hint {hint}"
    everywhere = _asked_everywhere(options)
    return f"--dataflow_service_options {everywhere}" if everywhere else None


def usual_machine(options: PipelineOptions) -> str | None:
    """Gives the machines of all that does not cut out; None for those that Dataflow chooses.

    A service option of Beam's puts a GPU into every machine, and not every machine carries one.
    """
    everywhere = _asked_everywhere(options)
    if everywhere is None:
        return MACHINE
    parts = everywhere.removeprefix(_EVERYWHERE).split(";")
    asked = dict(part.split(":", 1) for part in parts if ":" in part)
    return GPU_MACHINES.get(asked.get("type", "")) if asked.get("count") == "1" else None


def _asked_everywhere(options: PipelineOptions) -> str | None:
    """Gives the service option that puts a GPU into every machine."""
    given = options.view_as(GoogleCloudOptions).dataflow_service_options or ()
    return next((option for option in given if option.startswith(_EVERYWHERE)), None)


def gpu_machine(options: PipelineOptions) -> str:
    """Gives the machines that cut out.

    Raises:
      UsageError: nobody knows which one carries the GPU that was asked for.
    """
    given = options.view_as(DataflowOptions).gpu
    machine = options.view_as(WorkerOptions).machine_type
    if machine:
        return machine
    if given == "auto":
        return GPU_MACHINES[DEFAULT_GPU]
    if given == "none":
        return MACHINE
    if given not in GPU_MACHINES:
        raise UsageError(
            f"--gpu {given}: known are {', '.join(GPU_MACHINES)}; another one needs "
            f"--machine_type with a machine that carries it"
        )
    return GPU_MACHINES[given]


def check_carries(machine: str, gpu: str) -> None:
    """Refuses a machine that is known not to carry one GPU of a kind, and no more.

    Raises:
      UsageError: it is of another family, or comes with more of them.
    """
    check_family(machine, gpu, "machine_type")
    if comes_with_gpus(machine):
        find_machine(machine, f"{gpu}:1")


def check_family(machine: str, gpu: str, flag: str) -> None:
    """Refuses a machine that is known not to carry GPUs of a kind: each is to be had with one family.

    Args:
      machine: its type.
      gpu: their kind.
      flag: that chose the machine.

    Raises:
      UsageError: it is of another family.
    """
    usual = GPU_MACHINES.get(gpu)
    if usual is None:
        return
    family = usual.partition("-")[0]
    if machine.partition("-")[0].replace("custom", "n1") != family:
        raise UsageError(
            f"--{flag} {machine} carries no {gpu}: give one of the {family} family, such as "
            f"{usual}, or no --gpu of that kind"
        )
