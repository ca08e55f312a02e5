"""What an ONNX file takes and gives: read off its declarations, and made one form of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .contract import EngineUnusable

# Eight bits are pixels: such a file normalises them by itself.
_INPUTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}

# What outputs of masks are divided by. Whole numbers of other types are classes and no masks.
_OUTPUT_SCALES = {
    **dict.fromkeys(("tensor(float)", "tensor(float16)", "tensor(double)", "tensor(bool)"), 1),
    "tensor(uint8)": 255,
}

Side = int | str | None
"""Of a declared shape: a number where it is fixed."""


@dataclass(frozen=True)
class PictureInput:
    """The one input.

    Attributes:
      name: of the tensor.
      dtype: of its numbers; uint8 for pixels that the file normalises itself.
      batch: pictures in a run; no number where any will do.
      height, width: pixels; no number where any will do.
      channels_last: whether its shape is (batch, height, width, 3) instead of
        (batch, 3, height, width).
    """

    name: str
    dtype: type[np.generic]
    batch: Side
    height: Side
    width: Side
    channels_last: bool

    def arranged(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Makes a batch of arrays (H, W, 3)."""
        batch = np.stack(pictures)
        if not self.channels_last:
            batch = batch.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(batch, dtype=self.dtype)


@dataclass(frozen=True)
class MaskOutput:
    """The output of the masks.

    Attributes:
      name: of the tensor.
      scale: what its numbers are divided by.
      channels_last: how its shape is read where that does not show by itself.
    """

    name: str
    scale: int
    channels_last: bool

    def maps(self, result: Any) -> np.ndarray:
        """Gives float32 (batch, channels, height, width) of an output; as it is if it is no map."""
        maps = np.asarray(result).astype(np.float32, copy=False)
        if maps.ndim == 3:
            maps = maps[:, None]
        elif maps.ndim == 4 and maps.shape[1] != 1 and (self.channels_last or maps.shape[3] == 1):
            maps = maps.transpose(0, 3, 1, 2)
        return maps if self.scale == 1 else maps / self.scale


def picture_input(model: str, declared: Sequence[Any]) -> PictureInput:
    """Finds the input.

    Args:
      model: for the message.
      declared: inputs of an onnxruntime session.

    Raises:
      EngineUnusable: it is no picture, or there are others beside it.
    """
    if len(declared) == 1 and declared[0].type in _INPUTS and len(declared[0].shape) == 4:
        name, dtype = declared[0].name, _INPUTS[declared[0].type]
        batch, *sides = declared[0].shape
        for place, channels_last in ((0, False), (2, True)):
            if sides[place] == 3:
                height, width = (side for i, side in enumerate(sides) if i != place)
                return PictureInput(name, dtype, batch, height, width, channels_last)
        if not isinstance(sides[0], int):
            return PictureInput(name, dtype, batch, sides[1], sides[2], channels_last=False)
    described = ", ".join(f"{one.name} {one.type} {one.shape}" for one in declared)
    raise EngineUnusable(
        f"--model {model}: takes {described}; it must take one tensor of floats or uint8, of shape "
        f"(batch, 3, height, width) or (batch, height, width, 3)"
    )


def mask_output(asked: str, declared: Sequence[Any], channels_last: bool) -> MaskOutput:
    """Finds the output.

    Args:
      asked: its name, or its index, which may count from the end.
      declared: outputs of an onnxruntime session.
      channels_last: whether the input is so.

    Raises:
      EngineUnusable: there is none such, or it is no mask.
    """
    names = [output.name for output in declared]
    if asked in names:
        output = declared[names.index(asked)]
    elif asked.removeprefix("-").isdecimal() and -len(names) <= int(asked) < len(names):
        output = declared[int(asked)]
    else:
        raise EngineUnusable(f"--onnx_output {asked}: the file has {', '.join(names)}")
    if output.type not in _OUTPUT_SCALES:
        raise EngineUnusable(
            f"--onnx_output {asked}: {output.name} is {output.type}; a mask is of floats, or of "
            f"levels as uint8"
        )
    return MaskOutput(output.name, _OUTPUT_SCALES[output.type], channels_last)
