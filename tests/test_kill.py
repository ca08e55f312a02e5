"""kill -9 at any moment, run again: the same bytes as from an uninterrupted run."""

import os
import random
import signal
import subprocess
import sys

import pytest
from photographs import write_manifest
from test_job import stored

from alphabeam.pipeline.dataset import committed_units
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.pipeline.verify import verify

PICTURES, UNIT, KILLS = 40, 4, 10


def run(manifest, output, kill_at, *flags):
    """Runs the job in a process of its own, which dies at moment `kill_at`; 0 lets it live."""
    command = [
        sys.executable, "-m", "alphabeam.pipeline", "run", "--manifest", manifest,
        "--output", str(output), "--engine", "suicidal:Suicidal", "--unit_size", str(UNIT),
        "--partition_by", "split", "--save_mask", "--no_report", *flags,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PYTHONPATH": os.path.dirname(__file__),
        "ALPHABEAM_KILL_AT": str(kill_at),
    }
    return subprocess.run(command, env=environment, capture_output=True).returncode


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("kill"))
    path = write_manifest(folder, PICTURES)
    os.unlink(os.path.join(folder, "photos", "coffee_1.jpg"))  # one error row, too
    return path


def test_ten_kills_at_random_moments_leave_no_trace(manifest, tmp_path):
    assert run(manifest, tmp_path / "whole", kill_at=0) == 0
    expected = stored(tmp_path / "whole")
    chance = random.Random(20261121)
    output = tmp_path / "killed"
    committed = []
    for _ in range(KILLS):
        # The first write is of the settings; up to a tenth of all writes a life.
        kill_at = chance.randint(1, 2 * len(expected) // KILLS)
        assert run(manifest, output, kill_at) == -signal.SIGKILL
        committed.append(len(list(committed_units(DatasetPaths(str(output))))))
    assert committed == sorted(committed)
    assert run(manifest, output, kill_at=0) == 0
    assert stored(output) == expected
    assert verify(str(output)).faults == ()
    assert not (output / "_tmp").exists()
