"""The licence that is stated is that of the weights in use."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from photographs import write_manifest
from test_job import run
from tiny_models import save_tiny_birefnet

from alphabeam.pipeline.cards.readme import dataset_card
from alphabeam.transforms.engines.catalog import BUILT_IN
from alphabeam.transforms.engines.licences import licence_of

BRIA = next(entry.licence for entry in BUILT_IN if entry.name == "rmbg-2.0")


@pytest.mark.parametrize(
    ("engine", "model", "expected"),
    [
        ("birefnet", None, "MIT"),
        ("birefnet", "ZhengPeng7/BiRefNet", "MIT"),
        ("birefnet", "briaai/RMBG-2.0", BRIA),
        ("rmbg-2.0", "ZhengPeng7/BiRefNet_HR", "MIT"),
        ("birefnet", "me/tuned", "unknown, see me/tuned; that of ZhengPeng7/BiRefNet is MIT"),
        ("birefnet", "gs://b/m", "unknown, see gs://b/m; that of ZhengPeng7/BiRefNet is MIT"),
        ("onnx", "u2net.onnx", "the model's own, see u2net.onnx"),
        ("hf", "briaai/RMBG-2.0", BRIA),
        ("grabcut", None, "Apache-2.0"),
        ("package.module:Mine", "anything", ""),
        ("gone", None, ""),
    ],
)
def test_the_licence_follows_the_weights(engine: str, model: str | None, expected: str) -> None:
    assert licence_of(engine, {"model": model}) == expected


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\n# Mine\n", "mit, says its model card"),
        (
            "---\nlicense: other\nlicense_name: bria-rmbg-2.0\n---\n",
            "bria-rmbg-2.0, says its model card",
        ),
        ("# Mine\n---\nlicense: mit\n---\n", None),
        ("---\nlicense: [mit\n---\n", None),
        ("---\nlicense: [mit]\n---\n", None),
        ("---\nmit\n---\n", None),
        (b"---\nlicense: \xff\n---\n", None),
        (None, None),
    ],
)
def test_a_folder_states_its_licence_in_its_model_card(
    tmp_path, card: str | bytes | None, expected: str | None
) -> None:
    # What a tuned model was made from says nothing of its own licence: RMBG-2.0 says BiRefNet.
    (tmp_path / "config.json").write_text('{"_name_or_path": "ZhengPeng7/BiRefNet"}')
    if card is not None:
        (tmp_path / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    usual = f"unknown, see {tmp_path}; that of briaai/RMBG-2.0 is {BRIA}"
    assert licence_of("rmbg-2.0", {"model": str(tmp_path)}) == (expected or usual)


def test_a_datasets_cards_and_report_state_the_licence_of_its_weights(tmp_path) -> None:
    folder = save_tiny_birefnet(str(tmp_path / "tiny"))
    manifest = write_manifest(str(tmp_path / "pictures"), 1, 40)
    engine = ["--engine", "birefnet", "--model", folder, "--resolution", "32"]
    assert run(manifest, tmp_path / "out", engine=engine) == 0
    told = f"unknown, see {folder}; that of ZhengPeng7/BiRefNet is MIT"
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| licence of the model | {told} |" in card
    assert "license_name: source-pictures-and-model\n" in card
    assert told in json.loads((tmp_path / "out" / "croissant.json").read_text())["license"]
    assert told in (tmp_path / "out" / "report.html").read_text()

    values = json.loads((tmp_path / "out" / "dataset.json").read_text())
    values["settings"]["engine_options"]["birefnet"]["model"] = "briaai/RMBG-2.0"
    assert "license_name: source-pictures-and-cc-by-nc-4.0\n" in dataset_card(
        values, pa.schema([]), pa.schema([]), [], []
    )
