"""How well a cutout's outline fits: IoU, boundary IoU, and the measures of salient objects.

Mattes are uint8, shape (H, W), 0 (background) to 255 (subject); a *mask* is where level >= 128,
that is alpha >= 0.5. F-, S- and E-measure are those of the `pysodmetrics` package, with the truth
as a mask and the prediction as it is: the package's own preparation would stretch every prediction
to 0..1 and so hide an engine that is never sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import UsageError

try:
    from py_sod_metrics import Emeasure, FmeasureHandler, FmeasureV2, Smeasure
except ModuleNotFoundError as error:
    raise UsageError(
        f"evaluate needs {error.name}, which is not installed: pip install 'alphabeam[evaluate]'"
    ) from error

_BETA_SQUARED = 0.3  # R. Achanta et al., CVPR 2009: precision counts more than recall
_BOUNDARY = 0.02  # of the diagonal; B. Cheng et al., CVPR 2021
_INSIDE = 128  # the first level with alpha >= 0.5


@dataclass(frozen=True)
class SalientObjectScores:
    """What `pysodmetrics` says of one picture; each 0..1, and higher is better.

    Attributes:
      f_max: F-measure with beta² = 0.3, the best over the thresholds 0, 1/255, …, 1. None where
        the truth's mask is empty, for then nothing can be recalled.
      f_adaptive: the same at the threshold of twice the prediction's mean (at most 1).
      s_measure: structure measure with alpha = 0.5 (D.-P. Fan et al., ICCV 2017).
      e_mean: enhanced-alignment measure (D.-P. Fan et al., IJCAI 2018), the mean over the
        thresholds 0, 1/255, …, 1. Threshold 0 takes the whole picture for subject, so that a
        perfect prediction stays a little below 1.
      e_adaptive: the same at the threshold of twice the prediction's mean (at most 1). None where
        the truth's mask is empty: of a blank prediction that threshold, 0, would make a full one.
    """

    f_max: float | None
    f_adaptive: float | None
    s_measure: float
    e_mean: float
    e_adaptive: float | None


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Gives intersection over union of the two masks, 0..1; 1 when both are empty."""
    return _overlap(predicted >= _INSIDE, truth >= _INSIDE)


def boundary_iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Gives the IoU of the masks' inner boundaries, 0..1; 1 when both are empty.

    A mask's boundary is what an erosion takes away: its pixels within a distance d of a pixel
    outside, where d is 2% of the picture's diagonal, rounded, at least 1, and distances are the
    greater of those along x and y. What lies beyond the picture is outside.

    From B. Cheng, R. Girshick, P. Dollár, A. C. Berg, A. Kirillov: Boundary IoU, CVPR 2021.
    """
    distance = max(1, round(_BOUNDARY * math.hypot(*truth.shape)))
    return _overlap(_boundary(predicted, distance), _boundary(truth, distance))


def _boundary(levels: np.ndarray, distance: int) -> np.ndarray:
    mask = cv2.threshold(levels, _INSIDE - 1, 255, cv2.THRESH_BINARY)[1]
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=distance)
    return cv2.subtract(mask, eroded[1:-1, 1:-1]) > 0


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


def salient_object_scores(predicted: np.ndarray, truth: np.ndarray) -> SalientObjectScores:
    """Computes the F-, S- and E-measure of one picture; takes some 25 bytes a pixel meanwhile."""
    alpha, mask = predicted / 255, truth >= _INSIDE
    handler = FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=_BETA_SQUARED)
    f_measure, s_measure, e_measure = FmeasureV2({"f": handler}), _StructureMeasure(), Emeasure()
    for measure in (f_measure, s_measure, e_measure):
        measure.step(alpha, mask, normalize=False)
    f_beta, enhanced = f_measure.get_results()["f"], e_measure.get_results()["em"]
    known = bool(mask.any())
    return SalientObjectScores(
        f_max=float(f_beta["dynamic"].max()) if known else None,
        f_adaptive=float(f_beta["adaptive"]) if known else None,
        s_measure=float(s_measure.get_results()["sm"]),
        # The published formula divides by one pixel less than there are, and so passes 1.
        e_mean=float(np.minimum(enhanced["curve"], 1).mean()),
        e_adaptive=float(min(enhanced["adp"], 1)) if known else None,
    )


class _StructureMeasure(Smeasure):
    """The package's, also where the subject's centre is in the last row or column.

    One of the four parts that it cuts the picture into is empty then. Its weight is 0, and its
    score would be NaN.
    """

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        return super().ssim(pred, gt) if pred.size else 0.0
