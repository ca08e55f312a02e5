"""The job as a stream: the units of batch runs, each once, however it is interrupted."""

import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.runners import sdf_utils
from photographs import write_photographs
from processes import start
from streamed import job_of, stream
from test_job import run, stored
from test_watching import drop

from alphabeam.pipeline.dataset import read_plan
from alphabeam.pipeline.intake import LotTaken, read_lots, write_lot
from alphabeam.pipeline.manifest import look_again, plan_onwards, plan_units
from alphabeam.pipeline.manifests.tally import Look
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.pipeline.streaming import TakeUp, _InOrder
from alphabeam.pipeline.verify import verify

BATCH = ["--unit_size", "2", "--watch", "0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return [str(folder / name) for name in write_photographs(str(folder), 12, 96)]


def taken(output):
    plan = read_plan(DatasetPaths(str(output)))
    return plan.taken if plan else 0


@contextmanager
def meanwhile(*steps):
    """Does steps in turn in a thread, each once its condition holds."""

    def work():
        deadline = time.monotonic() + 120
        for condition, step in steps:
            while not condition():
                assert time.monotonic() < deadline, "waited in vain"
                time.sleep(0.02)
            step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def stop(output):
    open(f"{output}.stop", "w").close()


def copy(photos, inbox, name):
    """Puts a folder of pictures into a folder, as a whole."""
    staging = f"{inbox}.{name}"
    os.makedirs(staging)
    for photo in photos:
        shutil.copy2(photo, staging)
        os.utime(f"{staging}/{os.path.basename(photo)}", (1e9, 1e9))
    os.makedirs(inbox, exist_ok=True)
    os.rename(staging, f"{inbox}/{name}")


class TestStream:
    @pytest.mark.parametrize("kind", ["tables", "pictures"])
    def test_it_makes_what_batch_runs_make_of_the_same_arrivals(self, photos, tmp_path, kind):
        inbox, output, batches = tmp_path / "in", tmp_path / "out", tmp_path / "batches"
        if kind == "tables":
            arrivals = [lambda: drop(inbox, "m.csv", photos[:5]),
                        lambda: drop(inbox, "a.csv", photos[5:9])]  # fmt: skip
        else:
            arrivals = [lambda: copy(photos[1::2], inbox, "m"),
                        lambda: copy(photos[::2], inbox, "a")]  # fmt: skip
        for arrive in arrivals:
            arrive()
            assert run(inbox, batches, *BATCH) == 0
        shutil.rmtree(inbox)

        arrivals[0]()
        first = 1 if kind == "tables" else 6
        with meanwhile(
            (lambda: taken(output) == first, arrivals[1]),
            (lambda: taken(output) == 2 * first, lambda: stop(output)),
        ):
            stream(inbox, output)
        assert stored(output) == stored(batches)
        assert not (output / "_SUCCESS").exists()  # nobody looked after the last unit
        stream(inbox, output)
        assert verify(str(output)).faults == ()
        assert run(inbox, output, *BATCH) == 0
        assert stored(output) == stored(batches)

    @pytest.mark.parametrize("moment", [3, 8, 13])
    def test_killed_anywhere_it_leaves_what_a_batch_run_completes(
        self, photos, tmp_path, monkeypatch, moment
    ):
        inbox, output, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
        drop(inbox, "m.csv", photos[:4])
        engine = ["--engine", "suicidal:Suicidal", "--no_report"]
        monkeypatch.setenv("ALPHABEAM_KILL_AT", "0")
        assert run(inbox, whole, *BATCH, engine=engine) == 0
        stop(output)
        killed = start(
            "streamed", str(inbox), str(output), "suicidal:Suicidal",
            env={"ALPHABEAM_KILL_AT": str(moment)},
        )  # fmt: skip
        assert killed.wait(120) == -signal.SIGKILL
        assert not (output / "_SUCCESS").exists()
        assert run(inbox, output, *BATCH, engine=engine) == 0
        assert stored(output) == stored(whole)
        assert verify(str(output)).faults == ()

    def test_a_file_that_changed_ends_it_with_its_name(self, photos, tmp_path):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "m.csv", photos[:2])
        with (
            meanwhile((lambda: taken(output) == 1, lambda: drop(inbox, "m.csv", photos[:3]))),
            pytest.raises(Exception, match=r"m\.csv has another content"),
        ):
            stream(inbox, output)


