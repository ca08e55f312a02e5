"""Manifests as CSV and TSV (RFC 4180, read the way Python's `csv.reader` does)."""

from __future__ import annotations

import functools
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from ...transforms.rows import Columns, find_columns
from . import text as manifest_text
from .contract import Extent, Manifest, ManifestUnusable, UnitRows, WorkUnit
from .files import Found
from .text import Row

_DELIMITERS = {"csv": b",", "tsv": b"\t"}
_FOREIGN = (";", "\t", "|", ",")  # that separate columns in files of other programs
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_LONGEST_HEADER = 16 << 20


def describe(
    found: Found, image_column: str | None, key_column: str | None
) -> tuple[Columns, pa.Schema]:
    """Finds the columns in the first file's header; every one holds text, exactly as written."""
    names = _read_header(found.heads[0], found.kind).names
    try:
        columns = find_columns(names, image_column, key_column)
    except ValueError as error:
        used = next((mark for mark in _FOREIGN if len(names) == 1 and mark in names[0]), None)
        if used is None:
            raise
        raise ValueError(
            f"its header is one column, {names[0]!r}, with {used!r} within: columns are told apart "
            f"by commas in .csv and by tabs in .tsv"
        ) from error
    return columns, pa.schema([(name, pa.string()) for name in names if columns.carries(name)])


def measure(manifest: Manifest, file: str, unit_size: int) -> Extent:
    """Finds where a file's units begin.

    Raises:
      ManifestUnusable: its header has other columns than the manifest's first file.
    """
    header = _read_header(file, manifest.kind)
    _check(manifest, file, header.names)
    with manifest_text.open_text(file) as stream:
        stream.read(header.size)
        dialect = Dialect(_DELIMITERS[manifest.kind])
        return manifest_text.measure(stream, file, header.size, unit_size, dialect)


def read(manifest: Manifest, unit: WorkUnit) -> UnitRows:
    """Reads a unit; a row with too few or too many fields is a row with trouble."""
    names = _header(unit.file, manifest.kind, manifest.identity).names
    dialect = Dialect(_DELIMITERS[manifest.kind])
    return manifest_text.read_rows(manifest, unit, lambda stream: _rows(stream, dialect, names))


def _rows(stream: BinaryIO, dialect: Dialect, names: tuple[str, ...]) -> Iterator[Row]:
    for record in dialect.records(stream):
        fields = dialect.fields(record)
        if len(fields) != len(names):
            yield f"{len(fields)} fields where the header has {len(names)}"
            continue
        try:
            yield {name: field.decode() for name, field in zip(names, fields, strict=True)}
        except UnicodeDecodeError as error:
            yield f"not UTF-8: byte {error.object[error.start]:#04x}"


