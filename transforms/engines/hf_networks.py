"""Hugging Face models as networks that give the subject's probability."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.utils import logging

from .contract import EngineUnusable

BACKGROUND_NAMES = ("background", "bg", "_background_")

# Each query has a class, the last of them "nothing", and a mask.
_QUERY_MODELS = (
    "DetrForSegmentation",
    "EomtDinov3ForUniversalSegmentation",
    "EomtForUniversalSegmentation",
    "Mask2FormerForUniversalSegmentation",
    "MaskFormerForInstanceSegmentation",
)


class Subject(nn.Module):
    """A model and the way from its output to probabilities (B, 1, h, w), float32.

    Args:
      model: takes `pixel_values`.
      read: turns its output into probabilities.
      flipped: whether it takes blue first.
    """

    def __init__(self, model: nn.Module, read: Callable[[Any], Tensor], flipped: bool) -> None:
        super().__init__()
        self.model = model
        self.read = read
        self.flipped = flipped

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Maps (B, 3, H, W), red first, to probabilities; NaN where the model gave none."""
        if self.flipped:
            pixel_values = pixel_values.flip(1)
        return self.read(self.model(pixel_values))


def is_native(architecture: str) -> bool:
    """Tells whether an architecture is a class of transformers itself."""
    return hasattr(transformers, architecture)


def refusal(architecture: str) -> str | None:
    """Says in one line why an architecture of transformers gives no matte; None when it does."""
    if architecture == "VitMatteForImageMatting":
        return "VitMatte wants a trimap with every picture, and there is none"
    if architecture in _QUERY_MODELS or architecture.endswith(
        ("ForSemanticSegmentation", "ForImageMatting")
    ):
        return None
    return (
        f"{architecture} gives no mask of a picture by itself; use a …ForSemanticSegmentation, "
        f"…ForImageMatting or {', '.join(_QUERY_MODELS)}"
    )


