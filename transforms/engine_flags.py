"""Which engines a chain consists of, and which of them each engine flag is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .engines import registry
from .engines.contract import EngineUnusable

_OF_ONE = ("model", "revision", "resolution", "patch_order")
"""Flags that cannot be meant for two engines at once."""


def chain_of(engine: str, hosted: Iterable[str]) -> tuple[str, ...]:
    """Splits `a,b` into names, and looks each engine up without making it.

    Args:
      engine: a name, or several with commas between.
      hosted: the names of engines that do not run here.

    Raises:
      EngineUnusable: there is no name, one is there twice, or there is no such engine.
    """
    names = tuple(name.strip() for name in engine.split(",") if name.strip())
    if not names or len(set(names)) != len(names):
        raise EngineUnusable(
            f"--engine takes a name, or different names with commas between: given {engine!r}"
        )
    for name in names:
        if name not in hosted:
            registry.find(name, hosted)
    return names


def share_out(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Gives every engine its own options.

    In a chain a flag is for those engines that know it. `--model`, `--revision`, `--resolution` and
    `--patch_order` are also taken as NAME=VALUE, for the one engine NAME, and have to be where
    several know them. Given twice the later value counts, and one with a name before one without.

    Args:
      given: flag to value; flags that may be repeated have a list, those left out None or False.
      names: the engines of this machine, in the order in which they are asked.

    Returns:
      Engine to option to value.

    Raises:
      EngineUnusable: there is no such engine, or it is not said which one is meant, or none of
        them runs here.
    """
    shares: dict[str, dict[str, Any]] = {name: {} for name in names}
    for flag in registry.OPTIONS:
        value = given.get(flag)
        if value in (None, False) or (not names and registry.asks_nothing(flag, value)):
            continue
        if not names:
            raise EngineUnusable(
                f"--{flag} is for engines that run here, and --engine names hosted ones"
            )
        named: dict[str, Any] = {}
        for each in value if isinstance(value, list) else [value]:
            name, content = _split(flag, each, names) if isinstance(value, list) else ("", each)
            content = _number(flag, content) if flag == "resolution" else content
            if name:
                named[name] = content
            else:
                for taker in _takers(flag, content, names):
                    shares[taker][flag] = content
        for name, content in named.items():
            shares[name][flag] = content
    return shares


def _split(flag: str, text: str, names: Sequence[str]) -> tuple[str, str]:
    """Splits NAME=VALUE; no name where there is none."""
    name, mark, content = text.partition("=")
    if mark and name in names:
        return name, content
    if mark and name in registry.entries():
        raise EngineUnusable(f"--{flag} {text}: {name} is not one of --engine {','.join(names)}")
    return "", text


def _takers(flag: str, content: Any, names: Sequence[str]) -> Sequence[str]:
    """Finds the engines that a flag without a name is for; the first one if none knows it."""
    if len(names) == 1:
        return names
    takers = [name for name in names if registry.takes(name, flag)]
    if flag in _OF_ONE and len(takers) > 1:
        raise EngineUnusable(
            f"--{flag} {content}: {' and '.join(takers)} take it; say whose it is, for "
            f"example --{flag} {takers[0]}={content}"
        )
    return takers or names[:1]


def _number(flag: str, text: Any) -> int:
    if not str(text).isdecimal():
        raise EngineUnusable(f"--{flag} is a number of pixels: given {text!r}")
    return int(text)
