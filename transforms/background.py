"""RemoveBackground: the chain as a Beam transform over image records or schema'd rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, Row, TaggedOutput
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.typehints.schemas import named_fields_from_element_type

from .cutout import ChainSettings, cut_out
from .engines import registry
from .records import Cutout, Failure, ImageRecord
from .rows import Columns, find_columns, record_from_row
from .sharing import Share, acquire_engine

_FAILED = "failed"

_CUTOUT_FIELDS: tuple[tuple[str, Any], ...] = (
    ("key", str),
    ("source_uri", str),
    ("image", bytes),
    ("mask", bytes | None),
    ("format", str),
    ("width", int),
    ("height", int),
    ("source_width", int),
    ("source_height", int),
    ("source_format", str | None),
    ("source_bytes", int | None),
    ("source_sha256", str | None),
    ("exif_orientation", int | None),
    ("icc_converted", bool | None),
    ("coverage", float),
    ("mask_area_px", int),
    ("bbox_x", int | None),
    ("bbox_y", int | None),
    ("bbox_width", int | None),
    ("bbox_height", int | None),
    ("centroid_x", float | None),
    ("centroid_y", float | None),
    ("touches_top", bool),
    ("touches_right", bool),
    ("touches_bottom", bool),
    ("touches_left", bool),
    ("components", int),
    ("largest_component_ratio", float | None),
    ("hole_ratio", float | None),
    ("soft_fraction", float),
    ("edge_width_px", float | None),
    ("alpha_entropy", float),
    ("alpha_histogram", list[int]),
    ("is_blank", bool),
    ("is_full", bool),
    ("confidence", float | None),
    ("engine", str),
    ("model", str),
    ("revision", str),
    ("device", str),
    ("dtype", str),
    ("attempts", int),
    ("cost_usd", float | None),
    ("provider_request_id", str | None),
    ("provider_resized", bool | None),
    ("escalated_from", str | None),
    ("escalated_confidence", float | None),
)

_FAILURE_FIELDS: tuple[tuple[str, Any], ...] = (
    ("key", str),
    ("source_uri", str),
    ("stage", str),
    ("error", str),
    ("message", str),
    ("retryable", bool),
    ("attempts", int),
    ("engine", str),
)


class Removed(NamedTuple):
    """What `RemoveBackground` gives: cutouts, and the images that failed."""

    cutouts: PCollection
    failures: PCollection


class RemoveBackground(beam.PTransform):
    """Cuts the subject out of every image of a PCollection.

    Takes `ImageRecord`s and gives `Cutout`s and `Failure`s, or takes rows with a schema and gives
    rows: the cutout's columns (`image` holds the encoded RGBA picture), then the input's other
    columns, those whose names are taken prefixed with `manifest_`. No picture is ever part of a
    failure.

    Example:
      cutouts, failures = rows | RemoveBackground(engine="grabcut")
    """

    def __init__(
        self,
        engine: str = "grabcut",
        *,
        engine_options: Mapping[str, Any] | None = None,
        settings: ChainSettings | None = None,
        image_column: str | None = None,
        key_column: str | None = None,
        base: str = "",
        lookahead: int = 32,
        share_model: Share = "process",
    ) -> None:
        """Chooses what cuts out, and how.

        Args:
          engine: a name that `alphabeam engines` lists, or `package.module:Class`.
          engine_options: what the engine shall do otherwise than by default.
          settings: limits, output form and concurrency.
          image_column, key_column: of rows; by convention when None.
          base: folder that relative paths in rows resolve against.
          lookahead: images of a bundle that are worked on together; more overlaps better and
            takes more memory.
          share_model: who shares one loaded model: the threads of a `process`, or all processes of
            a `machine`.

        Raises:
          EngineUnusable: no such engine, or it takes no such option.
        """
        super().__init__()
        self._engine = engine
        self._engine_options = dict(engine_options or {})
        registry.create(engine, self._engine_options)
        self._settings = settings or ChainSettings()
        self._image_column = image_column
        self._key_column = key_column
        self._base = base
        self._lookahead = lookahead
        self._share_model: Share = share_model
        self._error_handler: ErrorHandler | None = None

    def with_error_handler(self, error_handler: ErrorHandler | None) -> RemoveBackground:
        """Sends failures to a Beam error handler; the transform then gives the cutouts alone."""
        self._error_handler = error_handler
        return self

    def expand(self, pcoll: PCollection) -> Removed | PCollection:
        rows = None
        if pcoll.element_type is not ImageRecord:
            rows = _RowForm.of(pcoll.element_type, self._image_column, self._key_column, self._base)
        outputs: Any = (
            pcoll
            | "Gather"
            >> beam.BatchElements(min_batch_size=self._lookahead, max_batch_size=self._lookahead)
            | "CutOut"
            >> beam.ParDo(
                _CutOut(self._engine, self._engine_options, self._settings, rows, self._share_model)
            ).with_outputs(_FAILED, main="cutouts")
        )
        cutouts, failures = outputs.cutouts, outputs[_FAILED]
        cutouts.element_type = rows.cutout_type if rows else Cutout
        failures.element_type = rows.failure_type if rows else Failure
        if self._error_handler is None:
            return Removed(cutouts, failures)
        self._error_handler.add_error_pcollection(failures)
        return cutouts


class _RowForm:
    """How rows become records, and results rows again."""

    def __init__(self, columns: Columns, base: str, passed: list[tuple[str, Any]]) -> None:
        self._columns = columns
        self._base = base
        self._passed = passed

    @classmethod
    def of(
        cls, element_type: Any, image_column: str | None, key_column: str | None, base: str
    ) -> _RowForm:
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
        columns = find_columns([name for name, _ in fields], image_column, key_column)
        consumed = {columns.image, "key"} if columns.key == "key" else {columns.image}
        return cls(columns, base, [field for field in fields if field[0] not in consumed])

    @property
    def cutout_type(self) -> RowTypeConstraint:
        return self._type(_CUTOUT_FIELDS)

    @property
    def failure_type(self) -> RowTypeConstraint:
        return self._type(_FAILURE_FIELDS)

    def _type(self, own: tuple[tuple[str, Any], ...]) -> RowTypeConstraint:
        passed = [(_free_name(name, own), kind) for name, kind in self._passed]
        return RowTypeConstraint.from_fields([*own, *passed])

    def record(self, element: Any, row: int) -> ImageRecord:
        values = element._asdict()
        record = record_from_row(values, self._columns, self._base, row, "")
        return replace(record, columns={name: values[name] for name, _ in self._passed})

    def result(self, result: Cutout | Failure) -> Row:
        if isinstance(result, Cutout):
            own, fields = _cutout_values(result), _CUTOUT_FIELDS
        else:
            own, fields = _failure_values(result), _FAILURE_FIELDS
        passed = {_free_name(name, fields): value for name, value in result.record.columns.items()}
        return Row(**{name: own[name] for name, _ in fields}, **passed)


class _CutOut(beam.DoFn):
    """Runs the chain over the gathered images of a bundle."""

    def __init__(
        self,
        engine: str,
        engine_options: Mapping[str, Any],
        settings: ChainSettings,
        rows: _RowForm | None,
        share_model: Share,
    ) -> None:
        self._engine_name = engine
        self._engine_options = engine_options
        self._settings = settings
        self._rows = rows
        self._share_model: Share = share_model
        self._done = Metrics.counter("alphabeam", "images_done")
        self._failed = Metrics.counter("alphabeam", "images_failed")

    def setup(self) -> None:
        self._engine = acquire_engine(self._engine_name, self._engine_options, self._share_model)

    def process(self, elements: list[Any]) -> Iterator[Any]:
        rows = self._rows
        records = (
            elements if rows is None else [rows.record(e, row) for row, e in enumerate(elements)]
        )
        for result in cut_out(records, self._engine, self._settings):
            element = result if rows is None else rows.result(result)
            if isinstance(result, Cutout):
                self._done.inc()
                yield element
            else:
                self._failed.inc()
                yield TaggedOutput(_FAILED, element)


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


def _failure_values(failure: Failure) -> dict[str, Any]:
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
