"""RemoveBackground and the whole job for Beam YAML and for other languages' pipelines."""

import base64
import bz2
import glob
import io
import json
import os
import re
import shlex
import sys
import types
import typing
from dataclasses import fields
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that
from apache_beam.transforms.external import ImplicitSchemaPayloadBuilder
from apache_beam.yaml.yaml_transform import YamlTransform
from documentation import Page, commands_of
from photographs import write_manifest, write_photographs
from PIL import Image
from processes import free_port, run, server
from standins.kinds import WAYS
from stub_engines import disc

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.delivery_options import SourceOptions
from alphabeam.pipeline.foreign import CutOutDataset
from alphabeam.pipeline.options import (
    EngineOptions,
    OutputOptions,
    ProviderOptions,
    WorkerOptions,
)
from alphabeam.pipeline.verify import verify
from alphabeam.transforms.foreign import RemoveBackground
from alphabeam.transforms.matte import ComposeSettings

ENGINE = "stub_engines:Disc"
WAY = WAYS["fal-bria sync"]
KEY = "FOREIGN_TEST_KEY"
TEMPLATES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "templates", "yaml")


@pytest.fixture
def manifest(tmp_path):
    """Six photographs, one of which is gone."""
    path = write_manifest(str(tmp_path), price=[n / 2 for n in range(6)])
    os.unlink(tmp_path / "photos" / "coffee_0.jpg")
    return path


def shown_providers(capsys):
    assert main(["yaml"]) == 0
    return capsys.readouterr().out.strip()


def example(name, providers, **variables):
    """Runs an example pipeline by the command that `docs/how-to/beam-yaml.md` gives."""
    fences = Page("docs/how-to/beam-yaml.md").fences()
    (command,) = (
        command
        for fence in fences if fence.language == "sh"
        for command in commands_of(fence) if name in command
    )  # fmt: skip
    _python, _m, module, *words = shlex.split(command)
    flags = dict(word.lstrip("-").split("=", 1) for word in words)
    flags["jinja_variable_flags"] += "".join(f",{name}" for name in variables if name not in flags)
    flags |= {"yaml_pipeline_file": os.path.join(TEMPLATES, name), "providers": providers}
    flags |= variables
    return run(module, *(f"--{name}={value}" for name, value in flags.items()))


def is_disc(picture, width, height):
    pixels = np.asarray(picture)
    assert pixels.shape == (height, width, 4)
    return np.abs(pixels[..., 3] / 255 - disc(height, width)).max() < 0.01


class Photo(typing.NamedTuple):
    image: bytes
    label: str


def holds(expected):
    """Makes an assertion that a PCollection holds these elements, in any order."""

    def check(elements):
        assert sorted(elements) == expected

    return check


