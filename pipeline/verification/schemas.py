"""What the rows of a dataset are to be: their columns, and the folders they belong into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..columns import picture_columns, stored_schema
from ..dataset import columns_of, errors_of
from .stored_rows import RowForm

# Of every row, whatever cut it out.
_NEVER_NULL = ("key", "source_uri", "image_sha256", "engine", "settings_hash")


@dataclass(frozen=True)
class Schemas:
    """The columns of a dataset's rows.

    Attributes:
      data: of the files below `data/`.
      errors: of those below `errors/`.
      pictures: columns that hold pictures.
      partitions: columns that are Hive folders.
    """

    data: pa.Schema
    errors: pa.Schema
    pictures: tuple[str, ...]
    partitions: tuple[str, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Schemas:
        """Reads them from the content of `dataset.json`."""
        settings = values["settings"]
        schema, partitions = columns_of(values)
        pictures = picture_columns(settings["layout"], settings["compose"]["save_mask"])
        stored = stored_schema(schema, partitions, settings["layout"])
        return cls(stored, errors_of(values), pictures, tuple(partitions))

    def form(self, path: str) -> RowForm:
        """Gives what the rows of a file below `data/` are to be."""
        stored = tuple(name for name in self.partitions if name in self.data.names)
        return RowForm(self.data, stored, _folder(path, 1))

    def row_fault(self, row: Mapping[str, Any], folder: str) -> str | None:
        """Finds what is wrong with a row whatever its picture is.

        Args:
          row: the columns of `data/` that are ours.
          folder: of its file, such as `split=train`.
        """
        empty = [name for name in _NEVER_NULL if row[name] is None]
        if empty:
            return f"it has no {', '.join(empty)}"
        confidence = row["confidence"]
        if confidence is not None and not 0 <= confidence <= 1:
            return f"confidence is {confidence}, and not from 0 to 1"
        picture = row["image_path"]
        if picture is not None and _folder(picture, 2) != folder:
            return f"its picture {picture} is in another partition"
        return None


def _folder(path: str, last: int) -> str:
    """Gives the Hive folders of a path, which stand behind the first name and before the last."""
    return "/".join(path.split("/")[1:-last])
