"""The layouts by name: how a unit's pictures and rows can be stored."""

from __future__ import annotations

from collections.abc import Callable

from .contract import UnitContext, UnitWriter
from .embedded import EmbeddedWriter
from .files import FilesWriter
from .webdataset import WebDatasetWriter

LAYOUTS: dict[str, Callable[[UnitContext], UnitWriter]] = {
    "files": FilesWriter,
    "embedded": EmbeddedWriter,
    "webdataset": WebDatasetWriter,
}
