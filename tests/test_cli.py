"""The command line: bad arguments found before any work, in one line that says what would do."""

import os
import subprocess
import sys
from decimal import Decimal

import processes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photographs import write_manifest

from alphabeam.pipeline.cli import main


@pytest.fixture
def manifest(tmp_path):
    price = pa.array([Decimal("1.25"), Decimal("2.50")])
    odd = {name: ["x", "y"] for name in ("_fold", ".fold", "a/b", "a=b")}
    return write_manifest(str(tmp_path), 2, price=price, **odd)


def refusal(capsys, *arguments):
    """Runs a command that has to be refused; gives its one line."""
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--engine", "grabcat"], "did you mean 'grabcut'"),
        (["--engine", "stub_engines:Missing"], "stub_engines:Missing"),
        (["--engine", "nosuchmodule:Engine"], "nosuchmodule"),
        (["--max_cost_usd", "nan"], "--max_cost_usd is a sum of dollars: given nan"),
        (["--output_format", "jpg"], "--background"),
        (["--gpu", "nvidia-l4"], "--gpu nvidia-l4 is of workers on Dataflow: give --runner Data"),
        (["--package_in_image"], "--package_in_image is of workers on Dataflow: give --runner"),
        (["--background", "bleu"], "bleu"),
        (["--layout", "tree"], "files"),
        (["--unit_size", "0"], "--unit_size must be greater than 0: given 0"),
        (["--batch_size", "some"], "--batch_size is auto or a number"),
        (["--max_error_rate", "2"], "from 0 to 1"),
        (["--alpha_threshold", "3"], "alpha_threshold"),
        (["--output_quality", "0"], "output_quality"),
        (["--crop_margin", "-1"], "crop_margin"),
        (["--partition_by", "splitt"], "it has split"),
        (["--partition_by", "split,split"], "each column is given once"),
        (["--partition_by", "_fold"], "begins with neither _ nor ."),
        (["--partition_by", ".fold"], "begins with neither _ nor ."),
        (["--partition_by", "a/b"], "has no /, \\, = or %"),
        (["--partition_by", "a=b"], "has no /, \\, = or %"),
        (["--partition_by", "price"], "decimal128(3, 2), which makes no folder name"),
        (["--image_column", "imagee"], "image"),
        (["--key_column", "nokey"], "key"),
        (["--outptu", "x"], "did you mean --output"),
        (["--overwrite", "--retry_failed"], "exclude each other"),
        (["--retry_failed"], "no dataset"),
        (["stray"], "stray"),
        (["--device", "cuda"], "cuda"),
        (["--model", "x"], "model"),
        (["--unit_size", "many"], "--unit_size: invalid int value: 'many'"),
        (["--unit_size"], "--unit_size: expected one argument"),
        (["--output_format", "gif"], "choose from"),
        (["--save_mask=yes"], "--save_mask"),
        (["--direct_num_workers", "two"], "--direct_num_workers: invalid int value: 'two'"),
        (["--direct_num_workers", "-2"], "--direct_num_workers is 0 for all cores"),
        (["--direct_running_mode", "fast"], "multi_processing"),
        (["--runner", "DirectRuner"], "did you mean DirectRunner"),
        (["--runner", "nowhere.Runner"], "--runner nowhere.Runner"),
        (["--runner", "alphabeam.transforms.Runner"], "--runner alphabeam.transforms.Runner"),
        (["--partition_by", "key"], "'key' is the pictures' own"),
        (["--dry_run", "perhaps"], "--dry_run is True or False: given perhaps"),
        (["--fetch_timeout", "nan"], "--fetch_timeout must be greater than 0: given nan"),
    ],
)
def test_bad_flags_are_refused_before_any_work(manifest, tmp_path, capsys, flags, expected):
    output = str(tmp_path / "out")
    line = refusal(capsys, "run", "--manifest", manifest, "--output", output, *flags)
    assert expected in line
    assert not os.path.exists(output)


@pytest.mark.parametrize("runner", [[], ["--runner", "BundleBasedDirectRunner"], ["--watch", "1"]])
@pytest.mark.parametrize("dry", [["--dry_run"], ["--dry_run", "true"], ["--dry_run=True"]])
def test_a_dry_run_does_nothing_on_any_runner(manifest, tmp_path, capsys, runner, dry):
    output = str(tmp_path / "out")
    os.utime(manifest, (1e9, 1e9))  # nobody is writing it any more
    flags = ["--manifest", manifest, "--output", output, *runner, *dry]
    assert main(["run", *flags]) == 0
    assert "no picture was fetched, bought or written" in capsys.readouterr().out
    assert not os.path.exists(output)


