"""Real photographs for tests, from scikit-image and scikit-learn, as files and manifests."""

from __future__ import annotations

import functools
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import skimage.data
import sklearn.datasets
from PIL import Image

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "flower", "china")


@functools.cache
def photograph(name: str) -> np.ndarray:
    """Gives a photograph: uint8, shape (H, W, 3)."""
    if name in ("flower", "china"):
        return np.asarray(sklearn.datasets.load_sample_image(f"{name}.jpg"))
    return np.asarray(getattr(skimage.data, name)())


def write_photographs(folder: str, count: int = 6, size: int = 160) -> list[str]:
    """Writes `count` different JPEG photographs of `size` pixels' width; gives their file names."""
    os.makedirs(folder, exist_ok=True)
    names = []
    for number in range(count):
        pixels = photograph(NAMES[number % len(NAMES)])
        picture = Image.fromarray(pixels).resize(
            (size, max(1, size * pixels.shape[0] // pixels.shape[1]))
        )
        turn = number // len(NAMES)
        picture = picture.rotate(7 * turn, expand=False)
        name = f"{NAMES[number % len(NAMES)]}_{turn}.jpg"
        picture.save(os.path.join(folder, name), quality=90)
        names.append(name)
    return names


def write_manifest(folder: str, count: int = 6, size: int = 160, **columns: list) -> str:
    """Writes photographs and a Parquet manifest of them; gives its path.

    The manifest has the columns `key`, `image` and `split`, and any that are given.
    """
    names = write_photographs(os.path.join(folder, "photos"), count, size)
    table = pa.table(
        {
            "key": [name.removesuffix(".jpg") for name in names],
            "image": [f"photos/{name}" for name in names],
            "split": ["train" if number % 3 else "test" for number in range(count)],
            **columns,
        }
    )
    path = os.path.join(folder, "manifest.parquet")
    pq.write_table(table, path)
    return path
