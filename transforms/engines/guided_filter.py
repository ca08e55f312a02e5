"""Gives a coarse mask the picture's own edges: the colour guided filter."""

from __future__ import annotations

import cv2
import numpy as np

_RADIUS = 6  # of the square window, pixels of the small picture
_EPSILON = 1e-4  # colours of 0..1, squared: variation below its root counts as flat
_STRIP = 1 << 16  # full-size pixels worked on at once, few enough to stay in a core's cache
_BLANK = 1 / 1024  # a fit whose terms sum to less rounds to alpha 0 for every colour


def guided_matte(rgb: np.ndarray, small: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Carries a mask of the shrunk picture over to the picture, along its edges.

    The mask is fitted as a locally linear function of the colour on the shrunk picture, and the
    fit is applied to the full-size colours (He and Sun, Fast Guided Filter, arXiv:1505.00996).

    Args:
      rgb: uint8, shape (H, W, 3).
      small: the same picture shrunk, uint8, shape (h, w, 3).
      mask: float32, shape (h, w), 0..1.

    Returns:
      uint8, shape (H, W), 0 (background) to 255 (subject).
    """
    fit = _fit(small, mask)
    height, width = rgb.shape[:2]
    alpha = np.zeros((height, width), np.uint8)
    reach = (np.abs(fit).sum(axis=0) > _BLANK).astype(np.uint8)
    left, top, wide, high = cv2.boundingRect(reach)
    if wide == 0:
        return alpha
    left, right = _scaled(left, left + wide, width / mask.shape[1], width)
    top, bottom = _scaled(top, top + high, height / mask.shape[0], height)
    columns = slice(left, right)
    planes = [np.ascontiguousarray(cv2.resize(p, (width, len(p)))[:, columns]) for p in fit]
    above, below, share = _rows(height, mask.shape[0])
    step = max(1, _STRIP // (right - left))
    for begin in range(top, bottom, step):
        rows = slice(begin, min(begin + step, bottom))
        strip = [_between(p[above[rows]], p[below[rows]], share[rows, None]) for p in planes]
        alpha[rows, columns] = _applied(strip, rgb[rows, columns])
    return alpha


def _between(upper: np.ndarray, lower: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolates, in place of both, to avoid scratch."""
    lower -= upper
    lower *= share
    upper += lower
    return upper


def _applied(fit: list[np.ndarray], rgb: np.ndarray) -> np.ndarray:
    """Gives uint8 levels of a fit's four planes at full size, which are spent as scratch."""
    *factors, level = fit
    level *= 255
    for channel, factor in enumerate(factors):
        factor *= rgb[..., channel]
        level += factor
    # addWeighted rounds and saturates in one go
    return cv2.addWeighted(level, 1, level, 0, 0, dtype=cv2.CV_8U)


def _scaled(begin: int, end: int, factor: float, limit: int) -> tuple[int, int]:
    """Gives the full-size range that one small range and its neighbours reach into."""
    return max(0, int((begin - 1) * factor)), min(limit, int(np.ceil((end + 1) * factor)))


def _rows(height: int, small: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives the two small rows between which each full-size row lies, and the lower one's share."""
    place = np.clip((np.arange(height) + 0.5) * small / height - 0.5, 0, small - 1)
    above = place.astype(np.intp)
    return above, np.minimum(above + 1, small - 1), (place - above).astype(np.float32)


def _fit(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fits, around every pixel, the mask as a linear function of the colour.

    Equations 19, 20 and 21 of He, Sun and Tang, Guided Image Filtering (PAMI 35(6), 2013),
    computed no further from the mask than it reaches.

    Args:
      rgb: uint8, shape (h, w, 3).
      mask: float32, shape (h, w), 0..1.

    Returns:
      float32, shape (4, h, w): factors of red, green and blue (0..1), and the offset.
    """
    fit = np.zeros((4, *mask.shape), np.float32)
    left, top, wide, high = cv2.boundingRect((mask > 0).astype(np.uint8))
    margin = 3 * _RADIUS
    rows = slice(max(0, top - margin), top + high + margin)
    columns = slice(max(0, left - margin), left + wide + margin)
    if wide == 0:
        return fit
    wanted = np.ascontiguousarray(mask[rows, columns])
    r, g, b = (plane.astype(np.float32) / 255 for plane in cv2.split(rgb[rows, columns]))
    mean, mean_r, mean_g, mean_b = _box(wanted), _box(r), _box(g), _box(b)
    rr = _box(r * r) - mean_r * mean_r + _EPSILON
    gg = _box(g * g) - mean_g * mean_g + _EPSILON
    bb = _box(b * b) - mean_b * mean_b + _EPSILON
    rg = _box(r * g) - mean_r * mean_g
    rb = _box(r * b) - mean_r * mean_b
    gb = _box(g * b) - mean_g * mean_b
    with_r = _box(r * wanted) - mean_r * mean
    with_g = _box(g * wanted) - mean_g * mean
    with_b = _box(b * wanted) - mean_b * mean
    # the inverse of the symmetric covariance by its cofactors
    c_rr, c_rg, c_rb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    scale = 1 / (rr * c_rr + rg * c_rg + rb * c_rb)
    factor_r = (c_rr * with_r + c_rg * with_g + c_rb * with_b) * scale
    factor_g = (c_rg * with_r + c_gg * with_g + c_gb * with_b) * scale
    factor_b = (c_rb * with_r + c_gb * with_g + c_bb * with_b) * scale
    offset = mean - factor_r * mean_r - factor_g * mean_g - factor_b * mean_b
    for index, term in enumerate((factor_r, factor_g, factor_b, offset)):
        fit[index, rows, columns] = _box(term)
    return fit


def _box(plane: np.ndarray) -> np.ndarray:
    return cv2.blur(plane, (2 * _RADIUS + 1, 2 * _RADIUS + 1), borderType=cv2.BORDER_REPLICATE)
