"""Sums over rows: the same for the same rows, in whatever order and files they stand."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

SUMS = 1 << 64  # what sums are taken modulo

IDENTITY = ("key", "source_uri", "image_sha256")


def value_of(text: bytes) -> int:
    """Gives what a text adds to a sum: 64 bits of its hash."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def row_value(key: Any, source_uri: Any, image_sha256: Any) -> int:
    """Gives what a row of `data/` adds to a sum, by what tells it from others."""
    return value_of(f"{key}\0{source_uri}\0{image_sha256}".encode())


def sum_of_rows(rows: pa.Table) -> int:
    """Sums up rows of `data/`."""
    columns = (rows.column(name).to_pylist() for name in IDENTITY)
    return sum(map(row_value, *columns)) % SUMS
