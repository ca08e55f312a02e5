"""Which of Beam's runners a job runs on."""

from __future__ import annotations

import difflib
import logging

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from .dataflow_options import DataflowOptions
from .errors import UsageError

_LOG = logging.getLogger("alphabeam")


def choose_runner(options: PipelineOptions) -> None:
    """Spells the runner as Beam does, and pins the local one.

    DirectRunner becomes FnApiRunner, since it picks another runner online than offline.

    Raises:
      UsageError: there is no such runner, or it cannot be used here, or a flag is for Dataflow or
        out of range.
    """
    _refuse_unused(options.view_as(DataflowOptions))
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        raise UsageError(f"--direct_num_workers is 0 for all cores, or more: given {workers}")
    standard = options.view_as(StandardOptions)
    if standard.runner is None:
        standard.runner = "FnApiRunner"
        return
    name = _spelt(standard.runner)
    if name == "DirectRunner":
        _LOG.info("--runner=DirectRunner runs on FnApiRunner, the same one online and offline")
        name = "FnApiRunner"
    try:
        create_runner(name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--runner {name} cannot be used: {error}") from error
    standard.runner = name


def _refuse_unused(given: DataflowOptions) -> None:
    if given.gpu not in ("auto", "none"):
        flag = f"--gpu {given.gpu}"
    elif given.package_in_image:
        flag = "--package_in_image"
    else:
        return
    raise UsageError(
        f"{flag} is of workers on Dataflow: give --runner DataflowRunner, or leave it out"
    )


def _spelt(given: str) -> str:
    """Finds a runner's name as Beam does: in any case, and without `Runner` at its end."""
    names = StandardOptions.KNOWN_RUNNER_NAMES
    for name in names:
        if name.lower() in (given.lower(), f"{given.lower()}runner"):
            return name
    if "." in given:
        return given
    nearest = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise UsageError(
        f"--runner {given} is unknown: {hint}Beam has {', '.join(sorted(names))}, and takes a class "
        "as package.module.Class"
    )
