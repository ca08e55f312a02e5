"""Modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", 2018), stride 1.

Tap t of a k×k kernel, row-major, reads the input at (y - k//2 + t//k + dy, x - k//2 + t%k + dx),
bilinearly between pixel centres and with zeros outside the map; each reading is scaled by a
modulation before the kernel contracts it. Coordinates are computed in float32 whatever the
network's dtype: beyond 128, bfloat16 numbers are a whole pixel apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .kernels import serves

CPU_CHUNK = 1 << 21
"""Numbers of the sampled columns that one step on a CPU holds: 8 MB of float32."""

CONTEXT_KERNELS = (1, 1, 3, 7)
"""Kernels of the branches of `deform_context`, in order."""

SMALL_TAPS, LARGE_TAPS = 1 + 1 + 9, 49
"""Taps of its first three branches together, and of the last."""


@dataclass(frozen=True)
class Pixels:
    """Consecutive pixels of one picture of a batch, and the table their readings come from.

    Attributes:
      picture: index in the batch.
      run: which pixels, row-major.
      y, x: float32, shape (P, 1): their places.
      table: float32, shape ((H + 3) * (W + 3), C): the picture with a row and a column of zeros
        before it and two after, so that every clamped reading finds its four neighbours.
      height, width: H and W.
    """

    picture: int
    run: slice
    y: Tensor
    x: Tensor
    table: Tensor
    height: int
    width: int


def pixel_runs(x: Tensor, taps: int) -> Iterator[Pixels]:
    """Walks over a batch (B, H, W, C) in runs whose readings at all taps fit into a step."""
    batch, height, width, channels = x.shape
    room = CPU_CHUNK if x.device.type == "cpu" else 64 * CPU_CHUNK
    length = max(1, room // (taps * channels))
    table = x.new_zeros(height + 3, width + 3, channels, dtype=torch.float32)
    for picture in range(batch):
        table[1 : height + 1, 1 : width + 1] = x[picture]
        for first in range(0, height * width, length):
            run = slice(first, min(first + length, height * width))
            pixel = torch.arange(run.start, run.stop, device=x.device)[:, None]
            y = torch.div(pixel, width, rounding_mode="floor").float()
            yield Pixels(
                picture, run, y, (pixel % width).float(), table.flatten(0, 1), height, width
            )


def tap_places(kernels: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Gives y and x of the taps of some kernels, one after the other, from their centres."""
    taps = [
        (tap // kernel - kernel // 2, tap % kernel - kernel // 2)
        for kernel in kernels
        for tap in range(kernel * kernel)
    ]
    y, x = torch.tensor(taps, dtype=torch.float32, device=device).unbind(1)
    return y, x


def sample(pixels: Pixels, kernels: Sequence[int], dy: Tensor, dx: Tensor, scale: Tensor) -> Tensor:
    """Reads all taps of some kernels for a run of pixels.

    The four neighbours of a reading are a bag of four rows of the table, their bilinear weights
    times the modulation the bag's weights, so that one fused gather-and-sum does all the work. An
    offset that is not a number reads outside the map, with weights that are not numbers either.

    Args:
      pixels: P pixels.
      kernels: sides of the kernels, K taps in all.
      dy, dx: float32, shape (P, K): offsets, pixels.
      scale: float32, shape (P, K): modulation of each reading.

    Returns:
      float32, shape (P, K, C).
    """
    tap_y, tap_x = tap_places(kernels, dy.device)
    y = (pixels.y + tap_y).add_(dy).clamp_(-1.0, pixels.height)
    x = (pixels.x + tap_x).add_(dx).clamp_(-1.0, pixels.width)
    top, left = y.floor(), x.floor()
    below, right = y.sub_(top), x.sub_(left)
    pitch = pixels.width + 3
    row, column = top.nan_to_num_(-1.0).int(), left.nan_to_num_(-1.0).int()
    corner = (row + 1).mul_(pitch).add_(column).add_(1)
    steps = torch.tensor([0, 1, pitch, pitch + 1], dtype=torch.int32, device=dy.device)
    lower = below * scale
    upper = scale - lower
    weights = torch.stack((upper, upper, lower, lower), -1)
    weights[..., 1::2] *= right[..., None]
    weights[..., 0::2] *= (1.0 - right)[..., None]
    readings = functional.embedding_bag(
        (corner[..., None] + steps).view(-1, 4),
        pixels.table,
        per_sample_weights=weights.view(-1, 4),
        mode="sum",
    )
    return readings.view(*dy.shape, -1)


def deform_conv_plain(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """Convolves with PyTorch's own operations; see `deform_conv`."""
    taps, _, outputs = weight.shape
    offset, modulation = offset.flatten(1, 2).float(), modulation.flatten(1, 2).float()
    result = x.new_empty(x.shape[0], x.shape[1] * x.shape[2], outputs)
    for pixels in pixel_runs(x, taps):
        dy, dx = offset[pixels.picture, pixels.run].unflatten(1, (taps, 2)).unbind(2)
        scale = modulation[pixels.picture, pixels.run]
        columns = sample(pixels, (math.isqrt(taps),), dy, dx, scale).flatten(1)
        result[pixels.picture, pixels.run] = columns.to(weight.dtype) @ weight.flatten(0, 1)
    return result.view(*x.shape[:3], outputs)


@torch.library.custom_op(
    "alphabeam::deform_conv",
    mutates_args=(),
    schema="(Tensor x, Tensor offset, Tensor modulation, Tensor weight) -> Tensor",
)
def deform_conv(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """Convolves a map at learned places.

    Args:
      x: shape (B, H, W, C).
      offset: shape (B, H, W, 2K): dy, then dx, tap by tap, pixels.
      modulation: shape (B, H, W, K): scale of each reading.
      weight: shape (K, C, N).

    Returns:
      Shape (B, H, W, N), of x's dtype.
    """
    return deform_conv_plain(x, offset, modulation, weight)


@deform_conv.register_fake
def _(x, offset, modulation, weight):
    return x.new_empty(*x.shape[:3], weight.shape[-1])


def deform_context_plain(
    x: Tensor,
    small: Tensor,
    large: Tensor,
    weight: Tensor,
    bias: Tensor,
    projection: Tensor,
    pooled: Tensor,
) -> Tensor:
    """Mixes the branches with PyTorch's own operations; see `deform_context`."""
    small, large = small.flatten(1, 2), large.flatten(1, 2)
    taps = [kernel * kernel for kernel in CONTEXT_KERNELS]
    matrices = [part.flatten(0, 1) for part in weight.split(taps)]
    result = torch.empty_like(x).flatten(1, 2)
    for pixels in pixel_runs(x, sum(taps)):
        some, more = small[pixels.picture, pixels.run], large[pixels.picture, pixels.run]
        few = some[:, : 3 * SMALL_TAPS].unflatten(1, (3, SMALL_TAPS))
        many = more[:, : 3 * LARGE_TAPS].unflatten(1, (3, LARGE_TAPS))
        dy, dx, logit = torch.cat((few, many), 2).float().unbind(1)
        readings = sample(pixels, CONTEXT_KERNELS, dy, dx, 2.0 * logit.sigmoid())
        mixed = pooled[pixels.picture].expand(len(dy), -1)
        for branch, part in enumerate(readings.to(x.dtype).split(taps, 1)):
            inner = torch.addmm(bias[branch], part.flatten(1), matrices[branch]).relu_()
            mixed = torch.addmm(mixed, inner, projection[branch])
        result[pixels.picture, pixels.run] = mixed.relu_()
    return result.view_as(x)


@torch.library.custom_op(
    "alphabeam::deform_context",
    mutates_args=(),
    schema="(Tensor x, Tensor small, Tensor large, Tensor weight, Tensor bias, Tensor projection,"
    " Tensor pooled) -> Tensor",
)
def deform_context(
    x: Tensor,
    small: Tensor,
    large: Tensor,
    weight: Tensor,
    bias: Tensor,
    projection: Tensor,
    pooled: Tensor,
) -> Tensor:
    """Mixes four deformable branches: relu(Σ relu(conv + bias) @ projection + pooled).

    Args:
      x: shape (B, H, W, C), contiguous.
      small: shape (B, H, W, 33 or more): dy, dx and modulation logits (the modulation is twice
        their sigmoid), 11 planes each, of the taps of two 1×1 branches and the 3×3 one.
      large: shape (B, H, W, 147 or more): the same, 49 planes each, of the 7×7 branch.
      weight: shape (60, C, N): the taps of all branches in that order.
      bias: shape (4, N).
      projection: shape (4, N, C).
      pooled: shape (B, C).

    Returns:
      Shape (B, H, W, C).
    """
    return deform_context_plain(x, small, large, weight, bias, projection, pooled)


@deform_context.register_kernel("cuda")
def _(x, small, large, weight, bias, projection, pooled):
    if not serves(x):
        return deform_context_plain(x, small, large, weight, bias, projection, pooled)
    from .deform_triton import deform_context_triton

    return deform_context_triton(x, small, large, weight, bias, projection, pooled)


@deform_context.register_fake
def _(x, small, large, weight, bias, projection, pooled):
    return torch.empty_like(x)
