"""The dataset card: README.md with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from ...transforms.engines import licences
from ...transforms.providers.catalogue import ADAPTERS
from ..columns import picture_columns, stored_schema
from .hugging_face import IMAGE, Feature, feature_of, json_feature_of, named

_BODY = """
# Cutouts by alphabeam

Made from `{manifest}` with the engine `{engine}`: {done} cutouts of {rows} pictures,
{failed} failed. Every picture has straight (not premultiplied) alpha unless a background was asked
for; every row says how good its mask is.

{folders}

## Loading

```python
{loading}
```
{notes}
## Engine

| | |
|---|---|
| engine | {engine} |
| model | {model} |
| revision | {revision} |
| licence of the model | {licence} |
| settings | `{settings_hash}`, in full in `dataset.json` |

The source pictures keep their own licences, which hold for their cutouts as well.

## Columns

| column | type |
|---|---|
{columns}
"""

_FOLDERS = {
    "files": {
        "data/": "Parquet, one row a picture",
        "images/": "the cutouts, `image_path` of their row",
        "masks/": "the mattes as 8-bit grey PNG, `mask_path`, when they were asked for",
    },
    "embedded": {
        "data/": "Parquet, one row a picture, with the cutout in `image` and, when they were "
        "asked for, the matte in `mask`",
    },
    "webdataset": {
        "shards/": "tar files for WebDataset: `KEY.rgba.*`, `KEY.json` (the row) and, when they "
        "were asked for, `KEY.mask.png`",
        "data/": "Parquet, the same rows without their pictures",
    },
}
_EVERYWHERE = {
    "errors/": "Parquet, one row a picture that failed, and why",
    "_units/": "commit markers: files with sizes and SHA-256, counts, timings",
}

_LOADING = {
    "files": """from datasets import Image, load_dataset

rows = load_dataset(FOLDER, split="{split}")
pictures = rows.map(lambda row: {{"image": f"{{FOLDER}}/{{row['image_path']}}"}}).cast_column("image", Image())""",
    "embedded": """from datasets import load_dataset

pictures = load_dataset(FOLDER, split="{split}")  # or with streaming=True
pictures[0]["image"]""",
    "webdataset": """from datasets import load_dataset

samples = load_dataset(FOLDER, split="{split}", streaming=True)

from glob import glob
from webdataset import WebDataset

shards = glob(f"{{FOLDER}}/shards/**/*.tar", recursive=True)
samples = WebDataset(shards, shardshuffle=False).decode("pilrgba")""",
}  # fmt: skip

# The bounds that the hub names: 10**3, 10**4, … 10**12.
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B",
          "1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T")  # fmt: skip

_LICENCE_IDS = {"MIT": "mit", "Apache-2.0": "apache-2.0", "CC BY-NC 4.0": "cc-by-nc-4.0"}
_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)


def dataset_card(
    values: Mapping[str, Any],
    schema: pa.Schema,
    errors: pa.Schema,
    partitions: Sequence[str],
    splits: Sequence[str],
) -> str:
    """Writes the card of a finished dataset.

    Args:
      values: the content of `dataset.json`.
      schema: of `data/`, partition columns included.
      errors: the schema of `errors/`.
      partitions: the columns that are Hive folders.
      splits: the values of a partition column `split`, as its folders spell them. They become the
        splits of the hub where it takes all of them for names; without any, all rows are `train`.
    """
    totals, engine, settings = values["totals"], values["engine"], values["settings"]
    layout = settings["layout"]
    splits = splits if all(map(_is_split, splits)) else ()
    stored = list(stored_schema(schema, partitions, layout))
    if layout == "webdataset":
        features = _shard_features(settings, schema)
    else:
        features = _features(stored, picture_columns(layout, settings["compose"]["save_mask"]))
    metadata = {
        "license": "other",
        "license_name": f"source-pictures-and-{_licence_id(settings)}",
        "license_link": "README.md",
        "task_categories": ["image-segmentation"],
        "tags": ["alphabeam", "background-removal", "image-matting"],
        "size_categories": [_size_category(totals["done"])],
        "configs": [_config(layout, splits, stored, features)],
        "dataset_info": {"config_name": "default", "features": features},
    }
    if totals["failed"] and layout != "webdataset":  # one dataset is read by one library of theirs
        failed = _features(errors)
        files = [{"split": "train", "path": "errors/*.parquet"}]
        metadata["configs"].append(_with_columns("errors", files, errors, failed))
        info = {"config_name": "errors", "features": failed}
        metadata["dataset_info"] = [metadata["dataset_info"], info]
    folders = {**_FOLDERS[layout], **_EVERYWHERE}
    body = _BODY.format(
        manifest=values["manifest"]["uri"],
        engine=settings["engine"],
        model=engine.get("model") or "none",
        revision=engine.get("revision") or "none",
        licence=licence_of(settings) or "not stated",
        settings_hash=values["settings_hash"],
        folders=_table(("folder", "content"), {f"`{name}`": folders[name] for name in folders}),
        loading=_LOADING[layout].format(split=splits[0] if splits else "train"),
        notes=_notes(layout, partitions, splits),
        columns="\n".join(f"| `{field.name}` | {field.type} |" for field in schema),
        **{name: f"{totals[name]:,}" for name in ("done", "rows", "failed")},
    )
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n{body}"


def licence_of(settings: Mapping[str, Any]) -> str:
    """Says under which licence the model is, or each of a chain; empty where none is stated.

    Args:
      settings: as recorded: `engine`, and in `engine_options` the weights of each.
    """
    return "; ".join(dict.fromkeys(filter(None, _licences(settings))))


def engine_licence(name: str, options: Mapping[str, Any] | None = None) -> str:
    """Says under which licence one engine's weights are; for hosted ones, whose terms hold."""
    if name in ADAPTERS:
        return f"the provider's terms ({name})"
    return licences.licence_of(name, options)


