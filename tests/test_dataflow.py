"""Dataflow jobs: what is refused, the graph and the description, and a submission to its end."""

import base64
import bz2
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import apache_beam as beam
import pytest
import stores
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from dataflow_service import dataflow as dataflow_service
from photographs import write_manifest
from test_job_stores import upload

from alphabeam.pipeline import dataflow
from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataflow_checks import check
from alphabeam.pipeline.errors import UsageError
from alphabeam.pipeline.foreign import CutOutDataset
from alphabeam.pipeline.settings import settings_from_options
from alphabeam.pipeline.shipping import requirements, write_requirements, write_wheel
from alphabeam.pipeline.submission import submit
from alphabeam.pipeline.verify import verify
from alphabeam.transforms import storage

BUCKET = f"gs://{stores.BUCKET}"
KEY = "fal-key-that-must-stay-here:0123456789"
CLOUD = {
    "runner": "DataflowRunner",
    "project": "my-project",
    "region": "europe-west4",
    "temp_location": f"{BUCKET}/tmp",
    "dataflow_endpoint": "http://localhost:9",  # where nobody listens
}
ACCELERATOR = "beam:resources:accelerator:v1"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with stores.gcs() as door:
        folder = tmp_path_factory.mktemp("photographs")
        write_manifest(str(folder), 6)
        upload(folder, f"{BUCKET}/in")
        yield door


@pytest.fixture(scope="module")
def service():
    with dataflow_service() as service:
        yield service


def flags(*more, **options):
    given = {"manifest": f"{BUCKET}/in/manifest.parquet", "output": f"{BUCKET}/out", **CLOUD}
    given.update(options)
    named = {name: value for name, value in given.items() if value is not None}
    return [
        *(f"--{name}" if value is True else f"--{name}={value}" for name, value in named.items()),
        *more,
    ]


def graph(*more, **options):
    """Puts a job together without sending it; gives its pipeline, its options, and what is said."""
    given = PipelineOptions(flags("--dry_run=True", *more, **options))
    check(given)
    job = settings_from_options(given)
    chosen = dataflow.prepare(given, job)
    pipeline = submit(job, given, chosen).result.job.proto_pipeline
    return pipeline, given.get_all_options(), chosen


def hinted(pipeline):
    """Gives the steps that want an accelerator, and which."""
    environments = pipeline.components.environments
    return {
        step.unique_name: environments[step.environment_id].resource_hints[ACCELERATOR].decode()
        for step in pipeline.components.transforms.values()
        if step.environment_id and ACCELERATOR in environments[step.environment_id].resource_hints
    }


def stages_of(pipeline):
    """Fuses a graph as runners do; gives the steps of each stage."""
    _, stages = translations.create_and_optimize_stages(
        pipeline,
        phases=translations.standard_optimize_phases(),
        known_runner_urns=frozenset([common_urns.primitives.GROUP_BY_KEY.urn]),
    )
    return [[step.unique_name for step in stage.transforms] for stage in stages]


def test_one_shuffle_and_the_hint_on_the_one_stage_that_holds_it_all(bucket):
    pipeline, options, chosen = graph(engine="birefnet-lite")
    steps = pipeline.components.transforms.values()
    shuffles = [
        step.unique_name
        for step in steps
        if step.spec.urn == common_urns.primitives.GROUP_BY_KEY.urn
    ]
    assert shuffles == ["CutOutDataset/SpreadUnits"]
    wanted = "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"
    assert hinted(pipeline) == {"CutOutDataset/CutOutUnits": wanted}
    (before,) = [stage for stage in stages_of(pipeline) if "CutOutDataset/PlanUnits" in stage]
    assert before[-1] == "CutOutDataset/NameUnits"
    assert ["CutOutDataset/SpreadUnits"] in stages_of(pipeline)
    assert ["CutOutDataset/CutOutUnits"] in stages_of(pipeline)
    assert options["machine_type"] == "e2-standard-4"
    assert options["disk_size_gb"] == 100
    assert options["number_of_worker_harness_threads"] == 2
    assert "no_use_multiple_sdk_containers" in options["experiments"]
    assert options["sdk_location"] == "container"
    assert options["save_main_session"] is False
    image = f"europe-west4-docker.pkg.dev/my-project/alphabeam/alphabeam-gpu:{version('alphabeam')}"
    assert options["sdk_container_image"] == image
    assert image in chosen.text()


