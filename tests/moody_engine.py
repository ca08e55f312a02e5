"""An engine whose mattes come in every quality, told by the picture's first pixel."""

from __future__ import annotations

import numpy as np
from stub_engines import Disc, disc

from alphabeam.transforms.engines.contract import Matte


class Moody(Disc):
    """Gives blank, full, cut, torn, doubtful and good mattes, as the first pixel says."""

    def predict(self, pictures):
        return [matte(picture) for picture in pictures]


class Silent(Moody):
    """The same without saying how sure it is."""

    def predict(self, pictures):
        return [Matte(prediction.alpha, None) for prediction in super().predict(pictures)]


class Other(Moody):
    """The same under another name."""


MOODS = ("good", "blank", "full", "cut", "torn", "doubtful")


def matte(picture: np.ndarray) -> Matte:
    """Gives the matte that a picture asks for by its top left pixel's red, in steps of 40."""
    height, width = picture.shape[:2]
    mood = MOODS[min(int(picture[0, 0, 0]) // 40, len(MOODS) - 1)]
    alpha = disc(height, width)
    if mood == "blank":
        alpha = alpha * 0.3
    elif mood == "full":
        alpha = np.maximum(alpha, 0.7)
    elif mood == "cut":
        alpha = np.roll(alpha, height // 3, axis=0)
    elif mood == "torn":
        y, x = np.mgrid[:height, :width]
        alpha = alpha * (x // 12 % 2) * (y // 12 % 2)
    elif mood == "doubtful":
        alpha = 0.25 + alpha * 0.5
    alpha = alpha.astype(np.float32)
    return Matte(alpha, float(np.abs(2 * alpha - 1).mean()))