def load_network(
    source: str,
    revision: str | None,
    *,
    architecture: str,
    labels: Sequence[str] | None,
    flipped: bool,
    remote: bool,
) -> nn.Module:
    """Loads a model, in float32 on the CPU.

    Args:
      source: a folder, or the hub id when the repository's code is to be run.
      revision: the commit, with a hub id.
      architecture: the model's class.
      labels: classes that make the subject; None for all but the background.
      flipped: whether it takes blue first.
      remote: whether to run the repository's code.

    Raises:
      EngineUnusable: it cannot be loaded whole, or its classes do not say what the subject is.
    """
    home = transformers.AutoModelForImageSegmentation if remote else None
    home = home or getattr(transformers, architecture)
    try:
        with _quiet():
            model, report = home.from_pretrained(
                source,
                revision=revision,
                trust_remote_code=remote,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except Exception as error:
        raise EngineUnusable(f"--model {source}: {_told(error)}") from error
    unfit = sorted(report["mismatched_keys"])
    if unfit:
        name, stored, due = unfit[0]
        raise EngineUnusable(
            f"--model {source}: {len(unfit)} weights do not fit its config.json, such as {name}, "
            f"which is {list(stored)} and not {list(due)}"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise EngineUnusable(
            f"--model {source} holds no weights for {len(missing)} parameters of {architecture}, "
            f"such as {missing[0]}"
        )
    return Subject(model.float().eval(), _reader(architecture, model, labels, remote), flipped)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers' progress bar and its report of what is told in one line otherwise."""
    shows, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows:
            logging.enable_progress_bar()


def try_network(network: nn.Module, model: str, size: tuple[int, int]) -> None:
    """Puts a grey picture through, since what a network takes shows nowhere else.

    Raises:
      EngineUnusable: it does not pass, or no map of numbers comes out, which in float32 are finite.
    """
    height, width = size
    weight = next(network.parameters())
    try:
        with torch.no_grad():
            result = network(weight.new_zeros(1, 3, height, width))
        whole = weight.dtype is not torch.float32 or bool(result.isfinite().all())
        if result.dim() != 4 or result.shape[:2] != (1, 1) or not whole:
            raise ValueError(f"what comes out is no map of numbers but {list(result.shape)}")
    except Exception as error:
        raise EngineUnusable(
            f"--model {model} takes no picture of {width}×{height} pixels, which --resolution can "
            f"change: {_told(error)}"
        ) from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _reader(
    architecture: str, model: Any, labels: Sequence[str] | None, remote: bool
) -> Callable[[Any], Tensor]:
    """Chooses the way from an architecture's output to probabilities."""
    if remote:
        return read_last_map
    if architecture.endswith("ForImageMatting"):
        return lambda output: output.alphas.float()
    subject = subject_classes(model.config.id2label, labels)
    if architecture in _QUERY_MODELS:
        return lambda output: read_queries(output, subject)
    return lambda output: read_classes(output.logits, subject)


def subject_classes(names: dict[int, str], labels: Sequence[str] | None) -> list[int]:
    """Finds the classes that make the subject.

    Args:
      names: the model's classes by number.
      labels: names or numbers asked for; None for all but those called background. Of two classes
        without such a name the second is the subject, and a single class is.

    Raises:
      EngineUnusable: there is no such class, or nothing says which classes are meant.
    """
    known = {name.lower(): number for number, name in names.items()}
    if labels is not None:
        known.update({str(number): number for number in names})
        unknown = [label for label in labels if label.lower() not in known]
        if unknown:
            some = ", ".join(list(names.values())[:12])
            raise EngineUnusable(
                f"--subject_labels {','.join(unknown)}: the model has {len(names)} classes: {some}"
                f"{', …' if len(names) > 12 else ''}"
            )
        return sorted({known[label.lower()] for label in labels})
    behind = {known[name] for name in BACKGROUND_NAMES if name in known}
    if behind:
        return [number for number in names if number not in behind]
    if len(names) <= 2:
        return [len(names) - 1]
    raise EngineUnusable(
        f"--subject_labels is missing: the model has {len(names)} classes and none is called "
        f"background; name those of the subject, for example "
        f"--subject_labels {next(iter(names.values()))}"
    )


def read_classes(logits: Tensor, subject: Sequence[int]) -> Tensor:
    """Adds up the subject's classes.

    Args:
      logits: shape (B, C, h, w); a single class is a probability by itself.
      subject: numbers of its classes.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits.sigmoid()
    return logits.softmax(1)[:, list(subject)].sum(1, keepdim=True).clamp(max=1)


def read_queries(output: Any, subject: Sequence[int]) -> Tensor:
    """Gives the probability that at least one query of a subject's class covers a pixel.

    With a query's class probability s and mask m this is 1 - Π (1 - s m).

    Args:
      output: with class logits (B, Q, C + 1) and mask logits (B, Q, h, w).
      subject: numbers of its classes.
    """
    classes = getattr(output, "class_queries_logits", None)
    masks = getattr(output, "masks_queries_logits", None)
    if classes is None or masks is None:
        classes, masks = output.logits, output.pred_masks
    chosen = classes.float().softmax(-1)[..., list(subject)].sum(-1).clamp(max=1)
    covered = chosen[..., None, None] * masks.float().sigmoid()
    return 1 - torch.log1p(-covered).sum(1, keepdim=True).exp()


def read_last_map(output: Any) -> Tensor:
    """Gives the sigmoid of the last one-channel map, which is how BiRefNet's own code answers.

    Raises:
      ValueError: there is none.
    """
    maps = [one for one in _tensors(output) if one.dim() == 4 and one.shape[1] == 1]
    if not maps:
        raise ValueError("the model's code gave no map of shape (batch, 1, height, width)")
    return maps[-1].float().sigmoid()


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for part in output.values():
            yield from _tensors(part)
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from _tensors(part)
