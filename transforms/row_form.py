"""Rows with a schema into image records, and results into rows again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Optional

from apache_beam.pvalue import Row
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.typehints.schemas import named_fields_from_element_type

from .records import Cutout, Failure, ImageRecord
from .rows import find_columns, record_from_row


def or_none(kind: Any) -> Any:
    """Gives the type of a column that may be null; Beam takes `kind | None` for any value at all."""
    return Optional[kind]  # noqa: UP045


_CUTOUT_FIELDS: tuple[tuple[str, Any], ...] = (
    ("key", str),
    ("source_uri", str),
    ("image", bytes),
    ("mask", or_none(bytes)),
    ("format", str),
    ("width", int),
    ("height", int),
    ("source_width", int),
    ("source_height", int),
    ("source_format", or_none(str)),
    ("source_bytes", or_none(int)),
    ("source_sha256", or_none(str)),
    ("exif_orientation", or_none(int)),
    ("icc_converted", or_none(bool)),
    ("coverage", float),
    ("mask_area_px", int),
    ("bbox_x", or_none(int)),
    ("bbox_y", or_none(int)),
    ("bbox_width", or_none(int)),
    ("bbox_height", or_none(int)),
    ("centroid_x", or_none(float)),
    ("centroid_y", or_none(float)),
    ("touches_top", bool),
    ("touches_right", bool),
    ("touches_bottom", bool),
    ("touches_left", bool),
    ("components", int),
    ("largest_component_ratio", or_none(float)),
    ("hole_ratio", or_none(float)),
    ("soft_fraction", float),
    ("edge_width_px", or_none(float)),
    ("alpha_entropy", float),
    ("alpha_histogram", list[int]),
    ("is_blank", bool),
    ("is_full", bool),
    ("confidence", or_none(float)),
    ("engine", str),
    ("model", str),
    ("revision", str),
    ("device", str),
    ("dtype", str),
    ("attempts", int),
    ("cost_usd", or_none(float)),
    ("provider_request_id", or_none(str)),
    ("provider_resized", or_none(bool)),
    ("escalated_from", or_none(str)),
    ("escalated_confidence", or_none(float)),
)

FAILURE_FIELDS: tuple[tuple[str, Any], ...] = (
    ("key", str),
    ("source_uri", str),
    ("stage", str),
    ("error", str),
    ("message", str),
    ("retryable", bool),
    ("attempts", int),
    ("engine", str),
)


class RowForm:
    """How rows become records, and results rows again.

    Attributes:
      columns: which of the rows' columns have a meaning of their own.
      cutout_type, failure_type: of the rows that results become.
    """

    def __init__(
        self, element_type: Any, image_column: str | None, key_column: str | None, base: str
    ) -> None:
        """Reads the columns off an element type.

        Raises:
          ValueError: the elements have no schema, or no column that holds images.
        """
        try:
            fields = named_fields_from_element_type(element_type)
        except TypeError as error:
            raise ValueError(
                f"RemoveBackground takes ImageRecords or rows with a schema (beam.Row, "
                f"NamedTuple): given elements of type {element_type}"
            ) from error
        self.columns = find_columns([name for name, _ in fields], image_column, key_column)
        self._base = base
        self._passed = [field for field in fields if self.columns.carries(field[0])]
        self.cutout_type = self._type(_CUTOUT_FIELDS)
        self.failure_type = self._type(FAILURE_FIELDS)

    def _type(self, own: tuple[tuple[str, Any], ...]) -> RowTypeConstraint:
        passed = [(_free_name(name, own), kind) for name, kind in self._passed]
        return RowTypeConstraint.from_fields([*own, *passed])

    def record(self, element: Any, row: int) -> ImageRecord:
        """Makes the image record of a row."""
        return record_from_row(element._asdict(), self.columns, self._base, row, "")

    def cutout(self, cutout: Cutout) -> Row:
        """Makes the row of a cutout."""
        return self._row(_cutout_values(cutout), _CUTOUT_FIELDS, cutout.record)

    def failure(self, failure: Failure) -> Row:
        """Makes the row of a failure."""
        return self._row(failure_values(failure), FAILURE_FIELDS, failure.record)

    def _row(
        self, own: dict[str, Any], fields: tuple[tuple[str, Any], ...], record: ImageRecord
    ) -> Row:
        passed = {_free_name(name, fields): record.columns[name] for name, _ in self._passed}
        return Row(**{name: own[name] for name, _ in fields}, **passed)


def _free_name(name: str, own: tuple[tuple[str, Any], ...]) -> str:
    return f"manifest_{name}" if any(name == taken for taken, _ in own) else name


def _cutout_values(cutout: Cutout) -> dict[str, Any]:
    source, stats = cutout.source, asdict(cutout.stats)
    return {
        **stats,
        **asdict(cutout.engine),
        "alpha_histogram": list(cutout.stats.alpha_histogram),
        "key": cutout.record.key,
        "source_uri": cutout.record.source_uri,
        "image": cutout.image,
        "mask": cutout.mask,
        "format": cutout.format,
        "width": cutout.width,
        "height": cutout.height,
        "source_width": source.width,
        "source_height": source.height,
        "source_format": source.format,
        "source_bytes": source.bytes,
        "source_sha256": source.sha256,
        "exif_orientation": source.exif_orientation,
        "icc_converted": source.icc_converted,
        "confidence": cutout.confidence,
    }


def failure_values(failure: Failure) -> dict[str, Any]:
    """Gives the values of `FAILURE_FIELDS`."""
    error = failure.error
    return {
        "key": failure.record.key,
        "source_uri": failure.record.source_uri,
        "stage": error.stage,
        "error": error.kind,
        "message": error.message,
        "retryable": error.retryable,
        "attempts": error.attempts,
        "engine": failure.engine,
    }
