"""What a run would take and cost, before anything is fetched or sent."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from ..transforms.engine_flags import chain_of
from ..transforms.engines.contract import EngineUnusable
from ..transforms.providers.catalogue import ADAPTERS
from .errors import UsageError
from .planning.advice import advice
from .planning.amounts import dollars, duration
from .planning.costs import Cost, costs, storage_cost
from .planning.delays import Delay, delays
from .planning.limits import Limit, limits
from .planning.terms import Terms
from .planning.workload import Workload

_NOTICED = 0.1  # seconds


@dataclass(frozen=True)
class Plan:
    """What a run would take.

    Attributes:
      workload: how much there is to do.
      terms: what was taken for granted.
      engines: names, in the order in which they are asked.
      limits: what holds the run up, the narrowest first.
      delays: what it does beside its pictures.
      hours: from the first unit planned to the dataset closed; None where the speed is not known.
      costs: of the run.
      storage: a month's.
      advice: what would help, one line each.
    """

    workload: Workload
    terms: Terms
    engines: tuple[str, ...]
    limits: tuple[Limit, ...]
    delays: tuple[Delay, ...]
    hours: float | None
    costs: tuple[Cost, ...]
    storage: Cost | None
    advice: tuple[str, ...]

    @property
    def usd(self) -> float:
        """Gives the sum of the costs that are known."""
        return sum(cost.usd or 0.0 for cost in self.costs)

    def text(self) -> str:
        """Gives the plan in words."""
        work, terms = self.workload, self.terms
        lines = [
            f"{work.rows:,} rows in {work.files:,} files ({work.bytes / 1e6:,.1f} MB of manifest), "
            f"{work.units:,} units of {terms.unit_size:,} rows",
            f"engine {','.join(self.engines)}, layout {terms.layout}, {terms.workers:,} worker(s)",
        ]
        lines += _section("time", self._time())
        lines += _section("cost of the run", self._bill())
        if self.storage is not None:
            lines += _section("cost afterwards", [_item(self.storage)])
        lines += _section("next bottleneck", self._bottlenecks())
        lines += _section("to do about it", list(self.advice))
        lines += _section("taken for granted", terms.lines())
        priced = [source for cost in (*self.costs, self.storage) if cost for source in cost.sources]
        lines += _section("prices", list(dict.fromkeys(priced)))
        return "\n".join(lines)

    def _time(self) -> list[str]:
        lines = [
            f"{duration(delay.seconds)} {delay.name}: {delay.text}"
            for delay in self.delays
            if delay.seconds >= _NOTICED
        ]
        if self.hours is None:
            return [
                "unknown: give --images_per_second, as measured on your worker, or --trial OUTPUT, "
                "a finished run over a sample",
                *lines,
            ]
        return [f"{duration(self.hours * 3600)} at {self.limits[0].rate:,.1f} images/s", *lines]

    def _bill(self) -> list[str]:
        if not self.costs:
            return []
        unknown = [cost.name for cost in self.costs if cost.usd is None]
        more = f", and {', '.join(unknown)}" if unknown else ""
        whole = f"{dollars(self.usd)}{more}"
        if self.workload.rows:
            whole += f", {dollars(self.usd / self.workload.rows * 1000)} per 1,000 rows"
        return [whole, *map(_item, self.costs)]

    def _bottlenecks(self) -> list[str]:
        if not self.limits:
            return []
        first, *others = self.limits
        lines = [f"{first.name}, {first.rate:,.1f} images/s: {first.text}; moved by {first.remedy}"]
        for other in others:
            ratio = other.rate / first.rate if first.rate else float("inf")
            lines.append(f"{other.name}, {other.rate:,.1f} images/s ({ratio:,.1f} ×): {other.text}")
        beside = sum(delay.seconds for delay in self.delays)
        if self.hours:
            longest = max(self.delays, key=lambda delay: delay.seconds)
            lines.append(
                f"one worker alone, {duration(beside)} or {beside / 36 / self.hours:.1f}% of the run: "
                f"most of it {longest.name}"
            )
        return lines


def make_plan(workload: Workload, engines: tuple[str, ...], terms: Terms, *, remote: bool) -> Plan:
    """Plans a run without doing any of it.

    No picture is fetched, no model loaded, no key looked up, no provider asked.

    Args:
      workload: how much there is to do.
      engines: as `engine_names` gives them.
      terms: what to take for granted.
      remote: whether the dataset goes to Google Cloud Storage, and not to a disk.

    Raises:
      UsageError: the price of the machine's GPUs is not known.
    """
    found = limits(workload, terms)
    slowest = found[0].rate if found and (terms.rate or terms.hosted_first) else None
    beside = delays(workload, terms)
    hours = None
    if slowest is not None:
        hours = (workload.rows / slowest + sum(delay.seconds for delay in beside)) / 3600
    paid = terms.machine is not None or terms.usd_per_hour is not None
    return Plan(
        workload=workload,
        terms=terms,
        engines=engines,
        limits=tuple(found),
        delays=tuple(beside),
        hours=hours,
        costs=tuple(costs(workload, terms, hours, on_google=remote, paid=paid)),
        storage=storage_cost(workload, terms) if remote else None,
        advice=tuple(advice(workload, terms, slowest, remote)),
    )


def engine_names(engine: str) -> tuple[str, ...]:
    """Splits a chain `a,b` and looks its engines up, without making any.

    Raises:
      UsageError: there is none, or one is unknown.
    """
    try:
        return chain_of(engine, ADAPTERS)
    except EngineUnusable as error:
        raise UsageError(str(error)) from error


def _section(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    wrapped = [
        textwrap.fill(line, 110, initial_indent="  ", subsequent_indent="      ",
                      break_long_words=False, break_on_hyphens=False)
        for line in lines
    ]  # fmt: skip
    return ["", title, *wrapped]


def _item(cost: Cost) -> str:
    return f"{dollars(cost.usd)} {cost.name}: {cost.text}"
