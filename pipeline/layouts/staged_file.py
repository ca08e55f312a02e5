"""A file of the dataset that grows on local disk and is put in its place whole."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import uuid
from typing import Any

from ...transforms import storage
from ..paths import DatasetPaths
from .contract import StoredFile


class StagedFile(io.BufferedIOBase):
    """A write-only file in the dataset's scratch folder, or for object stores in a local one.

    What is not put in its place is gone when the file is closed.

    Args:
      paths: of the dataset.
    """

    def __init__(self, paths: DatasetPaths) -> None:
        folder = paths.scratch or tempfile.gettempdir()
        os.makedirs(folder, exist_ok=True)
        self._paths = paths
        self._local = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
        self._placed = False
        self._hash = hashlib.sha256()
        self._file = open(self._local, "xb")  # noqa: SIM115 - `close` closes it

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def put(self, path: str) -> StoredFile:
        """Puts the file where it belongs, complete or not at all, and closes it.

        Args:
          path: relative to the dataset's root.
        """
        size = self.tell()
        self._file.close()
        uri = self._paths.uri(path)
        if storage.is_local(uri):
            target = storage.local_path(uri)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(self._local, target)
            self._placed = True
        else:
            storage.put_file(self._local, uri)
        self.close()
        return StoredFile(path, size, self._hash.hexdigest())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            if not self._placed:
                os.unlink(self._local)
        super().close()
