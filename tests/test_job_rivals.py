"""Two attempts at one unit at the same time, one of which fails a picture in passing."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from photographs import write_manifest
from test_job import errors_of, rows_of

from alphabeam.pipeline import turn as turn_module
from alphabeam.pipeline.dataset import begin, finish, read_settings
from alphabeam.pipeline.intake import read_lots
from alphabeam.pipeline.manifest import plan_units
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.pipeline.settings import JobSettings, settings_from_options
from alphabeam.pipeline.turn import turn
from alphabeam.pipeline.unit import write_unit
from alphabeam.pipeline.verify import verify
from alphabeam.transforms import storage
from alphabeam.transforms.cutters import make_cutter
from alphabeam.transforms.errors import EngineError
from alphabeam.transforms.providers import lease
from alphabeam.transforms.records import Failure

ROWS = 5
DEADLINE = 60


class Failing:
    """Cuts out as the job's engine does, but for some rows, and stops before its end for a moment."""

    def __init__(self, job: JobSettings, rows: set[int], at_end: Callable[[], object]) -> None:
        self._cutter = make_cutter(job.cutter)
        self.info = self._cutter.info
        self._rows, self._at_end = rows, at_end

    def cut_out(self, records, settings) -> Iterator:
        for result in self._cutter.cut_out(records, settings):
            if result.record.row in self._rows:
                trouble = EngineError("unavailable", "in passing", retryable=True)
                result = Failure(result.record, trouble, "disc")
            yield result
        self._at_end()

    def close(self) -> None:
        self._cutter.close()


def prepared(folder: Path, *flags: str) -> JobSettings:
    """Begins a dataset of one unit."""
    manifest = write_manifest(str(folder), ROWS)
    options = ["--manifest", str(manifest), "--output", str(folder / "out"), "--no_report",
               "--engine", "stub_engines:Disc", *flags]  # fmt: skip
    job = settings_from_options(PipelineOptions(options))
    if not (folder / "out").exists():
        begin(job)
    return job


def closed(job: JobSettings, units: list) -> None:
    """Closes the dataset and checks it."""
    files = {unit.name.rpartition("-")[0]: unit.rows for unit in units}
    plan = {"units": len(units), "rows": sum(unit.rows for unit in units), "files": files}
    DatasetPaths(job.output).write(DatasetPaths.PLAN, json.dumps(plan).encode())
    finish(job)
    assert verify(job.output).faults == ()
    assert not (Path(job.output) / DatasetPaths.TURNS).exists()
    keys = [row["key"] for row in rows_of(job.output) + errors_of(job.output)]
    assert len(keys) == len(set(keys)) == ROWS


def in_thread(
    name: str, work: Callable[[], object], failures: list[BaseException]
) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            failures.append(error)

    thread = threading.Thread(target=run, name=name)
    thread.start()
    return thread


@pytest.mark.parametrize("layout", ["files", "embedded", "webdataset"])
@pytest.mark.parametrize("first_fails", [True, False])
def test_the_marker_fits_its_files_when_two_attempts_differ(
    layout, first_fails, tmp_path, monkeypatch
):
    job = prepared(tmp_path, "--layout", layout, "--save_mask")
    (unit,) = plan_units(job.manifest, job.unit_size)
    may_end, first_may_commit = threading.Event(), threading.Event()
    write = DatasetPaths.write

    def held_back(paths: DatasetPaths, path: str, data: bytes) -> None:
        if path.startswith(f"{paths.MARKERS}/") and threading.current_thread().name == "first":
            may_end.set()
            assert first_may_commit.wait(DEADLINE)
        write(paths, path, data)

    rest = turn_module._rest

    def waiting(seconds: float) -> None:
        first_may_commit.set()
        rest(seconds)

    monkeypatch.setattr(DatasetPaths, "write", held_back)
    monkeypatch.setattr(turn_module, "_rest", waiting)

    def attempt(rows: set[int], at_end: Callable[[], object]) -> None:
        write_unit(unit, job, Failing(job, rows, at_end))

    failures: list[BaseException] = []
    broken = ({2}, set()) if first_fails else (set(), {2})
    first = in_thread("first", lambda: attempt(broken[0], lambda: None), failures)
    # The second goes on when the first is about to write its marker.
    second = in_thread("second", lambda: attempt(broken[1], may_end.wait), failures)
    second.join(DEADLINE)
    first_may_commit.set()
    first.join(DEADLINE)
    assert failures == []
    closed(job, [unit])
    assert len(errors_of(job.output)) == (1 if first_fails else 0)
    if first_fails:
        retrying = prepared(tmp_path, "--layout", layout, "--save_mask", "--retry_failed")
        write_unit(unit, retrying, make_cutter(job.cutter))
        closed(retrying, [unit])
        assert errors_of(job.output) == []


