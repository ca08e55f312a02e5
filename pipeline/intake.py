"""The record, within a dataset, of which files its manifest consists of, and which rows failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice

from ..transforms import storage
from ..transforms.stream import ordered_map
from .manifests.contract import unit_name
from .manifests.files import spell
from .manifests.lots import Lot
from .manifests.tally import Look
from .markers import read_marker
from .paths import DatasetPaths

_READERS = 32
_UNITS = 256


class LotTaken(Exception):
    """Another run has recorded other files under that number."""


def read_lots(paths: DatasetPaths, start: int = 0) -> list[Lot]:
    """Reads the lots in which files were taken up, in that order; none where there is no record.

    Args:
      paths: of the dataset.
      start: how many are known and left out.
    """

    def read(uri: str) -> Lot:
        return Lot.decode(storage.read_bytes(uri))

    files = (file.uri for file in storage.list_files(paths.uri(paths.MANIFEST)))
    new = islice(files, start, None)
    return list(ordered_map(read, new, threads=_READERS, lookahead=4 * _READERS))


def look_from(root: str, manifest: str) -> Look:
    """Gives how to look at a manifest of which there may be a dataset already."""
    paths = DatasetPaths(root)
    try:
        content = storage.read_bytes(paths.uri(paths.SETTINGS))
    except (FileNotFoundError, NotADirectoryError):
        return Look()
    try:
        values = json.loads(content)
        known, unit_size = (
            values["manifest"]["uri"] == spell(manifest),
            values["settings"]["unit_size"],
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return Look()  # damaged, which is told when the dataset is begun
    return Look(read_lots(paths), failed=FailedRows(paths, unit_size)) if known else Look()


class FailedRows:
    """Which pictures of a dataset failed, as the markers say of the units that are asked about.

    Args:
      paths: of the dataset.
      unit_size: rows in its units.
    """

    def __init__(self, paths: DatasetPaths, unit_size: int) -> None:
        self._paths = paths
        self._unit_size = unit_size
        self._rows_of = lru_cache(_UNITS)(self._load)

    def __call__(self, label: str, position: int) -> bool:
        """Tells whether a picture failed, by the label of its lot's units and its position there."""
        row = position % self._unit_size
        return row in self._rows_of(unit_name(label, position - row))

    def _load(self, unit: str) -> frozenset[int]:
        marker = read_marker(self._paths, unit)
        return frozenset(marker.failed_rows if marker else ())


def write_lot(paths: DatasetPaths, number: int, lot: Lot) -> None:
    """Records that files were taken up, which another run may have done at the same time.

    Raises:
      LotTaken: there is a lot of that number with other files.
    """
    uri = paths.uri(paths.lot(number))
    written = storage.write_exclusive(uri, lot.data, paths.scratch)
    if not written and storage.read_bytes(uri) != lot.data:
        raise LotTaken(paths.lot(number))


def rewrite_lots(paths: DatasetPaths, lots: Mapping[int, Lot]) -> None:
    """Records what is noted of pictures that were mended; the files and their places stay."""
    for number, lot in lots.items():
        paths.write(paths.lot(number), lot.data)
