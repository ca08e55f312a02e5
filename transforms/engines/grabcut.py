"""The embedded engine: a classical segmentation that needs no weights.

Good for trying things out, for tests and for products and other clear subjects on plain or
defocused ground. Poor on portraits, on subjects that fill the frame and on busy scenes.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..mask_stats import confidence
from .contract import Matte
from .guided_filter import guided_matte
from .saliency import saliency

_EDGE_RESOLUTION = 512  # longer side, pixels, at which the mask is fitted to the picture's edges

_THRESHOLDS = (0.2, 0.75)  # saliencies between which the one that parts ground and subject lies
_SURE_GROUND = 0.35  # share of the threshold below which a pixel is ground for certain
_SURE_SUBJECT = 0.6  # share of the way from threshold to peak from which one is subject for certain

_ROUNDS = 6  # of grabCut at most
_SETTLED = 0.001  # share of pixels; a round that changes fewer is the last
_COMPONENTS = 5  # of each colour model; fixed in OpenCV

_SMALL_PART = 0.1  # of the largest part: what is smaller is dropped
_SPECK = 0.0005  # of the picture: a part that is smaller is dropped
_PIN_HOLE = 0.002  # of the picture: a hole that is smaller is filled


class GrabCut:
    """GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) that needs no rectangle drawn.

    What stands out from the picture's border starts it, a colour guided filter finishes the
    edges. Deterministic; several threads may predict at once.

    Attributes:
      resolution: longer side, in pixels, at which grabCut works; more finds finer parts and
        takes time with its square.
    """

    name = "grabcut"
    model = "grabcut"
    revision = "1"
    device = "cpu"
    dtype = "float32"
    parallel = True
    batch_size = 1

    def __init__(self, *, resolution: int = 224) -> None:
        """Keeps the options.

        Raises:
          ValueError: the resolution is not within 32..1024.
        """
        if not 32 <= resolution <= 1024:
            raise ValueError(f"resolution={resolution!r} is not within 32..1024 pixels")
        self.resolution = resolution

    def load(self) -> None:
        """Has nothing to load."""

    def predict(self, pictures: list[np.ndarray]) -> list[Matte]:
        """Cuts each picture's subject out.

        Args:
          pictures: uint8, shape (H, W, 3), sRGB, of any sizes.

        Returns:
          One matte a picture, uint8 of its full size. It is blank, and without a confidence,
          where nothing stands out from the border. The confidence comes from grabCut's colour
          models: how probable each pixel's colour is in the subject rather than in the ground.

        Raises:
          ValueError: a picture has another shape or type.
        """
        return [cut_out(picture, self.resolution) for picture in pictures]


def cut_out(rgb: np.ndarray, resolution: int) -> Matte:
    """Cuts one picture's subject out; see `GrabCut.predict`."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(
            f"the picture has shape {rgb.shape} and type {rgb.dtype}; it must be (H, W, 3) of uint8"
        )
    rgb = np.ascontiguousarray(rgb)
    medium = _shrunk(rgb, _EDGE_RESOLUTION)
    small = _shrunk(medium, resolution)
    blank = Matte(np.zeros(rgb.shape[:2], np.uint8), None)
    guess = _first_guess(saliency(small), small.shape[1], small.shape[0])
    if guess is None:
        return blank
    subject, probability = _segmented(small, guess)
    mask = _tidied(subject)
    if not mask.any():
        return blank
    mask = cv2.resize(mask, (medium.shape[1], medium.shape[0]), interpolation=cv2.INTER_LINEAR)
    return Matte(guided_matte(rgb, medium, mask), confidence(probability))


