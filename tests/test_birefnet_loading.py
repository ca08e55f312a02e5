"""BiRefNet checkpoints load exactly, offline and without remote code, or say what is wrong."""

from __future__ import annotations

import copy
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kit_models import published_keys, write_checkpoint
from safetensors.torch import load_file
from torch import Tensor

from alphabeam.transforms.engines.birefnet import BiRefNet, BiRefNetConfig
from alphabeam.transforms.engines.isnet import ISNet, ISNetConfig

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "model.py"

TINY = {"embed_dim": 32, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 8), "window": 4}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny() -> BiRefNet:
    torch.manual_seed(7)
    return BiRefNet(BiRefNetConfig(**TINY, patch_order="birefnet"))


@pytest.fixture(scope="module")
def folder(tiny: BiRefNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), tiny.state_dict())


@pytest.fixture
def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def picture(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("network", "embed_dim", "depths", "heads", "window"),
    [
        ("swin_t", 96, [2, 2, 6, 2], [3, 6, 12, 24], 7),
        ("swin_l", 192, [2, 2, 18, 2], [6, 12, 24, 48], 12),
    ],
)
def test_the_backbone_is_found_from_shapes_and_every_published_key_has_its_place(
    network: str, embed_dim: int, depths: list[int], heads: list[int], window: int
) -> None:
    published = {name: shape for name, (shape, _) in published_keys(network).items()}
    config = BiRefNetConfig.from_shapes(published, "rmbg2")
    found = (config.embed_dim, config.depths, config.num_heads, config.window)
    assert found == (embed_dim, depths, heads, window)
    with torch.device("meta"):
        model = BiRefNet(config)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == published


def test_isnet_has_exactly_the_published_keys() -> None:
    published = {name: shape for name, (shape, _) in published_keys("isnet").items()}
    with torch.device("meta"):
        model = ISNet(ISNetConfig())
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == published


def test_a_hub_folder_loads_without_network_or_remote_code(
    tiny: BiRefNet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("loading a folder went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    model = BiRefNet.from_pretrained(folder, patch_order="birefnet")
    x = picture(1, 3, 64, 96)
    assert torch.equal(model(x).logits, tiny(x).logits)
    assert model(x).logits.shape == (1, 1, 64, 96)
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_saving_and_loading_gives_the_same_model_under_the_published_names(
    tiny: BiRefNet, folder: Path, tmp_path: Path
) -> None:
    loaded = BiRefNet.from_pretrained(folder, patch_order="birefnet")
    loaded.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == tiny.state_dict().keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in tiny.state_dict().items())
    again = BiRefNet.from_pretrained(tmp_path)
    assert again.config.patch_order == "birefnet"
    assert BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2").config.patch_order == "rmbg2"
    x = picture(1, 3, 64, 64)
    assert torch.equal(again(x).logits, tiny(x).logits)


def test_the_two_patch_orders_are_different_functions(folder: Path) -> None:
    x = picture(1, 3, 64, 64)
    a, b = (
        BiRefNet.from_pretrained(folder, patch_order=order)(x).logits
        for order in ("rmbg2", "birefnet")
    )
    assert (a - b).abs().max() > 1e-3


def test_an_unnamed_patch_order_is_asked_for(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"names no patch_order: give 'rmbg2' .* or 'birefnet'"):
        BiRefNet.from_pretrained(folder)


def test_an_unknown_patch_order_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="patch_order is 'hwc'; it can be 'rmbg2' or 'birefnet'"):
        BiRefNet.from_pretrained(folder, patch_order="hwc")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_prefixes_are_taken_off(
    tiny: BiRefNet, weights: dict[str, Tensor], tmp_path: Path, prefix: str
) -> None:
    write_checkpoint(tmp_path, {prefix + name: tensor for name, tensor in weights.items()})
    loaded = BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny.state_dict().items())


