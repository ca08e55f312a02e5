"""Writes the report of a dataset."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress

from ..errors import UsageError
from ..paths import DatasetPaths

_PACKAGES = ("jinja2", "pygal")


class ReportUnavailable(UsageError):
    """The packages that make the page are not installed; the message says which and how."""


def write_report(root: str) -> str:
    """Writes `report.html` into a dataset: one page that needs nothing else, of at most 5 MB.

    Args:
      root: the dataset's folder, any fsspec URI; the run may still be going on.

    Returns:
      The page's URI.

    Raises:
      ReportUnavailable: packages are missing.
      UsageError: there is no dataset.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ReportUnavailable(
            f"the report needs {' and '.join(missing)}: pip install 'alphabeam[report]'"
        )
    from .contents import gather
    from .page import render

    paths = DatasetPaths(root)
    paths.write(paths.REPORT, render(gather(root)).encode())
    if paths.scratch:
        with suppress(OSError):  # not empty: a run is at work, and cleans up itself
            os.rmdir(paths.scratch)
    return paths.uri(paths.REPORT)
