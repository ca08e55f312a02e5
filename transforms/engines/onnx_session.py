"""Opening an ONNX file where it is to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .contract import EngineUnusable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Where a device's work is done in onnxruntime.
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "mps": "CoreMLExecutionProvider",
}


@dataclass(frozen=True)
class ExecutionProvider:
    """Where onnxruntime does a device's work.

    Attributes:
      kind: `cpu`, `cuda` or `mps`.
      number: of the device of that kind.
    """

    kind: str
    number: int

    @property
    def name(self) -> str:
        return _PROVIDERS[self.kind]

    @property
    def device(self) -> str:
        return f"cuda:{self.number}" if self.kind == "cuda" else self.kind


def find_provider(device: str) -> ExecutionProvider:
    """Finds where a device's work is done.

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
    return ExecutionProvider(kind, int(number or 0))


def open_session(model: str, path: Path, provider: ExecutionProvider) -> InferenceSession:
    """Opens a file.

    Args:
      model: what the user calls it.
      path: of the file.
      provider: where it shall run, and nowhere else.

    Raises:
      EngineUnusable: it is no ONNX file, or cannot run there.
    """
    import onnxruntime

    options = {"device_id": str(provider.number)} if provider.kind == "cuda" else {}
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what goes wrong is raised as well
    try:
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=[(provider.name, options)]
        )
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        if "NOT_IMPLEMENTED" in told:
            told += f"; onnxruntime here is {onnxruntime.__version__}, newer ones know more"
        raise EngineUnusable(f"--model {model}: no usable ONNX file: {told}") from error
    if session.get_providers()[0] != provider.name:
        raise EngineUnusable(
            f"--device {provider.device}: onnxruntime could not start its {provider.name}, whose "
            f"libraries are missing; use --device cpu"
        )
    return session
