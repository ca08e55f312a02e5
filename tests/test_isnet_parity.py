"""IS-Net is the same function of the published weights as the official implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit_models import KIT, case_input, cases, differences, kit_weights, record, write_checkpoint
from torch import nn

from alphabeam.transforms.engines.folding import batchnorm_line
from alphabeam.transforms.engines.isnet import ISNet, ResidualU, resize

STAGES = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
DECODERS = ("stage5d", "stage4d", "stage3d", "stage2d", "stage1d")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("isnet"), kit_weights("isnet"))


@pytest.mark.parametrize("case", cases("isnet"), ids=lambda case: case.stem)
def test_it_agrees_with_every_reference_before_and_after_fusing(folder: Path, case: Path) -> None:
    model = ISNet.from_pretrained(folder)
    image = case_input(case)
    kept = record(model, {name: name for name in ("conv_in", *STAGES, *DECODERS)}, image)
    got = {name: outputs[0] for name, outputs in kept.items()}
    got["logits1"] = got.pop("logits")
    sources = ("stage2d", "stage3d", "stage4d", "stage5d", "stage6")
    for i, source in enumerate(sources, 2):
        got[f"logits{i}"] = resize(model.get_submodule(f"side{i}")(got[source]), image)
    assert len(got) == 18
    assert differences(case, got) == []
    assert differences(case, {"logits1": model.fuse()(image).logits}) == []


def resize_with_aligned_corners(model: ISNet, monkeypatch: pytest.MonkeyPatch) -> None:
    original = nn.functional.interpolate
    monkeypatch.setattr(
        nn.functional,
        "interpolate",
        lambda *a, **options: original(*a, **options | {"align_corners": True}),
    )


def forget_the_last_dilation(model: ISNet, _: pytest.MonkeyPatch) -> None:
    model.stage1.rebnconv7.conv_s1.dilation = (1, 1)
    model.stage1.rebnconv7.conv_s1.padding = (1, 1)


def drop_the_residual(model: ISNet, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = ResidualU.forward
    monkeypatch.setattr(ResidualU, "forward", lambda self, x: forward(self, x) - self.rebnconvin(x))


def change_epsilon(model: ISNet, _: pytest.MonkeyPatch) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3


@pytest.mark.parametrize(
    "mistake",
    [resize_with_aligned_corners, forget_the_last_dilation, drop_the_residual, change_epsilon],
)
def test_a_typical_mistake_shows(folder: Path, mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    case = KIT / "isnet_1x256x256.npz"
    model = ISNet.from_pretrained(folder)
    mistake(model, monkeypatch)
    ((_, error, limit, _),) = differences(case, {"logits1": model(case_input(case)).logits})
    assert error > 20 * limit


def test_saving_keeps_the_published_weights(folder: Path, tmp_path: Path) -> None:
    model = ISNet.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    again = ISNet.from_pretrained(tmp_path).state_dict()
    assert again.keys() == kit_weights("isnet").keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())
    with pytest.raises(RuntimeError, match=r"save it before fuse\(\)"):
        model.fuse().save_pretrained(tmp_path)


def test_a_batch_norm_without_statistics_cannot_be_folded() -> None:
    with pytest.raises(ValueError, match="stores no statistics"):
        batchnorm_line(nn.BatchNorm2d(4, track_running_stats=False))
