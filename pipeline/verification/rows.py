"""The rows of a dataset, file by file, as checks that may run in any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, BinaryIO

from ..layouts.contract import StoredFile
from ..paths import DatasetPaths
from ..row_sums import IDENTITY, SUMS, row_value, value_of
from ..stored_content import Damaged, open_stored
from .amounts import same_cost
from .marker import load_marker
from .picture import Form, picture_faults
from .schemas import Schemas
from .stored_rows import StoredRow, error_rows, parquet_rows, shard_rows

# Gives the broken promises it finds, one line each.
Check = Callable[[], list[str]]

_MARKERS = 64


@dataclass
class Owner:
    """What a unit, or one file of a compaction, turns out to hold.

    Attributes:
      name: for messages.
      expected: rows that are to be in `data/`.
      expected_errors: rows that are to be in `errors/`, by class.
      wanted: which of its pictures are looked at, counted from 0; None for all.
      alone: whether this is a unit all of whose rows are in its own files.
      listed: a unit's files by path; those that a row names are taken out.
      names: of a unit's pictures that are columns; no two are the same.
      merged: whether it is of a compaction: its rows are to be in the order of their keys.
      cost_usd: that its rows are to add up to, where all of them are its own.
      rows, errors, pictures, paid_usd: found.
      rows_sum: over the rows of a compaction's file.
      balance: sum of hashes of the rows in `data/`, less that of the rows in `shards/`; without
        shards, of the pictures that rows name, less those that a unit has and none of its own names.
      whole: whether every file could be read.
    """

    name: str
    expected: int
    expected_errors: Mapping[str, int]
    wanted: frozenset[int] | None
    alone: bool
    merged: bool = False
    cost_usd: float = 0.0
    listed: dict[str, StoredFile] | None = None
    names: set[str | None] = field(default_factory=set)
    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    paid_usd: float = 0.0
    rows_sum: int = 0
    balance: int = 0
    whole: bool = True

    def weigh(self, text: bytes, sign: int) -> None:
        """Puts a row, or the name of a picture, on one side of the balance."""
        self.balance = (self.balance + sign * value_of(text)) % SUMS

    def close(self) -> None:
        """Weighs the pictures of those rows that stand elsewhere."""
        if not self.alone:
            for path in self.unnamed():
                self.weigh(path.encode(), -1)

    def unnamed(self) -> Iterator[str]:
        """Gives the pictures that no row of its own files names."""
        for path in self.listed or ():
            if path.startswith(("images/", "masks/")):
                yield path


@dataclass(frozen=True)
class Contents:
    """A file with rows.

    Attributes:
      file: as its marker lists it.
      owner: what it is part of.
      content: the open file; None before it is opened, and where it is missing.
      fault: why it cannot be opened.
    """

    file: StoredFile
    owner: Owner
    content: BinaryIO | None = None
    fault: str | None = None


class RowChecks:
    """Goes through the files that hold rows.

    Args:
      paths: of the dataset.
      settings: the content of `dataset.json`.
      schemas: of the rows.
    """

    def __init__(
        self,
        paths: DatasetPaths,
        settings: Mapping[str, Any],
        schemas: Schemas,
    ) -> None:
        self._paths = paths
        self._hash = settings["settings_hash"]
        self._layout = settings["settings"]["layout"]
        self._form = Form.of(settings["settings"])
        self._schemas = schemas
        self.looked_at = 0
        self._files_of = lru_cache(_MARKERS)(self._load_files)

    def open(self, contents: Contents) -> Contents:
        """Opens a file, if its content is what its marker says."""
        try:
            return replace(contents, content=open_stored(self._paths, contents.file))
        except FileNotFoundError:  # which the comparison with what is stored tells
            return contents
        except (Damaged, OSError) as error:
            return replace(contents, fault=str(error))

    def checks(self, contents: Contents) -> Iterator[Check]:
        """Gives the checks of an open file's rows, and closes it."""
        path, owner = contents.file.path, contents.owner
        if contents.content is None:
            owner.whole = False
            if contents.fault:
                yield found(f"{path}: {contents.fault}")
            return
        try:
            with contents.content as content:
                yield from self._within(path, owner, content)
        except Exception as error:  # noqa: BLE001 - readers raise all sorts for broken files
            owner.whole = False
            what = str(error) if isinstance(error, Damaged) else f"cannot be read: {error}"
            yield found(f"{path}: {' '.join(what.split())}")

    def _within(self, path: str, owner: Owner, content: BinaryIO) -> Iterator[Check]:
        if path.startswith("errors/"):
            owner.errors += error_rows(content, self._schemas.errors)
            return
        if path.startswith("shards/"):
            for row in shard_rows(content, self._schemas.partitions):
                owner.weigh(row.text, -1)
                if self._looks_at_next(owner):
                    yield self._check(path, row, row.image, row.mask)
            return
        form = self._schemas.form(path)
        before = ""
        for row in parquet_rows(
            content, form, self._schemas.pictures, whole=self._layout == "webdataset"
        ):
            owner.rows += 1
            owner.paid_usd += row.columns["cost_usd"] or 0.0
            key = row.columns["key"] or ""
            if owner.merged:
                identity = (row.columns[name] for name in IDENTITY)
                owner.rows_sum = (owner.rows_sum + row_value(*identity)) % SUMS
                if key.encode() < before.encode():
                    fault = f"it stands behind {before!r}: rows are not sorted"
                    yield found(_line(path, row, fault))
            before = key
            if (fault := self._schemas.row_fault(row.columns, form.folder)) is not None:
                yield found(_line(path, row, fault))
            if self._layout == "webdataset":
                owner.weigh(row.text, 1)
                continue
            check = self._row(path, owner, row)
            if self._looks_at_next(owner):
                yield check

    def _looks_at_next(self, owner: Owner) -> bool:
        owner.pictures += 1
        wanted = owner.wanted is None or owner.pictures - 1 in owner.wanted
        self.looked_at += wanted
        return wanted

    def _row(self, path: str, owner: Owner, row: StoredRow) -> Check:
        if self._layout == "embedded":
            if owner.listed is not None:  # elsewhere, rows of several units stand together
                if row.name in owner.names:
                    return found(_line(path, row, f"another row has the picture {row.name}, too"))
                owner.names.add(row.name)
            return self._check(path, row, row.image, row.mask)
        claimed = None
        named = (row.columns["image_path"], row.columns["mask_path"])
        if owner.listed is not None:
            claimed = {name: owner.listed.pop(name, None) for name in named}
        else:
            for name in filter(None, named):
                owner.weigh(name.encode(), 1)
        return lambda: self._with_files(path, row, claimed)

    def _with_files(
        self, path: str, row: StoredRow, claimed: dict[str, StoredFile | None] | None
    ) -> list[str]:
        """Checks a row whose pictures are files of their own."""
        pictures: list[bytes | None] = []
        for column in ("image_path", "mask_path"):
            name = row.columns[column]
            if name is None:
                pictures.append(None)
                continue
            files = self._files_beside(name) if claimed is None else claimed
            listed = files.get(name)
            if listed is None:
                fault = f"{column} {name} is not its unit's, or another row's as well"
                return [_line(path, row, fault)]
            try:
                with open_stored(self._paths, listed) as file:
                    pictures.append(file.read())
            except FileNotFoundError:
                return []
            except (Damaged, OSError) as error:
                return [f"{name}: {error}"]
        return self._check(path, row, *pictures)()

    def _check(self, path: str, row: StoredRow, image: bytes | None, mask: bytes | None) -> Check:
        def check() -> list[str]:
            try:
                if image is None:
                    return [_line(path, row, "it has no picture")]
                faults = list(picture_faults(row.columns, image, mask, self._form))
                if row.columns["settings_hash"] != self._hash:
                    faults.append(f"made with other settings ({row.columns['settings_hash']})")
            except Exception as error:  # noqa: BLE001 - rows may hold anything
                faults = [f"cannot be checked: {error!r}"]
            return [_line(path, row, fault) for fault in faults]

        return check

    def _files_beside(self, picture: str) -> dict[str, StoredFile]:
        """Gives the files of the unit that wrote a picture, as its path has it."""
        return self._files_of(self._paths.without_generation(picture.split("/")[-2:][0]))

    def _load_files(self, unit: str) -> dict[str, StoredFile]:
        try:
            return {file.path: file for file in load_marker(self._paths, unit).files}
        except (OSError, Damaged):
            return {}


