"""Checkpoints for tests: small networks with random weights, and the kit's with published names."""

from __future__ import annotations

import json
import os
import sys

import torch
from safetensors.torch import save_file

from alphabeam.transforms.engines.birefnet import BiRefNet, BiRefNetConfig

sys.path.append(os.path.join(os.path.dirname(__file__), "kit"))
import weights_rule

KIT = os.path.join(os.path.dirname(__file__), "kit")


def tiny_birefnet(patch_order: str = "birefnet") -> BiRefNet:
    """Builds a BiRefNet of 11 million parameters whose mattes differ from picture to picture."""
    torch.manual_seed(7)
    model = BiRefNet(
        BiRefNetConfig(
            embed_dim=16,
            depths=(1, 1, 2, 1),
            num_heads=(1, 1, 2, 2),
            window=4,
            patch_order=patch_order,
        )
    )
    last = model.decoder.conv_out1[0]
    last.weight.data *= 30
    return model


def save_tiny_birefnet(folder: str, patch_order: str = "birefnet") -> str:
    """Saves that network as transformers does; gives the folder."""
    tiny_birefnet(patch_order).save_pretrained(folder)
    return folder


def save_kit_rmbg2(folder: str) -> str:
    """Writes a folder as RMBG-2.0's: its configuration, and all published names and shapes.

    The backbone is Swin-T, of which the kit has reference outputs, too.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(KIT, "keys_swin_t.json")) as file:
        keys = json.load(file)
    state = {name: torch.from_numpy(a) for name, a in weights_rule.state_dict(keys).items()}
    save_file(state, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["BiRefNet"],
        "auto_map": {
            "AutoConfig": "BiRefNet_config.BiRefNetConfig",
            "AutoModelForImageSegmentation": "birefnet.BiRefNet",
        },
        "bb_pretrained": False,
    }
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    return folder
