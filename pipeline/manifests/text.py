"""What CSV and JSON Lines have in common: records in a stream of bytes, reached by their offset."""

from __future__ import annotations

import gzip
import io
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
from isal import igzip, isal_zlib

from ...transforms import storage
from ...transforms.records import ImageRecord
from ...transforms.rows import Columns, is_web, record_from_values
from .contract import (
    Extent,
    Manifest,
    ManifestUnusable,
    UnitRows,
    WorkUnit,
    bad_row,
    place_of,
    without_columns,
)
from .spool import SPOOL
from .streams import open_stream

# A unit of up to this many bytes is read once; a bigger one (pictures within the text) is read
# twice, first for its columns and then, record by record, for its pictures.
_HELD_UNIT = 16 << 20
_BLOCK = 4 << 20
_BUFFER = 1 << 20
LONGEST_RECORD = 256 << 20

UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

# A row by column name, or what is wrong with it.
Row = Mapping[str, Any] | str


class Records(Protocol):
    """One way of writing records into bytes."""

    def line_ends(self, block: bytes, inside: bool) -> tuple[np.ndarray, bool]:
        """Finds the newlines of a block that end a line of their own, not one within quotes.

        Args:
          block: whole lines; the very last one of a file may lack its newline.
          inside: whether the block begins within quotes.

        Returns:
          The newlines' positions in the block, int64, and whether it ends within quotes.
        """
        ...

    def is_blank(self, line: bytes) -> bool:
        """Tells whether a line holds no record. False for lines that begin with a letter."""
        ...


def unmarked(first: bytes, file: str) -> int:
    """Gives the length of the byte order mark that a file begins with.

    Raises:
      ManifestUnusable: it is that of UTF-16.
    """
    if first.startswith(_UTF16_MARKS):
        raise ManifestUnusable(f"{file} is written in UTF-16: save it as UTF-8")
    return len(UTF8_MARK) if first.startswith(UTF8_MARK) else 0


def open_text(file: str) -> BinaryIO:
    """Opens a text file from its beginning, decompressed if it is gzip by its content."""
    stored = io.BufferedReader(open_stream(file), _BUFFER)
    if stored.peek(2)[:2] != b"\x1f\x8b":
        return stored
    return io.BufferedReader(_Gzip(stored, file), _BUFFER)


class _Gzip(io.RawIOBase):
    """Decompresses, and says in one line what is wrong with a file that does not."""

    def __init__(self, stored: BinaryIO, file: str) -> None:
        self._stored = stored
        self._plain = igzip.GzipFile(fileobj=stored)
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._plain.readinto(buffer)
        except (EOFError, gzip.BadGzipFile, isal_zlib.error) as error:  # pyright: ignore
            raise ManifestUnusable(f"{self._file} is damaged gzip: {error}") from error

    def close(self) -> None:
        self._stored.close()
        super().close()


def measure(stream: BinaryIO, file: str, offset: int, unit_size: int, records: Records) -> Extent:
    """Finds where units begin, in one pass over a file.

    Args:
      stream: positioned at the first record.
      file: its name, for messages.
      offset: that position.
      unit_size: records in a unit.
      records: how they are written.

    Raises:
      ManifestUnusable: a record is longer than 256 MiB or opens a quote that is never closed.
    """
    rows, inside, rest = 0, False, b""
    begun = offset  # where the record that is not complete yet begins
    offsets = array("q", [offset])
    while True:
        read = stream.read(_BLOCK)
        block = rest + read
        cut = block.rfind(b"\n") + 1 if read else len(block)
        block, rest = block[:cut], block[cut:]
        newlines, still_inside = records.line_ends(block, inside)
        if not read and block and not still_inside and not block.endswith(b"\n"):
            newlines = np.append(newlines, len(block) - 1)
        ends = newlines[_filled(block, newlines, inside, records)] + 1
        first = unit_size - 1 - rows % unit_size
        offsets.extend((ends[first::unit_size] + offset).tolist())
        rows += len(ends)
        if len(newlines):
            begun = offset + int(newlines[-1]) + 1
        offset += cut
        inside = still_inside
        if offset + len(rest) - begun > LONGEST_RECORD or (inside and not read):
            why = "opens a quote that is never closed" if inside else "is longer than 256 MiB"
            raise ManifestUnusable(f"{file} row {rows + 1} {why}")
        if not read:
            break
    if rows % unit_size:
        offsets.append(offset)
    return Extent(rows, offsets)


