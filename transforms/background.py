"""RemoveBackground: the chain as a Beam transform over image records or schema'd rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.error_handling import ErrorHandler

from .cutout import ChainSettings
from .cutters import Cutter, CutterSettings, check_cutter, make_cutter
from .records import Cutout, Failure, ImageRecord
from .row_form import RowForm
from .sharing import Share

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

    A hosted provider, or a chain of engines, is given as `CutterSettings`. What is bought stands in
    the ledger that they name before its cutout goes on, so that bundles that run again, and
    pipelines with the same ledger, pay for no picture twice.

    Example:
      hosted = ProviderSettings("fal-bria", ledger="gs://my-bucket/ledger")
      chain = CutterSettings(("fal-bria", "grabcut"), providers={"fal-bria": hosted})
      cutouts, failures = rows | RemoveBackground(chain)
    """

    _row_form = RowForm

    def __init__(
        self,
        engine: str | CutterSettings = "grabcut",
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
          engine: a name that `alphabeam engines` lists, of this machine, or
            `package.module:Class`; or all that cuts out, in turn.
          engine_options: what an engine given by its name shall do otherwise than by default.
          settings: limits, output form and concurrency.
          image_column, key_column: of rows; by convention when None.
          base: folder that relative paths in rows resolve against.
          lookahead: images of a bundle that are worked on together; more overlaps better and
            takes more memory.
          share_model: who shares one loaded model of an engine given by its name: the threads of
            a `process`, or all processes of a `machine`.

        Raises:
          EngineUnusable: no such engine, or it takes no such option.
          ValueError: a provider takes no such option, or its key is not given by reference.
        """
        super().__init__()
        if isinstance(engine, str):
            engine = CutterSettings(
                (engine,), {engine: dict(engine_options or {})}, share=share_model
            )
        elif engine_options:
            raise ValueError("engine_options are of an engine given by its name")
        check_cutter(engine)
        self._cutter = engine
        self._settings = settings or ChainSettings()
        self._image_column = image_column
        self._key_column = key_column
        self._base = base
        self._lookahead = lookahead
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
            >> beam.ParDo(_CutOut(self._cutter, self._settings, rows)).with_outputs(
                _FAILED, main="cutouts"
            )
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
        self, cutter: CutterSettings, settings: ChainSettings, rows: RowForm | None
    ) -> None:
        self._cutter_settings = cutter
        self._settings = settings
        self._rows = rows
        self._done = Metrics.counter("alphabeam", "images_done")
        self._failed = Metrics.counter("alphabeam", "images_failed")

        self._cutter: Cutter | None = None

    def setup(self) -> None:
        self._cutter = make_cutter(self._cutter_settings)

    def teardown(self) -> None:
        if self._cutter is not None:
            self._cutter.close()

    def process(self, elements: list[Any]) -> Iterator[Any]:
        assert self._cutter is not None
        rows = self._rows
        records = (
            elements if rows is None else [rows.record(e, row) for row, e in enumerate(elements)]
        )
        for result in self._cutter.cut_out(records, self._settings):
            if isinstance(result, Cutout):
                self._done.inc()
                yield result if rows is None else rows.cutout(result)
            else:
                self._failed.inc()
                yield TaggedOutput(_FAILED, result if rows is None else rows.failure(result))
