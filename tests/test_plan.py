"""A plan says what a run takes and costs, and does none of it: no picture, no request."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import run_program
from photographs import write_manifest

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.manifests.contract import Extent, Manifest, units_of
from alphabeam.pipeline.planning.advice import unit_size_for
from alphabeam.pipeline.planning.machines import find_machine
from alphabeam.pipeline.planning.terms import Figure, Terms
from alphabeam.pipeline.planning.workload import Workload

FILES, ROWS = 1000, 1_000_000


def planned(capsys, *arguments):
    assert main(["plan", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


def refusal(capsys, *arguments):
    assert main(["plan", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def workload(rows, *, files=1, unit_size=256, kind="parquet", size=0):
    file_rows = np.full(files, rows // files)
    units = int((-(-file_rows // unit_size)).sum())
    return Workload(kind, rows, units, size, file_rows, 200, 0.0)


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(str(tmp_path), 2)


@pytest.fixture(scope="module")
def billion(tmp_path_factory):
    """A thousand Parquet files with a million rows each, 13 kB a file: one value, over and over."""
    root = tmp_path_factory.mktemp("billion")
    table = pa.table({
        "image": pa.array(["a.jpg"]).take(pa.array(np.zeros(ROWS, np.int32))),
        "width": pa.array(np.full(ROWS, 1024)),
    })  # fmt: skip
    pq.write_table(table, root / "one", row_group_size=ROWS // 10)
    (root / "files").mkdir()
    for i in range(FILES):
        os.link(root / "one", root / "files" / f"part-{i:05d}.parquet")
    return root / "files"


PLAN_A_BILLION = """
from memory import peak_rss
from alphabeam.pipeline.manifest import open_manifest
from alphabeam.pipeline.manifests.tally import Look
from alphabeam.pipeline.planning.workload import measure
measure(open_manifest("{folder}/part-00000.parquet", look=Look(identify=False)), {unit_size})
before = peak_rss()
found = measure(open_manifest("{folder}", look=Look(identify=False)), {unit_size})
print(found.rows, found.units, found.files, peak_rss() - before)
"""


def test_a_billion_rows_plan_in_bounded_memory(billion):
    program = PLAN_A_BILLION.format(folder=billion, unit_size=1024)
    rows, units, files, grown = map(int, run_program(program).split())
    assert (rows, files) == (FILES * ROWS, FILES)
    assert units == FILES * -(-ROWS // 1024)
    assert grown < 32 << 20


def test_a_billion_rows_are_told_what_they_wait_for(billion, capsys):
    command = ["--manifest", str(billion), "--engine", "birefnet", "--unit_size", "8192"]
    printed = planned(
        capsys,
        *command,
        "--images_per_second",
        "25",
        "--workers",
        "64",
        "--machine",
        "g2-standard-8",
    )
    assert "1,000,000,000 rows in 1,000 files" in printed
    assert "123,000 units of 8,192 rows" in printed
    assert "next bottleneck workers," in printed
    assert "8 vCPUs, 32 GB, 1 × nvidia-l4" in printed
    assert "--layout: files makes 1,000,246,000 objects" in printed
    assert "bucket: 1,5" in printed
    assert "123 pages of the listing one after the other, 123,000 markers" in printed
    assert "--unit_size 8192: as it is" in printed


WATCHED = """
import os, sys
from alphabeam.pipeline.cli import main  # what is imported may look around

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("sent:", event, arguments, file=sys.stderr)
        os._exit(70)
    if event == "open" and str(arguments[0]).endswith((".jpg", ".png")):
        print("fetched:", arguments, file=sys.stderr)
        os._exit(71)

sys.addaudithook(watch)
for engine in {engines}:
    for manifest in {manifests}:
        assert main(["plan", "--manifest", manifest, "--engine", engine]) == 0
