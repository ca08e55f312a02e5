"""The engines of this package: what is known of each before it is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TORCH = ("torch", "transformers", "safetensors")
_BRIA = "non-commercial; commercial use needs an agreement with BRIA (https://bria.ai)"
_TO_1024 = "1024×1024, bilinear with antialias; ImageNet mean and deviation"


@dataclass(frozen=True)
class EngineEntry:
    """What is known of an engine before it is imported.

    Attributes:
      name: what `--engine` takes.
      target: `module:Class`; a module that starts with a dot is one of this package.
      summary: what it is for, one line.
      licence: of the model.
      modules: what must be importable for it to run.
      extra: the extra of this package that installs them.
      model: hub id of the weights it uses unless told otherwise.
      revision: of these weights, unless told otherwise: a branch, tag or commit of the hub.
      preprocessing: what the network is shown, in words.
      defaults: options that the name stands for.
      of_model: options that follow from `model` and hold for no other weights.
    """

    name: str
    target: str
    summary: str = ""
    licence: str = ""
    modules: tuple[str, ...] = ()
    extra: str = ""
    model: str = ""
    revision: str = ""
    preprocessing: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    of_model: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Says in one line why the engine cannot run here; None when it can."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if not absent:
            return None
        install = f": pip install 'alphabeam[{self.extra}]'" if self.extra else ""
        return f"needs {', '.join(absent)}{install}"

    def options(self) -> dict[str, Any]:
        """Gives the options the name stands for, with the weights it uses."""
        weights = {"model": self.model, "revision": self.revision} if self.model else {}
        return {**self.defaults, **weights, **self.of_model}


def _birefnet(
    name: str, model: str, summary: str, resolution: int = 1024, preprocessing: str = ""
) -> EngineEntry:
    return EngineEntry(
        name,
        ".birefnet_engine:BiRefNetEngine",
        summary,
        "MIT",
        _TORCH,
        "torch",
        model,
        "main",
        preprocessing or _TO_1024.replace("1024", str(resolution)),
        {"resolution": resolution},
        {"patch_order": "birefnet"},
    )


BUILT_IN = (
    EngineEntry(
        "grabcut",
        ".grabcut:GrabCut",
        "embedded, no weights: trying out, tests, products on plain ground",
        "Apache-2.0",
    ),
    EngineEntry(
        "rmbg-2.0",
        ".birefnet_engine:RMBG2Engine",
        "BRIA's RMBG-2.0: all kinds of pictures",
        f"CC BY-NC 4.0, {_BRIA}",
        _TORCH,
        "torch",
        "briaai/RMBG-2.0",
        "main",
        _TO_1024,
        {"resolution": 1024},
        {"patch_order": "rmbg2"},
    ),
    EngineEntry(
        "rmbg-1.4",
        ".isnet_engine:ISNetEngine",
        "BRIA's RMBG-1.4: IS-Net, smaller and older",
        f"BRIA's RMBG-1.4 licence, {_BRIA}",
        _TORCH,
        "torch",
        "briaai/RMBG-1.4",
        "main",
        "1024×1024, bilinear without antialias; mean 0.5, deviation 1",
        {"resolution": 1024},
    ),
    _birefnet("birefnet", "ZhengPeng7/BiRefNet", "BiRefNet for general use"),
    _birefnet("birefnet-lite", "ZhengPeng7/BiRefNet_lite", "BiRefNet with a small backbone"),
    _birefnet("birefnet-hr", "ZhengPeng7/BiRefNet_HR", "BiRefNet for large pictures", 2048),
    EngineEntry(
        "birefnet-dynamic",
        ".birefnet_engine:DynamicBiRefNetEngine",
        "BiRefNet at each picture's own size",
        "MIT",
        _TORCH,
        "torch",
        "ZhengPeng7/BiRefNet_dynamic",
        "main",
        "each side rounded down to a multiple of 32, the longer one to at most 2304, bicubic with "
        "antialias; ImageNet mean and deviation",
        {"resolution": 2304},
        {"patch_order": "birefnet"},
    ),
    _birefnet("birefnet-matting", "ZhengPeng7/BiRefNet-matting", "BiRefNet trained for matting"),
    _birefnet("birefnet-portrait", "ZhengPeng7/BiRefNet-portrait", "BiRefNet for portraits"),
    EngineEntry(
        "onnx",
        ".onnx:OnnxEngine",
        "any ONNX file of one picture in, one mask out: --model FILE --resolution N",
        "the model's own",
        ("onnxruntime",),
        "onnx",
        preprocessing="--resolution, --onnx_mean, --onnx_std and --onnx_scale say it",
    ),
    EngineEntry(
        "hf",
        ".hf:HuggingFaceEngine",
        "segmentation and matting models that transformers runs itself: --model ID|FOLDER",
        "the model's own",
        _TORCH,
        "torch",
        preprocessing="as the model's preprocessor_config.json says",
    ),
)
