"""A run that watches its manifest, as docs/how-to/watch.md says: what stands stays as it is."""

import json
import os
import shutil
import signal
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photographs import write_photographs
from processes import start, wait_until
from test_job import errors_of, rows_of, run, stored

from alphabeam.pipeline.dataset import committed_units
from alphabeam.pipeline.manifests import contract
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.pipeline.verify import verify


@pytest.fixture
def photos(tmp_path):
    names = write_photographs(str(tmp_path / "photos"), 12, 96)
    return [str(tmp_path / "photos" / name) for name in names]


def drop(folder, name, photos, old=True):
    """Puts a table of pictures into a folder, as a whole."""
    os.makedirs(folder, exist_ok=True)
    table = pa.table({"image": photos, "n": list(range(len(photos)))})
    if name.endswith(".parquet"):
        pq.write_table(table, f"{folder}/.{name}")
    else:
        lines = ["image,n", *(f"{photo},{n}" for n, photo in enumerate(photos))]
        with open(f"{folder}/.{name}", "w") as file:
            file.write("\n".join(lines) + "\n")
    if old:
        os.utime(f"{folder}/.{name}", (1e9, 1e9))
    os.replace(f"{folder}/.{name}", f"{folder}/{name}")


def commits(output):
    return len(list(committed_units(DatasetPaths(str(output)))))


class Watcher:
    """`alphabeam run --watch` in a process of its own."""

    def __init__(self, folder, *flags, inbox="in", engine="stub_engines:Disc", kill_at=0):
        self.inbox, self.output = folder / inbox, folder / "out"
        self._told = folder / "told"
        self._told.touch()
        command = [
            "alphabeam.pipeline", "run", "--manifest", str(self.inbox), "--output",
            str(self.output), "--unit_size", "2", "--engine", engine, "--no_report", *flags,
        ]  # fmt: skip
        with open(self._told, "a") as told:
            self.process = start(
                *command, stdout=subprocess.PIPE, stderr=told,
                env={"ALPHABEAM_KILL_AT": str(kill_at)},
            )  # fmt: skip

    @property
    def told(self):
        return self._told.read_text()

    def until(self, true):
        wait_until(true, self.process)

    def until_complete(self, units):
        self.until(lambda: commits(self.output) == units and (self.output / "_SUCCESS").exists())

    def stop(self, how):
        """Gives the exit code and what was printed."""
        self.process.send_signal(how)
        out, _ = self.process.communicate(timeout=120)
        return self.process.returncode, out


