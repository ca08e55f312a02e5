"""Networks behind the engine contract, from flags to the dataset's rows."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph, write_manifest
from test_job import rows_of, run, stored
from tiny_models import KIT, save_kit_rmbg2, save_tiny_birefnet, weights_rule

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import require_dataset
from alphabeam.pipeline.engine_settings import cutter_settings
from alphabeam.pipeline.verify import verify
from alphabeam.transforms.engines import devices, registry
from alphabeam.transforms.engines.catalog import BUILT_IN
from alphabeam.transforms.engines.contract import EngineUnusable
from alphabeam.transforms.engines.loaded import LoadedEngine
from alphabeam.transforms.errors import EngineError
from alphabeam.transforms.matte import to_levels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_birefnet(str(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return save_kit_rmbg2(str(tmp_path_factory.mktemp("kit") / "RMBG-2.0"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(str(tmp_path_factory.mktemp("pictures")), 4, 96)


@pytest.fixture(scope="module")
def on_one_worker(manifest, tiny, tmp_path_factory):
    """A dataset made with the tiny network by one worker."""
    output = tmp_path_factory.mktemp("one") / "out"
    assert run(manifest, output, *UNITS, engine=engine_of(tiny)) == 0
    return output


UNITS = ("--unit_size", "2", "--save_mask")


def engine_of(folder, name="birefnet", resolution="64"):
    return ["--engine", name, "--model", folder, "--resolution", resolution, "--no_report"]


def small_pictures(*sizes):
    return [photograph("chelsea")[:height, :width] for height, width in sizes]


# The whole job


def test_saved_weights_run_through_the_whole_job(on_one_worker, tiny):
    assert verify(str(on_one_worker)).faults == ()
    rows = rows_of(on_one_worker)
    assert len(rows) == 4
    for row in rows:
        assert (row["engine"], row["model"], row["device"]) == ("birefnet", tiny, "cpu")
        assert row["dtype"] == "float32"
        assert row["revision"].startswith("sha256:")
        assert 0 < row["confidence"] < 1
        assert not row["is_blank"]
    assert len({row["coverage"] for row in rows}) == 4
    recorded = require_dataset(str(on_one_worker))["settings"]["engine_options"]
    assert recorded["birefnet"] == {
        "model": tiny,
        "revision": None,
        "dtype": "auto",
        "resolution": 64,
        "patch_order": "birefnet",
    }


def test_two_workers_write_the_same_mattes_as_one(manifest, tiny, on_one_worker, tmp_path):
    flags = [*UNITS, "--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    assert run(manifest, tmp_path / "out", *flags, engine=engine_of(tiny)) == 0
    assert stored(tmp_path / "out") == stored(on_one_worker)


def test_a_folder_as_published_runs_offline_under_its_own_name(
    manifest, kit, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(manifest, tmp_path / "out", engine=engine_of(kit, "rmbg-2.0")) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    assert {row["engine"] for row in rows_of(tmp_path / "out")} == {"rmbg-2.0"}
    recorded = require_dataset(str(tmp_path / "out"))["settings"]["engine_options"]
    assert recorded["rmbg-2.0"]["patch_order"] == "rmbg2"
    assert "CC BY-NC 4.0" in (tmp_path / "out" / "README.md").read_text()


def test_another_engine_into_the_same_dataset_is_refused(manifest, tiny, on_one_worker, capsys):
    flags = [*UNITS, "--patch_order", "rmbg2"]
    assert run(manifest, on_one_worker, *flags, engine=engine_of(tiny)) == 2
    assert 'patch_order was "birefnet", now "rmbg2"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--device", "cuda"], "finds no CUDA device here"),
        (["--device", "cuda:7"], "--device cuda:7"),
        (["--device", "mps"], "finds no Apple GPU"),
        (["--device", "tpu"], "it can be auto, cpu, cuda, cuda:N or mps"),
        (["--dtype", "float8"], "it can be auto, float32, bfloat16, float16"),
        (["--resolution", "100"], "for example 96"),
        (["--patch_order", "rmbg"], "it can be rmbg2 or birefnet"),
        (["--onnx_mean", "0,0,0"], "has no such option"),
        (["--engine", "birefnet-dynamic", "--compile"], "--compile needs one working size"),
        (["--engine", "rmbg-1.4"], "does not hold the weights of ISNet"),
        (["--revision", "v9"], "--revision v9: /"),
        (["--model", "."], "holds no model.safetensors"),
    ],
)
def test_what_cannot_run_here_is_refused_before_the_run(
    manifest, tiny, tmp_path, capsys, flags, expected
):
    output = str(tmp_path / "out")
    assert run(manifest, output, engine=[*engine_of(tiny), *flags]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
    assert not os.path.exists(output)


def test_a_launcher_of_remote_workers_needs_neither_device_nor_weights():
    flags = ["--output", "out", "--engine", "rmbg-2.0", "--device", "cuda"]
    cutter = cutter_settings(PipelineOptions(["--runner", "DataflowRunner", *flags]))
    assert cutter.options["rmbg-2.0"]["model"] == "briaai/RMBG-2.0"
    assert cutter.options["rmbg-2.0"]["device"] == "cuda"


# The names


def test_every_engine_is_listed_with_licence_and_preprocessing(capsys):
    assert main(["engines"]) == 0
    printed = capsys.readouterr().out
    for entry in BUILT_IN:
        assert entry.name in printed
        assert entry.licence in printed
        assert entry.model in printed
    assert "briaai/RMBG-2.0, revision main" in printed
    assert "2048×2048" in printed


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.name)
def test_every_name_stands_for_an_engine_that_takes_its_defaults(entry):
    options = {} if entry.model or entry.name == "grabcut" else {"model": "x", "resolution": 64}
    recorded = registry.settings_of(registry.create(entry.name, options), {})
    assert recorded.get("model", "") == options.get("model", entry.model)
    assert {name: recorded[name] for name in entry.of_model} == entry.of_model


@pytest.mark.parametrize(
    ("name", "saved_order", "options", "expected"),
    [
        ("birefnet", None, {}, "birefnet"),
        ("rmbg-2.0", None, {}, "rmbg2"),
        ("birefnet", "rmbg2", {}, "rmbg2"),
        ("rmbg-2.0", "birefnet", {}, "birefnet"),
        ("rmbg-2.0", "rmbg2", {"patch_order": "birefnet"}, "birefnet"),
        ("birefnet", None, {"model": "briaai/RMBG-2.0"}, "rmbg2"),
        ("rmbg-2.0", None, {"model": "ZhengPeng7/BiRefNet_HR"}, "birefnet"),
    ],
)
def test_the_patch_order_follows_flag_then_hub_name_then_file_then_engine(
    tmp_path, name, saved_order, options, expected
):
    order = "" if saved_order is None else f'"patch_order": "{saved_order}"'
    (tmp_path / "config.json").write_text(f"{{{order}}}")
    options = {"model": str(tmp_path), **options}
    assert registry.settings_of(registry.create(name, options), {})["patch_order"] == expected


def test_a_patch_order_in_the_file_that_means_nothing_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"patch_order": "upwards"}')
    engine = registry.create("birefnet", {"model": str(tmp_path)})
    with pytest.raises(EngineUnusable, match="--patch_order overrules it"):
        registry.settings_of(engine, {})


def test_engines_are_made_without_importing_pytorch_or_beam():
    code = (
        "import sys; from alphabeam.transforms.engines import registry\n"
        "for name in ('rmbg-2.0', 'rmbg-1.4', 'birefnet-dynamic'): registry.create(name, {})\n"
        "for name in ('hf', 'onnx'): registry.create(name, {'model': 'x'})\n"
        "print([m for m in ('torch', 'apache_beam', 'onnxruntime') if m in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout == "[]\n"


# What they give


def test_the_kit_picture_gets_the_reference_mask(kit):
    case = np.load(os.path.join(KIT, "e2e_rmbg2_swin_t_213x341_at256.npz"))
    engine = registry.create("rmbg-2.0", {"model": kit, "resolution": 256, "device": "cpu"})
    loaded = LoadedEngine(engine, "rmbg-2.0")
    (matte,) = loaded.predict([weights_rule.rgb8(213, 341)])
    # Ours are rounded levels, the reference's are truncated.
    difference = matte.alpha.astype(int) - case["mask_net_u8"].astype(int).reshape(256, 256)
    assert difference.min() >= -1
    assert difference.max() <= 2
    p = 1 / (1 + np.exp(-case["logits"].astype(np.float64)))
    assert matte.confidence == pytest.approx(np.abs(2 * p - 1).mean(), abs=2e-3)
    whole = to_levels(matte.alpha, 341, 213).astype(int)
    assert np.abs(whole - case["mask_u8"]).mean() < 1.5


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9000), st.integers(1, 9000))
def test_dynamic_sizes_are_multiples_of_32_near_the_pictures_own(height, width):
    engine = registry.create("birefnet-dynamic", {})
    rows, columns = engine.working_size(height, width)
    assert rows % 32 == columns % 32 == 0
    assert 32 <= rows <= 2304
    assert 32 <= columns <= 2304
    if max(height, width) <= 2304:
        assert rows == max(32, height // 32 * 32)
        assert columns == max(32, width // 32 * 32)


def test_dynamic_pictures_are_seen_at_their_own_size(tiny):
    options = {"model": tiny, "resolution": 96, "device": "cpu"}
    loaded = LoadedEngine(registry.create("birefnet-dynamic", options), "birefnet-dynamic")
    mattes = loaded.predict(small_pictures((70, 40), (40, 70), (70, 40), (200, 100)))
    assert [matte.alpha.shape for matte in mattes] == [(64, 32), (32, 64), (64, 32), (96, 32)]
    assert np.array_equal(mattes[0].alpha, mattes[2].alpha)


# Devices


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [
        ("cpu", None, torch.float32),
        ("mps", None, torch.float32),
        ("cuda:0", (7, 5), torch.float16),
        ("cuda:0", (8, 0), torch.bfloat16),
        ("cuda:0", (9, 0), torch.bfloat16),
    ],
)
def test_the_number_type_follows_the_device(monkeypatch, device, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.choose_dtype("auto", torch.device(device)) is expected
    assert devices.choose_dtype("float32", torch.device(device)) is torch.float32


def test_devices_are_found_or_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert devices.find_device("auto") == torch.device("cuda:0")
    assert devices.find_device("cuda:1") == torch.device("cuda:1")
    assert devices.find_device("cpu") == CPU
    with pytest.raises(EngineUnusable, match="this machine has cuda:0, cuda:1"):
        devices.find_device("cuda:2")


# The contract


class Crowd:
    """Counts how many threads are in at once."""

    def __init__(self, parallel):
        self.parallel = parallel
        self.inside = self.most = 0
        self.lock = threading.Lock()
        self.two = threading.Barrier(2)

    def load(self):
        pass

    def predict(self, pictures):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        if self.parallel:
            self.two.wait(30)
        with self.lock:
            self.inside -= 1
        return [np.zeros((2, 2), np.float32) for _ in pictures]


@pytest.mark.parametrize(("parallel", "expected"), [(False, 1), (2, 2)])
def test_no_more_threads_are_let_in_than_an_engine_allows(parallel, expected):
    engine = Crowd(parallel)
    loaded = LoadedEngine(engine, "crowd")
    assert loaded.predictors == expected
    threads = [threading.Thread(target=loaded.predict, args=([0],)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.most == expected


def test_an_error_for_one_picture_costs_its_batch_nothing():
    class Answering:
        calls = 0

        def load(self):
            pass

        def predict(self, pictures):
            Answering.calls += 1
            return [
                EngineError("dim", "too dark")
                if picture.max() == 0
                else np.ones((2, 2), np.float32)
                for picture in pictures
            ]

    dark = np.zeros((2, 2, 3), np.uint8)
    results = LoadedEngine(Answering(), "answering").predict([dark + 1, dark, dark + 1])
    assert [getattr(result, "kind", None) for result in results] == [None, "dim", None]
    assert Answering.calls == 1
