"""Batches through a PyTorch network: what it sees, what it gives, and when it fails."""

import numpy as np
import pytest
import torch
import torch._inductor.config
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image
from test_job import errors_of, rows_of, run
from torch import nn

from alphabeam.transforms.engines.contract import EngineUnusable, Matte
from alphabeam.transforms.engines.device_memory import largest_batch
from alphabeam.transforms.engines.preprocessing import CENTRED, IMAGENET
from alphabeam.transforms.engines.probabilities import Probabilities
from alphabeam.transforms.engines.torch_runner import TorchRunner

CPU = torch.device("cpu")


def small_pictures(*sizes):
    return [photograph("chelsea")[:height, :width] for height, width in sizes]


class Constant(nn.Module):
    """Gives the same logit everywhere, and remembers what it saw."""

    def __init__(self, logit=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()), requires_grad=False)
        self.logit = logit
        self.seen = []

    def forward(self, pixel_values):
        self.seen.append(pixel_values.clone())
        logits = torch.full_like(pixel_values[:, :1], self.logit)
        return type("Output", (), {"logits": logits})


def runner_of(network, dtype=torch.float32, preprocessing=IMAGENET, side=32):
    return TorchRunner(
        Probabilities(network), CPU, dtype, preprocessing, lambda height, width: (side, side)
    )


def test_a_blank_picture_keeps_its_real_low_maximum():
    (matte,) = runner_of(Constant(-3.0)).predict(small_pictures((40, 50)))
    assert np.unique(matte.alpha).tolist() == [round(255 / (1 + np.exp(3)))]
    assert matte.confidence == pytest.approx(np.tanh(1.5), abs=1e-6)


def test_pictures_are_shrunk_as_pillow_does_and_normalised():
    network = Constant()
    picture = photograph("chelsea")
    runner_of(network, side=96).predict([picture])
    resized = np.asarray(Image.fromarray(picture).resize((96, 96), Image.Resampling.BILINEAR))
    expected = (resized / 255 - IMAGENET.mean) / IMAGENET.std
    seen = network.seen[0][0].permute(1, 2, 0).numpy()
    assert np.abs(seen - expected).max() <= 1.01 / 255 / min(IMAGENET.std)


def test_without_antialias_the_neighbours_alone_are_read():
    network = Constant()
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[31:33, 31:33] = 255  # between the places that 2 of 64 pixels are read from
    runner_of(network, preprocessing=CENTRED, side=2).predict([picture])
    assert torch.equal(network.seen[0], torch.full((1, 3, 2, 2), -0.5))


def test_pictures_of_read_only_memory_and_strange_strides_work():
    picture = photograph("chelsea")[::-1, ::2]
    picture.flags.writeable = False
    (matte,) = runner_of(Constant()).predict([picture])
    assert matte.alpha.shape == (32, 32)


# Memory and numbers


class Hungry(Constant):
    """Runs out of memory on batches that are too large, and on pictures that are too bright."""

    def __init__(self, most, brightest=1e9):
        super().__init__()
        self.most, self.brightest, self.batches = most, brightest, []

    def forward(self, pixel_values):
        self.batches.append(len(pixel_values))
        if len(pixel_values) > self.most or pixel_values.max() > self.brightest:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(pixel_values)


def test_out_of_memory_halves_the_batch_once_for_all():
    network = Hungry(most=2)
    runner = runner_of(network)
    runner.prepare((32, 32), batch_size=8, compiled=False)
    pictures = small_pictures(*[(40, 40 + n) for n in range(8)])
    assert all(isinstance(matte, Matte) for matte in runner.predict(pictures))
    assert network.batches == [8, 4, 2, 2, 2, 2]
    assert runner.batch_size == 2
    runner.predict(pictures)
    assert network.batches[6:] == [2, 2, 2, 2]


def test_a_picture_that_alone_exceeds_the_memory_is_an_error_by_itself():
    network = Hungry(most=8, brightest=2.6)
    runner = runner_of(network)
    runner.prepare((32, 32), batch_size=4, compiled=False)
    dark = np.zeros((40, 50, 3), np.uint8)
    results = runner.predict([dark, np.full_like(dark, 255), dark, dark])
    assert [isinstance(result, Matte) for result in results] == [True, False, True, True]
    assert results[1].kind == "out_of_memory"
    assert "50×40" in results[1].message


