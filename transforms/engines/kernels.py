"""Which tensors the Triton kernels serve."""

from __future__ import annotations

import functools
import importlib.metadata

import torch
from torch import Tensor

_SINCE = (3, 4)
"""Of PyTorch 2.8. Triton 3.2 ends the process while it compiles `deform_triton` for Hopper."""


def serves(x: Tensor) -> bool:
    """Tells whether a CUDA tensor goes to a Triton kernel.

    The kernels multiply 16-bit matrices, with sums in float32, and need compute capability 8.0 or
    more; float32 tensors and older devices take PyTorch's own operations. So does an installation
    without Triton, as on Windows, or with one that is too old.
    """
    return (
        x.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(x.device) >= (8, 0)
        and has_triton()
    )


@functools.cache
def has_triton() -> bool:
    """Tells whether there is a Triton that compiles the kernels."""
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(int(part) for part in version.split(".")[:2]) >= _SINCE
