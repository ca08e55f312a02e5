"""A unit's encoded pictures on local disk, until the file that is to hold them is written."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

from ..columns import StoredCutout
from ..paths import DatasetPaths
from .contract import Placed


@dataclass(frozen=True)
class Span:
    """Where a picture lies in the spool, in bytes."""

    start: int
    size: int


@dataclass(frozen=True)
class Held:
    """A cutout whose pictures are in the spool.

    Attributes:
      cutout: its row.
      stem: the name of its pictures, without extension.
      spans: where they lie, by column.
    """

    cutout: StoredCutout
    stem: str
    spans: dict[str, Span]

    @property
    def bytes(self) -> int:
        return sum(span.size for span in self.spans.values())


class PictureSpool:
    """Holds pictures in a file without a name, which is gone whenever the process ends.

    Rows of different partitions come interleaved, and their files are written one after the other:
    so only one is open at a time, however many there are, and memory holds one row group.

    Args:
      paths: of the dataset; its scratch folder is used where it has one.
    """

    def __init__(self, paths: DatasetPaths) -> None:
        if paths.scratch:
            os.makedirs(paths.scratch, exist_ok=True)
        self._file = tempfile.TemporaryFile(prefix="alphabeam-", dir=paths.scratch)  # noqa: SIM115
        self._end = 0

    def add(self, placed: Placed) -> Held:
        """Takes up a cutout's pictures."""
        spans = {}
        for column, data in placed.pictures.items():
            self._file.write(data)
            spans[column] = Span(self._end, len(data))
            self._end += len(data)
        return Held(placed.cutout, placed.stem, spans)

    def read(self, span: Span) -> bytes:
        """Gives a picture back."""
        self._file.seek(span.start)
        return self._file.read(span.size)

    def close(self) -> None:
        self._file.close()
