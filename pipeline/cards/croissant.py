"""croissant.json: the dataset described for machines, in MLCommons' vocabulary.

Format: the Croissant specification 1.0 (http://mlcommons.org/croissant/1.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from ..column_meanings import MEANINGS
from ..columns import picture_columns
from .readme import licence_of

# The JSON-LD context that the specification gives, less the terms that are not used here.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_FORMATS = {
    "png": "image/png",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "parquet": "application/x-parquet",
    "tar": "application/x-tar",
}

_TYPES = (
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_floating, "sc:Float"),
    (pa.types.is_decimal, "sc:Float"),
    (pa.types.is_date, "sc:Date"),
    (pa.types.is_timestamp, "sc:Date"),  # the one type that version 1.0 has for both
    (pa.types.is_string, "sc:Text"),
    (pa.types.is_large_string, "sc:Text"),
)


def croissant(values: Mapping[str, Any], schema: pa.Schema) -> bytes:
    """Describes a finished dataset.

    Rows are the record set `cutouts`. Columns that Croissant has no type for (structs, maps, bytes)
    are left out; the Parquet files have them.

    Args:
      values: the content of `dataset.json`.
      schema: of the Parquet files themselves.
    """
    settings = values["settings"]
    suffix = settings["compose"]["output_format"]
    pictures = picture_columns(settings["layout"], settings["compose"]["save_mask"])
    distribution = [_file_set("rows", "data", "parquet")]
    if settings["layout"] == "files":
        distribution.append(_file_set("images", "images", suffix))
        if settings["compose"]["save_mask"]:
            distribution.append(_file_set("masks", "masks", "png"))
    elif settings["layout"] == "webdataset":
        distribution.append(_file_set("shards", "shards", "tar"))
    licence = licence_of(settings) or "not stated"
    description = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "alphabeam-cutouts",
        "description": (
            f"Cutouts of {values['manifest']['uri']} by alphabeam: {values['totals']['done']} "
            f"pictures without their backgrounds, by the engine {settings['engine']}, with "
            "measures of every mask."
        ),
        "license": f"That of the source pictures, and of the model: {licence}",
        "version": "1.0.0",
        "datePublished": values["updated"],
        "citeAs": f"Cutouts of {values['manifest']['uri']}, made by alphabeam",
        "distribution": distribution,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "cutouts",
                "name": "cutouts",
                "description": "One record a cutout.",
                "field": [
                    field
                    for column in schema
                    if (field := _field(column, column.name in pictures)) is not None
                ],
            }
        ],
    }
    return json.dumps(description, indent=1, ensure_ascii=False).encode()


def _file_set(name: str, folder: str, suffix: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "encodingFormat": _FORMATS[suffix],
        # Where `**` is read as `*`, it stands for at least one folder: so both are needed.
        "includes": [f"{folder}/*.{suffix}", f"{folder}/**/*.{suffix}"],
    }


def _field(column: pa.Field, picture: bool) -> dict[str, Any] | None:
    kind = column.type
    source: dict[str, Any] = {"fileSet": {"@id": "rows"}, "extract": {"column": column.name}}
    field = {
        "@type": "cr:Field",
        "@id": f"cutouts/{quote(column.name, safe='')}",
        "name": column.name,
        "source": source,
    }
    if column.name in MEANINGS:
        field["description"] = MEANINGS[column.name]
    if picture:
        source["transform"] = {"jsonPath": "bytes"}
        return {**field, "dataType": "sc:ImageObject"}
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind, field["repeated"] = kind.value_type, True
    name = next((name for test, name in _TYPES if test(kind)), None)
    return None if name is None else {**field, "dataType": name}