def _licences(settings: Mapping[str, Any]) -> list[str]:
    options = settings.get("engine_options", {})
    names = [name.strip() for name in settings["engine"].split(",")]
    return [engine_licence(name, options.get(name)) for name in names]


def _licence_id(settings: Mapping[str, Any]) -> str:
    stated = [licence.lower() for licence in _licences(settings)]
    known = [
        short
        for text, short in _LICENCE_IDS.items()
        if any(licence.startswith(text.lower()) for licence in stated)
    ]
    return "-and-".join(known) or "model"


def _config(
    layout: str, splits: Sequence[str], stored: Sequence[pa.Field], features: Sequence[Feature]
) -> dict[str, Any]:
    folder, suffix = ("shards", "tar") if layout == "webdataset" else ("data", "parquet")
    files = [
        {"split": split, "path": f"{folder}/**/split={split}/**/*.{suffix}"} for split in splits
    ] or [{"split": "train", "path": f"{folder}/**/*.{suffix}"}]
    if layout == "webdataset":
        return {"config_name": "default", "data_files": files}
    return _with_columns("default", files, stored, features)


def _with_columns(
    name: str,
    files: list[dict[str, str]],
    stored: Collection[pa.Field],
    features: Sequence[Feature],
) -> dict[str, Any]:
    """Makes a config that leaves out the columns that have no feature."""
    config: dict[str, Any] = {"config_name": name, "data_files": files}
    if len(features) < len(stored):
        config["columns"] = [feature["name"] for feature in features]
    return config


def _features(stored: Iterable[pa.Field], pictures: Sequence[str] = ()) -> list[Feature]:
    """Gives the features of Parquet columns; those that `datasets` cannot read are left out."""
    return named(
        (field.name, IMAGE if field.name in pictures else feature_of(field.type))
        for field in stored
    )


def _shard_features(settings: Mapping[str, Any], schema: pa.Schema) -> list[Feature]:
    compose, text = settings["compose"], {"dtype": "string"}
    members = [(f"rgba.{compose['output_format']}", IMAGE)]
    if compose["save_mask"]:
        members.append(("mask.png", IMAGE))
    row = named((field.name, json_feature_of(field.type)) for field in schema)
    return named([*members, ("json", {"struct": row}), ("__key__", text), ("__url__", text)])


def _is_split(name: str) -> bool:
    return bool(_SPLIT.fullmatch(name)) and name != "all"  # which `datasets` keeps for itself


def _notes(layout: str, partitions: Sequence[str], splits: Sequence[str]) -> str:
    if layout == "embedded" and partitions:
        return (
            f"\nThe files have the columns {', '.join(partitions)} as well as the folders' names, so "
            'read them with `pandas.read_parquet(f"{FOLDER}/data", partitioning=None)`, and so with '
            "pyarrow.\n"
        )
    folders = [name for name in partitions if not (splits and name == "split")]
    if layout != "files" or not folders:
        return ""
    return (
        f"\n`datasets` reads no folder names, which hold {', '.join(folders)}: "
        '`pyarrow.dataset.dataset("data", partitioning="hive")` and DuckDB do.\n'
    )


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {text} |" for name, text in rows.items())])


def _size_category(rows: int) -> str:
    """Gives the hub's name for a number of rows."""
    return _SIZES[min(max(len(str(rows)) - 3, 0), len(_SIZES) - 1)]
