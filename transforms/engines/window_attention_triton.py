"""`window_attention` for 16-bit tensors on CUDA: a Triton kernel between two matrix products.

The kernel finds each window's tokens in the unshifted, unpadded map, so nothing is rolled, padded,
cut or put back in memory, and q, k and v are computed for real tokens alone.
"""

from __future__ import annotations

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

CONFIGS = [
    triton.Config({"queries": 64, "keys": 64}, num_warps=4, num_stages=1),
    triton.Config({"queries": 64, "keys": 32}, num_warps=4, num_stages=1),
    triton.Config({"queries": 32, "keys": 32}, num_warps=2, num_stages=1),
]
"""Places a step takes and warps of a program; the fastest is found at the first call."""

MASKED = tl.constexpr(-1e30)
"""Score of a pair that must not attend: finite, so that a row of nothing else is still a number."""


@triton.jit
def _places(start, window_y, window_x, rows, columns, height, width, shift, window, block):
    """Locates a block of a window's places in the map.

    Returns:
      The places' numbers in the window, their rows in the map (y * width + x), whether they hold a
      token, and on which side of the roll they lie.
    """
    place = start + tl.arange(0, block)
    down, right = place // window, place % window
    y = window_y * window + down + shift
    x = window_x * window + right + shift
    y = tl.where(y >= rows * window, y - rows * window, y)
    x = tl.where(x >= columns * window, x - columns * window, x)
    real = (place < window * window) & (y < height) & (x < width)
    wrapped_y = (window_y == rows - 1) & (down >= window - shift)
    wrapped_x = (window_x == columns - 1) & (right >= window - shift)
    return place, y * width + x, real, wrapped_y.to(tl.int32) * 2 + wrapped_x.to(tl.int32)


@triton.jit(do_not_specialize=["height", "width", "rows", "columns", "heads", "shift"])
def attention_kernel(
    qkv_ptr,
    padding_ptr,
    bias_ptr,
    out_ptr,
    height,
    width,
    rows,
    columns,
    heads,
    shift,
    scale,
    features: tl.constexpr,
    window: tl.constexpr,
    pitch: tl.constexpr,
    queries: tl.constexpr,
    keys: tl.constexpr,
):
    """Attends from one block of places of one window with one head."""
    places: tl.constexpr = window * window
    channels = heads * features
    blocks: tl.constexpr = (places + queries - 1) // queries
    head = tl.program_id(0) % heads
    block = (tl.program_id(0) // heads) % blocks
    tile = tl.program_id(0) // (heads * blocks)
    picture = (tile // (rows * columns)).to(tl.int64) * (height * width)
    window_y, window_x = (tile // columns) % rows, tile % columns
    feature = head * features + tl.arange(0, features)
    query, token, real, side = _places(
        block * queries,
        window_y,
        window_x,
        rows,
        columns,
        height,
        width,
        shift,
        window,
        queries,
    )
    from_row = (picture + token)[:, None]
    q = tl.load(qkv_ptr + from_row * (3 * channels) + feature[None, :], mask=real[:, None], other=0)
    padding_k = tl.load(padding_ptr + channels + feature)[None, :]
    padding_v = tl.load(padding_ptr + 2 * channels + feature)[None, :]

    best = tl.full((queries,), MASKED, tl.float32)
    total = tl.zeros((queries,), tl.float32)
    mixed = tl.zeros((queries, features), tl.float32)
    for start in range(0, places, keys):
        key, at, held, key_side = _places(
            start, window_y, window_x, rows, columns, height, width, shift, window, keys
        )
        key_row = (picture + at)[:, None] * (3 * channels) + feature[None, :]
        k = tl.load(qkv_ptr + key_row + channels, mask=held[:, None], other=0)
        v = tl.load(qkv_ptr + key_row + 2 * channels, mask=held[:, None], other=0)
        k = tl.where(held[:, None], k, padding_k)
        v = tl.where(held[:, None], v, padding_v)
        pair = (head * places + query)[:, None] * pitch + key[None, :]
        inside = (query < places)[:, None] & (key < pitch)[None, :]
        scores = tl.dot(q, tl.trans(k)) * scale
        scores += tl.load(bias_ptr + pair, mask=inside, other=0).to(tl.float32)
        allowed = (key < places)[None, :] & (side[:, None] == key_side[None, :])
        scores = tl.where(allowed, scores, MASKED)
        higher = tl.maximum(best, tl.max(scores, 1))
        weight = tl.exp(scores - higher[:, None])
        fade = tl.exp(best - higher)
        total = total * fade + tl.sum(weight, 1)
        mixed = tl.dot(weight.to(v.dtype), v, mixed * fade[:, None])
        best = higher
    mixed = mixed / total[:, None]
    place = from_row * channels + feature[None, :]
    tl.store(out_ptr + place, mixed.to(out_ptr.dtype.element_ty), mask=real[:, None])


tuned_kernel: Any = triton.autotune(CONFIGS, key=["window"])(attention_kernel)


def window_attention_triton(
    x: Tensor,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    position_bias: Tensor,
    window: int,
    shift: int,
) -> Tensor:
    """Attends within windows of 16-bit maps on a CUDA device; see `window_attention`."""
    batch, height, width, channels = x.shape
    heads, places, pitch = position_bias.shape
    qkv = torch.addmm(qkv_bias, x.reshape(-1, channels), qkv_weight.t())
    rows, columns = -(-height // window), -(-width // window)
    mixed = torch.empty_like(x).view(-1, channels)
    windows = batch * rows * columns
    tuned_kernel[lambda config: (windows * triton.cdiv(places, config["queries"]) * heads,)](
        qkv,
        qkv_bias,
        position_bias.contiguous(),
        mixed,
        height,
        width,
        rows,
        columns,
        heads,
        shift,
        (channels // heads) ** -0.5,
        features=channels // heads,
        window=window,
        pitch=pitch,
    )
    return torch.addmm(proj_bias, mixed, proj_weight.t()).view_as(x)
