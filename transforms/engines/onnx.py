"""Any ONNX file of one picture in and one mask out, through onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image
from scipy.special import expit

from ..errors import EngineError
from ..mask_stats import confidence
from .contract import EngineUnusable, Matte
from .model_files import fetch_file
from .preprocessing import IMAGENET, Triple

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ACTIVATIONS = ("auto", "sigmoid", "none")

# Where a device's work is done in onnxruntime.
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "mps": "CoreMLExecutionProvider",
}

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

# What outputs of masks are divided by. Whole numbers of other types are classes and no masks.
_OUTPUT_SCALES = {
    **dict.fromkeys((*_TYPES, "tensor(double)", "tensor(bool)"), 1),
    "tensor(uint8)": 255,
}


@dataclass(kw_only=True)
class OnnxEngine:
    """A network from an ONNX file: input (B, 3, H, W), output (B, 1, h, w) or (B, h, w).

    Outputs are probabilities or logits in floating point, or uint8 levels of 0 to 255.

    What published files want: U²-Net `--resolution 320 --onnx_scale max`; IS-Net and RMBG-1.4
    `--resolution 1024 --onnx_mean 0.5,0.5,0.5 --onnx_std 1,1,1`; BiRefNet and RMBG-2.0
    `--resolution 1024`.

    After `load`, `revision`, `device`, `dtype` and `batch_size` say what is real.

    Attributes:
      model: path or fsspec URI of the file.
      device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
      resolution: height and width of the input, pixels; None for what the file says.
      batch_size: pictures in one run; None for what the file says, else 1.
      onnx_mean, onnx_std: red, green and blue, after the division by `onnx_scale`.
      onnx_scale: what pictures are divided by: a number, or `max` for their own maximum.
      onnx_output: name or index of the output.
      onnx_activation: `sigmoid` for an output of logits, `none` for one of probabilities, `auto` to
        find out: probabilities of three test pictures lie in 0..1, logits do not.
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
        }

    def load(self) -> None:
        """Opens the file.

        Raises:
          EngineUnusable: it is not there, or no network of this kind.
        """
        self._open()
        self._sigmoid = self._gives_logits()

    def _open(self) -> None:
        provider, number = _provider(self.device)
        files, name = fetch_file(self.model)
        self._session = self._opened(files.folder / name, provider, number)
        kind = next(kind for kind, known in _PROVIDERS.items() if known == provider)
        self.device = f"cuda:{number}" if kind == "cuda" else kind
        self.revision = files.revision(name)
        self._read_input()
        self._output = self._find_output()

    def predict(self, pictures: list[np.ndarray]) -> list[Matte | EngineError]:
        """Gives each picture's matte: float32, of the network's own size."""
        assert self.batch_size
        mattes: list[Matte | EngineError] = []
        for first in range(0, len(pictures), self.batch_size):
            for values in self._run(pictures[first : first + self.batch_size]):
                mattes.append(self._matte(values))
        return mattes

    def _matte(self, values: np.ndarray) -> Matte | EngineError:
        if not np.isfinite(values).all():  # an overflow never passes for certainty
            return EngineError("not_finite", "the network gave NaN or inf")
        probabilities = expit(values) if self._sigmoid else values
        if not self._sigmoid and (values.min() < 0 or values.max() > 1):
            return EngineError(
                "bad_matte",
                f"the output runs from {values.min():.3g} to {values.max():.3g}, so these are not "
                f"probabilities; --onnx_activation sigmoid makes probabilities of logits",
            )
        return Matte(probabilities, confidence(probabilities))

    def _run(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Runs at most `batch_size` pictures; gives the raw output, float32 (B, h, w)."""
        batch = np.stack([self._prepared(picture) for picture in pictures])
        if len(batch) < self._least:
            padding = np.zeros((self._least - len(batch), *batch.shape[1:]), batch.dtype)
            batch = np.concatenate((batch, padding))
        (result,) = self._session.run([self._output], {self._input: batch})
        maps = np.asarray(result)[: len(pictures)].astype(np.float32, copy=False)
        if maps.ndim == 4 and maps.shape[1] == 1:
            maps = maps[:, 0]
        if maps.ndim != 3 or len(maps) != len(pictures):
            raise EngineUnusable(
                f"--onnx_output {self.onnx_output}: the output has the shape "
                f"{maps.shape}; a mask has (batch, 1, height, width)"
            )
        return maps if self._output_scale == 1 else maps / self._output_scale

    def _prepared(self, picture: np.ndarray) -> np.ndarray:
        """Resizes as Pillow does and normalises; gives (3, H, W)."""
        size = self._size[1], self._size[0]
        small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
        scale = self._scale or max(int(small.max()), 1)
        levels = (np.arange(256)[:, None] / scale - self._mean) / self._std
        values = cv2.LUT(small, levels.astype(np.float32)[:, None])
        return values.transpose(2, 0, 1).astype(self._type)

    def _opened(self, path: Path, provider: str, number: int) -> InferenceSession:
        import onnxruntime

        options = {"device_id": str(number)} if provider == _PROVIDERS["cuda"] else {}
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # what goes wrong is raised as well
        try:
            session = onnxruntime.InferenceSession(
                str(path), settings, providers=[(provider, options)]
            )
        except Exception as error:
            told = " ".join(str(error).split())[:300]
            if "NOT_IMPLEMENTED" in told:
                told += f"; onnxruntime here is {onnxruntime.__version__}, newer ones know more"
            raise EngineUnusable(f"--model {self.model}: no usable ONNX file: {told}") from error
        if session.get_providers()[0] != provider:
            raise EngineUnusable(
                f"--device {self.device}: onnxruntime could not start its {provider}, whose "
                f"libraries are missing; use --device cpu"
            )
        return session

    def _read_input(self) -> None:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES or not _channels_first(inputs[0].shape):
            described = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise EngineUnusable(
                f"--model {self.model}: takes {described}; it must take one float tensor of shape "
                f"(batch, 3, height, width)"
            )
        self._input, self._type = inputs[0].name, _TYPES[inputs[0].type]
        self.dtype = np.dtype(self._type).name
        fixed, _, *size = inputs[0].shape
        self._size = tuple(self._side(side) for side in size)
        self._least = fixed if isinstance(fixed, int) else 1
        if isinstance(fixed, int) and self.batch_size not in (None, fixed):
            raise EngineUnusable(f"--batch_size {self.batch_size}: the file is made for {fixed}")
        self.batch_size = self.batch_size or self._least

    def _side(self, said: int | str | None) -> int:
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

    def _find_output(self) -> str:
        outputs = self._session.get_outputs()
        names = [output.name for output in outputs]
        asked = str(self.onnx_output)
        if asked in names:
            output = outputs[names.index(asked)]
        elif asked.removeprefix("-").isdecimal() and -len(names) <= int(asked) < len(names):
            output = outputs[int(asked)]
        else:
            raise EngineUnusable(f"--onnx_output {asked}: the file has {', '.join(names)}")
        if output.type not in _OUTPUT_SCALES:
            raise EngineUnusable(
                f"--onnx_output {asked}: {output.name} is {output.type}; a mask is of floats, or of "
                f"levels as uint8"
            )
        self._output_scale = _OUTPUT_SCALES[output.type]
        return output.name

    def _gives_logits(self) -> bool:
        """Tries the network: on noise, and where nothing was said on black and on white, too.

        Raises:
          EngineUnusable: the output is no mask.
        """
        noise = _noise(self._size)
        for test in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
            values = self._try(test)
            if self.onnx_activation != "auto":
                return self.onnx_activation == "sigmoid"
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


def _channels_first(shape: Sequence[int | str | None]) -> bool:
    """Tells whether an input's shape can be (batch, 3, height, width)."""
    if len(shape) != 4:
        return False
    return shape[1] == 3 or not (isinstance(shape[1], int) or shape[3] == 3)


def _noise(size: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def _provider(device: str) -> tuple[str, int]:
    """Finds where a device's work is done, and its number.

    Raises:
      EngineUnusable: onnxruntime does not have it here.
    """
    import onnxruntime

    there = onnxruntime.get_available_providers()
    if device == "auto":
        device = "cuda" if _PROVIDERS["cuda"] in there else "cpu"
    kind, _, number = device.partition(":")
    if kind not in _PROVIDERS or not (number or "0").isdecimal():
        raise EngineUnusable(f"--device {device}: it can be auto, cpu, cuda, cuda:N or mps")
    if _PROVIDERS[kind] not in there:
        raise EngineUnusable(
            f"--device {device}: onnxruntime here has {', '.join(there)} only; use --device cpu, "
            f"or install onnxruntime-gpu for CUDA"
        )
    return _PROVIDERS[kind], int(number or 0)


def _triple(flag: str, given: str | Sequence[float]) -> Triple:
    parts = given.split(",") if isinstance(given, str) else given
    try:
        red, green, blue = (float(part) for part in parts)
    except ValueError:
        raise ValueError(f"--{flag} {given}: it is three numbers, as in 0.5,0.5,0.5") from None
    if not np.isfinite((red, green, blue)).all():
        raise ValueError(f"--{flag} {given}: none of the three can be infinite or no number")
    return red, green, blue


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
