"""The whole job in object stores: killed and resumed, every layout, worker processes, requests."""

import os
import subprocess
import sys

import pytest
import stores
from photographs import write_manifest

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import committed_units, open_dataset
from alphabeam.pipeline.paths import DatasetPaths
from alphabeam.pipeline.verify import verify
from alphabeam.transforms import storage

PICTURES, UNIT = 20, 5
JOB = ["--engine", "stub_engines:Disc", "--unit_size", str(UNIT), "--partition_by", "split"]


@pytest.fixture(scope="module", params=["gs", "s3"])
def scheme(request):
    return request.param


@pytest.fixture(scope="module")
def door(scheme):
    with {"gs": stores.gcs, "s3": stores.s3}[scheme]() as door:
        yield door


@pytest.fixture(scope="module")
def bucket(door, scheme):
    return f"{scheme}://{stores.BUCKET}"


@pytest.fixture(scope="module")
def manifest(bucket, tmp_path_factory):
    """Photographs and their manifest in the bucket; one of them is missing."""
    folder = tmp_path_factory.mktemp("photographs")
    write_manifest(str(folder), PICTURES)
    os.unlink(folder / "photos" / "coffee_1.jpg")
    upload(folder, f"{bucket}/in")
    return f"{bucket}/in/manifest.parquet"


@pytest.fixture(scope="module")
def expected(manifest, bucket):
    """An uninterrupted run's files."""
    assert run(manifest, f"{bucket}/whole", "--save_mask", "--no_report") == 0
    return stored(f"{bucket}/whole")


@pytest.fixture(autouse=True)
def _no_trouble(door):
    yield
    door.forget()


def upload(folder, uri):
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            storage.write_atomic(f"{uri}/{name}", path.read_bytes())


def run(manifest, output, *flags):
    return main(["run", "--manifest", manifest, "--output", output, *JOB, *flags])


def start(manifest, output, *flags, **environment):
    """Starts the job as a process of its own."""
    command = [sys.executable, "-m", "alphabeam.pipeline", "run", "--manifest", manifest,
               "--output", output, *JOB, *flags]  # fmt: skip
    here = os.path.dirname(__file__)
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": here, **environment}, stderr=subprocess.PIPE
    )


def finished(process):
    with process:
        told = process.stderr.read().decode()
    assert process.returncode == 0, told
    return told


def stored(output):
    """Gives every stored file but those that may hold times, with its content."""
    paths = DatasetPaths(output)
    return {
        paths.relative(file.uri): storage.read_bytes(file.uri)
        for folder in ("data", "images", "masks", "errors")
        for file in storage.list_files(paths.uri(folder))
    }


def test_kill_9_at_any_request_and_run_again(door, bucket, manifest, expected):
    output = f"{bucket}/killed"
    writes = 0

    def kill_at(last, process, *, done):
        def trouble(request):
            nonlocal writes
            if request.command in ("POST", "PUT"):
                writes += 1
                if writes == last:
                    process.kill()
                    return "lost" if done else 503
            return None

        return trouble

    # A unit is 5 pictures, 5 masks, 1 or 2 tables and its marker: within them.
    for last, done in ((9, True), (27, False)):
        with start(manifest, output, "--save_mask", "--no_report") as process:
            writes = 0
            door.trouble = kill_at(last, process, done=done)
        assert process.returncode == -9
    door.trouble = None
    committed = set(committed_units(DatasetPaths(output)))
    assert 0 < len(committed) < PICTURES / UNIT
    finished(start(manifest, output, "--save_mask", "--no_report"))
    assert stored(output) == expected
    assert verify(output).faults == ()


def test_a_store_that_refuses_is_told_in_one_line(door, bucket, manifest):
    output = f"{bucket}/refused"
    door.trouble = lambda request: 400
    with start(manifest, output) as process:
        told = process.stderr.read().decode().splitlines()
    assert process.returncode == 2
    assert told[-1].startswith(f"alphabeam: --output {output} cannot be read: ")
    assert [line for line in told if line.startswith((" ", "Traceback"))] == []


def test_report_verify_and_compact_work_where_the_dataset_lies(bucket, manifest, capsys):
    output = f"{bucket}/all"
    assert run(manifest, output) == 0
    assert "19 cutouts, 1 errors" in capsys.readouterr().out
    assert main(["verify", output]) == 0
    assert main(["report", output]) == 0
    report = storage.read_bytes(f"{output}/report.html").decode()
    assert "coffee_1" in report
    assert main(["compact", output]) == 0
    assert "files into 2" in capsys.readouterr().out
    assert main(["verify", output]) == 0
    assert main(["watch", output]) == 0
    assert run(manifest, output) == 0  # nothing left to do
    assert open_dataset(output).count_rows() == PICTURES - 1
    assert run(manifest, output, "--crop_to_bbox", "--overwrite") == 0
    assert main(["verify", output]) == 0


@pytest.mark.parametrize("layout", ["embedded", "webdataset"])
def test_other_layouts(bucket, manifest, layout):
    output = f"{bucket}/{layout}"
    assert run(manifest, output, "--layout", layout, "--no_report") == 0
    assert main(["verify", output]) == 0
    assert main(["compact", output]) == 0
    assert main(["verify", output]) == 0


def test_worker_processes_find_the_store_by_fsspecs_configuration(
    door, scheme, bucket, manifest, monkeypatch
):
    for name in ("STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    configuration = {
        "gs": {"FSSPEC_GS_ENDPOINT_URL": door.address, "FSSPEC_GS_TOKEN": "anon"},
        "s3": {
            "FSSPEC_S3_ENDPOINT_URL": door.address,
            "FSSPEC_S3_KEY": "testing",
            "FSSPEC_S3_SECRET": "testing",
        },
    }[scheme]
    workers = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
    process = start(manifest, f"{bucket}/workers", "--no_report", *workers, **configuration)
    finished(process)
    monkeypatch.undo()
    assert verify(f"{bucket}/workers").faults == ()


@pytest.mark.parametrize("scheme", ["gs"], indirect=True, scope="module")
def test_a_picture_costs_at_most_three_requests(door, bucket, tmp_path):
    pictures, unit = 96, 32
    write_manifest(str(tmp_path), pictures, size=64)
    upload(tmp_path, f"{bucket}/counted")
    door.forget()
    flags = ["--unit_size", str(unit), "--no_report", "--engine", "stub_engines:Disc"]
    manifest, output = f"{bucket}/counted/manifest.parquet", f"{bucket}/counted-out"
    assert main(["run", "--manifest", manifest, "--output", output, *flags]) == 0
    read = [name for kind, name in door.names if kind == "read" and "/photos/" in name]
    assert len(read) == len(set(read)) == pictures
    written = [name for kind, name in door.names if kind == "write" and "/images/" in name]
    assert len(written) == len(set(written)) == pictures
    assert not any(kind == "stat" and "/photos/" in name for kind, name in door.names)
    assert sum(door.requests.values()) <= 3 * pictures
