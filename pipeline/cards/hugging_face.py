"""Arrow types in the words of the Hugging Face hub: the features of a dataset card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

# A feature as the card spells it, less its name: `{"dtype": "int32"}`, `{"list": "string"}`, …
Feature = dict[str, Any]

IMAGE: Feature = {"dtype": "image"}

_RENAMED = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "date32[day]": "date32",
    "date64[ms]": "date64",
    "string_view": "string",
    "binary_view": "binary",
}
_VIEWS = (pa.types.is_list_view, pa.types.is_large_list_view)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_UNKNOWN = (
    *_VIEWS,
    pa.types.is_map,
    pa.types.is_union,
    pa.types.is_run_end_encoded,
    pa.types.is_interval,
)


def named(fields: Iterable[tuple[str, Feature | None]]) -> list[Feature]:
    """Puts names and features together, as the card lists them, less what has no feature."""
    return [{"name": name, **feature} for name, feature in fields if feature is not None]


def feature_of(kind: pa.DataType) -> Feature | None:
    """Gives the feature that the `datasets` library reads a Parquet column as.

    Returns:
      None for what that library cannot read, such as maps.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return feature_of(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return feature_of(kind.value_type)
    if _is(kind, _UNKNOWN):
        return None
    if pa.types.is_struct(kind) or _is(kind, _LISTS):
        return _nested(kind, feature_of)
    if pa.types.is_decimal(kind):
        width = 256 if kind.bit_width == 256 else 128
        return {"dtype": f"decimal{width}({kind.precision}, {kind.scale})"}
    return {"dtype": _RENAMED.get(str(kind), str(kind))}


def json_feature_of(kind: pa.DataType) -> Feature | None:
    """Gives the feature of a column that was written as JSON, see `json_rows`; there is always one."""
    if isinstance(kind, pa.BaseExtensionType):
        return json_feature_of(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return json_feature_of(kind.value_type)
    if pa.types.is_map(kind):
        pair = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return json_feature_of(pa.list_(pair))
    if pa.types.is_struct(kind) or _is(kind, (*_LISTS, *_VIEWS)):
        return _nested(kind, json_feature_of)
    if pa.types.is_uint64(kind):
        return {"dtype": "string"}
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return {"dtype": str(kind)}
    return {"dtype": "float64" if pa.types.is_floating(kind) else "string"}


def _is(kind: pa.DataType, tests: Iterable[Callable[[pa.DataType], bool]]) -> bool:
    return any(test(kind) for test in tests)


def _nested(kind: Any, feature: Callable[[pa.DataType], Feature | None]) -> Feature | None:
    if pa.types.is_struct(kind):
        fields = named((field.name, feature(field.type)) for field in kind)
        return {"struct": fields} if len(fields) == kind.num_fields else None
    inner = feature(kind.value_type)
    if inner is None:
        return None
    # A list of plain values or of structs is spelled without the word between.
    short = next(iter(inner.values())) if set(inner) in ({"dtype"}, {"struct"}) else inner
    if pa.types.is_fixed_size_list(kind):
        return {"list": short, "length": kind.list_size}
    return {"large_list" if pa.types.is_large_list(kind) else "list": short}
