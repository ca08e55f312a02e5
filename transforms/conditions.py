"""Conditions over a cutout's columns, as users write them: `confidence < 0.8 or is_blank`."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .mask_stats import MaskStats
from .records import Cutout

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
NAMES = ("confidence", *(f.name for f in fields(MaskStats) if f.name != "alpha_histogram"))


@dataclass(frozen=True)
class Condition:
    """A condition that was checked when it was made; picklable.

    Comparisons, `and`, `or`, `not`, numbers and the names of quality columns, nothing else: the
    text is parsed, never run. A comparison with a value that is not there (null) is false.

    Attributes:
      text: as written.
    """

    text: str
    _tree: ast.expr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Parse the text.

        Raises:
          ValueError: it is no such condition; one line that says why.
        """
        try:
            tree = ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"not a condition: {self.text!r} ({error.msg})") from error
        _check(tree, self.text)
        object.__setattr__(self, "_tree", tree)

    def holds(self, cutout: Cutout) -> bool:
        """Tells whether the condition holds for a cutout."""
        values = {name: getattr(cutout.stats, name, None) for name in NAMES}
        values["confidence"] = cutout.confidence
        return bool(_value(self._tree, values))

    def __reduce__(self) -> tuple[type[Condition], tuple[str]]:
        return (Condition, (self.text,))


def _check(node: ast.expr, text: str) -> None:
    if isinstance(node, ast.Name):
        if node.id not in NAMES:
            near = difflib.get_close_matches(node.id, NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(NAMES)}"
            raise ValueError(f"{text!r}: no column {node.id!r}; {hint}")
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        _check(node.operand, text)
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARISONS for op in node.ops):
        for part in (node.left, *node.comparators):
            _check(part, text)
    elif not (isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float))):
        raise ValueError(
            f"{text!r}: {ast.unparse(node)!r} is not understood; use column names, numbers, "
            f"comparisons, and, or, not"
        )


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.BoolOp):
        combine = all if isinstance(node.op, ast.And) else any
        return combine(_value(part, values) for part in node.values)
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, values)
        return not value if isinstance(node.op, ast.Not) else -value
    assert isinstance(node, ast.Compare)
    sides = [_value(part, values) for part in (node.left, *node.comparators)]
    if None in sides:
        return False
    return all(
        _COMPARISONS[type(op)](left, right)
        for op, left, right in zip(node.ops, sides, sides[1:], strict=False)
    )
