"""Which files a manifest consists of, and whether those that were known are still the same."""

from __future__ import annotations

import glob
import hashlib
import heapq
import itertools
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...transforms import storage
from ...transforms.rows import is_web
from ...transforms.storage import FileInfo
from ...transforms.stream import ordered_map
from .contract import Manifest, ManifestUnusable, relative_to, without_query
from .lots import Entry, Lot, LotWriter

_TABLES = {
    "parquet": (".parquet", ".pq", ".parq"),
    "csv": (".csv", ".csv.gz"),
    "tsv": (".tsv", ".tsv.gz", ".tab", ".tab.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"),
}
_IMAGES = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif", ".heic", ".heif",
)  # fmt: skip
# Beside pictures these hold annotations more often than manifests: only taken when asked for.
_JSON = (".json", ".json.gz")

# What a store's listing says that changes with the content and with nothing else.
_CHECKSUMS = {"md5Hash", "crc32c", "ETag", "etag", "generation"}
_HASHED_FILE = 64 << 20
_HASHED_TOTAL = 2 << 30
_END = 64 << 10
_BLOCK = 1 << 20
_HASH_THREADS = 16
_HEADS = 16


class ManifestEmpty(ManifestUnusable):
    """There is nothing yet where the manifest shall be."""


class ManifestChanged(ManifestUnusable):
    """A file of the manifest is not what it was when it was taken up."""


@dataclass(frozen=True)
class Found:
    """The files behind a manifest's URI.

    Attributes:
      uri, kind, base, identity, files, bytes, lot: as in `Manifest`.
      heads: the first few of its first lot, sorted by URI; all of one kind.
    """

    uri: str
    kind: str
    base: str
    heads: tuple[str, ...]
    identity: str
    files: int
    bytes: int
    lot: Lot


