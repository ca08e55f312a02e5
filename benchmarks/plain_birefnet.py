"""BiRefNet written straight from its description, as the yardstick for `benchmarks/model.py`.

Eager PyTorch in NCHW, layer after layer as published: padded tokens take part in everything,
attention is two matrix products and a softmax, every batch norm and resize is run, every deformable
convolution reads its taps with `grid_sample`. Nothing is folded, and nothing cached but the shift
masks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]


def conv(w: Weights, name: str, x: Tensor) -> Tensor:
    """Runs a convolution with "same" padding."""
    weight = w[f"{name}.weight"]
    return functional.conv2d(x, weight, w.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def batchnorm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Runs a batch norm with its stored statistics."""
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return functional.batch_norm(x, mean, variance, w[f"{name}.weight"], w[f"{name}.bias"])


def layernorm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Runs a layer norm over the last axis."""
    return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    """Runs a linear layer over the last axis."""
    return functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Resizes to another map's height and width."""
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


@lru_cache(maxsize=64)
def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Gives 0 or -100 for each pair of places of each window of the rolled map."""
    label = torch.zeros(height, width)
    for i, rows in enumerate((slice(-window), slice(-window, -shift), slice(-shift, None))):
        for j, columns in enumerate((slice(-window), slice(-window, -shift), slice(-shift, None))):
            label[rows, columns] = 3 * i + j
    flat = windows(label[None, ..., None], window)[..., 0]
    return (flat[:, :, None] != flat[:, None, :]) * -100.0


def windows(x: Tensor, window: int) -> Tensor:
    """Cuts (B, H, W, C) into (B * windows, window², C)."""
    cut = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return cut.transpose(2, 3).reshape(-1, window * window, x.shape[-1])


def attention(w: Weights, name: str, x: Tensor, shift: int) -> Tensor:
    """Attends within windows of normalised tokens (B, H, W, C)."""
    _, height, width, channels = x.shape
    index, table = w[f"{name}.relative_position_index"], w[f"{name}.relative_position_bias_table"]
    places, heads = len(index), table.shape[1]
    window = math.isqrt(places)
    x = functional.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    padded = x.shape
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    qkv = linear(w, f"{name}.qkv", windows(x, window)).unflatten(-1, (3, heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = q * (channels // heads) ** -0.5 @ k.transpose(-2, -1)
    scores = scores + table[index].permute(2, 0, 1)
    if shift:
        mask = shift_mask(padded[1], padded[2], window, shift).to(scores)
        scores = (scores.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    mixed = linear(w, f"{name}.proj", mixed)
    down, right = padded[1] // window, padded[2] // window
    mixed = mixed.view(-1, down, right, window, window, channels).transpose(2, 3).reshape(padded)
    if shift:
        mixed = torch.roll(mixed, (shift, shift), (1, 2))
    return mixed[:, :height, :width]


def backbone(w: Weights, image: Tensor) -> list[Tensor]:
    """Gives the four feature maps of a Swin Transformer."""
    x = functional.conv2d(image, w["bb.patch_embed.proj.weight"], w["bb.patch_embed.proj.bias"], 4)
    x = layernorm(w, "bb.patch_embed.norm", x.permute(0, 2, 3, 1))
    features = []
    for stage in range(4):
        index = 0
        while (block := f"bb.layers.{stage}.blocks.{index}") + ".norm1.weight" in w:
            places = len(w[f"{block}.attn.relative_position_index"])
            shift = math.isqrt(places) // 2 if index % 2 else 0
            x = x + attention(w, f"{block}.attn", layernorm(w, f"{block}.norm1", x), shift)
            inner = linear(w, f"{block}.mlp.fc1", layernorm(w, f"{block}.norm2", x))
            x = x + linear(w, f"{block}.mlp.fc2", functional.gelu(inner))
            index += 1
        features.append(layernorm(w, f"bb.norm{stage}", x).permute(0, 3, 1, 2).contiguous())
        if stage < 3:
            x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
            phases = [x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)]
            down = f"bb.layers.{stage}.downsample"
            x = linear(w, f"{down}.reduction", layernorm(w, f"{down}.norm", torch.cat(phases, -1)))
    return features


def deform_conv(x: Tensor, offset: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Runs a deformable convolution, one `grid_sample` a tap."""
    height, width = x.shape[2:]
    kernel = weight.shape[-1]
    y = torch.arange(height, device=x.device, dtype=torch.float32)[:, None]
    column = torch.arange(width, device=x.device, dtype=torch.float32)[None, :]
    result = None
    for tap in range(kernel * kernel):
        at_y = y + (tap // kernel - kernel // 2) + offset[:, 2 * tap].float()
        at_x = column + (tap % kernel - kernel // 2) + offset[:, 2 * tap + 1].float()
        grid = torch.stack(((2 * at_x + 1) / width - 1, (2 * at_y + 1) / height - 1), -1)
        read = functional.grid_sample(x.float(), grid, align_corners=False).to(x.dtype)
        read = read * scale[:, tap : tap + 1]
        part = functional.conv2d(
            read, weight[:, :, tap // kernel, tap % kernel, None, None].contiguous()
        )
        result = part if result is None else result.add_(part)
    assert result is not None
    return result


def deform_branch(w: Weights, name: str, x: Tensor) -> Tensor:
    """Runs a deformable convolution with its own offsets, batch norm and ReLU."""
    offset = conv(w, f"{name}.atrous_conv.offset_conv", x)
    scale = 2.0 * torch.sigmoid(conv(w, f"{name}.atrous_conv.modulator_conv", x))
    x = deform_conv(x, offset, scale, w[f"{name}.atrous_conv.regular_conv.weight"])
    return functional.relu(batchnorm(w, f"{name}.bn", x))


def decoder_block(w: Weights, name: str, x: Tensor) -> Tensor:
    """Runs convolution, deformable context, convolution."""
    x = functional.relu(batchnorm(w, f"{name}.bn_in", conv(w, f"{name}.conv_in", x)))
    context = f"{name}.dec_att"
    names = ("aspp1", "aspp_deforms.0", "aspp_deforms.1", "aspp_deforms.2")
    branches = [deform_branch(w, f"{context}.{branch}", x) for branch in names]
    pool = conv(w, f"{context}.global_avg_pool.1", x.mean((2, 3), keepdim=True))
    pool = functional.relu(batchnorm(w, f"{context}.global_avg_pool.2", pool))
    branches.append(pool.expand(-1, -1, *x.shape[2:]))
    x = conv(w, f"{context}.conv1", torch.cat(branches, 1))
    x = functional.relu(batchnorm(w, f"{context}.bn1", x))
    return batchnorm(w, f"{name}.bn_out", conv(w, f"{name}.conv_out", x))


def image_block(w: Weights, index: int, image: Tensor, like: Tensor) -> Tensor:
    """Runs two convolutions over the picture's tiles, stacked in the order of RMBG-2.0."""
    height, width = like.shape[-2:]
    tiles = [
        image[:, :, top : top + height, left : left + width]
        for left in range(0, image.shape[3], width)
        for top in range(0, image.shape[2], height)
    ]
    name = f"decoder.ipt_blk{index}"
    return conv(w, f"{name}.conv_out", conv(w, f"{name}.conv1", torch.cat(tiles, 1)))


def attended(w: Weights, level: int, p: Tensor) -> Tensor:
    """Weighs a level's output by the attention it predicts."""
    name = f"decoder.gdt_convs_{level}"
    hints = functional.relu(batchnorm(w, f"{name}.1", conv(w, f"{name}.0", p)))
    return p * torch.sigmoid(conv(w, f"decoder.gdt_convs_attn_{level}.0", hints))


@torch.no_grad()
def logits(w: Weights, image: Tensor) -> Tensor:
    """Runs the network.

    Args:
      w: published parameter names to tensors.
      image: shape (B, 3, H, W), normalised, sides multiples of 32.

    Returns:
      Shape (B, 1, H, W).
    """
    half = functional.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=True)
    x1, x2, x3, x4 = (
        torch.cat((f, resize(g, f)), 1)
        for f, g in zip(backbone(w, image), backbone(w, half), strict=True)
    )
    x4 = torch.cat((resize(x1, x4), resize(x2, x4), resize(x3, x4), x4), 1)
    x = decoder_block(w, "squeeze_module.0", x4)
    for level, lateral in ((4, x3), (3, x2), (2, x1)):
        x = torch.cat((x, image_block(w, level + 1, image, x)), 1)
        x = attended(w, level, decoder_block(w, f"decoder.decoder_block{level}", x))
        x = resize(x, lateral) + conv(w, f"decoder.lateral_block{level}.conv", lateral)
    x = torch.cat((x, image_block(w, 2, image, x)), 1)
    x = resize(decoder_block(w, "decoder.decoder_block1", x), image)
    return conv(w, "decoder.conv_out1.0", torch.cat((x, image_block(w, 1, image, image)), 1))
