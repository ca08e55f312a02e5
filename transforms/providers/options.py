"""Typed options of the providers, read from a mapping and checked before the run."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from . import reading

T = TypeVar("T")


@dataclass(frozen=True)
class NoOptions:
    """The options of a provider that has none."""


@dataclass(frozen=True)
class _Rule:
    name: str
    kind: type
    choices: Sequence[str] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    is_url: bool = False
    is_header: bool = False


def option(
    name: str,
    kind: type,
    default: Any,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    refused: Mapping[str, str] | None = None,
    is_url: bool = False,
    is_header: bool = False,
) -> Any:
    """Declares one option of a data class.

    Args:
      name: how the user and the provider call it.
      kind: bool, int, float or str; an int will do for a float.
      default: None leaves it to the provider.
      choices: the only values allowed.
      minimum, maximum: the range allowed, both inclusive.
      above: what the value has to exceed.
      refused: values that the provider knows but we do not send, and why.
      is_url: an absolute http(s) address is wanted.
      is_header: what can stand in an HTTP header is wanted.
    """
    rule = _Rule(name, kind, choices, minimum, maximum, above, refused or {}, is_url, is_header)
    return field(default=default, metadata={"rule": rule})


def read_options(cls: type[T], options: Mapping[str, Any], provider: str) -> T:
    """Makes a provider's options from a mapping.

    Raises:
      ValueError: a name is unknown (the nearest is named), or a value is not allowed.
    """
    by_name = {_rule(f).name: f for f in fields(cls)}  # type: ignore[arg-type]
    values = {}
    for name, value in options.items():
        if name not in by_name:
            raise ValueError(_unknown(name, list(by_name), provider))
        declared = by_name[name]
        if value is None and declared.default is None:
            continue
        try:
            values[declared.name] = _checked(_rule(declared), value)
        except ValueError as error:
            given = json.dumps(value, default=repr)
            raise ValueError(f"{provider}: option {name}={given}: {error}") from None
    try:
        return cls(**values)
    except ValueError as error:  # what the options together cannot be
        raise ValueError(f"{provider}: {error}") from None


def sent(options: Any, *names: str) -> dict[str, Any]:
    """Gives the options that are set, under the provider's names.

    Args:
      options: an instance of a data class of options.
      names: attribute names to take.
    """
    by_attribute = {f.name: _rule(f).name for f in fields(options)}
    return {
        by_attribute[name]: getattr(options, name)
        for name in names
        if getattr(options, name) is not None
    }


def _rule(declared: Field[Any]) -> _Rule:
    if declared.default is MISSING:
        raise TypeError(f"option {declared.name} needs a default")
    return declared.metadata["rule"]


def _checked(rule: _Rule, value: Any) -> Any:
    if rule.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, rule.kind) or (rule.kind is not bool and isinstance(value, bool)):
        raise ValueError(f"give {_KINDS[rule.kind]}")
    if rule.kind is float and not math.isfinite(value):
        raise ValueError("give a finite number")
    if str(value) in rule.refused:
        raise ValueError(rule.refused[str(value)])
    if rule.choices and value not in rule.choices:
        raise ValueError(f"give one of {', '.join(rule.choices)}")
    if rule.minimum is not None and value < rule.minimum:
        raise ValueError(f"give at least {rule.minimum}")
    if rule.maximum is not None and value > rule.maximum:
        raise ValueError(f"give at most {rule.maximum}")
    if rule.above is not None and value <= rule.above:
        raise ValueError(f"give more than {rule.above}")
    if rule.is_url and not _is_web_address(str(value)):
        raise ValueError("give an absolute http(s) address")
    if rule.is_header and not _is_header(str(value)):
        raise ValueError("give printable ASCII text without spaces around it")
    return value


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _is_header(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable() and value == value.strip()


def _is_web_address(value: str) -> bool:
    return reading.web_address(value) is not None and _is_header(value) and " " not in value


def _unknown(name: str, known: list[str], provider: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"{provider}: unknown option {name}; did you mean {near[0]}?"
    listed = ", ".join(known) or "none"
    return f"{provider}: unknown option {name}; its options: {listed}"
