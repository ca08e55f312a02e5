"""A finished dataset of some thousand rows in every mood, and its report, for tests."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from moody_engine import MOODS
from photographs import write_photographs
from PIL import Image

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.report import write_report

ROWS = 2400
RARE = "<i>rare</i> \"'>"
HOSTILE = {
    5: "<script>document.title = 'taken'</script>",
    6: "x" * 4000,
    7: "\u202eevil\n\"'><img src=http://127.0.0.1:9/x.png onerror=alert(1)>",
    8: "&amp;' onmouseover='alert(1)",
}


def run(manifest, output, *flags, engine="moody_engine:Moody"):
    command = ["run", "--manifest", str(manifest), "--output", str(output)]
    return main([*command, "--engine", engine, "--no_report", *flags])


def write_moody_manifest(folder: Path) -> Path:
    """Writes photographs in every mood, and a manifest of many rows about them."""
    names = write_photographs(str(folder / "photos"), 6, size=96)
    for name in names:
        pixels = np.array(Image.open(folder / "photos" / name))
        for number, mood in enumerate(MOODS):
            pixels[:4, :4] = 40 * number + 20
            stem = name.removesuffix("_0.jpg")
            Image.fromarray(pixels).save(folder / "photos" / f"{stem}_{mood}.png")
    stems = [name.removesuffix("_0.jpg") for name in names]
    rng = np.random.default_rng(7)
    moods = rng.choice(MOODS, ROWS, p=[0.8, 0.01, 0.01, 0.12, 0.03, 0.03])
    images = [f"photos/{stems[row % 6]}_{mood}.png" for row, mood in enumerate(moods)]
    for row in range(0, ROWS, 100):
        images[row] = "data:image/png;base64,@@@" if row % 300 else "photos/nowhere.png"
    keys = [HOSTILE.get(row, f"{stems[row % 6]}-{row:05d}") for row in range(ROWS)]
    splits = rng.choice(["train", "test", "val"], ROWS).tolist()
    for row in HOSTILE:
        splits[row] = RARE
    table = pa.table({"key": keys, "image": images, "split": splits})
    pq.write_table(table, folder / "manifest.parquet")
    return folder / "manifest.parquet"


@functools.cache
def moody_dataset(folder: Path) -> Path:
    """Makes the dataset, once a folder; a few rows are said to be of a second engine, a provider's."""
    output = folder / "out"
    manifest = write_moody_manifest(folder)
    assert run(manifest, output, "--partition_by", "split", "--unit_size", "300") == 0
    path = sorted((output / "data" / "split=val").iterdir())[0]
    table = pq.read_table(path, partitioning=None)
    column = table.schema.get_field_index("engine")
    other = pa.array(["moody_engine:Other"] * table.num_rows)
    table = table.set_column(column, "engine", other)
    column = table.schema.get_field_index("provider_resized")
    resized = pa.array([row % 3 == 0 for row in range(table.num_rows)])
    pq.write_table(table.set_column(column, "provider_resized", resized), path)
    assert write_report(str(output)) == str(output / "report.html")
    return output


def rows_of(dataset):
    return open_dataset(str(dataset)).to_table().to_pylist()


def page_of(dataset):
    return (dataset / "report.html").read_text()