class Overflowing(Constant):
    """Gives what is no number: for some pictures in 16 bits, for black ones always."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, pixel_values):
        output = super().forward(pixel_values)
        black = pixel_values.flatten(1).max(1).values < -1
        bright = pixel_values.flatten(1).max(1).values > 2
        bad = black | bright if pixel_values.dtype != torch.float32 else black
        output.logits[bad] = self.value
        return output


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_tried_in_float32_and_is_an_error_after_that(value):
    network = Overflowing(value)
    runner = runner_of(network, torch.bfloat16)
    runner.prepare((32, 32), batch_size=4, compiled=False)
    grey = np.full((40, 50, 3), 128, np.uint8)
    results = runner.predict([grey, np.full_like(grey, 255), np.zeros_like(grey), grey])
    assert [isinstance(result, Matte) for result in results] == [True, True, False, True]
    assert results[2].kind == "not_finite"
    assert [(len(seen), seen.dtype) for seen in network.seen] == [
        (4, torch.bfloat16),
        (2, torch.float32),
    ]
    assert network.weight.dtype == torch.bfloat16


class HungryAndOverflowing(Overflowing):
    """Has no memory for more than one picture in float32."""

    def forward(self, pixel_values):
        if pixel_values.dtype == torch.float32 and len(pixel_values) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(pixel_values)


def test_out_of_memory_in_float32_halves_the_batch_too():
    network = HungryAndOverflowing(torch.nan)
    runner = runner_of(network, torch.bfloat16)
    runner.prepare((32, 32), batch_size=4, compiled=False)
    white = np.full((40, 50, 3), 255, np.uint8)
    assert all(isinstance(matte, Matte) for matte in runner.predict([white] * 4))
    assert [len(seen) for seen in network.seen] == [4, 2, 1, 1] + [1, 1] * 3
    assert network.weight.dtype == torch.bfloat16


class SometimesBroken:
    """An engine with a stand-in network, as `--engine test_torch_runner:SometimesBroken`."""

    device, dtype, batch_size = "cpu", "bfloat16", 4

    def load(self):
        self._runner = runner_of(Overflowing(torch.nan), torch.bfloat16)
        self._runner.prepare((32, 32), 4, compiled=False)

    def predict(self, pictures):
        return self._runner.predict(pictures)


def test_a_picture_without_a_number_is_an_error_row_and_the_others_go_on(tmp_path):
    for name, level in (("black", 0), ("grey", 100), ("white", 255)):
        Image.new("RGB", (40, 30), (level,) * 3).save(tmp_path / f"{name}.png")
    engine = ["--engine", "test_torch_runner:SometimesBroken", "--no_report"]
    assert run(f"{tmp_path}/*.png", tmp_path / "out", engine=engine) == 0
    assert [row["source_uri"][-9:] for row in rows_of(tmp_path / "out")] == [
        "/grey.png",
        "white.png",
    ]
    (row,) = errors_of(tmp_path / "out")
    assert (row["error"], row["stage"]) == ("not_finite", "engine")


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**12), st.integers(1, 10**11), st.integers(1, 64))
def test_the_largest_batch_fits_and_the_next_does_not(free, need, most):
    chosen = largest_batch(free, need, most)
    assert chosen & (chosen - 1) == 0
    assert chosen == 1 or (chosen <= most and chosen * need <= 0.8 * free)
    assert 2 * chosen > most or 2 * chosen * need > int(0.8 * free)


class Convolution(nn.Module):
    """The least that is worth compiling."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, pixel_values):
        return self.conv(pixel_values).float().sigmoid()


def test_compiled_networks_give_the_same_and_are_compiled_before_the_first_picture():
    pictures = small_pictures((40, 40), (50, 60), (30, 30))

    def prepared(compiled):
        runner = TorchRunner(Convolution(), CPU, torch.float32, IMAGENET, lambda *size: (32, 32))
        runner.prepare((32, 32), batch_size=2, compiled=compiled)
        return runner

    compiled, eager = prepared(True), prepared(False)
    with torch.compiler.set_stance("fail_on_recompile"):  # the last batch is short, and filled up
        ours = compiled.predict(pictures)
    for one, other in zip(ours, eager.predict(pictures), strict=True):
        assert np.abs(one.alpha.astype(int) - other.alpha).max() <= 1
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_a_machine_that_cannot_compile_says_so_in_one_line():
    runner = TorchRunner(Convolution(), CPU, torch.float32, IMAGENET, lambda *size: (48, 32))
    without = torch._inductor.config.patch(
        {"cpp.cxx": ("/nowhere/c++",), "force_disable_caches": True}
    )
    with (
        without,
        pytest.raises(EngineUnusable, match=r"--compile: PyTorch cannot .*C\+\+") as refused,
    ):
        runner.prepare((48, 32), batch_size=1, compiled=True)
    assert "\n" not in str(refused.value)
    assert "Set TORCH" not in str(refused.value)
