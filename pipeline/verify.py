"""Every promise of a dataset, checked against what is stored."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..transforms import storage
from ..transforms.mask_stats import mask_stats
from ..transforms.stream import ordered_map
from .dataset import read_markers, read_plan, require_dataset
from .layouts import StoredFile
from .paths import DatasetPaths
from .unit import Marker

# Floats are recomputed from the same pixels by the same formulas; only their order may differ.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
      faults: one line each; empty when every promise holds.
      units, rows, files: how many were checked.
    """

    faults: tuple[str, ...]
    units: int
    rows: int
    files: int

    def text(self) -> str:
        """Gives the closing line."""
        what = f"{self.units:,} units, {self.rows:,} rows, {self.files:,} files"
        if self.faults:
            return f"{len(self.faults):,} broken promises in {what}"
        return f"ok: {what}, every promise holds"


def verify(root: str) -> Verification:
    """Checks a dataset whole: counts, files and their hashes, pictures, and their statistics.

    Args:
      root: the dataset's folder, any fsspec URI.

    Raises:
      UsageError: there is no dataset.
    """
    settings = require_dataset(root)
    paths = DatasetPaths(root)
    faults: list[str] = []
    listed: set[str] = set()
    units = rows = 0

    def check(marker: Marker) -> tuple[Marker, list[str]]:
        return marker, list(_unit_faults(paths, marker, settings))

    cores = os.cpu_count() or 1
    for marker, found in ordered_map(
        check, read_markers(paths), threads=cores, lookahead=2 * cores
    ):
        units += 1
        rows += marker.rows
        listed.update(file.path for file in marker.files)
        faults += found
    faults += _dataset_faults(paths, settings, units, rows)
    faults += [f"{path}: no marker lists this file" for path in _stored(paths) - listed]
    return Verification(tuple(faults), units, rows, len(listed))


def _dataset_faults(
    paths: DatasetPaths, settings: dict[str, Any], units: int, rows: int
) -> Iterator[str]:
    if settings["state"] != "complete":
        yield f"{paths.SETTINGS}: the run is not complete: its state is {settings['state']!r}"
    plan = read_plan(paths)
    if plan is None:
        yield f"{paths.PLAN} is missing"
    elif (plan["units"], plan["rows"]) != (units, rows):
        yield (
            f"{paths.MARKERS}: {units} units with {rows} rows are committed, but "
            f"{plan['units']} units with {plan['rows']} rows were planned"
        )


def _stored(paths: DatasetPaths) -> set[str]:
    """Lists everything below the folders that hold nothing but what markers list."""
    found = set()
    for folder in paths.CONTENT:
        for file in storage.list_files(paths.uri(folder)):
            found.add(paths.relative(file.uri))
    return found


def _unit_faults(paths: DatasetPaths, marker: Marker, settings: dict[str, Any]) -> Iterator[str]:
    name = paths.marker(marker.unit)
    if marker.settings_hash != settings["settings_hash"]:
        yield f"{name}: written with other settings ({marker.settings_hash})"
    if marker.rows != marker.done + marker.failed:
        yield f"{name}: {marker.rows} rows in, {marker.done} + {marker.failed} out"
    files: dict[str, bytes] = {}
    for file in marker.files:
        data, fault = _read(paths, file)
        if fault:
            yield f"{file.path}: {fault}"
        if data is not None:
            files[file.path] = data
    done = failed = 0
    for path, data in files.items():
        if not path.endswith(".parquet"):
            continue
        try:
            table = pq.read_table(io.BytesIO(data))
        except (pa.ArrowException, OSError) as error:
            yield f"{path}: cannot be read as Parquet: {error}"
            continue
        if path.startswith("errors/"):
            failed += table.num_rows
            continue
        done += table.num_rows
        for row in table.to_pylist():
            yield from (
                f"{path}: {row['key']!r}: {fault}" for fault in _row_faults(row, files, settings)
            )
    if (done, failed) != (marker.done, marker.failed):
        yield (
            f"{name}: {done} rows in data/ and {failed} in errors/, but the marker says "
            f"{marker.done} and {marker.failed}"
        )


def _read(paths: DatasetPaths, file: StoredFile) -> tuple[bytes | None, str | None]:
    try:
        data = storage.read_bytes(paths.uri(file.path))
    except FileNotFoundError:
        return None, "missing"
    if len(data) != file.size:
        return data, f"has {len(data)} bytes, its marker says {file.size}"
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return data, "its content differs from its marker's SHA-256"
    return data, None


def _row_faults(
    row: dict[str, Any], files: dict[str, bytes], settings: dict[str, Any]
) -> Iterator[str]:
    compose = settings["settings"]["compose"]
    data = files.get(row["image_path"])
    if data is None:
        yield f"its picture {row['image_path']} is not among the unit's files"
        return
    if hashlib.sha256(data).hexdigest() != row["image_sha256"] or len(data) != row["image_bytes"]:
        yield f"{row['image_path']} is not the picture the row describes"
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except Exception as error:  # noqa: BLE001 - decoders raise all sorts for broken files
        yield f"{row['image_path']} does not decode: {error}"
        return
    mode = "RGB" if compose["background"] else "RGBA"
    if (picture.width, picture.height) != (row["width"], row["height"]) or picture.mode != mode:
        yield (
            f"{row['image_path']} is {picture.width}×{picture.height} {picture.mode}, the row says "
            f"{row['width']}×{row['height']} {mode}"
        )
        return
    if mode == "RGBA":
        pixels = np.asarray(picture)
        if _premultiplied(pixels):
            yield f"{row['image_path']} is premultiplied: its soft edges are darkened by their alpha"
        if not compose["crop_to_bbox"]:
            yield from _statistic_faults(row, pixels[..., 3])


def _statistic_faults(row: dict[str, Any], alpha: np.ndarray) -> Iterator[str]:
    for name, value in asdict(mask_stats(np.ascontiguousarray(alpha))).items():
        stored = row[name]
        if isinstance(value, tuple):
            value = list(value)
        same = (
            math.isclose(stored, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
            if isinstance(value, float) and stored is not None
            else stored == value
        )
        if not same:
            yield f"{name} is {stored}, its pixels say {value}"


def _premultiplied(pixels: np.ndarray) -> bool:
    """Tells whether the colours of soft pixels were multiplied by alpha.

    Straight colours go their own way; multiplied ones never exceed alpha. Near-black subjects look
    alike both ways and are passed.

    Args:
      pixels: uint8, shape (H, W, 4).
    """
    alpha = pixels[..., 3]
    soft = pixels[(alpha > 0) & (alpha < 128)]
    if len(soft) < 64:
        return False
    brightest = soft[:, :3].max(axis=1).astype(np.int32)
    level = soft[:, 3].astype(np.int32)
    if np.any(brightest > level + 1):
        return False
    return bool(np.median(brightest * 255 / level) > 24)
