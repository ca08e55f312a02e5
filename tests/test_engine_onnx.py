"""ONNX files as engines: exports of our networks, and what the flags make of others."""

import os

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from packaging.version import Version
from photographs import photograph, write_manifest
from PIL import Image
from test_job import rows_of, run
from tiny_models import save_tiny_birefnet, tiny_birefnet

from alphabeam.pipeline.verify import verify
from alphabeam.transforms.engines import registry
from alphabeam.transforms.engines.birefnet_onnx import export_onnx
from alphabeam.transforms.engines.contract import EngineUnusable
from alphabeam.transforms.engines.isnet import ISNet, ISNetConfig
from alphabeam.transforms.engines.loaded import LoadedEngine
from alphabeam.transforms.engines.preprocessing import IMAGENET


def engine(model, **options):
    return registry.create("onnx", {"model": str(model), "device": "cpu", **options})


def loaded(model, **options):
    return LoadedEngine(engine(model, **options), "onnx")


def write_graph(
    path, nodes, outputs, batch="n", side=32, kind=TensorProto.FLOAT, shape=None, gives=None
):
    """Writes a small graph over one picture input, `x`; `k` is 255."""
    taken = helper.make_tensor_value_info("x", kind, shape or [batch, 3, side, side])
    given = [helper.make_tensor_value_info(name, gives or kind, None) for name in outputs]
    constant = onnx.numpy_helper.from_array(np.array(255, np.float32), "k")
    graph = helper.make_graph(nodes, "graph", [taken], given, [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def mean_over_colours(name, given="x"):
    return helper.make_node("ReduceMean", [given], [name], axes=[1], keepdims=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    if Version(onnxruntime.__version__) < Version("1.25"):
        pytest.skip(f"onnxruntime {onnxruntime.__version__} has no deformable convolution")
    path = tmp_path_factory.mktemp("onnx") / "birefnet.onnx"
    export_onnx(tiny_birefnet(), path, (96, 96))
    return str(path)


def test_an_exported_birefnet_gives_the_mattes_of_the_original(exported, tmp_path):
    options = {"model": save_tiny_birefnet(str(tmp_path / "tiny")), "resolution": 96}
    original = LoadedEngine(registry.create("birefnet", {**options, "device": "cpu"}), "birefnet")
    pictures = [photograph(name) for name in ("chelsea", "astronaut")]
    ours = loaded(exported).predict(pictures)
    for one, other in zip(ours, original.predict(pictures), strict=True):
        # The original's levels are rounded, and Pillow's resize may differ by a level from torch's.
        assert np.abs(one.alpha - other.alpha / 255.0).mean() < 4e-3
        assert one.confidence == pytest.approx(other.confidence, abs=2e-3)


def test_an_exported_birefnet_computes_the_same_logits(exported):
    model = tiny_birefnet()
    torch.manual_seed(2)
    x = torch.randn(1, 3, 96, 96)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"pixel_values": x.numpy()})
    difference = torch.from_numpy(logits).sigmoid() - model(x).logits.sigmoid()
    assert difference.abs().max() < 1e-3


def test_a_fused_network_is_not_exported(tmp_path):
    with pytest.raises(ValueError, match="export it before fuse"):
        export_onnx(tiny_birefnet().fuse(), tmp_path / "x.onnx", (64, 64))


def test_an_exported_birefnet_runs_through_the_whole_job(exported, tmp_path):
    manifest = write_manifest(str(tmp_path), 3, 96)
    flags = ["--engine", "onnx", "--model", exported, "--no_report"]
    assert run(manifest, tmp_path / "out", engine=flags) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    rows = rows_of(tmp_path / "out")
    assert len({row["coverage"] for row in rows}) == 3
    assert {(row["engine"], row["dtype"], row["device"]) for row in rows} == {
        ("onnx", "float32", "cpu")
    }
    assert all(row["revision"].startswith("sha256:") for row in rows)


@pytest.mark.filterwarnings("ignore")
def test_an_exported_isnet_gives_the_mattes_of_the_original(tmp_path):
    torch.manual_seed(4)
    model = ISNet(ISNetConfig())
    model.save_pretrained(tmp_path / "isnet")
    path = tmp_path / "isnet.onnx"
    x = torch.zeros(1, 3, 64, 64)
    names = {"input_names": ["x"], "output_names": ["logits"]}
    torch.onnx.export(model, (x,), path, dynamo=False, **names)  # a third of the newer one's time
    flags = {"onnx_mean": "0.5,0.5,0.5", "onnx_std": "1,1,1", "onnx_activation": "sigmoid"}
    options = {"model": str(tmp_path / "isnet"), "resolution": 64, "device": "cpu"}
    original = LoadedEngine(registry.create("rmbg-1.4", options), "rmbg-1.4")
    picture = np.asarray(Image.fromarray(photograph("coffee")).resize((64, 64)))
    (one,), (other,) = loaded(path, **flags).predict([picture]), original.predict([picture])
    assert np.abs(one.alpha - other.alpha / 255.0).max() < 3e-3
    assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_mean_deviation_and_scale_are_applied(tmp_path):
    path = write_graph(tmp_path / "mean.onnx", [mean_over_colours("y")], ["y"])
    picture = np.full((20, 30, 3), (50, 100, 150), np.uint8)
    flags = {"onnx_mean": "0.1,0.2,0.3", "onnx_std": "1,2,4", "onnx_activation": "none"}
    (matte,) = loaded(path, **flags).predict([picture])
    colour = np.array([50, 100, 150])
    assert np.allclose(matte.alpha, np.mean((colour / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4]))
    flags = {"onnx_mean": [0, 0, 0], "onnx_std": [1, 1, 1], "onnx_activation": "none"}
    (matte,) = loaded(path, onnx_scale="max", **flags).predict([picture])  # as U²-Net wants it
    assert np.allclose(matte.alpha, np.mean(colour / 150))


def test_logits_are_told_from_probabilities_by_trying(tmp_path):
    sigmoid = helper.make_node("Sigmoid", ["y"], ["z"])
    both = write_graph(tmp_path / "both.onnx", [mean_over_colours("y"), sigmoid], ["y", "z"])
    grey = np.full((8, 8, 3), 100, np.uint8)
    (logits,) = loaded(both, onnx_output="y").predict([grey])
    (probabilities,) = loaded(both, onnx_output=-1).predict([grey])
    assert np.allclose(logits.alpha, probabilities.alpha, atol=1e-6)
    assert logits.confidence == pytest.approx(probabilities.confidence, abs=1e-6)
    (error,) = loaded(both, onnx_activation="none").predict([grey // 2])
    assert "--onnx_activation sigmoid" in error.message


def test_levels_of_8_bits_are_no_logits(tmp_path):
    nodes = [
        mean_over_colours("y"),
        helper.make_node("Sigmoid", ["y"], ["z"]),
        helper.make_node("Mul", ["z", "k"], ["l"]),
        helper.make_node("Cast", ["l"], ["m"], to=TensorProto.UINT8),
    ]
    path = write_graph(tmp_path / "levels.onnx", nodes, ["m"], gives=TensorProto.UINT8)
    (matte,) = loaded(path).predict([np.full((8, 8, 3), 200, np.uint8)])
    mean = np.mean((200 / 255 - np.array(IMAGENET.mean)) / IMAGENET.std)
    assert np.allclose(matte.alpha, np.floor(255 / (1 + np.exp(-mean))) / 255)


def test_an_overflow_does_not_pass_for_certainty(tmp_path):
    nodes = [mean_over_colours("y"), helper.make_node("Div", ["y", "o"], ["z"])]
    nodes.insert(1, helper.make_node("Sub", ["y", "y"], ["o"]))
    path = write_graph(tmp_path / "infinite.onnx", nodes, ["z"])
    (error,) = loaded(path, onnx_activation="sigmoid").predict([np.full((8, 8, 3), 9, np.uint8)])
    assert error.kind == "not_finite"


def test_16_bit_files_and_fixed_batches_are_fed_what_they_take(tmp_path):
    sigmoid = helper.make_node("Sigmoid", ["y"], ["z"])
    path = write_graph(
        tmp_path / "half.onnx", [mean_over_colours("y"), sigmoid], ["z"],
        batch=2, kind=TensorProto.FLOAT16,
    )  # fmt: skip
    made = loaded(path)
    assert (made.batch_size, made.info.dtype) == (2, "float16")
    levels = (40, 120, 200)
    mattes = made.predict([np.full((8, 8, 3), level, np.uint8) for level in levels])
    means = [np.mean((level / 255 - np.array(IMAGENET.mean)) / IMAGENET.std) for level in levels]
    for matte, mean in zip(mattes, means, strict=True):
        assert np.allclose(matte.alpha, 1 / (1 + np.exp(-mean)), atol=2e-3)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
@pytest.mark.parametrize("last", [False, True])
def test_colours_last_and_8_bit_pixels_are_fed_as_the_file_takes_them(tmp_path, kind, last):
    axis = 3 if last else 1
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[axis], keepdims=1),
        helper.make_node("Div", ["m", "k"], ["y"]),
    ]
    shape = ["n", 24, 32, 3] if last else ["n", 3, 24, 32]
    path = write_graph(
        tmp_path / "m.onnx", nodes, ["y"], kind=kind, shape=shape, gives=TensorProto.FLOAT
    )
    plain = {"onnx_mean": "0,0,0", "onnx_std": "1,1,1", "onnx_scale": "1"}
    made = loaded(path, **({} if kind == TensorProto.UINT8 else plain))
    (matte,) = made.predict([photograph("chelsea")])
    small = Image.fromarray(photograph("chelsea")).resize((32, 24), Image.Resampling.BILINEAR)
    assert np.allclose(matte.alpha, np.asarray(small).mean(2) / 255, atol=1e-6)
    assert made.info.dtype == ("uint8" if kind == TensorProto.UINT8 else "float32")


def test_a_file_that_normalises_by_itself_takes_no_mean(tmp_path):
    cast = helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)
    kinds = {"kind": TensorProto.UINT8, "gives": TensorProto.FLOAT}
    path = write_graph(tmp_path / "m.onnx", [cast, mean_over_colours("y", "f")], ["y"], **kinds)
    with pytest.raises(EngineUnusable, match="normalises them itself, so that --onnx_mean"):
        registry.check("onnx", engine(path, onnx_scale="max"))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("count", "labels", "chosen"), [(2, None, [1]), (3, "2", [2]), (3, [0, 2], [0, 2])]
)
def test_classes_make_the_subject(tmp_path, count, labels, chosen, last):
    gains = np.arange(1, count + 1, dtype=np.float32).reshape(1, count, 1, 1)
    nodes = [
        helper.make_node("Constant", [], ["g"], value=onnx.numpy_helper.from_array(gains)),
        mean_over_colours("m"),
        helper.make_node("Mul", ["m", "g"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"], axis=1),
    ]
    way = {"perm": [0, 2, 3, 1] if last else [0, 1, 2, 3]}
    nodes += [helper.make_node("Transpose", [one], [one + "t"], **way) for one in "ab"]
    turn = helper.make_node("Transpose", ["x"], ["x1"], perm=[0, 3, 1, 2])
    if last:
        nodes[1] = mean_over_colours("m", "x1")
        nodes.insert(0, turn)
    shape = ["n", 16, 16, 3] if last else ["n", 3, 16, 16]
    path = write_graph(tmp_path / "classes.onnx", nodes, ["at", "bt"], shape=shape)
    grey = np.full((20, 20, 3), 180, np.uint8)
    mean = np.mean((180 / 255 - np.array(IMAGENET.mean)) / IMAGENET.std)
    powers = np.exp(mean * np.arange(1, count + 1))
    for output in (0, 1):
        (matte,) = loaded(path, subject_labels=labels, onnx_output=output).predict([grey])
        assert matte.alpha.shape == (16, 16)
        assert np.allclose(matte.alpha, powers[chosen].sum() / powers.sum(), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "output has 3 channels; a mask has one, .*--subject_labels 1,2"),
        ({"subject_labels": "3"}, "--subject_labels 3: .* the classes from 0 to 2"),
        ({"subject_labels": "-1"}, "--subject_labels -1: .* the classes from 0 to 2"),
        ({"onnx_activation": "sigmoid"}, "with 3 channels the output can have softmax, none"),
    ],
)
def test_classes_that_do_not_say_what_the_subject_is_are_found_before_a_run(
    tmp_path, options, expected
):
    copy = helper.make_node("Identity", ["x"], ["y"])
    path = write_graph(tmp_path / "copy.onnx", [copy], ["y"])
    with pytest.raises(EngineUnusable, match=expected) as refused:
        registry.check("onnx", engine(path, **options))
    assert "\n" not in str(refused.value)


