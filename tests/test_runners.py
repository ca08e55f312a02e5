"""The same dataset from every local runner, worker count and retry: docs/how-to/runners.md."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photographs import write_manifest
from PIL import Image
from processes import free_port, server
from processes import run as run_process
from test_job import DISC, run, stored

from alphabeam.pipeline.verify import verify


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(str(tmp_path_factory.mktemp("runners")), 24)


def content(output):
    """Gives every stored file by what it holds: pixels, and rows less how the pixels were deflated.

    igzip was once seen to deflate the same pixels in two ways within one process; see docs/explanation.md.
    """
    found = {}
    for name, data in stored(output).items():
        if name.endswith(".png"):
            picture = Image.open(io.BytesIO(data))
            found[name] = (picture.mode, picture.size, np.asarray(picture).tobytes())
        else:
            rows = pq.read_table(pa.BufferReader(data))
            found[name] = rows.drop_columns(["image_sha256", "image_bytes"])
    return found


@pytest.fixture(scope="module")
def expected(manifest, tmp_path_factory):
    output = tmp_path_factory.mktemp("expected") / "out"
    assert run(manifest, output, "--unit_size", "4") == 0
    return content(output)


@pytest.mark.parametrize(
    "flags",
    [
        ["--direct_num_workers", "2"],
        ["--direct_running_mode", "multi_threading"],
        ["--direct_running_mode", "multi_threading", "--direct_num_workers", "2"],
        ["--direct_running_mode", "multi_processing"],
        ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"],
        ["--direct_runner_bundle_repeat", "1"],
        ["--runner", "BundleBasedDirectRunner"],
    ],
    ids=lambda flags: " ".join(flags).replace("--direct_", ""),
)
def test_runners_write_the_same_dataset(manifest, expected, tmp_path, monkeypatch, flags):
    monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0])
    assert run(manifest, tmp_path / "out", "--unit_size", "4", *flags) == 0
    assert content(tmp_path / "out") == expected
    assert verify(str(tmp_path / "out")).faults == ()


def test_a_job_server_and_workers_of_its_own_write_the_same_dataset(manifest, expected, tmp_path):
    jobs, pool = free_port(), free_port()
    (tmp_path / "elsewhere").mkdir()
    with (
        server(
            jobs, "apache_beam.runners.portability.local_job_service_main", f"--port={jobs}"
        ),
        server(
            pool, "apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}",
            cwd=tmp_path / "elsewhere",
        ),
    ):  # fmt: skip
        done = run_process(
            "alphabeam.pipeline", "run", "--manifest", manifest, "--output", "out",
            "--unit_size", "4", *DISC, "--runner", "PortableRunner",
            f"--job_endpoint=localhost:{jobs}", "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool}", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "24 rows: 24 cutouts, 0 errors" in done.stdout
    assert content(tmp_path / "out") == expected
    assert verify(str(tmp_path / "out")).faults == ()


def test_a_unit_that_fails_is_retried_by_a_retrying_runner(manifest, expected, tmp_path):
    engine = ["--engine", "stub_engines:FailsOnce", "--no_report"]
    flags = ["--runner", "BundleBasedDirectRunner", "--unit_size", "4"]
    assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    pictures = {name for name in expected if name.startswith("images/")}
    assert {name for name in stored(tmp_path / "out") if name.startswith("images/")} == pictures
