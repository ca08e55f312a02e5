"""RemoveBackground: the chain as a Beam transform over image records or schema'd rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.error_handling import ErrorHandler

from .cutout import ChainSettings, cut_out
from .engines import registry
from .records import Cutout, Failure, ImageRecord
from .row_form import RowForm
from .sharing import Share, acquire_engine

_FAILED = "failed"


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

    _row_form = RowForm

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
            rows = self._row_form(
                pcoll.element_type, self._image_column, self._key_column, self._base
            )
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


class _CutOut(beam.DoFn):
    """Runs the chain over the gathered images of a bundle."""

    def __init__(
        self,
        engine: str,
        engine_options: Mapping[str, Any],
        settings: ChainSettings,
        rows: RowForm | None,
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
            if isinstance(result, Cutout):
                self._done.inc()
                yield result if rows is None else rows.cutout(result)
            else:
                self._failed.inc()
                yield TaggedOutput(_FAILED, result if rows is None else rows.failure(result))
