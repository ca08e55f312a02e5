"""A store that counts what is read from it, as seen by several processes; and a process of them."""

from __future__ import annotations

import os
import sys

import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem


class CountedFileSystem(DirFileSystem):
    """A folder behind `counted://`; every opened file is a line of `reads` beside it."""

    protocol = "counted"

    def __init__(self, **options):
        super().__init__(os.environ["COUNTED_ROOT"], LocalFileSystem(), **options)

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("counted://")

    def unstrip_protocol(self, name):
        return f"counted://{name}"

    def open(self, path, *arguments, **options):
        with open(f"{os.environ['COUNTED_ROOT']}.reads", "a") as log:
            log.write(f"{path}\n")
        return super().open(path, *arguments, **options)


fsspec.register_implementation("counted", CountedFileSystem, clobber=True)


if __name__ == "__main__":
    from alphabeam.transforms.engines.model_files import fetch_files

    print("ready", flush=True)
    sys.stdin.readline()
    files = fetch_files(sys.argv[1], None, ("model.safetensors",), ("config.json",))
    print(files.folder, files.revision("model.safetensors"))