class TestYaml:
    def test_rows_in_and_rows_out(self, manifest, tmp_path, capsys):
        done = example(
            "remove_background.yaml", shown_providers(capsys), manifest=manifest,
            output=str(tmp_path / "out"), base=str(tmp_path), engine=ENGINE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        table = pq.read_table(glob.glob(str(tmp_path / "out" / "cutouts*.parquet")))
        assert table.schema.field("image").type == pa.binary()
        assert table.schema.field("bbox_x").type == pa.int64()
        assert table.schema.field("price").type == pa.float64()
        rows = table.to_pylist()
        assert sorted(row["price"] for row in rows) == [0.0, 0.5, 1.5, 2.0, 2.5]
        for row in rows:
            picture = Image.open(io.BytesIO(row["image"]))
            source = Image.open(row["source_uri"])
            assert (picture.format, picture.mode) == ("WEBP", "RGBA")
            assert picture.size == (row["bbox_width"], row["bbox_height"]) < source.size
            x, y = row["bbox_x"], row["bbox_y"]
            alpha = disc(*reversed(source.size))[y : y + picture.height, x : x + picture.width]
            assert np.abs(np.asarray(picture)[..., 3] / 255 - alpha).max() < 0.01
        (failed,) = glob.glob(str(tmp_path / "out" / "failed*"))
        row = json.loads(Path(failed).read_text())
        assert (row["key"], row["stage"], row["error"]) == ("coffee_0", "fetch", "not_found")
        assert row["message"] == f"{tmp_path}/photos/coffee_0.jpg: there is no such file"

    def test_the_whole_job(self, manifest, tmp_path, capsys):
        output = str(tmp_path / "out")
        done = example(
            "cut_out_dataset.yaml", shown_providers(capsys), manifest=manifest, output=output,
            engine=ENGINE, units=str(tmp_path / "units"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        (units,) = glob.glob(str(tmp_path / "units*"))
        unit = json.loads(Path(units).read_text())
        assert (unit["rows"], unit["done"], unit["failed"], unit["fresh"]) == (6, 5, 1, 6)
        assert unit["errors"] == {"not_found": 1}
        assert verify(output).faults == ()
        for row in open_dataset(output).to_table().to_pylist():
            picture = Image.open(os.path.join(output, row["image_path"]))
            assert is_disc(picture, row["width"], row["height"])
            assert os.path.exists(os.path.join(output, row["mask_path"]))
        assert os.path.exists(os.path.join(output, "report.html"))

    def test_it_combines_with_beams_own_transforms(self, manifest, tmp_path):
        names = pq.read_table(manifest).column("image").to_pylist()
        lines = [f"{n},{tmp_path}/{name}" for n, name in enumerate(names)]
        (tmp_path / "photos.csv").write_text("\n".join(["number,uri", *lines]))
        spec = f"""
            type: composite
            transforms:
              - type: ReadFromCsv
                config: {{path: {tmp_path}/photos.csv}}
              - type: MapToFields
                input: ReadFromCsv
                config:
                  language: python
                  append: true
                  fields: {{twice: number * 2}}
              - type: RemoveBackground
                input: MapToFields
                config: {{engine: "{ENGINE}", error_handling: {{output: bad}}}}
              - type: StripErrorMetadata
                input: RemoveBackground.bad
            output:
              cutouts: RemoveBackground
              again: StripErrorMetadata
        """
        with beam.Pipeline("FnApiRunner") as pipeline:
            results = pipeline | YamlTransform(spec, {"RemoveBackground": RemoveBackground})
            found = results["cutouts"] | beam.Map(lambda row: (row.number, row.twice, row.width))
            assert_that(found, holds([(n, 2 * n, 160) for n in (0, 1, 3, 4, 5)]), "cutouts")
            again = results["again"] | "Tuples" >> beam.Map(tuple)
            assert_that(again, holds([(2, f"{tmp_path}/photos/coffee_0.jpg", 4)]), "again")


class TestRows:
    def photos(self, tmp_path):
        write_manifest(str(tmp_path), 2)
        whole = (tmp_path / "photos" / "chelsea_0.jpg").read_bytes()
        return beam.Create([Photo(whole, "cat"), Photo(whole[:700], "torn")], reshuffle=False)

    def test_an_error_row_holds_the_row_that_went_in_and_no_pixels(self, tmp_path):
        def check(errors):
            (error,) = errors
            assert (error.element.image, error.element.label) == (None, "torn")
            assert (error.stage, error.error, error.stack) == ("decode", "truncated", "")
            assert error.msg.startswith("the jpeg cannot be read")
            assert error.source_uri.startswith("inline:sha256:")

        handling = {"output": "bad"}
        with beam.Pipeline("FnApiRunner") as pipeline:
            results = (
                pipeline
                | self.photos(tmp_path).with_output_types(Photo)
                | RemoveBackground(ENGINE, error_handling=handling)
            )
            assert sorted(results) == ["bad", "good"]
            assert_that(results["bad"], check)
            labels = results["good"] | beam.Map(lambda row: row.label)
            assert_that(labels, holds(["cat"]), "good")

    def test_without_error_handling_a_bad_picture_ends_the_pipeline(self, tmp_path):
        with (
            pytest.raises(
                RuntimeError, match=r"decode: .*cannot be read.*truncated.*error_handling"
            ),
            beam.Pipeline("FnApiRunner") as pipeline,
        ):
            _ = pipeline | self.photos(tmp_path).with_output_types(Photo) | RemoveBackground(ENGINE)

    def test_nothing_is_shuffled_on_its_account(self, tmp_path):
        pipeline = beam.Pipeline("FnApiRunner")
        handling = {"output": "bad"}
        _ = (
            pipeline
            | self.photos(tmp_path).with_output_types(Photo)
            | "Ours" >> RemoveBackground(ENGINE, error_handling=handling)
        )
        transforms = pipeline.to_runner_api().components.transforms.values()
        ours = [t.spec.urn for t in transforms if t.unique_name.startswith("Ours/")]
        assert len(ours) > 3
        assert not [urn for urn in ours if "group_by_key" in urn or "reshuffle" in urn]

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"output_format": "jpg"}, "give a background"),
            ({"background": "bleu"}, "bleu"),
            ({"engine": "grabcat"}, "did you mean 'grabcut'"),
            ({"engine": "grabcut", "model": "x"}, "no such option"),
            ({"share_model": "all"}, "process or machine"),
            ({"crop_to_bbox": "no"}, "crop_to_bbox is true or false: given 'no'"),
            ({"output_quality": "high"}, "output_quality is a whole number: given 'high'"),
            ({"output_quality": True}, "output_quality is a whole number: given True"),
            ({"alpha_threshold": "0.5"}, "alpha_threshold is a number: given '0.5'"),
            ({"background": 255}, "background is a text: given 255"),
            ({"engine": None}, "engine is a text: given None"),
            ({"fetch_threads": 0}, "fetch_threads must be greater than 0: given 0"),
            ({"fetch_timeout": float("nan")}, "fetch_timeout must be greater than 0: given nan"),
            ({"batch_size": 0}, "batch_size must be greater than 0: given 0"),
            ({"lookahead": 0}, "lookahead must be greater than 0: given 0"),
            ({"max_image_pixels": -5}, "max_image_pixels must be greater than 0: given -5"),
            ({"engine": "fal-bria"}, "is paid for, and ledger is missing"),
            ({"api_key": "env:X"}, "^--api_key is for hosted engines, and --engine is grabcut"),
            ({"provider_options": {"a": 1}}, "^--provider_options is for hosted engines"),
            ({"staging_uri": "s3://b/s"}, "^--staging_uri is for hosted engines"),
            (
                {"engine": "fal-bria", "ledger": "x", "staging_uri": "s3://b/s"},
                "staging_uri is for engines that take addresses alone",
            ),
            (
                {"engine": "fal-bria", "ledger": "x", "provider_options": {"fal-rembg": {}}},
                "provider_options: fal-rembg is not one of --engine fal-bria",
            ),
            (
                {"engine": "fal-bria", "ledger": "x", "batch_size": 4},
                "batch_size is for engines that run here",
            ),
            ({"engine": "fal_bria"}, "did you mean 'fal-bria'"),
            (
                {"engine": "fal-bria", "ledger": "x", "api_key": "the-key-itself"},
                "takes a reference",
            ),
            (
                {"engine": "fal-bria", "ledger": "x", "max_cost_usd": float("nan")},
                "max_cost_usd is a sum of dollars: given nan",
            ),
            (
                {"engine": "fal-bria", "ledger": "x", "provider_options": {"a": 1}},
                "unknown option a",
            ),
            (
                {"engine": "fal-bria", "ledger": "x", "provider_options": {"fal-bria": True}},
                "the options of fal-bria are no object: true",
            ),
            ({"engine": "grabcut,grabcut"}, "different names"),
            ({"escalate_when": "is_blank"}, "needs a second engine"),
            ({"error_handling": {"output": "good"}}, "of another name than 'good'"),
            ({"error_handling": {"sink": "x"}}, r"takes \{output: NAME\}"),
        ],
    )
    def test_options_that_cannot_work_are_refused_at_once(self, options, told):
        with pytest.raises(ValueError, match=told):
            RemoveBackground(**options)

    def test_options_are_called_as_the_flags_are(self):
        ours = {field.name for field in fields(RemoveBackground)}
        assert {field.name for field in fields(ComposeSettings)} <= ours
        for group in (EngineOptions, ProviderOptions, SourceOptions, WorkerOptions):
            assert set(vars(group([]).view_as(group)._visible_options)) <= ours
        flags = OutputOptions([]).get_all_options()
        assert {field.name for field in fields(ComposeSettings)} <= set(flags)


