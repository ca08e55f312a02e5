"""A loaded BiRefNet rewritten, in place, into the fewest layers that compute the same."""

from __future__ import annotations

from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .birefnet_decoder import (
    BRANCH,
    Decoder,
    DecoderBlock,
    DeformableContext,
    DeformBranch,
    resize,
    size_of,
)
from .deform import deform_context
from .folding import (
    batchnorm_line,
    bias_of,
    chain_convs,
    constant,
    fold_batchnorm,
    fold_mixing,
    make_conv,
    make_linear,
)
from .swin import SwinTransformer, WindowAttention


def readings_conv(branches: list[DeformBranch], kernel: int) -> nn.Conv2d:
    """Joins the offset and modulation convolutions of branches with kernels up to `kernel`.

    Returns:
      A convolution whose outputs are dy of all taps, then dx, then the modulation logits, filled
      with zeros to a multiple of 8, which matrix units ask for.
    """
    weights: list[list[Tensor]] = [[], [], []]
    biases: list[list[Tensor]] = [[], [], []]
    for branch in branches:
        offset, modulator = branch.atrous_conv.offset_conv, branch.atrous_conv.modulator_conv
        margin = (kernel - offset.kernel_size[0]) // 2
        weight = functional.pad(offset.weight, (margin,) * 4)
        planes = (weight[0::2], weight[1::2], functional.pad(modulator.weight, (margin,) * 4))
        lines = (bias_of(offset)[0::2], bias_of(offset)[1::2], bias_of(modulator))
        for i in range(3):
            weights[i].append(planes[i])
            biases[i].append(lines[i])
    weight, bias = torch.cat([*chain(*weights)]), torch.cat([*chain(*biases)])
    filling = -len(bias) % 8
    return make_conv(
        functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, filling)),
        functional.pad(bias, (0, filling)),
    )


class FusedContext(nn.Module):
    """`DeformableContext` in two convolutions and one operation."""

    def __init__(self, published: DeformableContext) -> None:
        super().__init__()
        branches = [published.aspp1]
        branches += [cast(DeformBranch, branch) for branch in published.aspp_deforms]
        self.small = readings_conv(branches[:3], 3)
        self.large = readings_conv(branches[3:], 7)
        lines = [batchnorm_line(branch.bn) for branch in branches]
        taps = [
            branch.atrous_conv.regular_conv.weight.double() * scale[:, None, None, None]
            for branch, (scale, _) in zip(branches, lines, strict=True)
        ]
        self.weight = constant(torch.cat([tap.flatten(2).permute(2, 1, 0) for tap in taps]))
        self.bias = constant(torch.stack([shift for _, shift in lines]))

        scale, shift = batchnorm_line(published.bn1)
        mixing = published.conv1.weight.double()[:, :, 0, 0] * scale[:, None]
        parts = mixing.t().unflatten(0, (5, BRANCH))
        self.projection = constant(parts[:4])
        pool = cast(nn.Conv2d, published.global_avg_pool[1])
        pool = fold_batchnorm(pool, cast(nn.BatchNorm2d, published.global_avg_pool[2]))
        self.pool_in = make_linear(pool.weight[:, :, 0, 0], bias_of(pool))
        self.pool_out = make_linear(parts[4].t(), shift)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, 64, H, W) to the same shape."""
        pooled = self.pool_out(functional.relu(self.pool_in(x.mean((2, 3)))))
        mixed = deform_context(
            x.permute(0, 2, 3, 1).contiguous(),
            self.small(x).permute(0, 2, 3, 1).contiguous(),
            self.large(x).permute(0, 2, 3, 1).contiguous(),
            self.weight,
            self.bias,
            self.projection,
            pooled,
        )
        return mixed.permute(0, 3, 1, 2)


class FusedBlock(nn.Module):
    """`DecoderBlock` with its batch norms folded."""

    def __init__(self, published: DecoderBlock) -> None:
        super().__init__()
        self.conv_in = fold_batchnorm(published.conv_in, published.bn_in)
        self.context = FusedContext(published.dec_att)
        self.conv_out = fold_batchnorm(published.conv_out, published.bn_out)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        return self.conv_out(self.context(functional.relu(self.conv_in(x))))


class FusedHead(nn.Module):
    """The last level, whose end is linear and so computes the one channel of the result directly.

    The bilinear resize commutes with a 1×1 convolution because its weights sum to one, so only one
    channel is enlarged. The two 3×3 convolutions over the picture are one 5×5 convolution, except
    for the outermost pixels, where `chain_convs` does not hold: these are computed in two steps.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        last = cast(nn.Conv2d, decoder.conv_out1[0])
        self.block = FusedBlock(decoder.decoder_block1)
        own = self.block.conv_out.out_channels
        mixing = last.weight.double()[:, :, 0, 0]
        self.block.conv_out = fold_mixing(self.block.conv_out, mixing[:, :own])
        self.first = decoder.ipt_blk1.conv1
        self.second = fold_mixing(decoder.ipt_blk1.conv_out, mixing[:, own:])
        self.second.bias = constant(bias_of(self.second) + bias_of(last))
        self.joint = chain_convs(self.first, self.second)

    def see(self, image: Tensor) -> Tensor:
        """Gives the picture's own part of the logits, (B, 3, H, W) to (B, 1, H, W)."""
        logits = self.joint(image)
        for axis in (2, 3):
            for edge, start in ((0, 0), (-1, image.shape[axis] - 3)):
                strip = self.second(self.first(image.narrow(axis, start, 3)))
                logits.select(axis, edge).copy_(strip.select(axis, edge))
        return logits

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Maps the last level's input and the picture to logits (B, 1, H, W)."""
        return resize(self.block(x), size_of(image)) + self.see(image)


def fuse_backbone(backbone: SwinTransformer) -> None:
    """Spreads the attention's bias tables out once and for all."""
    for module in backbone.modules():
        if isinstance(module, WindowAttention):
            module.fuse()


def fuse_decoder(decoder: Decoder) -> None:
    """Fuses every block, replaces the head and drops what serves training alone."""
    for level in (4, 3, 2):
        block = cast(DecoderBlock, decoder.get_submodule(f"decoder_block{level}"))
        setattr(decoder, f"decoder_block{level}", FusedBlock(block))
        hints = cast(nn.Sequential, decoder.get_submodule(f"gdt_convs_{level}"))
        folded = fold_batchnorm(cast(nn.Conv2d, hints[0]), cast(nn.BatchNorm2d, hints[1]))
        setattr(decoder, f"gdt_convs_{level}", nn.Sequential(folded, nn.ReLU()))
        delattr(decoder, f"conv_ms_spvn_{level}")
        delattr(decoder, f"gdt_convs_pred_{level}")
    decoder.head = FusedHead(decoder)
    del decoder.decoder_block1, decoder.ipt_blk1, decoder.conv_out1
