"""The record, within a dataset, of which files its manifest consists of."""

from __future__ import annotations

import json

from ..transforms import storage
from ..transforms.stream import ordered_map
from .manifests.files import spell
from .manifests.lots import Lot
from .paths import DatasetPaths

_READERS = 32


def read_lots(paths: DatasetPaths) -> list[Lot]:
    """Reads the lots in which files were taken up, in that order; none where there is no record."""

    def read(uri: str) -> Lot:
        return Lot.decode(storage.read_bytes(uri))

    files = (file.uri for file in storage.list_files(paths.uri(paths.MANIFEST)))
    return list(ordered_map(read, files, threads=_READERS, lookahead=4 * _READERS))


def known_lots(root: str, manifest: str) -> list[Lot]:
    """Reads the lots of what may be a dataset of a manifest; none where it is not."""
    paths = DatasetPaths(root)
    try:
        values = json.loads(storage.read_bytes(paths.uri(paths.SETTINGS)))
    except OSError:
        return []
    return read_lots(paths) if values["manifest"]["uri"] == spell(manifest) else []


def write_lot(paths: DatasetPaths, number: int, lot: Lot) -> None:
    """Records that files were taken up."""
    paths.write(paths.lot(number), lot.data)
