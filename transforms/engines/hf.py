"""Models that transformers runs itself, and, when it is asked for, code of a pinned revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .catalog import BUILT_IN
from .contract import EngineUnusable
from .hub import is_commit
from .model_files import ModelFiles, fetch_weights, is_folder, parse_object
from .preprocessing import IMAGENET, Preprocessing
from .torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import nn

_PROCESSOR = "preprocessor_config.json"
_OURS = {"BiRefNet": "rmbg-2.0 or birefnet", "BriaRMBG": "rmbg-1.4"}
"""Which engines run what published code calls so."""

_BICUBIC = 3  # in Pillow's numbering, which these files use


@dataclass(kw_only=True)
class HuggingFaceEngine(TorchEngine):
    """A segmentation or matting model of the Hugging Face hub.

    Attributes:
      subject_labels: classes of the model that make the subject, by name or number; None for all
        but the background.
      trust_remote_code: run code from the model's repository.
    """

    subject_labels: str | Sequence[str] | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trust_remote_code and not is_commit(self.revision):
            raise ValueError(
                f"--trust_remote_code runs what the repository holds, so it needs --revision with "
                f"the 40 digits of a commit you have read: given {self.revision}"
            )
        self._size = (0, 0)

    def settings(self) -> dict[str, Any]:
        """Gives the options that decide what the mattes are."""
        return {
            **super().settings(),
            "subject_labels": self._labels(),
            "trust_remote_code": self.trust_remote_code,
        }

    def files(self) -> ModelFiles:
        """Brings the model's files here."""
        # A folder whose code is to be run is pinned by word alone: there is nothing to look it up in.
        said = self.trust_remote_code and is_folder(self.model)
        revision = None if said else self.revision
        return fetch_weights(self.model, revision, ("config.json",), (_PROCESSOR,))

    def usual_size(self) -> tuple[int, int]:
        """Gives height and width of what the network sees."""
        return self._size

    def network(self, files: ModelFiles) -> nn.Module:
        """Loads the model, and learns from its files what it wants to see."""
        from .hf_networks import load_network

        config = self._read(files.folder / "config.json")
        remote = self._needs_own_code(config)
        processor = self._read(files.folder / _PROCESSOR)
        self.preprocessing = preprocessing_of(processor)
        self._size = self._size_of(processor, config)
        return load_network(
            self.model if files.commit and remote else str(files.folder),
            files.commit or None,
            architecture=config["architectures"][0],
            labels=self._labels(),
            flipped=bool(processor.get("do_flip_channel_order")),
            remote=remote,
        )

    def try_out(self, network: nn.Module) -> None:
        """Puts a grey picture through."""
        from .hf_networks import try_network

        try_network(network, self.model, self._size)

    def _read(self, path: Path) -> dict[str, Any]:
        return parse_object(self.model, path.name, path.read_bytes() if path.is_file() else b"{}")

    def _labels(self) -> list[str] | None:
        given = self.subject_labels
        parts = given.split(",") if isinstance(given, str) else given
        return None if parts is None else [str(part).strip() for part in parts]

    def _needs_own_code(self, config: Mapping[str, Any]) -> bool:
        """Tells whether a model needs code of its own.

        Raises:
          EngineUnusable: it does and may not run it, or it cannot be run at all.
        """
        from .hf_networks import is_native, refusal

        architectures = config.get("architectures") or []
        if not architectures:
            raise EngineUnusable(
                f"--model {self.model}: its config.json names no architecture of transformers"
            )
        if is_native(architectures[0]):
            trouble = refusal(architectures[0])
            if trouble:
                raise EngineUnusable(f"--model {self.model}: {trouble}")
            return False
        if self.trust_remote_code:
            return True
        native = next((entry.name for entry in BUILT_IN if entry.model == self.model), None)
        native = native or _OURS.get(architectures[0])
        instead = f"--engine {native} runs it without; " if native else ""
        raise EngineUnusable(
            f"--model {self.model}: {architectures[0]} is not part of transformers; {instead}"
            f"--trust_remote_code, with --revision and the 40 digits of a commit, runs the code of "
            f"its repository"
        )

    def _size_of(self, processor: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[int, int]:
        if self.resolution:
            return self.resolution, self.resolution
        for said in (processor.get("size"), config.get("image_size")):
            if isinstance(said, int):
                return said, said
            if isinstance(said, list) and len(said) == 2:
                return said[0], said[1]
            if isinstance(said, dict) and "height" in said and "width" in said:
                return said["height"], said["width"]
            if isinstance(said, dict) and "shortest_edge" in said:
                return said["shortest_edge"], said["shortest_edge"]
        raise EngineUnusable(f"--resolution is missing: {self.model} does not say what it wants")


def preprocessing_of(processor: Mapping[str, Any]) -> Preprocessing:
    """Reads an image processor's settings.

    A factor f that replaces 1/255 is put into mean and deviation: with c = 255 f,
    (c x - mean) / std = (x - mean / c) / (std / c).

    Args:
      processor: content of `preprocessor_config.json`.
    """
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if processor.get("do_normalize", True):
        mean = tuple(processor.get("image_mean") or IMAGENET.mean)
        std = tuple(processor.get("image_std") or IMAGENET.std)
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    c = 255 * factor
    return replace(
        IMAGENET,
        mean=tuple(value / c for value in mean),
        std=tuple(value / c for value in std),
        mode="bicubic" if processor.get("resample") == _BICUBIC else "bilinear",
    )
