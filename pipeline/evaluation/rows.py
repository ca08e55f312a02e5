"""The rows of an evaluation: one a key, with its scores or with why it has none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ...transforms.stream import batched
from .metrics import METRICS, Scores
from .statuses import DUPLICATE_KEY

_OTHER = "other_"
_LASTING = ("key", "partition", "truth_uri", "picture", "other_picture")
_BATCH = 4096


@dataclass(frozen=True)
class Outcome:
    """What became of one key in one dataset.

    Attributes:
      status: one of `statuses.STATUSES`.
      error: a short stable class of trouble in snake_case; None without trouble.
      message: one line for people; None without trouble.
      picture: path of the cutout in the dataset; None where it has none of its own.
      resized: whether the cutout's matte was brought to the truth's size.
      scores: None unless scored.
    """

    status: str
    error: str | None = None
    message: str | None = None
    picture: str | None = None
    resized: bool = False
    scores: Scores | None = None


@dataclass(frozen=True)
class Row:
    """What became of one key.

    Attributes:
      key: of the cutout and its truth.
      partition: Hive values of the dataset's row, such as `split=train, label=3`; None without.
      truth_uri: where the truth is from; None without truth.
      width, height: pixels, of the truth; None where it was not read.
      here: what became of it in the dataset.
      other: the same in the one it is compared with, if there is one.
    """

    key: str
    partition: str | None
    truth_uri: str | None
    width: int | None
    height: int | None
    here: Outcome
    other: Outcome | None


def schema(compared: bool) -> pa.Schema:
    """Gives the columns of `evaluation.parquet`.

    Args:
      compared: whether there is another dataset, whose columns begin with `other_`.
    """
    own = [
        pa.field("status", pa.string()),
        pa.field("error", pa.string()),
        pa.field("message", pa.string()),
        pa.field("picture", pa.string()),
        pa.field("resized", pa.bool_()),
        *(pa.field(metric.name, pa.float64()) for metric in METRICS),
    ]
    fields = [
        pa.field("key", pa.string()),
        pa.field("partition", pa.string()),
        pa.field("truth_uri", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        *own,
    ]
    if compared:
        fields += [field.with_name(other(field.name)) for field in own]
    return pa.schema(fields)


def other(name: str) -> str:
    """Gives the name that a column has for the other dataset."""
    return _OTHER + name


def collect(rows: Iterable[Row], compared: bool) -> pa.Table:
    """Puts rows into a table as they come; memory holds some 300 bytes a row."""
    columns = schema(compared)
    batches = [
        pa.RecordBatch.from_pylist([_values(row) for row in some], schema=columns)
        for some in batched(rows, _BATCH)
    ]
    return pa.Table.from_batches(batches, schema=columns)


def _values(row: Row) -> dict[str, object]:
    values: dict[str, object] = {
        "key": row.key,
        "partition": row.partition,
        "truth_uri": row.truth_uri,
        "width": row.width,
        "height": row.height,
    }
    values.update(_outcome_values(row.here))
    if row.other is not None:
        for name, value in _outcome_values(row.other).items():
            values[other(name)] = value
    return values


def _outcome_values(outcome: Outcome) -> dict[str, object]:
    scores = outcome.scores.values() if outcome.scores is not None else {}
    return {
        "status": outcome.status,
        "error": outcome.error,
        "message": outcome.message,
        "picture": outcome.picture,
        "resized": outcome.resized,
        **scores,
    }


def without_ambiguous(table: pa.Table, keys: set[str]) -> pa.Table:
    """Takes back the scores of keys that turned out to have several truths."""
    why = "several truths have this key: which is the right one?"
    outcome = Outcome(DUPLICATE_KEY, "repeated_truth", why)
    values = _values(Row("", None, None, None, None, outcome, outcome))
    ambiguous = pa.array([key in keys for key in table.column("key").to_pylist()])

    def replaced(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if field.name in _LASTING:
            return column
        value = pa.scalar(values.get(field.name), field.type)
        return pc.call_function("if_else", [ambiguous, value, column])

    columns = [replaced(*pair) for pair in zip(table.schema, table.columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=table.schema)
