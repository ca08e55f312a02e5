"""What rows and totals say was paid: what the provider billed, however rows share pictures."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import doomed_jobs
import pytest
from hosted_jobs import ended, flags_for, small_manifest
from standins.faults import Faults
from standins.kinds import WAYS
from test_job import rows_of, run

PICTURES, ROWS = 7, 30


pytestmark = pytest.mark.usefixtures("hurried")


def costs(output: Path, standin) -> dict[str, float]:
    """Checks that rows, totals and markers add up to the bill; gives the rows' costs by key."""
    rows = {row["key"]: row["cost_usd"] for row in rows_of(output)}
    billed = pytest.approx(sum(bill.usd for bill in standin.bills))
    assert sum(rows.values()) == billed
    assert json.loads((output / "dataset.json").read_text())["totals"]["cost_usd"] == billed
    markers = [json.loads(file.read_text()) for file in (output / "_units").iterdir()]
    assert sum(marker["cost_usd"] for marker in markers) == billed
    return rows


def paying(costs: dict[str, float]) -> list[str]:
    """Gives the pictures that rows carry a cost of, once for each such row."""
    return sorted(key.partition("_")[2] for key, cost in costs.items() if cost)


@pytest.mark.parametrize(
    "label", ["fal-bria queue", "fal-bria sync", "pixazo-bria immediate", "runware-bria joint"]
)
def test_a_picture_in_many_units_costs_once(label, tmp_path, capsys):
    way = WAYS[label]
    with way.open() as standin:
        manifest = small_manifest(way, standin, tmp_path, (n % PICTURES for n in range(ROWS)))
        engine, flags = ["--engine", way.provider], flags_for(way, standin)
        assert run(manifest, tmp_path / "out", *flags, "--unit_size=4", engine=engine) == 0
        assert ended(tmp_path / "out", ROWS) == []
        assert len(standin.bills) == PICTURES
        assert "paid: $0.126" in capsys.readouterr().out
        assert paying(costs(tmp_path / "out", standin)) == [str(n) for n in range(PICTURES)]

        # Started anew in other units, nothing is paid, and the dataset is worth what it was.
        again = [*flags, "--unit_size=9", "--overwrite"]
        assert run(manifest, tmp_path / "out", *again, engine=engine) == 0
        assert len(standin.bills) == PICTURES
        assert paying(costs(tmp_path / "out", standin)) == [str(n) for n in range(PICTURES)]


@pytest.mark.parametrize("point", ["before commit", "after commit", "after buy"])
def test_a_run_that_was_killed_counts_each_picture_once(point, tmp_path):
    way = WAYS["gmi-bria queued"]
    with way.open() as standin:
        manifest = small_manifest(way, standin, tmp_path, (n % PICTURES for n in range(ROWS)))
        command = [f"--manifest={manifest}", f"--output={tmp_path / 'out'}", "--unit_size=4",
                   f"--engine={way.provider}", *flags_for(way, standin)]  # fmt: skip
        killed = doomed_jobs.start(command, tmp_path / "log", point, 2)
        killed.join(60)
        assert killed.exitcode == -signal.SIGKILL
        whole = doomed_jobs.start(command, tmp_path / "log")
        whole.join(60)
        assert whole.exitcode == 0, (tmp_path / "log").read_text()
        assert ended(tmp_path / "out", ROWS) == []
        assert paying(costs(tmp_path / "out", standin)) == [str(n) for n in range(PICTURES)]


def test_what_an_earlier_engine_of_a_chain_was_paid_counts_as_well(tmp_path):
    way = WAYS["runware-bria sync"]
    with way.open() as standin:
        manifest = small_manifest(way, standin, tmp_path, (n % PICTURES for n in range(ROWS)))
        engine = ["--engine", f"{way.provider},stub_engines:Disc"]
        flags = flags_for(way, standin, "--escalate_when=coverage < 2", "--unit_size=4")
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        assert {row["engine"] for row in rows_of(tmp_path / "out")} == {"stub_engines:Disc"}
        assert paying(costs(tmp_path / "out", standin)) == [str(n) for n in range(PICTURES)]


def test_a_row_that_is_retried_carries_its_own_cost(tmp_path):
    way = WAYS["pixazo-bria 1"]
    with way.open(Faults({"media": ["truncate"] * 5})) as standin:
        manifest = small_manifest(way, standin, tmp_path, (n % PICTURES for n in range(ROWS)))
        engine = ["--engine", way.provider]
        flags = flags_for(way, standin, "--unit_size=4", "--provider_concurrency=1")
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        failed = ended(tmp_path / "out", ROWS)
        assert [row["error"] for row in failed] == ["unavailable"]
        assert run(manifest, tmp_path / "out", *flags, "--retry_failed", engine=engine) == 0
        assert ended(tmp_path / "out", ROWS) == []
        assert paying(costs(tmp_path / "out", standin)) == [str(n) for n in range(PICTURES)]


@pytest.mark.parametrize(
    ("label", "faults", "error"),
    [
        ("fal-bria queue", {"media": [None, "jpeg"]}, "failed"),
        ("gmi-bria queued", {"media": [None, "rgb"]}, "failed"),
        ("runware-bria sync", {"media": [None, "rgb"]}, "failed"),
        ("pixazo-bria 1", {"media": [None, "vanish"]}, "expired_result"),
    ],
)
def test_what_was_paid_in_vain_is_part_of_the_totals_once(label, faults, error, tmp_path, capsys):
    way = WAYS[label]
    with way.open(Faults(faults)) as standin:
        manifest = small_manifest(way, standin, tmp_path, [0, 1, 2, 2])
        output, engine = tmp_path / "out", ["--engine", way.provider]
        flags = flags_for(way, standin, "--unit_size=2", "--provider_concurrency=1")
        for more in ([], ["--retry_failed"], ["--retry_failed"]):
            assert run(manifest, output, *flags, *more, engine=engine) == 0
            (failed,) = ended(output, 4)
            assert failed["error"] == error
            totals = json.loads((output / "dataset.json").read_text())["totals"]
            assert totals["cost_usd"] == pytest.approx(0.054)
            assert totals["failed_cost_usd"] == pytest.approx(0.018)
            assert "paid: $0.054, $0.018 of it for errors" in capsys.readouterr().out
        assert len(standin.bills) == 3
        if error == "expired_result":
            more = ["--retry_failed", "--repay_ambiguous"]
            assert run(manifest, output, *flags, *more, engine=engine) == 0
            assert ended(output, 4) == []
            assert sorted(costs(output, standin).values()) == pytest.approx(
                [0, 0.018, 0.018, 0.036]
            )


def test_a_chain_counts_what_an_engine_was_paid_in_vain(tmp_path):
    way = WAYS["fal-bria sync"]
    with way.open(Faults({"media": ["jpeg"]})) as standin:
        manifest = small_manifest(way, standin, tmp_path, [0])
        output = tmp_path / "out"
        engine = ["--engine", "fal-bria,stub_engines:Disc"]
        assert run(manifest, output, *flags_for(way, standin), engine=engine) == 0
        (row,) = rows_of(output)
        assert (row["engine"], row["cost_usd"]) == ("stub_engines:Disc", pytest.approx(0.018))
        assert costs(output, standin)
