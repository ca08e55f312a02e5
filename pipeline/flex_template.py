"""`alphabeam run` as a Dataflow Flex Template: its parameters, and how they become flags.

Dataflow gives a template's parameters as `--name=value`, whatever their type, and shows and checks
them by a description, `templates/flex/metadata.json`, which `python -m
alphabeam.pipeline.flex_template` writes from the flags of `run`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import WorkerOptions as BeamWorkerOptions

from .options import RUN_GROUPS

# Launcher and workers share one image, so that nothing has to be sent along; and the launcher ends
# when the job begins.
_ALWAYS = ("--package_in_image", "--no_wait_until_finish")
_NOT_ASKED = ("package_in_image",)  # what a template always does
_REQUIRED = ("manifest", "output")
# Of Beam's own options, those that gcloud has no flag for.
_BEAM_GROUP = (BeamWorkerOptions, ("sdk_container_image", "disk_size_gb"))
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def main(argv: Sequence[str] | None = None) -> int:
    """Launches the job and returns without waiting for it.

    Args:
      argv: the parameters as the launcher gives them; None for the process's own.

    Returns:
      The exit code of `alphabeam run`.
    """
    from .cli import main as run

    return run(["run", *flags_of(sys.argv[1:] if argv is None else argv)])


def flags_of(parameters: Sequence[str]) -> list[str]:
    """Turns a template's parameters into flags of `alphabeam run`.

    Switches come as `--name=true` or `--name=false`, flags that may be repeated as one value with
    commas, and what was left open perhaps as nothing. What is no parameter of ours is Beam's and
    stays as it is.
    """
    actions = {action.dest: action for group in RUN_GROUPS for action in _actions(group)}
    flags = [*_ALWAYS]
    for parameter in parameters:
        name, equals, value = parameter.removeprefix("--").partition("=")
        action = actions.get(name)
        if action is None or not equals or not parameter.startswith("--"):
            flags.append(parameter)
        elif not value:
            continue  # a field of the console that was left empty
        elif isinstance(action, argparse._StoreTrueAction) and value.lower() in _TRUE:
            flags.append(f"--{name}")
        elif isinstance(action, argparse._StoreTrueAction) and value.lower() in _FALSE:
            continue
        elif isinstance(action, argparse._AppendAction):
            flags += [f"--{name}={one.strip()}" for one in value.split(",") if one.strip()]
        else:
            flags.append(parameter)
    return flags


def metadata() -> dict[str, Any]:
    """Describes the template as Dataflow wants it: one parameter a flag of `alphabeam run`."""
    parameters = [
        _parameter(action, (group.__doc__ or "").strip().rstrip("."))
        for group in RUN_GROUPS
        for action in _actions(group)
        if action.dest not in _NOT_ASKED
    ]
    group, names = _BEAM_GROUP
    parameters += [
        _parameter(action, "On Dataflow") for action in _actions(group) if action.dest in names
    ]
    return {
        "name": "alphabeam",
        "description": "Cuts the subjects out of image datasets.",
        "streaming": False,
        "parameters": parameters,
    }


def _actions(group: type[PipelineOptions]) -> Iterator[argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    group._add_argparse_args(parser)  # type: ignore[arg-type]
    yield from parser._actions


def _parameter(action: argparse.Action, group: str) -> dict[str, Any]:
    text = " ".join((action.help or "").split()).rstrip(".")
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if isinstance(action, argparse._AppendAction):
        text = text.replace("; repeatable", "") + "; several with commas between"
    described: dict[str, Any] = {
        "name": action.dest,
        "label": action.dest.replace("_", " ").capitalize() + (f" ({metavar})" if metavar else ""),
        "helpText": f"{text[:1].upper()}{text[1:]}.",
        "isOptional": action.dest not in _REQUIRED,
        "paramType": "TEXT",
        "groupName": group,
    }
    if isinstance(action, argparse._StoreTrueAction):
        described |= {"paramType": "BOOLEAN", "defaultValue": "false"}
    elif action.choices is not None:
        options = [{"value": str(choice), "label": str(choice)} for choice in action.choices]
        described |= {"paramType": "ENUM", "enumOptions": options}
    elif action.type in (int, float):
        described["paramType"] = "NUMBER"
    if action.default not in (None, False, ""):
        described["defaultValue"] = str(action.default)
    return described


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2, ensure_ascii=False))
