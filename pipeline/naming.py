"""File names from keys: safe on every file system, unique within a unit, stable between runs."""

from __future__ import annotations

import hashlib
import re

# Windows keeps these for devices, whatever the extension.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])")
# `datasets` skips members of a shard that begin with two underscores.
_SAFE = re.compile(r"(?!__)[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_MAX_STEM = 80


def safe_stem(key: str) -> str:
    """Turns a key into a file name without extension.

    A key of up to 100 ASCII letters, digits, `_` and `-` that does not begin with `-` or `__` is its
    own stem. Any other is cut to what is readable of it plus 12 hexadecimal digits of its SHA-256,
    so that different keys keep different names. Dots never occur: WebDataset splits names at the first one.
    """
    if _SAFE.fullmatch(key) and not _RESERVED.fullmatch(key):
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9_]+", "_", key).strip("_")[:_MAX_STEM]
    return f"{readable}-{digest}" if readable else digest


class Stems:
    """Gives the stems of one unit's keys, in row order; equal or look-alike keys get a number.

    The stem of a row depends only on the keys up to it, so a row keeps its name when it is run
    again, whatever became of the others.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, key: str) -> str:
        """Gives the next row's stem; unique in the unit also where file names ignore case."""
        stem = first = safe_stem(key)
        number = 1
        while stem.lower() in self._taken:
            number += 1
            stem = f"{first}-{number}"
        self._taken.add(stem.lower())
        return stem
