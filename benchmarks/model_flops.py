"""How many operations a fused BiRefNet takes, counted from its shapes."""

from __future__ import annotations

from collections.abc import Sequence


def swin_flops(height: int, width: int, channels: int, depths: Sequence[int], window: int) -> float:
    """Counts a backbone pass over a picture: linear layers on real tokens, attention on windows."""
    height, width = height // 4, width // 4
    total = 2.0 * height * width * channels * 3 * 16
    for stage, depth in enumerate(depths):
        tokens = height * width
        padded = -(-height // window) * -(-width // window) * window**2
        total += depth * (24.0 * tokens * channels**2 + 4.0 * padded * window**2 * channels)
        if stage < len(depths) - 1:
            height, width = -(-height // 2), -(-width // 2)
            total += 2.0 * height * width * 4 * channels * 2 * channels
            channels *= 2
    return total


def model_flops(
    height: int, width: int, channels: int, depths: Sequence[int], window: int
) -> float:
    """Counts multiplications and additions for one picture.

    Args:
      height, width: of the picture.
      channels, depths, window: of the backbone, as in `BiRefNetConfig`.

    Returns:
      Operations of matrix products and convolutions, after the simplifications of `fuse`; resizes,
      norms and the sampling itself are left out.
    """

    def conv(scale: int, inputs: int, outputs: int, kernel: int) -> float:
        return 2.0 * (height // scale) * (width // scale) * inputs * outputs * kernel**2

    def block(scale: int, inputs: int, outputs: int) -> float:
        readings = conv(scale, 64, 33, 3) + conv(scale, 64, 147, 7)
        branches = sum(conv(scale, 64, 256, kernel) for kernel in (1, 1, 3, 7))
        mixing = 4 * conv(scale, 256, 64, 1)
        ends = conv(scale, inputs, 64, 3) + conv(scale, 64, outputs, 3)
        return readings + branches + mixing + ends

    d1, d2, d3, d4 = (2 * channels << i for i in range(4))
    total = swin_flops(height, width, channels, depths, window)
    total += swin_flops(height // 2, width // 2, channels, depths, window)
    total += block(32, 30 * channels, d4) + block(32, d4 + d4 // 8, d3)
    total += block(16, d3 + d4 // 8, d2) + block(8, d2 + d3 // 8, d1) + block(4, d1 + d2 // 8, 1)
    for scale, width_in, seen in ((32, d3, d4), (16, d3, d4), (8, d2, d3), (4, d1, d2)):
        total += conv(scale, 3 * scale**2, 64, 3) + conv(scale, 64, seen // 8, 3)
        if scale < 32:
            total += conv(scale, width_in, width_in, 1)
    for scale, width_in in ((32, d3), (16, d2), (8, d1)):
        total += conv(scale, width_in, 16, 3)
    return total + conv(1, 3, 1, 5)
