"""From what an ONNX file gives to mattes: logits or probabilities, of one mask or of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from ..errors import EngineError
from ..mask_stats import confidence
from .contract import EngineUnusable, Matte

ACTIVATIONS = ("auto", "sigmoid", "softmax", "none")


@dataclass(frozen=True)
class MaskReading:
    """How an output's channels become one mask.

    Attributes:
      activation: one of `ACTIVATIONS`.
      subject: numbers of the classes that make the subject; None for the second of two.
    """

    activation: str
    subject: Sequence[int] | None

    def check(self, channels: int, output: object) -> None:
        """Refuses an output of so many channels if nobody says how to read it.

        Args:
          channels: of the output.
          output: what the user calls it.

        Raises:
          EngineUnusable: it is no mask, or the activation or the classes are not for it.
        """
        if self.activation not in ("auto", "none", _activation(channels)):
            raise EngineUnusable(
                f"--onnx_activation {self.activation}: with {channels} channels the output can "
                f"have {_activation(channels)}, none or auto"
            )
        if self.subject is None and channels > 2:
            raise EngineUnusable(
                f"--onnx_output {output}: the output has {channels} channels; a mask has one, and "
                f"where they are classes, --subject_labels says which make the subject, as in "
                f"--subject_labels 1,2"
            )
        if self.subject is not None and not all(0 <= one < channels for one in self.subject):
            raise EngineUnusable(
                f"--subject_labels {','.join(map(str, self.subject))}: the output has {channels} "
                f"channels, which are the classes from 0 to {channels - 1}"
            )

    def matte(self, values: np.ndarray, logits: bool) -> Matte | EngineError:
        """Makes a matte.

        Args:
          values: float32, shape (C, h, w), one of a mask or the classes'.
          logits: whether these are logits; else they have to be probabilities.
        """
        if not np.isfinite(values).all():  # an overflow never passes for certainty
            return EngineError("not_finite", "the network gave NaN or inf")
        if not logits and (values.min() < 0 or values.max() > 1):
            return EngineError(
                "bad_matte",
                f"the output runs from {values.min():.3g} to {values.max():.3g}, so these are not "
                f"probabilities; --onnx_activation {_activation(len(values))} makes probabilities "
                f"of logits",
            )
        if len(values) == 1:
            probabilities = expit(values[0]) if logits else values[0]
        else:
            classes = softmax(values, 0) if logits else values
            probabilities = classes[list(self.subject or [1])].sum(0).clip(max=1)
        return Matte(probabilities, confidence(probabilities))


def _activation(channels: int) -> str:
    """Says what makes probabilities of the logits of so many channels."""
    return "sigmoid" if channels == 1 else "softmax"
