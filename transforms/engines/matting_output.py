"""What a matting network returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.utils.generic import ModelOutput


@dataclass
class MattingOutput(ModelOutput):
    """What the network says.

    Attributes:
      logits: shape (B, 1, H, W); their sigmoid is the probability of foreground.
    """

    logits: Tensor | None = None
