"""Distributions of any number of values in little memory, and the bars to draw them with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_MOST_BARS = 24
_FEWEST_BARS = 6
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
_PARTS = 16  # bins an octave
_OCTAVES = (-24, 40)


@dataclass(frozen=True)
class Bar:
    """How many values lie from `low` up to `high`."""

    low: float
    high: float
    count: int


class Histogram:
    """Counts values in fine bins, and tells quantiles and coarser bars from them.

    Quantiles are right to one fine bin: 0.001 for shares, 4.4 % of the value for the others.

    Attributes:
      logarithmic: False for shares (0..1, in thousandths), True for values above 0 of any size
        (sixteen bins an octave).
      missing: values that were NaN.
      zeros: values that were 0 where bins are logarithmic; they are in no bin.
    """

    def __init__(self, *, logarithmic: bool) -> None:
        self.logarithmic = logarithmic
        self.missing = 0
        self.zeros = 0
        first, last = (_OCTAVES[0] * _PARTS, _OCTAVES[1] * _PARTS) if logarithmic else (0, 1000)
        self._first = first
        self._counts = np.zeros(last - first, np.int64)

    def add(self, values: np.ndarray, times: int = 1) -> None:
        """Counts values.

        Args:
          values: float64, any shape, not negative; NaN counts as missing.
          times: how often each value counts.
        """
        known = values[~np.isnan(values)]
        self.missing += times * (values.size - known.size)
        if self.logarithmic:
            positive = known[known > 0]
            self.zeros += times * (known.size - positive.size)
            bins = np.floor(np.log2(positive) * _PARTS)
        else:
            bins = np.floor(known * 1000 + 1e-9)
        bins = np.clip(bins - self._first, 0, self._counts.size - 1).astype(np.int64)
        self._counts += times * np.bincount(bins, minlength=self._counts.size)

    @property
    def count(self) -> int:
        """How many values are known, zeros included."""
        return int(self._counts.sum()) + self.zeros

    def quantile(self, share: float) -> float:
        """Gives the value that `share` (0..1) of all known ones don't exceed, to one fine bin.

        Raises:
          ValueError: no value is known.
        """
        if not self.count:
            raise ValueError("no value has been counted")
        wanted = max(1, math.ceil(share * self.count)) - self.zeros
        if wanted <= 0:
            return 0.0
        number = int(np.searchsorted(np.cumsum(self._counts), wanted))
        return (self._edge(number) + self._edge(number + 1)) / 2

    def bars(self) -> list[Bar]:
        """Gives at most 24 adjoining bars that reach from the smallest to the greatest value.

        Shares get steps of 1, 2 or 5; the others equal parts of an octave, or several octaves.
        """
        occupied = np.flatnonzero(self._counts)
        if not occupied.size:
            return []
        first, last = int(occupied[0]), int(occupied[-1])
        step = next(size for size in self._steps() if last // size - first // size < _MOST_BARS)
        start, stop = first // step, last // step + 1
        short = _FEWEST_BARS - (stop - start)
        limit = -(-self._counts.size // step)
        if short > 0:  # a lone bar would fill the whole chart and look like a trend
            start = max(0, min(start - short // 2, limit - _FEWEST_BARS))
            stop = min(limit, start + _FEWEST_BARS)
        return [
            Bar(
                self._edge(number * step),
                self._edge(min((number + 1) * step, self._counts.size)),
                int(self._counts[number * step : (number + 1) * step].sum()),
            )
            for number in range(start, stop)
        ]

    def _steps(self) -> list[int]:
        if self.logarithmic:
            return [2, 4, 8, 16, 32, 64, 128]
        return [round(step * 1000) for step in _STEPS]

    def _edge(self, number: int) -> float:
        place = number + self._first
        return 2.0 ** (place / _PARTS) if self.logarithmic else place / 1000
