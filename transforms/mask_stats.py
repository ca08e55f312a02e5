"""The quality columns: what a matte's own pixels say about a cutout.

Everything but `confidence` follows from the 8-bit alpha that is stored, at its full size, by
integer counts and a few divisions, so whoever reads the stored picture gets the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

_OPAQUE = 128  # the first level with alpha >= 0.5
_SOFT = slice(13, 243)  # the levels with 0.05 < alpha < 0.95
_CHUNK = 1 << 20  # pixels looked at in one go: scratch stays small and in cache
_PIXELS_A_BOUND = 8  # denser than this, labelling pixels is faster than linking runs, and smaller


@dataclass(frozen=True)
class MaskStats:
    """What the alpha of one picture says. A level is 0..255, alpha is level / 255.

    The *mask* is the set of pixels with alpha >= 0.5 (level >= 128). A *soft* pixel has
    0.05 < alpha < 0.95 (levels 13..242).

    Attributes:
      coverage: mean alpha, 0..1.
      mask_area_px: pixels of the mask.
      bbox_x, bbox_y, bbox_width, bbox_height: pixels; the smallest rectangle around the mask.
        None when the mask is empty.
      centroid_x, centroid_y: 0..1; the alpha-weighted mean of the pixel centres, divided by the
        picture's width and height. None when alpha is zero everywhere.
      touches_top, touches_right, touches_bottom, touches_left: whether the mask reaches that side.
      components: 8-connected components of the mask.
      largest_component_ratio: 0..1; area of the largest component / area of the mask. None when the
        mask is empty.
      hole_ratio: 0..1; h / (mask area + h), with h the area of the mask's 4-connected background
        regions that have no pixel on the picture's border. None when the mask is empty.
      soft_fraction: 0..1; soft pixels / all pixels.
      edge_width_px: pixels, >= 0; soft pixels / length of the alpha = 0.5 contour inside the
        picture, that is the mean width of the transition. The length is Cauchy and Crofton's with
        four directions, pi/8 * (h + v + (d1 + d2) / sqrt(2)), where h, v, d1 and d2 count the
        neighbours on a row, a column and the two diagonals of which just one is in the mask; for
        a straight edge it is right to -5.2% .. +2.6%, whatever the angle. A Gaussian edge of
        deviation s gives 3.3 s, a linear ramp 0.9 of its length. Soft pixels away from any contour
        (a faint halo) count too and make it large. None without a contour: an empty mask or a full
        one.
      alpha_entropy: bits, 0..8; Shannon's entropy of the 256 levels' shares.
      alpha_histogram: 16 pixel counts, of the levels 0..15, 16..31, …, 240..255.
      is_blank: the mask is empty.
      is_full: the mask is the whole picture.
    """

    coverage: float
    mask_area_px: int
    bbox_x: int | None
    bbox_y: int | None
    bbox_width: int | None
    bbox_height: int | None
    centroid_x: float | None
    centroid_y: float | None
    touches_top: bool
    touches_right: bool
    touches_bottom: bool
    touches_left: bool
    components: int
    largest_component_ratio: float | None
    hole_ratio: float | None
    soft_fraction: float
    edge_width_px: float | None
    alpha_entropy: float
    alpha_histogram: tuple[int, ...]
    is_blank: bool
    is_full: bool


def mask_stats(alpha: np.ndarray) -> MaskStats:
    """Measures a matte.

    Args:
      alpha: uint8, shape (H, W), 0 (background) to 255 (subject), at least one pixel.

    Raises:
      ValueError: `alpha` has another shape or type, or no pixel.
    """
    if alpha.dtype != np.uint8 or alpha.ndim != 2 or alpha.size == 0:
        raise ValueError(
            f"alpha must be uint8 of shape (H, W) with at least one pixel, "
            f"got {alpha.dtype} of shape {alpha.shape}"
        )
    alpha = np.ascontiguousarray(alpha)
    height, width = alpha.shape
    counts = _histogram(alpha)
    total = int(counts @ np.arange(256))
    area = int(counts[_OPAQUE:].sum())
    soft = int(counts[_SOFT].sum())

    # One background column right of each row and one row above and below: read as one line, the
    # column also stands left of the next row, so no run and no neighbourhood crosses a side.
    framed = np.zeros((height + 2, width + 1), np.uint8)
    mask = framed[1:-1, :-1]
    np.greater_equal(alpha, _OPAQUE, out=mask.view(np.bool_))

    x, y, box_width, box_height = cv2.boundingRect(mask)
    components, holes = _regions(framed, area)
    contour = _contour_length(mask)
    centroid_x, centroid_y = _centroid(alpha, total)
    blank = area == 0
    return MaskStats(
        coverage=total / (255 * alpha.size),
        mask_area_px=area,
        bbox_x=None if blank else x,
        bbox_y=None if blank else y,
        bbox_width=None if blank else box_width,
        bbox_height=None if blank else box_height,
        centroid_x=centroid_x,
        centroid_y=centroid_y,
        touches_top=not blank and y == 0,
        touches_right=not blank and x + box_width == width,
        touches_bottom=not blank and y + box_height == height,
        touches_left=not blank and x == 0,
        components=len(components),
        largest_component_ratio=None if blank else int(components.max()) / area,
        hole_ratio=None if blank else holes / (area + holes),
        soft_fraction=soft / alpha.size,
        edge_width_px=soft / contour if contour else None,
        alpha_entropy=_entropy(counts),
        alpha_histogram=tuple(counts.reshape(16, 16).sum(axis=1).tolist()),
        is_blank=blank,
        is_full=area == alpha.size,
    )


def confidence(probabilities: np.ndarray) -> float:
    """How sure an engine is of its matte: the mean of |2p - 1|, 0 (undecided) to 1 (certain).

    Args:
      probabilities: float32, shape (h, w), 0..1, as the engine gave them: before any stretch or
        threshold.

    Raises:
      ValueError: `probabilities` has another shape or type, or no pixel.
    """
    if probabilities.dtype != np.float32 or probabilities.ndim != 2 or probabilities.size == 0:
        raise ValueError(
            f"probabilities must be float32 of shape (h, w) with at least one pixel, "
            f"got {probabilities.dtype} of shape {probabilities.shape}"
        )
    return 2 * cv2.norm(probabilities - np.float32(0.5), cv2.NORM_L1) / probabilities.size


def _histogram(alpha: np.ndarray) -> np.ndarray:
    """Counts the 256 levels (int64). Eight pixels at a time where they are all 0 or all 255."""
    flat = alpha.reshape(-1)
    in_words = flat.size // 8 * 8
    words = flat[:in_words].view(np.uint64)
    counts = np.bincount(flat[in_words:], minlength=256)
    for start in range(0, len(words), _CHUNK // 8):
        chunk = words[start : start + _CHUNK // 8]
        mixed = chunk + np.uint64(1) > 1
        kept = int(np.count_nonzero(mixed))
        if kept < len(chunk) // 2:
            zeros = len(chunk) - int(np.count_nonzero(chunk))
            counts[0] += 8 * zeros
            counts[255] += 8 * (len(chunk) - kept - zeros)
            chunk = chunk[mixed]
        if len(chunk):
            histogram = cv2.calcHist([chunk.view(np.uint8)], [0], None, [256], [0, 256])
            counts += histogram.reshape(-1).astype(np.int64)  # OpenCV 4 gives a column
    return counts


def _centroid(alpha: np.ndarray, total: int) -> tuple[float, float] | tuple[None, None]:
    if total == 0:
        return None, None
    height, width = alpha.shape
    columns = cv2.reduce(alpha, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    rows = cv2.reduce(alpha, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    x = int(columns @ np.arange(width)) / total + 0.5
    y = int(rows @ np.arange(height)) / total + 0.5
    return x / width, y / height


def _contour_length(mask: np.ndarray) -> float:
    """Length in pixels of the mask's contour inside the picture (see `MaskStats.edge_width_px`)."""
    straight = _differing(mask[1:], mask[:-1]) + _differing(mask[:, 1:], mask[:, :-1])
    diagonal = _differing(mask[1:, 1:], mask[:-1, :-1]) + _differing(mask[1:, :-1], mask[:-1, 1:])
    return math.pi / 8 * (straight + diagonal / math.sqrt(2))


