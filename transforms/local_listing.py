"""Files under a local folder, in the order in which object stores list theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator


def list_local(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Lists the files under a folder, or a single file, sorted by path; nothing where there is none.

    Links are followed, but not to a folder that they lie in. A link whose target is missing is
    listed as it is, so that whoever reads it tells of it.
    """
    if os.path.isfile(path):
        yield path, os.stat(path)
        return
    if not os.path.isdir(path):
        return
    with os.scandir(path) as entries:
        listed = sorted(entries, key=lambda e: e.name + "/" if e.is_dir() else e.name)
    for entry in listed:
        if entry.is_dir():
            if not (entry.is_symlink() and _leads_up(entry.path)):
                yield from list_local(entry.path)
            continue
        try:
            yield entry.path, entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():  # any other is gone since it was listed
                yield entry.path, entry.stat(follow_symlinks=False)


def _leads_up(path: str) -> bool:
    above = os.path.dirname(path)
    while above != os.path.dirname(above):
        if os.path.samefile(path, above):
            return True
        above = os.path.dirname(above)
    return False
