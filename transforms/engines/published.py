"""Networks whose published weights are loaded exactly, under the names they were published with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from .devices import find_device
from .weights import Access, load_exactly, locate_weights, read_weights

Shapes = Mapping[str, Sequence[int]]
Model = TypeVar("Model", bound="PublishedModel")


class PublishedModel(PreTrainedModel):
    """A network, for inference.

    Parameters keep the published names until `fuse` replaces them.
    """

    base_model_prefix = ""
    main_input_name = "pixel_values"
    fused = False

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves every layer with PyTorch's own initialisation, made when it was built."""

    @classmethod
    def load_published(
        cls: type[Model],
        name_or_path: str | os.PathLike[str],
        access: Access,
        make_config: Callable[[Shapes], PretrainedConfig],
        dtype: torch.dtype | str | None,
        device_map: object,
    ) -> Model:
        """Builds the network that a checkpoint's shapes show, and loads it.

        Args:
          name_or_path: a folder with the weights, or a hub id.
          access: to the hub.
          make_config: gives the network's configuration for parameters' shapes by name.
          dtype: of the weights: one of PyTorch's, its name, `auto` for the file's own; None for
            float32. `torch_dtype` was its name in transformers.
          device_map: where the network goes, as a whole: a device, its name or CUDA number, `auto`
            for the best that is there; None for the CPU.

        Raises:
          ValueError: the names or shapes are not exactly those of the network, or the type or the
            device is none.
          OSError: the files cannot be had.
        """
        wanted = _dtype_of(dtype)
        device = _device_of(device_map)
        paths = locate_weights(name_or_path, access)
        state = read_weights(paths)
        with torch.device("meta"):
            model = cls(make_config({name: tensor.shape for name, tensor in state.items()}))
        load_exactly(model, state, paths[0] if len(paths) == 1 else paths[0].parent, wanted)
        return model.to(device)  # pyright: ignore[reportArgumentType]

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Saves as transformers does, under the published names.

        Raises:
          RuntimeError: `fuse` has replaced the published parameters.
        """
        if self.fused:
            what = type(self).__name__
            raise RuntimeError(f"a fused {what} has no published weights: save it before fuse()")
        super().save_pretrained(*args, **kwargs)


def _dtype_of(asked: torch.dtype | str | None) -> torch.dtype | None:
    """Reads a number type; None for the file's own."""
    if asked == "auto":
        return None
    if isinstance(asked, str):
        asked = getattr(torch, asked.removeprefix("torch."), asked)
    if asked is None:
        return torch.float32
    if not isinstance(asked, torch.dtype) or not asked.is_floating_point:
        raise ValueError(f"dtype is {asked!r}; it can be 'auto' or a floating-point torch.dtype")
    return asked


def _device_of(device_map: object) -> torch.device:
    """Reads where a whole network goes."""
    if isinstance(device_map, Mapping) and set(device_map) == {""}:
        device_map = device_map[""]
    if device_map is None:
        return torch.device("cpu")
    if device_map == "auto":
        return find_device("auto")
    if isinstance(device_map, (str, int, torch.device)):
        return torch.device(device_map)
    raise ValueError(
        f"device_map is {device_map!r}; the network goes to one device, such as 'cuda:0', or 'auto'"
    )