def test_a_dry_run_finds_what_a_run_would_be_refused_for(manifest, tmp_path, capsys):
    output = str(tmp_path / "out")
    flags = ["run", "--manifest", manifest, "--output", output]
    assert main([*flags, "--dry_run=False", "--no_report"]) == 0
    capsys.readouterr()
    before = os.stat(os.path.join(output, "dataset.json")).st_mtime_ns
    assert "made with other settings" in refusal(capsys, *flags, "--save_mask", "--dry_run")
    assert main([*flags, "--save_mask", "--overwrite", "--dry_run"]) == 0
    assert os.stat(os.path.join(output, "dataset.json")).st_mtime_ns == before
    capsys.readouterr()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear me")
    flags[-1] = str(tmp_path / "mine")
    assert "is not empty" in refusal(capsys, *flags, "--dry_run")


@pytest.mark.parametrize("sum_of_money", ["nan", "inf", "-1"])
def test_a_budget_that_would_bound_nothing_is_refused(manifest, tmp_path, capsys, sum_of_money):
    line = refusal(
        capsys, "run", "--manifest", manifest, "--output", str(tmp_path / "out"),
        "--engine", "fal-bria", "--max_cost_usd", sum_of_money,
    )  # fmt: skip
    assert line == f"alphabeam: --max_cost_usd is a sum of dollars: given {sum_of_money}"


def test_a_command_that_there_is_not_is_refused_in_one_line(capsys):
    line = refusal(capsys, "rum", "--manifest", "m.csv")
    assert "'rum'" in line
    assert "evaluate" in line
    assert "alphabeam --help" in line
    assert "output" in refusal(capsys, "verify")


def test_what_is_missing_is_said(manifest, tmp_path, capsys):
    assert "--manifest is missing" in refusal(capsys, "run")
    assert "--output is missing" in refusal(capsys, "run", "--manifest", manifest)
    output = str(tmp_path / "out")
    line = refusal(capsys, "run", "--manifest", str(tmp_path / "no.parquet"), "--output", output)
    assert line == f"alphabeam: --manifest: there is no manifest {tmp_path}/no.parquet"


def test_a_manifest_without_an_image_column_names_its_columns(tmp_path, capsys):
    pq.write_table(pa.table({"picture": ["a.jpg"], "label": [1]}), tmp_path / "m.parquet")
    line = refusal(
        capsys, "run", "--manifest", str(tmp_path / "m.parquet"), "--output", str(tmp_path / "out")
    )
    assert "picture" in line
    assert "label" in line


@pytest.mark.parametrize("output", ["memory://bucket/a*", "memory://bucket/a[b]", "gs://b/a?/c"])
def test_an_output_in_a_store_is_no_pattern(manifest, capsys, output):
    line = refusal(capsys, "run", "--manifest", manifest, "--output", output)
    assert line.startswith(f"alphabeam: --output {output} ")
    assert "without *, ? and [" in line