def _shrunk(rgb: np.ndarray, resolution: int) -> np.ndarray:
    """Shrinks, never enlarges, to at most `resolution` pixels along the longer side."""
    scale = min(1.0, resolution / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _first_guess(salient: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """Makes grabCut's four-valued start mask, uint8 (height, width), out of the saliency.

    Otsu's threshold parts probable ground from probable subject. None where the picture has no
    interior or no pixel passes the threshold.
    """
    if min(width, height) < 3:
        return None
    salient = cv2.resize(salient, (width, height), interpolation=cv2.INTER_LINEAR)
    levels = np.rint(salient * 255).astype(np.uint8)
    otsu, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    threshold = min(max(otsu / 255, _THRESHOLDS[0]), _THRESHOLDS[1])
    subject = salient > threshold
    if not subject.any() or subject.all():
        return None
    guess = np.where(subject, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    guess[salient < _SURE_GROUND * threshold] = cv2.GC_BGD
    guess[salient > threshold + _SURE_SUBJECT * (float(salient.max()) - threshold)] = cv2.GC_FGD
    return guess


def _segmented(rgb: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs grabCut until it settles.

    Args:
      rgb: uint8 (h, w, 3).
      guess: uint8 (h, w), OpenCV's `GC_…` classes.

    Returns:
      The subject, bool (h, w), and its probability by colour alone, float32 (h, w).
    """
    classes = guess.copy()
    ground_model, subject_model = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # OpenCV keeps a generator a thread, and its k-means draws from it
    mode, no_rectangle = cv2.GC_INIT_WITH_MASK, (0, 0, 0, 0)
    for _ in range(_ROUNDS):
        before = classes.copy()
        cv2.grabCut(rgb, classes, no_rectangle, ground_model, subject_model, 1, mode)
        mode = cv2.GC_EVAL
        if np.count_nonzero((classes ^ before) & 1) <= _SETTLED * classes.size:
            break
    probability = _subject_probability(rgb, ground_model[0], subject_model[0])
    return (classes & 1).astype(bool), probability


def _subject_probability(
    rgb: np.ndarray, ground_model: np.ndarray, subject_model: np.ndarray
) -> np.ndarray:
    """Gives every pixel's probability of being subject by its colour, both equal beforehand.

    Args:
      rgb: uint8 (h, w, 3), the channels in the order in which grabCut saw them.
      ground_model, subject_model: float64 (65,), as grabCut leaves them.

    Returns:
      float32 (h, w), 0..1.
    """
    colours = rgb.reshape(-1, 3).astype(np.float64)
    r, g, b = colours.T
    monomials = np.stack([r * r, g * g, b * b, r * g, r * b, g * b, r, g, b, np.ones_like(r)], 1)
    odds = _log_density(monomials, subject_model) - _log_density(monomials, ground_model)
    probability = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
    return probability.reshape(rgb.shape[:2]).astype(np.float32)


def _log_density(monomials: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Evaluates a mixture of Gaussians, but for a constant that all mixtures share.

    Args:
      monomials: float64 (n, 10): the quadratic monomials of n colours.
      model: float64 (65,): weights (5), means (5, 3) and covariances (5, 3, 3).

    Returns:
      float64 (n,).
    """
    weights, means, covariances = np.split(model, [_COMPONENTS, 4 * _COMPONENTS])
    columns = []
    for weight, mean, covariance in zip(
        weights, means.reshape(-1, 3), covariances.reshape(-1, 3, 3), strict=True
    ):
        if weight <= 0:
            continue
        p = np.linalg.inv(covariance)
        x, y, z = p @ mean
        constant = np.log(weight) - 0.5 * (np.linalg.slogdet(covariance)[1] + mean @ p @ mean)
        columns.append(
            [-0.5 * p[0, 0], -0.5 * p[1, 1], -0.5 * p[2, 2], -p[0, 1], -p[0, 2], -p[1, 2],
             x, y, z, constant]
        )  # fmt: skip
    if not columns:
        return np.full(len(monomials), -np.inf)
    terms = cv2.gemm(monomials, np.array(columns), 1, np.empty(0), 0, flags=cv2.GEMM_2_T)
    peak = terms.max(axis=1)
    return peak + np.log(np.exp(terms - peak[:, None]).sum(axis=1))


def _tidied(subject: np.ndarray) -> np.ndarray:
    """Drops small parts and fills pin-holes of a bool (h, w) mask; gives float32, 0 or 1."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(subject.astype(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA]
    keep = area >= max(_SMALL_PART * area[1:].max(initial=0), _SPECK * subject.size)
    keep[0] = False
    parts = keep[labels].astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - parts, connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] < _PIN_HOLE * parts.size
    fill[0] = False
    return (parts | fill[labels]).astype(np.float32)
