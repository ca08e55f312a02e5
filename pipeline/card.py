"""The dataset card: README.md with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import yaml

from ..transforms.engines import registry

_BODY = """
# Cutouts by alphabeam

Made from `{manifest}` with the engine `{engine}`: {done} cutouts of {rows} pictures,
{failed} failed. Every picture is a straight-alpha RGBA file unless a background was asked for; every
row of `data/` says how good its mask is.

| folder | content |
|---|---|
| `data/` | Parquet, one row a picture |
| `images/` | the cutouts, `image_path` of their row |
| `masks/` | the mattes as 8-bit grey, when they were asked for |
| `errors/` | Parquet, one row a picture that failed, and why |
| `_units/` | commit markers: files with sizes and SHA-256, counts, timings |

## Engine

| | |
|---|---|
| engine | {engine} |
| model | {model} |
| revision | {revision} |
| licence of the model | {licence} |
| settings | `{settings_hash}`, in full in `dataset.json` |

## Columns

| column | type |
|---|---|
{columns}
"""


def dataset_card(values: dict[str, Any], schema: pa.Schema) -> str:
    """Writes the card of a finished dataset.

    Args:
      values: the content of `dataset.json`.
      schema: of `data/`.
    """
    totals, engine = values["totals"], values["engine"]
    try:
        licence = registry.find(engine["engine"]).licence
    except registry.EngineUnusable:
        licence = ""
    metadata = {
        "license": "other",
        "license_name": f"see-the-source-pictures-and-{engine['engine']}".lower().replace(":", "-"),
        "task_categories": ["image-segmentation"],
        "tags": ["alphabeam", "background-removal", "image-matting"],
        "size_categories": [_size_category(totals["done"])],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/**/*.parquet"}],
            }
        ],
    }
    body = _BODY.format(
        manifest=values["manifest"]["uri"],
        engine=engine["engine"],
        model=engine.get("model") or "none",
        revision=engine.get("revision") or "none",
        licence=licence or "not stated",
        settings_hash=values["settings_hash"],
        columns="\n".join(f"| `{field.name}` | {field.type} |" for field in schema),
        **{name: f"{totals[name]:,}" for name in ("done", "rows", "failed")},
    )
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n{body}"


def _size_category(rows: int) -> str:
    """Gives the hub's name for a number of rows."""
    bounds = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"),
              (10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B")]  # fmt: skip
    return next(
        (name for bound, name in bounds if rows < bound), "n>1T" if rows > 1e12 else "1B<n<10B"
    )