def _differing(one: np.ndarray, other: np.ndarray) -> float:
    return cv2.norm(one, other, cv2.NORM_L1) if one.size else 0.0


def _entropy(counts: np.ndarray) -> float:
    # By logarithms of Python's own: numpy's differ in the last bit from one processor to another.
    size = int(counts.sum())
    shares = [count / size for count in counts.tolist() if count]
    return math.fsum(share * math.log2(1 / share) for share in shares)


def _regions(framed: np.ndarray, area: int) -> tuple[np.ndarray, int]:
    """Areas of the mask's components, and of its holes together.

    Args:
      framed: uint8, shape (H + 2, W + 1), 1 in the mask; first and last row and last column are 0.
      area: pixels of the mask.
    """
    bounds = _bounds(framed.reshape(-1))
    if bounds is None:
        return _regions_of_pixels(framed, area)
    lengths = np.diff(bounds, prepend=0, append=framed.size)
    labels = _linked(bounds, framed.shape[1])
    components = np.bincount(labels[1::2], lengths[1::2])
    outside = lengths[0::2][labels[0::2] == labels[0]].sum()
    return components[components > 0].astype(np.int64), framed.size - area - int(outside)


def _bounds(line: np.ndarray) -> np.ndarray | None:
    """Positions where a line of 0 and 1 changes, or None when they are too many to be worth it."""
    changed = np.zeros(min(_CHUNK, line.size // 8 * 8 + 8), np.bool_)
    found = []
    many = line.size // _PIXELS_A_BOUND
    for start in range(1, line.size, len(changed)):
        here = line[start : start + len(changed)]
        before = line[start - 1 : start - 1 + len(here)]
        np.not_equal(here, before, out=changed[: len(here)])
        changed[len(here) :] = False
        # As np.flatnonzero(changed) in half the time, for changes are rare: by words of eight.
        words = np.flatnonzero(changed.view(np.uint64) != 0)
        hits = np.flatnonzero(changed.reshape(-1, 8)[words])
        found.append(words[hits >> 3] * 8 + (hits & 7) + start)
        many -= len(hits)
        if many < 0:
            return None
    return np.concatenate(found)


def _linked(bounds: np.ndarray, stride: int) -> np.ndarray:
    """Labels the stretches between bounds, gap, run, gap, …, gap, by the region they belong to.

    Args:
      bounds: where runs of the mask start and end, in turn, in the picture read as one line.
      stride: length of a row in that line.

    Returns:
      int32, shape (len(bounds) + 1,). Runs that touch, at a corner at least, share a label, and so
      do gaps that touch along a side.
    """
    starts, ends = bounds[0::2], bounds[1::2]
    ended = np.searchsorted(ends, starts + stride, side="left")
    begun = np.searchsorted(starts, ends + stride, side="right")

    # Below run k lie the runs ended[k] .. begun[k] - 1. Gap k reaches from the end of run k - 1 to
    # the start of run k, so the same two searches, crosswise, give the gaps below it.
    first = np.zeros(len(bounds) + 1, np.int64)
    links = np.zeros(len(bounds) + 1, np.int64)
    first[1::2] = 2 * ended + 1
    links[1::2] = begun - ended
    first[2::2] = 2 * begun
    links[0:-1:2] = ended + 1
    links[2::2] -= begun
    links[-1] = 0

    offsets = np.append(0, np.cumsum(links))
    below = 2 * np.arange(offsets[-1]) + np.repeat(first - 2 * offsets[:-1], links)
    shape = (len(links), len(links))
    graph = csr_matrix((np.ones(len(below)), below, offsets), shape=shape)
    return connected_components(graph, directed=False)[1]


def _regions_of_pixels(framed: np.ndarray, area: int) -> tuple[np.ndarray, int]:
    """`_regions` for a noisy mask, whose runs are too many to link."""
    # Without OpenCV's own statistics, which take up to 150 bytes a pixel on such masks.
    count, labels = cv2.connectedComponents(framed, connectivity=8)
    components = np.zeros(count, np.int64)
    for part in np.array_split(labels.reshape(-1), 8):
        components += np.bincount(part, minlength=count)
    closed = cv2.copyMakeBorder(framed, 0, 0, 1, 0, cv2.BORDER_CONSTANT, value=0)
    _, labels = cv2.connectedComponents(1 - closed, connectivity=4)
    outside = int(np.count_nonzero(labels == labels[0, 0]))
    return components[1:], closed.size - area - outside
