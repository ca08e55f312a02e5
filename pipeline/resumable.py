"""Whether an output is one that a job can begin or go on with; nothing of it is changed."""

from __future__ import annotations

import json
from typing import Any

from ..transforms import storage
from .errors import DatasetDamaged, UsageError, store_told
from .intake import read_lots
from .paths import DatasetPaths
from .settings import JobSettings
from .stored_settings import read_settings


def check_output(job: JobSettings) -> None:
    """Checks the output as a run does that begins.

    Raises:
      UsageError: it holds something else, was made with other settings or from another state of the
        manifest, or cannot be read.
    """
    paths = DatasetPaths(job.output)
    with store_told(f"--output {job.output} cannot be read"):
        before = look(paths, job)
        if before is not None and not job.overwrite:
            check_same(before, job, begun=bool(read_lots(paths)))


def look(paths: DatasetPaths, job: JobSettings) -> dict[str, Any] | None:
    """Gives the settings of the dataset that is there; None when one can be begun there.

    Raises:
      UsageError: neither.
    """
    before = _read_before(paths, job)
    if before is None:
        if job.retry_failed:
            raise UsageError(f"--retry_failed: there is no dataset at {job.output} to mend")
        _check_empty(paths)
    return before


def _read_before(paths: DatasetPaths, job: JobSettings) -> dict[str, Any] | None:
    try:
        return read_settings(paths)
    except DatasetDamaged:
        if not job.overwrite:
            raise
        return {}


def _check_empty(paths: DatasetPaths) -> None:
    """Refuses a folder with foreign files: nothing of the user's is ever mixed or overwritten."""
    for file in storage.list_files(paths.root):
        # What was paid for stays when a dataset is started anew.
        if any(f"/{name}/" in file.uri for name in (paths.SCRATCH, paths.LEDGER)):
            continue
        if storage.exists(paths.uri(paths.SETTINGS)):
            return  # another run has begun the dataset in this moment
        raise UsageError(
            f"--output {paths.root} is not empty and holds no alphabeam dataset "
            f"(it has {storage.basename(file.uri)}): give an empty or new folder"
        )


def check_same(before: dict[str, Any], job: JobSettings, begun: bool) -> None:
    """Refuses a dataset that is another job's.

    Args:
      before: its settings.
      job: what is to go on with it.
      begun: whether it has a record of its manifest's files.

    Raises:
      UsageError: the message says what differs.
    """
    if before["manifest"]["uri"] != job.manifest.uri:
        raise UsageError(
            f"--output {job.output} was made from the manifest {before['manifest']['uri']}, not "
            f"from {job.manifest.uri}: use another --output, or --overwrite to start anew"
        )
    differences = _differences(before["settings"], _as_json(job.recorded()))
    if differences:
        raise UsageError(
            f"--output {job.output} was made with other settings: {'; '.join(differences)}. Use "
            f"the same settings to resume, another --output, or --overwrite to start anew"
        )
    _check_manifest(before, job, begun)


def _check_manifest(before: dict[str, Any], job: JobSettings, begun: bool) -> None:
    """Refuses a manifest that grew, unless that is asked for.

    Files that are in the record were compared when the manifest was opened.
    """
    new = job.manifest.lot
    refusal = f"the manifest {job.manifest.uri} has changed since {job.output} was begun"
    if not begun:  # the run before ended before there was a record, or a plan
        if before["manifest"]["identity"] != job.manifest.identity:
            raise UsageError(f"{refusal}: use another --output, or --overwrite to start anew")
    elif new is not None and new.files and not job.grows and not is_whole(before, job):
        raise UsageError(
            f"{refusal}: it has {new.files} new files. --watch 0 takes them up; or use another "
            f"--output, or --overwrite to start anew"
        )


def is_whole(before: dict[str, Any] | None, job: JobSettings) -> bool:
    """Tells whether a job's files are all that a dataset was begun from.

    They are recorded already then when another run into the same output has begun at the same time.
    """
    lot = job.manifest.lot
    if before is None or lot is None or lot.files != job.manifest.files:
        return False
    return before["manifest"]["identity"] == job.manifest.identity


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in sorted(before.keys() | now.keys()):
            found += _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        return found
    return [] if before == now else [f"{name} was {json.dumps(before)}, now {json.dumps(now)}"]


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values))
