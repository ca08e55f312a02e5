"""What an engine is: pictures in, mattes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import EngineError


class EngineUnusable(ValueError):
    """No such engine, or one that cannot run here; the message is one line for the user."""


@dataclass(frozen=True)
class Matte:
    """One picture's alpha and what the engine itself thinks of it.

    Attributes:
      alpha: shape (h, w), 0 (background) to 1 (subject): float32 0..1, uint8 0..255 or
        uint16 0..65535. The picture's size, or the engine's own working size.
      confidence: mean |2p - 1| over the engine's raw probabilities p, 0..1, before any
        resize, stretch or threshold; None where the engine has no probabilities.
    """

    alpha: np.ndarray
    confidence: float | None


Prediction = np.ndarray | Matte | EngineError


class Engine(Protocol):
    """A background-removal model that runs in this process.

    An engine may further carry these attributes, all read after `load`:
      name, model, revision, device, dtype: str, written into every row.
      parallel: bool or int, how many threads may call `predict` at once: False for one (the
        default), True for as many as there are cores, or a number.
      batch_size: int, how many pictures one `predict` takes best (default 1).
      refines: bool, whether foreground colours are its to estimate, through `refine` (default
        False: the chain does it on a core).

    And these methods:
      check(): raises `EngineUnusable` when the engine cannot run on this machine. Called before a
        run whose work happens on this machine.
      settings(): the options that decide what the mattes are, as plain values that `__init__`
        takes, those that were left out filled in. Called where a run is launched; recorded there.
      refine(pictures, alphas): the subjects' colours as uint8 (H, W, 3), or the `EngineError` that
        stands for a picture alone; pictures as for `predict`, alphas uint8 (H, W) of their sizes.
    """

    def __init__(self, **options: object) -> None:
        """Keep the options; cheap, picklable, no I/O.

        Raises:
          ValueError: an option has a value that cannot work; the message names it as `--option`.
        """
        ...

    def load(self) -> None:
        """Make ready, once a process, before the first `predict`."""
        ...

    def predict(self, pictures: list[np.ndarray]) -> list[Prediction]:
        """Give each picture's matte, in the same order.

        Args:
          pictures: uint8, shape (H, W, 3), sRGB, of any sizes.

        Returns:
          For each picture one `Matte`; or one float32 array of shape (h, w) in 0..1, which is
          taken to hold the engine's probabilities, from which the confidence is computed; or the
          `EngineError` that stands for this picture alone.

        Raises:
          Exception: for the batch as a whole; the caller then halves the batch.
        """
        ...
