"""Batches of pictures through a PyTorch network: working size, memory, number type, and back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import EngineError
from .contract import Matte
from .preprocessing import Preprocessing

MOST_AT_ONCE = 8
"""Largest batch chosen without being asked; decoded pictures wait in memory for their batch."""

USABLE_MEMORY = 0.8
"""Share of the free device memory that a batch may take."""

Size = tuple[int, int]


def largest_batch(free: int, need: int, most: int = MOST_AT_ONCE) -> int:
    """Chooses a batch size.

    Args:
      free: bytes of device memory that are free.
      need: bytes that one picture takes.
      most: no more than this.

    Returns:
      The largest power of two that fits, at least 1.
    """
    fitting = min(most, int(USABLE_MEMORY * free) // max(need, 1))
    return 1 << max(fitting, 1).bit_length() - 1


class TorchRunner:
    """A network on its device.

    Safe for several threads: they stage and collect pictures side by side and take turns at the
    network, so a device has the next batch at hand while it computes one.

    Attributes:
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
    ) -> None:
        """Moves the network to its device.

        Args:
          network: maps normalised pictures (B, 3, H, W) to probabilities (B, 1, h, w), float32,
            NaN where it failed.
          device: where to.
          dtype: of its weights and activations.
          preprocessing: what it wants to see.
          working_size: gives its input's height and width for a picture's.
        """
        self._network = network.to(device=device, dtype=dtype).eval()
        self._call: Callable[[Tensor], Tensor] = self._network
        self._device, self._dtype = device, dtype
        self._on_device = device.type == "cuda"  # where the resizes run
        self._preprocessing = preprocessing
        self._working_size = working_size
        self._reference_pixels = 1
        self._pixels_at_once = 1
        self._padded_to = 1
        self._turn = threading.Lock()
        scale = 1 / (255 * np.array(preprocessing.std))
        shift = -np.array(preprocessing.mean) / np.array(preprocessing.std)
        self._scale = _channels(scale, device)
        self._shift = _channels(shift, device)

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
        """
        self._reference_pixels = size[0] * size[1]
        with self._current_device():
            if batch_size is None:
                batch_size = self._measured_batch(size) if self._on_device else 1
            self._pixels_at_once = batch_size * self._reference_pixels
            if compiled:
                self._call = torch.compile(self._network, dynamic=False)
                self._padded_to = batch_size
                self._forward(torch.zeros(batch_size, 3, *size, device=self._device))

    def _current_device(self) -> AbstractContextManager[object]:
        """Makes the device this thread's current one, on which kernels of our own run."""
        return torch.cuda.device(self._device) if self._on_device else nullcontext()

    def _measured_batch(self, size: Size) -> int:
        device = self._device
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        try:
            self._forward(torch.zeros(1, 3, *size, device=device))
        except torch.OutOfMemoryError:
            return 1  # the pictures themselves may be smaller; each that is not has its error
        need = torch.cuda.max_memory_allocated(device) - before
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        return largest_batch(free, need)

    def predict(self, pictures: Sequence[np.ndarray]) -> list[Matte | EngineError]:
        """Cuts pictures out.

        Args:
          pictures: uint8, shape (H, W, 3), of any sizes.

        Returns:
          One matte a picture, uint8: of the picture's size where the device resizes, else of the
          network's own. An error for a picture that alone exceeds the memory, or whose result is
          not finite in float32 either.
        """
        with self._current_device():
            return self._predict(pictures)

    def _predict(self, pictures: Sequence[np.ndarray]) -> list[Matte | EngineError]:
        sizes = [self._working_size(*picture.shape[:2]) for picture in pictures]
        results: dict[int, Matte | EngineError] = {}
        waiting = deque(_alike(sizes))
        while waiting:
            group = waiting.popleft()
            size = sizes[group[0]]
            limit = self._limit(size)
            if len(group) > limit:
                waiting.appendleft(group[limit:])
                group = group[:limit]
            made = self._tried([pictures[index] for index in group], size)
            if made is not None:
                results.update(zip(group, made, strict=True))
                continue
            if self._on_device:
                torch.cuda.empty_cache()
            if len(group) == 1:
                results[group[0]] = _out_of_memory(pictures[group[0]], size, self._device)
            else:
                self._pixels_at_once = len(group) // 2 * size[0] * size[1]
                waiting.appendleft(group)
        return [results[index] for index in range(len(pictures))]

    def _limit(self, size: Size) -> int:
        """Says how many pictures of a working size go through the network at once."""
        return max(1, self._pixels_at_once // (size[0] * size[1]))

    def _tried(
        self, pictures: Sequence[np.ndarray], size: Size
    ) -> list[Matte | EngineError] | None:
        """Runs a batch; None when memory ran out, with nothing left that would hold any."""
        try:
            return self._run(pictures, size)
        except torch.OutOfMemoryError:
            return None

    def _run(self, pictures: Sequence[np.ndarray], size: Size) -> list[Matte | EngineError]:
        batch = self._staged(pictures, size)
        mattes = self._collected(self._forward(batch), pictures)
        bad = [index for index, matte in enumerate(mattes) if matte is None]
        if bad and self._dtype is not torch.float32:
            again = self._forward_in_float32(batch[bad])
            repaired = self._collected(again, [pictures[index] for index in bad])
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
        batch = torch.empty(
            (len(pictures), 3, *size),
            device=self._device if self._on_device else "cpu",
            memory_format=torch.channels_last,
        )
        for index, picture in enumerate(pictures):
            batch[index] = self._resized(picture, size)
        return batch.to(self._device).mul_(self._scale).add_(self._shift)

    def _resized(self, picture: np.ndarray, size: Size) -> Tensor:
        how = self._preprocessing
        pixels = torch.from_numpy(np.require(picture, np.uint8, ["C", "W"]))
        if self._on_device:
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        pixels = pixels.permute(2, 0, 1)[None]
        if self._on_device or not how.antialias:
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
        with self._turn:
            return self._call(batch)[:count]

    @torch.no_grad()
    def _forward_in_float32(self, batch: Tensor) -> Tensor:
        with self._turn:
            try:
                return self._network.float()(batch)
            finally:
                self._network.to(self._dtype)

    @torch.no_grad()
    def _collected(
        self, probabilities: Tensor, pictures: Sequence[np.ndarray]
    ) -> list[Matte | None]:
        """Brings mattes to the host; None for one that is not finite."""
        finite = probabilities.isfinite().flatten(1).all(1)
        sureness = (2 * probabilities - 1).abs().flatten(1).mean(1)
        levels = [
            self._levels(one, picture.shape[:2])
            for one, picture in zip(probabilities, pictures, strict=True)
        ]
        facts = torch.stack((finite.float(), sureness)).cpu()  # waits for the copies before it
        return [
            Matte(level.numpy(), float(sure)) if fine else None
            for level, fine, sure in zip(levels, *facts.tolist(), strict=True)
        ]

    def _levels(self, probability: Tensor, size: Sequence[int]) -> Tensor:
        """Turns one probability map (1, h, w) into uint8 on the host, perhaps still on its way."""
        if not self._on_device:
            return (probability[0] * 255).round().to(torch.uint8).cpu()
        height, width = size
        shrinks = height < probability.shape[1] or width < probability.shape[2]
        whole = functional.interpolate(
            probability[None], (height, width), mode="bilinear", antialias=shrinks
        )
        levels = torch.empty((height, width), dtype=torch.uint8, pin_memory=True)
        return levels.copy_(whole[0, 0].mul_(255).round_().to(torch.uint8), non_blocking=True)


def _channels(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)


def _alike(sizes: Sequence[Size]) -> Iterable[list[int]]:
    """Puts together the pictures of one working size, by their positions."""
    groups: dict[Size, list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(size, []).append(index)
    return groups.values()


def _out_of_memory(picture: np.ndarray, size: Size, device: torch.device) -> EngineError:
    height, width = picture.shape[:2]
    return EngineError(
        "out_of_memory",
        f"a picture of {width}×{height} pixels, at {size[1]}×{size[0]} for the network, takes more "
        f"memory than {device} has free: a lower --resolution needs less",
        retryable=True,
    )