class TestGrowth:
    """One look a run: `--watch 0`."""

    @pytest.mark.parametrize("suffix", ["csv", "parquet"])
    def test_new_files_are_taken_up_and_old_units_stay(self, photos, tmp_path, suffix):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, f"m.{suffix}", photos[:3])
        assert run(inbox, output, "--unit_size", "2", "--watch", "0") == 0
        before = {**stored(output), **markers(output)}
        drop(inbox, f"a.{suffix}", photos[3:6])
        drop(inbox, f"z.{suffix}", photos[6:7])
        assert run(inbox, output, "--unit_size", "2", "--watch", "0") == 0
        after = {**stored(output), **markers(output)}
        assert before.items() <= after.items()
        assert [row["source_uri"] for row in rows_of(output)] == sorted(photos[:7])
        assert verify(str(output)).faults == ()
        values = json.loads((output / "dataset.json").read_text())
        assert (values["manifest"]["files"], values["totals"]["rows"]) == (3, 7)
        assert run(inbox, output, "--unit_size", "2") == 0  # nothing new: a plain run resumes

    def test_a_folder_of_pictures_grows(self, photos, tmp_path):
        inbox, output = tmp_path / "in", tmp_path / "out"
        inbox.mkdir()
        for photo in photos[::2]:
            shutil.copy(photo, inbox)
        assert run(inbox, output, "--unit_size", "4") == 0
        before = {**stored(output), **markers(output)}
        assert len(before) == 6 + 2 * 2
        for photo in photos[1::2]:  # between the others, by their names
            shutil.copy(photo, inbox)
        assert run(inbox, output, "--unit_size", "4", "--watch", "0") == 0
        after = {**stored(output), **markers(output)}
        assert before.items() <= after.items()
        assert len(after) == 2 * (6 + 2 * 2)
        assert sorted(row["key"] for row in rows_of(output)) == sorted(
            os.path.basename(photo).removesuffix(".jpg") for photo in photos
        )
        assert verify(str(output)).faults == ()

    def test_without_watch_a_grown_manifest_is_refused_and_the_flag_named(
        self, photos, tmp_path, capsys
    ):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "m.csv", photos[:2])
        assert run(inbox, output) == 0
        drop(inbox, "n.csv", photos[2:4])
        capsys.readouterr()
        assert run(inbox, output) == 2
        told = capsys.readouterr().err
        assert "it has 1 new files. --watch 0 takes them up" in told
        assert told.count("\n") == 1
        assert len(rows_of(output)) == 2

    @pytest.mark.parametrize("flags", [(), ("--watch", "0")])
    @pytest.mark.parametrize("trouble", ["changed", "gone"])
    def test_a_file_that_changed_or_is_gone_is_refused(
        self, photos, tmp_path, capsys, trouble, flags
    ):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "a.csv", photos[:2])
        drop(inbox, "b.csv", photos[2:4])
        assert run(inbox, output) == 0
        if trouble == "gone":
            os.unlink(inbox / "a.csv")
        else:
            drop(inbox, "a.csv", photos[:2][::-1])
        capsys.readouterr()
        assert run(inbox, output, *flags) == 2
        told = capsys.readouterr().err
        expected = "is gone" if trouble == "gone" else "has another content"
        assert f"{inbox}/a.csv {expected}: put it back as it was; or use another --output" in told
        assert told.count("\n") == 1

    def test_new_tables_that_do_not_go_with_the_others_are_left_out(self, photos, tmp_path, caplog):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "m.parquet", photos[:2])
        assert run(inbox, output) == 0
        pq.write_table(pa.table({"other": [1]}), inbox / "a.parquet")
        (inbox / "torn.parquet").write_bytes((inbox / "m.parquet").read_bytes()[:300])
        drop(inbox, "z.parquet", photos[2:4])
        assert run(inbox, output, "--watch", "0") == 0
        assert len(rows_of(output)) == 4
        for name in ("a", "torn"):
            assert f"{inbox}/{name}.parquet" in caplog.text
        drop(inbox, "torn.parquet", photos[4:6])
        assert run(inbox, output, "--watch", "0") == 0
        assert len(rows_of(output)) == 6
        assert verify(str(output)).faults == ()

    def test_a_run_that_ended_before_it_recorded_the_files_is_resumed(
        self, photos, tmp_path, capsys
    ):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "a.csv", photos[:2])
        assert run(inbox, output) == 0
        shutil.rmtree(output / "_manifest")
        assert run(inbox, output) == 0
        assert len(list((output / "_manifest").iterdir())) == 1
        shutil.rmtree(output / "_manifest")
        drop(inbox, "a.csv", photos[:3])
        assert run(inbox, output) == 2
        assert "was begun: use another --output" in capsys.readouterr().err

    def test_files_that_would_be_called_the_same_are_refused(
        self, photos, tmp_path, capsys, monkeypatch
    ):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "a.csv", photos[:2])
        drop(inbox, "b.csv", photos[2:4])
        monkeypatch.setattr(contract, "file_label", lambda relative: "same-00000000")
        assert run(inbox, output) == 1
        assert f"{inbox}/b.csv and another file of {inbox} would both be" in capsys.readouterr().err
        assert commits(output) == 0

    def test_overwrite_forgets_what_was_known(self, photos, tmp_path):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "a.csv", photos[:2])
        assert run(inbox, output) == 0
        os.unlink(inbox / "a.csv")
        drop(inbox, "b.csv", photos[2:5])
        assert run(inbox, output, "--overwrite") == 0
        assert len(rows_of(output)) == 3
        assert verify(str(output)).faults == ()

    def test_seconds_below_zero_are_refused(self, photos, tmp_path, capsys):
        drop(tmp_path / "in", "a.csv", photos)
        assert run(tmp_path / "in", tmp_path / "out", "--watch", "-1") == 2
        assert "--watch is the seconds between two looks" in capsys.readouterr().err


