"""kill -9 a run at every point of a paid request's life, run it again: every input is paid once."""

from __future__ import annotations

import signal

import doomed
import doomed_jobs
import pytest
from hosted_jobs import ended, flags_for, small_manifest
from standins.kinds import WAYS
from test_provider_crash import UNKNOWABLE

PICTURES, UNIT = 24, 4


def lives(way, standin, folder, points, *flags):
    """Runs a job that is killed at each of the points in turn, and then once to its end.

    Returns:
      The error rows.
    """
    command = [
        f"--manifest={small_manifest(way, standin, folder, range(PICTURES))}",
        f"--output={folder / 'out'}",
        f"--engine={way.provider}",
        f"--unit_size={UNIT}",
        *flags_for(way, standin, *flags),
    ]
    log = folder / "log"
    for point in points:
        # The first purchase may be what the life before left behind; the second is a new one.
        times = 2 if point in doomed.POINTS else 1
        process = doomed_jobs.start(command, log, point, times)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, (point, log.read_text())
        assert set(standin.billed().values()) <= {1}, point
    process = doomed_jobs.start(command, log)
    process.join(60)
    assert process.exitcode == 0, log.read_text()
    return ended(folder / "out", PICTURES)


@pytest.mark.parametrize(
    "label",
    ["fal-bria queue", "fal-rembg queue", "pixazo-bria 1", "gmi-bria queued", "runware-bria sync"],
)
def test_a_run_killed_at_every_point_pays_for_each_picture_once(label, tmp_path):
    way = WAYS[label]
    with way.open() as standin:
        errors = lives(way, standin, tmp_path, doomed_jobs.POINTS, "--provider_concurrency=1")
        lost = UNKNOWABLE[way.provider.partition("-")[0]]
        told = [(row["error"], row["retryable"]) for row in errors]
        assert told == [("ambiguous", False)] * len(lost)
        # What was never sent cannot be told from what was sent and lost; it is not billed.
        assert len(standin.bills) == PICTURES - ("after intend" in lost)
        assert set(standin.billed().values()) == {1}


TICKET = ("after intend", "before accept", "after accept")
INLINE = ("after intend", "before buy", "within buy")  # the picture comes with the answer


@pytest.mark.parametrize(
    ("label", "points"),
    [
        ("fal-bria sync", TICKET),
        ("fal-bria sync_mode", TICKET),
        ("fal-bria sync inline", INLINE),
        ("pixazo-bria 2", TICKET),
        ("pixazo-bria immediate", TICKET),
        ("gmi-bria blocking", TICKET),
        ("runware-bria async", TICKET),
        ("runware-bria joint", INLINE),
    ],
)
def test_a_run_killed_while_many_pictures_are_under_way_pays_for_none_twice(
    label, points, tmp_path
):
    way = WAYS[label]
    with way.open(seconds=0.05) as standin:
        errors = lives(way, standin, tmp_path, points, "--provider_concurrency=4")
        provider = way.provider.partition("-")[0]
        assert {(row["error"], row["retryable"]) for row in errors} <= {("ambiguous", False)}
        assert not errors or UNKNOWABLE[provider]
        assert set(standin.billed().values()) == {1}
        if provider != "pixazo":  # what was accepted has been found
            assert len(standin.bills) == PICTURES - len(errors)
