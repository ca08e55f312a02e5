"""Where an evaluation is kept: beside the dataset's own files, and as CSV where one is wanted."""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.csv

from ...transforms import storage
from ..errors import RunError, UsageError
from ..layouts.contract import parquet_bytes
from ..paths import DatasetPaths

FORMAT = 1  # of evaluation.json


def check_csv(uri: str) -> None:
    """Refuses a place where no CSV file can be written, before there is anything to lose.

    Raises:
      UsageError: it is a folder, or its own folder does not exist.
    """
    if storage.is_folder(uri):
        raise UsageError(f"--csv {uri} is a folder: give a file, for example {uri}/rows.csv")
    if storage.is_local(uri) and not storage.is_folder(storage.parent(uri)):
        raise UsageError(f"--csv {uri}: there is no folder {storage.parent(uri)}")


def read_evaluation(root: str) -> dict[str, Any] | None:
    """Reads `evaluation.json` of a dataset; None when there is none.

    Args:
      root: the dataset's folder.

    Raises:
      UsageError: there is one, and it cannot be read.
    """
    paths = DatasetPaths(root)
    uri = paths.uri(paths.EVALUATION)
    if not storage.exists(uri):
        return None
    try:
        summary = json.loads(storage.read_bytes(uri))
        if summary["alphabeam_evaluation"] != FORMAT:
            raise ValueError(f"its form is {summary['alphabeam_evaluation']}, not {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{uri} cannot be read ({error}): run alphabeam evaluate again, or delete it"
        ) from error
    return summary


def write_evaluation(
    root: str, table: pa.Table, summary: dict[str, Any], csv: str | None = None
) -> None:
    """Writes `evaluation.parquet` and `evaluation.json` into a dataset, in place of older ones.

    Args:
      root: the dataset's folder.
      table: the rows.
      summary: the sums.
      csv: where the rows go as CSV as well; None for nowhere.

    Raises:
      RunError: a file cannot be written.
    """
    paths = DatasetPaths(root)
    try:
        paths.write(paths.EVALUATION_ROWS, parquet_bytes(table))
        paths.write(paths.EVALUATION, json.dumps(summary, indent=1, allow_nan=False).encode())
        if csv is not None:
            stream = io.BytesIO()
            pyarrow.csv.write_csv(table, stream)
            storage.write_atomic(csv, stream.getvalue())
    except OSError as error:
        raise RunError(f"the evaluation cannot be written: {error}") from error
    if paths.scratch:
        with suppress(OSError):  # not empty: a run is at work, and cleans up itself
            os.rmdir(paths.scratch)