def _filled(block: bytes, newlines: np.ndarray, inside: bool, records: Records) -> np.ndarray:
    """Tells the lines that hold a record, looking only at those that begin like a blank one."""
    filled = np.ones(len(newlines), bool)
    starts = np.concatenate([[0], newlines[:-1] + 1]) if len(newlines) else newlines
    for i in np.flatnonzero(np.frombuffer(block, np.uint8)[starts] <= 32):
        within = inside and i == 0
        filled[i] = within or not records.is_blank(block[starts[i] : newlines[i] + 1])
    return filled


@dataclass(frozen=True)
class Span:
    """A unit's bytes within its file, decompressed; may be opened any number of times."""

    file: str
    identity: str
    offset: int
    end: int

    def open(self) -> BinaryIO:
        if _needs_copy(self.file):
            copy = SPOOL.get((self.file, self.identity), self._decompress)
            return self._window(copy.read_at, lambda: None)
        stored = storage.open_input(self.file)

        def read_at(offset: int, size: int) -> bytes:
            stored.seek(offset)
            return stored.read(size)

        return self._window(read_at, stored.close)

    def held(self) -> Callable[[], BinaryIO]:
        """Gives how to open the bytes: from memory if they are few."""
        if self.end - self.offset > _HELD_UNIT:
            return self.open
        with self.open() as stream:
            data = stream.read()
        return lambda: io.BytesIO(data)

    def _window(self, read_at: Callable[[int, int], bytes], close: Callable[[], None]) -> BinaryIO:
        return io.BufferedReader(_Window(read_at, close, self.offset, self.end), _BUFFER)

    def _decompress(self, copy: BinaryIO) -> None:
        with open_text(self.file) as stream:
            while block := stream.read(_BLOCK):
                copy.write(block)


def _needs_copy(file: str) -> bool:
    """Tells the files that give no bytes from their middle: gzip, and what web servers send."""
    return file.lower().endswith(".gz") or is_web(file)


class _Window(io.RawIOBase):
    """Part of a file as a stream."""

    def __init__(
        self, read_at: Callable[[int, int], bytes], close: Callable[[], None], start: int, stop: int
    ) -> None:
        self._read_at = read_at
        self._close = close
        self._at = start
        self._stop = stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read_at(self._at, min(len(buffer), self._stop - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._close()
        super().close()


def read_rows(
    manifest: Manifest, unit: WorkUnit, parse: Callable[[BinaryIO], Iterator[Row]]
) -> UnitRows:
    """Reads a unit.

    Args:
      manifest: the manifest.
      unit: the unit.
      parse: gives the rows in a stream; their values fit the manifest's schema.

    Raises:
      ManifestUnusable: the file no longer holds what was planned.
    """
    assert manifest.columns is not None
    opened = Span(unit.file, manifest.identity, unit.offset, unit.end).held()
    values: dict[str, list[Any]] = {name: [] for name in manifest.schema.names}
    rows = 0
    with opened() as stream:
        for row in parse(stream):
            for name, column in values.items():
                column.append(None if isinstance(row, str) else row.get(name))
            rows += 1
    if rows != unit.rows:
        raise ManifestUnusable(
            f"{unit.file} has changed since it was planned: {rows} rows where {unit.rows} were"
        )
    table = without_columns(rows)
    for field in manifest.schema:
        table = table.append_column(field, pa.array(values[field.name], field.type))
    return UnitRows(_records(manifest, manifest.columns, unit, opened, parse), table)


def _records(
    manifest: Manifest,
    columns: Columns,
    unit: WorkUnit,
    opened: Callable[[], BinaryIO],
    parse: Callable[[BinaryIO], Iterator[Row]],
) -> Iterator[ImageRecord]:
    with opened() as stream:
        for number, row in enumerate(parse(stream)):
            if isinstance(row, str):
                yield bad_row(manifest, unit, number, row)
                continue
            key = row.get(columns.key) if columns.key is not None else None
            place = place_of(manifest, unit, number)
            yield record_from_values(row.get(columns.image), key, manifest.base, number, place)
