"""How far one matte is from another, pixel by pixel: SAD, MSE, gradient and connectivity.

The last two follow C. Rhemann, C. Rother, J. Wang, M. Gelautz, P. Kohli, P. Rott: A Perceptually
Motivated Online Benchmark for Image Matting, CVPR 2009, with the constants of the benchmark at
alphamatting.com. There is no trimap here: every sum and mean goes over the whole picture.

Mattes are uint8, shape (H, W), 0 (background) to 255 (subject); alpha is level / 255.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

_SIGMA = 1.4  # of the Gaussian whose derivatives give the gradient
_CUT = 0.01  # where the Gaussian has fallen this low, its kernel ends
_STEPS = 10  # thresholds of connectivity: 0.1, 0.2, …, 1.0
_LEAST = 0.15  # distances from the connected part that are smaller count as none
_UNIT = 510  # of which levels and thresholds are whole multiples


def mean_absolute_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Gives the mean of |a - t| over the pixels, 0..1."""
    return cv2.norm(predicted, truth, cv2.NORM_L1) / (255 * truth.size)


def sum_of_absolute_differences(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Gives the sum of |a - t| over the pixels, in thousands of pixels."""
    return cv2.norm(predicted, truth, cv2.NORM_L1) / 255 / 1000


def mean_squared_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Gives the mean of (a - t)² over the pixels, 0..1."""
    counts = np.bincount(cv2.absdiff(predicted, truth).reshape(-1), minlength=256)
    return int(counts @ np.arange(256) ** 2) / (255**2 * truth.size)


def gradient_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Gives the sum of (|grad a| - |grad t|)² over the pixels, in thousands.

    The gradient's parts are convolutions with the first derivatives of a Gaussian of deviation 1.4
    pixels, on 9 × 9 kernels of unit energy (their squares add up to 1). Beyond the border the
    nearest pixel goes on.
    """
    difference = _gradient(predicted) - _gradient(truth)
    return float(np.square(difference).sum(dtype=np.float64)) / 1000


def _gradient(levels: np.ndarray) -> np.ndarray:
    """Gives the gradient's length in every pixel, float32, shape (H, W)."""
    alpha = np.multiply(levels, 1 / 255, dtype=np.float32)
    along_x = _smoothed(_sloped(alpha, axis=1), axis=0)
    along_y = _sloped(_smoothed(alpha, axis=1), axis=0)
    return np.sqrt(np.square(along_x) + np.square(along_y))


# By sums of shifted pictures: OpenCV's filters give the same pixels another last bit now and then.


def _smoothed(picture: np.ndarray, axis: int) -> np.ndarray:
    """Filters along an axis with a Gaussian of unit energy."""
    offsets, gauss = _gaussian()
    weights = (gauss / np.linalg.norm(gauss)).astype(np.float32)
    shifted = _shifts(picture, offsets[-1], axis)
    result = shifted(0) * weights[offsets == 0]
    for offset in range(1, offsets[-1] + 1):
        result += (shifted(offset) + shifted(-offset)) * weights[offsets == offset]
    return result


def _sloped(picture: np.ndarray, axis: int) -> np.ndarray:
    """Filters along an axis with a Gaussian's derivative of unit energy; its sign is left open."""
    offsets, gauss = _gaussian()
    weights = (offsets * gauss / np.linalg.norm(offsets * gauss)).astype(np.float32)
    shifted = _shifts(picture, offsets[-1], axis)
    result = np.zeros_like(picture)
    for offset in range(1, offsets[-1] + 1):
        result += (shifted(offset) - shifted(-offset)) * weights[offsets == offset]
    return result


def _gaussian() -> tuple[np.ndarray, np.ndarray]:
    """Gives offsets from -4 to 4 and the Gaussian there."""
    reach = math.ceil(_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * _SIGMA * _CUT)))
    offsets = np.arange(-reach, reach + 1)
    return offsets, np.exp(-(offsets**2) / (2 * _SIGMA**2))


def _shifts(picture: np.ndarray, reach: int, axis: int) -> Callable[[int], np.ndarray]:
    """Gives views of a picture, shifted along an axis; its border goes on beyond it."""
    size = picture.shape[axis]
    padded = np.pad(picture, [(reach, reach) if axis == i else (0, 0) for i in (0, 1)], mode="edge")
    if axis == 0:
        return lambda offset: padded[reach + offset : reach + offset + size]
    return lambda offset: padded[:, reach + offset : reach + offset + size]


def connectivity_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Gives the sum of |phi(a) - phi(t)| over the pixels, in thousands.

    For the thresholds 0.1, 0.2, …, 1.0 let Omega be the largest 4-connected region in which both
    mattes reach the threshold (of several as large, the first in reading order). A pixel's l is the
    last threshold before the first whose Omega leaves it out, 0 if that is the very first. With
    d = alpha - l, phi is 1 - d where d >= 0.15, else 1: what stands out from the connected part
    counts, whether it is a detached piece or a hole in the other matte.
    """
    both = cv2.min(predicted, truth)
    counts = np.bincount(both.reshape(-1), minlength=256)
    connected = np.ones(both.shape, np.bool_)
    steps = np.zeros(both.shape, np.uint16)  # how many thresholds a pixel stays connected
    before = 0
    for step in range(1, _STEPS + 1):
        level = math.ceil(255 * step / _STEPS)
        if step == 1 or counts[before:level].any():  # else this Omega is the last one
            reached = cv2.threshold(both, level - 1, 255, cv2.THRESH_BINARY)[1]
            connected &= _largest_component(reached)
        steps += connected
        before = level
    distances = _distances()
    steps *= 256
    one, other = distances.take(steps + predicted), distances.take(steps + truth)
    return cv2.norm(one, other, cv2.NORM_L1) / _UNIT / 1000


def _largest_component(mask: np.ndarray) -> np.ndarray:
    """Finds the largest 4-connected component of a mask, as booleans; none of an empty mask."""
    count, labels = cv2.connectedComponents(mask, connectivity=4)
    if count == 1:
        return np.zeros(mask.shape, np.bool_)
    sizes = np.bincount(labels.reshape(-1), minlength=count)
    return labels == 1 + int(np.argmax(sizes[1:]))


def _distances() -> np.ndarray:
    """Tabulates d in 510ths, 0 where it is below 0.15: int16, by 256 * steps + level."""
    levels, steps = np.arange(256), np.arange(_STEPS + 1)[:, None]
    distances = levels * (_UNIT // 255) - steps * (_UNIT // _STEPS)
    return np.where(distances >= _LEAST * _UNIT, distances, 0).astype(np.int16).reshape(-1)
