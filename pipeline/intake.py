"""The record, within a dataset, of which files its manifest consists of."""

from __future__ import annotations

import json
from itertools import islice

from ..transforms import storage
from ..transforms.stream import ordered_map
from .manifests.files import spell
from .manifests.lots import Lot
from .paths import DatasetPaths

_READERS = 32


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


def known_lots(root: str, manifest: str) -> list[Lot]:
    """Reads the lots of what may be a dataset of a manifest; none where it is not."""
    paths = DatasetPaths(root)
    try:
        content = storage.read_bytes(paths.uri(paths.SETTINGS))
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        known = json.loads(content)["manifest"]["uri"] == spell(manifest)
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # damaged, which is told when the dataset is begun
    return read_lots(paths) if known else []


def write_lot(paths: DatasetPaths, number: int, lot: Lot) -> None:
    """Records that files were taken up, which another run may have done at the same time.

    Raises:
      LotTaken: there is a lot of that number with other files.
    """
    uri = paths.uri(paths.lot(number))
    written = storage.write_exclusive(uri, lot.data, paths.scratch)
    if not written and storage.read_bytes(uri) != lot.data:
        raise LotTaken(paths.lot(number))
