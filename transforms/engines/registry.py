"""Engines by name: the built-in ones, those of other packages, and `module:Class`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from .contract import Engine

ENTRY_POINT_GROUP = "alphabeam.engines"


class EngineUnusable(ValueError):
    """No such engine, or one that cannot run here; the message is one line for the user."""


@dataclass(frozen=True)
class EngineEntry:
    """What is known of an engine before it is imported.

    Attributes:
      name: what `--engine` takes.
      target: `module:Class`; a module that starts with a dot is one of this package.
      summary: what it is for, one line.
      licence: of the model.
      modules: what must be importable for it to run.
      extra: the extra of this package that installs them.
      defaults: options that the name stands for.
    """

    name: str
    target: str
    summary: str = ""
    licence: str = ""
    modules: tuple[str, ...] = ()
    extra: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Says in one line why the engine cannot run here; None when it can."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if not absent:
            return None
        return f"needs {', '.join(absent)}: pip install 'alphabeam[{self.extra}]'"


BUILT_IN = (
    EngineEntry(
        "grabcut",
        ".grabcut:GrabCut",
        "embedded, no weights: trying out, tests, products on plain ground",
        "Apache-2.0",
    ),
)


def entries() -> dict[str, EngineEntry]:
    """Gives every engine known here by name; other packages' after the built-in ones."""
    found = {entry.name: entry for entry in BUILT_IN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        package = point.dist.name if point.dist else point.value
        found.setdefault(point.name, EngineEntry(point.name, point.value, f"from {package}"))
    return found


def find(name: str) -> EngineEntry:
    """Finds an engine by name or as `package.module:Class`.

    Raises:
      EngineUnusable: no such engine; the message names the nearest one.
    """
    known = entries()
    if name in known:
        return known[name]
    if ":" in name:
        return EngineEntry(name, name, "given by its class")
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise EngineUnusable(
        f"--engine: no engine called {name!r}; {hint}known are {', '.join(known)}, "
        f"or a class of your own as package.module:Class"
    )


def create(name: str, options: Mapping[str, Any]) -> Engine:
    """Makes an engine; cheap, since nothing is loaded yet.

    Args:
      name: as `find` takes it.
      options: what the user asked for; wins over what the name stands for.

    Raises:
      EngineUnusable: no such engine, its packages are missing, or it takes no such option.
    """
    entry = find(name)
    missing = entry.missing()
    if missing:
        raise EngineUnusable(f"--engine {name}: {missing}")
    module, _, attribute = entry.target.partition(":")
    try:
        engine_class = getattr(importlib.import_module(module, __package__), attribute)
    except (ImportError, AttributeError) as error:
        raise EngineUnusable(f"--engine {name}: cannot import {entry.target}: {error}") from error
    wanted = {**entry.defaults, **_supported(name, engine_class, options)}
    try:
        return engine_class(**wanted)
    except (TypeError, ValueError) as error:
        raise EngineUnusable(f"--engine {name}: {error}") from error


def _supported(name: str, engine_class: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the options against what the engine takes.

    Engines that know nothing of devices or number types run on the CPU as they are, so `auto` and
    `cpu` ask nothing of them.
    """
    parameters = inspect.signature(engine_class).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(options)
    supported = {}
    for option, value in options.items():
        if option in parameters:
            supported[option] = value
        elif option == "device" and value not in ("auto", "cpu"):
            raise EngineUnusable(f"--device {value}: engine {name} runs on the CPU only")
        elif option not in ("device", "dtype") or value not in ("auto", "cpu"):
            raise EngineUnusable(
                f"--{option}: engine {name} has no such option; "
                f"it has {', '.join(parameters) or 'none'}"
            )
    return supported