def markers(output):
    return {path.name: path.read_bytes() for path in (output / "_units").iterdir()}


class TestWatching:
    """A process that goes on until it is stopped."""

    def test_new_files_are_worked_on_until_it_is_stopped_and_it_ends_well(self, photos, tmp_path):
        inbox, output = tmp_path / "in", tmp_path / "out"
        inbox.mkdir()
        watcher = Watcher(tmp_path, "--watch", "0.2")
        watcher.until(lambda: f"the folder {inbox} holds neither" in watcher.told)
        drop(inbox, "m.csv", photos[:4])
        watcher.until_complete(2)
        drop(inbox, "a.csv", [*photos[4:6], "/nowhere.jpg"])
        watcher.until_complete(4)
        drop(inbox, "torn.csv", photos[6:7])
        watcher.until_complete(5)
        (inbox / "bad.csv").write_text("other\nx\n")
        watcher.until(lambda: "bad.csv" in watcher.told)
        code, printed = watcher.stop(signal.SIGINT)
        assert code == 0, watcher.told
        assert "8 rows: 7 cutouts, 1 errors" in printed
        assert "8 pictures in" in printed
        assert verify(str(output)).faults == ()
        assert [row["source_uri"] for row in rows_of(output)] == sorted(photos[:7])
        assert [row["source_uri"] for row in errors_of(output)] == ["/nowhere.jpg"]

    def test_a_single_file_is_waited_for_until_it_is_there_and_whole(self, photos, tmp_path):
        watcher = Watcher(tmp_path, "--watch", "0.2", inbox="late.csv")
        watcher.until(lambda: f"there is no manifest {watcher.inbox} yet" in watcher.told)
        drop(tmp_path, "late.csv", photos[:4], old=False)
        watcher.until_complete(2)
        assert watcher.stop(signal.SIGINT)[0] == 0, watcher.told
        assert verify(str(watcher.output)).faults == ()

    def test_stopped_within_a_round_it_goes_on_from_there(self, photos, tmp_path):
        inbox, output = tmp_path / "in", tmp_path / "out"
        drop(inbox, "m.csv", photos)
        watcher = Watcher(tmp_path, "--watch", "60", engine="stub_engines:Slow")
        watcher.until(lambda: commits(output))
        code, _ = watcher.stop(signal.SIGTERM)
        assert code == 130
        assert "the same command goes on from here" in watcher.told
        assert 0 < commits(output) < 6
        drop(inbox, "n.csv", photos[:1])
        flags = ["--unit_size", "2", "--watch", "0", "--engine", "stub_engines:Slow"]
        assert run(inbox, output, engine=[*flags, "--no_report"]) == 0
        assert len(rows_of(output)) == 13
        assert verify(str(output)).faults == ()

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_killed_within_a_round_it_leaves_no_trace(self, photos, tmp_path, monkeypatch, share):
        inbox, output = tmp_path / "in", tmp_path / "out"
        flags = ["--unit_size", "2", "--watch", "0"]
        engine = ["--engine", "suicidal:Suicidal", "--no_report"]
        monkeypatch.setenv("ALPHABEAM_KILL_AT", "0")

        def writes(folder):
            """Runs a round that is left alone; gives how many files it put in their place."""
            places = []
            replace = os.replace
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", lambda *names: places.append(names) or replace(*names))
                assert run(inbox, folder, *flags, engine=engine) == 0
            return len(places)

        drop(inbox, "m.csv", photos[:4])
        first = writes(tmp_path / "whole")
        drop(inbox, "a.csv", photos[4:8])
        moment = first + round(share * writes(tmp_path / "whole"))
        os.unlink(inbox / "a.csv")

        watcher = Watcher(
            tmp_path, "--watch", "0.2", engine="suicidal:Suicidal", kill_at=2 * moment - 1
        )
        watcher.until_complete(2)
        drop(inbox, "a.csv", photos[4:8])
        assert watcher.process.wait(120) == -signal.SIGKILL
        assert not (output / "_SUCCESS").exists()
        assert run(inbox, output, *flags, engine=engine) == 0
        assert stored(output) == stored(tmp_path / "whole")
        assert verify(str(output)).faults == ()