def test_watching_is_a_stream_with_one_shuffle_and_the_same_hint(bucket):
    pipeline, options, chosen = graph(engine="birefnet-lite", watch=60)
    steps = pipeline.components.transforms.values()
    keyed = (common_urns.primitives.GROUP_BY_KEY.urn, common_urns.composites.RESHUFFLE.urn)
    shuffles = [step.unique_name for step in steps if step.spec.urn in keyed]
    assert shuffles == ["CutOutDataset/SpreadUnits"]
    assert not any(  # what is kept by key would be another one
        pardo.state_specs or pardo.timer_family_specs for pardo in pardos(pipeline)
    )
    wanted = "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"
    assert hinted(pipeline) == {"CutOutDataset/CutOutUnits": wanted}
    assert ["CutOutDataset/CutOutUnits"] in stages_of(pipeline)
    assert options["streaming"] is True
    assert "enable_streaming_rightfitting" in options["experiments"]
    assert "streaming, a look every 60 s" in chosen.text()
    batch, options, _ = graph(engine="birefnet-lite", watch=0)
    assert not any("TakeUp" in step.unique_name for step in batch.components.transforms.values())
    assert not options["streaming"]
    assert "enable_streaming_rightfitting" not in options["experiments"]


def pardos(pipeline):
    return [
        beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
        for step in pipeline.components.transforms.values()
        if step.spec.urn == common_urns.primitives.PAR_DO.urn
    ]


def test_engines_of_the_cpu_and_providers_want_no_gpu(bucket, monkeypatch):
    monkeypatch.setenv("FAL_KEY", KEY)
    for engine in ("grabcut", "fal-bria"):
        pipeline, options, _ = graph(engine=engine)
        assert hinted(pipeline) == {}
        assert options["sdk_container_image"] is None
        assert options["disk_size_gb"] is None
    assert hinted(graph(engine="birefnet-lite", device="cpu")[0]) == {}
    assert hinted(graph(engine="birefnet-lite", gpu="none")[0]) == {}
    assert set(hinted(graph(engine="birefnet-lite,fal-bria")[0]).values()) != set()


def test_every_default_gives_way_to_what_is_asked_for(bucket):
    pipeline, options, chosen = graph(
        "--experiments=use_sibling_sdk_workers",
        engine="birefnet-lite",
        gpu="nvidia-tesla-t4",
        machine_type="n1-highmem-8",
        disk_size_gb=200,
        sdk_container_image="registry/mine:1",
        number_of_worker_harness_threads=5,
        max_num_workers=7,
        job_name="mine",
    )
    assert set(hinted(pipeline).values()) == {
        "type:nvidia-tesla-t4;count:1;machine_type:n1-highmem-8;install-nvidia-driver:5xx"
    }
    assert options["machine_type"] == "n1-highmem-8"
    assert options["disk_size_gb"] == 200
    assert options["sdk_container_image"] == "registry/mine:1"
    assert options["number_of_worker_harness_threads"] == 5
    assert "no_use_multiple_sdk_containers" not in options["experiments"]
    said = chosen.text()
    assert said.count("(given)") == 8
    assert "mine, project my-project" in said
    in_beams_words = "type:nvidia-h100-80gb;count:2;install-nvidia-driver"
    pipeline = graph(f"--resource_hint=accelerator={in_beams_words}", engine="birefnet-lite")[0]
    assert set(hinted(pipeline).values()) == {in_beams_words}


