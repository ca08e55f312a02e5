"""The subject's own colours along soft edges, where a photograph shows a mix of two."""

from __future__ import annotations

import math

import cv2
import numpy as np

ITERATIONS = 5  # of Jacobi's method, at every level
SMOOTHNESS = 1e-5  # the pull of neighbours on each other, everywhere …
GRADIENT_WEIGHT = 1.0  # … and for each unit of alpha between them

_WORKING_SIDE = 512  # pixels; the estimate is smooth, the full-size step brings back the detail
_SPECTRAL_RADIUS = 0.95  # of Jacobi's method, as its acceleration takes it; found by trying
_STRIP = 1 << 18  # pixels taken to full size in one go: scratch stays small
_LINE = 4096  # cv2.remap takes no more than 32,767 in one line


def refine_foreground(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Estimates the subject's colours, so that no old background shines through soft pixels.

    Looks for foreground F and background B with I = alpha F + (1 - alpha) B that change little
    where alpha changes, from coarse levels to fine ones (Germer, Uelwer, Conrad and Harmeling,
    Fast Multi-Level Foreground Estimation, ICPR 2020), at up to 512 pixels; then moves F and B at
    full size by the least that makes the equation hold at each soft pixel.

    Args:
      rgb: uint8, shape (H, W, 3).
      alpha: uint8, shape (H, W), 0 (background) to 255 (subject).

    Returns:
      uint8, shape (H, W, 3). Opaque and fully transparent pixels are unchanged; `rgb` itself
      where no pixel is soft.

    Raises:
      ValueError: the two differ in height or width.
    """
    if rgb.shape[:2] != alpha.shape:
        raise ValueError(f"rgb is {rgb.shape[:2]} and alpha {alpha.shape}: give both in one size")
    soft = (alpha > 0) & (alpha < 255)
    if not soft.any():
        return rgb
    height, width = alpha.shape
    high, wide = working_size(height, width)
    subject, ground = _estimate(_shrunk(rgb, high, wide), _shrunk(alpha, high, wide))
    refined = rgb.copy()
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        rows = slice(top, top + step)
        y, x = np.nonzero(soft[rows])
        if not y.size:
            continue
        at_x = (x + 0.5) * (wide / width) - 0.5
        at_y = (y + top + 0.5) * (high / height) - 0.5
        front, back = _sampled(subject, at_x, at_y), _sampled(ground, at_x, at_y)
        share = alpha[rows][y, x, None].astype(np.float32) / 255
        missing = rgb[rows][y, x] - 255 * (share * front + (1 - share) * back)
        front = 255 * front + share * missing / (share**2 + (1 - share) ** 2)
        refined[rows][y, x] = np.rint(np.clip(front, 0, 255))
    return refined


def working_size(height: int, width: int) -> tuple[int, int]:
    """Gives the height and width at which a picture's colours are estimated."""
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Gives every level's height and width: 1 x 1, then about double, up to the size given."""
    levels = max(1, math.ceil(math.log2(max(height, width))))
    return [
        (max(1, round(height ** (level / levels))), max(1, round(width ** (level / levels))))
        for level in range(levels + 1)
    ]


def momenta() -> list[float]:
    """Gives the factor of every iteration's step (Golub and Van Loan, Matrix Computations).

    The Chebyshev semi-iterative method: from the last but one estimate, past Jacobi's next one.
    """
    factors = [1.0, 2 / (2 - _SPECTRAL_RADIUS**2)]
    while len(factors) < ITERATIONS:
        factors.append(4 / (4 - _SPECTRAL_RADIUS**2 * factors[-1]))
    return factors


def _shrunk(levels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Shrinks uint8 levels by area to float32 of 0..1."""
    small = cv2.resize(levels, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _estimate(image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates foreground and background from coarse to fine.

    Args:
      image: float32 (h, w, 3), 0..1.
      alpha: float32 (h, w), 0..1.

    Returns:
      float32 (h, w, 3) of each, 0..1.
    """
    planes = cv2.split(image)
    subject = [_mean(plane, alpha) for plane in planes]
    ground = [_mean(plane, 1 - alpha) for plane in planes]
    for height, width in level_sizes(*alpha.shape):
        matte = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
        level = _Level(matte)
        for channel, plane in enumerate(planes):
            small = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
            subject[channel], ground[channel] = level.solve(
                small,
                cv2.resize(subject[channel], (width, height), interpolation=cv2.INTER_NEAREST),
                cv2.resize(ground[channel], (width, height), interpolation=cv2.INTER_NEAREST),
            )
    return cv2.merge(subject), cv2.merge(ground)


def _mean(plane: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gives the weighted mean as a picture of one pixel; one half where nothing has weight."""
    total = float(weights.sum())
    return np.full((1, 1), float((plane * weights).sum()) / total if total else 0.5, np.float32)


class _Level:
    """The equations of one level; its channels share everything but the colours.

    Foreground F and background B are sought near the means f and b of their neighbours, weighted
    by the change of alpha, such that alpha F + rest B = I, with rest = 1 - alpha. Least squares
    give F = f + alpha e and B = b + rest e; e = (I - alpha f - rest b) / (alpha² + rest² + s),
    where s is the neighbours' whole weight.
    """

    def __init__(self, alpha: np.ndarray) -> None:
        self._alpha, self._rest = alpha, 1 - alpha
        pulls = [
            SMOOTHNESS + GRADIENT_WEIGHT * np.abs(alpha - near) for near in _near(_framed(alpha))
        ]
        total = sum(pulls)
        self._weights = [pull / total for pull in pulls]
        self._stiffness = 1 / (alpha**2 + self._rest**2 + total)

    def solve(
        self, image: np.ndarray, subject: np.ndarray, ground: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Improves one channel's foreground and background, float32 (h, w) each."""
        before_f, before_b = subject, ground
        for momentum in momenta():
            mean_f, mean_b = self._neighbours(subject), self._neighbours(ground)
            missing = image - self._alpha * mean_f
            missing -= self._rest * mean_b
            missing *= self._stiffness
            mean_f += self._alpha * missing
            mean_b += self._rest * missing
            before_f, subject = subject, _moved(before_f, mean_f, momentum)
            before_b, ground = ground, _moved(before_b, mean_b, momentum)
        return subject, ground

    def _neighbours(self, plane: np.ndarray) -> np.ndarray:
        total, term = np.zeros_like(plane), np.empty_like(plane)
        for weight, near in zip(self._weights, _near(_framed(plane)), strict=True):
            total += np.multiply(weight, near, out=term)
        return total


def _moved(start: np.ndarray, end: np.ndarray, factor: float) -> np.ndarray:
    """Goes from start towards end, in place of end, and keeps colours within 0..1."""
    end -= start
    end *= factor
    end += start
    return np.clip(end, 0, 1, out=end)


def _framed(plane: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REPLICATE)


def _near(framed: np.ndarray) -> list[np.ndarray]:
    """Gives each pixel's neighbour below, above, right and left."""
    return [framed[2:, 1:-1], framed[:-2, 1:-1], framed[1:-1, 2:], framed[1:-1, :-2]]


def _sampled(estimate: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolates an estimate (h, w, 3) at n places, in its own pixels; float32 (n, 3)."""
    lines = -(-len(x) // _LINE)
    places = np.zeros((2, lines * _LINE), np.float32)
    places[0, : len(x)], places[1, : len(y)] = x, y
    at_x, at_y = places.reshape(2, lines, _LINE)
    found = cv2.remap(estimate, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[: len(x)]
