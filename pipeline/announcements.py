"""What a webhook is told, and the record of what it has not been told yet.

For every unit a record is written before its commit marker and removed after the receiver has taken
the post: so wherever a run is killed, each commit that may not have been told of has its record. The
records of a run whose posts all arrived are none. What is left is posted again at the end of the run
and of every later run into the same dataset, under the same ids, so that a receiver can tell
repetitions. Nothing here ever fails a unit.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ..transforms import storage
from ..transforms.errors import DeliveryError
from ..transforms.stream import ordered_map
from .dataset import read_settings
from .markers import Marker, read_marker
from .paths import DatasetPaths
from .totals import Totals
from .webhook import Event, Webhook, WebhookSettings

_LOG = logging.getLogger("alphabeam")
_SENDERS = 8
_RUN = "run"  # no unit's name: those end in a row's number
_TOLD_OF_UNITS = ("data/", "errors/", "shards/")


@dataclass(frozen=True)
class Untold:
    """A record of something that the receiver may not have been told.

    Attributes:
      name: of the unit, or `run` for the end of a run.
      tries: how many times its posting was given up.
      error: why, the last time; empty when it was not tried.
    """

    name: str
    tries: int = 0
    error: str = ""


def read_untold(root: str) -> list[Untold]:
    """Reads what a dataset's webhook may not have been told, sorted by name."""
    paths = DatasetPaths(root)
    found = storage.list_files(paths.uri(paths.UNTOLD))
    return [record for file in found if (record := _read(file.uri)) is not None]


def _read(uri: str) -> Untold | None:
    try:
        return Untold(**json.loads(storage.read_bytes(uri)))
    except FileNotFoundError:
        return None


class Announcer:
    """Tells a webhook of a dataset's progress. Thread-safe."""

    def __init__(self, root: str, settings: WebhookSettings) -> None:
        """Make ready.

        Args:
          root: of a dataset that has been begun.
          settings: of the webhook.

        Raises:
          ValueError: there is no secret where its reference points.
        """
        self._root = root
        self._paths = DatasetPaths(root)
        self._webhook = Webhook(settings)
        values = read_settings(self._paths) or {}
        self._identity = uuid.UUID(values["id"])
        self._run = int(values["runs"])
        self._warned = False

    def expect(self, unit: str) -> None:
        """Records that a unit is about to be committed."""
        self._write(Untold(unit))

    def committed(self, marker: Marker) -> bool:
        """Tells of a commit, or records that it was not told.

        Returns:
          False when the receiver seems to be down, so that nothing else need be tried now.
        """
        files = [file.path for file in marker.files if file.path.startswith(_TOLD_OF_UNITS)]
        return self._tell(
            marker.unit,
            Event(
                self._id("unit", marker.unit, marker.generation),
                "unit.committed",
                marker.finished,
                {
                    "dataset": self._root,
                    "unit": marker.unit,
                    "generation": marker.generation,
                    "marker": self._paths.marker(marker.unit),
                    "files": files,
                    "rows": marker.rows,
                    "done": marker.done,
                    "failed": marker.failed,
                    "errors": marker.errors,
                    "cost_usd": marker.cost_usd,
                },
            ),
        )

    def finished(self, totals: Totals) -> None:
        """Tells what has not been told yet, then that the run has ended."""
        self._catch_up()
        left = sum(record.name != _RUN for record in read_untold(self._root))
        names = ("units", "rows", "done", "failed", "errors", "files", "bytes", "cost_usd")
        counts = {name: getattr(totals, name) for name in names}
        self._end("run.finished", {**counts, "untold_units": left})
        self._tidy()

    def stopped(self, reason: str) -> None:
        """Tells that the run has ended before everything was done, and why."""
        self._end("run.stopped", {"reason": reason})

    def _end(self, kind: str, data: dict[str, object]) -> None:
        self._write(Untold(_RUN))
        data = {"dataset": self._root, "run": self._run, **data}
        self._tell(_RUN, Event(self._id(kind, self._run), kind, time.time(), data))

    def _tidy(self) -> None:
        """Removes folders that are empty now, which only local disks have."""
        if self._paths.scratch is not None:
            storage.remove_tree(self._paths.scratch)
        if not read_untold(self._root):
            storage.remove_tree(self._paths.uri(self._paths.UNTOLD))

    def _catch_up(self) -> None:
        """Posts again what was not taken, until the receiver turns out to be down."""

        def again(unit: str) -> bool:
            marker = read_marker(self._paths, unit)
            if marker is None:
                storage.remove(self._uri(unit))
                return True
            return self.committed(marker)

        waiting = (record.name for record in read_untold(self._root) if record.name != _RUN)
        told: Iterator[bool] = ordered_map(again, waiting, threads=_SENDERS, lookahead=2 * _SENDERS)
        for was_told in told:
            if not was_told:
                return

    def _tell(self, name: str, event: Event) -> bool:
        try:
            self._webhook.post(event)
        except DeliveryError as error:
            before = _read(self._uri(name))
            self._write(Untold(name, before.tries + 1 if before else 1, error.message))
            level = logging.DEBUG if self._warned else logging.WARNING
            _LOG.log(level, "%s of %s is not delivered: %s", event.type, name, error.message)
            self._warned = True
            return not error.retryable
        storage.remove(self._uri(name))
        return True

    def _id(self, *parts: object) -> str:
        return str(uuid.uuid5(self._identity, "/".join(map(str, parts))))

    def _write(self, record: Untold) -> None:
        path = f"{self._paths.UNTOLD}/{record.name}.json"
        self._paths.write(path, json.dumps(asdict(record)).encode())

    def _uri(self, name: str) -> str:
        return self._paths.uri(f"{self._paths.UNTOLD}/{name}.json")


def make_announcer(root: str, settings: WebhookSettings | None) -> Announcer | None:
    """Makes an announcer where a webhook is wanted."""
    return None if settings is None else Announcer(root, settings)