class TestTakingUp:
    """What the runner does to the part that looks: it puts off, tries again and moves."""

    @pytest.fixture
    def grown(self, photos, tmp_path):
        """Gives a job with three lots, and the manifest of all."""
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "m.csv", photos[:5])
        job = job_of(inbox, output)
        for name, some in (("a.csv", photos[5:8]), ("z.csv", photos[8:])):
            drop(inbox, name, some)
            job = job_of(inbox, output)
        return job

    def units(self, job):
        lots = read_lots(DatasetPaths(job.output))
        return list(plan_units(job.manifest, job.unit_size, lots=lots))

    @pytest.mark.parametrize("after", [1, 2, 3, 100])
    def test_put_off_after_every_few_units_it_gives_each_once(self, grown, after):
        given, left = [], OffsetRange(0, 2**62)
        for _ in range(20):
            units, left = bundle(TakeUp(grown, 60, lambda: True), grown, left, after)
            given += units
            if left is None:
                break
        assert given == self.units(grown)
        plan = read_plan(DatasetPaths(grown.output))
        assert (plan.units, plan.rows, plan.taken) == (7, 12, 3)

    def test_a_bundle_that_is_lost_gives_the_same_again(self, grown):
        take_up = TakeUp(grown, 60, lambda: True)
        whole = OffsetRange(0, 2**62)
        lost, _ = bundle(take_up, grown, whole)
        again, _ = bundle(take_up, grown, whole)
        assert lost == again == self.units(grown)
        assert read_plan(DatasetPaths(grown.output)).units == 7

    def test_what_was_recorded_and_never_went_out_goes_out(self, photos, grown):
        drop(grown.manifest.uri, "b.csv", photos[:1])
        first, left = bundle(TakeUp(grown, 60), grown, OffsetRange(0, 2**62))
        assert [unit.file for unit in first][-1].endswith("b.csv")
        lost = OffsetRange(3, 2**62)  # where the runner was before it took up the last one
        again, _ = bundle(TakeUp(grown, 60), grown, lost)
        assert again == first[-1:]
        assert left.start == 4

    @pytest.mark.parametrize("kind", ["tables", "pictures"])
    def test_planning_goes_on_from_anywhere(self, photos, tmp_path, kind):
        inbox, output = tmp_path / "in", tmp_path / "out"
        for number in range(3):
            some = photos[3 * number : 3 * number + 3]
            copy(some, inbox, str(number)) if kind == "pictures" else drop(
                inbox, f"{number}.csv", some
            )
            job = job_of(inbox, output)
        lots = read_lots(DatasetPaths(job.output))
        planned = list(plan_onwards(job.manifest, 2, lots, 0))
        planned = [(done, list(units)) for done, units in planned]
        assert [unit for _, units in planned for unit in units] == self.units(job)
        for number, (done, _) in enumerate(planned, 1):
            rest = [(d, list(units)) for d, units in plan_onwards(job.manifest, 2, lots, done)]
            assert rest == planned[number:]


def bundle(take_up, job, restriction, after=100):
    """Runs the part that looks as runners do, and puts the rest off after some units."""
    take_up.setup()
    tracker = sdf_utils.ThreadsafeRestrictionTracker(_InOrder(restriction))
    units, left = [], None
    for element in take_up.process(job.manifest, sdf_utils.RestrictionTrackerView(tracker)):
        units.append(element.value)
        if len(units) == after:
            left = tracker.try_split(0.5)[1]
    tracker.check_done()
    deferred = tracker.deferred_status()  # what the part itself puts off
    return units, left or (deferred and deferred[0])


def test_two_runs_never_record_the_same_lot(photos, tmp_path):
    inbox, output = tmp_path / "in", tmp_path / "out"
    drop(inbox, "m.csv", photos[:2])
    job = job_of(inbox, output)
    drop(inbox, "n.csv", photos[2:4])
    paths = DatasetPaths(job.output)
    found = look_again(job.manifest, Look(known=read_lots(paths)))
    write_lot(paths, 1, found.lot)
    with pytest.raises(LotTaken):
        write_lot(paths, 1, read_lots(paths)[0])
