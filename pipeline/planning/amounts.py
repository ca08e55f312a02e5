"""Amounts in words."""

from __future__ import annotations


def dollars(usd: float | None) -> str:
    """Writes dollars, with tenths of a cent where there are few; None is unknown."""
    if usd is None:
        return "unknown"
    return f"${usd:,.2f}" if usd >= 10 else f"${usd:,.3f}"


def duration(seconds: float) -> str:
    """Writes a time in the largest unit of which it has a few."""
    if seconds < 120:
        return f"{seconds:,.1f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:,.1f} minutes"
    hours = seconds / 3600
    return f"{hours:,.1f} hours" if hours < 72 else f"{hours:,.0f} hours ({hours / 24:,.1f} days)"
