"""Prints how much of the old background foreground refinement takes out, and how fast.

    python benchmarks/foreground.py

Pictures with known foreground colours come from tests/composites.py. The error is that of a
recomposition's soft pixels, as a share of the error without any correction.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from alphabeam.transforms.engines.foreground_torch import refine_foreground_batch
from alphabeam.transforms.foreground import refine_foreground

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from composites import KINDS, Composite, composite_set

Refine = Callable[[np.ndarray, np.ndarray], np.ndarray]


def on_torch(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    batch = refine_foreground_batch(torch.from_numpy(rgb)[None], torch.from_numpy(alpha)[None])
    return batch[0].numpy()


def levels(one: Composite) -> np.ndarray:
    return np.rint(one.alpha * 255).astype(np.uint8)


def remaining_error(refine: Refine, one: Composite) -> float:
    alpha = levels(one)
    soft = (alpha > 0) & (alpha < 255)
    share = alpha[soft][:, None] / 255

    def error(rgb: np.ndarray) -> float:
        return float(np.abs(share * (rgb[soft].astype(float) - one.foreground[soft])).sum())

    return error(refine(one.picture, alpha)) / error(one.picture)


def milliseconds(refine: Refine, rgb: np.ndarray, alpha: np.ndarray) -> float:
    """Gives the least CPU time of five calls, per megapixel."""
    times = []
    for _ in range(5):
        begin = time.thread_time()
        refine(rgb, alpha)
        times.append(time.thread_time() - begin)
    return 1e9 * min(times) / alpha.size


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    pictures = composite_set()
    timed = [
        (f"{name} at {width} x {height}", cv2.resize(one.picture, (width, height)),
         cv2.resize(levels(one), (width, height)))
        for name, one in (("cup", pictures[0]), ("fur ball", pictures[60]))
        for width, height in ((1024, 1024), (4000, 3000))
    ]  # fmt: skip
    shares = [f"{np.mean((alpha > 0) & (alpha < 255)):.1%} soft" for _, _, alpha in timed]
    print(f"{len(pictures)} composites; remaining error by ground, CPU ms per megapixel\n")
    heads = [*KINDS, *(f"{timed[i][0]}, {shares[i]}" for i in range(len(timed)))]
    print("| | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(heads)) + "|")
    for name, refine in (("numpy", refine_foreground), ("torch, CPU", on_torch)):
        cells = [
            f"{np.mean([remaining_error(refine, p) for p in pictures if p.kind == kind]):.3f}"
            for kind in KINDS
        ]
        cells += [f"{milliseconds(refine, rgb, alpha):.0f}" for _, rgb, alpha in timed]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
