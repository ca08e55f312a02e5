"""Engines for tests of everything but the engines: quick, and troublesome on demand."""

from __future__ import annotations

import threading
import time

import numpy as np


class Disc:
    """A soft disc in the middle of every picture."""

    parallel = True

    def __init__(self, **options):
        self.options = options

    def load(self):
        pass

    def predict(self, pictures):
        return [disc(*picture.shape[:2]) for picture in pictures]


class BatchedDisc(Disc):
    """The same in batches, one call at a time."""

    parallel = False
    batch_size = 4

    def __init__(self, **options):
        super().__init__(**options)
        self._turn = threading.Lock()

    def predict(self, pictures):
        assert self._turn.acquire(blocking=False), "two calls at once"
        try:
            return super().predict(pictures)
        finally:
            self._turn.release()


class Choosy(Disc):
    """Refuses whole batches that hold a picture of an odd width, as a real engine would."""

    parallel = False
    batch_size = 4

    def predict(self, pictures):
        if any(picture.shape[1] % 2 for picture in pictures):
            raise RuntimeError("odd width")
        return super().predict(pictures)


class NotANumber(Disc):
    def predict(self, pictures):
        return [np.full(picture.shape[:2], np.nan, np.float32) for picture in pictures]


class FailsOnce(Disc):
    """Cannot be loaded the first time, as on a worker that is out of luck."""

    failed = False

    def load(self):
        if not FailsOnce.failed:
            FailsOnce.failed = True
            raise OSError("no luck")


class Slow(Disc):
    """Takes its time, so that a run can be stopped while it works."""

    parallel = False

    def predict(self, pictures):
        time.sleep(0.2)
        return super().predict(pictures)


class Unloadable(Disc):
    def load(self):
        raise OSError("weights are gone")


def disc(height: int, width: int) -> np.ndarray:
    """Gives a matte, float32, shape (height, width): 1 within a disc, falling to 0 at its rim."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    return np.clip((0.4 - radius) * 20, 0, 1).astype(np.float32)