class TestHosted:
    """A paid engine, and a chain with one, in somebody else's pipeline."""

    @pytest.fixture
    def standin(self, hurried, monkeypatch):
        with WAY.open() as standin:
            monkeypatch.setenv(KEY, standin.key)
            yield standin

    def options(self, standin, folder, **others):
        return {
            "engine": WAY.provider,
            "ledger": str(folder / "ledger"),
            "api_key": f"env:{KEY}",
            "provider_options": dict(WAY.options),
            "provider_url": [f"{name}={url}" for name, url in standin.urls().items()],
            "allow_private_hosts": True,
            **others,
        }

    def rows(self, folder):
        photos = [f"{folder}/{name}" for name in write_photographs(str(folder), 3)]
        return [Listed(photo, n) for n, photo in enumerate(photos)]

    def found(self, rows, options, check):
        with beam.Pipeline("FnApiRunner") as pipeline:
            cutouts = pipeline | beam.Create(rows).with_output_types(Listed)
            assert_that(cutouts | RemoveBackground(**options), check)

    def test_no_picture_is_paid_for_twice(self, standin, tmp_path):
        def bought(cutouts):
            assert sorted(cutout.label for cutout in cutouts) == [0, 1, 2]
            for cutout in cutouts:
                assert (cutout.engine, cutout.attempts) == (WAY.provider, 1)
                assert cutout.provider_request_id
                assert Image.open(io.BytesIO(cutout.image)).mode == "RGBA"

        rows, options = self.rows(tmp_path), self.options(standin, tmp_path)
        self.found(rows, options, bought)
        assert len(standin.bills) == 3
        self.found(rows, options, bought)
        assert len(standin.bills) == 3

    def test_beam_yaml_takes_it_by_the_names_of_the_flags(self, standin, tmp_path):
        config = self.options(standin, tmp_path, error_handling={"output": "bad"})
        elements = [row._asdict() for row in self.rows(tmp_path)]
        elements.append({"image": f"{tmp_path}/gone.jpg", "label": 9})
        spec = f"""
            type: composite
            transforms:
              - type: Create
                config: {{elements: {json.dumps(elements)}}}
              - type: RemoveBackground
                input: Create
                config: {json.dumps(config)}
            output:
              cutouts: RemoveBackground
              bad: RemoveBackground.bad
        """
        with beam.Pipeline("FnApiRunner") as pipeline:
            results = pipeline | YamlTransform(spec, {"RemoveBackground": RemoveBackground})
            labels = results["cutouts"] | beam.Map(lambda row: (row.label, row.engine))
            assert_that(labels, holds([(n, WAY.provider) for n in range(3)]), "cutouts")
            errors = results["bad"] | "Errors" >> beam.Map(lambda row: (row.key[:4], row.error))
            assert_that(errors, holds([("gone", "not_found")]), "bad")
        assert len(standin.bills) == 3

    def test_a_chain_goes_on_where_the_provider_stops(self, standin, tmp_path, monkeypatch):
        def made_here(cutouts):
            assert sorted(cutout.label for cutout in cutouts) == [0, 1, 2]
            assert {cutout.engine for cutout in cutouts} == {ENGINE}

        monkeypatch.setenv(KEY, "a-key-that-nobody-takes")
        engine = f"{WAY.provider},{ENGINE}"
        self.found(self.rows(tmp_path), self.options(standin, tmp_path, engine=engine), made_here)
        assert standin.bills == []

    def test_the_graph_has_the_reference_and_never_the_key(self, standin, tmp_path):
        pipeline = beam.Pipeline("FnApiRunner")
        rows = pipeline | beam.Create(self.rows(tmp_path)).with_output_types(Listed)
        _ = rows | RemoveBackground(**self.options(standin, tmp_path))
        graph = pipeline.to_runner_api().SerializeToString()
        pickles = [
            bz2.decompress(base64.b64decode(blob))
            for blob in re.findall(
                rb"QlpoO[A-Za-z0-9+/]+=*", graph
            )  # how Beam packs what it pickles
        ]
        everything = b"".join([graph, *pickles])
        assert f"env:{KEY}".encode() in everything
        assert str(tmp_path / "ledger").encode() in everything
        for part in (standin.key, *standin.key.split(":")):
            assert part.encode() not in everything


