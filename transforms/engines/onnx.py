"""Any ONNX file of one picture in and one mask out, through onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..errors import EngineError
from .contract import EngineUnusable, Matte
from .model_files import fetch_file
from .onnx_reading import ACTIVATIONS, MaskReading
from .onnx_session import find_provider, open_session
from .onnx_signature import Side, mask_output, picture_input
from .preprocessing import IMAGENET, Triple


@dataclass(kw_only=True)
class OnnxEngine:
    """A network from an ONNX file: input (B, 3, H, W), output (B, 1, h, w) or (B, h, w).

    Colours and classes may also come last. Inputs are floats, or uint8 pixels that the file
    normalises itself; outputs are probabilities or logits in floating point, or uint8 levels of
    0 to 255. Several channels of an output are classes.

    What published files want: U²-Net `--resolution 320 --onnx_scale max`; IS-Net and RMBG-1.4
    `--resolution 1024 --onnx_mean 0.5,0.5,0.5 --onnx_std 1,1,1`; MODNet `--resolution 512
    --onnx_mean 0.5,0.5,0.5 --onnx_std 0.5,0.5,0.5`; BiRefNet and RMBG-2.0 `--resolution 1024`.

    After `load`, `revision`, `device`, `dtype` and `batch_size` say what is real.

    Attributes:
      model: path or fsspec URI of the file.
      device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
      resolution: height and width of the input, pixels; None for what the file says.
      batch_size: pictures in one run; None for what the file says, else 1.
      onnx_mean, onnx_std: red, green and blue, after the division by `onnx_scale`.
      onnx_scale: what pictures are divided by: a number, or `max` for their own maximum.
      onnx_output: name or index of the output.
      onnx_activation: `sigmoid` for an output of logits, `softmax` for one of classes' logits,
        `none` for one of probabilities, `auto` to find out: probabilities of three test pictures
        lie in 0..1, logits do not.
      subject_labels: numbers of the classes that make the subject; None for the second of two.
    """

    model: str = ""
    device: str = "auto"
    resolution: int | None = None
    batch_size: int | None = None
    onnx_mean: str | Sequence[float] = IMAGENET.mean
    onnx_std: str | Sequence[float] = IMAGENET.std
    onnx_scale: str | float = 255.0
    onnx_output: str | int = 0
    onnx_activation: str = "auto"
    subject_labels: str | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("--model is missing: give the path or fsspec URI of an ONNX file")
        self._mean = _triple("onnx_mean", self.onnx_mean)
        self._std = _triple("onnx_std", self.onnx_std)
        if not all(self._std):
            raise ValueError(f"--onnx_std {self.onnx_std}: none of the three can be 0")
        self._scale = _scale(self.onnx_scale)
        if self.onnx_activation not in ACTIVATIONS:
            raise ValueError(
                f"--onnx_activation {self.onnx_activation}: it can be {', '.join(ACTIVATIONS)}"
            )
        self._reading = MaskReading(self.onnx_activation, _classes(self.subject_labels))
        if self.resolution is not None and self.resolution < 1:
            raise ValueError(f"--resolution {self.resolution}: it can be 1 pixel and more")
        self.dtype, self.revision = "", ""

    def check(self) -> None:
        """Finds out whether the device is there and the file is a network of this kind.

        Raises:
          EngineUnusable: they are not.
        """
        self._open()
        self._try(_noise(self._size))

    def settings(self) -> dict[str, Any]:
        """Gives the options that decide what the mattes are."""
        return {
            "model": self.model,
            "resolution": self.resolution,
            "onnx_mean": list(self._mean),
            "onnx_std": list(self._std),
            "onnx_scale": self.onnx_scale,
            "onnx_output": self.onnx_output,
            "onnx_activation": self.onnx_activation,
            "subject_labels": self._reading.subject,
        }

    def load(self) -> None:
        """Opens the file.

        Raises:
          EngineUnusable: it is not there, or no network of this kind.
        """
        self._open()
        self._logits = self._gives_logits()

    def _open(self) -> None:
        provider = find_provider(self.device)
        files, name = fetch_file(self.model)
        self._session = open_session(self.model, files.folder / name, provider)
        self.device = provider.device
        self.revision = files.revision(name)
        self._read_signature()

    def predict(self, pictures: list[np.ndarray]) -> list[Matte | EngineError]:
        """Gives each picture's matte: float32, of the network's own size."""
        assert self.batch_size
        mattes: list[Matte | EngineError] = []
        for first in range(0, len(pictures), self.batch_size):
            for values in self._run(pictures[first : first + self.batch_size]):
                mattes.append(self._reading.matte(values, self._logits))
        return mattes

    def _run(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Runs at most `batch_size` pictures; gives the raw output, float32 (B, C, h, w)."""
        batch = self._input.arranged([self._prepared(picture) for picture in pictures])
        if len(batch) < self._least:
            padding = np.zeros((self._least - len(batch), *batch.shape[1:]), batch.dtype)
            batch = np.concatenate((batch, padding))
        (result,) = self._session.run([self._output.name], {self._input.name: batch})
        maps = self._output.maps(result)[: len(pictures)]
        if maps.ndim != 4 or len(maps) != len(pictures):
            raise EngineUnusable(
                f"--onnx_output {self.onnx_output}: the output has the shape "
                f"{np.asarray(result).shape}; a mask has (batch, 1, height, width)"
            )
        self._reading.check(maps.shape[1], self.onnx_output)
        return maps

    def _prepared(self, picture: np.ndarray) -> np.ndarray:
        """Resizes as Pillow does and, where the file does not, normalises; gives (H, W, 3)."""
        size = self._size[1], self._size[0]
        small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
        if self._input.dtype is np.uint8:
            return small
        scale = self._scale or max(int(small.max()), 1)
        levels = (np.arange(256)[:, None] / scale - self._mean) / self._std
        return cv2.LUT(small, levels.astype(np.float32)[:, None])

    def _read_signature(self) -> None:
        taken = picture_input(self.model, self._session.get_inputs())
        if taken.dtype is np.uint8 and not self._normalises_as_usual():
            raise EngineUnusable(
                f"--model {self.model}: takes pixels as uint8 and normalises them itself, so that "
                f"--onnx_mean, --onnx_std and --onnx_scale have nothing to do"
            )
        self._input, self.dtype = taken, np.dtype(taken.dtype).name
        self._size = (self._side(taken.height), self._side(taken.width))
        fixed = taken.batch if isinstance(taken.batch, int) else None
        self._least = fixed or 1
        if fixed and self.batch_size not in (None, fixed):
            raise EngineUnusable(f"--batch_size {self.batch_size}: the file is made for {fixed}")
        self.batch_size = self.batch_size or self._least
        outputs = self._session.get_outputs()
        self._output = mask_output(str(self.onnx_output), outputs, taken.channels_last)

    def _normalises_as_usual(self) -> bool:
        return (self._mean, self._std, self._scale) == (IMAGENET.mean, IMAGENET.std, 255)

    def _side(self, said: Side) -> int:
        if not isinstance(said, int):
            if self.resolution is None:
                raise EngineUnusable(
                    f"--resolution is missing: {self.model} takes pictures of any size"
                )
            return self.resolution
        if self.resolution not in (None, said):
            raise EngineUnusable(
                f"--resolution {self.resolution}: {self.model} is made for {said} pixels"
            )
        return said

    def _gives_logits(self) -> bool:
        """Tries the network: on noise, and where nothing was said on black and on white, too.

        Raises:
          EngineUnusable: the output is no mask.
        """
        noise = _noise(self._size)
        for test in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
            values = self._try(test)
            if self.onnx_activation != "auto":
                return self.onnx_activation != "none"
            if values.min() < 0 or values.max() > 1:
                return True
        return False

    def _try(self, picture: np.ndarray) -> np.ndarray:
        """Runs a first picture; raises `EngineUnusable` where it does not pass or gives no mask."""
        try:
            return self._run([picture])
        except EngineUnusable:
            raise
        except Exception as error:
            told = " ".join(str(error).split())[:300]
            raise EngineUnusable(
                f"--model {self.model} takes no picture of {self._size[1]}×{self._size[0]} pixels: "
                f"{told}"
            ) from error


def _noise(size: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def _triple(flag: str, given: str | Sequence[float]) -> Triple:
    parts = given.split(",") if isinstance(given, str) else given
    try:
        red, green, blue = (float(part) for part in parts)
    except ValueError:
        raise ValueError(f"--{flag} {given}: it is three numbers, as in 0.5,0.5,0.5") from None
    if not np.isfinite((red, green, blue)).all():
        raise ValueError(f"--{flag} {given}: none of the three can be infinite or no number")
    return red, green, blue


def _classes(given: str | Sequence[int] | None) -> list[int] | None:
    parts = given.split(",") if isinstance(given, str) else given
    try:
        return None if parts is None else sorted({int(part) for part in parts})
    except ValueError:
        raise ValueError(
            f"--subject_labels {given}: an ONNX file has no names for its classes, so these are "
            f"numbers, as in 1,2"
        ) from None


def _scale(given: str | float) -> float | None:
    """Reads what pictures are divided by; None for their own maximum."""
    if given == "max":
        return None
    try:
        scale = float(given)
    except ValueError:
        scale = 0.0
    if not (0 < scale < np.inf):
        raise ValueError(f"--onnx_scale {given}: it is max or a number above 0")
    return scale
