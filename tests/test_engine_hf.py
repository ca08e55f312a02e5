"""Models of transformers as engines: which run, what is read off them, which are refused."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph, write_manifest
from PIL import Image
from test_job import rows_of, run
from transformers import (
    EomtConfig,
    EomtForUniversalSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    ViTConfig,
    ViTForImageClassification,
)

from alphabeam.pipeline.verify import verify
from alphabeam.transforms.engines import registry
from alphabeam.transforms.engines.contract import EngineUnusable
from alphabeam.transforms.engines.hf import preprocessing_of
from alphabeam.transforms.engines.hf_networks import (
    Subject,
    read_queries,
    refusal,
    subject_classes,
)

PROCESSOR = {
    "size": {"height": 64, "width": 96},
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.25, 0.3],
    "resample": 2,
}
CLASSES = {0: "Background", 1: "cat", 2: "dog", 3: "grass"}


def segformer(labels):
    torch.manual_seed(3)
    model = SegformerForSemanticSegmentation(
        SegformerConfig(
            depths=[1] * 4,
            hidden_sizes=[8, 8, 16, 16],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=16,
            id2label=labels,
            label2id={name: number for number, name in labels.items()},
        )
    )
    model.decode_head.classifier.weight.data *= 3000  # so that pictures differ
    return model.eval()


def save(model, folder, processor=PROCESSOR):
    model.save_pretrained(folder)
    with open(os.path.join(folder, "preprocessor_config.json"), "w") as file:
        json.dump(processor, file)
    return str(folder)


def engine(folder, **options):
    made = registry.create("hf", {"model": folder, "device": "cpu", **options})
    made.load()
    return made


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save(segformer(CLASSES), tmp_path_factory.mktemp("segformer") / "model")


def class_probabilities(picture):
    """Runs the same model by hand, on what Pillow makes of the picture."""
    small = np.asarray(Image.fromarray(picture).resize((96, 64), Image.Resampling.BILINEAR))
    values = (small / 255 - PROCESSOR["image_mean"]) / PROCESSOR["image_std"]
    batch = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        return segformer(CLASSES)(batch).logits[0].softmax(0).numpy()


def test_a_segmentation_model_runs_through_the_whole_job(saved, tmp_path):
    manifest = write_manifest(str(tmp_path), 3, 96)
    flags = ["--engine", "hf", "--model", saved, "--no_report"]
    assert run(manifest, tmp_path / "out", engine=flags) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    rows = rows_of(tmp_path / "out")
    assert len({row["coverage"] for row in rows}) == 3
    assert {(row["engine"], row["dtype"], row["device"]) for row in rows} == {
        ("hf", "float32", "cpu")
    }


@pytest.mark.parametrize(
    ("labels", "classes"), [(None, [1, 2, 3]), ("cat, Dog", [1, 2]), (["3"], [3])]
)
def test_the_subject_is_all_but_the_background_or_what_is_named(saved, labels, classes):
    picture = photograph("coffee")
    (matte,) = engine(saved, subject_labels=labels).predict([picture])
    expected = class_probabilities(picture)[classes].sum(0)
    assert matte.alpha.shape == (16, 24)
    assert np.abs(matte.alpha / 255 - expected).max() < 0.006  # a level, and one of the resize
    assert matte.confidence == pytest.approx(np.abs(2 * expected - 1).mean(), abs=2e-3)


def test_classes_that_do_not_say_what_the_subject_is_are_refused():
    with pytest.raises(EngineUnusable, match="cow: the model has 4 classes: Background, cat"):
        subject_classes(CLASSES, ["cow"])
    with pytest.raises(EngineUnusable, match="--subject_labels is missing: the model has 3"):
        subject_classes({0: "sky", 1: "sea", 2: "sand"}, None)
    assert subject_classes({0: "LABEL_0", 1: "LABEL_1"}, None) == [1]
    assert subject_classes({0: "LABEL_0"}, None) == [0]


def test_queries_become_the_probability_that_one_of_them_covers_a_pixel(tmp_path):
    torch.manual_seed(5)
    model = EomtForUniversalSegmentation(
        EomtConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=64,
            patch_size=16,
            num_queries=6,
            num_blocks=1,
            num_upscale_blocks=1,
            id2label={0: "cat", 1: "background"},
            label2id={"cat": 0, "background": 1},
        )
    ).eval()
    processor = {**PROCESSOR, "size": {"shortest_edge": 64}}
    (matte,) = engine(save(model, tmp_path / "model", processor)).predict([photograph("rocket")])
    assert matte.alpha.shape == (8, 8)

    with torch.no_grad():
        output = model(torch.randn(2, 3, 64, 64))
    covered = read_queries(output, [0])
    chosen = output.class_queries_logits.softmax(-1)[..., 0]
    expected = 1 - (1 - chosen[..., None, None] * output.masks_queries_logits.sigmoid()).prod(1)
    assert torch.allclose(covered[:, 0], expected, atol=1e-6)


@pytest.mark.skipif(
    not hasattr(transformers, "Sapiens2ForImageMatting"), reason="transformers 5 has it"
)
def test_a_matting_model_gives_its_alpha(tmp_path):
    torch.manual_seed(6)
    config = transformers.Sapiens2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=16,
        num_labels=4,
        head_config={"upsample_out_channels": [8] * 4, "conv_out_channels": [8]},
    )
    model = transformers.Sapiens2ForImageMatting(config).eval()
    (matte,) = engine(save(model, tmp_path / "model")).predict([photograph("coffee")])
    small = Image.fromarray(photograph("coffee")).resize((96, 64), Image.Resampling.BILINEAR)
    values = (np.asarray(small) / 255 - PROCESSOR["image_mean"]) / PROCESSOR["image_std"]
    with torch.no_grad():
        batch = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]
        expected = model(batch).alphas[0, 0].numpy()
    assert matte.alpha.shape == (64, 96)
    assert np.abs(matte.alpha / 255 - expected).max() < 0.01


def test_a_first_picture_goes_through_where_the_model_runs_and_in_its_type(saved, monkeypatch):
    seen, forward = [], Subject.forward

    def noted(self, pixel_values):
        seen.append((tuple(pixel_values.shape), pixel_values.dtype))
        return forward(self, pixel_values)

    monkeypatch.setattr(Subject, "forward", noted)
    made = registry.create("hf", {"model": saved, "device": "cpu", "dtype": "bfloat16"})
    registry.check("hf", made)
    assert seen == [((1, 3, 64, 96), torch.float32)]
    made.load()
    assert seen[1:] == [((1, 3, 64, 96), torch.bfloat16)]


def test_what_16_bits_cannot_hold_is_no_reason_to_refuse_a_model(tmp_path):
    model = segformer(CLASSES)
    model.decode_head.classifier.weight.data[0] = 6e4  # the sums exceed float16, not float32
    folder = save(model, tmp_path / "model")
    (matte,) = engine(folder, dtype="float16").predict([photograph("coffee")])
    assert matte.alpha.max() == 0


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.lists(st.floats(0.1, 2), min_size=3, max_size=3),
    st.sampled_from([1 / 255, 1 / 127.5, 1.0]),
    st.booleans(),
    st.integers(0, 255),
)
def test_any_image_processor_is_one_mean_and_deviation(mean, std, factor, normalise, level):
    how = preprocessing_of(
        {
            "image_mean": mean,
            "image_std": std,
            "rescale_factor": factor,
            "do_normalize": normalise,
        }
    )
    rescaled = level * factor
    expected = (rescaled - np.array(mean)) / np.array(std) if normalise else [rescaled] * 3
    ours = (level / 255 - np.array(how.mean)) / np.array(how.std)
    assert np.allclose(ours, expected, atol=1e-9 * 255)


def test_weights_that_are_not_all_there_are_refused(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(os.path.join(saved, "model.safetensors"))
    state.pop("decode_head.classifier.weight")
    folder = tmp_path / "torn"
    save(segformer(CLASSES), folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineUnusable, match=r"no weights for 1 parameters.*classifier.weight"):
        engine(str(folder))


def changed(saved, folder, name, content):
    """Copies a saved model and changes a JSON file of it: some keys, or the whole text."""
    shutil.copytree(saved, folder)
    path = folder / name
    if isinstance(content, dict):
        content = json.dumps({**json.loads(path.read_text()), **content})
    path.write_text(content)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("config.json", "[]", {}, "config.json holds no JSON object"),
        ("config.json", "{", {}, "config.json is no JSON"),
        ("preprocessor_config.json", "[]", {}, "preprocessor_config.json holds no JSON object"),
        ("preprocessor_config.json", "{}", {}, "--resolution is missing"),
        ("config.json", {"architectures": ["BiRefNet"]}, {}, "--engine rmbg-2.0 or birefnet runs"),
        ("config.json", {"architectures": ["BriaRMBG"]}, {}, "--engine rmbg-1.4 runs it without"),
        ("config.json", {"architectures": None}, {}, "names no architecture"),
        (
            "config.json",
            {"decoder_hidden_size": 24},
            {},
            r"fit its config.json, such as decode_head.batch_norm.bias, which is \[16\] and not \[24",
        ),
        ("config.json", {}, {"resolution": 1}, "takes no picture of 1×1 pixels, which --resol"),
    ],
)
def test_what_a_folder_says_and_cannot_be_is_found_before_a_run(
    saved, tmp_path, capfd, name, content, options, expected
):
    folder = changed(saved, tmp_path / "model", name, content)
    with pytest.raises(EngineUnusable, match=expected) as refused:
        registry.check("hf", registry.create("hf", {"model": folder, **options}))
    assert "\n" not in str(refused.value)
    assert "".join(capfd.readouterr()) == ""


def test_a_network_that_gives_no_numbers_is_found_before_a_run(tmp_path):
    model = segformer(CLASSES)
    model.decode_head.classifier.bias.data[0] = torch.nan
    folder = save(model, tmp_path / "model")
    with pytest.raises(EngineUnusable, match="takes no picture of 96×64 pixels"):
        registry.check("hf", registry.create("hf", {"model": folder}))


def test_models_that_give_no_mask_by_themselves_are_refused(tmp_path):
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=32)
    folder = save(ViTForImageClassification(config), tmp_path / "vit")
    with pytest.raises(EngineUnusable, match="ViTForImageClassification gives no mask"):
        registry.check("hf", registry.create("hf", {"model": folder}))
    assert "wants a trimap" in refusal("VitMatteForImageMatting")
    assert refusal("SegformerForSemanticSegmentation") is None


REMOTE_CODE = """
import pathlib
import torch
from transformers import PretrainedConfig, PreTrainedModel

