"""An engine that writes down which process loaded it."""

from __future__ import annotations

import os

from stub_engines import Disc

from alphabeam.transforms.errors import EngineError


class CountedDisc(Disc):
    """A disc; loads are lines of a file, and pictures under 10 pixels wide are refused."""

    def load(self):
        with open(self.options.get("log") or os.environ["COUNTED_LOG"], "a") as file:
            file.write(f"{os.getpid()}\n")

    def predict(self, pictures):
        if len(pictures) == 1 and pictures[0].shape[1] < 10:
            raise EngineError("narrow", f"{pictures[0].shape[1]} pixels", retryable=True)
        return super().predict(pictures)
