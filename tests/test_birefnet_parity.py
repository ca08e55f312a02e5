"""BiRefNet is the same function of the published weights as the official implementation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from kit_models import KIT, case_input, cases, differences, kit_weights, record, write_checkpoint
from torch import Tensor, nn

from alphabeam.transforms.engines.birefnet import BiRefNet

ORDERS = ("rmbg2", "birefnet")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def swin_t(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("swin_t"), kit_weights("swin_t"))


@pytest.fixture(scope="module")
def swin_l(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("swin_l"), kit_weights("swin_l"))


def worst(model: BiRefNet, case: Path) -> list[tuple]:
    return differences(case, {"logits": model(case_input(case)).logits})


@pytest.mark.parametrize("order", ORDERS)
def test_swin_t_agrees_with_every_reference_before_and_after_fusing(
    swin_t: Path, order: str
) -> None:
    model = BiRefNet.from_pretrained(swin_t, patch_order=order)
    references = cases(f"{order}_swin_t")
    assert len(references) >= 2
    assert [worst(model, case) for case in references] == [[] for _ in references]
    model.fuse()
    assert [worst(model, case) for case in references] == [[] for _ in references]


def test_swin_l_agrees_with_every_reference(swin_l: Path) -> None:
    model = BiRefNet.from_pretrained(swin_l, patch_order="rmbg2")
    references = cases("rmbg2_swin_l")
    assert len(references) == 3
    assert [worst(model, case) for case in references] == [[]] * 3
    model.fuse()
    assert [worst(model, case) for case in references] == [[]] * 3
    del model
    model = BiRefNet.from_pretrained(swin_l, patch_order="birefnet").fuse()
    references = cases("birefnet_swin_l")
    assert len(references) == 2
    assert [worst(model, case) for case in references] == [[]] * 2


def test_every_stage_on_the_way_agrees(swin_t: Path) -> None:
    model = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2")
    names = {"squeeze_module.0<": "x4_context", "squeeze_module.0": "x4_squeezed"}
    names |= {f"decoder.ipt_blk{i}": f"ipt{i}" for i in range(1, 6)}
    names |= {f"decoder.decoder_block{i}": f"p{i}" for i in range(1, 5)}
    names |= {f"decoder.gdt_convs_attn_{i}": f"attention{i}" for i in (2, 3, 4)}
    names |= {f"decoder.lateral_block{i}<": f"x{i - 1}" for i in (2, 3, 4)}
    names |= {"decoder.decoder_block1<": "p1_in", "bb": "bb"}
    for case in cases("rmbg2_swin_t"):
        kept = record(model, names, case_input(case))
        whole, half = kept.pop("bb")
        got = {name: outputs[0] for name, outputs in kept.items()}
        got |= {f"bb_full_{i}": feature for i, feature in enumerate(whole, 1)}
        got |= {f"bb_half_{i}": feature for i, feature in enumerate(half, 1)}
        for i in (2, 3, 4):
            got[f"p{i}_att"] = got[f"p{i}"] * torch.sigmoid(got.pop(f"attention{i}"))
            auxiliary = model.decoder.get_submodule(f"conv_ms_spvn_{i}")
            got[f"aux_m{i}"] = auxiliary(got[f"p{i}"])
        assert len(got) == 30
        assert differences(case, got) == []


def test_a_picture_becomes_the_official_mask(swin_t: Path) -> None:
    reference = np.load(KIT / "e2e_rmbg2_swin_t_213x341_at256.npz")
    model = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2").fuse()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    picture = (torch.from_numpy(reference["resized_u8"]) / 255.0 - mean) / deviation
    logits = model(picture.permute(2, 0, 1)[None]).logits
    mask = (logits.sigmoid() * 255).to(torch.uint8).numpy()[0, 0].astype(int)
    assert np.abs(logits.numpy() - reference["logits"]).max() <= 1e-4
    assert np.abs(mask - reference["mask_net_u8"]).max() <= 1


def test_the_benchmarks_plain_implementation_is_the_same_function(swin_t: Path) -> None:
    path = Path(__file__).parent.parent / "benchmarks" / "plain_birefnet.py"
    spec = importlib.util.spec_from_file_location("plain_birefnet", path)
    assert spec is not None
    assert spec.loader is not None
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    weights = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2").state_dict()
    case = KIT / "rmbg2_swin_t_2x96x160.npz"
    assert differences(case, {"logits": plain.logits(weights, case_input(case))}) == []


def swap_offsets(model: BiRefNet) -> None:
    for name, parameter in model.named_parameters():
        if "offset_conv" in name:
            parameter.copy_(parameter.unflatten(0, (-1, 2)).flip(1).flatten(0, 1))


def forget_the_shift(model: BiRefNet) -> None:
    for module in model.bb.modules():
        if hasattr(module, "shift"):
            module.shift = 0


def take_the_other_order(model: BiRefNet) -> None:
    model.decoder.patch_order = "birefnet"


def change_epsilon(model: BiRefNet) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6


def halve_the_modulation(model: BiRefNet) -> None:
    for name, parameter in model.named_parameters():
        if "regular_conv" in name:
            parameter.mul_(0.5)


def transpose_the_bias(model: BiRefNet) -> None:
    for name, buffer in model.named_buffers():
        if "relative_position_index" in name:
            buffer.copy_(buffer.t().clone())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "mistake",
    [
        take_the_other_order,
        swap_offsets,
        forget_the_shift,
        change_epsilon,
        halve_the_modulation,
        transpose_the_bias,
    ],
)
def test_a_typical_mistake_shows(swin_t: Path, mistake, fused: bool) -> None:
    model = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2")
    mistake(model)
    if fused:
        model.fuse()
    ((_, error, limit, _),) = worst(model, KIT / "rmbg2_swin_t_2x96x160.npz")
    assert error > 50 * limit


@pytest.mark.parametrize("fused", [False, True])
def test_the_approximate_gelu_shows(
    swin_t: Path, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = torch.nn.functional.gelu
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x: exact(x, approximate="tanh"))
    model = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2")
    if fused:
        model.fuse()
    assert worst(model, KIT / "rmbg2_swin_t_2x96x160.npz")


def test_bfloat16_stays_within_the_kits_gate(swin_t: Path) -> None:
    case = KIT / "rmbg2_swin_t_1x256x256.npz"
    model = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2").fuse().to(torch.bfloat16)
    reference = torch.from_numpy(np.load(case)["logits"])
    error = model(case_input(case).to(torch.bfloat16)).logits.float() - reference
    assert error.square().mean().sqrt() / reference.std() <= 0.05


def test_each_picture_of_a_batch_is_treated_alone(swin_t: Path) -> None:
    model = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2").fuse()
    batch = torch.cat((case_input(KIT / "rmbg2_swin_t_2x96x160.npz"), torch.zeros(1, 3, 96, 160)))
    together = model(batch).logits
    alone: list[Tensor] = [model(picture[None]).logits[0] for picture in batch]
    torch.testing.assert_close(together, torch.stack(alone), atol=2e-5, rtol=0)


def test_what_is_not_a_number_stays_visible(swin_t: Path) -> None:
    model = BiRefNet.from_pretrained(swin_t, patch_order="rmbg2").fuse()
    picture = torch.zeros(1, 3, 64, 64)
    picture[0, 0, 5, 5] = float("nan")
    assert model(picture).logits.isnan().all()
