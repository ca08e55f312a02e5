"""Checkpoints of the parity kit as folders on disk, and what its reference outputs say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from kit import check, weights_rule
from safetensors.torch import save_file
from torch import Tensor, nn

KIT = Path(__file__).parent / "kit"

HUB_CONFIG = {
    "_name_or_path": "ZhengPeng7/BiRefNet",
    "architectures": ["BiRefNet"],
    "auto_map": {
        "AutoConfig": "BiRefNet_config.BiRefNetConfig",
        "AutoModelForImageSegmentation": "birefnet.BiRefNet",
    },
    "bb_pretrained": False,
    "model_type": "SegformerForSemanticSegmentation",
    "torch_dtype": "float32",
    "transformers_version": "4.42.4",
}
"""As published checkpoints carry it: it points to remote code and names no backbone."""


def published_keys(network: str) -> dict[str, list]:
    """Gives name → [shape, dtype] of `swin_t`, `swin_l` or `isnet`."""
    return json.loads((KIT / f"keys_{network}.json").read_text())


def kit_weights(network: str) -> dict[str, Tensor]:
    """Makes the kit's weights for `swin_t`, `swin_l` or `isnet`."""
    arrays = weights_rule.state_dict(published_keys(network))
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def write_checkpoint(folder: Path, weights: Mapping[str, Tensor]) -> Path:
    """Writes `config.json` and `model.safetensors` as a hub repository holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(HUB_CONFIG))
    save_file(dict(weights), folder / "model.safetensors")
    return folder


def cases(prefix: str) -> list[Path]:
    """Lists the reference outputs whose names begin so."""
    return sorted(KIT.glob(f"{prefix}_*x*x*.npz"))


def case_input(case: Path) -> Tensor:
    """Makes the picture that a reference output was computed from, (B, 3, H, W)."""
    batch, height, width = map(int, case.stem.split("_")[-1].split("x"))
    return torch.from_numpy(weights_rule.image(batch, height, width))


def differences(case: Path, got: Mapping[str, Tensor]) -> list[tuple]:
    """Lists what is further from the reference than the kit allows: (name, error, limit, False)."""
    arrays = {name: tensor.float().numpy() for name, tensor in got.items()}
    return [row for row in check.compare(case, arrays) if not row[3]]


def record(model: nn.Module, names: Mapping[str, str], image: Tensor) -> dict[str, list[Tensor]]:
    """Runs a model and keeps what some of its modules return.

    Args:
      model: called with the image.
      names: module path to the name its outputs get; a path that ends in `<` keeps the input.
      image: the model's input.

    Returns:
      Name to the outputs of each call, in order; `logits` is the model's own.
    """
    kept: dict[str, list[Tensor]] = {name: [] for name in names.values()}
    hooks = []
    for path, name in names.items():
        module = model.get_submodule(path.rstrip("<"))
        if path.endswith("<"):
            hooks.append(
                module.register_forward_hook(lambda _m, i, _o, n=name: kept[n].append(i[0]))
            )
        else:
            hooks.append(module.register_forward_hook(lambda _m, _i, o, n=name: kept[n].append(o)))
    kept["logits"] = [model(image).logits]
    for hook in hooks:
        hook.remove()
    return kept
