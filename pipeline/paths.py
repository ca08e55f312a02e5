"""Where everything lies within a dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from ..transforms import storage
from .columns import output_names

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

LONGEST_NAME = 255
"""Bytes: of the name of a file or folder, on the usual file systems."""

# What a unit's name ends with when failed rows were run again.
_RETRY = re.compile(r"-r[0-9]+$")


@dataclass(frozen=True)
class DatasetPaths:
    """The files of a dataset; the methods give paths relative to its root.

    Attributes:
      root: the dataset's folder, any fsspec URI.
    """

    root: str

    SETTINGS = "dataset.json"
    PLAN = "_plan.json"
    SUCCESS = "_SUCCESS"
    COMPACTION = "_compaction.json"
    CARD = "README.md"
    CROISSANT = "croissant.json"
    REPORT = "report.html"
    EVALUATION = "evaluation.json"
    EVALUATION_ROWS = "evaluation.parquet"
    MARKERS = "_units"
    MANIFEST = "_manifest"
    SCRATCH = "_tmp"
    LEDGER = "_ledger"
    PAYMENTS = "_payments"
    TURNS = "_turns"
    STAGING = "_compacting"
    UNTOLD = "_untold"
    # Folders that hold nothing but what commit markers list.
    CONTENT = ("data", "images", "masks", "shards", "errors")

    def uri(self, path: str) -> str:
        """Gives the full URI of a path within the dataset."""
        return storage.join(self.root, path)

    def relative(self, uri: str) -> str:
        """Gives the path within the dataset of a file that a listing of its folders gave."""
        return uri.removeprefix(storage.canonical(self.root).rstrip("/") + "/")

    @property
    def scratch(self) -> str | None:
        """The local folder for half-written files; None on stores that write atomically."""
        if not storage.is_local(self.root):
            return None
        return storage.local_path(self.uri(self.SCRATCH))

    def write(self, path: str, data: bytes) -> None:
        """Writes a file of the dataset, complete or not at all."""
        storage.write_atomic(self.uri(path), data, self.scratch)

    @staticmethod
    def data(unit: str, partition: str) -> str:
        return "/".join(filter(None, ["data", partition, f"{unit}.parquet"]))

    @staticmethod
    def shard(unit: str, partition: str) -> str:
        return "/".join(filter(None, ["shards", partition, f"{unit}.tar"]))

    @staticmethod
    def errors(unit: str) -> str:
        return f"errors/{unit}.parquet"

    @staticmethod
    def pictures(kind: str, unit: str, partition: str) -> str:
        """Gives the folder of a unit's `images` or `masks`."""
        return "/".join(filter(None, [kind, partition, unit]))

    @staticmethod
    def without_generation(name: str) -> str:
        """Names the unit that a file or folder is called after."""
        return _RETRY.sub("", name)

    @classmethod
    def staged(cls, path: str) -> str:
        """Gives where a file waits until a compaction is settled."""
        return f"{cls.STAGING}/{path}"

    @classmethod
    def lot(cls, number: int) -> str:
        return f"{cls.MANIFEST}/{number:09d}.parquet"

    @classmethod
    def payment(cls, purchase: str) -> str:
        return f"{cls.PAYMENTS}/{purchase[:2]}/{purchase}"

    @classmethod
    def turn(cls, unit: str, number: int) -> str:
        return f"{cls.TURNS}/{unit}.{number}.json"

    @classmethod
    def marker(cls, unit: str) -> str:
        return f"{cls.MARKERS}/{unit}.json"


def partition_folders(columns: pa.Table, partition_by: tuple[str, ...]) -> list[str]:
    """Gives each row's Hive folder, such as `split=train/label=3`; empty without partitions.

    Values are percent-encoded as Arrow and Hive do; null becomes `__HIVE_DEFAULT_PARTITION__`.
    """
    folders = [""] * columns.num_rows
    names = output_names(columns.schema)
    for name in partition_by:
        column = columns.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        values = pc.cast(column, pa.string()).to_pylist()
        for row, value in enumerate(values):
            folder = f"{names[name]}={NULL_PARTITION if value is None else quote(value, safe='')}"
            folders[row] = f"{folders[row]}/{folder}" if folders[row] else folder
    return folders


def is_possible(folder: str) -> bool:
    """Tells whether no name in a relative path is too long for a folder."""
    return all(len(name.encode()) <= LONGEST_NAME for name in folder.split("/"))
