"""Published weights: found on disk or on the hub, and loaded only if they fit exactly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.utils.hub import cached_file

WEIGHTS_NAME = "model.safetensors"

_PREFIXES = ("module.", "_orig_mod.")

_LFS_POINTER = b"version https://git-lfs"


def locate_weights(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """Finds `model.safetensors` in a folder or on the Hugging Face hub (cached there).

    Args:
      name_or_path: a folder, or a hub id such as `briaai/RMBG-2.0`.
      revision: branch, tag or commit of a hub repository.
      token: for gated repositories; None takes the one of `hf auth login` or `HF_TOKEN`.
      cache_dir: where downloads are kept; None for the hub's own folder.
      local_files_only: use what is cached and ask nothing of the network.

    Raises:
      FileNotFoundError: the folder holds no such file.
      OSError: the hub has no such repository, revision or file, refuses access, or is out of reach.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        if not (folder / WEIGHTS_NAME).is_file():
            raise FileNotFoundError(f"{folder} holds no {WEIGHTS_NAME}")
        return folder / WEIGHTS_NAME
    found = cached_file(
        str(name_or_path),
        WEIGHTS_NAME,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    if found is None:
        raise FileNotFoundError(f"{name_or_path} holds no {WEIGHTS_NAME}")
    return Path(found)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file, without the prefixes that wrappers leave on names.

    Raises:
      ValueError: the file is damaged, or two names are the same once the prefixes are gone.
    """
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} {_damage(path)}: {error}") from error
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        if name in state:
            raise ValueError(f"{path} holds {name} twice, with and without a wrapper's prefix")
        state[name] = tensor
    return state


def _damage(path: Path) -> str:
    """Says what a file is that is no safetensors file."""
    with open(path, "rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return "is a pointer of Git LFS in place of the weights (`git lfs pull` brings them)"
    return f"is no whole safetensors file, with {path.stat().st_size:,} bytes"


def load_exactly(model: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Puts weights into a model that may have none yet (the `meta` device), in float32.

    Args:
      model: gets copies, so that the file may change; is left in evaluation mode and without
        gradients.
      state: name to tensor; float16, bfloat16 and float32 are taken.
      source: where they came from, for the error.

    Raises:
      ValueError: a name is missing, unknown, or has another shape or kind of number.
    """
    due = model.state_dict()
    complaints = [
        _complaint("missing", sorted(due.keys() - state.keys())),
        _complaint("unknown", sorted(state.keys() - due.keys())),
        _complaint(
            "unfit",
            [
                f"{name} ({_describe(state[name])}, not {_describe(due[name])})"
                for name in due
                if name in state and _describe(state[name]) != _describe(due[name])
            ],
        ),
    ]
    if any(complaints):
        what = type(model).__name__
        raise ValueError(
            f"{source} does not hold the weights of {what}: {'; '.join(filter(None, complaints))}"
        )
    full = {
        name: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in state.items()
    }
    model.load_state_dict(full, assign=True)
    model.requires_grad_(False).eval()


def _describe(tensor: Tensor) -> str:
    """Names a tensor's shape and kind of number."""
    kind = "float" if tensor.is_floating_point() else "integer"
    return f"{kind} {list(tensor.shape)}"


def _complaint(what: str, names: list[str]) -> str:
    """Says how many names have this trouble, and the first few of them."""
    if not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} {what}: {', '.join(names[:5])}{more}"
