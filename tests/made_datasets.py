"""Datasets of every layout for tests, made by the command line from real photographs."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
from photographs import write_manifest
from PIL import Image

from alphabeam.pipeline.cli import main

LAYOUTS = ("files", "embedded", "webdataset")
CONTENT = ("data", "images", "masks", "shards", "errors")


@dataclass(frozen=True)
class Pixels:
    """A cutout, uint8 (H, W, 4), and its mask, uint8 (H, W)."""

    image: np.ndarray
    mask: np.ndarray


def run(manifest: str, output: object, layout: str, *flags: str) -> int:
    """Runs the job with the disc engine; gives the exit code."""
    return main(
        ["run", "--manifest", manifest, "--output", str(output), "--layout", layout, "--no_report",
         "--engine", "stub_engines:Disc", *flags]
    )  # fmt: skip


def make_each(folder: str, count: int, *flags: str, **columns: list) -> dict[str, str]:
    """Makes the same dataset in every layout; gives their folders."""
    manifest = write_manifest(folder, count, size=96, **columns)
    made = {}
    for layout in LAYOUTS:
        made[layout] = os.path.join(folder, layout)
        assert run(manifest, made[layout], layout, *flags) == 0
    return made


def pixels_by_key(files_dataset: str, rows: list[dict]) -> dict[str, Pixels]:
    """Decodes the pictures of a dataset of the `files` layout that has masks."""
    found = {}
    for row in rows:
        image = Image.open(os.path.join(files_dataset, row["image_path"]))
        mask = Image.open(os.path.join(files_dataset, row["mask_path"]))
        found[row["key"]] = Pixels(np.asarray(image), np.asarray(mask))
    return found


def decoded(data: bytes) -> np.ndarray:
    """Decodes an encoded picture."""
    return np.asarray(Image.open(io.BytesIO(data)))


def stored(output: object) -> dict[str, bytes]:
    """Gives the content of every stored file but those that may hold times."""
    found = {}
    for folder in CONTENT:
        for path, _, names in os.walk(os.path.join(str(output), folder)):
            for name in names:
                with open(os.path.join(path, name), "rb") as file:
                    found[os.path.relpath(os.path.join(path, name), str(output))] = file.read()
    return found