class TestDatasets:
    def make(self, **options):
        with beam.Pipeline("FnApiRunner") as pipeline:
            return pipeline | CutOutDataset(engine=ENGINE, no_report=True, **options)

    def test_too_many_errors_fail_the_pipeline_once_all_is_committed(self, manifest, tmp_path):
        output = str(tmp_path / "out")
        with pytest.raises(RuntimeError, match=r"1 of 6 rows failed.*max_error_rate 0\.1"):
            self.make(manifest=manifest, output=output, max_error_rate=0.1)
        assert verify(output).faults == ()

    def test_options_may_be_lists_and_mappings(self, manifest, tmp_path):
        output = tmp_path / "out"
        self.make(
            manifest=manifest, output=str(output), partition_by=["split", "price"],
            provider_options={}, save_mask=False, cpu_threads=None,
        )  # fmt: skip
        assert (output / "data" / "split=train" / "price=0.5").is_dir()

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"outptu": "x"}, "no option 'outptu': did you mean 'output'"),
            ({"save_mask": "yes"}, "save_mask is true or false: given 'yes'"),
            ({"output": None}, "--output is missing"),
            ({"unit_size": 0}, "--unit_size must be greater than 0"),
            ({"unit_size": "many"}, "CutOutDataset: --unit_size: invalid int value: 'many'"),
            ({"output_format": "gif"}, "CutOutDataset: --output_format: invalid choice: 'gif'"),
        ],
    )
    def test_options_that_cannot_work_are_refused(self, manifest, tmp_path, options, told):
        with pytest.raises(ValueError, match=told):
            self.make(**{"manifest": manifest, "output": str(tmp_path / "out"), **options})
        assert not (tmp_path / "out").exists()


