"""BiRefNet and RMBG-2.0 as engines."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .contract import EngineUnusable
from .model_files import ModelFiles, is_folder, read_config
from .preprocessing import IMAGENET_BICUBIC, Preprocessing, multiple_of
from .torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import nn

PATCH_ORDERS = ("rmbg2", "birefnet")


@dataclass(kw_only=True)
class BiRefNetEngine(TorchEngine):
    """BiRefNet (Zheng et al., 2024) at a fixed working size.

    Attributes:
      patch_order: `rmbg2` or `birefnet`: how the network was trained to see a picture's tiles,
        which the weights do not show. None for what the model's config.json says, and where it
        says nothing for what the engine's name stands for.
    """

    patch_order: str | None = None

    stride: ClassVar[int] = 32
    usual_order: ClassVar[str] = "birefnet"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_order not in (None, *PATCH_ORDERS):
            raise ValueError(
                f"--patch_order {self.patch_order}: it can be {' or '.join(PATCH_ORDERS)}"
            )

    def settings(self) -> dict[str, Any]:
        """Gives the options that decide what the mattes are."""
        return {**super().settings(), "patch_order": self._order()}

    def network(self, files: ModelFiles) -> nn.Module:
        """Loads the network from published or saved weights."""
        from .birefnet import BiRefNet
        from .probabilities import Probabilities

        network = BiRefNet.from_pretrained(files.folder, patch_order=self._order())
        return Probabilities(network.fuse())

    def _order(self) -> str:
        if self.patch_order is not None:
            return self.patch_order
        if os.path.isabs(self.model) and not is_folder(self.model):
            raise EngineUnusable(
                f"--model {self.model} is no folder of this machine, so its config.json cannot say "
                f"the patch order: give --patch_order {' or '.join(PATCH_ORDERS)}"
            )
        order = read_config(self.model, self.revision).get("patch_order", self.usual_order)
        if order not in PATCH_ORDERS:
            raise EngineUnusable(
                f"--model {self.model}: its config.json says patch_order {order!r}, which can be "
                f"{' or '.join(PATCH_ORDERS)}; --patch_order overrules it"
            )
        return order


@dataclass(kw_only=True)
class RMBG2Engine(BiRefNetEngine):
    """RMBG-2.0: BiRefNet trained by BRIA, in the tile order of its own code."""

    usual_order: ClassVar[str] = "rmbg2"


@dataclass(kw_only=True)
class DynamicBiRefNetEngine(BiRefNetEngine):
    """BiRefNet at each picture's own size, each side rounded down to a multiple of 32.

    Pictures whose longer side exceeds `resolution` are shrunk to it.
    """

    preprocessing: Preprocessing = field(default=IMAGENET_BICUBIC, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile:
            raise ValueError("--compile needs one working size: use a BiRefNet that has one")

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Gives height and width of what the network sees of a picture."""
        shrink = max(1.0, max(height, width) / self.usual_size()[0])
        return (
            multiple_of(round(height / shrink), self.stride),
            multiple_of(round(width / shrink), self.stride),
        )
