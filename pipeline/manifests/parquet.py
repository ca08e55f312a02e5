"""Manifests as Parquet: one file, a folder or a glob, Hive folders included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote

import pyarrow as pa

from ...transforms.records import ImageRecord
from ...transforms.rows import Columns, find_columns, record_from_values
from .arrow_casts import blanked, cast_rows, is_castable
from .contract import (
    Extent,
    Manifest,
    ManifestUnusable,
    UnitRows,
    WorkUnit,
    bad_row,
    place_of,
    relative_to,
    without_columns,
)
from .files import Found, unreadable
from .row_groups import Footer, RowRange, footer, read_footer

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_MOST_PICTURES = 16  # in a batch, however well they compress
_OF_PICTURES = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def describe(
    found: Found, image_column: str | None, key_column: str | None
) -> tuple[Columns, pa.Schema]:
    """Finds the columns and their types in the first file's footer and folders.

    Raises:
      ManifestUnusable: the file cannot be read or is not Parquet.
      ValueError: it has no image column, or one that cannot hold pictures.
    """
    file = found.heads[0]
    inside = _footer_of(file).schema
    columns = find_columns(inside.names, image_column, key_column)
    _check_image(inside.field(columns.image))
    fields = _fields(inside, _partitions(relative_to(found.base, file)))
    return columns, pa.schema([field for field in fields if columns.carries(field.name)])


def _check_image(field: pa.Field) -> None:
    """Refuses a column none of whose values could name or be a picture."""
    held = field.type
    if isinstance(held, pa.BaseExtensionType):
        held = held.storage_type
    if pa.types.is_dictionary(held):
        held = held.value_type
    if pa.types.is_struct(held):
        if {"bytes", "path"} & {part.name for part in held}:
            return
    elif pa.types.is_null(held) or any(is_kind(held) for is_kind in _OF_PICTURES):
        return
    raise ValueError(
        f"column {field.name!r} is {field.type}, which neither names pictures nor holds them: it may "
        f"be text, bytes or a struct of bytes and path; --image_column chooses another"
    )


def measure(manifest: Manifest, file: str, unit_size: int) -> Extent:
    """Counts a file's rows by its footer.

    Raises:
      ManifestUnusable: it is not Parquet, or has columns that do not go with the first file's.
    """
    inside = _footer_of(file)
    _check(manifest, file, inside.schema)
    return Extent(inside.metadata.num_rows)


def read(manifest: Manifest, unit: WorkUnit) -> UnitRows:
    """Reads a unit: its other columns at once, its pictures as they are taken."""
    inside = footer(unit.file, manifest.identity).schema
    partitions = _partitions(manifest.relative(unit.file))
    names = tuple(name for name in manifest.schema.names if name in inside.names)
    table = pa.Table.from_batches(
        _range(manifest, unit, names).batches() if names else [],
        pa.schema([inside.field(name) for name in names]),
    )
    if names and table.num_rows != unit.rows:
        raise ManifestUnusable(f"{unit.file} has changed since it was planned")
    extra = without_columns(unit.rows)
    problems: dict[int, str] = {}
    for field in manifest.schema:
        if field.name in names:
            column, misfits = cast_rows(table.column(field.name), field.type)
            for row in misfits:
                problems[row] = f'column "{field.name}" does not fit {field.type}'
        elif field.name in partitions:
            column = pa.array([partitions[field.name]] * unit.rows, field.type)
        else:
            column = pa.nulls(unit.rows, field.type)
        extra = extra.append_column(field, column)
    if problems:
        extra = blanked(extra, problems)
    return UnitRows(_records(manifest, unit, inside, problems), extra.combine_chunks())


def _records(
    manifest: Manifest, unit: WorkUnit, inside: pa.Schema, problems: dict[int, str]
) -> Iterator[ImageRecord]:
    assert manifest.columns is not None
    image, key = manifest.columns.image, manifest.columns.key
    names = (image, key) if key in inside.names and key != image else (image,)
    kind = inside.field(image).type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    row = 0
    for batch in _range(manifest, unit, names, None if is_text else _MOST_PICTURES).batches():
        images = batch.column(image)
        keys = batch.column(key) if key in inside.names else pa.nulls(batch.num_rows)
        for value, name in zip(images, keys, strict=True):
            if row in problems:
                yield bad_row(manifest, unit, row, problems[row])
            else:
                place = place_of(manifest, unit, row)
                yield record_from_values(value.as_py(), name.as_py(), manifest.base, row, place)
            row += 1


def _range(
    manifest: Manifest, unit: WorkUnit, names: tuple[str | None, ...], most: int | None = None
) -> RowRange:
    stop = unit.start + unit.rows
    given = tuple(name for name in names if name is not None)
    return RowRange(unit.file, manifest.identity, given, unit.start, stop, most)


def _footer_of(file: str) -> Footer:
    try:
        inside = read_footer(file)
    except Exception as error:
        raise unreadable(file, error) from error
    twice = [name for name, count in Counter(inside.schema.names).items() if count > 1]
    if twice:
        raise ManifestUnusable(f'{file} has two columns called "{twice[0]}"')
    return inside


def _partitions(relative: str) -> dict[str, str | None]:
    """Reads the Hive folders of a file's path, such as `split=train/`."""
    found: dict[str, str | None] = {}
    for folder in relative.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if equals and name:
            found[unquote(name)] = None if value == _NULL_PARTITION else unquote(value)
    return found


def _fields(inside: pa.Schema, partitions: dict[str, str | None]) -> list[pa.Field]:
    """Joins a file's columns and its folders'; where both have one, the file's counts."""
    folders = [pa.field(name, pa.string()) for name in partitions if name not in inside.names]
    return [field.with_nullable(True) for field in inside] + folders


def _check(manifest: Manifest, file: str, inside: pa.Schema) -> None:
    assert manifest.columns is not None
    if manifest.columns.image not in inside.names:
        raise ManifestUnusable(f'{file} has no image column "{manifest.columns.image}"')
    for field in _fields(inside, _partitions(manifest.relative(file))):
        if not manifest.columns.carries(field.name):
            continue
        if field.name not in manifest.schema.names:
            raise ManifestUnusable(
                f'{file} has a column "{field.name}" that the first file of {manifest.uri} has not'
            )
        wanted = manifest.schema.field(field.name).type
        if not is_castable(field.type, wanted):
            raise ManifestUnusable(
                f'column "{field.name}" of {file} is {field.type}, which cannot become the '
                f"{wanted} of the first file of {manifest.uri}"
            )
