"""Manifests: which pictures a job is about, cut into work units that follow from them alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

import pyarrow as pa

from ..transforms.stream import ordered_map
from .manifests import csv as manifest_csv
from .manifests import images as manifest_images
from .manifests import jsonl as manifest_jsonl
from .manifests import parquet as manifest_parquet
from .manifests.contract import Manifest, ManifestUnusable, UnitRows, WorkUnit, units_of
from .manifests.files import Found, files_of, find_files, list_again
from .manifests.lots import Lot
from .manifests.tally import Look, ManifestChanged

__all__ = [
    "Manifest",
    "ManifestUnusable",
    "UnitRows",
    "WorkUnit",
    "described",
    "look_again",
    "open_manifest",
    "plan_onwards",
    "plan_units",
    "read_unit",
]

_LOG = logging.getLogger("alphabeam")
_ANY_SIZE = 1 << 20

_TABLES = {
    "parquet": manifest_parquet,
    "csv": manifest_csv,
    "tsv": manifest_csv,
    "jsonl": manifest_jsonl,
}


def open_manifest(
    uri: str,
    image_column: str | None = None,
    key_column: str | None = None,
    look: Look | None = None,
) -> Manifest:
    """Finds out what a manifest is, where the job is launched.

    Lists its files, hashes them as far as the store keeps no checksums, and reads the columns of
    the first.

    Args:
      uri: a Parquet, CSV, TSV or JSON Lines file, the text ones also with gzip, a picture, or a
        folder or glob of files of one of these kinds.
      image_column: holds the pictures; None finds it by name, see `rows.find_columns`.
      key_column: names them; None finds it by name, if there is one.
      look: what is known of its files already. New tables that do not go with those are left out.

    Raises:
      ManifestUnusable: there is no such manifest, it cannot be read, or it has no image column.
    """
    look = look or Look()
    manifest = _described(find_files(uri, look), image_column, key_column)
    if look.known and manifest.kind != "images":
        unusable = [
            f for f in files_of(manifest, manifest.lot) if not _is_usable(manifest, f, look)
        ]
        if unusable:
            look = replace(look, left_out=frozenset(unusable))
            manifest = _described(find_files(uri, look), image_column, key_column)
    return manifest


def look_again(manifest: Manifest, look: Look) -> Manifest | None:
    """Looks at what a manifest is now; None while it has no new files, or cannot be used.

    Args:
      manifest: as it was found before.
      look: what is known of it, its files above all. Why it cannot be used is said once.

    Raises:
      ManifestChanged: a file that is known has another content or is gone.
    """
    columns = manifest.columns
    try:
        return open_manifest(manifest.uri, columns and columns.image, columns and columns.key, look)
    except ManifestChanged:
        raise
    except ManifestUnusable as error:
        if str(error) not in look.told:
            look.told.add(str(error))
            _LOG.warning("%s; looking again", error)
        return None


def described(found: Found, image_column: str | None, key_column: str | None) -> Manifest:
    """Makes the manifest of what was found, and reads the columns of its first file.

    Raises:
      ManifestUnusable: the file cannot be read.
      ValueError: it has no such columns.
    """
    columns, schema = None, pa.schema([])
    if found.kind in _TABLES:
        columns, schema = _TABLES[found.kind].describe(found, image_column, key_column)
    elif image_column or key_column:
        raise ValueError("it holds pictures and no table: an image or key column needs a manifest")
    return Manifest(
        uri=found.uri,
        kind=found.kind,
        base=found.base,
        columns=columns,
        schema=schema,
        identity=found.identity,
        files=found.files,
        bytes=found.bytes,
        lot=found.lot,
        mended=found.mended,
    )


def _described(found: Found, image_column: str | None, key_column: str | None) -> Manifest:
    try:
        return described(found, image_column, key_column)
    except ManifestUnusable:
        raise
    except ValueError as error:
        raise ManifestUnusable(f"{found.uri}: {error}") from error


def _is_usable(manifest: Manifest, file: str, look: Look) -> bool:
    """Tells whether a table goes with those that are known; says once why it does not."""
    try:
        _TABLES[manifest.kind].measure(manifest, file, _ANY_SIZE)
    except ManifestUnusable as error:
        if str(error) not in look.told:
            look.told.add(str(error))
            _LOG.warning("%s; it is left out until it can be used", error)
        return False
    return True


def plan_units(
    manifest: Manifest,
    unit_size: int,
    threads: int = 32,
    lots: Iterable[Lot] | None = None,
) -> Iterator[WorkUnit]:
    """Cuts a manifest into units, in the order of its files and rows.

    Holds no rows: reads the footers of Parquet files and the listing of folders; text files are
    passed through once for where their rows begin. A unit never crosses files.

    Args:
      manifest: the manifest.
      unit_size: rows in a unit; the last one of a file may have fewer.
      threads: files looked at at the same time.
      lots: the files it consists of; None for what it is found to consist of now.

    Raises:
      ValueError: `unit_size` is below 1.
      ManifestUnusable: a file cannot be read, or its columns differ from the first file's.
    """
    if unit_size < 1:
        raise ValueError(f"a unit holds at least 1 row: given {unit_size}")
    whole = iter([(0, list_again(manifest))])
    parts = whole if lots is None else _parts(manifest, lots, 0)
    planned = _plan(manifest, parts, unit_size, threads)
    return chain.from_iterable(units for _, units in planned)


def plan_onwards(
    manifest: Manifest, unit_size: int, lots: Iterable[Lot], start: int, threads: int = 32
) -> Iterator[tuple[int, Iterable[WorkUnit]]]:
    """Cuts the files of lots into the units that `plan_units` gives, from a file on.

    Args:
      manifest, unit_size, threads: as there.
      lots: those of the manifest, from the first on.
      start: how many of their files are left out; of pictures, as many as this gave before.

    Yields:
      For each table, or unit of pictures, how many files are done with it, and its units.

    Raises:
      ManifestUnusable: a file cannot be read, or its columns differ from the first file's.
    """
    for done, units in _plan(manifest, _parts(manifest, lots, start), unit_size, threads):
        yield start + done, units


def _parts(
    manifest: Manifest, lots: Iterable[Lot], start: int
) -> Iterator[tuple[int, Iterator[str]]]:
    """Gives for each lot how many of its files are left out, and the others."""
    for lot in lots:
        skipped = min(start, lot.files)
        start -= skipped
        yield skipped, files_of(manifest, lot, skipped)


def _plan(
    manifest: Manifest,
    parts: Iterator[tuple[int, Iterator[str]]],
    unit_size: int,
    threads: int,
) -> Iterator[tuple[int, Iterable[WorkUnit]]]:
    """Gives for each table, or unit of pictures, how many files are done, and its units."""
    done = 0
    if manifest.kind == "images":
        for number, (skipped, files) in enumerate(parts):
            for unit in manifest_images.plan(manifest, number, files, unit_size, skipped):
                done += unit.rows
                yield done, (unit,)
        return
    kind = _TABLES[manifest.kind]
    measured = ordered_map(
        lambda file: (file, kind.measure(manifest, file, unit_size)),
        chain.from_iterable(files for _, files in parts),
        threads=threads,
        lookahead=2 * threads,
    )
    for file, extent in measured:
        done += 1
        yield done, units_of(manifest, file, extent, unit_size)


def read_unit(manifest: Manifest, unit: WorkUnit) -> UnitRows:
    """Reads the rows of a unit.

    Raises:
      ManifestUnusable: its file is not what it was when it was planned.
    """
    if manifest.kind == "images":
        return manifest_images.read(manifest, unit)
    return _TABLES[manifest.kind].read(manifest, unit)
