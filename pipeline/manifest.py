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
from .manifests.files import Found, Look, files_of, find_files, list_again
from .manifests.lots import Lot

__all__ = [
    "Manifest",
    "ManifestUnusable",
    "UnitRows",
    "WorkUnit",
    "open_manifest",
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


def _described(found: Found, image_column: str | None, key_column: str | None) -> Manifest:
    columns, schema = None, pa.schema([])
    if found.kind == "images":
        if image_column or key_column:
            raise ManifestUnusable(
                f"{found.uri} holds pictures and no table: an image or key column needs a manifest"
            )
    else:
        try:
            columns, schema = _TABLES[found.kind].describe(found, image_column, key_column)
        except ManifestUnusable:
            raise
        except ValueError as error:
            raise ManifestUnusable(f"{found.uri}: {error}") from error
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
    )


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
    parts = [list_again(manifest)] if lots is None else (files_of(manifest, lot) for lot in lots)
    if manifest.kind == "images":
        return manifest_images.plan(manifest, parts, unit_size)
    return _plan_tables(manifest, chain.from_iterable(parts), unit_size, threads)


def _plan_tables(
    manifest: Manifest, files: Iterable[str], unit_size: int, threads: int
) -> Iterator[WorkUnit]:
    kind = _TABLES[manifest.kind]
    measured = ordered_map(
        lambda file: (file, kind.measure(manifest, file, unit_size)),
        files,
        threads=threads,
        lookahead=2 * threads,
    )
    for file, extent in measured:
        yield from units_of(manifest, file, extent, unit_size)


def read_unit(manifest: Manifest, unit: WorkUnit) -> UnitRows:
    """Reads the rows of a unit.

    Raises:
      ManifestUnusable: its file is not what it was when it was planned.
    """
    if manifest.kind == "images":
        return manifest_images.read(manifest, unit)
    return _TABLES[manifest.kind].read(manifest, unit)
