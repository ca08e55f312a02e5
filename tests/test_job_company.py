"""Several rows, runs and processes that want the same pictures: each is paid for once."""

from __future__ import annotations

import doomed_jobs
import pytest
from hosted_jobs import ended, flags_for, small_manifest
from standins.kinds import WAYS

PICTURES, ROWS = 12, 40


@pytest.mark.parametrize(
    "label",
    ["fal-bria queue", "fal-rembg queue", "pixazo-bria 2", "gmi-bria queued", "runware-bria sync"],
)
def test_two_runs_at_once_and_rows_of_the_same_picture_pay_once(label, tmp_path):
    way = WAYS[label]
    with way.open(seconds=0.02) as standin:
        manifest = small_manifest(way, standin, tmp_path, (n % PICTURES for n in range(ROWS)))
        command = [
            f"--manifest={manifest}",
            f"--output={tmp_path / 'out'}",
            f"--engine={way.provider}",
            "--unit_size=8",
            *flags_for(way, standin),
        ]
        runs = [doomed_jobs.start(command, tmp_path / f"log{number}") for number in range(2)]
        for number, run in enumerate(runs):
            run.join(60)
            assert run.exitcode == 0, (tmp_path / f"log{number}").read_text()
        assert ended(tmp_path / "out", ROWS) == []
        assert standin.steps["submit"] == len(standin.bills) == PICTURES
        assert set(standin.billed().values()) == {1}
