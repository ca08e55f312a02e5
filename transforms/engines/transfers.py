"""How pixels get to the device a network runs on, and back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor


class Transfers:
    """For devices without queues of their own: a call returns when its work is done.

    Attributes:
      device: where to.
      resizes: whether pictures and mattes are resized on the device.
    """

    resizes = False

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def current(self) -> AbstractContextManager[object]:
        """Makes the device this thread's current one, on which kernels of our own run."""
        return nullcontext()

    def staging(self) -> AbstractContextManager[object]:
        """Puts work beside what the device computes meanwhile, instead of behind it."""
        return nullcontext()

    def admit(self, batch: Tensor) -> None:
        """Makes what is computed from now on wait for a batch that was staged."""

    def upload(self, array: np.ndarray) -> Tensor:
        """Gives an array's copy on the device, perhaps still on its way."""
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)

    def download(self, tensor: Tensor) -> Tensor:
        """Gives a tensor's copy on the host; it is there once a later `mark` is reached."""
        return tensor.cpu()

    def mark(self) -> Callable[[], object]:
        """Marks this point of the device's work; the call it gives waits until it is reached."""
        return lambda: None

    def free(self) -> None:
        """Gives memory that nothing holds back to the device."""


class CudaTransfers(Transfers):
    """For CUDA: copies from pinned memory, in a queue of their own on the way in.

    Waiting for a mark instead of the whole queue lets a thread take its mattes while the device
    already computes another thread's batch.
    """

    resizes = True

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._incoming = torch.cuda.Stream(device)

    def current(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self.device)

    def staging(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._incoming)

    def admit(self, batch: Tensor) -> None:
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._incoming)
        batch.record_stream(computing)  # else its memory might be staged into too early

    def upload(self, array: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        return pixels.pin_memory().to(self.device, non_blocking=True)

    def download(self, tensor: Tensor) -> Tensor:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def mark(self) -> Callable[[], object]:
        event = torch.cuda.Event(blocking=True)  # a spinning thread would cost a core
        event.record(torch.cuda.current_stream(self.device))
        return event.synchronize

    def free(self) -> None:
        torch.cuda.empty_cache()


def transfers_to(device: torch.device) -> Transfers:
    """Chooses the way to a device."""
    return CudaTransfers(device) if device.type == "cuda" else Transfers(device)
