"""What a network wants to see: working sizes and number ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a network's input, once it is resized to the working size.

    The aspect ratio is ignored: networks of this kind were trained that way.

    Attributes:
      mean, std: red, green and blue, of pictures scaled to 0..1: the input is (x - mean) / std.
      mode: interpolation of the resize.
      antialias: whether shrinking averages over all pixels, as Pillow does, or reads only the
        neighbours of each place.
    """

    mean: Triple
    std: Triple
    mode: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What the model cards of BiRefNet and RMBG-2.0 say."""

IMAGENET_BICUBIC = Preprocessing(IMAGENET.mean, IMAGENET.std, mode="bicubic")
"""What the model card of BiRefNet_dynamic says."""

CENTRED = Preprocessing((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), antialias=False)
"""What the model card of RMBG-1.4 says."""


def multiple_of(value: int, stride: int) -> int:
    """Rounds down to a multiple of `stride`, but to no less than one."""
    return max(stride, value // stride * stride)
