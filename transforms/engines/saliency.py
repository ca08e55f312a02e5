"""Where a picture's subject probably is: what differs in colour from the picture's border."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

_GRID = 72  # cells along the longer side
_NOISE = 3.0  # Lab units (CIE 1976 ΔE) by which noise, JPEG and shading move a colour
_BORDER_COLOURS = 3  # Gaussians fitted to the border's colours
_TYPICAL_SHARE = 1 / 8  # a colour of less of the border is a subject that reaches it
_CORNER_WEIGHT = 0.4  # of the centre prior, beside 1 in the picture's middle

# The least and the most that a picture's largest distance counts for, in Lab units and in standard
# deviations. The least keeps noise from passing for a subject, the most keeps a glaring detail
# from outshining the rest of the subject.
_GEODESIC_RANGE = (12.0, 30.0)
_STRANGENESS_RANGE = (4.0, 5.0)


def saliency(rgb: np.ndarray) -> np.ndarray:
    """Rates how much every cell of a coarse grid stands out from the picture's border.

    The mean of two distances: the geodesic distance to the border in Lab (Wei, Wen, Zhu and Sun,
    Geodesic Saliency Using Background Priors, ECCV 2012), where leaving through a border cell
    costs as much as that cell is untypical of the border; and the Mahalanobis distance to the
    nearest of a few Gaussians of the border's colours. Weighted by a centre prior.

    Args:
      rgb: uint8, shape (H, W, 3), sRGB.

    Returns:
      float32, shape (h, w), at most 72 cells along the longer side, 0 (like the border) to 1.
    """
    lab = _lab_grid(rgb)
    height, width = lab.shape[:2]
    border = np.ones((height, width), bool)
    border[1:-1, 1:-1] = False
    strangeness = _strangeness(lab.reshape(-1, 3), lab[border]).reshape(height, width)
    geodesic = _geodesic(lab, np.flatnonzero(border), _NOISE * strangeness[border])
    stands_out = _relative(geodesic, *_GEODESIC_RANGE) + _relative(strangeness, *_STRANGENESS_RANGE)
    return (stands_out / 2 * _centre_prior(height, width)).astype(np.float32)


def _lab_grid(rgb: np.ndarray) -> np.ndarray:
    """Shrinks to the grid: float32 (h, w, 3), L 0..100, a and b about -127..127."""
    shrink = min(1.0, _GRID / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * shrink)), max(1, round(rgb.shape[0] * shrink)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def _strangeness(colours: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Gives each colour's distance to the nearest Gaussian of the border, in standard deviations.

    Args:
      colours: float32 (n, 3), Lab.
      border: float32 (m, 3), Lab.
    """
    labels = _clusters(border)
    nearest = np.full(len(colours), np.inf, np.float32)
    for label in range(_BORDER_COLOURS):
        members = border[labels == label]
        if len(members) < _TYPICAL_SHARE * len(border):
            continue
        centre = members.mean(axis=0)
        spread = np.cov(members.T, bias=True) + _NOISE**2 * np.eye(3)
        apart = (colours - centre) @ np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
        np.minimum(nearest, (apart**2).sum(axis=1), out=nearest)
    return np.sqrt(nearest)


def _clusters(colours: np.ndarray) -> np.ndarray:
    """Labels colours by k-means, begun at mutually far colours so that nothing is left to chance.

    Args:
      colours: float32 (m, 3).

    Returns:
      int (m,), 0 to `_BORDER_COLOURS` - 1; a label may be unused.
    """
    centres = colours.mean(axis=0, keepdims=True)
    for _ in range(_BORDER_COLOURS):
        farthest = _squared_distances(colours, centres).min(axis=1).argmax()
        centres = np.concatenate([centres, colours[farthest : farthest + 1]])
    centres = centres[1:]
    labels = _squared_distances(colours, centres).argmin(axis=1)
    for _ in range(10):
        for label in np.unique(labels):
            centres[label] = colours[labels == label].mean(axis=0)
        labels = _squared_distances(colours, centres).argmin(axis=1)
    return labels


def _squared_distances(colours: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((colours[:, None] - centres) ** 2).sum(axis=2)


def _geodesic(lab: np.ndarray, border: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Gives each cell's cheapest way out of the picture, in Lab units.

    Steps between neighbours, diagonal ones too, cost their colour difference less the noise.

    Args:
      lab: float32 (h, w, 3).
      border: flat indices of the border's cells.
      entry: what it costs to leave through each of them.

    Returns:
      float64 (h, w).
    """
    height, width = lab.shape[:2]
    outside = height * width
    cells = np.arange(outside).reshape(height, width)
    begins, ends, costs = [np.full(len(border), outside)], [border], [entry]
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):
        difference = np.sqrt(((lab[here] - lab[there]) ** 2).sum(axis=2))
        begins.append(cells[here].ravel())
        ends.append(cells[there].ravel())
        costs.append(np.maximum(difference - _NOISE, 0).ravel())
    cost = np.concatenate(costs) + 1e-6  # a stored zero would be no edge at all
    steps = (np.concatenate(begins), np.concatenate(ends))
    graph = csr_array((cost, steps), shape=(outside + 1, outside + 1))
    distance = dijkstra(graph, directed=False, indices=outside)
    return distance[:outside].reshape(height, width)


def _relative(distance: np.ndarray, least: float, most: float) -> np.ndarray:
    """Divides by the largest distance (its 99th percentile), held within `least` and `most`."""
    largest = float(np.percentile(distance, 99))
    return np.minimum(distance / min(max(largest, least), most), 1)


def _centre_prior(height: int, width: int) -> np.ndarray:
    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = (np.arange(width) + 0.5) / width * 2 - 1
    nearness = np.exp(-(y[:, None] ** 2 + x**2) / (2 * 0.6**2))
    return _CORNER_WEIGHT + (1 - _CORNER_WEIGHT) * nearness
