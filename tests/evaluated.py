"""Datasets with masks to judge them by, for tests of evaluations."""

from __future__ import annotations

import numpy as np
from photographs import write_manifest
from PIL import Image

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.evaluation.metrics import METRICS

KEYS = ["astronaut_0", "chelsea_0", "china_0", "coffee_0", "flower_0", "rocket_0"]
NAMES = [metric.name for metric in METRICS]
DISC = ["--engine", "stub_engines:Disc"]


def make_here(folder):
    """Makes `out`, a dataset of six photographs by split, and `masks`, its own mattes."""
    manifest = write_manifest(str(folder), 6, size=96)
    run(manifest, folder / "out", "--partition_by", "split")
    write_masks(folder / "masks", stored_alpha(folder / "out"))
    return folder


def run(manifest, output, *flags, engine=DISC):
    given = ["--manifest", str(manifest), "--output", str(output), "--no_report"]
    assert main(["run", *given, *engine, *flags]) == 0


def stored_alpha(root):
    """Gives the mattes of a dataset of the `files` layout by key."""
    rows = open_dataset(str(root)).to_table().to_pylist()
    return {row["key"]: np.array(Image.open(root / row["image_path"]))[..., 3] for row in rows}


def write_masks(folder, mattes):
    folder.mkdir(parents=True, exist_ok=True)
    for key, levels in mattes.items():
        Image.fromarray(levels).save(folder / f"{key}.png")
    return folder


def moved(levels, pixels):
    return np.roll(levels, pixels, axis=1)


def rows_of(evaluation):
    return {row["key"]: row for row in evaluation.table.to_pylist()}
