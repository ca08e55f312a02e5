"""A model's files on this machine: from a folder, the Hugging Face hub or any fsspec URI."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .. import storage
from .contract import EngineUnusable
from .hub import DEFAULT_BRANCH, MissingFile, download
from .weight_files import INDEX, WEIGHTS, pieces_of

CACHE_VARIABLE = "ALPHABEAM_CACHE"
"""Environment variable: the folder for copies of remote weights (~/.cache/alphabeam)."""

_CHUNK = 1 << 24  # bytes
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")  # what PyTorch's own weights are called

Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelFiles:
    """Files that are here.

    Attributes:
      folder: holds them.
      commit: of the hub; empty for files from elsewhere.
    """

    folder: Path
    commit: str = ""

    def revision(self, *names: str) -> str:
        """Says which state of files this is: the commit, or `sha256:` and 16 digits."""
        if self.commit:
            return self.commit
        digest = hashlib.sha256()
        for name in names:
            with open(self.folder / name, "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        return f"sha256:{digest.hexdigest()[:16]}"


def fetch_weights(
    model: str, revision: str | None, names: Sequence[str] = (), optional: Sequence[str] = ()
) -> ModelFiles:
    """Brings a model's weights here, once a machine, in the one file or the pieces that they are in.

    Args:
      model, revision, optional: as in `fetch_files`.
      names: what else is needed.

    Raises:
      EngineUnusable: they cannot be had; the message says in one line what would do.
    """
    try:
        return fetch_files(model, revision, (WEIGHTS, *names), optional)
    except MissingFile as missing:
        try:
            index = fetch_files(model, revision, (INDEX,))
        except EngineUnusable:
            raise missing from None
    try:
        pieces = pieces_of((index.folder / INDEX).read_bytes())
    except ValueError as error:
        raise EngineUnusable(f"--model {model}: {error}") from error
    return fetch_files(model, index.commit or revision, (*pieces, INDEX, *names), optional)


def fetch_files(
    model: str, revision: str | None, names: Sequence[str], optional: Sequence[str] = ()
) -> ModelFiles:
    """Brings a model's files here, once a machine.

    Args:
      model: a folder, an fsspec URI of one, or a hub id such as `briaai/RMBG-2.0`.
      revision: branch, tag or commit of the hub; None for its default branch. A folder has none.
      names: what is needed, the weights first.
      optional: what is taken along where it is there.

    Raises:
      EngineUnusable: they cannot be had; the message says in one line what would do.
    """
    if not is_folder(model):
        if storage.is_local(model) and os.path.isfile(storage.local_path(model)):
            raise EngineUnusable(f"--model {model} is a file: give the folder of {names[0]}")
        return ModelFiles(*download(model, revision, names, optional))
    if revision not in (None, DEFAULT_BRANCH):
        raise EngineUnusable(
            f"--revision {revision}: {model} is a folder; revisions are of hub ids"
        )
    if not storage.is_local(model):
        return ModelFiles(_copied(model, names, optional))
    folder = Path(storage.local_path(model))
    for name in names:
        if not (folder / name).is_file():
            raise MissingFile(f"--model {model}: the folder holds no {name}{_instead(folder)}")
    return ModelFiles(folder)


def _instead(folder: Path) -> str:
    """Names weights that a folder holds in another form, and what would make them of use."""
    pieces = sorted(path.name for path in folder.glob("*-of-*.safetensors"))
    if pieces:
        return f", but {pieces[0]} and so on, of which there must be an index, {INDEX}"
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if not pickles:
        return ""
    return (
        f", but {pickles[0]}, and pickles are not opened: safetensors.torch.save_file(torch.load("
        f"{pickles[0]!r}, weights_only=True), 'model.safetensors') makes the file of it"
    )


def fetch_file(model: str) -> tuple[ModelFiles, str]:
    """Brings one file here, with the external data that ONNX files may keep beside them.

    Args:
      model: a path, or an fsspec URI such as `gs://bucket/u2net.onnx`.

    Returns:
      Where it is, and its name there.

    Raises:
      EngineUnusable: it cannot be had.
    """
    if not storage.is_local(model):
        name = storage.basename(model)
        beside = (f"{name}.data", f"{name}_data")
        return ModelFiles(_copied(storage.parent(model), (name,), beside)), name
    path = Path(storage.local_path(model))
    if not path.is_file():
        raise EngineUnusable(f"--model {model}: there is no such file")
    return ModelFiles(path.parent), path.name


def read_config(model: str, revision: str | None) -> dict[str, Any]:
    """Reads a model's `config.json`; empty where a folder has none.

    Raises:
      EngineUnusable: it cannot be had, or is no JSON object.
    """
    if is_folder(model):
        uri = storage.join(model, "config.json")
        data = _guarded(model, lambda: storage.read_bytes(uri) if storage.exists(uri) else b"{}")
    else:
        folder, _ = download(model, revision, ("config.json",))
        data = (folder / "config.json").read_bytes()
    return parse_object(model, "config.json", data)


def parse_object(model: str, name: str, data: bytes) -> dict[str, Any]:
    """Parses a file of a model that holds a JSON object.

    Raises:
      EngineUnusable: it holds something else.
    """
    try:
        content = json.loads(data)
    except ValueError as error:
        raise EngineUnusable(f"--model {model}: {name} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise EngineUnusable(f"--model {model}: {name} holds no JSON object")
    return content


def cache_folder() -> Path:
    """Gives the folder for copies of remote weights."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "alphabeam"


def is_folder(model: str) -> bool:
    """Tells folders and URIs from hub ids."""
    return not storage.is_local(model) or os.path.isdir(storage.local_path(model))


def _guarded(model: str, action: Callable[[], Result]) -> Result:
    """Runs an action on a store and puts its trouble into one line."""
    try:
        return action()
    except FileNotFoundError as error:
        raise MissingFile(f"--model {model}: there is no {error.args[-1]}") from error
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        trouble = f"--model {model} cannot be read: {type(error).__name__}: {told}"
        raise EngineUnusable(trouble) from error


def _copied(folder: str, names: Sequence[str], optional: Sequence[str]) -> Path:
    return _guarded(folder, lambda: _copy_once(folder, names, optional))


def _copy_once(folder: str, names: Sequence[str], optional: Sequence[str]) -> Path:
    """Copies files of a remote folder, unless this machine has them already in their present state.

    The copy is complete or not there: it is made beside its place and then moved, under a lock
    that all processes of the machine share.
    """
    from filelock import FileLock

    states = {}
    for name in (*names, *optional):
        fs, path = storage.resolve(storage.join(folder, name))
        if name in names or fs.exists(path):
            states[name] = f"{fs.unstrip_protocol(path)} {fs.info(path)['size']} {fs.ukey(path)}"
    key = hashlib.sha256("\n".join(states.values()).encode()).hexdigest()[:32]
    place = cache_folder() / "models" / key
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if place.is_dir():
            return place
        partial = place.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in states:
            with (
                storage.open_input(storage.join(folder, name)) as source,
                open(partial / name, "wb") as target,
            ):
                shutil.copyfileobj(source, target, _CHUNK)
        os.replace(partial, place)
    return place
