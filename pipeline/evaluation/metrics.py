"""The measures that an evaluation computes for every picture: their names, and all at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np

from .matte_metrics import (
    connectivity_error,
    gradient_error,
    mean_absolute_error,
    mean_squared_error,
    sum_of_absolute_differences,
)
from .segmentation_metrics import boundary_iou, iou, salient_object_scores


@dataclass(frozen=True)
class Metric:
    """One measure.

    Attributes:
      name: of its column.
      title: for people.
      higher_is_better: whether more is better.
      unit: empty for shares of 1.
    """

    name: str
    title: str
    higher_is_better: bool
    unit: str = ""


METRICS = (
    Metric("mae", "MAE", False),
    Metric("iou", "IoU", True),
    Metric("boundary_iou", "boundary IoU", True),
    Metric("f_max", "F-beta, max", True),
    Metric("f_adaptive", "F-beta, adaptive", True),
    Metric("s_measure", "S-measure", True),
    Metric("e_mean", "E-measure, mean", True),
    Metric("e_adaptive", "E-measure, adaptive", True),
    Metric("sad", "SAD", False, "thousand pixels"),
    Metric("mse", "MSE", False),
    Metric("gradient", "gradient", False, "thousands"),
    Metric("connectivity", "connectivity", False, "thousand pixels"),
)


@dataclass(frozen=True)
class Scores:
    """The measures of one picture, in the order of `METRICS`.

    Their definitions stand with the functions of `matte_metrics` and `segmentation_metrics`.

    Attributes:
      f_max, f_adaptive, e_adaptive: None where the truth holds no subject.
    """

    mae: float
    iou: float
    boundary_iou: float
    f_max: float | None
    f_adaptive: float | None
    s_measure: float
    e_mean: float
    e_adaptive: float | None
    sad: float
    mse: float
    gradient: float
    connectivity: float

    def values(self) -> dict[str, float | None]:
        """Gives the measures by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def score(predicted: np.ndarray, truth: np.ndarray) -> Scores:
    """Computes every measure of one picture.

    Args:
      predicted: the cutout's matte: uint8, shape (H, W), 0 (background) to 255 (subject).
      truth: the matte as it should be, of the same form and size.

    Raises:
      ValueError: one has another form, or they differ in size.
    """
    for name, levels in (("predicted", predicted), ("truth", truth)):
        if levels.dtype != np.uint8 or levels.ndim != 2 or levels.size == 0:
            raise ValueError(
                f"{name} must be uint8 of shape (H, W) with at least one pixel, "
                f"got {levels.dtype} of shape {levels.shape}"
            )
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted {predicted.shape} and truth {truth.shape} differ in shape")
    return Scores(
        mae=mean_absolute_error(predicted, truth),
        iou=iou(predicted, truth),
        boundary_iou=boundary_iou(predicted, truth),
        **asdict(salient_object_scores(predicted, truth)),
        sad=sum_of_absolute_differences(predicted, truth),
        mse=mean_squared_error(predicted, truth),
        gradient=gradient_error(predicted, truth),
        connectivity=connectivity_error(predicted, truth),
    )
