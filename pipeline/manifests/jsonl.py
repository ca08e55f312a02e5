"""Manifests as JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from ...transforms.rows import Columns, find_columns
from . import text as manifest_text
from .contract import Extent, Manifest, ManifestUnusable, UnitRows, WorkUnit
from .files import Found
from .text import Row

_SAMPLE = 16 << 20
_EXACT_IN_DOUBLE = 2**53


class Lines:
    """Every line that is not blank is a record; see `manifest_text.Records`."""

    def is_blank(self, line: bytes) -> bool:
        return not line.strip()

    def line_ends(self, block: bytes, inside: bool) -> tuple[np.ndarray, bool]:
        return np.flatnonzero(np.frombuffer(block, np.uint8) == 10), False


def describe(
    found: Found, image_column: str | None, key_column: str | None
) -> tuple[Columns, pa.Schema]:
    """Finds the columns and their types in the first 16 MiB.

    Types unify: integers and decimals to double, everything else that differs to text, which
    then holds the JSON of what was no text.
    """
    values: dict[str, list[Any]] = {}
    seen = 0
    for row in _sample(found.heads):
        for name, value in row.items():
            values.setdefault(name, []).append(value)
        seen += 1
    if not seen:
        raise ManifestUnusable(f"{found.heads[0]} holds no JSON object: it needs one a line")
    columns = find_columns(values, image_column, key_column)
    fields = [(name, _type_of(values[name])) for name in values if columns.carries(name)]
    return columns, pa.schema(fields)


def measure(manifest: Manifest, file: str, unit_size: int) -> Extent:
    """Finds where a file's units begin."""
    with manifest_text.open_text(file) as stream:
        mark = _skip_mark(stream, file)
        return manifest_text.measure(stream, file, mark, unit_size, Lines())


def read(manifest: Manifest, unit: WorkUnit) -> UnitRows:
    """Reads a unit; a line that is broken or does not fit the schema is a row with trouble."""
    return manifest_text.read_rows(manifest, unit, lambda stream: _rows(stream, manifest))


def _sample(files: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    left = _SAMPLE
    for file in files:
        with manifest_text.open_text(file) as stream:
            _skip_mark(stream, file)
            for line in iter(lambda: stream.readline(manifest_text.LONGEST_RECORD), b""):
                row = _parse(line)
                if isinstance(row, dict):
                    yield row
                left -= len(line)
                if left <= 0:
                    return


def _skip_mark(stream: BinaryIO, file: str) -> int:
    first = stream.peek(64)  # type: ignore[attr-defined]
    mark = manifest_text.unmarked(first, file)
    if first[mark:].lstrip().startswith(b"["):
        raise ManifestUnusable(f"{file} is a JSON array: write one object a line (JSON Lines)")
    stream.read(mark)
    return mark


def _rows(stream: BinaryIO, manifest: Manifest) -> Iterator[Row]:
    assert manifest.columns is not None
    types = {field.name: field.type for field in manifest.schema}
    special = {manifest.columns.image, manifest.columns.key}
    for line in stream:
        if line.strip():
            row = _parse(line)
            yield row if isinstance(row, str) else _fitted(row, types, special)


def _parse(line: bytes) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte {error.object[error.start]:#04x}"
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else f"{type(row).__name__} where a JSON object belongs"


def _fitted(row: dict[str, Any], types: dict[str, pa.DataType], special: set[str | None]) -> Row:
    fitted = {}
    for name, value in row.items():
        kind = types.get(name)
        if kind is None:
            if name not in special:
                return f'column "{name}" does not occur in the first 16 MiB of the manifest'
        elif pa.types.is_string(kind):
            value = _as_text(value)
        elif not _fits(value, kind):
            return f'column "{name}" is {kind} and does not hold {json.dumps(value)[:80]}'
        fitted[name] = value
    return fitted


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def _type_of(values: list[Any]) -> pa.DataType:
    try:
        kind = pa.infer_type(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.string()
    exact = not pa.types.is_null(kind) and all(_fits(value, kind) for value in values)
    return kind if exact else pa.string()


def _fits(value: Any, kind: pa.DataType) -> bool:
    """Tells whether Arrow holds a JSON value unchanged; it would truncate and drop silently."""
    if value is None:
        return True
    if isinstance(value, bool):
        return pa.types.is_boolean(kind)
    if isinstance(value, int):
        if pa.types.is_floating(kind):
            return abs(value) <= _EXACT_IN_DOUBLE
        return pa.types.is_int64(kind) and -(2**63) <= value < 2**63
    if isinstance(value, float):
        return pa.types.is_floating(kind)
    if isinstance(value, str):
        return pa.types.is_string(kind) and _is_storable(value)
    if isinstance(value, list):
        return pa.types.is_list(kind) and all(_fits(item, kind.value_type) for item in value)
    known = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
    return bool(known) and all(
        name in known and _fits(item, known[name]) for name, item in value.items()
    )


def _is_storable(text: str) -> bool:
    return text.isascii() or text.encode("utf-8", "replace").decode() == text
