"""The layouts by name: how a unit's pictures and rows can be stored."""

from __future__ import annotations

from collections.abc import Callable

from .layout_contract import UnitContext, UnitWriter
from .layout_embedded import EmbeddedWriter
from .layout_files import FilesWriter
from .layout_webdataset import WebDatasetWriter

LAYOUTS: dict[str, Callable[[UnitContext], UnitWriter]] = {
    "files": FilesWriter,
    "embedded": EmbeddedWriter,
    "webdataset": WebDatasetWriter,
}
