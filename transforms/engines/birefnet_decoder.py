"""The decoder of BiRefNet: blocks with deformable context, image patches beside every level.

Zheng et al., "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", 2024.
Every resize is bilinear with aligned corners. Parameter names are the published ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .deform import deform_conv

INNER = 64
"""Channels inside every decoder block."""

BRANCH = 256
"""Channels of each branch of the deformable context module."""

PATCH_ORDERS = ("rmbg2", "birefnet")
"""The two orders in which published networks stack image tiles on channels."""


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes (B, C, H, W) to the given height and width, bilinear, corners aligned."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


def size_of(x: Tensor) -> tuple[int, int]:
    """Gives the height and width of (B, C, H, W)."""
    return x.shape[-2], x.shape[-1]


def stack_patches(image: Tensor, like: Tensor, order: str) -> Tensor:
    """Cuts the picture into tiles as large as a feature map and stacks them on channels.

    Args:
      image: shape (B, 3, H, W).
      like: shape (B, C, h, w), H and W multiples of h and w.
      order: `rmbg2`, channel = (tile column * tile rows + tile row) * 3 + colour; or `birefnet`,
        channel = (colour * tile rows + tile row) * tile columns + tile column.

    Returns:
      Shape (B, 3 * tiles, h, w), in channels-last memory.
    """
    height, width = size_of(like)
    tiles = image.unflatten(3, (-1, width)).unflatten(2, (-1, height))
    colour, down, y, right, x = 1, 2, 3, 4, 5
    channel = (right, down, colour) if order == "rmbg2" else (colour, down, right)
    return tiles.permute(0, y, x, *channel).flatten(3).permute(0, 3, 1, 2)


class DeformConv(nn.Module):
    """Deformable convolution that finds its own offsets and modulation."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        taps = kernel * kernel
        self.offset_conv = nn.Conv2d(INNER, 2 * taps, kernel, padding=kernel // 2)
        self.modulator_conv = nn.Conv2d(INNER, taps, kernel, padding=kernel // 2)
        self.regular_conv = nn.Conv2d(INNER, BRANCH, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, 64, H, W) to (B, 256, H, W)."""
        modulation = 2.0 * torch.sigmoid(self.modulator_conv(x))
        result = deform_conv(
            x.permute(0, 2, 3, 1).contiguous(),
            self.offset_conv(x).permute(0, 2, 3, 1).contiguous(),
            modulation.permute(0, 2, 3, 1).contiguous(),
            self.regular_conv.weight.flatten(2).permute(2, 1, 0).contiguous(),
        )
        return result.permute(0, 3, 1, 2)


class DeformBranch(nn.Module):
    """A deformable convolution, batch norm and ReLU."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.atrous_conv = DeformConv(kernel)
        self.bn = nn.BatchNorm2d(BRANCH)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, 64, H, W) to (B, 256, H, W)."""
        return functional.relu(self.bn(self.atrous_conv(x)))


class DeformableContext(nn.Module):
    """Context at several reaches: four deformable branches and the global mean, mixed to 64."""

    def __init__(self) -> None:
        super().__init__()
        self.aspp1 = DeformBranch(1)
        self.aspp_deforms = nn.ModuleList(DeformBranch(kernel) for kernel in (1, 3, 7))
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(INNER, BRANCH, 1, bias=False),
            nn.BatchNorm2d(BRANCH),
            nn.ReLU(),
        )
        self.conv1 = nn.Conv2d(5 * BRANCH, INNER, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(INNER)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, 64, H, W) to the same shape."""
        branches = [self.aspp1(x), *(branch(x) for branch in self.aspp_deforms)]
        branches.append(self.global_avg_pool(x).expand(-1, -1, *size_of(x)))
        return functional.relu(self.bn1(self.conv1(torch.cat(branches, 1))))


class DecoderBlock(nn.Module):
    """Convolution to 64 channels, deformable context, convolution to the level's width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, INNER, 3, padding=1)
        self.bn_in = nn.BatchNorm2d(INNER)
        self.dec_att = DeformableContext()
        self.conv_out = nn.Conv2d(INNER, outputs, 3, padding=1)
        self.bn_out = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        context = self.dec_att(functional.relu(self.bn_in(self.conv_in(x))))
        return self.bn_out(self.conv_out(context))


class ImageBlock(nn.Module):
    """Two convolutions over stacked image tiles, nothing between."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, INNER, 3, padding=1)
        self.conv_out = nn.Conv2d(INNER, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        return self.conv_out(self.conv1(x))


class LateralBlock(nn.Module):
    """A 1×1 convolution on the way from the encoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return self.conv(x)


class Decoder(nn.Module):
    """From the encoder's four maps and the picture to logits.

    `conv_ms_spvn_*` and `gdt_convs_pred_*` serve training alone: they hold published parameters and
    are never run.

    Args:
      embed_dim: channels C of the backbone's first stage.
      patch_order: one of `PATCH_ORDERS`.
    """

    def __init__(self, embed_dim: int, patch_order: str) -> None:
        super().__init__()
        self.patch_order = patch_order
        d1, d2, d3, d4 = (2 * embed_dim << i for i in range(4))
        self.ipt_blk5 = ImageBlock(3 * 32 * 32, d4 // 8)
        self.ipt_blk4 = ImageBlock(3 * 16 * 16, d4 // 8)
        self.ipt_blk3 = ImageBlock(3 * 8 * 8, d3 // 8)
        self.ipt_blk2 = ImageBlock(3 * 4 * 4, d2 // 8)
        self.ipt_blk1 = ImageBlock(3, d1 // 8)
        self.decoder_block4 = DecoderBlock(d4 + d4 // 8, d3)
        self.decoder_block3 = DecoderBlock(d3 + d4 // 8, d2)
        self.decoder_block2 = DecoderBlock(d2 + d3 // 8, d1)
        self.decoder_block1 = DecoderBlock(d1 + d2 // 8, d1 // 2)
        self.lateral_block4 = LateralBlock(d3)
        self.lateral_block3 = LateralBlock(d2)
        self.lateral_block2 = LateralBlock(d1)
        self.conv_out1 = nn.Sequential(nn.Conv2d(d1 // 2 + d1 // 8, 1, 1))
        for level, channels in ((4, d3), (3, d2), (2, d1)):
            hints = nn.Sequential(
                nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
            )
            self.add_module(f"conv_ms_spvn_{level}", nn.Conv2d(channels, 1, 1))
            self.add_module(f"gdt_convs_{level}", hints)
            self.add_module(f"gdt_convs_pred_{level}", nn.Sequential(nn.Conv2d(16, 1, 1)))
            self.add_module(f"gdt_convs_attn_{level}", nn.Sequential(nn.Conv2d(16, 1, 1)))
        self.head: nn.Module | None = None

    def level(self, index: int, x: Tensor, image: Tensor) -> Tensor:
        """Adds the image's tiles to a level's input, decodes it and weighs it by its attention."""
        joined = self.with_patches(index + 1, x, image)
        p = self.get_submodule(f"decoder_block{index}")(joined)
        hints = self.get_submodule(f"gdt_convs_{index}")(p)
        return p * torch.sigmoid(self.get_submodule(f"gdt_convs_attn_{index}")(hints))

    def with_patches(self, block: int, x: Tensor, image: Tensor) -> Tensor:
        """Joins a level's input and what `ipt_blk{block}` sees in the image, on channels."""
        tiles = stack_patches(image, x, self.patch_order)
        return torch.cat((x, self.get_submodule(f"ipt_blk{block}")(tiles)), 1)

    def published_head(self, x: Tensor, image: Tensor) -> Tensor:
        """Maps the last level's input and the picture to logits, as published."""
        p = resize(self.decoder_block1(x), size_of(image))
        return self.conv_out1(torch.cat((p, self.ipt_blk1(image)), 1))

    def forward(self, image: Tensor, features: list[Tensor]) -> Tensor:
        """Decodes.

        Args:
          image: shape (B, 3, H, W), the network's input.
          features: x1 to x4, the encoder's maps at 1/4 to 1/32 of the picture's size.

        Returns:
          Logits, shape (B, 1, H, W).
        """
        x1, x2, x3, x4 = features
        p = self.level(4, x4, image)
        p = self.level(3, resize(p, size_of(x3)) + self.lateral_block4(x3), image)
        p = self.level(2, resize(p, size_of(x2)) + self.lateral_block3(x2), image)
        last = resize(p, size_of(x1)) + self.lateral_block2(x1)
        last = self.with_patches(2, last, image)
        return self.published_head(last, image) if self.head is None else self.head(last, image)