@dataclass(frozen=True)
class Dialect:
    """How records and fields are told apart.

    A field is quoted when its very first character is a quote; a quote anywhere else is a
    character like any other.

    Attributes:
      delimiter: one byte.
    """

    delimiter: bytes

    def is_blank(self, line: bytes) -> bool:
        """Tells an empty line; one with spaces is a field."""
        return not line.strip(b"\r\n")

    def line_ends(self, block: bytes, inside: bool) -> tuple[np.ndarray, bool]:
        """Finds the newlines that end records; see `manifest_text.Records`."""
        data = np.frombuffer(block, np.uint8)
        newlines = np.flatnonzero(data == _NEWLINE)
        if not inside and b'"' not in block:
            return newlines, False
        quotes = np.flatnonzero(data == _QUOTE)
        if not self._is_plain(data, quotes, inside):
            return self._line_ends_by_line(block, inside)
        within = (np.searchsorted(quotes, newlines) + inside) % 2 == 1
        return newlines[~within], bool((len(quotes) + inside) % 2)

    def _is_plain(self, data: np.ndarray, quotes: np.ndarray, inside: bool) -> bool:
        """Tells whether all quotes open, close or double: then counting them is enough."""
        bounds = [self.delimiter[0], _NEWLINE, _QUOTE]
        padded = np.concatenate([[_NEWLINE], data, [_NEWLINE]]).astype(np.uint8)
        opening = quotes[int(inside) :: 2]
        closing = quotes[1 - int(inside) :: 2]
        before, after = padded[opening], padded[closing + 2]
        return bool(np.isin(before, bounds).all() and np.isin(after, [*bounds, _RETURN]).all())

    def _line_ends_by_line(self, block: bytes, inside: bool) -> tuple[np.ndarray, bool]:
        ends, at = [], 0
        for line in io.BytesIO(block):
            inside = self._open_after(line, inside)
            at += len(line)
            if not inside and line.endswith(b"\n"):
                ends.append(at - 1)
        return np.array(ends, np.int64), inside

    def records(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        """Joins lines into records and leaves out empty lines."""
        lines: list[bytes] = []
        inside = False
        for line in stream:
            if not lines and self.is_blank(line):
                continue
            lines.append(line)
            inside = self._open_after(line, inside)
            if not inside:
                yield b"".join(lines)
                lines.clear()
        if lines:
            yield b"".join(lines)

    def _open_after(self, line: bytes, inside: bool) -> bool:
        """Tells whether a line ends within quotes."""
        if not inside and b'"' not in line:
            return False
        at = 0
        while True:
            if inside:
                at = _closing_quote(line, at)
                if at < 0:
                    return True
                inside = False
            elif line.startswith(b'"', at):
                inside = True
                at += 1
                continue
            at = line.find(self.delimiter, at) + 1
            if at == 0:
                return False

    def fields(self, record: bytes) -> list[bytes]:
        """Splits a record into its fields, as `csv.reader` does when it is not strict."""
        record = record.rstrip(b"\r\n")
        if b'"' not in record:
            return record.split(self.delimiter)
        fields, at = [], 0
        while True:
            field = b""
            if record.startswith(b'"', at):
                end = _closing_quote(record, at + 1)
                closed = end if end >= 0 else len(record) + 1
                field = record[at + 1 : closed - 1].replace(b'""', b'"')
                at = closed
            end = record.find(self.delimiter, at)
            if end < 0:
                return [*fields, field + record[at:]]
            fields.append(field + record[at:end])
            at = end + 1


def _closing_quote(line: bytes, at: int) -> int:
    """Gives the position after the quote that closes a field, or -1."""
    while (quote := line.find(b'"', at)) >= 0:
        if not line.startswith(b'"', quote + 1):
            return quote + 1
        at = quote + 2
    return -1


@dataclass(frozen=True)
class _Header:
    names: tuple[str, ...]
    size: int  # bytes up to the first row


def _read_header(file: str, kind: str) -> _Header:
    dialect = Dialect(_DELIMITERS[kind])
    with manifest_text.open_text(file) as stream:
        mark = manifest_text.unmarked(stream.peek(4), file)  # type: ignore[attr-defined]
        stream.read(mark)
        size = mark

        def lines() -> Iterator[bytes]:
            nonlocal size
            for line in iter(lambda: stream.readline(_LONGEST_HEADER), b""):
                size += len(line)
                if size > _LONGEST_HEADER:
                    raise ManifestUnusable(f"the header of {file} has no end: is it a table?")
                yield line

        record = next(dialect.records(lines()), None)
    if record is None:
        raise ManifestUnusable(f"{file} is empty: its first line must name the columns")
    return _Header(_names(file, dialect.fields(record)), size)


def _names(file: str, fields: list[bytes]) -> tuple[str, ...]:
    try:
        # pandas and R write their row numbers under a name that is empty.
        names = tuple(name.decode() or f"column_{i}" for i, name in enumerate(fields, 1))
    except UnicodeDecodeError as error:
        raise ManifestUnusable(f"the header of {file} is not UTF-8") from error
    if any("\r" in name for name in names):
        raise ManifestUnusable(f"{file} ends its lines with carriage returns alone: use newlines")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ManifestUnusable(f'{file} has two columns called "{twice[0]}"')
    return names


@functools.lru_cache(maxsize=64)
def _header(file: str, kind: str, _identity: str) -> _Header:
    return _read_header(file, kind)


def _check(manifest: Manifest, file: str, names: tuple[str, ...]) -> None:
    assert manifest.columns is not None
    wanted = {*manifest.schema.names, manifest.columns.image, manifest.columns.key}
    unknown = [name for name in names if name not in wanted]
    if unknown:
        raise ManifestUnusable(
            f'{file} has a column "{unknown[0]}" that the first file of {manifest.uri} has not'
        )
    if manifest.columns.image not in names:
        raise ManifestUnusable(f'{file} has no image column "{manifest.columns.image}"')
