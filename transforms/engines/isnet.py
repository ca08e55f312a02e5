"""IS-Net, the network of RMBG-1.4: a picture in, logits of its foreground out.

Qin et al., "Highly Accurate Dichotomous Image Segmentation", 2022; the blocks are those of U²-Net
(Qin et al., 2020). Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig

from .folding import fold_batchnorm
from .matting_output import MattingOutput
from .published import PublishedModel
from .weights import Access

SHALLOW_DILATIONS = (1, 2, 4, 8)
"""Dilations of the block that keeps its resolution, on the way down; the way up mirrors them."""


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Resizes (B, C, H, W) to another map's size, bilinear, corners not aligned."""
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class Layer(nn.Module):
    """Convolution, batch norm, ReLU."""

    bn_s1: nn.Module

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def fuse(self) -> None:
        """Folds the batch norm into the convolution."""
        if isinstance(self.bn_s1, nn.BatchNorm2d):
            self.conv_s1 = fold_batchnorm(self.conv_s1, self.bn_s1)
            self.bn_s1 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        return functional.relu(self.bn_s1(self.conv_s1(x)))


class ResidualU(nn.Module):
    """A small U-Net whose result is added to its first layer's.

    Args:
      inputs, inner, outputs: channels before, inside and after.
      depth: layers on the way down, the last with dilation 2 and no pooling before it.
      pooled: False for the block that dilates where the others pool, with depth 4.
    """

    def __init__(
        self, inputs: int, inner: int, outputs: int, depth: int, pooled: bool = True
    ) -> None:
        super().__init__()
        self.depth, self.pooled = depth, pooled
        down = (1,) * (depth - 1) + (2,) if pooled else SHALLOW_DILATIONS
        self.rebnconvin = Layer(inputs, outputs)
        for i in range(1, depth + 1):
            self.add_module(f"rebnconv{i}", Layer(outputs if i == 1 else inner, inner, down[i - 1]))
        for i in range(depth - 1, 0, -1):
            layer = Layer(2 * inner, outputs if i == 1 else inner, down[i - 1])
            self.add_module(f"rebnconv{i}d", layer)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        first = self.rebnconvin(x)
        maps = [self.get_submodule("rebnconv1")(first)]
        for i in range(2, self.depth + 1):
            x = maps[-1]
            if self.pooled and i < self.depth:
                x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
            maps.append(self.get_submodule(f"rebnconv{i}")(x))
        x = maps.pop()
        for i in range(self.depth - 1, 0, -1):
            partner = maps.pop()
            if x.shape[2:] != partner.shape[2:]:
                x = resize(x, partner)
            x = self.get_submodule(f"rebnconv{i}d")(torch.cat((x, partner), 1))
        return x + first


class ISNetConfig(PretrainedConfig):
    """Nothing distinguishes one IS-Net from another."""

    model_type = "alphabeam_isnet"


class ISNet(PublishedModel):
    """The network.

    Of the six maps that training supervises only the first is computed; the others' parameters are
    held because the published files have them.
    """

    config_class = ISNetConfig

    def __init__(self, config: ISNetConfig) -> None:
        super().__init__(config)
        self.conv_in = nn.Conv2d(3, 64, 3, stride=2, padding=1)
        self.stage1 = ResidualU(64, 32, 64, 7)
        self.stage2 = ResidualU(64, 32, 128, 6)
        self.stage3 = ResidualU(128, 64, 256, 5)
        self.stage4 = ResidualU(256, 128, 512, 4)
        self.stage5 = ResidualU(512, 256, 512, 4, pooled=False)
        self.stage6 = ResidualU(512, 256, 512, 4, pooled=False)
        self.stage5d = ResidualU(1024, 256, 512, 4, pooled=False)
        self.stage4d = ResidualU(1024, 128, 256, 4)
        self.stage3d = ResidualU(512, 64, 128, 5)
        self.stage2d = ResidualU(256, 32, 64, 6)
        self.stage1d = ResidualU(128, 16, 64, 7)
        for i, channels in enumerate((64, 64, 128, 256, 512, 512), 1):
            self.add_module(f"side{i}", nn.Conv2d(channels, 1, 3, padding=1))
        self.post_init()
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: object = None,
        **access: Any,
    ) -> ISNet:
        """Loads published or saved weights; in float32, on the CPU, unless told otherwise.

        Args:
          name_or_path: a folder with `model.safetensors`, or a hub id.
          dtype, torch_dtype, device_map: as in `published.PublishedModel.load_published`.
          access: `revision`, `token` and so on, as in `weights.Access`.

        Raises:
          ValueError: the names or shapes are not exactly those of the network.
          OSError: the file cannot be had.
        """
        hub = Access(**access)
        return cls.load_published(
            name_or_path, hub, lambda _: ISNetConfig(), dtype or torch_dtype, device_map
        )

    def fuse(self) -> ISNet:
        """Folds the batch norms and drops the unused maps, in place; returns itself.

        Parameters lose their published names, so this comes after saving.
        """
        if not self.fused:
            for module in self.modules():
                if isinstance(module, Layer):
                    module.fuse()
            for i in range(2, 7):
                delattr(self, f"side{i}")
            self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            self.fused = True
        return self

    @torch.no_grad()
    def forward(self, pixel_values: Tensor) -> MattingOutput:
        """Finds the foreground.

        Args:
          pixel_values: shape (B, 3, H, W), of any size: RGB in 0..1, less 0.5.

        Returns:
          Logits of the first map, shape (B, 1, H, W).

        Raises:
          ValueError: the shape is another.
        """
        if pixel_values.dim() != 4 or pixel_values.shape[1] != 3:
            shape = tuple(pixel_values.shape)
            raise ValueError(
                f"pixel_values has shape {shape}; it must be (batch, 3, height, width)"
            )
        x = self.conv_in(pixel_values.contiguous(memory_format=torch.channels_last))
        maps = [self.stage1(x)]
        for stage in (self.stage2, self.stage3, self.stage4, self.stage5, self.stage6):
            maps.append(stage(functional.max_pool2d(maps[-1], 2, 2, ceil_mode=True)))
        x = maps.pop()
        for stage in (self.stage5d, self.stage4d, self.stage3d, self.stage2d, self.stage1d):
            partner = maps.pop()
            x = stage(torch.cat((resize(x, partner), partner), 1))
        return MattingOutput(logits=resize(self.get_submodule("side1")(x), pixel_values))
