"""Damage for tests of `verify`: done to a dataset, with hashes made to fit where wanted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Stored:
    """A row and its pictures, in whatever files the layout has them."""

    row: dict[str, Any]
    image: bytes
    mask: bytes


class Planter:
    """Changes a dataset on the local disk.

    Args:
      root: the dataset's folder.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root)
        self.layout = json.loads((self.root / "dataset.json").read_bytes())["settings"]["layout"]

    def markers(self) -> list[Path]:
        return sorted((self.root / "_units").iterdir())

    def edit_json(self, path: str | Path, change: Callable[[dict], Any]) -> None:
        """Changes a JSON file in place."""
        values = json.loads((self.root / path).read_bytes())
        change(values)
        (self.root / path).write_text(json.dumps(values))

    def files(self, pattern: str) -> list[str]:
        """Lists stored files, relative to the dataset."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))

    def rehash(self, path: str) -> None:
        """Makes whatever marker lists a file say what the file now is, and the totals fit."""
        data = (self.root / path).read_bytes()
        fresh = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        grown: list[int] = []

        def change(values: dict) -> None:
            for entry in values["files"]:
                if entry["path"] == path:
                    grown.append(fresh["size"] - entry["size"])
                    entry.update(fresh)

        compaction = self.root / "_compaction.json"
        for marker in [*self.markers(), *([compaction] if compaction.exists() else [])]:
            self.edit_json(marker, change)
        self.edit_totals(bytes=sum(grown))

    def edit_totals(self, **more: int) -> None:
        """Adds to the totals that `dataset.json` has."""

        def change(values: dict) -> None:
            for name, number in more.items():
                values["totals"][name] += number

        self.edit_json("dataset.json", change)

    def edit_rows(self, path: str, change: Callable[[list[dict]], list[dict]]) -> None:
        """Changes the rows of a Parquet file, and its marker's hash."""
        table = pq.ParquetFile(self.root / path).read()
        rows = change(table.to_pylist())
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), self.root / path)
        self.rehash(path)

    def edit(self, key: str, change: Callable[[Stored], Stored], *, rehash: bool = True) -> None:
        """Changes a row and its pictures.

        Args:
          key: of the row.
          change: gives what is to be stored instead.
          rehash: make the row's own size and hash of its picture fit.
        """
        for path in self.files("data/**/*.parquet"):
            if any(
                row["key"] == key for row in pq.ParquetFile(self.root / path).read().to_pylist()
            ):
                self.edit_rows(
                    path, lambda rows: [self._edit(row, key, change, rehash) for row in rows]
                )

    def _edit(self, row: dict, key: str, change: Callable[[Stored], Stored], rehash: bool) -> dict:
        if row["key"] != key:
            return row
        before = self._read(row)
        after = change(before)
        if rehash:
            digest = hashlib.sha256(after.image).hexdigest()
            fresh = {"image_bytes": len(after.image), "image_sha256": digest}
            after = replace(after, row={**after.row, **fresh})
        return self._write(after)

    def _read(self, row: dict) -> Stored:
        if self.layout == "embedded":
            return Stored(dict(row), row["image"]["bytes"], row["mask"]["bytes"])
        if self.layout == "files":
            paths = [self.root / row[name] for name in ("image_path", "mask_path")]
            return Stored(dict(row), *(path.read_bytes() for path in paths))
        members = self._members(row["image_path"].rpartition("/")[0])
        names = [row[name].rpartition("/")[2] for name in ("image_path", "mask_path")]
        return Stored(dict(row), *(members[name] for name in names))

    def _write(self, stored: Stored) -> dict:
        row, pictures = stored.row, {"image": stored.image, "mask": stored.mask}
        if self.layout == "embedded":
            held = {name: {**row[name], "bytes": data} for name, data in pictures.items()}
            return {**row, **held}
        if self.layout == "files":
            for name, data in pictures.items():
                (self.root / row[f"{name}_path"]).write_bytes(data)
                self.rehash(row[f"{name}_path"])
            return row
        shard, _, image = row["image_path"].rpartition("/")
        members = self._members(shard)
        members[image] = stored.image
        members[row["mask_path"].rpartition("/")[2]] = stored.mask
        name = f"{image.partition('.')[0]}.json"
        members[name] = json.dumps({**json.loads(members[name]), **row}).encode()
        with tarfile.open(self.root / shard, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.rehash(shard)
        return row

    def _members(self, shard: str) -> dict[str, bytes]:
        with tarfile.open(self.root / shard) as tar:
            return {info.name: tar.extractfile(info).read() for info in tar}
