"""Where a PyTorch network runs, and in which number type."""

from __future__ import annotations

import torch

from .contract import EngineUnusable

_BFLOAT16_SINCE = (8, 0)  # CUDA compute capability: Ampere


def find_device(asked: str) -> torch.device:
    """Finds a device that is there.

    Args:
      asked: `auto` for the best one, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
      EngineUnusable: the device is not there; nothing else is ever taken instead.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = asked.partition(":")
    if kind == "cuda":
        return torch.device("cuda", _cuda_index(asked, number))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise EngineUnusable(
            f"--device {asked}: PyTorch {torch.__version__} finds no Apple GPU here; "
            f"use --device auto or cpu"
        )
    return torch.device(kind)


def _cuda_index(asked: str, number: str) -> int:
    if not torch.cuda.is_available():
        built = "" if torch.version.cuda else ", and it is built without CUDA"
        raise EngineUnusable(
            f"--device {asked}: PyTorch {torch.__version__} finds no CUDA device here{built}; "
            f"use --device auto or cpu"
        )
    index = int(number) if number else torch.cuda.current_device()
    count = torch.cuda.device_count()
    if index >= count:
        there = ", ".join(f"cuda:{index}" for index in range(count))
        raise EngineUnusable(f"--device {asked}: this machine has {there}")
    return index


def choose_dtype(asked: str, device: torch.device) -> torch.dtype:
    """Chooses the network's number type.

    Args:
      asked: `auto`, `float32`, `bfloat16` or `float16`; `auto` is bfloat16 on CUDA devices that
        compute in it (capability 8.0 and up), float16 on older ones, and float32 elsewhere.
      device: where it runs.
    """
    if asked != "auto":
        return getattr(torch, asked)
    if device.type != "cuda":
        return torch.float32
    since = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if since >= _BFLOAT16_SINCE else torch.float16
