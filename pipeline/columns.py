"""The columns of `data/` and `errors/`: names, types, order, and rows into tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from ..transforms.mask_stats import MaskStats
from ..transforms.records import EngineInfo, Failure, SourceInfo

SCHEMA_VERSION = 2

_DATA_FIELDS = [
    pa.field("key", pa.string()),
    pa.field("source_uri", pa.string()),
    pa.field("image_path", pa.string()),
    pa.field("mask_path", pa.string()),
    pa.field("format", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("source_width", pa.int32()),
    pa.field("source_height", pa.int32()),
    pa.field("source_format", pa.string()),
    pa.field("source_bytes", pa.int64()),
    pa.field("source_sha256", pa.string()),
    pa.field("image_sha256", pa.string()),
    pa.field("image_bytes", pa.int64()),
    pa.field("exif_orientation", pa.int8()),
    pa.field("icc_converted", pa.bool_()),
    pa.field("coverage", pa.float64()),
    pa.field("mask_area_px", pa.int64()),
    pa.field("bbox_x", pa.int32()),
    pa.field("bbox_y", pa.int32()),
    pa.field("bbox_width", pa.int32()),
    pa.field("bbox_height", pa.int32()),
    pa.field("centroid_x", pa.float64()),
    pa.field("centroid_y", pa.float64()),
    pa.field("touches_top", pa.bool_()),
    pa.field("touches_right", pa.bool_()),
    pa.field("touches_bottom", pa.bool_()),
    pa.field("touches_left", pa.bool_()),
    pa.field("components", pa.int32()),
    pa.field("largest_component_ratio", pa.float64()),
    pa.field("hole_ratio", pa.float64()),
    pa.field("soft_fraction", pa.float64()),
    pa.field("edge_width_px", pa.float64()),
    pa.field("alpha_entropy", pa.float64()),
    pa.field("alpha_histogram", pa.list_(pa.int64())),
    pa.field("confidence", pa.float64()),
    pa.field("is_blank", pa.bool_()),
    pa.field("is_full", pa.bool_()),
    pa.field("engine", pa.string()),
    pa.field("model", pa.string()),
    pa.field("revision", pa.string()),
    pa.field("device", pa.string()),
    pa.field("dtype", pa.string()),
    pa.field("settings_hash", pa.string()),
    pa.field("attempts", pa.int32()),
    pa.field("cost_usd", pa.float64()),
    pa.field("provider_request_id", pa.string()),
    pa.field("provider_resized", pa.bool_()),
    pa.field("escalated_from", pa.string()),
    pa.field("escalated_confidence", pa.float64()),
]

# Columns of the layout that stores pictures with their rows. The names are ours in every layout, so
# that a column of the manifest has the same name in each.
_PICTURES = ("image", "mask")

_ERROR_FIELDS = [
    pa.field("key", pa.string()),
    pa.field("source_uri", pa.string()),
    pa.field("stage", pa.string()),
    pa.field("error", pa.string()),
    pa.field("message", pa.string()),
    pa.field("retryable", pa.bool_()),
    pa.field("attempts", pa.int32()),
    pa.field("engine", pa.string()),
]


@dataclass(frozen=True)
class StoredCutout:
    """A finished picture's row, once the picture itself is stored.

    Attributes:
      row: position in the work unit.
      image_path, mask_path: relative to the dataset; None where the picture is in the row itself,
        mask_path also without masks.
      The others are the columns of the same names, or hold them.
    """

    row: int
    key: str
    source_uri: str
    image_path: str | None
    mask_path: str | None
    format: str
    width: int
    height: int
    image_sha256: str
    image_bytes: int
    source: SourceInfo
    stats: MaskStats
    confidence: float | None
    engine: EngineInfo


def output_names(extra: pa.Schema) -> dict[str, str]:
    """Maps the manifest's columns to their names in `data/`: `manifest_` before those also ours."""
    return _renamed(extra, {*_PICTURES, *(field.name for field in _DATA_FIELDS)})


def _renamed(extra: pa.Schema, ours: set[str]) -> dict[str, str]:
    taken = ours | set(extra.names)
    names = {}
    for name in extra.names:
        output = name
        while output in taken and name in ours:
            output = f"manifest_{output}"
        taken.add(output)
        names[name] = output
    return names


def picture_columns(layout: str, save_mask: bool) -> tuple[str, ...]:
    """Names the columns of `data/` that hold pictures; most layouts have none."""
    if layout != "embedded":
        return ()
    return _PICTURES if save_mask else _PICTURES[:1]


