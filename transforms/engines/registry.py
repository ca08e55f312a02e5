"""Engines by name: the built-in ones, those of other packages, and `module:Class`."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

from .catalog import BUILT_IN, EngineEntry
from .contract import Engine, EngineUnusable

ENTRY_POINT_GROUP = "alphabeam.engines"

# What engines may be asked for, each what it knows of; the names are those of the flags.
OPTIONS = (
    "model", "revision", "device", "dtype", "resolution", "patch_order", "compile",
    "subject_labels", "trust_remote_code", "onnx_mean", "onnx_std", "onnx_scale", "onnx_output",
    "onnx_activation",
)  # fmt: skip

# What an engine that knows nothing of these options does anyway.
_HARMLESS = {"device": ("auto", "cpu"), "dtype": ("auto",)}


def entries() -> dict[str, EngineEntry]:
    """Gives every engine known here by name; other packages' after the built-in ones."""
    found = {entry.name: entry for entry in BUILT_IN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        package = point.dist.name if point.dist else point.value
        found.setdefault(point.name, EngineEntry(point.name, point.value, f"from {package}"))
    return found


def find(name: str, hosted: Iterable[str] = ()) -> EngineEntry:
    """Finds an engine by name or as `package.module:Class`.

    Args:
      name: of the engine.
      hosted: names that do as well, which the message for one that does not mentions.

    Raises:
      EngineUnusable: no such engine; the message names the nearest one.
    """
    known = entries()
    if name in known:
        return known[name]
    if ":" in name:
        return EngineEntry(name, name, "given by its class")
    names = [*known, *hosted]
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise EngineUnusable(
        f"--engine: no engine called {name!r}; {hint}known are {', '.join(names)}, "
        f"or a class of your own as package.module:Class"
    )


def is_elsewhere(name: str) -> bool:
    """Tells whether an engine is another package's, or the user's own, and not part of this one.

    Raises:
      EngineUnusable: no such engine.
    """
    return not find(name).target.startswith((".", "alphabeam."))


def create(name: str, options: Mapping[str, Any]) -> Engine:
    """Makes an engine; cheap, since nothing is loaded yet and it need not run on this machine.

    Args:
      name: as `find` takes it.
      options: what the user asked for; wins over what the name stands for.

    Raises:
      EngineUnusable: no such engine, or it takes no such option.
    """
    entry = find(name)
    engine_class = _class_of(entry)
    wanted = {**_implied(entry, options), **_supported(name, engine_class, options)}
    try:
        return engine_class(**wanted)
    except Exception as error:  # a class of somebody else's raises what it likes
        raise EngineUnusable(f"--engine {name}: {_told(error, TypeError, ValueError)}") from error


def can_use_gpu(name: str) -> bool:
    """Tells whether an engine can be told its device.

    Raises:
      EngineUnusable: no such engine.
    """
    return "device" in inspect.signature(_class_of(find(name))).parameters


def require_modules(name: str) -> None:
    """Makes sure that the packages an engine needs are installed here.

    Raises:
      EngineUnusable: some are missing; the message says how to install them.
    """
    missing = find(name).missing()
    if missing:
        raise EngineUnusable(f"--engine {name}: {missing}")


def check(name: str, engine: Engine) -> None:
    """Finds out whether an engine can run on this machine, before a run that needs it to.

    Raises:
      EngineUnusable: packages, the device or the model are missing; one line says what would do.
    """
    require_modules(name)
    own_check = getattr(engine, "check", None)
    if own_check is not None:
        own_check()


def settings_of(engine: Engine, options: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the options that decide what an engine's mattes are, with those left out filled in.

    Args:
      engine: as `create` made it.
      options: what it was made with.

    Raises:
      EngineUnusable: what the model itself says cannot be read.
    """
    settings = getattr(engine, "settings", None)
    return {**options, **(settings() if settings is not None else {})}


def takes(name: str, option: str) -> bool:
    """Tells whether an engine has an option.

    Raises:
      EngineUnusable: no such engine.
    """
    parameters = inspect.signature(_class_of(find(name))).parameters
    return option in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def asks_nothing(option: str, value: Any) -> bool:
    """Tells whether a value of an option holds where nothing knows the option, too."""
    return value in _HARMLESS.get(option, ())


def _class_of(entry: EngineEntry) -> type:
    module, _, attribute = entry.target.partition(":")
    try:
        found = getattr(importlib.import_module(module, __package__), attribute)
    except (Exception, SystemExit) as error:  # whatever a module does while it is imported
        told = _told(error, ImportError, AttributeError)
        raise EngineUnusable(
            f"--engine {entry.name}: cannot import {entry.target}: {told}"
        ) from error
    if not isinstance(found, type):
        raise EngineUnusable(f"--engine {entry.name}: {entry.target} is no class")
    for method in ("load", "predict"):
        if not callable(getattr(found, method, None)):
            raise EngineUnusable(f"--engine {entry.name}: {entry.target} has no method {method}()")
    return found


def _told(error: BaseException, *expected: type[Exception]) -> str:
    """Gives what an exception says, in one line; with its type where none like it is expected."""
    told = " ".join(str(error).split())
    return told if told and isinstance(error, expected) else f"{type(error).__name__}: {told}"


def _implied(entry: EngineEntry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Gives what the name stands for, and what the weights asked for are known to need."""
    model = options.get("model")
    if model in (None, entry.model):
        return entry.options()
    home = entry.target.partition(":")[0]
    for known in BUILT_IN:
        if known.model == model and known.target.partition(":")[0] == home:
            own_size = known.defaults if known.target == entry.target else entry.defaults
            return {**own_size, "revision": known.revision, **known.of_model}
    return dict(entry.defaults)


def _supported(name: str, engine_class: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the options against what the engine takes.

    Engines that know nothing of devices or number types run on the CPU as they are, so `auto` and
    `cpu` ask nothing of them; how many pictures they are given at once is not theirs to know.
    """
    parameters = inspect.signature(engine_class).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(options)
    supported = {}
    for option, value in options.items():
        if option in parameters:
            supported[option] = value
        elif option == "device" and not asks_nothing(option, value):
            raise EngineUnusable(f"--device {value}: engine {name} runs on the CPU only")
        elif option != "batch_size" and not asks_nothing(option, value):
            raise EngineUnusable(
                f"--{option}: engine {name} has no such option; "
                f"it has {', '.join(parameters) or 'none'}"
            )
    return supported