def test_a_gpu_in_every_machine_takes_machines_disk_and_image_that_go_with_it(bucket):
    asked = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
    pipeline, options, chosen = graph(f"--dataflow_service_options={asked}", engine="birefnet-lite")
    assert hinted(pipeline) == {}
    assert options["machine_type"] == "g2-standard-8"
    assert options["disk_size_gb"] == 100
    assert options["sdk_container_image"].endswith(f"/alphabeam-gpu:{version('alphabeam')}")
    assert asked in chosen.text()
    two = asked.replace("count:1", "count:2")
    _, options, _ = graph(f"--dataflow_service_options={two}", engine="birefnet-lite")
    assert options["machine_type"] is None  # which one is not for us to say


def test_what_was_chosen_of_dataflows_own_is_told_as_well(bucket):
    chosen = graph(
        "--no_use_public_ips",
        num_workers=3,
        service_account_email="cutter@my-project.iam.gserviceaccount.com",
        subnetwork="regions/europe-west4/subnetworks/quiet",
        labels="team=shop",
    )[2]
    told = {row.name: row.value for row in chosen.settings if row.given}
    assert told == {
        "machines at first": "3",
        "service account": "cutter@my-project.iam.gserviceaccount.com",
        "subnetwork": "regions/europe-west4/subnetworks/quiet",
        "public addresses": "no",
        "labels": "team=shop",
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"project": None}, "--project is missing"),
        ({"temp_location": None}, "--temp_location is missing"),
        ({"temp_location": "/tmp/x"}, "--temp_location /tmp/x"),
        ({"manifest": "photos.parquet"}, "--manifest photos.parquet is on this machine"),
        ({"manifest": "memory://m.csv"}, "--manifest memory://m.csv is on this machine"),
        ({"output": "cutouts"}, "--output cutouts is on this machine"),
        ({"output": "file:///cutouts"}, "--output file:///cutouts is on this machine"),
        ({"gpu": "nvidia-b900"}, "--gpu nvidia-b900: known are nvidia-l4"),
        ({"engine": "birefnet-lite", "flexrs_goal": "COST_OPTIMIZED"}, "--flexrs_goal"),
        ({"streaming": True}, "--streaming: give --watch SECONDS"),
        ({"watch": 60, "flexrs_goal": "COST_OPTIMIZED"}, "--flexrs_goal is for batch jobs"),
        ({"watch": 60, "retry_failed": True}, "--retry_failed is for batch jobs"),
        ({"watch": 60, "manifest": f"{BUCKET}/none/*.csv"}, "no file that matches"),
        ({"job_name": "Red_Cups"}, "Invalid job_name (Red_Cups)"),
        ({"worker_zone": "europe-west4-a", "worker_region": "europe-west4"}, "exclusive"),
        ({"num_workers": 5, "max_num_workers": 3}, "num_workers (5) cannot exceed"),
        ({"temp_location": "gs://my-bucket"}, "--temp_location gs://my-bucket"),
        ({"temp_location": "gs://My_Bucket/tmp"}, "--temp_location gs://My_Bucket/tmp"),
        ({"staging_location": "gs://my-bucket"}, "--staging_location gs://my-bucket"),
        ({"update": True, "job_name": "red-cups"}, "--update is for streaming jobs"),
        ({"setup_file": "./nosetup.py"}, "--setup_file ./nosetup.py: there is no such file"),
        ({"requirements_file": "no.txt"}, "--requirements_file no.txt: there is no such file"),
        ({"extra_package": "no.whl"}, "--extra_package no.whl: there is no such file"),
        ({"engine": "stub_engines:Disc"}, "Dataflow's workers have no stub_engines"),
        (
            {"engine": "birefnet-lite", "machine_type": "n2-standard-8"},
            "--machine_type n2-standard-8 carries no nvidia-l4: give one of the g2 family",
        ),
        ({"gpu": "nvidia-l4", "machine_type": "g2-standard-24"}, "comes with 2 × nvidia-l4"),
        ({"package_in_image": True}, "--package_in_image needs --sdk_container_image"),
        (
            {"gpu": "nvidia-l4", "resource_hint": "accelerator=type:nvidia-l4;count:1"},
            "exclude each other",
        ),
    ],
)
def test_what_cannot_work_is_told_in_one_line(bucket, capsys, monkeypatch, changes, told):
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)  # else it looks for some
    # Beam checks less where the service is on this machine, and makes a bucket of its own for want
    # of a usable one.
    changes = {"dataflow_endpoint": None, **changes}
    bucket.forget()
    assert main(["run", *flags("--overwrite", **changes)]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert not {"write", "post", "delete"} & set(bucket.requests)


def test_a_missing_region_is_told(bucket, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no gcloud to ask
    monkeypatch.delenv("CLOUDSDK_COMPUTE_REGION", raising=False)
    assert main(["run", *flags(region=None)]) == 2
    assert "--region is missing" in capsys.readouterr().err
    monkeypatch.setenv("CLOUDSDK_COMPUTE_REGION", "us-east1")
    assert main(["run", *flags("--dry_run=True", region=None)]) == 0


def test_a_dry_run_writes_nothing(bucket, capsys):
    assert main(["run", *flags("--dry_run=True", engine="birefnet-lite")]) == 0
    printed = capsys.readouterr()
    assert "nothing was sent or written" in printed.out
    assert not storage.exists(f"{BUCKET}/out")


def test_the_launcher_needs_neither_the_device_nor_the_packages(bucket):
    graph(engine="birefnet-lite", device="cuda:3")


def test_a_dry_run_of_a_pipeline_in_yaml_writes_nothing_either(bucket):
    def build(**places):
        cloud = [f"--{name}={value}" for name, value in CLOUD.items()]
        pipeline = beam.Pipeline(options=PipelineOptions([*cloud, "--dry_run=True"]))
        _ = pipeline | CutOutDataset(**places)
        return pipeline.run()

    manifest, output = f"{BUCKET}/in/manifest.parquet", f"{BUCKET}/yaml"
    assert build(manifest=manifest, output=output).job.proto_pipeline.components.transforms
    assert not storage.exists(output)
    with pytest.raises(UsageError, match="--output cutouts is on this machine"):
        build(manifest=manifest, output="cutouts")


@pytest.mark.parametrize("reference", [None, "env:OTHER_KEY", "file"])
def test_no_key_is_anywhere_in_a_job(bucket, service, tmp_path, monkeypatch, capsys, reference):
    monkeypatch.setenv("OTHER_KEY", KEY)
    (tmp_path / "key").write_text(KEY)
    if reference is None:
        monkeypatch.setenv("FAL_KEY", KEY)
    service.state = "JOB_STATE_RUNNING"
    reference = f"file:{tmp_path}/key" if reference == "file" else reference
    given = flags(
        "--no_auth",
        "--no_wait_until_finish",
        f"--dataflow_job_file={tmp_path}/job.json",
        engine="fal-bria",
        api_key=reference,
        dataflow_endpoint=service.endpoint,
        output=f"{BUCKET}/keys-{tmp_path.name}",
    )
    assert main(["run", *given]) == 0
    job = service.jobs[max(service.jobs)]
    staged = b"".join(storage.read_bytes(file.uri) for file in storage.list_files(f"{BUCKET}/tmp"))
    pickles = [
        bz2.decompress(base64.b64decode(blob))
        for blob in re.findall(rb"QlpoO[A-Za-z0-9+/]+=*", staged)  # how Beam packs what it pickles
    ]
    assert any(b"keys-" in pickled and b"fal-bria" in pickled for pickled in pickles)
    described = json.dumps(job) + (tmp_path / "job.json").read_text()
    everything = b"".join([described.encode(), staged, *pickles])
    printed = "".join(capsys.readouterr())
    for part in (KEY, *KEY.split(":")):
        assert part.encode() not in everything
        assert part not in printed


def test_a_submission_to_its_end(bucket, service, capsys):
    service.state = "JOB_STATE_DONE"
    before = set(service.jobs)
    given = flags("--no_auth", output=f"{BUCKET}/done", dataflow_endpoint=service.endpoint)
    assert main(["run", *given]) == 0
    printed = capsys.readouterr().out
    assert "6 rows: 6 cutouts, 0 errors" in printed
    assert verify(f"{BUCKET}/done").faults == ()
    assert storage.exists(f"{BUCKET}/done/report.html")
    ((job_id, job),) = [(key, job) for key, job in service.jobs.items() if key not in before]
    assert re.fullmatch(r"alphabeam-done-\d{8}-\d{6}-[0-9a-f]{4}", job["name"])
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "e2-standard-4"
    assert pool["numThreadsPerWorker"] == 2
    names = {package["name"] for package in pool["packages"]}
    assert f"alphabeam-{version('alphabeam')}-py3-none-any.whl" in names
    assert "requirements.txt" in names
    assert job_id


def left_to_run(service, capsys, *given, **others):
    """Launches a job that goes on running; gives its id and what was printed."""
    service.state = "JOB_STATE_RUNNING"
    others["dataflow_endpoint"] = service.endpoint
    assert main(["run", *flags("--no_auth", *given, **others)]) == 0
    printed = capsys.readouterr().out
    job_id = max(service.jobs)
    assert f"job: {job_id}" in printed
    return job_id, printed


def test_nobody_waits_who_was_told_not_to(bucket, service, capsys):
    output = f"{BUCKET}/later"
    job_id, printed = left_to_run(service, capsys, "--no_wait_until_finish", output=output)
    assert f"/dataflow/jobs/europe-west4/{job_id}?project=my-project" in printed


def test_nobody_waits_for_a_stream(bucket, service, capsys):
    output = f"{BUCKET}/watched"
    job_id, printed = left_to_run(service, capsys, "--watch", "60", output=output)
    assert f"gcloud dataflow jobs drain {job_id}" in printed
    assert service.jobs[job_id]["type"] == 2  # JOB_TYPE_STREAMING
    assert storage.exists(f"{output}/_manifest/000000000.parquet")


def test_a_failed_job_is_told_with_its_address(bucket, service, capsys):
    service.state = "JOB_STATE_FAILED"
    given = flags("--no_auth", output=f"{BUCKET}/fail", dataflow_endpoint=service.endpoint)
    assert main(["run", *given]) == 1
    said = capsys.readouterr().err
    assert "ended early" in said
    assert "https://console.cloud.google.com/dataflow/jobs/" in said


def test_a_template_is_written_and_not_run(bucket, tmp_path, capsys):
    template = tmp_path / "template.json"
    given = flags("--no_auth", output=f"{BUCKET}/template", template_location=str(template))
    assert main(["run", *given]) == 0
    assert f"template: {template}" in capsys.readouterr().out
    assert json.loads(template.read_text())["name"].startswith("alphabeam-template-")


def test_the_wheel_that_is_sent_is_the_code_that_runs_here(tmp_path):
    wheel = write_wheel(str(tmp_path))
    first = Path(wheel).read_bytes()
    assert Path(write_wheel(str(tmp_path))).read_bytes() == first
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), wheel], check=True)
    program = (  # what is installed from the wheel packs the same wheel again
        "import sys, hashlib; sys.path[:] = " + repr([str(target), *sys.path]) + "\n"
        "from alphabeam.pipeline import shipping\n"
        "print(shipping.__file__)\n"
        "print(hashlib.sha256(open(shipping.write_wheel('.'), 'rb').read()).hexdigest())"
    )
    told = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    installed = str(target / "alphabeam" / "pipeline" / "shipping.py")
    assert told.split() == [installed, hashlib.sha256(first).hexdigest()]
    names = set(zipfile.ZipFile(wheel).namelist())
    here = os.path.join(os.path.dirname(__file__), "..")
    for folder in ("pipeline", "transforms"):
        listed = subprocess.run(
            ["git", "ls-files", folder], capture_output=True, text=True, check=True, cwd=here
        )
        assert {f"alphabeam/{path}" for path in listed.stdout.split()} <= names


