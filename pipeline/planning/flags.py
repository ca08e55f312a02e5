"""The flags of `alphabeam plan`, and what they say put together with what the manifest says."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

from ...transforms import storage
from ...transforms.providers.catalogue import ADAPTERS
from ..dataflow import GPU_DISK_GB, UNITS_AT_ONCE
from ..errors import UsageError
from ..gpus import GPU_MACHINES, check_family
from ..layouts.catalogue import LAYOUTS
from ..manifest import ManifestUnusable, open_manifest
from ..manifests.tally import Look
from ..plan import Plan, engine_names, make_plan
from .machines import Machine, find_machine
from .terms import Figure, Terms
from .trial import Trial, read_trial
from .workload import measure

_GIVEN = "given"
_DISK_GB = 25  # Dataflow's own choice for batch jobs

# Flags of figures that are numbers above zero, and the terms that they set.
_FIGURES = {
    "images_per_second": "rate",
    "image_bytes": "image_bytes",
    "cutout_bytes": "cutout_bytes",
    "machine_usd_per_hour": "usd_per_hour",
    "network_gbit": "network_gbit",
    "fetch_seconds": "fetch_seconds",
    "request_seconds": "request_seconds",
    "provider_seconds": "provider_seconds",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags to a command's parser."""
    add = parser.add_argument
    add("--manifest", metavar="URI", required=True, help="as for run")
    add("--engine", metavar="NAME", default="grabcut", help="as for run (grabcut)")
    add("--image_column", metavar="NAME", help="as for run")
    add("--key_column", metavar="NAME", help="as for run")
    add("--unit_size", type=int, default=256, metavar="ROWS", help="as for run (256)")
    add("--layout", default="files", metavar="NAME", help="as for run (files)")
    add("--save_mask", action="store_true", help="as for run")
    add(
        "--output",
        metavar="URI",
        help="as for run, and only to tell a disk from a store: nothing is looked at or written "
        "(Google Cloud Storage)",
    )
    measured = parser.add_argument_group("What is known of the run")
    add = measured.add_argument
    add(
        "--trial",
        metavar="OUTPUT",
        help="a finished run over a sample: its speed and its pictures' sizes are taken",
    )
    add("--images_per_second", type=float, metavar="N", help="of one worker, as measured there")
    add("--image_bytes", type=float, metavar="N", help="of a source picture, on average")
    add("--cutout_bytes", type=float, metavar="N", help="of a cutout, on average")
    add("--fetch_threads", type=int, default=16, metavar="N", help="as for run (16)")
    add("--fetch_seconds", type=float, metavar="N", help="to fetch one picture (0.1)")
    add("--request_seconds", type=float, metavar="N", help="a small request to the store (0.05)")
    add("--provider_seconds", type=float, metavar="N", help="a picture at the provider (2)")
    add("--provider_concurrency", type=int, metavar="N", help="as for run (the provider's own)")
    machines = parser.add_argument_group("The workers")
    add = machines.add_argument
    add("--workers", type=int, default=1, metavar="N", help="at the same time (1)")
    add(
        "--machine",
        metavar="TYPE",
        help="of Google Cloud, such as e2-standard-4 (with --gpu as for run, else none of theirs)",
    )
    add("--gpu", metavar="TYPE[:N]", help="as for run, such as nvidia-l4 or nvidia-tesla-t4:2")
    add("--disk_gb", type=float, metavar="N", help="of a worker (as for run)")
    add("--network_gbit", type=float, metavar="N", help="gigabits a second of a worker (10)")
    add(
        "--machine_usd_per_hour",
        type=float,
        metavar="USD",
        help="what you pay for a worker, instead of the list price",
    )


def plan_of(given: argparse.Namespace) -> Plan:
    """Plans what the flags ask for.

    Raises:
      UsageError: a flag will not do, or the manifest cannot be used.
    """
    for flag in ("unit_size", "workers", "fetch_threads", "provider_concurrency", "disk_gb"):
        _positive(flag, getattr(given, flag))
    if given.layout not in LAYOUTS:
        raise UsageError(f"--layout {given.layout!r} is unknown: use one of {', '.join(LAYOUTS)}")
    engines = engine_names(given.engine)
    machine = _machine(given)
    hosted = next((ADAPTERS[name] for name in engines if name in ADAPTERS), None)
    remote = given.output is None or not storage.is_local(given.output)
    terms = Terms(
        unit_size=given.unit_size,
        layout=given.layout,
        save_mask=given.save_mask,
        workers=given.workers,
        machine=machine,
        disk_gb=given.disk_gb or (GPU_DISK_GB if machine and machine.gpus else _DISK_GB),
        units_at_once=UNITS_AT_ONCE if machine else 1,
        fetch_threads=given.fetch_threads,
        hosted=hosted,
        hosted_first=engines[0] in ADAPTERS,
        provider_concurrency=given.provider_concurrency or (hosted.concurrency if hosted else 0),
    )
    if not remote:
        terms = replace(terms, request_seconds=Figure(0.0005, "assumed of a disk"))
    if given.trial:
        terms = _as_in(read_trial(given.trial), terms)
    try:
        manifest = open_manifest(
            given.manifest, given.image_column, given.key_column, Look(identify=False)
        )
        workload = measure(manifest, given.unit_size)
    except ManifestUnusable as error:
        raise UsageError(f"--manifest: {error}") from error
    if workload.picture_bytes is not None:
        terms = replace(
            terms, image_bytes=Figure(workload.picture_bytes, "as the manifest's files say")
        )
    return make_plan(workload, engines, _as_given(given, terms), remote=remote)


def _machine(given: argparse.Namespace) -> Machine | None:
    name = given.machine
    if name is None and given.gpu:
        kind = given.gpu.partition(":")[0]
        if kind not in GPU_MACHINES:
            raise UsageError(
                f"--gpu {kind}: known are {', '.join(GPU_MACHINES)}; another one needs --machine "
                f"with a machine that carries it"
            )
        name = GPU_MACHINES[kind]
    if name is None:
        return None
    machine = find_machine(name, given.gpu)
    if given.gpu:
        check_family(name, machine.gpu_kind, "machine")
    return machine


def _as_in(trial: Trial, terms: Terms) -> Terms:
    source = f"measured over {trial.rows:,} rows with {trial.engine} in {trial.output}"
    return replace(
        terms,
        rate=Figure(trial.rate, source),
        # What a row stores is measured as a whole, mattes and rows of `data/` included.
        cutout_bytes=Figure(trial.stored_bytes, f"{source}, with all else that is stored of it"),
        mask_bytes=Figure(0.0, source),
    )


def _as_given(given: argparse.Namespace, terms: Terms) -> Terms:
    figures = {}
    for flag, term in _FIGURES.items():
        value = getattr(given, flag)
        _positive(flag, value)
        if value is not None:
            figures[term] = Figure(value, _GIVEN)
    return replace(terms, **figures)


def _positive(flag: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        wanted = "greater than 0" if value <= 0 else "finite"
        raise UsageError(f"--{flag} must be {wanted}: given {value:g}")
