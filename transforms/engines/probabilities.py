"""From a network's logits to probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Probabilities(nn.Module):
    """A network whose output has `logits`, giving float32 probabilities instead.

    Where a logit is not finite the probability is NaN, so that an overflow never passes for
    certainty.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Maps (B, 3, H, W) to (B, 1, h, w)."""
        logits = self.network(pixel_values).logits.float()
        return torch.where(logits.isfinite(), logits.sigmoid(), torch.nan)
