"""Which tensors the Triton kernels serve."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor


def serves(x: Tensor) -> bool:
    """Tells whether a CUDA tensor goes to a Triton kernel.

    The kernels multiply 16-bit matrices, with sums in float32, and need compute capability 8.0 or
    more; float32 tensors and older devices take PyTorch's own operations. So does an installation
    without Triton, as on Windows.
    """
    return (
        x.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(x.device) >= (8, 0)
        and importlib.util.find_spec("triton") is not None
    )
