"""Which files a manifest consists of, and whether those that were known are still the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...transforms import storage
from ...transforms.rows import is_web
from ...transforms.storage import FileInfo
from .contract import Manifest, ManifestUnusable, relative_to, without_query
from .lots import Lot
from .tally import HEADS, Look, Tally

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


class ManifestEmpty(ManifestUnusable):
    """There is nothing yet where the manifest shall be."""


@dataclass(frozen=True)
class Found:
    """The files behind a manifest's URI.

    Attributes:
      uri, kind, base, identity, files, bytes, lot, mended: as in `Manifest`.
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
    mended: Mapping[int, Lot]


def find_files(uri: str, look: Look | None = None) -> Found:
    """Finds the files behind a manifest's URI.

    Args:
      uri: a file, a folder or a glob.
      look: what is known of them already; None for nothing.

    Raises:
      ManifestEmpty: there is no file yet that can be used.
      ManifestChanged: a file that is known has another content or is gone.
      ManifestUnusable: there are none, they are of several kinds, or cannot be listed or read.
    """
    look = look or Look()
    try:
        spelled = spell(uri)
        tallies: dict[str, Tally] = {}
        base = _glob_base(spelled) if _is_glob(spelled) else spelled
        if look.is_apart(f"{base}/"):
            raise ManifestUnusable(
                f"{uri} lies within --output, where only the dataset is: give another --output"
            )
        for file in _list(spelled):
            if look.is_apart(file.uri):
                continue
            if file.uri == spelled:
                base = _folder(spelled)
            kind = _kind(file.uri, alone=file.uri == spelled or _is_glob(spelled))
            if kind is not None and not _is_hidden(relative_to(base, file.uri), kind):
                if kind not in tallies:
                    tallies[kind] = Tally(base, kind == "images", look)
                tallies[kind].add(file)
        tallies = {kind: tally for kind, tally in tallies.items() if tally.files}
        if len(tallies) != 1:
            raise _not_one_kind(uri, spelled, tallies)
        ((kind, tally),) = tallies.items()
        sums = tally.close()
    except ManifestUnusable:
        raise
    except FileNotFoundError as error:
        if is_web(uri) and isinstance(error.__cause__, Exception):
            raise unreadable(uri, error.__cause__) from error
        raise ManifestUnusable(f"there is no manifest {uri}") from error
    except Exception as error:
        raise unreadable(uri, error) from error
    heads = tuple(first_files(look.known[0], base) if look.known else tally.heads)
    return Found(
        spelled,
        kind,
        base,
        heads,
        sums.identity,
        tally.files,
        tally.bytes,
        sums.lot,
        sums.mended,
    )


def first_files(lot: Lot, base: str) -> list[str]:
    """Names the first few files of a lot."""
    return [storage.join(base, entry.path) for entry in itertools.islice(lot.entries(), HEADS)]


def files_of(manifest: Manifest, lot: Lot | None, start: int = 0) -> Iterator[str]:
    """Names the files of a lot from a position on."""
    if lot is None or start >= lot.files:
        return
    if is_web(manifest.uri) and not _is_glob(manifest.uri):
        yield manifest.uri  # whose query, where signatures are, belongs to today
        return
    for entry in lot.entries(start):
        yield storage.join(manifest.base, entry.path)


def list_again(manifest: Manifest) -> Iterator[str]:
    """Lists the files of a manifest, sorted by URI."""
    alone = _is_glob(manifest.uri)
    for file in _list(manifest.uri):
        if _is_hidden(manifest.relative(file.uri), manifest.kind):
            continue
        if _kind(file.uri, alone=alone or file.uri == manifest.uri) == manifest.kind:
            yield file.uri


def unreadable(uri: str, error: Exception) -> ManifestUnusable:
    """Says in one line that a file cannot be read, and why."""
    told = " ".join(str(error).split())[:300]
    return ManifestUnusable(f"cannot read {uri}: {told or type(error).__name__}")


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
    """Tells a glob from a local path that only looks like one, such as `photos [2024]`."""
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
    elif _is_glob(uri):
        yield from storage.glob_files(uri)
    else:
        yield from storage.list_files(uri)


def _not_one_kind(uri: str, spelled: str, tallies: dict[str, Tally]) -> ManifestUnusable:
    known = ", ".join(suffix for suffixes in _TABLES.values() for suffix in suffixes)
    if tallies:
        kinds = " and ".join(f"{tally.files} {kind}" for kind, tally in sorted(tallies.items()))
        return ManifestUnusable(
            f"{uri} holds files of several kinds ({kinds}): give the one to use, or a glob of them"
        )
    if _is_glob(spelled):
        return ManifestEmpty(f"no file that matches {uri} is a manifest ({known}) or an image")
    if not storage.exists(spelled):
        return ManifestEmpty(f"there is no manifest {uri}")
    if storage.is_folder(spelled):
        return ManifestEmpty(f"the folder {uri} holds neither manifests ({known}) nor images")
    if _kind(spelled, alone=True) is not None:
        return ManifestEmpty(f"{uri} was changed a moment ago and may not be whole")
    return ManifestUnusable(f"{uri} is no manifest by its name: it may end in {known}")
