"""A device's memory: how many pictures it holds, and who is to blame when it runs out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch

from ..errors import EngineError

MOST_AT_ONCE = 8
"""Largest batch chosen without being asked; decoded pictures wait in memory for their batch."""

USABLE_MEMORY = 0.8
"""Share of the free device memory that a batch may take."""

Result = TypeVar("Result")
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


def measured_batch(device: torch.device, run: Callable[[], object]) -> int:
    """Chooses a batch size by what one picture takes.

    Args:
      device: of CUDA.
      run: puts one picture through the network.
    """
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        run()
    except torch.OutOfMemoryError:
        return 1  # the pictures themselves may be smaller; each that is not has its error
    need = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return largest_batch(free, need)


class MemoryGate:
    """Lets threads work on a device side by side until its memory is too small for that.

    Args:
      free: gives memory that nothing holds back to the device.
    """

    def __init__(self, free: Callable[[], None]) -> None:
        self._free = free
        self._changed = threading.Condition()
        self._one_at_a_time = False
        self._inside = self._entries = 0

    def tried(self, action: Callable[[], Result]) -> Result | None:
        """Runs an action; None when memory ran out though nothing else was running.

        Where something else was, the action is tried again by itself, and from then on all are:
        what one batch held must not become the error of a picture in another.
        """
        while True:
            number = self._enter()
            try:
                return action()
            except torch.OutOfMemoryError:
                pass
            finally:
                alone = self._leave(number)
            self._free()
            if alone:
                return None
            with self._changed:
                self._one_at_a_time = True

    def _enter(self) -> int:
        """Waits for admission; gives a number by which company is noticed, 0 in company."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._one_at_a_time and self._inside))
            self._inside += 1
            self._entries += 1
            return self._entries if self._inside == 1 else 0

    def _leave(self, number: int) -> bool:
        """Tells whether nobody else was inside since `_enter`."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()
            return number == self._entries


def alike(sizes: Sequence[Size]) -> Iterable[list[int]]:
    """Puts together what has one size, by position."""
    groups: dict[Size, list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(size, []).append(index)
    return groups.values()


def out_of_memory(
    picture: np.ndarray, device: torch.device, inside: str = "", remedy: str = ""
) -> EngineError:
    """Says that a picture by itself takes more memory than there is, and what would help."""
    height, width = picture.shape[:2]
    return EngineError(
        "out_of_memory",
        f"a picture of {width}×{height} pixels{inside} takes more memory than {device} has free"
        f"{remedy}",
        retryable=True,
    )
