"""Pictures whose matte and foreground colours are known: real photographs pasted on real grounds.

Thirteen subjects (cut out of photographs along hand-drawn outlines or by colour, or shapes filled
with photographed texture) stand on studio grounds, on defocused and on sharp photographs.
Everything follows from the pictures that scikit-image and scikit-learn carry and from fixed seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from subjects import SUBJECTS, Subject, photo_named, subject_named

GroundKind = Literal["studio", "defocused", "sharp"]
KINDS: tuple[GroundKind, ...] = ("studio", "defocused", "sharp")
FRAMES = ((640, 480), (480, 640), (512, 512), (720, 480))
"""Width and height of the pictures, in turn."""


@dataclass(frozen=True)
class Composite:
    """One picture and the truth about it.

    Attributes:
      name: subject, ground kind and variant.
      kind: of the ground.
      picture: uint8 (H, W, 3), sRGB: alpha * foreground + (1 - alpha) * ground, rounded.
      alpha: float32 (H, W), 0..1.
      foreground: uint8 (H, W, 3), the subject's own colours, everywhere.
      ground: uint8 (H, W, 3).
    """

    name: str
    kind: GroundKind
    picture: np.ndarray
    alpha: np.ndarray
    foreground: np.ndarray
    ground: np.ndarray


@dataclass(frozen=True)
class Photograph:
    """One real photograph and its subject's matte along a hand-drawn outline.

    Attributes:
      name: of the subject.
      picture: uint8 (H, W, 3), sRGB.
      alpha: float32 (H, W), 0..1.
    """

    name: str
    picture: np.ndarray
    alpha: np.ndarray


def composite_set(
    subjects: Sequence[str] | None = None,
    kinds: Sequence[GroundKind] = KINDS,
    variants: int = 2,
) -> list[Composite]:
    """Makes the pictures, the same ones every time.

    Args:
      subjects: names out of `SUBJECTS`; None for all thirteen.
      kinds: of the grounds.
      variants: grounds of each kind that every subject stands on.
    """
    return [
        _composite(name, kind, variant)
        for name in subjects or SUBJECTS
        for kind in kinds
        for variant in range(variants)
    ]


def photographs() -> list[Photograph]:
    """Gives the photographs that subjects were cut out of, whole."""
    outlined = ("cup", "astronaut", "pagoda", "rocket", "motorcycle", "dahlia")
    subjects = {name: subject_named(name) for name in outlined}
    return [
        Photograph(name, photo_named(subject.photo), subject.alpha)
        for name, subject in subjects.items()
    ]


def iou(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two mattes (float, 0..1) cut at one half; 1 for two blank ones."""
    found, wanted = alpha >= 0.5, truth >= 0.5
    union = np.count_nonzero(found | wanted)
    return np.count_nonzero(found & wanted) / union if union else 1.0


def _composite(name: str, kind: GroundKind, variant: int) -> Composite:
    number = list(SUBJECTS).index(name)
    rng = np.random.default_rng([number, KINDS.index(kind), variant])
    subject = subject_named(name)
    width, height = FRAMES[(number + 2 * KINDS.index(kind) + variant) % len(FRAMES)]
    colours, alpha = _placed(subject, width, height, rng)
    if kind == "studio":
        ground = _studio(alpha, variant, rng)
    else:
        ground = _photograph(subject.photo, number + variant, width, height, rng)
        if kind == "defocused":
            ground = cv2.GaussianBlur(ground, (0, 0), 0.03 * max(width, height))
    share = alpha[..., None]
    picture = np.rint(share * colours + (1 - share) * ground).astype(np.uint8)
    return Composite(f"{name}-{kind}-{variant}", kind, picture, alpha, colours, ground)


def _placed(
    subject: Subject, width: int, height: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scales the subject to 55-85% of the frame and moves it a little off the centre."""
    rows, columns = np.nonzero(subject.alpha > 0.02)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    scale = rng.uniform(0.55, 0.85) * min(width / (right - left), height / (bottom - top))
    x = (width - scale * (right - left)) / 2 + rng.uniform(-0.06, 0.06) * width - scale * left
    y = (height - scale * (bottom - top)) / 2 + rng.uniform(-0.06, 0.06) * height - scale * top
    if subject.stands:
        y = height - scale * bottom + 1
    move = np.array([[scale, 0, x], [0, scale, y]])
    colours, alpha = subject.colours, subject.alpha
    blur = 0.5 / scale - 0.4  # against aliasing, when it shrinks
    if blur > 0:
        colours = cv2.GaussianBlur(colours, (0, 0), blur)
        alpha = cv2.GaussianBlur(alpha, (0, 0), blur)
    colours = cv2.warpAffine(
        colours, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    border = cv2.BORDER_REPLICATE if subject.stands else cv2.BORDER_CONSTANT
    alpha = cv2.warpAffine(alpha, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    return colours, np.clip(alpha, 0, 1)


def _studio(alpha: np.ndarray, variant: int, rng: np.random.Generator) -> np.ndarray:
    """Paper in a near-white or, every other time, two colours; vignette, soft shadow, noise."""
    height, width = alpha.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    if variant % 2 == 0:
        upper = lower = rng.uniform(205, 250) + rng.uniform(-6, 6, 3)
    else:
        upper, lower = rng.uniform(40, 235, 3), rng.uniform(40, 235, 3)
        lower = 0.6 * upper + 0.4 * lower
    down = (y[..., None] + 1) / 2
    ground = (1 - down) * upper + down * lower
    ground *= 1 - 0.08 * (x**2 + y**2)[..., None]
    shadow = cv2.GaussianBlur(alpha, (0, 0), 0.03 * width)
    shadow = cv2.warpAffine(shadow, np.float32([[1, 0, 0.015 * width], [0, 1, 0.02 * height]]),
                            (width, height))  # fmt: skip
    ground *= 1 - 0.18 * shadow[..., None]
    ground += rng.normal(0, 1.5, ground.shape)
    return np.clip(np.rint(ground), 0, 255).astype(np.uint8)


def _photograph(
    avoid: str, turn: int, width: int, height: int, rng: np.random.Generator
) -> np.ndarray:
    """Cuts the frame out of a scenery that the subject does not come from."""
    sceneries = [scenery for scenery in SCENERIES if scenery[0] != avoid]
    name, rows, columns = sceneries[turn % len(sceneries)]
    photo = photo_named(name)[rows, columns]
    if rng.random() < 0.5:
        photo = photo[:, ::-1]
    share = rng.uniform(0.7, 1.0)
    scale = share * min(photo.shape[1] / width, photo.shape[0] / height)
    wide, high = int(scale * width), int(scale * height)
    left = int(rng.integers(0, photo.shape[1] - wide + 1))
    top = int(rng.integers(0, photo.shape[0] - high + 1))
    cut = np.ascontiguousarray(photo[top : top + high, left : left + wide])
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC)


ALL = slice(None)
SCENERIES: tuple[tuple[str, slice, slice], ...] = (
    ("china", ALL, slice(335, None)),
    ("motorcycle", slice(0, 230), slice(240, None)),
    ("hubble", ALL, ALL),
    ("brick", ALL, ALL),
    ("chelsea", ALL, ALL),
    ("rocket", ALL, slice(345, None)),
    ("ihc", ALL, ALL),
    ("grass", ALL, ALL),
    ("coffee", slice(0, 150), slice(430, None)),
    ("gravel", ALL, ALL),
)
"""Photographs and their rows and columns that show no subject of their own."""
