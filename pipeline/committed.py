"""Which units are committed, in a byte a unit."""

from __future__ import annotations

from collections.abc import Iterable


class CommittedUnits:
    """A set of units' names that stays small: four million names would take half a gigabyte.

    Args:
      names: of units, all of one unit size; others are left out.
      unit_size: rows in a unit.
    """

    def __init__(self, names: Iterable[str], unit_size: int) -> None:
        self._unit_size = unit_size
        self._files: dict[str, bytearray] = {}
        for name in names:
            label, number = self._place(name)
            if number is None:
                continue
            units = self._files.setdefault(label, bytearray())
            if number >= len(units):
                units.extend(bytes(number + 1 - len(units)))
            units[number] = 1

    def __contains__(self, name: str) -> bool:
        label, number = self._place(name)
        units = self._files.get(label, b"")
        return number is not None and number < len(units) and units[number] == 1

    def _place(self, name: str) -> tuple[str, int | None]:
        label, _, start = name.rpartition("-")
        if not start.isdecimal() or int(start) % self._unit_size:
            return label, None
        return label, int(start) // self._unit_size
