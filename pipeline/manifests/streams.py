"""Files of manifests, opened to be read from front to back."""

from __future__ import annotations

from typing import Any

from ...transforms import storage
from ...transforms.rows import is_web


def open_stream(uri: str) -> Any:
    """Opens a file to be read from front to back, which is all that some web servers allow."""
    if not is_web(uri):
        return storage.open_input(uri)
    fs, path = storage.resolve(uri)
    return fs.open(path, "rb", block_size=0)
