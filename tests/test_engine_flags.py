"""Flags reach the engine of a chain that they are for."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from photographs import write_manifest
from test_job import rows_of, run
from tiny_models import save_tiny_birefnet

from alphabeam.pipeline.engine_settings import cutter_settings
from alphabeam.pipeline.errors import UsageError
from alphabeam.pipeline.verify import verify
from alphabeam.transforms.foreign import RemoveBackground

ELSEWHERE = ("--runner", "DataflowRunner", "--output", "out")  # where nothing is loaded at once


def shares(*flags: str) -> dict:
    return dict(cutter_settings(PipelineOptions([*ELSEWHERE, *flags])).options)


def test_a_named_value_goes_to_its_engine_and_a_plain_one_to_all_that_know_it() -> None:
    got = shares(
        "--engine", "hf,onnx,grabcut", "--model", "onnx=u2net.onnx", "--model", "hf=owner/name",
        "--resolution", "onnx=320", "--resolution", "grabcut=128", "--device", "cpu",
        "--subject_labels", "1", "--onnx_scale", "max",
    )  # fmt: skip
    assert got["hf"]["model"] == "owner/name"
    assert got["onnx"]["model"] == "u2net.onnx"
    assert [got[name]["resolution"] for name in ("hf", "onnx", "grabcut")] == [None, 320, 128]
    assert got["hf"]["subject_labels"] == ["1"]
    assert got["onnx"]["subject_labels"] == [1]
    assert "onnx_scale" not in got["hf"]


def test_the_one_engine_of_a_chain_that_takes_a_model_gets_it() -> None:
    got = shares("--engine", "grabcut,hf,fal-bria", "--model", "a=b/c", "--dtype", "bfloat16")
    assert got["hf"]["model"] == "a=b/c"
    assert got["hf"]["dtype"] == "bfloat16"
    assert set(got) == {"grabcut", "hf"}


def test_a_resolution_may_differ() -> None:
    chain = ("--engine", "birefnet,rmbg-1.4", "--patch_order", "birefnet")
    got = shares(*chain, "--resolution", "birefnet=512", "--resolution", "rmbg-1.4=640")
    assert (got["birefnet"]["resolution"], got["rmbg-1.4"]["resolution"]) == (512, 640)
    assert got["birefnet"]["patch_order"] == "birefnet"


def test_the_later_value_counts_and_one_with_a_name_before_one_without() -> None:
    got = shares("--engine", "onnx,fal-bria", "--model", "a", "--model", "b", "--resolution", "8")
    assert got["onnx"]["model"] == "b"
    got = shares("--engine", "onnx", "--resolution", "onnx=9", "--resolution", "8", "--model", "a")
    assert got["onnx"]["resolution"] == 9


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--engine", "birefnet,rmbg-2.0", "--model", "folder"],
            "--model folder: birefnet and rmbg-2.0 take it; say whose it is, for example "
            "--model birefnet=folder",
        ),
        (
            ["--engine", "birefnet,rmbg-2.0", "--revision", "main"],
            "--revision main: birefnet and rmbg-2.0 take it",
        ),
        (
            ["--engine", "birefnet,grabcut", "--model", "rmbg-2.0=x"],
            "--model rmbg-2.0=x: rmbg-2.0 is not one of --engine birefnet,grabcut",
        ),
        (["--engine", "birefnet", "--resolution", "huge"], "--resolution is a number of pixels"),
        (["--engine", "grabcut", "--model", "a"], "--model: engine grabcut has no such option"),
        (["--engine", "birefnet", "--resolution", "²"], "--resolution is a number of pixels"),
        (["--engine", "fal-bria", "--model", "a"], "--model is for engines that run here, and"),
        (["--engine", "fal-bria", "--device", "cuda"], "--device is for engines that run here"),
        (["--engine", "fal-bria", "--compile"], "--compile is for engines that run here, and"),
        (
            ["--engine", "fal-bria", "--batch_size", "4"],
            "--batch_size is for engines that run here",
        ),
        (["--engine", "grabcut,fal_bria"], "did you mean 'fal-bria'?"),
        (
            ["--engine", "rmbg-2.0", "--model", "/in/the/image"],
            "--model /in/the/image is no folder of this machine, so its config.json cannot say the "
            "patch order: give --patch_order rmbg2 or birefnet",
        ),
        (["--api_key", "env:X"], "--api_key is for hosted engines, and --engine is grabcut"),
        (
            ["--engine", "birefnet,hf", "--provider_options", '{"sync": true}'],
            "--provider_options is for hosted engines, and --engine is birefnet,hf: leave it out, "
            "or name one of fal-bria, fal-rembg, pixazo-bria, gmi-bria, runware-bria",
        ),
        (["--staging_uri", "s3://b/s"], "--staging_uri is for hosted engines"),
        (["--staging_url", "https://b"], "--staging_url is for hosted engines"),
        (
            ["--engine", "fal-bria,grabcut", "--staging_uri", "s3://b/s"],
            "--staging_uri is for engines that take addresses alone, and --engine is fal-bria,"
            "grabcut: leave it out, or name one of pixazo-bria",
        ),
        (
            ["--engine", "fal-bria", "--provider_options", '{"fal-rembg": {}}'],
            "--provider_options: fal-rembg is not one of --engine fal-bria",
        ),
        (["--engine", "fal-bria", "--provider_options", "[]"], "takes a JSON object: given '[]'"),
        (["--engine", "fal-bria", "--provider_options", "{"], "--provider_options is not JSON"),
        (
            ["--engine", "fal-bria,grabcut", "--escalate_when", "blank"],
            "--escalate_when: 'blank': no column 'blank'; did you mean is_blank?",
        ),
        (["--escalate_when", "is_blank"], "--escalate_when needs a second engine to ask"),
        (["--engine", "grabcut", "--patch_order", "rmbg2"], "engine grabcut has no such option"),
        (["--engine", "grabcut", "--device", "cuda"], "engine grabcut runs on the CPU only"),
        (["--engine", "hf", "--onnx_mean", "1,1,1"], "engine hf has no such option"),
        (["--engine", "fal-bria", "--subject_labels", "dog"], "--subject_labels is for engines"),
        (["--engine", "os:sep"], "--engine os:sep: os:sep is no class"),
        (["--engine", "nothing,grabcut", "--model", "a"], "no engine called 'nothing'"),
    ],
)
def test_what_is_not_clear_is_refused_in_one_line(flags: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        shares(*flags)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_hosted_engines_do_anyway_may_be_asked_of_them() -> None:
    assert shares("--engine", "fal-bria", "--device", "auto", "--dtype", "auto") == {}


def test_bounds_and_permissions_hold_where_nothing_comes_near_them() -> None:
    flags = ("--max_cost_usd", "5", "--provider_concurrency", "4", "--repay_ambiguous",
             "--provider_url", "fal_run=http://127.0.0.1:1", "--download_first")  # fmt: skip
    assert set(shares(*flags)) == {"grabcut"}
    RemoveBackground(
        max_cost_usd=5,
        provider_concurrency=4,
        repay_ambiguous=True,
        provider_url=["fal_run=http://127.0.0.1:1"],
        download_first=True,
        ledger="ledger",
    )


@pytest.mark.parametrize(
    "flags",
    [["--max_cost_usd", "nan"], ["--provider_concurrency", "0"], ["--provider_url", "pixaso=x"]],
)
def test_bounds_that_would_bound_nothing_are_refused_whatever_cuts_out(flags: list[str]) -> None:
    with pytest.raises(UsageError, match=f"^{flags[0]} "):
        shares(*flags)


def test_a_chain_of_two_models_runs(tmp_path) -> None:
    one, other = (
        save_tiny_birefnet(str(tmp_path / order), order) for order in ("birefnet", "rmbg2")
    )
    manifest = write_manifest(str(tmp_path / "pictures"), 2, 40)
    engine = ["--engine", "birefnet,rmbg-2.0", "--no_report"]
    engine += [f"--resolution={name}=32" for name in ("birefnet", "rmbg-2.0")]
    engine += ["--model", f"birefnet={one}", "--model", f"rmbg-2.0={other}"]
    always = ["--escalate_when", "confidence < 2"]
    assert run(manifest, tmp_path / "out", *always, engine=engine) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    for row in rows_of(tmp_path / "out"):
        assert (row["engine"], row["model"]) == ("rmbg-2.0", other)
        assert row["escalated_from"] == "birefnet"