def test_a_name_with_and_without_prefix_is_refused(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    weights["module.bb.norm0.weight"] = weights["bb.norm0.weight"].clone()
    write_checkpoint(tmp_path, weights)
    with pytest.raises(ValueError, match=r"holds bb\.norm0\.weight twice"):
        BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_computed_in_float32(
    weights: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype
) -> None:
    half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}
    write_checkpoint(tmp_path, half)
    loaded = BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2").state_dict()
    assert {v.dtype for v in loaded.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(loaded[name], tensor.to(loaded[name])) for name, tensor in half.items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dtype": torch.bfloat16}, torch.bfloat16),
        ({"dtype": "float16", "device_map": "cpu"}, torch.float16),
        ({"torch_dtype": "torch.float16", "device_map": {"": "cpu"}}, torch.float16),
        ({"dtype": "auto", "device_map": "auto", "local_files_only": True}, torch.bfloat16),
    ],
)
def test_type_and_place_are_asked_for_as_of_any_model_of_transformers(
    weights: dict[str, Tensor], tmp_path: Path, options: dict, expected: torch.dtype
) -> None:
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in weights.items()}
    write_checkpoint(tmp_path / "inside", half)
    model = BiRefNet.from_pretrained(
        tmp_path, patch_order="birefnet", subfolder="inside", **options
    )
    kinds = {v.dtype for v in model.state_dict().values() if v.is_floating_point()}
    assert kinds == {expected} == {model.dtype}
    x = picture(1, 3, 64, 64)
    exact = BiRefNet.from_pretrained(tmp_path, patch_order="birefnet", subfolder="inside")(x).logits
    for same in (model, model.fuse()):
        logits = same(x.to(model.device, expected)).logits
        assert logits.dtype == expected
        assert (logits.float().cpu() - exact).std() < 0.05 * exact.std()


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"dtype": "float61"}, ValueError, "dtype is 'float61'; it can be 'auto' or"),
        ({"dtype": torch.int8}, ValueError, "dtype is torch.int8; it can be 'auto' or"),
        ({"device_map": {"bb": 0}}, ValueError, "the network goes to one device"),
        ({"subfolder": "nowhere"}, FileNotFoundError, "nowhere holds no model.safetensors"),
        ({"trust_remote_code": True}, TypeError, "trust_remote_code"),
    ],
)
def test_what_cannot_be_asked_of_a_network_is_said(
    folder: Path, options: dict, error: type[Exception], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        BiRefNet.from_pretrained(folder, patch_order="rmbg2", **options)


def test_weights_in_pieces_are_put_together(tiny: BiRefNet, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path, max_shard_size="5MB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    loaded = BiRefNet.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny.state_dict().items())
    index = tmp_path / "model.safetensors.index.json"
    for text, expected in (
        ("{}", "has no weight_map"),
        ("[", "has no weight_map"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "names '../x.safetensors', which is no"),
        ('{"weight_map": {"a": 7}}', "names 7, which is no"),
    ):
        index.write_text(text)
        with pytest.raises(ValueError, match=expected):
            BiRefNet.from_pretrained(tmp_path)


@pytest.mark.parametrize("fused", [False, True])
def test_autocast_and_an_empty_batch_change_nothing(tiny: BiRefNet, fused: bool) -> None:
    model = copy.deepcopy(tiny).fuse() if fused else tiny
    x = picture(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x).logits
    assert torch.equal(logits, model(x).logits)
    assert model(x[:0]).logits.shape == (0, 1, 64, 64)


def test_missing_unknown_and_unfit_keys_are_named(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    del weights["decoder.lateral_block3.conv.bias"]
    weights["classifier.weight"] = torch.zeros(3)
    weights["bb.norm2.bias"] = torch.zeros(5)
    weights["bb.norm3.bias"] = torch.zeros(256, dtype=torch.int64)
    write_checkpoint(tmp_path, weights)
    message = (
        r"model\.safetensors does not hold the weights of BiRefNet: "
        r"1 missing: decoder\.lateral_block3\.conv\.bias; 1 unknown: classifier\.weight; "
        r"2 unfit: bb\.norm2\.bias \(float \[5\], not float \[128\]\), "
        r"bb\.norm3\.bias \(integer \[256\], not float \[256\]\)$"
    )
    with pytest.raises(ValueError, match=message):
        BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2")


def test_every_single_missing_key_is_an_error(weights: dict[str, Tensor]) -> None:
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    with torch.device("meta"):
        due = BiRefNet(BiRefNetConfig.from_shapes(shapes, "rmbg2")).state_dict().keys()
    telling = {"bb.patch_embed.proj.weight"}
    telling |= {f"bb.layers.{i}.blocks.0.attn.relative_position_bias_table" for i in range(4)}
    for name in weights:
        rest = {other: shape for other, shape in shapes.items() if other != name}
        if name in telling:
            with pytest.raises(ValueError, match=rf"{re.escape(name)} is missing"):
                BiRefNetConfig.from_shapes(rest, "rmbg2")
        else:
            config = BiRefNetConfig.from_shapes(rest, "rmbg2")
            assert (config.embed_dim, config.depths) == (32, [1, 2, 1, 1])
            assert due - rest.keys() == {name}


def test_other_networks_weights_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"conv.weight": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match=r"not the weights of a BiRefNet: .* is missing"):
        BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2")
    with pytest.raises(ValueError, match="does not hold the weights of ISNet: 798 missing: "):
        ISNet.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bb.layers.0.blocks.0.attn.relative_position_bias_table", (49,)),
        ("bb.layers.1.blocks.0.attn.relative_position_bias_table", (49, 0)),
        ("bb.patch_embed.proj.weight", ()),
    ],
)
def test_shapes_that_show_no_backbone_are_named(name: str, shape: tuple[int, ...]) -> None:
    published = {key: value for key, (value, _) in published_keys("swin_t").items()}
    with pytest.raises(ValueError, match=re.escape(f"{name} is {list(shape)}")):
        BiRefNetConfig.from_shapes({**published, name: shape}, "rmbg2")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no whole safetensors file, with 0 bytes"),
        (b"<!doctype html>" * 9, "no whole safetensors file, with 135 bytes"),
        (None, "no whole safetensors file, with 1,000,000 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "pointer of Git LFS"),
    ],
)
def test_a_damaged_file_is_named(
    folder: Path, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: 10**6] if content is None else content)
    for load in (lambda: BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2"),
                 lambda: ISNet.from_pretrained(tmp_path)):  # fmt: skip
        with pytest.raises(ValueError, match=expected) as refused:
            load()
        assert str(tmp_path / "model.safetensors") in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_folder_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors"):
        BiRefNet.from_pretrained(tmp_path, patch_order="rmbg2")
    for options in ({}, {"patch_order": "rmbg2"}):
        with pytest.raises(FileNotFoundError, match=r"there is no folder .*/typo"):
            BiRefNet.from_pretrained(tmp_path / "typo", **options)


