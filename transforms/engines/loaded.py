"""An engine made ready: what the chain calls instead of the bare engine."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EngineError
from ..mask_stats import confidence
from ..records import EngineInfo
from .contract import Engine, Matte, Prediction


@dataclass(frozen=True)
class EngineTraits:
    """What the chain has to know of a loaded engine.

    Attributes:
      info: what rows record of it.
      parallel: whether as many threads may predict at once as there are cores.
      predictors: how many threads keep it busy and may predict at once.
      batch_size: how many pictures one `predict` takes best.
      refines: whether foreground colours are estimated by `refine` rather than on a core.
    """

    info: EngineInfo
    parallel: bool
    predictors: int
    batch_size: int
    refines: bool


class LoadedEngine:
    """Loads an engine once and guards its contract from then on.

    Batches that raise are halved until the picture at fault stands alone, and mattes that break
    the contract become that picture's error. However many threads ask, no more than the engine's
    `parallel` allows are let in at once.

    Attributes:
      info, parallel, predictors, batch_size, refines: as in `EngineTraits`.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        engine.load()
        self._engine = engine
        parallel = getattr(engine, "parallel", False)
        self.parallel = parallel is True
        self.predictors = (os.cpu_count() or 1) if parallel is True else max(1, int(parallel))
        self.batch_size = int(getattr(engine, "batch_size", 1))
        self.refines = bool(getattr(engine, "refines", False))
        self._refine = getattr(engine, "refine", None)
        self._turn = threading.BoundedSemaphore(self.predictors)
        self.info = EngineInfo(
            engine=name,
            model=str(getattr(engine, "model", "") or ""),
            revision=str(getattr(engine, "revision", "") or ""),
            device=str(getattr(engine, "device", "cpu")),
            dtype=str(getattr(engine, "dtype", "float32")),
        )

    def traits(self) -> EngineTraits:
        """Gives the attributes in one value, which also crosses processes."""
        return EngineTraits(
            self.info, self.parallel, self.predictors, self.batch_size, self.refines
        )

    def predict(self, pictures: Sequence[np.ndarray]) -> list[Matte | EngineError]:
        """Gives each picture's matte, or the error that stands for it.

        Args:
          pictures: uint8, shape (H, W, 3), sRGB.

        Returns:
          One matte or error a picture, in the same order.
        """
        if not pictures:
            return []
        try:
            with self._turn:
                predictions = self._engine.predict(list(pictures))
            if len(predictions) != len(pictures):
                raise ValueError(
                    f"{self.info.engine} gave {len(predictions)} mattes for "
                    f"{len(pictures)} pictures"
                )
        except Exception as error:  # noqa: BLE001 - any engine trouble is an error row
            if len(pictures) == 1:
                return [self._trouble(error)]
            return self._halves(pictures)
        return [self._checked(prediction) for prediction in predictions]

    def refine(
        self, pictures: Sequence[np.ndarray], alphas: Sequence[np.ndarray]
    ) -> list[np.ndarray | EngineError]:
        """Gives each picture's foreground colours, or the error that stands for it.

        Args:
          pictures: uint8, shape (H, W, 3), sRGB.
          alphas: uint8, shape (H, W), 0 (background) to 255 (subject), the pictures'.

        Returns:
          For each picture uint8 (H, W, 3) or an error, in the same order.

        Raises:
          TypeError: the engine does not refine.
        """
        if self._refine is None:
            raise TypeError(f"{self.info.engine} refines no foregrounds")
        try:
            with self._turn:
                refined = self._refine(list(pictures), list(alphas))
            if len(refined) != len(pictures):
                raise ValueError(
                    f"{self.info.engine} refined {len(refined)} of {len(pictures)} pictures"
                )
            return refined
        except Exception as error:  # noqa: BLE001 - any engine trouble is an error row
            if len(pictures) > 1:
                each = zip(pictures, alphas, strict=True)
                return [one for picture, alpha in each for one in self.refine([picture], [alpha])]
            return [self._trouble(error)]

    def _trouble(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        return EngineError(type(error).__name__, f"{self.info.engine}: {error}")

    def _halves(self, pictures: Sequence[np.ndarray]) -> list[Matte | EngineError]:
        middle = len(pictures) // 2
        return self.predict(pictures[:middle]) + self.predict(pictures[middle:])

    def _checked(self, prediction: Prediction) -> Matte | EngineError:
        if isinstance(prediction, EngineError):
            return prediction
        alpha = prediction.alpha if isinstance(prediction, Matte) else np.asarray(prediction)
        if alpha.ndim != 2 or 0 in alpha.shape or alpha.dtype not in (
            np.float32, np.uint8, np.uint16
        ):  # fmt: skip
            return EngineError(
                "bad_matte",
                f"{self.info.engine} gave a matte of shape {alpha.shape} and type {alpha.dtype}; "
                f"it must be (h, w) of float32, uint8 or uint16",
            )
        if alpha.dtype == np.float32:
            low, high = float(alpha.min()), float(alpha.max())
            if not np.isfinite(low + high):
                return EngineError("not_finite", f"{self.info.engine} gave a matte with NaN or inf")
            if low < -1e-3 or high > 1 + 1e-3:
                return EngineError(
                    "bad_matte",
                    f"{self.info.engine} gave a matte from {low:.3g} to {high:.3g}; "
                    f"it must lie in 0..1",
                )
        if isinstance(prediction, Matte):
            return prediction
        return Matte(alpha, confidence(alpha) if alpha.dtype == np.float32 else None)