class Listed(typing.NamedTuple):
    image: str
    label: int


beam.coders.registry.register_coder(Listed, beam.coders.RowCoder)  # rows travel by their schema


@pytest.fixture(scope="module")
def service():
    """Beam's expansion service, as `docs/how-to/cross-language.md` starts it."""
    port = free_port()
    with server(
        port, "apache_beam.runners.portability.expansion_service_main", f"-p={port}",
        "--fully_qualified_name_glob=alphabeam.*", "--serve_loopback_worker",
    ):  # fmt: skip
        yield f"localhost:{port}"


class TestOtherLanguages:
    """What a pipeline in Java or Go does, by the same calls: the service expands, and works."""

    def external(self, service, constructor, **options):
        return beam.ExternalTransform(
            "beam:transforms:python:fully_qualified_named",
            ImplicitSchemaPayloadBuilder({"constructor": constructor, "kwargs": options}),
            service,
        )

    def test_rows_in_and_rows_out(self, service, manifest, tmp_path):
        names = pq.read_table(manifest).column("image").to_pylist()
        rows = [Listed(f"{tmp_path}/{name}", n) for n, name in enumerate(names)]

        def cutouts_are_whole(cutouts):
            assert sorted(cutout.label for cutout in cutouts) == [0, 1, 3, 4, 5]
            for cutout in cutouts:
                picture = Image.open(io.BytesIO(cutout.image))
                assert is_disc(picture, cutout.width, cutout.height)
                assert sum(cutout.alpha_histogram) == cutout.width * cutout.height
                assert cutout.provider_request_id is None

        def the_error_is_a_row(errors):
            (error,) = errors
            assert tuple(error.element) == rows[2]
            assert (error.stage, error.error) == ("fetch", "not_found")

        with beam.Pipeline("FnApiRunner") as pipeline:
            results = (
                pipeline
                | beam.Create(rows).with_output_types(Listed)
                | self.external(
                    service, "alphabeam.transforms.foreign.RemoveBackground", engine=ENGINE,
                    preserve_alpha=True, fetch_threads=4, error_handling={"output": "bad"},
                )
            )  # fmt: skip
            assert_that(results["good"], cutouts_are_whole, "good")
            assert_that(results["bad"], the_error_is_a_row, "bad")

    def test_a_hosted_engine_is_paid_once(self, service, tmp_path):
        with WAY.open() as standin:
            (tmp_path / "key").write_text(standin.key)
            options = TestHosted().options(standin, tmp_path, api_key=f"file:{tmp_path}/key")
            rows = TestHosted().rows(tmp_path)
            for _ in range(2):
                with beam.Pipeline("FnApiRunner") as pipeline:
                    cutouts = (
                        pipeline
                        | beam.Create(rows).with_output_types(Listed)
                        | self.external(
                            service, "alphabeam.transforms.foreign.RemoveBackground", **options
                        )
                    )
                    labels = cutouts | beam.Map(lambda row: (row.label, row.engine))
                    assert_that(labels, holds([(n, WAY.provider) for n in range(3)]))
            assert len(standin.bills) == 3

    def test_the_page_that_shows_it(self, service, tmp_path, monkeypatch, capfd):
        """Runs what `docs/how-to/cross-language.md` shows."""
        (name,) = write_photographs(str(tmp_path), 1)
        os.rename(tmp_path / name, tmp_path / "cup.jpg")
        (fence,) = (
            fence for fence in Page("docs/how-to/cross-language.md").fences()
            if fence.language == "python"
        )  # fmt: skip
        program = fence.text.replace('"cup.jpg"', repr(str(tmp_path / "cup.jpg")))
        monkeypatch.setattr(sys, "argv", ["page"])
        page = types.ModuleType("page")
        monkeypatch.setitem(sys.modules, "page", page)
        exec(program.replace("localhost:8097", service), vars(page))
        assert re.search(r"^cup-[0-9a-f]{8} 3 \d+$", capfd.readouterr().out, re.MULTILINE)

    def test_the_whole_job(self, service, manifest, tmp_path):
        output = str(tmp_path / "out")
        with beam.Pipeline("FnApiRunner") as pipeline:
            units = pipeline | self.external(
                service, "alphabeam.pipeline.foreign.CutOutDataset", engine=ENGINE,
                manifest=manifest, output=output, unit_size=4, save_mask=True,
            )  # fmt: skip
            counts = units | beam.Map(lambda unit: (unit.rows, unit.done, dict(unit.errors)))
            assert_that(counts, holds([(2, 2, {}), (4, 3, {"not_found": 1})]))
        assert verify(output).faults == ()
