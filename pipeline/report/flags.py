"""What makes a cutout worth a second look: flags for columns, reasons in words for one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .formats import count, share

LOW_CONFIDENCE = 0.85
MANY_COMPONENTS = 5
MAIN_COMPONENT = 0.8

_SIDES = ("top", "right", "bottom", "left")


@dataclass(frozen=True)
class Flag:
    """A warning sign.

    Attributes:
      name: short, for machines.
      title: short, for people.
      tag: the same in one word, to go with a picture.
      meaning: what raises it.
      raised: tells which rows carry it, from float64 arrays by column name, NaN for null; also
        from single numbers.
      needs: the column without which no row can carry it; empty when every row has what it takes.
    """

    name: str
    title: str
    tag: str
    meaning: str
    raised: Callable[[Mapping[str, Any]], Any]
    needs: str = ""


# The gravest first.
FLAGS = (
    Flag(
        "blank",
        "Blank",
        "blank",
        "no pixel is at least half opaque: the subject was not found",
        lambda row: row["is_blank"] == 1,
    ),
    Flag(
        "full",
        "Full",
        "full",
        "every pixel is at least half opaque: no background was found",
        lambda row: row["is_full"] == 1,
    ),
    Flag(
        "pieces",
        "Many pieces",
        "pieces",
        f"{MANY_COMPONENTS} or more separate pieces, or none that holds {share(MAIN_COMPONENT)} of "
        f"the mask: parts may be lost, or background kept",
        lambda row: (
            (row["components"] >= MANY_COMPONENTS)
            | (row["largest_component_ratio"] < MAIN_COMPONENT)
        ),
    ),
    Flag(
        "unsure",
        "Low confidence",
        "unsure",
        f"the engine's confidence is below {LOW_CONFIDENCE}: edges or whole parts may be wrong",
        lambda row: row["confidence"] < LOW_CONFIDENCE,
        needs="confidence",
    ),
    Flag(
        "border",
        "Touches the border",
        "border",
        "the subject reaches a side of the picture, so part of it may be missing",
        lambda row: (
            (row["touches_top"] == 1)
            | (row["touches_right"] == 1)
            | (row["touches_bottom"] == 1)
            | (row["touches_left"] == 1)
        ),
    ),
    Flag(
        "scaled",
        "Scaled by the provider",
        "scaled",
        "the provider's picture was smaller or larger than the source, so its matte was scaled",
        lambda row: row["provider_resized"] == 1,
        needs="provider_resized",
    ),
)

# Columns that the flags look at.
FLAG_COLUMNS = (
    "is_blank",
    "is_full",
    *(f"touches_{side}" for side in _SIDES),
    "confidence",
    "components",
    "largest_component_ratio",
    "provider_resized",
)


def flags_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Names the flags of one row, given by column name with None for null."""
    numbers = {name: np.nan if row[name] is None else row[name] for name in FLAG_COLUMNS}
    return tuple(flag.name for flag in FLAGS if flag.raised(numbers))


def reasons(row: Mapping[str, Any]) -> list[str]:
    """Says in sentences why a cutout deserves distrust, the gravest first; empty when nothing does.

    Args:
      row: a row of `data/`, by column name.
    """
    if row["is_blank"]:
        return ["Nothing was cut out: no pixel is even half opaque."]
    found = []
    if row["is_full"]:
        found.append("The whole picture was kept: no background was found.")
    elif row["coverage"] < 0.01:
        found.append(f"The subject is tiny: {share(row['coverage'])} of the picture.")
    elif row["coverage"] > 0.95:
        found.append(f"Almost nothing was taken away: {share(row['coverage'])} was kept.")
    confidence = row["confidence"]
    if confidence is not None and confidence < LOW_CONFIDENCE:
        found.append("The engine was undecided about much of the picture.")
    main = row["largest_component_ratio"]
    if main < MAIN_COMPONENT:
        found.append(
            f"It falls into {count(row['components'])} pieces; the largest is {share(main)} of it."
        )
    elif row["components"] >= MANY_COMPONENTS:
        found.append(f"It has {count(row['components'] - 1)} stray pieces beside the main one.")
    if row["soft_fraction"] > 0.15:
        found.append(
            f"{share(row['soft_fraction'])} of the picture is half transparent, neither subject "
            f"nor background."
        )
    edge, side = row["edge_width_px"], max(row["source_width"], row["source_height"])
    if edge is not None and edge > max(8, 0.02 * side):
        found.append(f"Its outline is blurred over {edge:.0f} pixels.")
    if row["provider_resized"]:
        found.append("The provider sent it in another size; its matte was scaled to fit.")
    if row["hole_ratio"] > 0.1:
        found.append(f"It has holes as large as {share(row['hole_ratio'])} of the filled shape.")
    sides = [side for side in _SIDES if row[f"touches_{side}"]]
    if sides and not row["is_full"]:
        found.append(f"It runs out of the picture at the {_joined(sides)}.")
    return found


def _joined(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
