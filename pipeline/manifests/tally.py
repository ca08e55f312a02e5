"""What a listing of a manifest's files amounts to, beside what is known of them."""

from __future__ import annotations

import hashlib
import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...transforms import storage
from ...transforms.rows import is_web
from ...transforms.storage import FileInfo
from ...transforms.stream import ordered_map
from .contract import ManifestUnusable, relative_to
from .lots import Entry, Lot, LotWriter
from .streams import open_stream

# What a store's listing says that changes with the content and with nothing else.
_CHECKSUMS = {"md5Hash", "crc32c", "ETag", "etag", "generation"}
_HASHED_FILE = 64 << 20
_HASHED_TOTAL = 2 << 30
_END = 64 << 10
_BLOCK = 1 << 20
_HASH_THREADS = 16
HEADS = 16


class ManifestChanged(ManifestUnusable):
    """A file of the manifest is not what it was when it was taken up."""


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
    """

    known: Sequence[Lot] = ()
    quiet: float = 0.0
    left_out: frozenset[str] = frozenset()
    marks: dict[tuple[FileInfo, bool], str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    apart: str | None = None
    identify: bool = True

    def is_apart(self, file: str) -> bool:
        return self.apart is not None and file.startswith(self.apart.rstrip("/") + "/")


class Tally:
    """What a listing amounts to, beside what is known. Tables are kept, since few."""

    def __init__(self, base: str, is_images: bool, look: Look) -> None:
        self.files = self.bytes = 0
        self.heads: list[str] = []
        self._base = base
        self._is_images = is_images
        self._look = look
        self._known = heapq.merge(*(lot.entries() for lot in look.known), key=lambda e: e.path)
        self._next = next(self._known, None)
        self._old: list[tuple[FileInfo, Entry]] = []
        self._new: list[FileInfo] = []
        self._lot = LotWriter()

    def add(self, file: FileInfo) -> None:
        """Takes up the next file of the listing, which is sorted."""
        path = relative_to(self._base, file.uri)
        self._miss(before=path)
        if self._next is not None and self._next.path == path:
            self._check(file, self._next)
            self._next = next(self._known, None)
        elif file.uri in self._look.left_out or self._is_young(file):
            return
        elif self._is_images and self._look.identify:
            mark = file.fingerprint if _has_checksum(file) else ""
            self._lot.add(Entry(path, file.size, mark))
        elif self._look.identify:
            self._new.append(file)
        self.files += 1
        self.bytes += file.size
        if len(self.heads) < HEADS:
            self.heads.append(file.uri)

    def close(self) -> tuple[Lot, str]:
        """Gives the new files as a lot, and the identity of all.

        Raises:
          ManifestChanged: a known file has another content or is gone.
        """
        self._miss(before=None)
        marks = _in_threads(lambda pair: self._mark(pair[0], " " not in pair[1].mark), self._old)
        for (file, entry), mark in zip(self._old, marks, strict=True):
            if mark != entry.mark:
                raise ManifestChanged(f"{file.uri} has another content")
        whole = sum(file.size for file in self._new if not _has_checksum(file)) <= _HASHED_TOTAL
        marks = _in_threads(lambda file: self._mark(file, whole), self._new)
        for file, mark in zip(self._new, marks, strict=True):
            self._lot.add(Entry(relative_to(self._base, file.uri), file.size, mark))
        lot = self._lot.close()
        digest = hashlib.sha256()
        for part in (*self._look.known, lot):
            for entry in part.entries():
                line = "\0".join((entry.path, str(entry.size), entry.mark))
                digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
        return lot, digest.hexdigest()

    def _mark(self, file: FileInfo, whole: bool) -> str:
        marks = self._look.marks
        if (file, whole) not in marks or not file.fingerprint:
            marks[file, whole] = _content_mark(file, whole)
        return marks[file, whole]

    def _miss(self, before: str | None) -> None:
        """Refuses that a known file is not in the listing up to a path."""
        if self._next is not None and (before is None or self._next.path < before):
            raise ManifestChanged(f"{storage.join(self._base, self._next.path)} is gone")

    def _check(self, file: FileInfo, entry: Entry) -> None:
        same = file.size == entry.size
        if same and self._is_images:
            same = not entry.mark or entry.mark == file.fingerprint
        if not same:
            raise ManifestChanged(f"{file.uri} has another content")
        if not self._is_images:
            self._old.append((file, entry))

    def _is_young(self, file: FileInfo) -> bool:
        """Tells a local file that may still be written: changed a moment ago by any clock."""
        if not self._look.quiet or not storage.is_local(file.uri):
            return False
        changed = os.stat(storage.local_path(file.uri)).st_mtime
        return abs(time.time() - changed) < self._look.quiet


def _in_threads(function: Callable[[Any], str], items: Sequence[Any]) -> Iterator[str]:
    return ordered_map(function, items, threads=_HASH_THREADS, lookahead=2 * _HASH_THREADS)


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