def test_requirements_are_the_versions_of_here_without_beam():
    lines = requirements({"gcp", "report"})
    assert f"pyarrow=={version('pyarrow')}" in lines
    assert f"gcsfs=={version('gcsfs')}" in lines
    assert any(line.startswith("pygal==") for line in lines)
    assert not any(line.startswith(("apache-beam", "torch", "alphabeam")) for line in lines)


def test_the_users_own_requirements_are_kept_and_win(bucket, tmp_path):
    own = tmp_path / "mine.txt"
    own.write_text(
        "--index-url https://pypi.example/simple\nCutters[gpu]>=2 # ours\nPillow==11.3.0\n"
    )
    written = Path(write_requirements(str(tmp_path), {"gcp"}, str(own))).read_text().splitlines()
    assert written[:3] == own.read_text().splitlines()
    assert f"gcsfs=={version('gcsfs')}" in written
    assert [line for line in written if line.lower().startswith("pillow")] == ["Pillow==11.3.0"]


def test_workers_read_what_can_be_read_here(bucket, service):
    assert requirements({"heif", "s3"}) != requirements({})
    service.state = "JOB_STATE_RUNNING"
    given = flags(
        "--no_auth", "--no_wait_until_finish",
        output=f"{BUCKET}/kinds", dataflow_endpoint=service.endpoint,
    )  # fmt: skip
    assert main(["run", *given]) == 0
    packages = service.jobs[max(service.jobs)]["environment"]["workerPools"][0]["packages"]
    (listed,) = [one["location"] for one in packages if one["name"] == "requirements.txt"]
    lines = storage.read_bytes(f"gs://{listed.partition('storage.googleapis.com/')[2]}").decode()
    assert f"s3fs=={version('s3fs')}" in lines
    assert f"pillow-heif=={version('pillow-heif')}" in lines


