"""MattingModelHandler: the engines of this package for Beam's RunInference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from .engines import registry
from .engines.contract import Matte
from .engines.loaded import LoadedEngine
from .errors import EngineError
from .sharing import load_engine


class MattingModelHandler(ModelHandler[np.ndarray, PredictionResult, LoadedEngine]):
    """Gives the matte of every picture in a PCollection of arrays.

    Takes uint8 arrays of shape (H, W, 3), sRGB, of any sizes. Each becomes one `PredictionResult`
    whose `inference` is a `Matte`, or the `EngineError` that stands for this picture alone: a bad
    one costs none of its batch.

    Example:
      import apache_beam as beam
      from apache_beam.ml.inference.base import RunInference
      from skimage.data import chelsea
      from alphabeam.transforms import MattingModelHandler

      with beam.Pipeline("FnApiRunner") as pipeline:
          pictures = pipeline | beam.Create([chelsea()])
          results = pictures | RunInference(MattingModelHandler("grabcut"))
          mattes = results | beam.Map(lambda result: result.inference)
          mattes | beam.Map(lambda matte: print(matte.alpha.shape, round(matte.confidence, 2)))
    """

    def __init__(
        self,
        engine: str = "grabcut",
        *,
        engine_options: Mapping[str, Any] | None = None,
        batch_size: int = 4,
        share_model_across_processes: bool = False,
    ) -> None:
        """Chooses what cuts out.

        Args:
          engine: a name that `alphabeam engines` lists, or `package.module:Class`.
          engine_options: what the engine shall do otherwise than by default.
          batch_size: pictures that Beam hands over together. Its own choice would grow to
            thousands, which no memory holds.
          share_model_across_processes: load one model a machine instead of one a process.

        Raises:
          EngineUnusable: no such engine, or it takes no such option.
          ValueError: the batch size is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        super().__init__(
            min_batch_size=batch_size,
            max_batch_size=batch_size,
            large_model=share_model_across_processes,
        )
        self._engine = engine
        self._engine_options = dict(engine_options or {})
        registry.create(engine, self._engine_options)

    def load_model(self) -> LoadedEngine:
        """Loads the engine.

        Raises:
          EngineUnusable: it cannot run on this machine.
        """
        return load_engine(self._engine, self._engine_options)

    def run_inference(
        self,
        batch: Sequence[np.ndarray],
        model: LoadedEngine,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterator[PredictionResult]:
        """Gives one result a picture, in the same order."""
        good = [picture for picture in batch if _trouble(picture) is None]
        mattes = iter(model.predict(good))
        for picture in batch:
            inference: Matte | EngineError = _trouble(picture) or next(mattes)
            yield PredictionResult(picture, inference, self._engine)

    def get_num_bytes(self, batch: Sequence[np.ndarray]) -> int:
        """Counts the pictures' bytes, without writing them out as Beam's own way does."""
        return sum(np.asarray(picture).nbytes for picture in batch)

    def get_metrics_namespace(self) -> str:
        """Names the metrics."""
        return "MattingModelHandler"


def _trouble(picture: object) -> EngineError | None:
    """Says what keeps an element from being a picture."""
    if not isinstance(picture, np.ndarray):
        found = f"a {type(picture).__name__}"
    elif picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        found = f"an array of shape {picture.shape}"
    elif picture.dtype != np.uint8:
        found = f"an array of {picture.dtype}"
    else:
        return None
    return EngineError("bad_picture", f"a picture is uint8 of shape (H, W, 3), and this is {found}")