"""


def test_nothing_is_fetched_and_nothing_sent(tmp_path):
    files = write_manifest(str(tmp_path), 2)
    web = str(tmp_path / "web.parquet")
    pq.write_table(pa.table({"image": [f"http://127.0.0.1:9/{i}.jpg" for i in range(3)]}), web)
    engines = "fal-bria", "fal-rembg,runware-bria", "birefnet", "rmbg-2.0,gmi-bria", "hf", "onnx"
    manifests = files, web, str(tmp_path / "photos")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED.format(engines=engines, manifests=manifests)],
        env={name: value for name, value in os.environ.items() if not name.endswith("_KEY")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for engine in engines:
        assert done.stdout.count(f"engine {engine},") == len(manifests)


def test_an_embedded_picture_is_not_read(tmp_path, capsys):
    # Its bytes lie in the middle of the file, which is cut out here: only the footer is left.
    path = tmp_path / "embedded.parquet"
    noise = np.random.default_rng(1).bytes(3_000_000)
    pq.write_table(pa.table({"image": [noise] * 4}), path, use_dictionary=False, compression="none")
    with open(path, "r+b") as file:
        file.seek(1000)
        file.write(bytes(11_000_000))
    printed = planned(capsys, "--manifest", str(path))
    assert "4 rows in 1 files (12.0 MB of manifest)" in printed
    assert "3,000,098 bytes" in printed  # bytes of a picture and its share of the footer
    assert "fetching" not in printed


@settings(deadline=None)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=10), st.integers(1, 700))
def test_units_of_another_size_are_counted_as_they_would_be_planned(rows, unit_size):
    manifest = Manifest("m", "parquet", "/m", None, pa.schema([]), "", len(rows), 0)
    made = [list(units_of(manifest, f"/m/{i}", Extent(n), unit_size)) for i, n in enumerate(rows)]
    counted = Workload("parquet", sum(rows), 0, 0, np.array(rows), 0, 0.0).units_at(unit_size)
    assert counted == sum(map(len, made))


class TestUnitSize:
    def test_many_rows_ask_for_large_units(self):
        size, why = unit_size_for(workload(10**9), Terms(256, workers=64, rate=Figure(25, "given")))
        assert size == 8192
        assert "markers" in why

    def test_many_workers_ask_for_small_ones(self):
        size, why = unit_size_for(workload(10_000), Terms(256, workers=100))
        assert size == 8
        assert "each of 100 workers" in why

    def test_a_slow_engine_asks_for_small_ones(self):
        terms = Terms(4096, rate=Figure(0.5, "given"))
        size, why = unit_size_for(workload(10**6, unit_size=4096), terms)
        assert size <= 450
        assert "lost worker" in why

    def test_pictures_in_the_files_ask_for_small_ones(self):
        terms = Terms(65536, layout="webdataset")
        size, why = unit_size_for(workload(10**6, unit_size=65536), terms)
        assert size * terms.stored_bytes <= 1 << 30
        assert "MiB" in why

    @settings(deadline=None)
    @given(
        st.integers(1, 10**9), st.integers(1, 5000), st.floats(0.01, 1000), st.integers(1, 10**5)
    )
    def test_what_was_advised_is_not_advised_against(self, rows, workers, rate, unit_size):
        terms = Terms(unit_size, workers=workers, rate=Figure(rate, "given"))
        advised, _ = unit_size_for(workload(rows, unit_size=unit_size), terms)
        again = Terms(advised, workers=workers, rate=Figure(rate, "given"))
        assert unit_size_for(workload(rows, unit_size=advised), again)[0] == advised


class TestMoney:
    def test_a_provider_costs_at_most_a_picture_each(self, manifest, capsys):
        printed = planned(capsys, "--manifest", manifest, "--engine", "fal-bria")
        assert "$0.036 fal-bria: at most 2 paid requests" in printed
        assert "$0.018 per image (https://fal.ai/" in printed

    def test_a_worker_costs_its_parts(self):
        machine = find_machine("n1-standard-4", "nvidia-tesla-t4:2")
        assert machine.price(100) == pytest.approx(
            4 * 0.056 + 15 * 0.003557 + 100 * 0.000054 + 2 * 0.42
        )

    def test_a_gpu_comes_with_the_machine_that_run_takes_for_it(self, manifest, capsys):
        printed = planned(capsys, "--manifest", manifest, "--gpu", "nvidia-l4")
        assert "g2-standard-8 (8 vCPUs, 32 GB, 1 × nvidia-l4), 100 GB of disk" in printed

    def test_what_you_pay_counts_more_than_the_list(self, manifest, capsys):
        command = ["--manifest", manifest, "--images_per_second", "0.002", "--workers", "2"]
        flags = ["--machine", "g2-standard-8", "--machine_usd_per_hour", "36"]
        printed = planned(capsys, *command, *flags)
        # Two rows make one unit, so that one worker idles: 1,000 s of two workers.
        assert "workers: 0.6 hours (0.6 of GPUs) at $36.000: as given" in printed
        assert "$20.0" in printed
        assert "as remembered" not in printed.partition("prices")[2].partition("shuffled")[0]

    def test_a_disk_costs_nothing(self, manifest, capsys, tmp_path):
        printed = planned(capsys, "--manifest", manifest, "--output", str(tmp_path / "out"))
        assert "$" not in printed
        assert not (tmp_path / "out").exists()

    def test_every_list_price_says_where_and_when(self, manifest, capsys):
        printed = planned(
            capsys, "--manifest", manifest, "--machine", "g2-standard-8", "--images_per_second", "9"
        )
        prices = printed.partition(" prices ")[2]
        assert prices.count("$") == prices.count("https://") == prices.count("2026-11") == 8


class TestBottleneck:
    def test_an_account_limit_is_named_and_decides_the_hours(self, tmp_path, capsys):
        path = tmp_path / "many.csv"
        path.write_text("image\n" + "a.jpg\n" * 72_000)
        command = ["--manifest", str(path), "--engine", "fal-bria", "--workers", "8"]
        printed = planned(capsys, *command)
        assert "60.0 minutes at 20.0 images/s" in printed  # 40 at once, 2 s each
        assert "next bottleneck fal-bria, 20.0 images/s" in printed

    def test_a_fallback_provider_is_not_waited_for(self, manifest, capsys):
        command = ["--manifest", manifest, "--engine", "birefnet,fal-bria"]
        printed = planned(capsys, *command, "--images_per_second", "30")
        assert "next bottleneck workers" in printed
        assert "at most 2 paid requests" in printed

    def test_idle_workers_are_counted(self, manifest, capsys):
        command = ["--manifest", manifest, "--images_per_second", "10", "--workers", "4"]
        assert "3 workers have no unit: a smaller --unit_size" in planned(capsys, *command)

    def test_a_thin_network_is_found(self, manifest, capsys):
        command = ["--manifest", manifest, "--images_per_second", "1000"]
        printed = planned(capsys, *command, "--network_gbit", "0.1", "--image_bytes", "2.5e6")
        assert "next bottleneck network, 3.6 images/s" in printed

    def test_small_files_are_told(self, tmp_path, capsys):
        for i in range(30):
            (tmp_path / f"{i}.csv").write_text("image\na.jpg\nb.jpg\n")
        printed = planned(capsys, "--manifest", str(tmp_path), "--images_per_second", "5")
        assert "30 files hold 2.0 rows each, and no unit crosses files" in printed


def test_a_trial_gives_speed_and_sizes(manifest, tmp_path, capsys):
    output = str(tmp_path / "trial")
    assert main(["run", "--manifest", manifest, "--output", output, "--no_report"]) == 0
    capsys.readouterr()
    printed = planned(capsys, "--manifest", manifest, "--trial", output)
    assert f"measured over 2 rows with grabcut in {output}" in printed
    assert "unknown" not in printed


def test_a_trial_has_to_be_complete(manifest, tmp_path, capsys):
    line = refusal(capsys, "--manifest", manifest, "--trial", str(tmp_path / "none"))
    assert "no dataset.json" in line


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--engine", "grabcat"], "did you mean 'grabcut'"),
        (["--engine", ","], "--engine takes a name"),
        (["--unit_size", "0"], "--unit_size must be greater than 0: given 0"),
        (["--workers", "-1"], "--workers must be greater than 0: given -1"),
        (["--images_per_second", "0"], "--images_per_second must be greater than 0: given 0"),
        (["--layout", "tree"], "use one of files"),
        (["--images_per_second", "nan"], "--images_per_second must be finite: given nan"),
        (["--disk_gb", "inf"], "--disk_gb must be finite: given inf"),
        (["--machine", "n2-standard-0"], "--machine 'n2-standard-0' is not known"),
        (
            ["--machine", "e2-standard-4", "--gpu", "nvidia-l4"],
            "--machine e2-standard-4 carries no nvidia-l4: give one of the g2 family",
        ),
        (["--machine", "n2-standard-8", "--gpu", "nvidia-tesla-t4:2"], "one of the n1 family"),
        (["--machine", "x9-huge-4"], "--machine_usd_per_hour"),
        (["--machine", "g2-standard-8", "--gpu", "nvidia-tesla-t4"], "takes no others"),
        (["--machine", "n1-standard-8", "--gpu", "tpu-v9"], "no price of tpu-v9"),
        (["--gpu", "tpu-v9"], "needs --machine"),
        (["--image_column", "nothing"], "nothing"),
    ],
)
def test_bad_flags_are_refused_in_one_line(manifest, capsys, flags, expected):
    assert expected in refusal(capsys, "--manifest", manifest, *flags)
