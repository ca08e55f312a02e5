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
    for (NaN, infinities) becomes null. Columns of uint64 become text as well, because Arrow reads
    no number of 2^63 or more out of JSON.
    """
    for number, column in enumerate(table.columns):
        kind = _readable(column.type)
        if kind != column.type:
            table = table.set_column(number, table.field(number).name, pc.cast(column, kind))
    for row in table.to_pylist():
        yield json_row(row)


def _readable(kind: Any) -> pa.DataType:
    """Puts text in the place of types whose values readers of JSON, or Python's own, cannot hold."""
    if getattr(kind, "unit", None) == "ns" or pa.types.is_uint64(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        inner = _readable(kind.value_type)
        return kind if inner == kind.value_type else inner
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_readable(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_readable(kind.key_type), _readable(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_readable(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_readable(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_readable(kind.value_type)), kind.list_size)
    return kind


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