def stored_schema(schema: pa.Schema, partitions: Collection[str], layout: str) -> pa.Schema:
    """Gives the schema of the files below `data/`: of most layouts, without the Hive folders' columns.

    Args:
      schema: of `data/`, partition columns included.
      partitions: the columns that are Hive folders.
      layout: of the dataset.
    """
    if layout == "embedded":
        return schema
    return pa.schema([field for field in schema if field.name not in partitions], schema.metadata)


def picture_type() -> pa.DataType:
    """Gives the type of a picture's column: the encoded picture, and the name it would have."""
    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def data_schema(extra: pa.Schema, pictures: Sequence[str] = ()) -> pa.Schema:
    """Gives the schema of `data/`, partition columns included.

    Args:
      extra: the manifest's other columns.
      pictures: the columns that hold pictures. Only these need telling in the metadata that the
        `datasets` library reads; it finds all others by their Arrow types.
    """
    own = [pa.field(name, picture_type()) for name in pictures] + _DATA_FIELDS
    schema = _schema(own, extra, output_names(extra))
    if not pictures:
        return schema
    features = {name: {"_type": "Image"} for name in pictures}
    hugging_face = json.dumps({"info": {"features": features}})
    return schema.with_metadata({**(schema.metadata or {}), "huggingface": hugging_face})


def error_schema(extra: pa.Schema) -> pa.Schema:
    """Gives the schema of `errors/` for a manifest's other columns."""
    return _schema(_ERROR_FIELDS, extra, _renamed(extra, {field.name for field in _ERROR_FIELDS}))


def _schema(own: list[pa.Field], extra: pa.Schema, names: dict[str, str]) -> pa.Schema:
    fields = own + [field.with_name(names[field.name]) for field in extra]
    return pa.schema(fields, {"alphabeam_schema_version": str(SCHEMA_VERSION)})


def data_table(cutouts: Sequence[StoredCutout], extra: pa.Table, settings_hash: str) -> pa.Table:
    """Builds the rows of `data/` of one unit.

    Args:
      cutouts: in row order.
      extra: the manifest's other columns for every row of the unit.
      settings_hash: of the job.
    """
    rows = []
    for cutout in cutouts:
        engine = cutout.engine
        rows.append(
            {
                **asdict(cutout.stats),
                "key": cutout.key,
                "source_uri": cutout.source_uri,
                "image_path": cutout.image_path,
                "mask_path": cutout.mask_path,
                "format": cutout.format,
                "width": cutout.width,
                "height": cutout.height,
                "source_width": cutout.source.width,
                "source_height": cutout.source.height,
                "source_format": cutout.source.format,
                "source_bytes": cutout.source.bytes,
                "source_sha256": cutout.source.sha256,
                "image_sha256": cutout.image_sha256,
                "image_bytes": cutout.image_bytes,
                "exif_orientation": cutout.source.exif_orientation,
                "icc_converted": cutout.source.icc_converted,
                "confidence": cutout.confidence,
                "engine": engine.engine,
                "model": engine.model or None,
                "revision": engine.revision or None,
                "device": engine.device,
                "dtype": engine.dtype,
                "settings_hash": settings_hash,
                "attempts": engine.attempts,
                "cost_usd": engine.cost_usd,
                "provider_request_id": engine.provider_request_id,
                "provider_resized": engine.provider_resized,
                "escalated_from": engine.escalated_from,
                "escalated_confidence": engine.escalated_confidence,
            }
        )
    own = pa.Table.from_pylist(rows, schema=pa.schema(_DATA_FIELDS))
    rows_taken = _rows_of(extra, [cutout.row for cutout in cutouts])
    return _joined(own, rows_taken, data_schema(extra.schema))


def error_table(failures: Sequence[Failure], extra: pa.Table) -> pa.Table:
    """Builds the rows of `errors/` of one unit, in row order."""
    rows = [
        {
            "key": failure.record.key,
            "source_uri": failure.record.source_uri,
            "stage": failure.error.stage,
            "error": failure.error.kind,
            "message": failure.error.message,
            "retryable": failure.error.retryable,
            "attempts": failure.error.attempts,
            "engine": failure.engine,
        }
        for failure in failures
    ]
    own = pa.Table.from_pylist(rows, schema=pa.schema(_ERROR_FIELDS))
    rows_taken = _rows_of(extra, [failure.record.row for failure in failures])
    return _joined(own, rows_taken, error_schema(extra.schema))


def _rows_of(table: pa.Table, rows: list[int]) -> pa.Table:
    """Takes some rows, in order, by slices: Arrow's own `take` does not know every type."""
    parts, start = [table.slice(0, 0)], 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end] != rows[end - 1] + 1:
            parts.append(table.slice(rows[start], end - start))
            start = end
    return pa.concat_tables(parts)


def _joined(own: pa.Table, extra: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([*own.columns, *extra.columns], schema=schema)
