"""Writes docs/reference/ from the code, and the index of how-tos from their titles.

Run as `python docs/generate.py`, or `make reference`.

Nothing in these pages is written by hand, so they cannot say what is not so; a test fails when they
are not what the code gives.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import alphabeam.transforms as transforms
from alphabeam.pipeline import commands, dataset
from alphabeam.pipeline.column_meanings import MEANINGS
from alphabeam.pipeline.columns import data_schema, error_schema
from alphabeam.transforms.engines.catalog import BUILT_IN
from alphabeam.transforms.mask_stats import MaskStats
from alphabeam.transforms.providers.catalogue import ADAPTERS

DOCS = Path(__file__).parent
FOLDER = DOCS / "reference"
INDEX = DOCS / "README.md"
_NOTE = "<!-- Made by docs/generate.py from the code: change that, and run `make reference`. -->"
_SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields", "Example")


def pages() -> dict[str, str]:
    """Gives every page by file name."""
    made = {
        "commands.md": _commands(),
        "columns.md": _columns(),
        "engines.md": _engines(),
        "api.md": _api(),
    }
    return {name: f"{_NOTE}\n\n{text.rstrip()}\n" for name, text in made.items()}


def index() -> str:
    """Gives docs/README.md with its list of how-tos as they are there."""
    lines = []
    for page in sorted((DOCS / "how-to").glob("*.md")):
        title = page.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}](how-to/{page.name})")
    before, _, rest = INDEX.read_text("utf-8").partition("**Do.**\n\n")
    _, _, after = rest.partition("\n\n")
    return f"{before}**Do.**\n\n" + "\n".join(lines) + f"\n\n{after}"


def _commands() -> str:
    whole = commands.parser()
    subparsers: Any = next(
        action for action in whole._actions if isinstance(action, argparse._SubParsersAction)
    )
    parts = [
        "# Commands",
        "`alphabeam COMMAND`, also `python -m alphabeam.pipeline COMMAND`. Exit codes: 0 done, 1 done "
        "with something broken, 2 unusable arguments, 130 interrupted, 141 nobody read on what was "
        "printed. Defaults are in parentheses.",
    ]
    for name, parser in subparsers.choices.items():
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        parts += [f"## alphabeam {name}", parser.description]
        if name == "run":
            parts += [f"`{parser.usage}`", parser.epilog]
        else:
            parts.append(f"`{usage.replace('[-h] ', '').replace(' [-h]', '')}`")
        for group in parser._action_groups:
            actions = [one for one in group._group_actions if one.dest != "help"]
            if not actions:
                continue
            if name == "run":
                parts.append(f"### {str(group.title).rstrip('.')}")
            parts.append(_table(("argument", "meaning"), map(_argument, actions)))
    return "\n\n".join(parts)


def _argument(action: argparse.Action) -> tuple[str, str]:
    value = action.metavar or ("|".join(action.choices) if action.choices else "")
    flag = action.option_strings[0] if action.option_strings else action.dest.upper()
    shown = f"{flag} {value}" if action.option_strings and action.nargs != 0 and value else flag
    return f"`{_cell(str(shown))}`", _cell(action.help or "")


def _columns() -> str:
    exact = _attributes(MaskStats)
    plain = pa.schema([])
    return "\n\n".join(
        [
            "# Columns",
            "Names, types and order are fixed. The manifest's own columns follow, unchanged; those "
            "whose names are taken get the prefix `manifest_`. Partition columns are folders "
            "and not in the files; with `--layout embedded` they are both.",
            "## `data/`: one row a cutout",
            _table(("column", "type", "meaning"), _fields(data_schema(plain, ()))),
            "With `--layout embedded` the pictures come first, as Hugging Face `Image` columns: "
            f"`image` ({MEANINGS['image']}) and, with `--save_mask`, `mask` ({MEANINGS['mask']}).",
            "## The quality columns, exactly",
            _sections(MaskStats)[0],
            _table(("columns", "definition"), ((f"`{k}`", _cell(v)) for k, v in exact)),
            "## `errors/`: one row a picture that failed",
            _table(("column", "type", "meaning"), _fields(error_schema(plain))),
        ]
    )


def _fields(schema: pa.Schema) -> Iterator[tuple[str, str, str]]:
    for field in schema:
        yield (
            f"`{field.name}`",
            str(field.type).replace("<element: ", "<"),
            _cell(MEANINGS[field.name]),
        )


def _engines() -> str:
    local = (
        (
            f"`{entry.name}`",
            entry.summary,
            f"{entry.model}, {entry.revision}" if entry.model else "",
            entry.preprocessing,
            entry.licence,
            f"`{entry.extra}`" if entry.extra else "",
        )
        for entry in BUILT_IN
    )
    hosted = (
        (
            f"`{name}`",
            f"`{adapter.model}`",
            f"${adapter.price.usd:g} per {adapter.price.unit}",
            f"{adapter.price.source}, {adapter.price.checked}",
            f"`{adapter.key_variable}`",
            ", ".join(sorted(adapter.takes)),
        )
        for name, adapter in ADAPTERS.items()
    )
    parts = [
        "# Engines",
        "`alphabeam engines` says what of this can be used where you are. Weights are not part of "
        "this package; their licences and the providers' terms are theirs.",
        "## Models that run here",
        _table(("engine", "what it is", "weights", "sees", "licence", "extra"), local),
        "## Hosted models",
        _table(("engine", "model", "price", "read where and when", "key", "takes"), hosted),
        "### Their options",
        '`--provider_options` takes them as JSON, for example `{"transport": "sync"}`; for a chain by '
        "provider.",
    ]
    for name, adapter in ADAPTERS.items():
        options = [one for base in adapter.options_type.__mro__ for one in _attributes(base)]
        fields = {field.name: field for field in dataclasses.fields(adapter.options_type)}
        parts.append(f"#### `{name}`")
        if not fields:
            parts.append("None.")
            continue
        meanings = {one.strip(): text for names, text in options for one in names.split(",")}
        parts.append(
            _table(
                ("option", "type", "default", "meaning"),
                (
                    (
                        f"`{field.name}`",
                        f"`{_cell(str(field.type))}`",
                        f"`{field.default!r}`",
                        _cell(meanings.get(field.name, "")),
                    )
                    for field in fields.values()
                ),
            )
        )
    return "\n\n".join(parts)


def _api() -> str:
    parts = [
        "# Python API",
        "## `alphabeam.transforms`",
        "Names are imported when they are first used: the ones that touch pixels need no Beam.",
    ]
    parts += [_documented(name, getattr(transforms, name)) for name in transforms.__all__]
    parts.append("## `alphabeam.pipeline.dataset`")
    parts += [_documented(one.__name__, one) for one in (dataset.open_dataset, dataset.open_errors)]
    return "\n\n".join(parts)


def _documented(name: str, thing: Any) -> str:
    parts = [f"### `{name}{_signature(thing)}`", *_sections(thing)]
    if inspect.isclass(thing) and "__init__" in vars(thing) and thing.__init__.__doc__:
        parts += _sections(thing.__init__)
    if inspect.isclass(thing):
        for method, function in vars(thing).items():
            if not method.startswith("_") and inspect.isfunction(function) and function.__doc__:
                parts += [f"#### `{name}.{method}{_signature(function)}`", *_sections(function)]
    return "\n\n".join(parts)


def _signature(thing: Any) -> str:
    signature = inspect.signature(thing)
    shown = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    text = str(signature.replace(parameters=shown, return_annotation=inspect.Signature.empty))
    return re.sub(r"<factory>|<object object at 0x[0-9a-f]+>", "…", text)


def _sections(thing: Any) -> list[str]:
    """Turns a docstring in Google's style into Markdown."""
    text = inspect.getdoc(thing) or ""
    pieces = re.split(rf"^({'|'.join(_SECTIONS)}):\n", text, flags=re.MULTILINE)
    parts = [_paragraphs(pieces[0])]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        inner, _, after = _split_indented(body)
        if title == "Example":
            parts += ["Example:", textwrap.indent(inner, "    ")]
        elif title in ("Returns", "Yields"):
            parts.append(f"*{title}*: {_paragraphs(inner)}")
        else:
            lines = [f"- `{names}`: {_one_line(meaning)}" for names, meaning in _entries(inner)]
            parts += [f"*{title}*:", "\n".join(lines)]
        if after.strip():
            parts.append(_paragraphs(after))
    return [part for part in parts if part]


