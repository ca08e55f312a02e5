"""How far a run is: counted in this process, or read from its commits."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from ..transforms import storage
from .dataset import committed_units, read_plan
from .paths import DatasetPaths
from .unit import Marker

_LOG = logging.getLogger("alphabeam")
_SCREEN_SECONDS = 0.5
_LOG_SECONDS = 30.0


@dataclass(frozen=True)
class Progress:
    """Counts of pictures.

    Attributes:
      total: planned; None until that is known.
      resumed: committed by earlier runs.
      done, failed: in this run, or of all when read from commits.
    """

    total: int | None
    resumed: int
    done: int
    failed: int

    @property
    def finished(self) -> int:
        return self.resumed + self.done + self.failed


class Tally:
    """Thread-safe counts of what happens in this process.

    Workers of the `in_memory` runner share it with whoever shows the progress; other workers
    count into copies that nobody sees, and their commits are read instead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._total: int | None = None
            self._resumed = self._done = self._failed = 0

    def planned(self, total: int, resumed: int) -> None:
        with self._lock:
            self._total, self._resumed = total, resumed

    def picture(self, done: bool) -> None:
        with self._lock:
            if done:
                self._done += 1
            else:
                self._failed += 1

    def read(self) -> Progress:
        with self._lock:
            return Progress(self._total, self._resumed, self._done, self._failed)


TALLY = Tally()


class CommitReader:
    """Reads progress from a dataset's commit markers; each marker is read once."""

    def __init__(self, root: str) -> None:
        self._paths = DatasetPaths(root)
        self._seen: set[str] = set()
        self._done = self._failed = 0

    def read(self) -> Progress:
        """Reads the markers that are new since the last call."""
        for unit in committed_units(self._paths):
            if unit not in self._seen:
                self._seen.add(unit)
                uri = self._paths.uri(self._paths.marker(unit))
                marker = Marker.decode(storage.read_bytes(uri))
                self._done += marker.done
                self._failed += marker.failed
        plan = read_plan(self._paths)
        return Progress(plan.rows if plan else None, 0, self._done, self._failed)


class Display:
    """A progress line on a terminal, plain log lines elsewhere.

    Used as a context manager around the work; a thread of its own asks `read` for the progress.
    """

    def __init__(self, read: Callable[[], Progress], seconds: float | None = None) -> None:
        """Name the source.

        Args:
          read: gives the progress.
          seconds: between two looks; None for what suits a screen, or a log.
        """
        self._read = read
        self._seconds = seconds
        self._stop = threading.Event()
        self._terminal = sys.stderr.isatty()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> Display:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        if self._terminal:
            self._draw()
        else:
            self._log()

    def _draw(self) -> None:
        with tqdm(desc="cutting out", unit="image", smoothing=0.1, dynamic_ncols=True) as bar:
            started = False
            while True:
                ended = self._stop.wait(self._seconds or _SCREEN_SECONDS)
                progress = self._read()
                if not started and progress.total is not None:
                    bar.reset(total=progress.total)
                    bar.initial = progress.resumed
                    started = True
                bar.n = progress.finished
                bar.set_postfix(errors=progress.failed, refresh=False)
                bar.refresh()
                if ended:
                    return

    def _log(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(self._seconds or _LOG_SECONDS):
            progress = self._read()
            rate = (progress.done + progress.failed) / (time.monotonic() - began)
            _LOG.info("%s", progress_line(progress, rate))


def progress_line(progress: Progress, rate: float) -> str:
    """Puts progress into words.

    Args:
      progress: the counts.
      rate: images a second.
    """
    total = "?" if progress.total is None else f"{progress.total:,}"
    line = f"{progress.finished:,}/{total} images, {rate:.1f} images/s, {progress.failed:,} errors"
    if progress.total is not None and rate > 0:
        left = max(progress.total - progress.finished, 0) / rate
        line += f", {left / 60:.0f} min left" if left >= 120 else f", {left:.0f} s left"
    return line


def watch(root: str, show: Callable[[str], None], *, seconds: float = 2.0) -> None:
    """Shows a run's progress from its commits until it is complete.

    Args:
      root: the dataset's folder.
      show: called with each line.
      seconds: between two looks.
    """
    paths = DatasetPaths(root)
    reader = CommitReader(root)
    before, last = None, time.monotonic()
    while True:
        progress = reader.read()
        now = time.monotonic()
        rate = (progress.finished - before) / (now - last) if before is not None else 0.0
        show(progress_line(progress, rate))
        if storage.exists(paths.uri(paths.SUCCESS)):
            return
        before, last = progress.finished, now
        time.sleep(seconds)