def test_external_weights_of_a_remote_file_come_along(tmp_path, monkeypatch):
    import fsspec

    monkeypatch.setenv("ALPHABEAM_CACHE", str(tmp_path / "cache"))
    gain = onnx.numpy_helper.from_array(np.full(4096, 0.5, np.float32), "gain")
    nodes = [
        mean_over_colours("y"),
        helper.make_node("ReduceMean", ["gain"], ["g"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["y", "g"], ["z"]),
    ]
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
    given = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [taken], [given], [gain])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data",
        size_threshold=0,
    )  # fmt: skip
    store = fsspec.filesystem("memory")
    for name in ("m.onnx", "m.onnx.data"):
        store.pipe_file(f"/onnx-models/{name}", (tmp_path / name).read_bytes())
    flags = {"onnx_mean": "0,0,0", "onnx_std": "1,1,1"}
    (matte,) = loaded("memory://onnx-models/m.onnx", **flags).predict(
        [np.full((9, 9, 3), 102, np.uint8)]
    )
    assert np.allclose(matte.alpha, 0.2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"onnx_mean": "1,2"}, "it is three numbers"),
        ({"onnx_std": "1,0,1"}, "none of the three can be 0"),
        ({"onnx_mean": "nan,0,0"}, "none of the three can be infinite or no number"),
        ({"onnx_scale": "-3"}, "it is max or a number above 0"),
        ({"onnx_scale": "nan"}, "it is max or a number above 0"),
        ({"onnx_scale": "inf"}, "it is max or a number above 0"),
        ({"onnx_activation": "tanh"}, "it can be auto, sigmoid, softmax, none"),
        ({"subject_labels": "cat"}, "so these are numbers, as in 1,2"),
        ({"resolution": 0}, "1 pixel and more"),
        ({"dtype": "float16"}, "has no such option"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(tmp_path, options, expected):
    with pytest.raises(EngineUnusable, match=expected):
        engine(tmp_path / "any.onnx", **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": 64}, "is made for 32 pixels"),
        ({"batch_size": 3}, "the file is made for 1"),
        ({"onnx_output": "mask"}, "the file has y"),
        ({"onnx_output": 1}, "the file has y"),
        ({"device": "cuda"}, "install onnxruntime-gpu"),
        ({"device": "tpu"}, "it can be auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_what_a_file_cannot_do_is_found_before_a_run(tmp_path, options, expected):
    path = write_graph(tmp_path / "mean.onnx", [mean_over_colours("y")], ["y"], batch=1)
    with pytest.raises(EngineUnusable, match=expected):
        registry.check("onnx", engine(path, **options))


def test_an_output_that_is_no_mask_is_found_before_a_run(tmp_path):
    copy = helper.make_node("Identity", ["x"], ["y"])
    flat = helper.make_node("Flatten", ["x"], ["y"])
    classes = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=1)
    odd = helper.make_node(
        "Reshape", ["x", "shape"], ["y"]
    )  # which 3 * 32 * 32 numbers do not fill
    seven = helper.make_node("Constant", [], ["shape"], value_ints=[7, -1])
    for nodes, gives, expected in (
        ([copy], TensorProto.FLOAT, "has 3 channels; a mask has one"),
        ([flat], TensorProto.FLOAT, r"shape \(1, 3072\); a mask has"),
        ([classes], TensorProto.INT64, r"y is tensor\(int64\); a mask is of floats"),
        ([seven, odd], TensorProto.FLOAT, "takes no picture of 32×32 pixels: "),
    ):
        path = write_graph(tmp_path / "other.onnx", nodes, ["y"], gives=gives)
        with pytest.raises(EngineUnusable, match=expected) as refused:
            registry.check("onnx", engine(path, onnx_activation="none"))
        assert "\n" not in str(refused.value)


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no graph")
    free = write_graph(tmp_path / "free.onnx", [mean_over_colours("y")], ["y"], side="s")
    grey = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [grey], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "grey.onnx")
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("LRN", ["wide"], ["normal"], size=3),
        helper.make_node("Cast", ["normal"], ["y"], to=TensorProto.FLOAT),
    ]
    unknown = write_graph(tmp_path / "unknown.onnx", nodes, ["y"])
    copy = helper.make_node("Identity", ["x"], ["y"])
    whole = write_graph(tmp_path / "whole.onnx", [copy], ["y"], kind=TensorProto.INT32)
    for path, expected in (
        (tmp_path / "gone.onnx", "there is no such file"),
        (tmp_path / "text.onnx", "no usable ONNX file"),
        (free, "--resolution is missing"),
        (unknown, f"for LRN.*onnxruntime here is {onnxruntime.__version__}"),
        (tmp_path / "grey.onnx", r"takes x tensor\(float\) \[1, 1, 8, 8\]; it must take one"),
        (
            whole,
            r"takes x tensor\(int32\).*one tensor of floats or uint8, of shape .batch, 3, heig",
        ),
    ):
        with pytest.raises(EngineUnusable, match=expected) as refused:
            registry.check("onnx", engine(path))
        assert os.linesep not in str(refused.value)
