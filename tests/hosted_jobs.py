"""`alphabeam run` through hosted providers: small pictures, flags, and what became of each row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from service import matte, picture
from standins.kinds import Way
from standins.studio import Studio

from alphabeam.pipeline.dataset import open_dataset, open_errors
from alphabeam.pipeline.verify import verify

KEY = "PROVIDER_TEST_KEY"


def flags_for(way: Way, standin: Studio, *others: str, options: dict | None = None) -> list[str]:
    """Gives the flags that lead a way's provider to its stand-in."""
    os.environ[KEY] = standin.key
    urls = [f"--provider_url={name}={url}" for name, url in standin.urls().items()]
    wanted = json.dumps(dict(way.options) if options is None else options)
    return [f"--provider_options={wanted}", f"--api_key=env:{KEY}", "--allow_private_hosts",
            "--no_report", *urls, *others]  # fmt: skip


def small_manifest(way: Way, standin: Studio, folder: Path, numbers: Iterable[int]) -> Path:
    """Writes a manifest of `service.picture`s, local or on the web as the way takes them.

    Keys are the row's position and the picture's number, `0003_17`.
    """
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    keys, sources = [], []
    for row, number in enumerate(numbers):
        name, data = f"{number}.png", picture(number)
        if way.as_data:
            (photos / name).write_bytes(data)
        sources.append(f"photos/{name}" if way.as_data else standin.offer(name, data))
        keys.append(f"{row:04}_{number}")
    path = folder / "manifest.parquet"
    pq.write_table(pa.table({"key": keys, "image": sources}), path)
    return path


def ended(output: Path, rows: int, *, spoiled: int = 0) -> list[dict]:
    """Checks a finished dataset: it verifies, no row is missing, and the mattes are right.

    Args:
      output: the dataset.
      rows: of the manifest.
      spoiled: how many pictures may be of another size than their source.

    Returns:
      The error rows.
    """
    assert verify(str(output)).faults == ()
    done = open_dataset(str(output)).to_table(columns=["key", "image_path"]).to_pylist()
    errors = open_errors(str(output)).to_table().to_pylist()
    keys = [row["key"] for row in done + errors]
    assert len(keys) == len(set(keys)) == rows
    wrong = [row["key"] for row in done if not _is_right(output / row["image_path"], row["key"])]
    assert len(wrong) <= spoiled, wrong
    return errors


def _is_right(path: Path, key: str) -> bool:
    alpha = np.asarray(Image.open(path))[..., 3]
    return np.array_equal(alpha, matte(int(key.partition("_")[2])))
