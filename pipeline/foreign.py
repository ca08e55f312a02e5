"""The whole job for pipelines that give plain values only: Beam YAML and other languages."""

from __future__ import annotations

import argparse
import difflib
import json
from dataclasses import asdict
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import PBegin, PCollection, Row
from apache_beam.typehints.row_type import RowTypeConstraint

from . import dataflow
from . import job as jobs
from .dataflow_checks import check_places
from .dataset import begin
from .dry_run import is_dry_run
from .errors import UsageError
from .options import GROUPS
from .resumable import check_output
from .settings import settings_from_options
from .unit import UnitReport

# What only the command line can do.
_NOT_HERE = ("verbose", "watch")

_REPORT_TYPE = RowTypeConstraint.from_fields(
    [
        ("unit", str),
        ("rows", int),
        ("done", int),
        ("failed", int),
        ("errors", dict[str, int]),
        ("fresh", int),
    ]
)


class CutOutDataset(beam.PTransform):
    """Makes the whole dataset of a manifest, as `alphabeam run` does; gives a row for each unit.

    Takes no input. The options are the flags of `alphabeam run` and have their names; a dataset
    that is there already is resumed. Where more rows fail than `max_error_rate` allows, the
    pipeline fails once everything is committed. The rows that come out have the columns `unit`,
    `rows`, `done`, `failed`, `errors` (failed rows by kind of error) and `fresh` (pictures that
    this run worked on).
    """

    _yaml_requires_inputs = False

    def __init__(self, **options: Any) -> None:
        """Checks the names of the options, and the form of their values.

        Raises:
          UsageError: there is no such flag, or its value will not do.
        """
        super().__init__()
        self._flags = _flags(options)
        _parser().parse_args(self._flags)

    def expand(self, pbegin: PBegin) -> PCollection:
        options = PipelineOptions(self._flags)
        around = pbegin.pipeline.options
        options.view_as(StandardOptions).runner = around.view_as(StandardOptions).runner
        on_dataflow = dataflow.is_chosen(around)
        if on_dataflow:
            check_places(options)
        job = settings_from_options(options)
        if on_dataflow and is_dry_run(around):  # which other runners do not heed
            check_output(job)
        else:
            begin(job)
        reports = pbegin | "Job" >> jobs.CutOutDataset(job, strict=True)
        rows: Any = reports | "Rows" >> beam.Map(_report_row).with_output_types(_REPORT_TYPE)
        return rows


def _report_row(report: UnitReport) -> Row:
    return Row(**asdict(report))


class _Parser(argparse.ArgumentParser):
    """Says what is wrong to whoever builds the pipeline, instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"CutOutDataset: {message.removeprefix('argument ')}")


def _parser() -> _Parser:
    parser: Any = _Parser(add_help=False, allow_abbrev=False)
    for group in GROUPS:
        group._add_argparse_args(parser)
    return parser


def _actions() -> dict[str, argparse.Action]:
    return {action.dest: action for action in _parser()._actions if action.dest not in _NOT_HERE}


def _flags(options: dict[str, Any]) -> list[str]:
    """Turns options into the flags of the command line."""
    actions = _actions()
    flags = []
    for name, value in options.items():
        if name not in actions:
            nearest = difflib.get_close_matches(name, actions, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "see alphabeam run --help"
            raise UsageError(f"CutOutDataset has no option {name!r}: {hint}")
        if actions[name].nargs == 0:
            if not isinstance(value, bool):
                raise UsageError(f"CutOutDataset: {name} is true or false: given {value!r}")
            flags += [f"--{name}"] if value else []
        elif isinstance(value, list) and isinstance(actions[name], argparse._AppendAction):
            flags += [f"--{name}={one}" for one in value]
        elif value is not None:
            flags.append(f"--{name}={_text(value)}")
    return flags


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)