pathlib.Path(RAN).touch()

class GreyConfig(PretrainedConfig):
    model_type = "grey"

class Grey(PreTrainedModel):
    config_class = GreyConfig

    def __init__(self, config):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.ones(()))
        self.post_init()

    def forward(self, pixel_values):
        return [pixel_values[:, :1, ::4, ::4], self.gain * pixel_values.mean(1, keepdim=True)]
"""


@pytest.fixture
def with_code(tmp_path, monkeypatch):
    """A model folder with code of its own, and a cache of its own for what is run of it."""
    from safetensors.torch import save_file

    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder = tmp_path / "grey"
    folder.mkdir()
    (folder / "grey.py").write_text(REMOTE_CODE.replace("RAN", repr(str(folder / "ran"))))
    auto = {"AutoConfig": "grey.GreyConfig", "AutoModelForImageSegmentation": "grey.Grey"}
    config = {"architectures": ["Grey"], "auto_map": auto, "model_type": "grey"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_file({"gain": torch.tensor(2.0)}, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def test_code_of_the_repository_runs_only_when_it_is_trusted_and_pinned(with_code):
    check = {"model": with_code, "device": "cpu", "resolution": 32}
    with pytest.raises(EngineUnusable, match="Grey is not part of transformers; --trust_remote"):
        registry.check("hf", registry.create("hf", check))
    for revision in (None, "main", "0" * 39, "G" * 40):
        options = {**check, "trust_remote_code": True, "revision": revision}
        with pytest.raises(EngineUnusable, match="40 digits of a commit"):
            registry.create("hf", options)
    assert not os.path.exists(os.path.join(with_code, "ran"))
    made = engine(with_code, resolution=32, trust_remote_code=True, revision="0" * 40)
    assert os.path.exists(os.path.join(with_code, "ran"))
    grey = np.full((40, 40, 3), 102, np.uint8)  # 0.4: the mean of its red
    (matte,) = made.predict([grey])
    expected = 1 / (1 + np.exp(-2 * np.mean([0, -0.1 / 0.25, -0.2 / 0.3])))
    assert np.abs(matte.alpha - 255 * expected).max() <= 0.51


def test_a_published_model_with_code_names_the_engine_that_needs_none():
    made = registry.create("hf", {"model": "briaai/RMBG-2.0"})
    with pytest.raises(EngineUnusable, match=r"--engine rmbg-2.0 runs it without"):
        made._needs_own_code({"architectures": ["BiRefNet"]})
