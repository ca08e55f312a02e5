"""Rows as JSON: what a shard says of its cutouts."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def json_rows(table: pa.Table) -> Iterator[bytes]:
    """Encodes the rows of a table, one JSON object a row, columns in the table's order.

    Numbers, bools, strings, lists and structs are what they are in JSON. Times and dates become
    ISO 8601 text, decimals text, bytes base64, maps lists of `{key, value}`; what JSON has no number
    for (NaN, infinities) becomes null.
    """
    for number, column in enumerate(table.columns):
        if getattr(column.type, "unit", None) == "ns":  # more than Python's own types can hold
            text = pc.cast(column, pa.string())
            table = table.set_column(number, table.field(number).name, text)
    for row in table.to_pylist():
        yield json_row(row)


def json_row(row: Mapping[str, Any]) -> bytes:
    """Encodes one row."""
    return json.dumps(_plain(row), ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, tuple):  # which only maps are made of
        return {"key": _plain(value[0]), "value": _plain(value[1])}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