def test_two_retries_of_failed_rows_leave_one_generation(tmp_path):
    job = prepared(tmp_path)
    (unit,) = plan_units(job.manifest, job.unit_size)
    write_unit(unit, job, Failing(job, {1, 2}, lambda: None))
    job = replace(job, retry_failed=True)

    def another() -> None:
        write_unit(unit, job, Failing(job, {2}, lambda: None))

    report = write_unit(unit, job, Failing(job, {1}, another))
    assert (report.failed, report.fresh) == (1, 0)
    closed(job, [unit])


def left_behind(paths: DatasetPaths, unit: str) -> None:
    """Leaves a turn as a process does that is killed while it holds it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as killed:
        claim = {"owner": lease.process(killed.pid), "at": time.time()}
        killed.kill()
    paths.write(paths.turn(unit, 0), json.dumps(claim).encode())


@pytest.mark.parametrize(("tidied_up", "times"), [(False, 1), (True, 2)])
def test_a_turn_whose_holder_was_killed_passes_on(tidied_up, times, tmp_path, monkeypatch):
    job = prepared(tmp_path)
    (unit,) = plan_units(job.manifest, job.unit_size)
    paths, ends = DatasetPaths(job.output), []
    left_behind(paths, unit.name)

    is_void = turn_module._is_void

    def void(uri: str) -> bool:
        if tidied_up:  # pictures that were not in its rows
            storage.remove_tree(paths.uri(paths.pictures("images", unit.name, "")))
        return is_void(uri)

    monkeypatch.setattr(turn_module, "_is_void", void)
    failing = Failing(job, set(), lambda: ends.append(True))
    assert write_unit(unit, job, failing).done == ROWS
    assert len(ends) == times
    closed(job, [unit])


def test_who_took_too_long_does_not_commit(tmp_path, monkeypatch):
    paths = DatasetPaths(str(tmp_path))
    monkeypatch.setattr(turn_module, "_LONGEST", 0.0)
    with turn(paths, "u") as slow, turn(paths, "u") as held:
        assert held.number == 1
        held.confirm()
        with pytest.raises(RuntimeError, match="begun anew elsewhere"):
            slow.confirm()


STORE_CALLS = ("exists", "list_files", "read_bytes", "remove", "write_atomic", "write_exclusive")


@pytest.mark.parametrize("at", range(4))
def test_a_run_begun_while_another_begins_shares_its_dataset(at, tmp_path, monkeypatch):
    manifest = write_manifest(str(tmp_path), ROWS)
    job = settings_from_options(
        PipelineOptions(["--manifest", manifest, "--output", str(tmp_path / "out"), "--no_report"])
    )
    calls = itertools.count()

    def interrupted(call):
        def made(*arguments, **options):
            if next(calls) == at:
                begin(job)
            return call(*arguments, **options)

        return made

    for name in STORE_CALLS:
        monkeypatch.setattr(storage, name, interrupted(getattr(storage, name)))
    begin(job)
    assert next(calls) > at, "there is no such call: nothing was tried"
    paths = DatasetPaths(job.output)
    assert [lot.files for lot in read_lots(paths)] == [1]
    assert read_settings(paths)["runs"] == 2