def test_an_engine_of_ones_own_goes_along_in_a_package(bucket, tmp_path):
    package = tmp_path / "stub-1.0.tar.gz"
    package.write_bytes(b"")
    given = flags("--dry_run", f"--extra_package={package}", engine="stub_engines:Disc")
    assert main(["run", *given]) == 0


def test_an_image_of_another_python_or_beam_is_told(bucket, monkeypatch):
    dockerfile = Path(__file__).parent.parent / "templates" / "flex" / "Dockerfile.gpu"
    python, beam = dataflow.GPU_IMAGE["Python"], dataflow.GPU_IMAGE["Apache Beam"]
    assert f"FROM apache/beam_python{python}_sdk:{beam} AS beam" in dockerfile.read_text()
    monkeypatch.setattr(dataflow.sys, "version_info", (3, 14, 0))
    _, _, chosen = graph(engine="birefnet-lite")
    assert f"has Python {python}, and this is 3.14" in "".join(chosen.warnings)
    assert graph(engine="birefnet-lite", sdk_container_image="registry/mine:1")[2].warnings == ()
    assert graph(engine="grabcut")[2].warnings == ()


def test_the_how_tos_dry_run_prints_what_it_shows(bucket, caplog):
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "dataflow-gpu.md").read_text()
    command = next(block for block in page.split("```sh\n") if "--dry_run" in block.split("```")[0])
    arguments = command.split("```")[0].replace("\\\n", " ").split()[1:]
    assert main([word.replace("gs://my-bucket/photos", f"{BUCKET}/in/manifest").replace(
        "gs://my-bucket", BUCKET) for word in arguments]) == 0  # fmt: skip
    shown = command.split("```")[2].split("\n", 2)[2].rstrip()
    assert " ".join(shown.split()) in " ".join(caplog.text.split())