@dataclass(frozen=True)
class Look:
    """How the files of a manifest are looked at that was looked at before.

    Attributes:
      known: the lots it consists of so far.
      quiet: seconds for which a new local file must have been left alone to be taken up.
      left_out: new files that are not to be taken up.
      marks: what earlier looks of this process read, so that what was not touched is not read.
      told: what was said before of files that are left out.
      identify: whether files are read and noted; else identity and lot are those of no files.
    """

    known: Sequence[Lot] = ()
    quiet: float = 0.0
    left_out: frozenset[str] = frozenset()
    marks: dict[tuple[FileInfo, bool], str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    identify: bool = True


def find_files(uri: str, look: Look | None = None) -> Found:
    """Finds the files behind a manifest's URI.

    Args:
      uri: a file, a folder or a glob.
      look: what is known of them already; None for nothing.

    Raises:
      ManifestEmpty: there is a folder or a glob, and no file.
      ManifestChanged: a file that is known has another content or is gone.
      ManifestUnusable: there are none, they are of several kinds, or cannot be listed or read.
    """
    look = look or Look()
    try:
        spelled = spell(uri)
        tallies: dict[str, _Tally] = {}
        base = _glob_base(spelled) if _is_glob(spelled) else spelled
        for file in _list(spelled):
            if file.uri == spelled:
                base = _folder(spelled)
            kind = _kind(file.uri, alone=file.uri == spelled or _is_glob(spelled))
            if kind is not None and not _is_hidden(relative_to(base, file.uri), kind):
                if kind not in tallies:
                    tallies[kind] = _Tally(base, kind == "images", look)
                tallies[kind].add(file)
        tallies = {kind: tally for kind, tally in tallies.items() if tally.files}
        if len(tallies) != 1:
            raise _not_one_kind(uri, spelled, tallies)
        ((kind, tally),) = tallies.items()
        lot, identity = tally.close()
    except ManifestUnusable:
        raise
    except FileNotFoundError as error:
        if is_web(uri) and isinstance(error.__cause__, Exception):
            raise unreadable(uri, error.__cause__) from error
        raise ManifestUnusable(f"there is no manifest {uri}") from error
    except Exception as error:
        raise unreadable(uri, error) from error
    heads = tuple(first_files(look.known[0], base) if look.known else tally.heads)
    return Found(spelled, kind, base, heads, identity, tally.files, tally.bytes, lot)


def first_files(lot: Lot, base: str) -> list[str]:
    """Names the first few files of a lot."""
    return [storage.join(base, entry.path) for entry in itertools.islice(lot.entries(), _HEADS)]


def files_of(manifest: Manifest, lot: Lot | None) -> Iterator[str]:
    """Names the files of a lot."""
    if lot is None or not lot.files:
        return
    if is_web(manifest.uri) and not _is_glob(manifest.uri):
        yield manifest.uri  # whose query, where signatures are, belongs to today
        return
    for entry in lot.entries():
        yield storage.join(manifest.base, entry.path)


def list_again(manifest: Manifest) -> Iterator[str]:
    """Lists the files of a manifest, sorted by URI."""
    alone = _is_glob(manifest.uri)
    for file in _list(manifest.uri):
        if _is_hidden(manifest.relative(file.uri), manifest.kind):
            continue
        if _kind(file.uri, alone=alone or file.uri == manifest.uri) == manifest.kind:
            yield file.uri


def open_stream(uri: str) -> Any:
    """Opens a file to be read from front to back, which is all that some web servers allow."""
    if not is_web(uri):
        return storage.open_input(uri)
    fs, path = storage.resolve(uri)
    return fs.open(path, "rb", block_size=0)


def unreadable(uri: str, error: Exception) -> ManifestUnusable:
    """Says in one line that a file cannot be read, and why."""
    told = " ".join(str(error).split())[:300]
    return ManifestUnusable(f"cannot read {uri}: {told or type(error).__name__}")


class _Tally:
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
        if len(self.heads) < _HEADS:
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


def _kind(uri: str, alone: bool) -> str | None:
    """Tells a file's kind by its name; `alone` when it was asked for and not just found."""
    name = storage.basename(without_query(uri)).lower()
    for kind, suffixes in _TABLES.items():
        if name.endswith(suffixes):
            return kind
    if alone and name.endswith(_JSON):
        return "jsonl"
    return "images" if name.endswith(_IMAGES) else None


def _is_hidden(relative: str, kind: str) -> bool:
    marks = (".",) if kind == "images" else (".", "_")  # `_delta_log`, `_temporary`, …
    return any(part.startswith(marks) for part in relative.split("/"))


def spell(uri: str) -> str:
    """Spells a URI as listings do; local ones absolute, since workers may live elsewhere."""
    if storage.is_local(uri):
        return os.path.abspath(storage.local_path(uri))
    return storage.canonical(uri)


def _is_glob(uri: str) -> bool:
    return storage.has_glob(uri) and not (storage.is_local(uri) and os.path.lexists(uri))


def _glob_base(uri: str) -> str:
    parts = uri.split("/")
    plain = next(i for i, part in enumerate(parts) if storage.has_glob(part))
    return "/".join(parts[:plain]) or "/"


def _folder(uri: str) -> str:
    return storage.parent(without_query(uri))


def _list(uri: str) -> Iterator[FileInfo]:
    if is_web(uri) and not _is_glob(uri):
        fs, path = storage.resolve(uri)
        info = fs.info(path)  # the web has no folders: the address is the file
        mark = f"ETag:{info['ETag']}" if "ETag" in info else info.get("Last-Modified", "")
        yield FileInfo(uri, int(info["size"] or 0), mark)
    elif storage.has_glob(uri) and not _is_glob(uri):
        # A local path that only looks like a glob, such as `photos [2024]`.
        escaped = glob.escape(uri)
        yield from storage.list_files(
            posixpath.join(escaped, "**") if os.path.isdir(uri) else escaped
        )
    else:
        yield from storage.list_files(uri)


def _not_one_kind(uri: str, spelled: str, tallies: dict[str, _Tally]) -> ManifestUnusable:
    known = ", ".join(suffix for suffixes in _TABLES.values() for suffix in suffixes)
    if tallies:
        kinds = " and ".join(f"{tally.files} {kind}" for kind, tally in sorted(tallies.items()))
        return ManifestUnusable(
            f"{uri} holds files of several kinds ({kinds}): give the one to use, or a glob of them"
        )
    if _is_glob(spelled):
        return ManifestEmpty(f"no file that matches {uri} is a manifest ({known}) or an image")
    if not storage.exists(spelled):
        return ManifestUnusable(f"there is no manifest {uri}")
    if storage.is_folder(spelled):
        return ManifestEmpty(f"the folder {uri} holds neither manifests ({known}) nor images")
    return ManifestUnusable(f"{uri} is no manifest by its name: it may end in {known}")
