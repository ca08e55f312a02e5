"""Prints how well and how fast the embedded engine cuts out, beside plain grabCut.

    python benchmarks/grabcut.py [--variants 6]

Pictures with known mattes come from tests/composites.py. `grabCut from a rectangle` is OpenCV's
grabCut started from a rectangle 4% inside the picture, at 320 pixels.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr

from alphabeam.transforms.engines.grabcut import GrabCut
from alphabeam.transforms.engines.saliency import saliency

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from composites import KINDS, Composite, Photograph, composite_set, iou, photographs

Method = Callable[[np.ndarray], np.ndarray]


def from_rectangle(rgb: np.ndarray) -> np.ndarray:
    """Runs plain grabCut from the border; uint8 (H, W)."""
    height, width = rgb.shape[:2]
    scale = min(1.0, 320 / max(height, width))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    high, wide = small.shape[:2]
    inset = round(0.04 * max(high, wide))
    rectangle = (inset, inset, wide - 2 * inset, high - 2 * inset)
    mask = np.zeros((high, wide), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(small, mask, rectangle, *models, 5, cv2.GC_INIT_WITH_RECT)
    return cv2.resize((mask & 1) * np.uint8(255), (width, height), interpolation=cv2.INTER_LINEAR)


def by_saliency(rgb: np.ndarray) -> np.ndarray:
    """Thresholds the saliency map alone; uint8 (H, W)."""
    levels = np.rint(saliency(rgb) * 255).astype(np.uint8)
    _, mask = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return cv2.resize(mask, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def by_engine(rgb: np.ndarray) -> np.ndarray:
    return GrabCut().predict([rgb])[0].alpha


def scores(method: Method, pictures: list[Composite] | list[Photograph]) -> np.ndarray:
    return np.array([iou(method(one.picture) / 255, one.alpha) for one in pictures])


def cell(found: np.ndarray) -> str:
    return f"{found.mean():.3f} ({np.mean(found > 0.8):.0%})"


def seconds(method: Method, picture: np.ndarray) -> float:
    """Gives the least CPU seconds of five calls."""
    times = []
    for _ in range(5):
        begin = time.thread_time()
        method(picture)
        times.append(time.thread_time() - begin)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variants", type=int, default=6, help="grounds a subject and kind")
    variants = parser.parse_args().variants
    cv2.setNumThreads(1)
    pictures = composite_set(variants=variants)
    real = photographs()
    size = {"1024 x 1024": (1024, 1024), "4000 x 3000": (4000, 3000)}
    large = {name: cv2.resize(real[0].picture, shape) for name, shape in size.items()}

    print(f"{len(pictures)} composites, {len(real)} photographs; mean IoU (share above 0.8)\n")
    columns = [*(f"{kind} ground" for kind in KINDS), "real photographs"]
    print("| | " + " | ".join([*columns, *(f"CPU ms at {name}" for name in size)]) + " |")
    print("|---" * (1 + len(columns) + len(size)) + "|")
    for name, method in (
        ("grabCut from a rectangle", from_rectangle),
        ("saliency alone", by_saliency),
        ("the engine", by_engine),
    ):
        cells = [cell(scores(method, [p for p in pictures if p.kind == kind])) for kind in KINDS]
        cells.append(cell(scores(method, real)))
        cells += [f"{1e3 * seconds(method, picture):.0f}" for picture in large.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")

    mattes = [GrabCut().predict([one.picture])[0] for one in pictures]
    good = np.array([iou(m.alpha / 255, p.alpha) for m, p in zip(mattes, pictures, strict=True)])
    sure = np.array([0.0 if m.confidence is None else m.confidence for m in mattes])
    wins = np.mean(sure[good > 0.8][:, None] > sure[good <= 0.8])
    print(
        f"\nconfidence against IoU: rank correlation {spearmanr(sure, good).statistic:.2f}; "
        f"a cutout above 0.8 is surer than one below in {wins:.0%} of pairs; "
        f"mean {sure[good > 0.8].mean():.3f} above, {sure[good <= 0.8].mean():.3f} below"
    )


if __name__ == "__main__":
    main()
