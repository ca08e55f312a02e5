"""The commands of `alphabeam`: their arguments, and what they do."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from ..transforms.engines import registry
from ..transforms.providers.catalogue import ADAPTERS
from . import launch, watching
from .errors import UsageError, in_a_line
from .options import RUN_GROUPS
from .planning.flags import add_flags, plan_of

DONE, BROKEN = 0, 1


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removeprefix('argument ')}: see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands; each sets `function`, which runs it.

    It raises `UsageError` for arguments that it cannot parse.
    """
    whole = _Parser(
        prog="alphabeam", description="Cuts the subjects out of image datasets, on Apache Beam."
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")

    run = _command(commands, "run", _run, "make a dataset of cutouts; resumes where it stopped")
    run.usage = "alphabeam run --manifest URI --output URI [flags] [any flag of a Beam runner]"
    run.epilog = (
        "Every flag of Apache Beam's runners works as well, for example --direct_num_workers 2 "
        "or --runner DataflowRunner --project P --region R --temp_location gs://B/tmp, which is "
        "waited for unless --no_wait_until_finish is given. "
        "Exit codes: 0 done, 1 done with something broken, 2 unusable arguments."
    )
    for group in RUN_GROUPS:
        flags: Any = run.add_argument_group((group.__doc__ or "").strip().rstrip("."))
        group._add_argparse_args(flags)
    looking = run.add_argument_group("Looking first")
    looking.add_argument(
        "--dry_run",
        nargs="?",
        const="True",
        metavar="True",
        help="check every flag, the manifest and the output, and end there",
    )

    demo = _command(commands, "demo", _demo, "cut out real photographs; no download, no GPU")
    demo.add_argument("folder", nargs="?", default="demo", help="where to (demo)")

    _command(commands, "engines", _engines, "what can be used here and why not")

    report = _command(commands, "report", _report, "write report.html: look at a dataset, judge it")
    report.add_argument("output", help="the dataset's folder")

    verify = _command(commands, "verify", _verify, "check every promise of a dataset")
    verify.add_argument("output", help="the dataset's folder")
    verify.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="look at N pictures only, chosen anew each time; markers and files are always checked",
    )

    compact = _command(commands, "compact", _compact, "merge many small Parquet files into few")
    compact.add_argument("output", help="the dataset's folder")
    limit = compact.add_mutually_exclusive_group()
    limit.add_argument(
        "--target_bytes", type=int, metavar="N", help="size of a merged file (268,435,456)"
    )
    limit.add_argument("--rows_per_file", type=int, metavar="N", help="or its rows")

    evaluate = _command(
        commands, "evaluate", _evaluate, "compare a dataset's mattes with the truth"
    )
    evaluate.add_argument("output", help="the dataset's folder")
    evaluate.add_argument("--truth", metavar="MANIFEST", help="masks: a manifest or a folder")
    evaluate.add_argument("--truth_column", metavar="NAME", help="holds the masks (by name)")
    evaluate.add_argument("--against", metavar="OTHER", help="another dataset of the same pictures")
    evaluate.add_argument("--csv", metavar="FILE", help="write the rows there as CSV, too")
    evaluate.add_argument("--no_report", action="store_true", help="do not write report.html anew")
    evaluate.add_argument(
        "--allow_private_hosts", action="store_true", help="fetch masks from such hosts, too"
    )

    plan = _command(commands, "plan", _plan, "what a run would take and cost; nothing is sent")
    add_flags(plan)

    _command(commands, "yaml", _yaml, "where the transforms for Beam YAML are: a providers file")

    watch = _command(commands, "watch", _watch, "live progress of a run, read from its commits")
    watch.add_argument("output", help="the dataset's folder")
    return whole


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    function: Callable[[argparse.Namespace, list[str]], int],
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(function=function)
    return parser


def _run(given: argparse.Namespace, rest: list[str]) -> int:
    flags = [*_flags_of(given), *rest]
    _refuse_unknown(rest)
    run = watching.run if given.watch else launch.run
    summary = run(PipelineOptions(flags))
    print(summary.text())
    return BROKEN if summary.broken else DONE


def _flags_of(given: argparse.Namespace) -> list[str]:
    """Turns parsed arguments of ours back into flags, which Beam parses into its options."""
    flags = []
    for name, value in vars(given).items():
        if name in ("command", "function") or value is None or value is False:
            continue
        if value is True:
            flags.append(f"--{name}")
        else:
            values = value if isinstance(value, list) else [value]
            flags += [f"--{name}={one}" for one in values]
    return flags