def _split_indented(body: str) -> tuple[str, str, str]:
    lines = body.split("\n")
    end = next((n for n, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end])).strip(), "", "\n".join(lines[end:])


def _entries(block: str) -> Iterator[tuple[str, str]]:
    """Takes `name: meaning` entries apart; deeper lines go on with the meaning above."""
    found: list[list[str]] = []
    for line in block.split("\n"):
        start = re.match(r"([\w, ]+?): ?(.*)", line) if not line.startswith(" ") else None
        if start:
            found.append([start[1], start[2]])
        elif found:
            found[-1][1] += f"\n{line}"
        elif line.strip():
            found.append(["", line])
    yield from ((names, meaning) for names, meaning in found)


def _attributes(thing: type) -> list[tuple[str, str]]:
    text = inspect.getdoc(thing) or ""
    _, _, body = text.partition("Attributes:\n")
    return [(names, _one_line(meaning)) for names, meaning in _entries(_split_indented(body)[0])]


def _paragraphs(text: str) -> str:
    return "\n\n".join(_one_line(part) for part in re.split(r"\n\s*\n", text.strip()))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main(write: Callable[[Path, str], object] = Path.write_text) -> None:
    """Writes the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        write(FOLDER / name, text)
    write(INDEX, index())


if __name__ == "__main__":
    main()
