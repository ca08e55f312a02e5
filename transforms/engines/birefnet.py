"""BiRefNet and RMBG-2.0: a picture in, logits of its foreground out.

Zheng et al., "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", 2024. One
network serves all published checkpoints. They differ in the backbone's width, which the weights
show, and in the order of image tiles on channels, which nothing in the file shows.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from .birefnet_decoder import PATCH_ORDERS, Decoder, DecoderBlock, resize, size_of
from .birefnet_fuse import FusedBlock, fuse_backbone, fuse_decoder
from .matting_output import MattingOutput
from .published import PublishedModel
from .swin import SwinTransformer
from .weights import Access, locate_file

STRIDE = 32
"""Both sides of the input are multiples of this: the deepest map has one place for 32×32 pixels."""


class BiRefNetConfig(PretrainedConfig):
    """What distinguishes one BiRefNet from another; the default is Swin-L, as in RMBG-2.0.

    Args:
      embed_dim: channels of the backbone's first stage.
      depths: blocks of its four stages.
      num_heads: attention heads of its four stages.
      window: side of its attention windows, tokens.
      patch_order: `rmbg2` or `birefnet`, see `birefnet_decoder.stack_patches`.
    """

    model_type = "alphabeam_birefnet"

    def __init__(
        self,
        embed_dim: int = 192,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (6, 12, 24, 48),
        window: int = 12,
        patch_order: str = "rmbg2",
        **kwargs: Any,
    ) -> None:
        if patch_order not in PATCH_ORDERS:
            raise ValueError(
                f"patch_order is {patch_order!r}; it can be {' or '.join(map(repr, PATCH_ORDERS))}"
            )
        self.embed_dim = embed_dim
        self.depths = list(depths)
        self.num_heads = list(num_heads)
        self.window = window
        self.patch_order = patch_order
        super().__init__(**kwargs)

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]], patch_order: str) -> BiRefNetConfig:
        """Reads the backbone off the shapes of a checkpoint's tensors.

        Args:
          shapes: parameter name to shape.
          patch_order: `rmbg2` or `birefnet`.

        Raises:
          ValueError: a parameter that shows the backbone is not there, or has no such shape.
        """
        depths = [_block_count(shapes, stage) for stage in range(4)]
        tables = [
            _shape(shapes, f"bb.layers.{stage}.blocks.0.attn.relative_position_bias_table", 2)
            for stage in range(4)
        ]
        return cls(
            embed_dim=_shape(shapes, "bb.patch_embed.proj.weight", 4)[0],
            depths=depths,
            num_heads=[table[1] for table in tables],
            window=(round(tables[0][0] ** 0.5) + 1) // 2,
            patch_order=patch_order,
        )


def _block_count(shapes: Mapping[str, Sequence[int]], stage: int) -> int:
    """Counts the blocks of one stage of the backbone."""
    start = f"bb.layers.{stage}.blocks."
    return len({name[len(start) :].split(".")[0] for name in shapes if name.startswith(start)})


def _shape(shapes: Mapping[str, Sequence[int]], name: str, axes: int) -> Sequence[int]:
    """Looks up a parameter that has so many axes, none of them empty."""
    if name not in shapes:
        raise ValueError(f"these are not the weights of a BiRefNet: {name} is missing")
    shape = shapes[name]
    if len(shape) != axes or 0 in shape:
        raise ValueError(f"these are not the weights of a BiRefNet: {name} is {list(shape)}")
    return shape


class BiRefNet(PublishedModel):
    """The network."""

    config_class = BiRefNetConfig

    def __init__(self, config: BiRefNetConfig) -> None:
        super().__init__(config)
        width = config.embed_dim
        self.bb = SwinTransformer(width, config.depths, config.num_heads, config.window)
        self.squeeze_module = nn.Sequential(DecoderBlock(30 * width, 16 * width))
        self.decoder = Decoder(width, config.patch_order)
        self.post_init()
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        patch_order: str | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: object = None,
        **access: Any,
    ) -> BiRefNet:
        """Loads published or saved weights; in float32, on the CPU, unless told otherwise.

        The backbone follows from the shapes in `model.safetensors`. Of `config.json` only a
        `patch_order` counts, which `save_pretrained` writes; no code is run from the repository.

        Args:
          name_or_path: a folder with `config.json` and `model.safetensors`, or a hub id.
          patch_order: `rmbg2` for RMBG-2.0, `birefnet` for the ZhengPeng7 checkpoints; None takes
            it from `config.json`.
          dtype, torch_dtype, device_map: as in `published.PublishedModel.load_published`.
          access: `revision`, `token` and so on, as in `weights.Access`.

        Raises:
          ValueError: the names or shapes are not exactly those of the network, or the patch order
            is not known.
          OSError: the files cannot be had.
        """
        hub = Access(**access)
        if patch_order is None:
            said = locate_file(name_or_path, "config.json", hub)
            settings, _ = PretrainedConfig.get_config_dict(said)
            patch_order = settings.get("patch_order")
            if patch_order is None:
                raise ValueError(
                    f"config.json of {name_or_path} names no patch_order: give 'rmbg2' for RMBG-2.0"
                    " or 'birefnet' for a ZhengPeng7 checkpoint"
                )
        make_config = functools.partial(BiRefNetConfig.from_shapes, patch_order=patch_order)
        return cls.load_published(name_or_path, hub, make_config, dtype or torch_dtype, device_map)

    def fuse(self) -> BiRefNet:
        """Rewrites the layers, in place, into the fewest that compute the same; returns itself.

        Parameters lose their published names, so this comes after saving.
        """
        if not self.fused:
            dtype = self.dtype
            fuse_backbone(self.bb)
            self.squeeze_module = nn.Sequential(
                *(FusedBlock(cast(DecoderBlock, block)) for block in self.squeeze_module)
            )
            fuse_decoder(self.decoder)
            self.to(dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            self.fused = True
        return self

    def encode(self, pixel_values: Tensor) -> list[Tensor]:
        """Gives x1 to x4: the backbone's maps of the picture at full and half size, joined.

        Args:
          pixel_values: shape (B, 3, H, W).

        Returns:
          Maps at 1/4 to 1/32 of the picture's size; the last has seen all the others.
        """
        height, width = size_of(pixel_values)
        whole = self.bb(pixel_values)
        half = self.bb(resize(pixel_values, (height // 2, width // 2)))
        x1, x2, x3, x4 = (
            torch.cat((f, resize(g, size_of(f))), 1) for f, g in zip(whole, half, strict=True)
        )
        context = torch.cat((*(resize(x, size_of(x4)) for x in (x1, x2, x3)), x4), 1)
        return [x1, x2, x3, self.squeeze_module(context)]

    @torch.no_grad()
    def forward(self, pixel_values: Tensor) -> MattingOutput:
        """Finds the foreground.

        Computes in the weights' number type, within `torch.autocast` as well: the places that the
        deformable convolutions read from need more digits than 16 bits have.

        Args:
          pixel_values: shape (B, 3, H, W), H and W multiples of 32: RGB in 0..1, less the ImageNet
            mean, divided by the ImageNet deviation.

        Raises:
          ValueError: the shape is another.
        """
        _check_shape(pixel_values)
        if torch.is_autocast_enabled(pixel_values.device.type):
            with torch.autocast(pixel_values.device.type, enabled=False):
                return self(pixel_values.to(self.dtype))
        image = pixel_values.contiguous(memory_format=torch.channels_last)
        return MattingOutput(logits=self.decoder(image, self.encode(image)))


def _check_shape(pixel_values: Tensor) -> None:
    """Refuses what the network cannot take."""
    shape = tuple(pixel_values.shape)
    if len(shape) != 4 or shape[1] != 3:
        raise ValueError(f"pixel_values has shape {shape}; it must be (batch, 3, height, width)")
    if any(side % STRIDE or not side for side in shape[2:]):
        raise ValueError(
            f"pixel_values is {shape[2]} high and {shape[3]} wide;"
            f" both must be multiples of {STRIDE}"
        )