def _refuse_unknown(rest: list[str]) -> None:
    """Refuses flags that neither we nor any Beam runner know; Beam itself would drop them.

    Raises:
      UsageError: there is one, and the message names the nearest known flag; or the value of one
        of Beam's will not do.
    """
    parser: Any = _Parser(
        "alphabeam run", allow_abbrev=False, add_help=False, conflict_handler="resolve"
    )
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(rest)
    if not unknown:
        return
    known = [flag for action in parser._actions for flag in action.option_strings]
    flag = unknown[0].split("=")[0]
    nearest = difflib.get_close_matches(flag, known, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise UsageError(f"unknown argument {unknown[0]!r}: {hint}see alphabeam run --help")


def _demo(given: argparse.Namespace, _: list[str]) -> int:
    from .demo import write_demo_manifest

    try:
        manifest = write_demo_manifest(given.folder)
    except OSError as error:
        raise UsageError(
            f"{given.folder} cannot be written: {in_a_line(error)}; give a folder you may write to"
        ) from error
    output = os.path.join(given.folder, "dataset")
    summary = launch.run(
        PipelineOptions(["--manifest", manifest, "--output", output, "--partition_by", "subject"])
    )
    print(summary.text())
    return BROKEN if summary.broken else DONE


def _engines(given: argparse.Namespace, _: list[str]) -> int:
    for entry in registry.entries().values():
        missing = entry.missing()
        print(f"{entry.name:20} {'ready' if missing is None else missing}")
        print(f"{'':20} {entry.summary}")
        weights = entry.model and f"{entry.model}, revision {entry.revision}"
        for what, value in (
            ("weights", weights),
            ("licence of these weights" if weights else "licence", entry.licence),
            ("sees", entry.preprocessing),
        ):
            if value:
                print(f"{'':20} {what}: {value}")
    for name, adapter in ADAPTERS.items():
        ready = adapter.key_variable in os.environ
        print(f"{name:20} {'ready' if ready else f'needs a key in {adapter.key_variable}'}")
        price = adapter.price
        print(f"{'':20} hosted: ${price.usd:g} per {price.unit} ({price.source}, {price.checked})")
    return DONE


def _report(given: argparse.Namespace, _: list[str]) -> int:
    from .report import write_report

    print(write_report(given.output))
    return DONE


def _verify(given: argparse.Namespace, _: list[str]) -> int:
    from .verify import verify

    result = verify(given.output, given.sample, progress=True)
    for fault in result.faults:
        print(fault)
    if result.broken > len(result.faults):
        print(f"and {result.broken - len(result.faults):,} more")
    print(result.text())
    return BROKEN if result.faults else DONE


def _evaluate(given: argparse.Namespace, _: list[str]) -> int:
    from .evaluate import evaluate
    from .evaluation.files import check_csv, write_evaluation
    from .evaluation.text import text

    if not given.truth:
        raise UsageError(
            "--truth is missing: give a manifest with a column of masks, or a folder of masks, for "
            "example --truth masks/"
        )
    if given.csv:
        check_csv(given.csv)
    result = evaluate(
        given.output,
        given.truth,
        truth_column=given.truth_column,
        against=given.against,
        allow_private_hosts=given.allow_private_hosts,
    )
    print(text(given.output, result.summary))
    write_evaluation(given.output, result.table, result.summary, given.csv)
    if not given.no_report:
        _show_in_report(given.output)
    return BROKEN if result.broken else DONE


def _show_in_report(output: str) -> None:
    from .report import ReportUnavailable, write_report

    try:
        print(f"report: {write_report(output)}#truth")
    except ReportUnavailable as error:
        print(error, file=sys.stderr)


def _plan(given: argparse.Namespace, _: list[str]) -> int:
    print(plan_of(given).text())
    return DONE


def _compact(given: argparse.Namespace, _: list[str]) -> int:
    from .compact import compact

    summary = compact(given.output, given.target_bytes, given.rows_per_file, progress=True)
    print(summary.text())
    return DONE


def _yaml(given: argparse.Namespace, _: list[str]) -> int:
    print(os.path.join(os.path.dirname(__file__), "yaml", "providers.yaml"))
    return DONE


def _watch(given: argparse.Namespace, _: list[str]) -> int:
    from .dataset import require_dataset
    from .progress import watch

    require_dataset(given.output)
    watch(given.output, lambda line: print(line, flush=True))
    return DONE