def test_a_tilde_that_the_shell_left_is_the_home_folder(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = ["--manifest=~/manifest.parquet", "--output=~/out", "--no_report"]
    assert main(["run", *flags]) == 0
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_an_output_that_is_a_file_is_refused(manifest, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    line = refusal(capsys, "run", "--manifest", manifest, "--output", str(tmp_path / "out"))
    assert str(tmp_path / "out") in line


@pytest.mark.parametrize("output", ["", "photos/.."])
def test_an_output_that_holds_the_manifest_is_named_as_the_trouble(
    manifest, tmp_path, capsys, output
):
    for given in (manifest, str(tmp_path / "photos"), str(tmp_path / "photos" / "*.jpg")):
        output = str(tmp_path / output)
        line = refusal(capsys, "run", "--manifest", given, "--output", output)
        assert line.startswith(f"alphabeam: --manifest: {given} lies within --output")


@pytest.mark.parametrize("output", ["nosuch://bucket/out", "ftp://127.0.0.1:1/out"])
def test_a_store_that_cannot_be_reached_is_refused_in_one_line(manifest, capsys, output):
    for command in (["run", "--manifest", manifest, "--output", output], ["verify", output]):
        assert output in refusal(capsys, *command)


def test_a_damaged_dataset_is_named_and_may_be_overwritten(manifest, tmp_path, capsys):
    output = tmp_path / "out"
    command = ["run", "--manifest", manifest, "--output", str(output), "--no_report"]
    assert main(command) == 0
    for damaged in ('{"settings": {', "[]"):
        (output / "dataset.json").write_text(damaged)
        capsys.readouterr()
        for refused in (command, ["watch", str(output)], ["report", str(output)]):
            assert f"{output}/dataset.json is damaged" in refusal(capsys, *refused)
    assert main([*command, "--overwrite"]) == 0
    assert main(["verify", str(output)]) == 0


def test_commands_on_a_folder_without_a_dataset_are_refused(tmp_path, capsys):
    for command in ("verify", "watch"):
        assert "no alphabeam dataset" in refusal(capsys, command, str(tmp_path))


def test_verify_says_what_is_broken_and_exits_with_one(manifest, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["run", "--manifest", manifest, "--output", str(output), "--no_report"]) == 0
    capsys.readouterr()
    assert main(["verify", str(output)]) == 0
    assert capsys.readouterr().out.startswith("ok: 1 units, 2 rows")
    (picture, *_) = output.glob("images/*/*.png")
    picture.unlink()
    assert main(["verify", str(output)]) == 1
    assert f"{picture.relative_to(output)}: missing" in capsys.readouterr().out


def test_watch_shows_a_finished_run_and_ends(manifest, tmp_path, capsys):
    output = str(tmp_path / "out")
    main(["run", "--manifest", manifest, "--output", output, "--no_report"])
    capsys.readouterr()
    assert main(["watch", output]) == 0
    assert capsys.readouterr().out.startswith("2/2 images")


def test_engines_are_listed_with_their_licence(capsys):
    assert main(["engines"]) == 0
    printed = capsys.readouterr().out
    assert "grabcut" in printed
    assert "ready" in printed


def test_the_demo_makes_a_dataset_of_photographs(tmp_path, capsys):
    folder = str(tmp_path / "demo")
    assert main(["demo", folder]) == 0
    assert "6 cutouts, 0 errors" in capsys.readouterr().out
    assert main(["verify", os.path.join(folder, "dataset")]) == 0
    assert main(["demo", folder]) == 0


def test_a_demo_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "demo").write_text("a file")
    line = refusal(capsys, "demo", str(tmp_path / "demo"))
    assert line.startswith(f"alphabeam: {tmp_path}/demo cannot be written: ")


def test_help_names_every_flag_of_the_job():
    printed = subprocess.run(
        [sys.executable, "-m", "alphabeam.pipeline", "run", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for flag in ("manifest", "output", "engine", "unit_size", "save_mask", "max_image_bytes"):
        assert f"--{flag}" in printed


def test_directrunner_is_mapped_and_said(manifest, tmp_path, caplog):
    output = str(tmp_path / "out")
    flags = ["--runner", "DirectRunner", "--no_report"]
    with caplog.at_level("INFO", "alphabeam"):
        assert main(["run", "--manifest", manifest, "--output", output, *flags]) == 0
    assert "runs on FnApiRunner" in caplog.text


UNLOADABLE = ("--engine", "stub_engines:Unloadable", "--no_report")


def told_of_unloadable(manifest, tmp_path, *flags):
    """Runs an engine that cannot start, in a process of its own; gives the lines it says."""
    output = str(tmp_path / "out")
    done = processes.run(
        "alphabeam.pipeline", "run", "--manifest", manifest, "--output", output, *UNLOADABLE, *flags
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.strip().splitlines()


STOPPED = (
    "alphabeam: the run stopped: OSError: weights are gone (--verbose shows where it happened);"
    " 0 of 2 rows are committed, 2 are left, and the same command goes on from there"
)


@pytest.mark.parametrize("flags", [[], ["--runner", "BundleBasedDirectRunner"]], ids=" ".join)
def test_an_engine_that_cannot_start_ends_the_run_with_one_line(manifest, tmp_path, flags):
    assert told_of_unloadable(manifest, tmp_path, *flags) == [STOPPED]


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_an_engine_that_cannot_start_elsewhere_is_told_last(manifest, tmp_path, mode):
    # Beam prints the worker's traceback before.
    lines = told_of_unloadable(manifest, tmp_path, "--direct_running_mode", mode)
    assert lines[-1] == STOPPED


def test_verbose_shows_where_a_run_stopped(manifest, tmp_path):
    lines = told_of_unloadable(manifest, tmp_path, "--verbose")
    assert any("stub_engines.py" in line for line in lines)
    assert "--verbose" not in lines[-1]


def test_a_run_with_processes_of_its_own_says_nothing_but_how_it_went(manifest, tmp_path):
    done = processes.run(
        "alphabeam.pipeline", "run", "--manifest", manifest, "--output", str(tmp_path / "out"),
        "--no_report", "--direct_running_mode", "multi_processing",
    )  # fmt: skip
    assert done.returncode == 0
    assert all(" images, " in line for line in done.stderr.splitlines()), done.stderr


ADVICE = """
import datetime, subprocess, sys
from google.api_core._python_version_support import check_python_version
check_python_version("google.api_core", datetime.date(2099, 1, 1))
"""


@pytest.mark.parametrize("said", [[], ["-Wdefault::FutureWarning"]], ids=["nothing", "default"])
def test_old_pythons_are_not_advised_against_for_each_of_googles_libraries(said):
    set_up = "from alphabeam.pipeline.logs import set_up_logging\nset_up_logging(False)\n"
    child = "subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)\n"
    command = [sys.executable, *said, "-c", set_up + ADVICE + child, ADVICE]
    env = {**os.environ, "PYTHONWARNINGS": "default::DeprecationWarning"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert ("FutureWarning: You are using" in done.stderr) is bool(said), done.stderr


def test_providers_are_listed_with_their_price_and_key(capsys, monkeypatch):
    monkeypatch.delenv("RUNWARE_API_KEY", raising=False)
    assert main(["engines"]) == 0
    printed = capsys.readouterr().out
    assert "needs a key in RUNWARE_API_KEY" in printed
    assert "$0.018 per image" in printed
