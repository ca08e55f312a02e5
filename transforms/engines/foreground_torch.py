"""The estimate of `transforms.foreground` for a batch of pictures, on the device they are on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..foreground import GRADIENT_WEIGHT, SMOOTHNESS, level_sizes, momenta, working_size


@torch.no_grad()
def refine_foreground_batch(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Estimates the subjects' colours, so that no old background shines through soft pixels.

    Gives what `refine_foreground` gives, up to rounding. Pictures are shrunk, and brought back to
    full size, one by one, so that memory for full-size floats does not grow with the batch.

    Args:
      rgb: uint8, shape (B, H, W, 3).
      alpha: uint8, shape (B, H, W), 0 (background) to 255 (subject), on the same device.

    Returns:
      uint8, shape (B, H, W, 3). Opaque and fully transparent pixels are unchanged.

    Raises:
      ValueError: the two differ in batch, height or width.
    """
    if rgb.shape[:3] != alpha.shape:
        raise ValueError(
            f"rgb is {tuple(rgb.shape[:3])} and alpha {tuple(alpha.shape)}: give both in one size"
        )
    size = tuple(alpha.shape[1:])
    small = working_size(*size)
    images = torch.stack([_shrunk(picture.permute(2, 0, 1), *small) for picture in rgb])
    mattes = torch.stack([_shrunk(matte[None], *small) for matte in alpha])
    subject, ground = _estimate(images.round() / 255, mattes.round() / 255)
    refined = torch.empty_like(rgb)
    for index in range(len(rgb)):
        front = functional.interpolate(subject[index : index + 1], size, mode="bilinear")[0]
        back = functional.interpolate(ground[index : index + 1], size, mode="bilinear")[0]
        share = alpha[index].float() / 255
        missing = rgb[index].permute(2, 0, 1) - 255 * (share * front + (1 - share) * back)
        front = 255 * front + share / (share**2 + (1 - share) ** 2) * missing
        levels = front.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0)
        soft = (alpha[index] > 0) & (alpha[index] < 255)
        refined[index] = torch.where(soft[..., None], levels, rgb[index])
    return refined


def _estimate(image: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates foreground and background from coarse to fine.

    Args:
      image: float32 (B, 3, h, w), 0..1.
      alpha: float32 (B, 1, h, w), 0..1.

    Returns:
      float32 (B, 3, h, w) of each, 0..1.
    """
    subject, ground = _mean(image, alpha), _mean(image, 1 - alpha)
    height, width = alpha.shape[2:]
    for size in level_sizes(height, width):
        subject, ground = _solved(
            _shrunk(image, *size),
            _shrunk(alpha, *size),
            _repeated(subject, *size),
            _repeated(ground, *size),
        )
    return subject, ground


def _mean(image: Tensor, weights: Tensor) -> Tensor:
    """Gives the weighted mean as a picture of one pixel; one half where nothing has weight."""
    total = weights.sum((2, 3), keepdim=True)
    mean = (image * weights).sum((2, 3), keepdim=True) / total
    return torch.where(total > 0, mean, 0.5)


def _solved(image: Tensor, alpha: Tensor, subject: Tensor, ground: Tensor) -> tuple[Tensor, Tensor]:
    """Solves one level's equations; `transforms.foreground` says which."""
    rest = 1 - alpha
    pulls = [SMOOTHNESS + GRADIENT_WEIGHT * (alpha - near).abs() for near in _near(alpha)]
    total = torch.stack(pulls).sum(0)
    weights = [pull / total for pull in pulls]
    stiffness = 1 / (alpha**2 + rest**2 + total)
    before_f, before_b = subject, ground
    for momentum in momenta():
        mean_f, mean_b = _neighbours(subject, weights), _neighbours(ground, weights)
        missing = (image - alpha * mean_f - rest * mean_b) * stiffness
        mean_f.addcmul_(alpha, missing)
        mean_b.addcmul_(rest, missing)
        before_f, subject = subject, torch.lerp(before_f, mean_f, momentum).clamp_(0, 1)
        before_b, ground = ground, torch.lerp(before_b, mean_b, momentum).clamp_(0, 1)
    return subject, ground


def _neighbours(plane: Tensor, weights: list[Tensor]) -> Tensor:
    total = torch.zeros_like(plane)
    for weight, near in zip(weights, _near(plane), strict=True):
        total.addcmul_(weight, near)
    return total


def _near(plane: Tensor) -> list[Tensor]:
    """Gives each pixel's neighbour below, above, right and left; the border repeats itself."""
    framed = functional.pad(plane, (1, 1, 1, 1), mode="replicate")
    return [
        framed[..., 2:, 1:-1],
        framed[..., :-2, 1:-1],
        framed[..., 1:-1, 2:],
        framed[..., 1:-1, :-2],
    ]


def _repeated(planes: Tensor, height: int, width: int) -> Tensor:
    """Enlarges (…, h, w) to (…, height, width) by repeating pixels."""
    rows, columns = (
        torch.arange(wanted, device=planes.device) * had // wanted
        for wanted, had in zip((height, width), planes.shape[-2:], strict=True)
    )
    return planes[..., rows, :][..., columns]


def _shrunk(planes: Tensor, height: int, width: int) -> Tensor:
    """Shrinks (…, h, w) to (…, height, width) by pixel areas, parts of pixels too; float32."""
    return _shrunk_last(_shrunk_last(planes, width).transpose(-1, -2), height).transpose(-1, -2)


def _shrunk_last(planes: Tensor, wanted: int) -> Tensor:
    """Averages the last axis over `wanted` equal stretches, out of the differences of its sum."""
    length = planes.shape[-1]
    if wanted == length:
        return planes.float()
    summed = functional.pad(planes.cumsum(-1, dtype=torch.float32), (1, 0))
    edges = torch.arange(wanted + 1, device=planes.device) * length
    whole, part = edges // wanted, (edges % wanted).float() / wanted
    lower, upper = summed[..., whole], summed[..., (whole + 1).clamp(max=length)]
    return torch.lerp(lower, upper, part).diff(dim=-1) * (wanted / length)
