"""Files of a dataset, opened only when they are what a marker says."""

from __future__ import annotations

import hashlib
import io
import tempfile
from typing import BinaryIO

from ..transforms import storage
from .layouts.contract import StoredFile
from .paths import DatasetPaths

_CHUNK = 1 << 20
_IN_MEMORY = 8 << 20


class Damaged(ValueError):
    """A file is not what its marker says; the message is one line without its name."""


def open_stored(paths: DatasetPaths, file: StoredFile) -> BinaryIO:
    """Opens a file whose content has been found to be what its marker says.

    Memory does not depend on its size: local files are read twice, large ones elsewhere are copied
    to a temporary file.

    Raises:
      FileNotFoundError: it is not there.
      Damaged: it has another size or SHA-256.
    """
    uri = paths.uri(file.path)
    source = storage.open_input(uri)
    if storage.is_local(uri):
        try:
            _compare(file, source, None)
        except BaseException:
            source.close()
            raise
        source.seek(0)
        return source
    with source:
        small = file.size <= _IN_MEMORY
        copy = io.BytesIO() if small else tempfile.TemporaryFile(prefix="alphabeam-")  # noqa: SIM115
        _compare(file, source, copy)
    copy.seek(0)
    return copy


def _compare(file: StoredFile, source: BinaryIO, copy: BinaryIO | None) -> None:
    digest = hashlib.sha256()
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > file.size:
            raise Damaged(f"has more than the {file.size} bytes that its marker says")
        digest.update(chunk)
        if copy is not None:
            copy.write(chunk)
    if size < file.size:
        raise Damaged(f"has {size} bytes, its marker says {file.size}")
    if digest.hexdigest() != file.sha256:
        raise Damaged("its content differs from its marker's SHA-256")