def closing_faults(owner: Owner) -> Iterator[str]:
    """Checks what all files of a unit hold together, once they were gone through."""
    if not owner.whole:
        return
    failed, expected_failed = owner.errors.total(), sum(owner.expected_errors.values())
    if (owner.rows, failed) != (owner.expected, expected_failed):
        yield (
            f"{owner.name}: there are {owner.rows} rows in data/ and {failed} in errors/, "
            f"and not {owner.expected} and {expected_failed}"
        )
    elif owner.errors != owner.expected_errors:
        yield (
            f"{owner.name}: its rows in errors/ are {dict(owner.errors)} by their class, "
            f"and not {dict(owner.expected_errors)}"
        )
    if not owner.alone:
        return
    if not same_cost(owner.paid_usd, owner.cost_usd):
        yield f"{owner.name}: its rows cost ${owner.paid_usd:g}, it says ${owner.cost_usd:g}"
    for path in owner.unnamed():
        yield f"{path}: no row names this picture"
    if owner.balance:
        yield f"{owner.name}: its rows in data/ are not those in shards/"


def _line(path: str, row: StoredRow, fault: str) -> str:
    return f"{path}: {row.columns.get('key')!r}: {fault}"


def found(*faults: str) -> Check:
    """Makes a check of faults that were found already."""
    return lambda: list(faults)