@pytest.mark.parametrize("size", [(64, 80), (100, 64), (0, 64)])
def test_sizes_that_do_not_fit_are_refused(tiny: BiRefNet, size: tuple[int, int]) -> None:
    high, wide = size
    message = f"is {high} high and {wide} wide; both must be multiples of 32"
    with pytest.raises(ValueError, match=message):
        tiny(torch.zeros(1, 3, high, wide))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (1, 64, 64, 3)])
def test_shapes_that_do_not_fit_are_refused(tiny: BiRefNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"it must be \(batch, 3, height, width\)"):
        tiny(torch.zeros(shape))


def test_a_fused_model_cannot_be_saved(folder: Path, tmp_path: Path) -> None:
    model = BiRefNet.from_pretrained(folder, patch_order="rmbg2").fuse()
    with pytest.raises(RuntimeError, match=r"save it before fuse\(\)"):
        model.save_pretrained(tmp_path)


def test_fusing_twice_changes_nothing(folder: Path) -> None:
    x = picture(2, 3, 64, 32)
    model = BiRefNet.from_pretrained(folder, patch_order="rmbg2")
    before = model(x).logits
    fused = model.fuse()(x).logits
    torch.testing.assert_close(fused, before, atol=1e-5, rtol=0)
    assert torch.equal(model.fuse()(x).logits, fused)


def test_the_fused_model_is_one_graph_for_the_compiler(folder: Path) -> None:
    x = picture(1, 3, 64, 64)
    model = BiRefNet.from_pretrained(folder, patch_order="rmbg2").fuse()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x).logits, model(x).logits, atol=1e-5, rtol=0)


def without_beam(script: str, *arguments: str) -> str:
    """Runs a script in a process that can import no apache_beam and open no connection."""
    blocked = """
import socket, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "apache_beam":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
def refuse(*_): raise AssertionError("went to the network")
socket.socket.connect = refuse
"""
    command = [sys.executable, "-c", blocked + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_models_need_neither_beam_nor_the_network(folder: Path) -> None:
    script = """
import torch
from alphabeam.transforms.engines.birefnet import BiRefNet
from alphabeam.transforms.engines.isnet import ISNet, ISNetConfig
model = BiRefNet.from_pretrained(sys.argv[1], patch_order="rmbg2").fuse()
x = torch.zeros(1, 3, 64, 64)
assert not {"timm", "kornia", "torchvision"} & sys.modules.keys()
print(tuple(model(x).logits.shape), tuple(ISNet(ISNetConfig())(x).logits.shape))
"""
    assert without_beam(script, str(folder)) == "(1, 1, 64, 64) (1, 1, 64, 64)\n"


def test_the_benchmark_needs_neither_beam_nor_the_network() -> None:
    script = "import runpy; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    small = ["--device", "cpu", "--threads", "1", "--size", "64", "--backbone", "t"]
    printed = without_beam(script, str(BENCHMARK), *small, "--rounds", "1")
    assert re.search(r"swin-t  fp32  eager +batch  1 +[\d.]+ ms/picture +[\d.]+ images/s", printed)
    assert re.search(
        r"eager takes [\d.]+ \(.*\) of plain's time, [\d.]+ \(.*\) of its core sec", printed
    )


def test_a_saved_configuration_holds_what_the_model_is(tiny: BiRefNet, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "alphabeam_birefnet"
    assert (written["embed_dim"], written["patch_order"]) == (32, "birefnet")
