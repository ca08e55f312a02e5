"""Numbers and foreign text the way people read them."""

from __future__ import annotations

import math
import time


def count(value: float) -> str:
    """`12345` as `12,345`."""
    return f"{value:,.0f}"


def many(value: float, thing: str) -> str:
    """`1 unit`, `2 units`."""
    return f"{count(value)} {thing}" if value == 1 else f"{count(value)} {thing}s"


def number(value: float) -> str:
    """Three significant digits, never in exponents: `0.0123`, `1.5`, `1,230`."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(value: float) -> str:
    """0..1 in per cent, precise where it matters: `0.04 %`, `7.5 %`, `42 %`, `99.97 %`."""
    percent = 100 * value
    distance = min(percent, 100 - percent)
    digits = 0 if distance >= 10 or distance <= 0 else 1 if distance >= 0.95 else 2
    text = f"{percent:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def duration(seconds: float) -> str:
    """`250 µs`, `85 ms`, `3.2 s`, `4 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995e-3:
        return f"{number(seconds * 1e6)} µs"
    if seconds < 0.9995:
        return f"{number(seconds * 1e3)} ms"
    if seconds < 99.5:
        return f"{number(seconds)} s"
    if round(seconds) < 3600:
        return _two_units(round(seconds), 60, "min", "s")
    if round(seconds / 60) < 24 * 60:
        return _two_units(round(seconds / 60), 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def _two_units(value: int, parts: int, unit: str, smaller: str) -> str:
    whole, rest = divmod(value, parts)
    return f"{count(whole)} {unit} {rest} {smaller}" if rest else f"{count(whole)} {unit}"


def size(value: float) -> str:
    """Bytes in decimal units: `980 B`, `1.2 MB`."""
    units = ["PB", "TB", "GB", "MB", "kB", "B"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{number(value)} {units[-1]}"


def usd(value: float) -> str:
    """US dollars: cents from a dollar on, finer below."""
    if value == 0:
        return "$0"
    return f"${value:,.2f}" if value >= 1 else f"${number(value)}"


def moment(seconds: float) -> str:
    """Seconds since 1970 as UTC to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def clean(text: str, limit: int = 120) -> str:
    """Makes foreign text fit to be shown: on one line, visible characters only, cut in the middle.

    Control characters, and those that turn the direction of writing, are shown as escapes.
    """
    if len(text) > limit:
        text = f"{text[: limit - limit // 3]}…{text[-(limit // 3 - 1) :]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
