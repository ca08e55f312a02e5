"""PyTorch networks behind the engine contract; PyTorch itself is imported when they load."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import EngineError
from .contract import EngineUnusable, Matte
from .model_files import ModelFiles, fetch_weights
from .preprocessing import IMAGENET, Preprocessing, multiple_of
from .weight_files import weight_names

if TYPE_CHECKING:
    from torch import nn

DTYPES = ("auto", "float32", "bfloat16", "float16")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(kw_only=True)
class TorchEngine(ABC):
    """A network that is loaded once and then sees batches of pictures.

    After `load`, `revision`, `device`, `dtype` and `batch_size` say what is real.

    Attributes:
      model: hub id, folder or fsspec URI of the weights.
      revision: branch, tag or commit of the hub.
      device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
      dtype: `auto`, `float32`, `bfloat16` or `float16`.
      resolution: height and width of what the network sees, pixels; None for what it is made for.
      batch_size: pictures that go through the network at once; None for what memory holds.
      compile: run the network through `torch.compile`.
    """

    model: str = ""
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    resolution: int | None = None
    batch_size: int | None = None
    compile: bool = False
    preprocessing: Preprocessing = field(default=IMAGENET, init=False, repr=False)
    parallel: bool | int = field(default=False, init=False, repr=False)
    refines: bool = field(default=False, init=False, repr=False)

    stride: ClassVar[int] = 1
    """Of what the network's input sides must be multiples, pixels."""

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("--model is missing: give a hub id, a folder or an fsspec URI")
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(f"--device {self.device}: it can be auto, cpu, cuda, cuda:N or mps")
        if self.dtype not in DTYPES:
            raise ValueError(f"--dtype {self.dtype}: it can be {', '.join(DTYPES)}")
        given, stride = self.resolution, self.stride
        if given is not None and (given < stride or given % stride):
            raise ValueError(
                f"--resolution {given}: it can be a multiple of {stride}, for example "
                f"{multiple_of(given, stride)}"
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"--batch_size {self.batch_size}: it can be auto or 1 and more")

    def check(self) -> None:
        """Finds out whether the device is there and the model loads; fetches it if need be.

        Raises:
          EngineUnusable: they do not.
        """
        from .devices import find_device

        find_device(self.device)
        network, _ = self._network()
        self.try_out(network)

    def settings(self) -> dict[str, Any]:
        """Gives the options that decide what the mattes are."""
        return {
            "model": self.model,
            "revision": self.revision,
            "dtype": self.dtype,
            "resolution": self.resolution,
        }

    def load(self) -> None:
        """Loads the network onto its device.

        Raises:
          EngineUnusable: the device or the files are not there, or these hold another network.
        """
        from .devices import choose_dtype, find_device
        from .torch_runner import TorchRunner

        device = find_device(self.device)
        dtype = choose_dtype(self.dtype, device)
        network, self.revision = self._network()
        self._runner = TorchRunner(network, device, dtype, self.preprocessing, self.working_size)
        self.try_out(network)
        self._runner.prepare(self.usual_size(), self.batch_size, self.compile)
        self.device, self.dtype = str(device), str(dtype).removeprefix("torch.")
        self.batch_size = self._runner.batch_size
        self.parallel = 2 if device.type == "cuda" else False  # the next batch is staged meanwhile
        self.refines = self._runner.refines

    def predict(self, pictures: list[np.ndarray]) -> list[Matte | EngineError]:
        """Gives each picture's matte; see `TorchRunner.predict`."""
        return self._runner.predict(pictures)

    def refine(
        self, pictures: list[np.ndarray], alphas: list[np.ndarray]
    ) -> list[np.ndarray | EngineError]:
        """Estimates the subjects' colours on the device; see `TorchRunner.refine`."""
        return self._runner.refine(pictures, alphas)

    def _network(self) -> tuple[nn.Module, str]:
        """Loads the network, and says which state of the weights it has."""
        files = self.files()
        try:
            return self.network(files), files.revision(*weight_names(files.folder))
        except EngineUnusable:
            raise
        except ValueError as error:
            raise EngineUnusable(f"--model {self.model}: {error}") from error

    def try_out(self, network: nn.Module) -> None:  # noqa: B027 - the weights of most show all
        """Puts a first picture through, where what a network takes shows in no other way.

        Args:
          network: on the device that it is to run on, or, for a check, on the CPU.

        Raises:
          EngineUnusable: it does not pass.
        """

    def files(self) -> ModelFiles:
        """Brings the model's files here."""
        return fetch_weights(self.model, self.revision)

    def usual_size(self) -> tuple[int, int]:
        """Gives height and width of what the network sees, where all pictures are the same."""
        side = self.resolution or 1024
        return side, side

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Gives height and width of what the network sees of a picture."""
        return self.usual_size()

    @abstractmethod
    def network(self, files: ModelFiles) -> nn.Module:
        """Loads the network, in float32 on the CPU.

        Returns:
          A module from normalised pictures (B, 3, H, W) to probabilities (B, 1, h, w), float32,
          NaN where it failed.

        Raises:
          ValueError: the files hold another network.
        """
