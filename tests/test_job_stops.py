"""A run whose provider stops: its key refused, its account empty. What is told, kept and gone on with."""

from __future__ import annotations

import doomed
import doomed_jobs
import pytest
from hosted_jobs import ended, flags_for, small_manifest
from service import job_for
from standins.kinds import QUEUED, WAYS, hurry
from test_job import run

from alphabeam.pipeline.dataset import committed_units
from alphabeam.pipeline.paths import DatasetPaths

PRICE = 0.018


def command_for(way, standin, folder, count, unit, *flags):
    return [
        f"--manifest={small_manifest(way, standin, folder, range(count))}",
        f"--output={folder / 'out'}",
        f"--engine={way.provider}",
        f"--unit_size={unit}",
        *flags_for(way, standin, *flags),
    ]


def ends(command, log):
    """Runs a command in a process of its own; gives its exit code and the lines it says."""
    process = doomed_jobs.start(command, log)
    process.join(60)
    return process.exitcode, log.read_text().splitlines()


@pytest.mark.parametrize("label", QUEUED)
def test_a_refused_key_ends_a_run_of_a_thousand_rows_with_one_line(label, tmp_path):
    way = WAYS[label]
    with way.open() as standin:
        command = command_for(
            way, standin, tmp_path, 1000, 256, "--api_key=file:" + str(tmp_path / "key")
        )
        (tmp_path / "key").write_text("not-the-key-at-all")
        code, lines = ends(command, tmp_path / "log")
        assert code == 1
        (first, last) = lines
        assert first.startswith(f"{way.provider} stopped: HTTP 401")
        assert last == (
            f"alphabeam: {first}; what was bought is kept; 0 of 1,000 rows are committed, "
            "1,000 are left, and the same command goes on from there"
        )
        assert "not-the-key" not in first + last
        assert not (tmp_path / "out" / "errors").exists()
        assert standin.bills == []
        # Those under way when the first refusal came.
        assert standin.steps["submit"] <= 64


@pytest.mark.parametrize("label", QUEUED)
def test_an_empty_account_ends_a_run_that_a_later_one_goes_on_with(label, tmp_path):
    rows, unit, paid = 40, 8, 30
    way = WAYS[label]
    with way.open(seconds=0.02, money=PRICE * paid) as standin:
        command = command_for(way, standin, tmp_path, rows, unit, "--provider_concurrency=4")
        code, lines = ends(command, tmp_path / "log")
        assert code == 1
        (first, last) = lines
        assert first.startswith(f"{way.provider} stopped: HTTP 40")
        committed = unit * len(list(committed_units(DatasetPaths(str(tmp_path / "out")))))
        assert committed == paid // unit * unit
        assert last == (
            f"alphabeam: {first}; what was bought is kept; {committed} of {rows} rows are "
            f"committed, {rows - committed} are left, and the same command goes on from there"
        )
        # What was submitted before has been polled for and is in the ledger.
        assert len(standin.bills) == paid
        assert len(list((tmp_path / "out" / "_ledger").rglob("*.media"))) == paid
        standin.money = float("inf")
        assert ends(command, tmp_path / "log")[0] == 0
        assert ended(tmp_path / "out", rows) == []
        assert len(standin.bills) == rows
        assert set(standin.billed().values()) == {1}


def test_jobs_left_open_by_a_killed_run_are_polled_for_without_money(tmp_path):
    way = WAYS["fal-rembg queue"]
    with way.open(seconds=0.3) as standin:
        command = command_for(way, standin, tmp_path, 8, 8, "--provider_concurrency=1")
        last = job_for(way, standin, 7)
        settings = way.settings(standin, tmp_path / "out" / "_ledger")
        process = doomed.start(settings, [last], "after accept")
        process.join(60)
        standin.money = PRICE
        code, lines = ends(command, tmp_path / "log")
        assert code == 1
        assert "User is locked" in lines[-1]
        assert len(list((tmp_path / "out" / "_ledger").rglob("*.media"))) == 1
        assert len(standin.bills) == 1


def test_a_later_run_in_the_same_process_asks_anew(tmp_path, monkeypatch):
    hurry(monkeypatch.setattr)
    way = WAYS["runware-bria sync"]
    with way.open(money=0.0) as standin:
        flags = command_for(way, standin, tmp_path, 4, 4)[2:]
        manifest, output = tmp_path / "manifest.parquet", tmp_path / "out"
        assert run(manifest, output, *flags, engine=[]) == 1
        standin.money = 1.0
        assert run(manifest, output, *flags, engine=[]) == 0
        assert ended(output, 4) == []
