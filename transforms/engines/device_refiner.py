"""Foreground colours on the device of a network, between its batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch

from ..errors import EngineError
from .device_memory import MemoryGate, alike, out_of_memory
from .foreground_torch import refine_foreground_batch
from .transfers import Transfers

Refined = np.ndarray | EngineError


class DeviceRefiner:
    """`refine_foreground_batch` for pictures on the host.

    Args:
      transfers: to the device and back.
      gate: of its memory.
      turn: held while the device is given work.
    """

    def __init__(self, transfers: Transfers, gate: MemoryGate, turn: threading.Lock) -> None:
        self._transfers, self._gate, self._turn = transfers, gate, turn

    def refine(self, pictures: Sequence[np.ndarray], alphas: Sequence[np.ndarray]) -> list[Refined]:
        """Estimates the subjects' colours, pictures of one size together.

        Args:
          pictures: uint8, shape (H, W, 3), of any sizes.
          alphas: uint8, shape (H, W), the pictures'.

        Returns:
          For each picture uint8 (H, W, 3), or an error where it alone exceeds the memory.
        """
        results: dict[int, Refined] = {}
        with self._transfers.current():
            for group in alike([(len(picture), picture.shape[1]) for picture in pictures]):
                made = self._refined(
                    [pictures[index] for index in group], [alphas[index] for index in group]
                )
                results.update(zip(group, made, strict=True))
        return [results[index] for index in range(len(pictures))]

    def _refined(
        self, pictures: Sequence[np.ndarray], alphas: Sequence[np.ndarray]
    ) -> list[Refined]:
        """Refines pictures of one size; what memory does not hold, in halves."""
        made = self._gate.tried(lambda: self._refined_together(pictures, alphas))
        if made is not None:
            return made
        if len(pictures) == 1:
            return [out_of_memory(pictures[0], self._transfers.device)]
        half = len(pictures) // 2
        first = self._refined(pictures[:half], alphas[:half])
        return first + self._refined(pictures[half:], alphas[half:])

    def _refined_together(
        self, pictures: Sequence[np.ndarray], alphas: Sequence[np.ndarray]
    ) -> list[Refined]:
        upload = self._transfers.upload
        with self._turn:
            refined = refine_foreground_batch(
                torch.stack([upload(picture) for picture in pictures]),
                torch.stack([upload(alpha) for alpha in alphas]),
            )
            arriving = [self._transfers.download(one) for one in refined]
            arrived = self._transfers.mark()
        arrived()
        return [one.numpy() for one in arriving]
