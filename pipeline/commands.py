"""The commands of `alphabeam`: their arguments, and what they do."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable

from apache_beam.options.pipeline_options import PipelineOptions

from ..transforms.engines import registry
from . import launch
from .errors import UsageError
from .options import GROUPS

DONE, BROKEN = 0, 1


def parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands; each sets `function`, which runs it."""
    whole = argparse.ArgumentParser(
        prog="alphabeam", description="Cuts the subjects out of image datasets, on Apache Beam."
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")

    run = _command(commands, "run", _run, "make a dataset of cutouts; resumes where it stopped")
    run.usage = "alphabeam run --manifest URI --output URI [flags] [any flag of a Beam runner]"
    run.epilog = (
        "Every flag of Apache Beam's runners works as well, for example --direct_num_workers 2 "
        "or --runner DataflowRunner --project P --region R --temp_location gs://B/tmp. "
        "Exit codes: 0 done, 1 done with something broken, 2 unusable arguments."
    )
    for group in GROUPS:
        group._add_argparse_args(run.add_argument_group((group.__doc__ or "").strip()))

    demo = _command(commands, "demo", _demo, "cut out real photographs; no download, no GPU")
    demo.add_argument("folder", nargs="?", default="demo", help="where to (demo)")

    _command(commands, "engines", _engines, "what can be used here and why not")

    verify = _command(commands, "verify", _verify, "check every promise of a dataset")
    verify.add_argument("output", help="the dataset's folder")

    watch = _command(commands, "watch", _watch, "live progress of a run, read from its commits")
    watch.add_argument("output", help="the dataset's folder")
    return whole


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
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
    summary = launch.run(PipelineOptions(flags))
    print(summary.text())
    return BROKEN if summary.broken else DONE


def _flags_of(given: argparse.Namespace) -> list[str]:
    """Turns parsed arguments of ours back into flags, which Beam parses into its options."""
    flags = []
    for name, value in vars(given).items():
        if name in ("command", "function") or value is None or value is False:
            continue
        flags += [f"--{name}"] if value is True else [f"--{name}={value}"]
    return flags


def _refuse_unknown(rest: list[str]) -> None:
    """Refuses flags that neither we nor any Beam runner know; Beam itself would drop them.

    Raises:
      UsageError: there is one; the message names the nearest known flag.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
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

    manifest = write_demo_manifest(given.folder)
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
        details = ". ".join(
            filter(None, [entry.summary, entry.licence and f"Licence: {entry.licence}"])
        )
        print(f"{'':20} {details}")
    return DONE


def _verify(given: argparse.Namespace, _: list[str]) -> int:
    from .verify import verify

    result = verify(given.output)
    for fault in result.faults:
        print(fault)
    print(result.text())
    return BROKEN if result.faults else DONE


def _watch(given: argparse.Namespace, _: list[str]) -> int:
    from .dataset import require_dataset
    from .progress import watch

    require_dataset(given.output)
    watch(given.output, lambda line: print(line, flush=True))
    return DONE
