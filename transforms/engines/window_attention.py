"""Shifted-window self-attention on a token map of any size, as one operation a device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from .kernels import serves

CPU_CHUNK = 1 << 20
"""Numbers of the widest array (q, k and v together) that one step on a CPU holds: 4 MB of
float32, so that it stays in the second-level cache and never asks the system for fresh pages."""


@dataclass(frozen=True)
class WindowGroup:
    """Windows that are attended in one go.

    Attributes:
      count: how many windows.
      tokens: int32, shape (n,): the rows of the map (batch, y and x flattened) that the windows
        hold, window by window and row-major inside; padded places are left out.
      slots: int64, shape (n,): which of the count * window² places each of those takes; None
        when the windows hold no padding.
      mask: bool, shape (window², window²), True where the two places may attend to one another;
        None when all may.
    """

    count: int
    tokens: Tensor
    slots: Tensor | None
    mask: Tensor | None


def relative_position_index(window: int) -> Tensor:
    """Gives the row of the bias table for each pair of places in a window.

    Args:
      window: side of the window, tokens.

    Returns:
      int64, shape (window², window²): (ra - rb + w - 1)(2w - 1) + (ca - cb + w - 1) for the
      places a and b, both row-major (Liu et al., "Swin Transformer", 2021, section 3.2).
    """
    place = torch.arange(window * window)
    row, column = place // window, place % window
    down = row[:, None] - row[None, :] + window - 1
    right = column[:, None] - column[None, :] + window - 1
    return down * (2 * window - 1) + right


def _shift_mask(window: int, shift: int, last_row: bool, last_column: bool) -> Tensor:
    """Tells which pairs of places came from the same side of the roll, in a border window."""
    wrapped = torch.arange(window) >= window - shift
    side = torch.zeros(window, window, dtype=torch.int64)
    if last_row:
        side += wrapped[:, None]
    if last_column:
        side += 2 * wrapped[None, :]
    flat = side.flatten()
    return flat[:, None] == flat[None, :]


@lru_cache(maxsize=128)
def window_groups(
    batch: int,
    height: int,
    width: int,
    window: int,
    shift: int,
    windows_at_once: int,
    device: torch.device,
) -> tuple[WindowGroup, ...]:
    """Cuts a batch of token maps into groups of windows; the result depends on sizes alone.

    The map is padded at the bottom and the right to whole windows, then rolled by `shift` up and
    to the left. The roll and the mask also hold when there is a single window.

    Args:
      batch, height, width: of the token maps.
      window: side of a window, tokens.
      shift: how far the map is rolled, tokens; 0 for none.
      windows_at_once: most windows of a group.
      device: where the index tensors go.

    Returns:
      Groups that together hold each token exactly once; within a group all windows share one
      mask: inner ones need none, those of the last row, the last column and the corner one each.
    """
    rows, columns = -(-height // window), -(-width // window)
    y = (torch.arange(rows * window) + shift) % (rows * window)
    x = (torch.arange(columns * window) + shift) % (columns * window)
    token = torch.where((y < height)[:, None] & (x < width)[None, :], y[:, None] * width + x, -1)
    token = token.view(rows, window, columns, window).permute(0, 2, 1, 3).flatten(2)

    inner_rows, inner_columns = (rows - 1, columns - 1) if shift else (rows, columns)
    parts = [
        (token[:inner_rows, :inner_columns], False, False),
        (token[:inner_rows, inner_columns:], False, True),
        (token[inner_rows:, :inner_columns], True, False),
        (token[inner_rows:, inner_columns:], True, True),
    ]
    groups = []
    for part, last_row, last_column in parts:
        if part.numel() == 0:
            continue
        mask = None
        if last_row or last_column:
            mask = _shift_mask(window, shift, last_row, last_column).to(device)
        picture = torch.arange(batch)[:, None, None] * (height * width)
        part = part.flatten(0, 1)
        whole = torch.where(part >= 0, part + picture, -1).flatten(0, 1)
        for some in whole.split(windows_at_once):
            flat = some.flatten()
            real = flat >= 0
            slots = None if bool(real.all()) else real.nonzero()[:, 0].to(device)
            tokens = flat[real].to(device, torch.int32)
            groups.append(WindowGroup(len(some), tokens, slots, mask))
    return tuple(groups)


def window_attention_plain(
    x: Tensor,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    position_bias: Tensor,
    window: int,
    shift: int,
) -> Tensor:
    """Attends within windows with PyTorch's own operations; see `window_attention`."""
    batch, height, width, channels = x.shape
    heads, places, _ = position_bias.shape
    position_bias = position_bias[..., :places]
    windows_at_once = batch * height * width
    if x.device.type == "cpu":
        windows_at_once = max(1, CPU_CHUNK // (3 * channels * places))
    groups = window_groups(batch, height, width, window, shift, windows_at_once, x.device)
    rows = x.reshape(-1, channels)
    result = torch.empty_like(rows)
    for group in groups:
        qkv = torch.addmm(qkv_bias, rows.index_select(0, group.tokens), qkv_weight.t())
        if group.slots is not None:
            padded = qkv_bias.repeat(group.count * places, 1)
            padded[group.slots] = qkv
            qkv = padded
        q, k, v = qkv.view(group.count, places, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        bias = position_bias
        if group.mask is not None:
            bias = bias.masked_fill(~group.mask, float("-inf"))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        mixed = mixed.transpose(1, 2).reshape(-1, channels)
        if group.slots is not None:
            mixed = mixed[group.slots]
        result[group.tokens] = torch.addmm(proj_bias, mixed, proj_weight.t())
    return result.view(batch, height, width, channels)


@torch.library.custom_op(
    "alphabeam::window_attention",
    mutates_args=(),
    schema="(Tensor x, Tensor qkv_weight, Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias,"
    " Tensor position_bias, int window, int shift) -> Tensor",
)
def window_attention(
    x: Tensor,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    position_bias: Tensor,
    window: int,
    shift: int,
) -> Tensor:
    """Attends within (shifted) windows of normalised token maps.

    Places that fill a map up to whole windows count as tokens whose features are zero, so their
    q, k and v are the bias alone; they are attended to like any other.

    Args:
      x: shape (B, H, W, C), contiguous, already normalised.
      qkv_weight, qkv_bias: shapes (3C, C) and (3C,): q, then k, then v, each head by head.
      proj_weight, proj_bias: shapes (C, C) and (C,).
      position_bias: shape (heads, window², window² or more), added to the scaled scores; the
        rows may be filled up with zeros, so that each starts at an aligned address.
      window: side of a window, tokens.
      shift: how far the windows are shifted, tokens; 0 for not at all.

    Returns:
      Shape (B, H, W, C), without the residual.
    """
    return window_attention_plain(
        x, qkv_weight, qkv_bias, proj_weight, proj_bias, position_bias, window, shift
    )


@window_attention.register_kernel("cuda")
def _(x, qkv_weight, qkv_bias, proj_weight, proj_bias, position_bias, window, shift):
    arguments = (qkv_weight, qkv_bias, proj_weight, proj_bias, position_bias, window, shift)
    if not serves(x):
        return window_attention_plain(x, *arguments)
    from .window_attention_triton import window_attention_triton

    return window_attention_triton(x, *arguments)


@window_attention.register_fake
def _(x, qkv_weight, qkv_bias, proj_weight, proj_bias, position_bias, window, shift):
    return torch.empty_like(x)
