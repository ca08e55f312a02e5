"""Batches of pictures through a PyTorch network: working size, memory, number type, and back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import EngineError
from .contract import EngineUnusable, Matte
from .device_memory import MemoryGate, Size, alike, measured_batch, out_of_memory
from .device_refiner import DeviceRefiner
from .preprocessing import Preprocessing
from .transfers import Transfers, transfers_to


class TorchRunner:
    """A network on its device.

    Safe for several threads: they stage and collect pictures side by side and take turns at the
    network, so a device has the next batch at hand while it computes one.

    Attributes:
      refines: whether `refine` is worth calling: whether the device does it better than a core.
      batch_size: pictures of the reference size that go through the network at once; falls when
        memory runs out, and stays there.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        preprocessing: Preprocessing,
        working_size: Callable[[int, int], Size],
        transfers: Transfers | None = None,
    ) -> None:
        """Moves the network to its device.

        Args:
          network: maps normalised pictures (B, 3, H, W) to probabilities (B, 1, h, w), float32,
            NaN where it failed.
          device: where to.
          dtype: of its weights and activations.
          preprocessing: what it wants to see.
          working_size: gives its input's height and width for a picture's.
          transfers: how pixels get there and back; None for what suits the device.
        """
        self._network = network.to(device=device, dtype=dtype).eval()
        self._call: Callable[[Tensor], Tensor] = self._network
        self._device, self._dtype = device, dtype
        self._transfers = transfers or transfers_to(device)
        self._gate = MemoryGate(self._transfers.free)
        self._preprocessing = preprocessing
        self._working_size = working_size
        self._reference_pixels = 1
        self._pixels_at_once = 1
        self._padded_to = 1
        self._turn = threading.Lock()
        self._refiner = DeviceRefiner(self._transfers, self._gate, self._turn)
        scale = 1 / (255 * np.array(preprocessing.std))
        shift = -np.array(preprocessing.mean) / np.array(preprocessing.std)
        self._scale = _channels(scale, device)
        self._shift = _channels(shift, device)

    @property
    def refines(self) -> bool:
        return self._transfers.resizes

    @property
    def batch_size(self) -> int:
        return max(1, self._pixels_at_once // self._reference_pixels)

    def prepare(self, size: Size, batch_size: int | None, compiled: bool) -> None:
        """Settles the batch size and makes the first, slow calls.

        Args:
          size: the reference: height and width of the network's usual input.
          batch_size: pictures of that size at once; None for what the free memory holds.
          compiled: run the network through `torch.compile`. All batches are then filled up to the
            same size, since every other one would be compiled anew.

        Raises:
          EngineUnusable: it cannot be compiled here.
        """
        self._reference_pixels = size[0] * size[1]
        with self._transfers.current():
            if batch_size is None:
                batch_size = self._measured_batch(size) if self._device.type == "cuda" else 1
            self._pixels_at_once = batch_size * self._reference_pixels
            if compiled:
                self._call = torch.compile(self._network, dynamic=False)
                self._padded_to = batch_size
                self._compile(torch.zeros(batch_size, 3, *size, device=self._device))

    def _compile(self, batch: Tensor) -> None:
        """Has the network compiled, which its first batch does."""
        try:
            self._forward(batch)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            told = " ".join(str(error).split()).split(" Set TORCH")[0][:300]
            raise EngineUnusable(
                f"--compile: PyTorch cannot compile the network here, which takes a C++ compiler "
                f"on a CPU and Triton on CUDA; leave it out: {told}"
            ) from error

    def _measured_batch(self, size: Size) -> int:
        picture = torch.zeros(1, 3, *size, device=self._device)
        return measured_batch(self._device, lambda: self._forward(picture))

    def predict(self, pictures: Sequence[np.ndarray]) -> list[Matte | EngineError]:
        """Cuts pictures out.

        Args:
          pictures: uint8, shape (H, W, 3), of any sizes.

        Returns:
          One matte a picture, uint8: of the picture's size where the device resizes, else of the
          network's own. An error for a picture that alone exceeds the memory, or whose result is
          not finite in float32 either.
        """
        with self._transfers.current():
            return self._predict(pictures)

    def _predict(self, pictures: Sequence[np.ndarray]) -> list[Matte | EngineError]:
        sizes = [self._working_size(*picture.shape[:2]) for picture in pictures]
        results: dict[int, Matte | EngineError] = {}
        waiting = deque(alike(sizes))
        while waiting:
            group = waiting.popleft()
            size = sizes[group[0]]
            limit = self._limit(size)
            if len(group) > limit:
                waiting.appendleft(group[limit:])
                group = group[:limit]
            some = [pictures[index] for index in group]
            made = self._gate.tried(lambda some=some, size=size: self._run(some, size))
            if made is not None:
                results.update(zip(group, made, strict=True))
            elif len(group) == 1:
                results[group[0]] = out_of_memory(
                    some[0],
                    self._device,
                    f", at {size[1]}×{size[0]} for the network,",
                    ": a lower --resolution needs less",
                )
            else:
                fitting = len(group) // 2 * size[0] * size[1]
                self._pixels_at_once = min(self._pixels_at_once, fitting)
                waiting.appendleft(group)
        return [results[index] for index in range(len(pictures))]

    def _limit(self, size: Size) -> int:
        """Says how many pictures of a working size go through the network at once."""
        return max(1, self._pixels_at_once // (size[0] * size[1]))

    def _run(self, pictures: Sequence[np.ndarray], size: Size) -> list[Matte | EngineError]:
        batch = self._staged(pictures, size)
        mattes = self._mattes(self._forward, batch, pictures)
        bad = [index for index, matte in enumerate(mattes) if matte is None]
        if bad and self._dtype is not torch.float32:
            again = [pictures[index] for index in bad]
            repaired = self._mattes(self._forward_in_float32, batch[bad], again)
            for index, matte in zip(bad, repaired, strict=True):
                mattes[index] = matte
        return [
            EngineError("not_finite", "the network gave NaN or inf, in float32 as well")
            if matte is None
            else matte
            for matte in mattes
        ]

    def _staged(self, pictures: Sequence[np.ndarray], size: Size) -> Tensor:
        """Resizes and normalises pictures into one batch on the device."""
        with self._transfers.staging():
            batch = torch.empty(
                (len(pictures), 3, *size),
                device=self._device if self._transfers.resizes else "cpu",
                memory_format=torch.channels_last,
            )
            for index, picture in enumerate(pictures):
                batch[index] = self._resized(picture, size)
            return batch.to(self._device).mul_(self._scale).add_(self._shift)

    def _resized(self, picture: np.ndarray, size: Size) -> Tensor:
        how, on_device = self._preprocessing, self._transfers.resizes
        if on_device:
            pixels = self._transfers.upload(picture)
        else:
            pixels = torch.from_numpy(np.require(picture, np.uint8, ["C", "W"]))
        pixels = pixels.permute(2, 0, 1)[None]
        if on_device or not how.antialias:
            pixels = pixels.float()
        resized = functional.interpolate(
            pixels, size, mode=how.mode, align_corners=False, antialias=how.antialias
        )
        if how.antialias and resized.is_floating_point():
            resized = resized.round_().clamp_(0, 255)  # as on uint8, which CUDA does not resize
        return resized[0]

    @torch.no_grad()
    def _forward(self, batch: Tensor) -> Tensor:
        count = len(batch)
        if count < self._padded_to:
            batch = functional.pad(batch, (0, 0, 0, 0, 0, 0, 0, self._padded_to - count))
        # The same layout always: another one would be compiled anew.
        batch = batch.to(self._dtype, memory_format=torch.channels_last)
        return self._call(batch)[:count]

    @torch.no_grad()
    def _forward_in_float32(self, batch: Tensor) -> Tensor:
        try:
            return self._network.float()(batch)
        finally:
            self._network.to(self._dtype)

    @torch.no_grad()
    def _mattes(
        self,
        network: Callable[[Tensor], Tensor],
        batch: Tensor,
        pictures: Sequence[np.ndarray],
    ) -> list[Matte | None]:
        """Takes a turn at the network and brings its mattes here; None for one that is not finite.

        All that the device shall do with the batch is asked of it in one turn: behind another
        thread's batch it would be late.
        """
        with self._turn:
            self._transfers.admit(batch)
            probabilities = network(batch)
            finite = probabilities.isfinite().flatten(1).all(1)
            sureness = (2 * probabilities - 1).abs().flatten(1).mean(1)
            levels = [
                self._levels(one, picture.shape[:2])
                for one, picture in zip(probabilities, pictures, strict=True)
            ]
            facts = self._transfers.download(torch.stack((finite.float(), sureness)))
            arrived = self._transfers.mark()
        arrived()
        return [
            Matte(level.numpy(), float(sure)) if fine else None
            for level, fine, sure in zip(levels, *facts.tolist(), strict=True)
        ]

    def _levels(self, probability: Tensor, size: Sequence[int]) -> Tensor:
        """Turns one probability map (1, h, w) into uint8 on the host, perhaps still on its way."""
        if not self._transfers.resizes:
            return (probability[0] * 255).round().to(torch.uint8).cpu()
        height, width = size
        shrinks = height < probability.shape[1] or width < probability.shape[2]
        whole = functional.interpolate(
            probability[None], (height, width), mode="bilinear", antialias=shrinks
        )
        return self._transfers.download(whole[0, 0].mul_(255).round_().to(torch.uint8))

    def refine(
        self, pictures: Sequence[np.ndarray], alphas: Sequence[np.ndarray]
    ) -> list[np.ndarray | EngineError]:
        """Estimates the subjects' colours; see `DeviceRefiner.refine`."""
        return self._refiner.refine(pictures, alphas)


def _channels(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)
