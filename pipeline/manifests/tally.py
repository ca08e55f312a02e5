"""What a listing of a manifest's files amounts to, beside what is known of them."""

from __future__ import annotations

import hashlib
import heapq
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Any, TypeVar

from ...transforms import storage
from ...transforms.rows import is_web
from ...transforms.storage import FileInfo
from ...transforms.stream import ordered_map
from .contract import ManifestUnusable, relative_to
from .images import lot_label
from .lots import Entry, Lot, LotWriter
from .streams import open_stream

# What a store's listing says that changes with the content and with nothing else.
_CHECKSUMS = {"md5Hash", "crc32c", "ETag", "etag", "generation"}
_HASHED_FILE = 64 << 20
_HASHED_TOTAL = 2 << 30
_END = 64 << 10
_BLOCK = 1 << 20
_HASH_THREADS = 16
_ASKED_AT_ONCE = 1024
HEADS = 16

Result = TypeVar("Result")


class ManifestChanged(ManifestUnusable):
    """A file of the manifest is not what it was when it was taken up.

    Attributes:
      mendable: whether it is a picture whose row failed, so that it may be run again.
    """

    def __init__(self, message: str, mendable: bool = False) -> None:
        super().__init__(message)
        self.mendable = mendable


@dataclass(frozen=True)
class Look:
    """How the files of a manifest are looked at that was looked at before.

    Attributes:
      known: the lots it consists of so far.
      quiet: seconds for which a new local file must have been left alone to be taken up.
      left_out: new files that are not to be taken up.
      marks: what earlier looks of this process read, so that what was not touched is not read.
      told: what was said before of files that are left out.
      apart: a folder whose files are none of the manifest's, as listings spell it.
      identify: whether files are read and noted; else identity and lot are those of no files.
      failed: tells by the label of a lot's units and the position of a picture in the lot whether
        its row failed; None where that is not known of any.
      mends: whether pictures may have changed whose rows failed.
    """

    known: Sequence[Lot] = ()
    quiet: float = 0.0
    left_out: frozenset[str] = frozenset()
    marks: dict[tuple[FileInfo, bool], str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    apart: str | None = None
    identify: bool = True
    failed: Callable[[str, int], bool] | None = None
    mends: bool = False

    def is_apart(self, file: str) -> bool:
        return self.apart is not None and file.startswith(self.apart.rstrip("/") + "/")


@dataclass(frozen=True)
class Sums:
    """What a tally comes to.

    Attributes:
      lot: the new files.
      mended: known lots by their numbers, where something else is noted of a picture now.
      identity: hexadecimal SHA-256 over what is noted of all files.
    """

    lot: Lot
    mended: Mapping[int, Lot]
    identity: str


@dataclass(frozen=True)
class _Known:
    """A file that was taken up, and its place: the number of its lot, and its position there."""

    entry: Entry
    lot: int
    position: int


class Tally:
    """What a listing amounts to, beside what is known. Tables are kept, since few."""

    def __init__(self, base: str, is_images: bool, look: Look) -> None:
        self.files = self.bytes = 0
        self.heads: list[str] = []
        self._base = base
        self._is_images = is_images
        self._look = look
        self._known = heapq.merge(*_placed(look.known), key=lambda known: known.entry.path)
        self._next = next(self._known, None)
        self._old: list[tuple[FileInfo, Entry]] = []
        self._changed: list[tuple[FileInfo, _Known]] = []
        self._mended: dict[int, dict[int, Entry]] = defaultdict(dict)
        self._new: list[FileInfo] = []
        self._lot = LotWriter()

    def add(self, file: FileInfo) -> None:
        """Takes up the next file of the listing, which is sorted."""
        path = relative_to(self._base, file.uri)
        self._miss(before=path)
        if self._next is not None and self._next.entry.path == path:
            self._check(file, self._next)
            self._next = next(self._known, None)
        elif file.uri in self._look.left_out or self._is_young(file):
            return
        elif self._is_images and self._look.identify:
            self._lot.add(_picture(path, file))
        elif self._look.identify:
            self._new.append(file)
        self.files += 1
        self.bytes += file.size
        if len(self.heads) < HEADS:
            self.heads.append(file.uri)

    def close(self) -> Sums:
        """Sums up.

        Raises:
          ManifestChanged: a known file has another content or is gone.
        """
        self._miss(before=None)
        self._mend()
        marks = _in_threads(lambda pair: self._mark(pair[0], " " not in pair[1].mark), self._old)
        for (file, entry), mark in zip(self._old, marks, strict=True):
            if mark != entry.mark:
                raise ManifestChanged(f"{file.uri} has another content")
        whole = sum(file.size for file in self._new if not _has_checksum(file)) <= _HASHED_TOTAL
        marks = _in_threads(lambda file: self._mark(file, whole), self._new)
        for file, mark in zip(self._new, marks, strict=True):
            self._lot.add(Entry(relative_to(self._base, file.uri), file.size, mark))
        lot = self._lot.close()
        known = self._look.known
        mended = {number: known[number].noting(new) for number, new in self._mended.items()}
        digest = hashlib.sha256()
        for part in (*(mended.get(number, old) for number, old in enumerate(known)), lot):
            for entry in part.entries():
                line = "\0".join((entry.path, str(entry.size), entry.mark))
                digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
        return Sums(lot, mended, digest.hexdigest())

    def _mark(self, file: FileInfo, whole: bool) -> str:
        marks = self._look.marks
        if (file, whole) not in marks or not file.fingerprint:
            marks[file, whole] = _content_mark(file, whole)
        return marks[file, whole]

    def _miss(self, before: str | None) -> None:
        """Refuses that a known file is not in the listing up to a path."""
        if self._next is not None and (before is None or self._next.entry.path < before):
            raise ManifestChanged(f"{storage.join(self._base, self._next.entry.path)} is gone")

    def _check(self, file: FileInfo, known: _Known) -> None:
        entry = known.entry
        same = file.size == entry.size
        if same and self._is_images:
            same = not entry.mark or entry.mark == file.fingerprint
        if not same:
            if not self._is_images or self._look.failed is None:
                raise ManifestChanged(f"{file.uri} has another content")
            self._changed.append((file, known))
            if len(self._changed) == _ASKED_AT_ONCE:
                self._mend()
        elif not self._is_images:
            self._old.append((file, entry))

    def _mend(self) -> None:
        """Takes up what changed of pictures whose rows failed, where it may; refuses all else."""
        for (file, known), failed in zip(
            self._changed, _in_threads(self._has_failed, self._changed), strict=True
        ):
            told = f"{file.uri} has another content, and its row"
            if not failed:
                raise ManifestChanged(f"{told} did not fail")
            if not self._look.mends:
                raise ManifestChanged(f"{told} failed", mendable=True)
            self._mended[known.lot][known.position] = _picture(known.entry.path, file)
        self._changed.clear()

    def _has_failed(self, changed: tuple[FileInfo, _Known]) -> bool:
        assert self._look.failed is not None
        _, known = changed
        return self._look.failed(lot_label(self._base, known.lot), known.position)

    def _is_young(self, file: FileInfo) -> bool:
        """Tells a local file that may still be written: changed a moment ago by any clock."""
        if not self._look.quiet or not storage.is_local(file.uri):
            return False
        changed = os.stat(storage.local_path(file.uri)).st_mtime
        return abs(time.time() - changed) < self._look.quiet


def _in_threads(function: Callable[[Any], Result], items: Sequence[Any]) -> Iterator[Result]:
    return ordered_map(function, items, threads=_HASH_THREADS, lookahead=2 * _HASH_THREADS)


def _placed(lots: Sequence[Lot]) -> Iterator[Iterator[_Known]]:
    for number, lot in enumerate(lots):
        yield map(_Known, lot.entries(), repeat(number), count())


def _picture(path: str, file: FileInfo) -> Entry:
    return Entry(path, file.size, file.fingerprint if _has_checksum(file) else "")


def _has_checksum(file: FileInfo) -> bool:
    return file.fingerprint.partition(":")[0] in _CHECKSUMS


def _content_mark(file: FileInfo, whole: bool) -> str:
    """Gives what changes with a file's content: its checksum, hash, or ends and time of change."""
    if _has_checksum(file):
        return file.fingerprint
    digest = hashlib.sha256()
    with open_stream(file.uri) as stream:
        if (whole and file.size <= _HASHED_FILE) or is_web(file.uri):
            while block := stream.read(_BLOCK):
                digest.update(block)
            return digest.hexdigest()
        digest.update(stream.read(_END))
        stream.seek(max(file.size - _END, 0))
        digest.update(stream.read(_END))
    return f"{digest.hexdigest()} {file.fingerprint}"
