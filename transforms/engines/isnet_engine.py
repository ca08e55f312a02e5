"""RMBG-1.4 and IS-Net as engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .model_files import ModelFiles
from .preprocessing import CENTRED, Preprocessing
from .torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import nn


@dataclass(kw_only=True)
class ISNetEngine(TorchEngine):
    """IS-Net (Qin et al., 2022), the network of RMBG-1.4."""

    preprocessing: Preprocessing = field(default=CENTRED, init=False, repr=False)

    def network(self, files: ModelFiles) -> nn.Module:
        """Loads the network from published or saved weights."""
        from .isnet import ISNet
        from .probabilities import Probabilities

        return Probabilities(ISNet.from_pretrained(files.folder).fuse())
