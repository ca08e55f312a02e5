"""Swin Transformer (v1) as an image backbone: four feature maps from a picture of any size.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", 2021.
Parameter names are those of the published BiRefNet checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .window_attention import CPU_CHUNK, relative_position_index, window_attention


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias by relative position.

    Args:
      channels: C.
      heads: attention heads, C / heads features each.
      window: side of a window, tokens.
      shift: how far the windows are shifted, tokens.
    """

    relative_position_bias_table: nn.Parameter
    relative_position_index: Tensor
    position_bias: Tensor | None

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        table = torch.empty((2 * window - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.register_buffer("position_bias", None, persistent=False)

    def fuse(self) -> None:
        """Keeps the spread-out bias instead of the table."""
        self.position_bias = self.lookup_position_bias()
        del self.relative_position_bias_table, self.relative_position_index

    def lookup_position_bias(self) -> Tensor:
        """Spreads the table over all pairs of places.

        Returns:
          Shape (heads, window², window² rounded up to a multiple of 8); the filling is zero.
        """
        pairs = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        return functional.pad(pairs, (0, -pairs.shape[-1] % 8))

    def forward(self, x: Tensor) -> Tensor:
        """Maps normalised tokens (B, H, W, C) to their update, same shape."""
        bias = self.lookup_position_bias() if self.position_bias is None else self.position_bias
        return window_attention(
            x,
            self.qkv.weight,
            self.qkv.bias,
            self.proj.weight,
            self.proj.bias,
            bias,
            self.window,
            self.shift,
        )


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between, four times as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape; on a CPU in steps whose inside fits the cache."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return self.fc2(functional.gelu(self.fc1(x)))
        rows = x.reshape(-1, x.shape[-1])
        result = torch.empty_like(rows)
        step = max(1, CPU_CHUNK // self.fc1.out_features)
        for some, out in zip(rows.split(step), result.split(step), strict=True):
            inner = functional.gelu(self.fc1(some))
            torch.addmm(self.fc2.bias, inner, self.fc2.weight.t(), out=out)
        return result.view_as(x)


class SwinBlock(nn.Module):
    """Window attention and MLP, each after a LayerNorm and added to what came in."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, shift)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (B, H, W, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Halves a token map and doubles its channels: (B, H, W, C) to (B, ⌈H/2⌉, ⌈W/2⌉, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Stacks each 2×2 cell's tokens, the left column first, and reduces them."""
        height, width = x.shape[1:3]
        x = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        cells = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        return self.reduction(self.norm(cells.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class PatchEmbed(nn.Module):
    """Turns each 4×4 patch of the picture into a token."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Maps (B, 3, H, W), sides multiples of 4, to tokens (B, H/4, W/4, C)."""
        return self.norm(self.proj(image).permute(0, 2, 3, 1).contiguous())


class SwinStage(nn.Module):
    """Blocks at one resolution, odd ones with windows shifted by half a window.

    The way down to the next stage, `downsample`, is kept here and called by the backbone.
    """

    def __init__(
        self, channels: int, depth: int, heads: int, window: int, downsample: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window, shift=window // 2 if index % 2 else 0)
            for index in range(depth)
        )
        if downsample:
            self.downsample = PatchMerging(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (B, H, W, C) to the same shape."""
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class SwinTransformer(nn.Module):
    """The backbone.

    Args:
      embed_dim: channels C of the first stage; stage i has C·2^i.
      depths: blocks of each of the four stages.
      num_heads: attention heads of each stage.
      window: side of the attention windows, tokens.
    """

    def __init__(
        self, embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window: int
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(embed_dim)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            SwinStage(embed_dim << i, depth, heads, window, downsample=i < last)
            for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True))
        )
        for i in range(len(depths)):
            self.add_module(f"norm{i}", nn.LayerNorm(embed_dim << i))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Gives one feature map a stage, at 1/4, 1/8, 1/16 and 1/32 of the picture's size.

        Args:
          image: shape (B, 3, H, W), sides multiples of 4.

        Returns:
          Shapes (B, C·2^i, ⌈H/2^(i+2)⌉, ⌈W/2^(i+2)⌉), in channels-last memory.
        """
        tokens = self.patch_embed(image)
        features = []
        for i, stage in enumerate(self.layers):
            tokens = stage(tokens)
            features.append(self.get_submodule(f"norm{i}")(tokens).permute(0, 3, 1, 2))
            if hasattr(stage, "downsample"):
                tokens = stage.get_submodule("downsample")(tokens)
        return features
