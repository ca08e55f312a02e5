"""One loaded engine for all threads of a process, and for all processes of a machine."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from photographs import write_manifest
from stub_engines import disc
from test_job import run, stored

from alphabeam.pipeline.verify import verify
from alphabeam.transforms.engines.contract import EngineUnusable
from alphabeam.transforms.sharing import acquire_engine

COUNTED = "counted_engine:CountedDisc"
TESTS = str(Path(__file__).parent)

PROCESS = """
import sys, numpy as np
from alphabeam.transforms.sharing import acquire_engine
engine = acquire_engine("counted_engine:CountedDisc", {"log": sys.argv[1]}, "machine")
print("ready", flush=True)
for line in sys.stdin:
    (matte,) = engine.predict([np.zeros((40, 60, 3), np.uint8)])
    print(matte.alpha.shape, round(float(matte.alpha.mean()), 6), engine.info.device, flush=True)
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", TESTS)
    return tmp_path / "loads"


def loads(log):
    return [int(line) for line in log.read_text().split()]


class Elsewhere:
    """A process of its own that shares an engine."""

    def __init__(self, log):
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"
        self.pid = self._process.pid

    def ask(self):
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def kill(self):
        self._process.kill()
        self._process.communicate()


def test_threads_of_a_process_share_one_engine(log):
    found = []
    options = {"log": str(log)}
    threads = [
        threading.Thread(target=lambda: found.append(acquire_engine(COUNTED, options)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(engine) for engine in found}) == 1
    assert loads(log) == [os.getpid()]


def test_other_options_are_another_engine(log):
    one = acquire_engine(COUNTED, {"log": str(log)})
    other = acquire_engine(COUNTED, {"log": str(log), "more": 1})
    assert one is not other
    assert acquire_engine(COUNTED, {"log": str(log)}) is one


def test_processes_of_a_machine_share_one_engine_and_outlive_its_home(log):
    first, second = Elsewhere(log), Elsewhere(log)
    try:
        expected = f"(40, 60) {round(float(disc(40, 60).mean()), 6)} cpu\n"
        assert first.ask() == second.ask() == expected
        assert loads(log) == [first.pid]
        first.kill()
        assert second.ask() == expected
        assert loads(log) == [first.pid, second.pid]
    finally:
        first.kill()
        second.kill()


def test_an_engine_that_cannot_run_here_is_refused_wherever_it_is_shared():
    for share in ("process", "machine"):
        with pytest.raises(EngineUnusable, match="no engine called 'nothing'"):
            acquire_engine("nothing", {}, share)


def test_a_job_of_two_processes_loads_one_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv("COUNTED_LOG", str(tmp_path / "loads"))
    manifest = write_manifest(str(tmp_path), 8)
    engine = ["--engine", COUNTED, "--no_report", "--unit_size", "2"]
    assert run(manifest, tmp_path / "alone", engine=engine) == 0
    assert loads(tmp_path / "loads") == [os.getpid()]
    workers = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    flags = [*workers, "--share_model", "machine"]
    assert run(manifest, tmp_path / "shared", *flags, engine=engine) == 0
    assert len(loads(tmp_path / "loads")) == 2
    assert verify(str(tmp_path / "shared")).faults == ()
    assert stored(tmp_path / "shared") == stored(tmp_path / "alone")


def test_errors_cross_processes_whole(log):
    engine = Elsewhere(log)
    try:
        here = acquire_engine(COUNTED, {"log": str(log)}, "machine")
        assert loads(log) == [engine.pid]
        (error,) = here.predict([np.zeros((3, 5, 3), np.uint8)])
        assert (error.kind, error.message, error.retryable) == ("narrow", "5 pixels", True)
    finally:
        engine.kill()


def test_an_engine_of_the_machine_refines_colours_for_any_process(log):
    engine = acquire_engine("test_device_overlap:Refining", {"log": str(log)}, "machine")
    assert engine.refines
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, 15:] = 200
    alpha = np.full((20, 30), 128, np.uint8)
    refined, refused = engine.refine([picture, picture[:, :3]], [alpha, alpha])
    assert refined.shape == picture.shape
    assert refined.dtype == np.uint8
    assert refused.kind == "ValueError"
    plain = acquire_engine(COUNTED, {"log": str(log)}, "machine")
    assert not plain.refines
