"""The subject's own colours along soft edges, where a photograph shows a mix of two."""

from __future__ import annotations

import cv2
import numpy as np

_WORKING_SIDE = 512  # pixels; the estimate is smooth, the full-size step brings back the detail
_ITERATIONS = 8  # a level
_SMOOTHNESS = 1e-5
_GRADIENT_WEIGHT = 1.0


def refine_foreground(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Estimates the subject's colours, so that no old background shines through soft pixels.

    Solves for foreground F and background B with I = alpha F + (1 - alpha) B, both smooth where
    alpha is, from coarse levels to fine ones (multi-level estimation: Germer, Uelwer, Conrad and
    Harmeling, ICPR 2020) at up to 512 pixels, by Jacobi's method; then takes F at full size one
    step towards what that equation says of each soft pixel.

    Args:
      rgb: uint8, shape (H, W, 3).
      alpha: uint8, shape (H, W), 0 (background) to 255 (subject).

    Returns:
      uint8, shape (H, W, 3). Opaque and fully transparent pixels are unchanged.

    Raises:
      ValueError: the two differ in height or width.
    """
    if rgb.shape[:2] != alpha.shape:
        raise ValueError(f"rgb is {rgb.shape[:2]} and alpha {alpha.shape}: give both in one size")
    soft = np.flatnonzero((alpha > 0) & (alpha < 255))
    if not soft.size:
        return rgb
    height, width = alpha.shape
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    subject, ground = _estimate(
        cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255,
        cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255,
    )
    subject = _sampled(subject, soft, width, height)
    ground = _sampled(ground, soft, width, height)
    share = (alpha.reshape(-1)[soft].astype(np.float32) / 255)[:, None]
    seen = rgb.reshape(-1, 3)[soft].astype(np.float32) / 255
    missing = seen - share * subject - (1 - share) * ground
    subject += share * missing / (share**2 + (1 - share) ** 2)
    refined = rgb.copy()
    refined.reshape(-1, 3)[soft] = np.rint(np.clip(subject, 0, 1) * 255)
    return refined


def _estimate(image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates foreground and background, float32 (h, w, 3), from coarse to fine."""
    height, width = alpha.shape
    subject = np.full((1, 1, 3), image[alpha > 0.9].mean(0) if np.any(alpha > 0.9) else 0.5)
    ground = np.full((1, 1, 3), image[alpha < 0.1].mean(0) if np.any(alpha < 0.1) else 0.5)
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    for level in range(levels + 1):
        share = level / levels
        size = (max(1, round(width**share)), max(1, round(height**share)))
        subject = cv2.resize(subject.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
        ground = cv2.resize(ground.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        matte = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        subject, ground = _smoothed(small, matte, subject, ground)
    return subject, ground


def _smoothed(
    image: np.ndarray, alpha: np.ndarray, subject: np.ndarray, ground: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Runs Jacobi's iterations of one level."""
    neighbours = [_SMOOTHNESS + _GRADIENT_WEIGHT * abs(alpha - near) for near in _around(alpha)]
    weight = sum(neighbours)[..., None]
    weights = [neighbour[..., None] for neighbour in neighbours]
    share, rest = alpha[..., None], 1 - alpha[..., None]
    # The inverse of [[share² + weight, share rest], [share rest, rest² + weight]].
    own, other, mixed = rest**2 + weight, share**2 + weight, -share * rest
    determinant = own * other - mixed**2
    own, other, mixed = own / determinant, other / determinant, mixed / determinant
    for _ in range(_ITERATIONS):
        towards_subject = share * image
        towards_ground = rest * image
        for near, of_subject, of_ground in zip(
            weights, _around(subject), _around(ground), strict=True
        ):
            towards_subject += near * of_subject
            towards_ground += near * of_ground
        subject = np.clip(own * towards_subject + mixed * towards_ground, 0, 1)
        ground = np.clip(mixed * towards_subject + other * towards_ground, 0, 1)
    return subject, ground


def _around(plane: np.ndarray) -> list[np.ndarray]:
    """Gives each pixel's neighbour below, above, right and left; the border repeats itself."""
    framed = cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return [framed[2:, 1:-1], framed[:-2, 1:-1], framed[1:-1, 2:], framed[1:-1, :-2]]


def _sampled(estimate: np.ndarray, soft: np.ndarray, width: int, height: int) -> np.ndarray:
    """Interpolates an estimate at some pixels of the full picture, float32 (len(soft), 3)."""
    row_length = 4096  # cv2.remap takes no more than 32,767 in one line
    padded = np.pad(soft, (0, -len(soft) % row_length), mode="edge").reshape(-1, row_length)
    y, x = np.divmod(padded, width)
    rows, columns = estimate.shape[:2]
    at_x = ((x + 0.5) * (columns / width) - 0.5).astype(np.float32)
    at_y = ((y + 0.5) * (rows / height) - 0.5).astype(np.float32)
    found = cv2.remap(estimate, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[: len(soft)]
