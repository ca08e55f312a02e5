"""The rows of a dataset, file by file, as checks that may run in any thread."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, BinaryIO

from ..layouts.contract import StoredFile
from ..paths import DatasetPaths
from ..stored_content import Damaged, open_stored
from .marker import load_marker
from .picture import Form, picture_faults
from .stored_rows import StoredRow, error_rows, parquet_rows, shard_rows

# Gives the broken promises it finds, one line each.
Check = Callable[[], list[str]]

SUMS = 1 << 64  # what sums of hashes are taken modulo

_MARKERS = 64


@dataclass
class Owner:
    """What a unit, or one file of a compaction, turns out to hold.

    Attributes:
      name: for messages.
      expected, expected_failed: rows that are to be in `data/` and `errors/`.
      wanted: which of its pictures are looked at, counted from 0; None for all.
      alone: whether this is a unit all of whose rows are in its own files.
      listed: a unit's files by path; those that a row names are taken out.
      names: of a unit's pictures that are columns; no two are the same.
      rows, failed, pictures: found.
      balance: sum of hashes of the rows in `data/`, less that of the rows in `shards/`.
      whole: whether every file could be read.
    """

    name: str
    expected: int
    expected_failed: int
    wanted: frozenset[int] | None
    alone: bool
    listed: dict[str, StoredFile] | None = None
    names: set[str | None] = field(default_factory=set)
    rows: int = 0
    failed: int = 0
    pictures: int = 0
    balance: int = 0
    whole: bool = True

    def weigh(self, row: StoredRow, sign: int) -> None:
        """Puts a row on one side of the balance."""
        value = int.from_bytes(hashlib.blake2b(row.text, digest_size=8).digest(), "little")
        self.balance = (self.balance + sign * value) % SUMS


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
      partitions: columns that are Hive folders.
      pictures: columns that hold pictures.
    """

    def __init__(
        self,
        paths: DatasetPaths,
        settings: Mapping[str, Any],
        partitions: Iterable[str],
        pictures: tuple[str, ...],
    ) -> None:
        self._paths = paths
        self._hash = settings["settings_hash"]
        self._layout = settings["settings"]["layout"]
        self._form = Form.of(settings["settings"])
        self._partitions = frozenset(partitions)
        self._pictures = pictures
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
            owner.failed += error_rows(content)
        elif path.startswith("shards/"):
            for row in shard_rows(content, self._partitions):
                owner.weigh(row, -1)
                if self._looks_at_next(owner):
                    yield self._check(path, row, row.image, row.mask)
        elif self._layout == "webdataset":
            for row in parquet_rows(content, whole=True):
                owner.rows += 1
                owner.weigh(row, 1)
        else:
            for row in parquet_rows(content, self._pictures):
                owner.rows += 1
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
        if owner.listed is not None:
            named = (row.columns["image_path"], row.columns["mask_path"])
            claimed = {name: owner.listed.pop(name, None) for name in named}
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
    if (owner.rows, owner.failed) != (owner.expected, owner.expected_failed):
        yield (
            f"{owner.name}: there are {owner.rows} rows in data/ and {owner.failed} in errors/, "
            f"and not {owner.expected} and {owner.expected_failed}"
        )
    if not owner.alone:
        return
    for path in owner.listed or ():
        if path.startswith(("images/", "masks/")):
            yield f"{path}: no row names this picture"
    if owner.balance:
        yield f"{owner.name}: its rows in data/ are not those in shards/"


def _line(path: str, row: StoredRow, fault: str) -> str:
    return f"{path}: {row.columns.get('key')!r}: {fault}"


def found(*faults: str) -> Check:
    """Makes a check of faults that were found already."""
    return lambda: list(faults)
