"""One type for the same column of several files: which casts will do, and doing them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa


def is_castable(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Tells whether values of a type may become values of another.

    Stricter than Arrow, which drops fields of structs and takes local times for UTC. Single values
    may still not fit; `cast_rows` finds them.
    """
    if given == wanted:
        return True
    if isinstance(given, pa.BaseExtensionType) or isinstance(wanted, pa.BaseExtensionType):
        return _storage(given) == _storage(wanted)
    if pa.types.is_timestamp(given) and pa.types.is_timestamp(wanted):
        return (given.tz is None) == (wanted.tz is None)
    if pa.types.is_struct(given) and pa.types.is_struct(wanted):
        types = {field.name: field.type for field in given}
        return set(types) == {field.name for field in wanted} and all(
            is_castable(types[field.name], field.type) for field in wanted
        )
    if pa.types.is_map(given) and pa.types.is_map(wanted):
        return is_castable(given.key_type, wanted.key_type) and is_castable(
            given.item_type, wanted.item_type
        )
    if _is_list(given) and _is_list(wanted):
        return is_castable(given.value_type, wanted.value_type) and _has_cast(given, wanted)
    return _has_cast(given, wanted)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _has_cast(given: pa.DataType, wanted: pa.DataType) -> bool:
    try:
        pa.nulls(0, given).cast(wanted)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def cast_rows(column: pa.ChunkedArray, wanted: pa.DataType) -> tuple[pa.ChunkedArray, list[int]]:
    """Casts a column.

    Returns:
      The column, null where a value does not fit, and the rows where that is so.
    """
    try:
        return column.cast(wanted), []
    except pa.ArrowInvalid:
        rows = [_cast_one(column.slice(row, 1), wanted) for row in range(len(column))]
    misfits = [row for row, value in enumerate(rows) if value is None]
    none = pa.chunked_array([pa.nulls(1, wanted)])
    chunks = [chunk for value in rows for chunk in (none if value is None else value).chunks]
    return pa.chunked_array(chunks, wanted), misfits


def blanked(table: pa.Table, rows: Collection[int]) -> pa.Table:
    """Makes all columns of some rows null.

    Works by slices, since Arrow's `take` and `if_else` do not know every type.
    """
    none = pa.table([pa.nulls(1, kind) for kind in table.schema.types], schema=table.schema)
    parts, at = [], 0
    for row in sorted(rows):
        parts += [table.slice(at, row - at), none]
        at = row + 1
    return pa.concat_tables([*parts, table.slice(at)])


def _cast_one(value: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return value.cast(wanted)
    except pa.ArrowInvalid:
        return None


def compacted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Drops what dictionaries hold beyond the batch's own values; order and types stay.

    Parquet readers give each batch the dictionary of the whole row group.
    """
    for i, column in enumerate(batch.columns):
        if isinstance(column, pa.DictionaryArray) and len(column.dictionary) > len(column):
            batch = batch.set_column(i, batch.schema.field(i), _compact(column))
    return batch


def _compact(column: pa.DictionaryArray) -> pa.DictionaryArray:
    indices = column.indices
    used = np.unique(indices.drop_null().to_numpy())
    positions = np.searchsorted(used, indices.fill_null(0).to_numpy())
    missing = indices.is_null().to_numpy(zero_copy_only=False)
    return pa.DictionaryArray.from_arrays(
        pa.array(positions, column.type.index_type, mask=missing),
        column.dictionary.take(pa.array(used)),
        ordered=column.type.ordered,
    )
