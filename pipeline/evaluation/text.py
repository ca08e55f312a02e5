"""An evaluation in words and tables, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .statuses import SCORED

_NAMED = 5  # keys named for each kind of trouble
_PARTITIONS = 40
_DIFFERING = 10
_LONGEST = 40  # characters of a key or partition
_SHORT = ("mae", "iou", "boundary_iou", "f_max", "s_measure", "e_mean", "sad")


def text(root: str, summary: dict[str, Any]) -> str:
    """Puts an evaluation into words.

    Args:
      root: the dataset's folder.
      summary: as `evaluation_summary.summarise` gives it.
    """
    parts = [_metrics(summary)]
    if summary["partitions"]:
        parts.append(_partitions(summary))
    if summary["against"] is not None:
        parts.append(_against(summary))
        if summary["against"]["differing"]:
            parts.append(_differing(summary))
    return "\n\n".join([*parts, _counts(root, summary)])


def _metrics(summary: dict[str, Any]) -> str:
    rows = [["", "mean", "median", "5%", "95%", "better"]]
    for metric in summary["metrics"]:
        spread = summary["all"]["metrics"][metric["name"]]
        numbers = (_number(spread[name]) for name in ("mean", "median", "p05", "p95"))
        unit = f", {metric['unit']}" if metric["unit"] else ""
        better = "higher" if metric["higher_is_better"] else "lower"
        rows.append([metric["title"] + unit, *numbers, better])
    return _table(rows)


def _partitions(summary: dict[str, Any]) -> str:
    titles = _titles(summary)
    rows = [["mean of", "rows", "scored", *(titles[name] for name in _SHORT)]]
    for group in summary["partitions"][:_PARTITIONS]:
        means = (_number(group["metrics"][name]["mean"]) for name in _SHORT)
        counts = (f"{group['rows']:,}", f"{group['counts'][SCORED]:,}")
        rows.append([_cut(group["partition"]), *counts, *means])
    return _table(rows) + _more(len(summary["partitions"]) - _PARTITIONS, "partitions")


def _against(summary: dict[str, Any]) -> str:
    against = summary["against"]
    titles = _titles(summary)
    rows = [["", "here", "other", "here - other", "95% interval", "p", "wins", "ties", "losses"]]
    for name, found in against["metrics"].items():
        interval = f"{_signed(found['low'])} .. {_signed(found['high'])}"
        rows.append(
            [
                titles[name],
                _number(found["here"]),
                _number(found["other"]),
                _signed(found["difference"]),
                "-" if found["low"] is None else interval,
                "-" if found["p"] is None else f"{found['p']:.2g}",
                *(f"{found[count]:,}" for count in ("wins", "ties", "losses")),
            ]
        )
    only = f"{against['only_here']:,} only here, {against['only_other']:,} only there"
    return f"against {against['root']}: {against['pairs']:,} pairs, {only}\n{_table(rows)}"


def _differing(summary: dict[str, Any]) -> str:
    rows = [["differ most", "IoU here", "IoU other", "MAE here", "MAE other"]]
    for row in summary["against"]["differing"][:_DIFFERING]:
        numbers = (
            _number(row[side][name]) for name in ("iou", "mae") for side in ("here", "other")
        )
        rows.append([_cut(row["key"]), *numbers])
    return _table(rows)


def _counts(root: str, summary: dict[str, Any]) -> str:
    truth, whole = summary["truth"], summary["all"]
    column = f" ({truth['column']})" if truth["column"] else ""
    scored = f"{whole['counts'][SCORED]:,} of {whole['rows']:,} keys scored"
    resized = f", {whole['resized']:,} at another size than their own" if whole["resized"] else ""
    lines = [f"{root}: {scored} by {truth['uri']}{column}{resized}"]
    if not summary["complete"]:
        lines.append("the run that makes it is not complete")
    for status, trouble in summary["trouble"].items():
        named = [_named(row) for row in trouble["rows"][:_NAMED]]
        rest = trouble["count"] - len(named)
        names = ", ".join(named) + (f" and {rest:,} more" if rest else "")
        lines.append(f"{trouble['count']:,} {status}, {trouble['meaning']}: {names}")
    return "\n".join(lines)


def _named(row: dict[str, Any]) -> str:
    return _cut(row["key"]) + (f" ({row['error']})" if row["error"] else "")


def _titles(summary: dict[str, Any]) -> dict[str, str]:
    return {metric["name"]: metric["title"] for metric in summary["metrics"]}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _cut(name: str) -> str:
    line = "".join(c if c.isprintable() else "?" for c in name)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _more(count: int, what: str) -> str:
    return f"\nand {count:,} more {what}" if count > 0 else ""


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Aligns columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
