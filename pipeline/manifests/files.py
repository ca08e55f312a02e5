"""Which files a manifest consists of, and a hash that tells whether they are still the same."""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...transforms import storage
from ...transforms.rows import is_web
from ...transforms.storage import FileInfo
from ...transforms.stream import ordered_map
from .contract import Manifest, ManifestUnusable, relative_to, without_query

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


@dataclass(frozen=True)
class Found:
    """The files behind a manifest's URI.

    Attributes:
      uri, kind, base, identity, files, bytes: as in `Manifest`.
      heads: the first few of them, sorted by URI; all of one kind.
    """

    uri: str
    kind: str
    base: str
    heads: tuple[str, ...]
    identity: str
    files: int
    bytes: int


def find_files(uri: str) -> Found:
    """Finds the files behind a manifest's URI.

    Args:
      uri: a file, a folder or a glob.

    Raises:
      ManifestUnusable: there are none, they are of several kinds, or cannot be listed or read.
    """
    try:
        spelled = _spell(uri)
        tallies: dict[str, _Tally] = {}
        base = _glob_base(spelled) if _is_glob(spelled) else spelled
        for file in _list(spelled):
            if file.uri == spelled:
                base = _folder(spelled)
            kind = _kind(file.uri, alone=file.uri == spelled or _is_glob(spelled))
            if kind is not None and not _is_hidden(relative_to(base, file.uri), kind):
                tallies.setdefault(kind, _Tally()).add(file, base, is_image=kind == "images")
        if len(tallies) != 1:
            raise _not_one_kind(uri, spelled, tallies)
        ((kind, tally),) = tallies.items()
        identity = tally.identity(base)
    except ManifestUnusable:
        raise
    except FileNotFoundError as error:
        if is_web(uri) and isinstance(error.__cause__, Exception):
            raise unreadable(uri, error.__cause__) from error
        raise ManifestUnusable(f"there is no manifest {uri}") from error
    except Exception as error:
        raise unreadable(uri, error) from error
    return Found(spelled, kind, base, tuple(tally.heads), identity, tally.files, tally.bytes)


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


@dataclass
class _Tally:
    """What a listing amounts to. Tables are kept, since few; pictures are only counted."""

    files: int = 0
    bytes: int = 0
    heads: list[str] = field(default_factory=list)
    tables: list[FileInfo] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, file: FileInfo, base: str, is_image: bool) -> None:
        self.files += 1
        self.bytes += file.size
        if len(self.heads) < 16:
            self.heads.append(file.uri)
        if is_image:
            checksum = file.fingerprint if _has_checksum(file) else ""
            self.digest.update(_line(file, base, checksum))
        else:
            self.tables.append(file)

    def identity(self, base: str) -> str:
        whole = sum(file.size for file in self.tables if not _has_checksum(file)) <= _HASHED_TOTAL
        marks = ordered_map(
            lambda file: _content_mark(file, whole),
            self.tables,
            threads=_HASH_THREADS,
            lookahead=2 * _HASH_THREADS,
        )
        for file, mark in zip(self.tables, marks, strict=True):
            self.digest.update(_line(file, base, mark))
        return self.digest.hexdigest()


def _line(file: FileInfo, base: str, mark: str) -> bytes:
    parts = (relative_to(base, file.uri), str(file.size), mark)
    return "\0".join(parts).encode("utf-8", "surrogatepass") + b"\n"


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


def _spell(uri: str) -> str:
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
        return ManifestUnusable(f"no file that matches {uri} is a manifest ({known}) or an image")
    if not storage.exists(spelled):
        return ManifestUnusable(f"there is no manifest {uri}")
    if storage.is_folder(spelled):
        return ManifestUnusable(f"the folder {uri} holds neither manifests ({known}) nor images")
    return ManifestUnusable(f"{uri} is no manifest by its name: it may end in {known}")
