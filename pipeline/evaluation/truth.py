"""The truth of an evaluation: mattes as they should be, with the keys they go by."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pyarrow as pa

from ...transforms import storage
from ...transforms.codec import DecodeLimits, decode
from ...transforms.errors import DecodeError
from ...transforms.records import ImageRecord
from ...transforms.rows import Columns, find_columns
from ..errors import RunError, UsageError
from ..manifest import (
    Manifest,
    ManifestUnusable,
    WorkUnit,
    described,
    open_manifest,
    plan_units,
    read_unit,
)
from ..manifests.files import Found, find_files

TRUTH_COLUMNS = ("mask", "alpha", "matte", "truth")

_UNIT = 32  # rows: of a text manifest, a unit's other columns are in memory at once
_GREY = 3  # levels that the channels of a grey JPEG may differ by
_LABELS = 8  # a matte that never gets beyond this level is a picture of labels


@dataclass(frozen=True)
class Truth:
    """One matte as it should be.

    Attributes:
      names: the keys it may go by, the likeliest first.
      record: where it is.
    """

    names: tuple[str, ...]
    record: ImageRecord


@dataclass(frozen=True)
class Truths:
    """Where the truth is; iterated over, it gives one `Truth` a row.

    Attributes:
      masks: the manifest with the mask column for its picture.
      named_by: the same manifest with the image column for its picture, where keys follow from
        the images; else None.
      units: its rows.
    """

    masks: Manifest
    named_by: Manifest | None
    units: tuple[WorkUnit, ...]

    @property
    def column(self) -> str | None:
        """Names the mask column; None for a folder."""
        return self.masks.columns.image if self.masks.columns else None

    @property
    def rows(self) -> int:
        """Counts the rows."""
        return sum(unit.rows for unit in self.units)

    def __iter__(self) -> Iterator[Truth]:
        """Reads the rows as they are taken.

        Raises:
          RunError: the manifest changed meanwhile.
        """
        try:
            for unit in self.units:
                yield from self._read(unit)
        except ManifestUnusable as error:
            raise RunError(f"--truth: {error}") from error

    def _read(self, unit: WorkUnit) -> Iterator[Truth]:
        records = _records(self.masks, unit)
        if self.named_by is not None:
            images = _records(self.named_by, unit)
            for image, record in zip(images, records, strict=True):
                yield Truth((image.key,), record)
        elif self.masks.columns is not None and self.masks.columns.key is not None:
            for record in records:
                yield Truth((record.key,), record)
        else:
            for record in records:
                yield Truth(_names_of_file(record), record)


def _records(manifest: Manifest, unit: WorkUnit) -> Iterator[ImageRecord]:
    if manifest.kind == "parquet":
        # Its other columns, pictures perhaps, are then not even read.
        manifest = replace(manifest, schema=pa.schema([]))
    return read_unit(manifest, unit).records


def _names_of_file(record: ImageRecord) -> tuple[str, ...]:
    stem = posixpath.splitext(storage.basename(record.source_uri))[0]
    return tuple(dict.fromkeys((record.key, stem)))


def open_truths(
    uri: str, truth_column: str | None, image_column: str | None, key_column: str | None
) -> Truths:
    """Finds the truth and how its rows are named.

    Keys are those of the manifest's key column. Without one they follow from its image column, if
    it has one, as they do in a run; else from the masks' files: the path within the folder with
    `_` for `/`, or the file's name, each without extension.

    Args:
      uri: a manifest, as `alphabeam run` takes it, or a folder or glob of masks.
      truth_column: holds the masks; None for the first of `TRUTH_COLUMNS` that is there.
      image_column, key_column: those that the dataset was made with, if any: taken where the
        manifest has them, before others that a convention names.

    Raises:
      UsageError: there is no such manifest, or it has no such column.
    """
    try:
        found = find_files(uri)
        if found.kind == "images":
            if truth_column is not None:
                raise UsageError(
                    f"--truth_column {truth_column}: {uri} holds pictures and no table, and so no "
                    f"columns: leave the flag out"
                )
            masks, named_by = open_manifest(uri), None
        else:
            masks, named_by = _open_table(found, truth_column, image_column, key_column)
        units = tuple(plan_units(masks, _UNIT))
    except ManifestUnusable as error:
        raise UsageError(f"--truth: {error}") from error
    if not units:
        raise UsageError(f"--truth: {uri} holds no rows")
    return Truths(masks, named_by, units)


def _open_table(
    found: Found, truth_column: str | None, image_column: str | None, key_column: str | None
) -> tuple[Manifest, Manifest | None]:
    masks = _with_masks(found, truth_column)
    assert masks.columns is not None
    others = [name for name in masks.schema.names if name != masks.columns.image]
    if key_column in others:
        return replace(masks, columns=Columns(masks.columns.image, key_column)), None
    if masks.columns.key is not None:
        return masks, None
    try:
        image = find_columns(others, image_column if image_column in others else None).image
    except ValueError:
        return masks, None
    return masks, described(found, image, None)


def _with_masks(found: Found, truth_column: str | None) -> Manifest:
    problem = ""
    for name in TRUTH_COLUMNS if truth_column is None else (truth_column,):
        try:
            return described(found, name, None)
        except ManifestUnusable:
            raise
        except ValueError as error:
            problem = str(error)
    wanted = " or ".join(TRUTH_COLUMNS) if truth_column is None else truth_column
    raise UsageError(
        f"--truth_column: {found.uri} has no column {wanted} ({problem}); name the one that holds "
        f"the masks"
    )


def decode_truth(data: bytes, limits: DecodeLimits) -> np.ndarray:
    """Decodes a mask: its transparency if any pixel is not opaque, else its grey.

    Args:
      data: an encoded picture of any form, 1 to 16 bits a sample.
      limits: what it may measure.

    Returns:
      uint8, shape (H, W), 0 (background) to 255 (subject).

    Raises:
      DecodeError: it does not decode, is in colour and opaque (`not_a_mask`), or its levels are
        numbers of classes and not shades (`labels`).
    """
    picture = decode(data, limits)
    if picture.alpha is not None:
        return np.ascontiguousarray(picture.alpha)
    red, green, blue = cv2.split(picture.rgb)
    if max(cv2.absdiff(red, other).max() for other in (green, blue)) > _GREY:
        raise DecodeError(
            "not_a_mask", "a picture in colour and opaque is no mask: write it in grey, 0 to 255"
        )
    highest = int(green.max())
    if 0 < highest < _LABELS:
        raise DecodeError(
            "labels",
            f"its levels end at {highest} of 255, as class labels do: write the subject as 255",
        )
    return green
