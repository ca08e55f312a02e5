"""Finished pictures put where their rows say, between the engine and the dataset."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ..transforms.errors import DeliveryError
from ..transforms.fetch import FetchLimits
from ..transforms.records import Cutout, Failure, ImageRecord
from ..transforms.stream import ordered_map
from ..transforms.upload import upload, upload_trouble
from .errors import UsageError

_UPLOADERS = 16  # pictures under way at the same time, in each unit


def check_upload_column(
    name: str | None, schema: pa.Schema, partition_by: Sequence[str] = ()
) -> str | None:
    """Checks that a manifest has a column of addresses to upload to.

    Args:
      name: of the column; None for no uploads.
      schema: of the manifest's columns but the image and the key.
      partition_by: columns that become folders.

    Returns:
      The name.

    Raises:
      UsageError: there is no such column, it holds no text, or its addresses, which are secrets,
        would become names of folders.
    """
    if name is None:
        return None
    if name not in schema.names:
        raise UsageError(
            f"--upload_column: the manifest has no column {name!r} of addresses to upload to; it "
            f"has {', '.join(schema.names) or 'none'}"
        )
    if name in partition_by:
        raise UsageError(
            f"--upload_column: column {name!r} cannot also be one of --partition_by: its addresses "
            f"are no folder names"
        )
    kind = schema.field(name).type
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text)
    ):
        raise UsageError(
            f"--upload_column: column {name!r} is of type {kind}; use a column of web addresses"
        )
    return name


def addressed(records: Iterable[ImageRecord], targets: Sequence[Any]) -> Iterator[ImageRecord]:
    """Gives records; those that name no usable address fail before anything is paid for them.

    Args:
      records: of a unit.
      targets: each row's address to upload to.
    """
    for record in records:
        trouble = record.trouble or upload_trouble(targets[record.row])
        yield record if trouble is None else replace(record, trouble=trouble)


def uploaded(
    results: Iterable[Cutout | Failure], targets: Sequence[Any], limits: FetchLimits
) -> Iterator[Cutout | Failure]:
    """Uploads every cutout, in order, and passes it on; one that cannot be is a failure.

    Args:
      results: of a unit.
      targets: each row's address to upload to.
      limits: as for fetching.
    """

    def put(result: Cutout | Failure) -> Cutout | Failure:
        if isinstance(result, Failure):
            return result
        start = time.perf_counter()
        trouble = None
        try:
            upload(targets[result.record.row], result.image, result.format, limits)
        except DeliveryError as error:
            trouble = error
        seconds = {**result.seconds, "upload": time.perf_counter() - start}
        if trouble is not None:
            return Failure(result.record, trouble, result.engine.engine, seconds, result.payments)
        return replace(result, seconds=seconds)

    return ordered_map(put, results, threads=_UPLOADERS, lookahead=2 * _UPLOADERS)
