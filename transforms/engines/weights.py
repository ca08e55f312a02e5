"""Published weights: found on disk or on the hub, and loaded only if they fit exactly."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.utils.hub import cached_file

from .weight_files import INDEX, WEIGHTS, pieces_of

_PREFIXES = ("module.", "_orig_mod.")

_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a hub repository is got at; the names are those that transformers gives them.

    Attributes:
      revision: branch, tag or commit.
      token: for gated repositories; None takes the one of `hf auth login` or `HF_TOKEN`.
      cache_dir: where downloads are kept; None for the hub's own folder.
      local_files_only: use what is cached and ask nothing of the network.
      force_download: download anew what is cached.
      subfolder: of the repository or folder, which holds the files.
    """

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    force_download: bool = False
    subfolder: str = ""


def locate_file(name_or_path: str | os.PathLike[str], file: str, access: Access) -> Path:
    """Finds a file in a folder or on the Hugging Face hub (cached there).

    Args:
      name_or_path: a folder, or a hub id such as `briaai/RMBG-2.0`.
      file: its name there.
      access: to the hub.

    Raises:
      FileNotFoundError: there is no such folder, or it holds no such file.
      OSError: the hub has no such repository, revision or file, refuses access, or is out of reach.
    """
    if os.path.isdir(name_or_path):
        found = Path(name_or_path, access.subfolder, file)
        if not found.is_file():
            raise FileNotFoundError(f"{found.parent} holds no {file}")
        return found
    if str(name_or_path).startswith(("/", ".", "~")):  # as no hub id does
        raise FileNotFoundError(f"there is no folder {name_or_path}")
    cached = cached_file(str(name_or_path), file, **asdict(access))
    if cached is None:
        raise FileNotFoundError(f"{name_or_path} holds no {file}")
    return Path(cached)


def locate_weights(name_or_path: str | os.PathLike[str], access: Access) -> list[Path]:
    """Finds `model.safetensors`, or the pieces that its index names; as `locate_file` does.

    Raises:
      OSError: they cannot be had.
      ValueError: the index is none.
    """
    try:
        return [locate_file(name_or_path, WEIGHTS, access)]
    except OSError as missing:
        try:
            index = locate_file(name_or_path, INDEX, access).read_bytes()
        except OSError:
            raise missing from None
    return [locate_file(name_or_path, piece, access) for piece in pieces_of(index)]


def read_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Reads safetensors files, without the prefixes that wrappers leave on names.

    Raises:
      ValueError: a file is damaged, or two names are the same once the prefixes are gone.
    """
    state: dict[str, Tensor] = {}
    for path in paths:
        try:
            stored = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} {_damage(path)}: {error}") from error
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


def load_exactly(
    model: nn.Module,
    state: Mapping[str, Tensor],
    source: object,
    dtype: torch.dtype | None = torch.float32,
) -> None:
    """Puts weights into a model that may have none yet (the `meta` device).

    Args:
      model: gets copies, so that the file may change; is left in evaluation mode and without
        gradients.
      state: name to tensor; float16, bfloat16 and float32 are taken.
      source: where they came from, for the error.
      dtype: of the floating-point ones; None leaves each as it is stored.

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
        name: tensor.to(dtype if tensor.is_floating_point() else None, copy=True)
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
