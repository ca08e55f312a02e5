"""What a manifest is to the rest of the job, whatever kind of file it comes from."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ...transforms.errors import ManifestError
from ...transforms.records import ImageRecord
from ...transforms.rows import Columns, is_web
from .lots import Lot

_MAX_STEM = 40


class ManifestUnusable(ValueError):
    """The manifest as a whole cannot be used; one line says why and what would do."""


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was found when the job was launched; small and picklable.

    Attributes:
      uri: as given; absolute where it is local.
      kind: `parquet`, `csv`, `tsv`, `jsonl` or `images`.
      base: the folder that relative paths resolve against, and that file names are relative to.
      columns: those with a meaning of their own; None for a folder of images.
      schema: of the others, which go out as they came in; names and types as in the manifest.
      identity: hexadecimal SHA-256 over the names, sizes and contents (or the stores' checksums)
        of the files.
      files: how many there are.
      bytes: how much they hold.
      lot: those of them that are new; stays on the machine that launches the job.
      mended: lots by their numbers, as they are since pictures of theirs were mended; stays there.
    """

    uri: str
    kind: str
    base: str
    columns: Columns | None
    schema: pa.Schema
    identity: str
    files: int
    bytes: int
    lot: Lot | None = field(default=None, compare=False, repr=False)
    mended: Mapping[int, Lot] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "lot": None, "mended": {}}

    def relative(self, file: str) -> str:
        """Gives the name of one of the manifest's files relative to its base."""
        return relative_to(self.base, file)


@dataclass(frozen=True)
class WorkUnit:
    """A few rows of one file, worked on and committed together.

    Attributes:
      name: safe as a file name everywhere, and the same whenever the manifest is planned.
      file: URI of the file that holds the rows.
      start: the first row, from 0.
      rows: how many.
      offset, end: of a text file, where in its (decompressed) bytes the rows lie.
      paths: of a folder of images, the unit's images relative to the manifest's base.
    """

    name: str
    file: str
    start: int
    rows: int
    offset: int = 0
    end: int = 0
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitRows:
    """The rows of one unit.

    Attributes:
      records: one a row, in order; read as they are taken, so that inline pictures are never all
        in memory. Their `columns` are empty.
      columns: the manifest's other columns, with its `schema`; row i belongs to the record whose
        `row` is i.
    """

    records: Iterator[ImageRecord]
    columns: pa.Table


@dataclass(frozen=True)
class Extent:
    """What planning knows of one file.

    Attributes:
      rows: how many it holds.
      offsets: of a text file, where each unit begins and where the last one ends.
    """

    rows: int
    offsets: Sequence[int] = ()


def relative_to(base: str, file: str) -> str:
    """Gives the name of a file relative to a folder that it is in."""
    return without_query(file).removeprefix(base if base.endswith("/") else base + "/")


def without_query(uri: str) -> str:
    """Drops a web address's query, where signatures are that change from day to day."""
    return uri.partition("?")[0] if is_web(uri) else uri


def without_columns(rows: int) -> pa.Table:
    """Makes a table of rows that have no columns yet."""
    return pa.table({"": pa.nulls(rows)}).select([])


def file_label(relative: str) -> str:
    """Names a file, given relative to the manifest's base, so that it is safe everywhere.

    Returns:
      What is readable of its name, up to 40 characters, and 8 hexadecimal digits of the path's
      SHA-256.
    """
    stem = posixpath.splitext(posixpath.basename(relative).removesuffix(".gz"))[0]
    # Readers of Parquet folders take a leading underscore for a sign to skip the file.
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:_MAX_STEM].strip("_-") or "manifest"
    digest = hashlib.sha256(relative.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe}-{digest}"


def unit_name(label: str, start: int) -> str:
    """Names a unit after its file's label and its first row."""
    return f"{label}-{start:09d}"


def units_of(manifest: Manifest, file: str, extent: Extent, unit_size: int) -> Iterator[WorkUnit]:
    """Cuts one file into units."""
    label = file_label(manifest.relative(file))
    for number, start in enumerate(range(0, extent.rows, unit_size)):
        offset, end = extent.offsets[number : number + 2] if extent.offsets else (0, 0)
        rows = min(unit_size, extent.rows - start)
        yield WorkUnit(unit_name(label, start), file, start, rows, offset, end)


def place_of(manifest: Manifest, unit: WorkUnit, row: int) -> str:
    """Names a row for a reader: its file and its number, from 1, among the file's rows."""
    return f"{manifest.relative(unit.file)} row {unit.start + row + 1}"


def bad_row(manifest: Manifest, unit: WorkUnit, row: int, problem: str) -> ImageRecord:
    """Makes the record of a row that could not be read."""
    place = place_of(manifest, unit, row)
    trouble = ManifestError("bad_row", f"{place}: {problem}")
    return ImageRecord(place, None, row=row, trouble=trouble)
