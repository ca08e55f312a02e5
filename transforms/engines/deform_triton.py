"""`deform.deform_context` as one Triton kernel: sampling, contraction and mixing in registers."""

from __future__ import annotations

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from .deform import LARGE_TAPS, SMALL_TAPS

CONFIGS = [
    triton.Config({"block": 128}, num_warps=8, num_stages=2),
    triton.Config({"block": 64}, num_warps=8, num_stages=2),
    triton.Config({"block": 64}, num_warps=8, num_stages=1),
]
"""Pixels, warps and pipeline stages of a program; the fastest that fits the device's shared memory
(144, 104 and 68 KiB on compute capability 9.0, 112, 72 and 64 KiB on 8.x) is found at the first
call with a number of pixels of its order."""

EVEN_NAN = tl.constexpr(tl.PropagateNan.ALL)
"""What is not a number stays so: the hardware's own minimum and maximum drop it, and a network that
overflowed would seem sure of itself."""


@triton.jit
def _read(x_ptr, picture, y, x, height, width, channel, weight, channels: tl.constexpr):
    """Reads one neighbour of each reading, zeros outside the map, times its weight."""
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    row = (picture * height + y) * width + x
    place = row.to(tl.int64)[:, None] * channels + channel[None, :]
    value = tl.load(x_ptr + place, mask=inside[:, None], other=0.0)
    return value.to(tl.float32) * weight[:, None]


@triton.jit
def _add_branch(
    mixed,
    x_ptr,
    readings_ptr,
    weight_ptr,
    bias_ptr,
    projection_ptr,
    pixel,
    picture,
    row,
    column,
    height,
    width,
    planes: tl.constexpr,
    stride: tl.constexpr,
    offset: tl.constexpr,
    kernel: tl.constexpr,
    channels: tl.constexpr,
    outputs: tl.constexpr,
    block: tl.constexpr,
):
    """Adds one branch's part of the output for a block of pixels."""
    channel = tl.arange(0, channels)
    output = tl.arange(0, outputs)
    sums = tl.zeros((block, outputs), tl.float32)
    for tap in range(kernel * kernel):
        place = readings_ptr + pixel.to(tl.int64) * stride + offset + tap
        dy = tl.load(place).to(tl.float32)
        dx = tl.load(place + planes).to(tl.float32)
        scale = 2.0 * tl.sigmoid(tl.load(place + 2 * planes).to(tl.float32))
        y = row + (tap // kernel - kernel // 2) + dy
        x = column + (tap % kernel - kernel // 2) + dx
        y = tl.minimum(tl.maximum(y, -1.0, EVEN_NAN), height * 1.0, EVEN_NAN)
        x = tl.minimum(tl.maximum(x, -1.0, EVEN_NAN), width * 1.0, EVEN_NAN)
        top, left = tl.floor(y), tl.floor(x)
        lower, right = (y - top) * scale, x - left
        upper = scale - lower
        y0, x0 = top.to(tl.int32), left.to(tl.int32)
        value = _read(
            x_ptr, picture, y0, x0, height, width, channel, upper * (1.0 - right), channels
        )
        value += _read(x_ptr, picture, y0, x0 + 1, height, width, channel, upper * right, channels)
        value += _read(
            x_ptr, picture, y0 + 1, x0, height, width, channel, lower * (1.0 - right), channels
        )
        value += _read(
            x_ptr, picture, y0 + 1, x0 + 1, height, width, channel, lower * right, channels
        )
        matrix = tl.load(
            weight_ptr + (tap * channels + channel)[:, None] * outputs + output[None, :]
        )
        sums = tl.dot(value.to(matrix.dtype), matrix, sums)
    bias = tl.load(bias_ptr + output).to(tl.float32)
    sums = tl.maximum(sums + bias[None, :], 0.0, EVEN_NAN)
    projection = tl.load(projection_ptr + output[:, None] * channels + channel[None, :])
    return tl.dot(sums.to(projection.dtype), projection, mixed)


@triton.jit(do_not_specialize=["pixels", "magnitude", "height", "width"])
def context_kernel(
    x_ptr,
    small_ptr,
    large_ptr,
    weight_ptr,
    bias_ptr,
    projection_ptr,
    pooled_ptr,
    out_ptr,
    pixels,
    magnitude,
    height,
    width,
    small_stride: tl.constexpr,
    large_stride: tl.constexpr,
    small_taps: tl.constexpr,
    large_taps: tl.constexpr,
    channels: tl.constexpr,
    outputs: tl.constexpr,
    block: tl.constexpr,
):
    """Computes `deform_context` for one block of pixels of the flattened batch.

    `magnitude` is the number of binary digits of `pixels`; it chooses the configuration.
    """
    index = tl.program_id(0) * block + tl.arange(0, block)
    pixel = tl.minimum(index, pixels - 1)
    picture = pixel // (height * width)
    row = ((pixel // width) % height).to(tl.float32)
    column = (pixel % width).to(tl.float32)
    mixed = tl.zeros((block, channels), tl.float32)
    first = 0
    for branch in tl.static_range(4):
        kernel = 1 if branch < 2 else 3 if branch < 3 else 7
        mixed = _add_branch(
            mixed,
            x_ptr,
            small_ptr if branch < 3 else large_ptr,
            weight_ptr + first * channels * outputs,
            bias_ptr + branch * outputs,
            projection_ptr + branch * outputs * channels,
            pixel,
            picture,
            row,
            column,
            height,
            width,
            small_taps if branch < 3 else large_taps,
            small_stride if branch < 3 else large_stride,
            first if branch < 3 else 0,
            kernel,
            channels,
            outputs,
            block,
        )
        first += kernel * kernel
    channel = tl.arange(0, channels)
    pooled = tl.load(pooled_ptr + picture[:, None] * channels + channel[None, :]).to(tl.float32)
    mixed = tl.maximum(mixed + pooled, 0.0, EVEN_NAN)
    place = index.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(out_ptr + place, mixed.to(out_ptr.dtype.element_ty), mask=(index < pixels)[:, None])


tuned_kernel: Any = triton.autotune(CONFIGS, key=["magnitude"])(context_kernel)


def deform_context_triton(
    x: Tensor,
    small: Tensor,
    large: Tensor,
    weight: Tensor,
    bias: Tensor,
    projection: Tensor,
    pooled: Tensor,
) -> Tensor:
    """Mixes the branches on a CUDA device, 16-bit tensors; see `deform.deform_context`.

    A program computes a block of pixels from end to end: neither the sampled columns nor the
    branches' 256 channels leave its registers.
    """
    batch, height, width, channels = x.shape
    x, small, large = x.contiguous(), small.contiguous(), large.contiguous()
    out = torch.empty_like(x)
    pixels = batch * height * width
    tuned_kernel[lambda config: (triton.cdiv(pixels, config["block"]),)](
        x,
        small,
        large,
        weight.contiguous(),
        bias.contiguous(),
        projection.contiguous(),
        pooled.contiguous(),
        out,
        pixels,
        pixels.bit_length(),
        height,
        width,
        small_stride=small.shape[-1],
        large_stride=large.shape[-1],
        small_taps=SMALL_TAPS,
        large_taps=LARGE_TAPS,
        channels=channels,
        outputs=weight.shape[-1],
    )
    return out
