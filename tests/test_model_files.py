"""A model's files: copied once a machine from any store, cached from the hub, or one line why not."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import huggingface_hub.constants
import pytest
from hub_server import COMMIT, FILES, PIECES, TOKEN, hub

from alphabeam.transforms.engines import registry
from alphabeam.transforms.engines.contract import EngineUnusable
from alphabeam.transforms.engines.hub import is_commit
from alphabeam.transforms.engines.model_files import (
    fetch_file,
    fetch_files,
    fetch_weights,
    read_config,
)

WEIGHTS = ("model.safetensors",)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABEAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path_factory):
    """A folder of a store in memory, with weights."""
    folder = f"/{tmp_path_factory.mktemp('store').name}"
    memory = fsspec.filesystem("memory")
    for name, data in FILES.items():
        memory.pipe_file(f"{folder}/{name}", data)
    return f"memory:/{folder}"


def kept(cache):
    return sorted(path.name for path in (cache / "models").iterdir() if path.is_dir())


def test_remote_weights_are_copied_once_and_found_again(store, cache):
    first = fetch_files(store, None, WEIGHTS, ("config.json", "absent.json"))
    assert {path.name for path in first.folder.iterdir()} == set(FILES)
    for name, data in FILES.items():
        assert (first.folder / name).read_bytes() == data
    inode = os.stat(first.folder / "model.safetensors").st_ino
    assert fetch_files(store, None, WEIGHTS, ("config.json", "absent.json")) == first
    assert os.stat(first.folder / "model.safetensors").st_ino == inode
    digest = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert first.revision("model.safetensors") == f"sha256:{digest[:16]}"


def test_changed_weights_are_copied_anew(store, cache):
    first = fetch_files(store, None, WEIGHTS)
    fsspec.filesystem("memory").pipe_file(f"{store.removeprefix('memory:/')}/{WEIGHTS[0]}", b"new")
    second = fetch_files(store, None, WEIGHTS)
    assert second.folder != first.folder
    assert (second.folder / WEIGHTS[0]).read_bytes() == b"new"
    assert len(kept(cache)) == 2


def test_a_copy_that_was_killed_half_way_is_made_anew(store, cache):
    (name,) = (fetch_files(store, None, WEIGHTS).folder.name,)
    place = cache / "models" / name
    os.replace(place, place.with_suffix(".partial"))
    (place.with_suffix(".partial") / WEIGHTS[0]).write_bytes(b"half")
    assert (fetch_files(store, None, WEIGHTS).folder / WEIGHTS[0]).read_bytes() == FILES[WEIGHTS[0]]
    assert kept(cache) == [name]


def test_two_processes_that_want_the_same_weights_copy_them_once(tmp_path, cache):
    root = tmp_path / "bucket"
    (root / "model").mkdir(parents=True)
    (root / "model" / "model.safetensors").write_bytes(os.urandom(30_000_000))
    (root / "model" / "config.json").write_text("{}")
    environment = {**os.environ, "COUNTED_ROOT": str(root)}
    script = Path(__file__).parent / "remote_weights.py"
    command = [sys.executable, str(script), "counted://model"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert answers[0] == answers[1]
    folder = Path(answers[0].split()[0])
    original = (root / "model" / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == original
    reads = Path(f"{root}.reads").read_text().split()
    assert sorted(reads) == ["model/config.json", "model/model.safetensors"]


def test_a_whole_engine_runs_from_a_remote_folder(tmp_path):
    from photographs import photograph
    from tiny_models import save_tiny_birefnet

    local = save_tiny_birefnet(str(tmp_path / "tiny"), "rmbg2")
    memory = fsspec.filesystem("memory")
    memory.put(local, "/tiny-birefnet", recursive=True)
    options = {"model": "memory://tiny-birefnet", "resolution": 32, "device": "cpu"}
    engine = registry.create("birefnet", options)
    assert registry.settings_of(engine, options)["patch_order"] == "rmbg2"
    registry.check("birefnet", engine)
    engine.load()
    (matte,) = engine.predict([photograph("coffee")])
    assert matte.alpha.shape == (32, 32)


def test_what_is_not_there_is_said_in_one_line(store, tmp_path):
    for model, expected in (
        (str(tmp_path), "holds no model.safetensors"),
        ("memory://nowhere/at-all", "there is no /nowhere/at-all/model.safetensors"),
        ("gs3://bucket/model", "Protocol not known"),
    ):
        with pytest.raises(EngineUnusable, match=expected) as refused:
            fetch_files(model, None, WEIGHTS)
        assert model in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(EngineUnusable, match="there is no such file"):
        fetch_file(str(tmp_path / "model.onnx"))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(EngineUnusable, match="no JSON object"):
        read_config(str(tmp_path), None)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineUnusable, match="is no JSON"):
        read_config(str(tmp_path), None)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("pytorch_model.bin",), "but pytorch_model.bin, and pickles are not opened"),
        (("model.pth",), r"torch.load\('model.pth', weights_only=True\), 'model.safetensors'\)"),
        (
            ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
            r"but model-00001-of-00002.safetensors and so on, of which there must be an index, mod",
        ),
        (("config.json",), "holds no model.safetensors$"),
    ],
)
def test_weights_in_another_form_are_named(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(EngineUnusable, match=expected) as refused:
        fetch_files(str(tmp_path), None, WEIGHTS)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("remote", [False, True])
def test_a_whole_engine_runs_from_weights_in_pieces(tmp_path, remote):
    from photographs import photograph
    from tiny_models import save_tiny_birefnet, tiny_birefnet

    whole = save_tiny_birefnet(str(tmp_path / "whole"))
    folder = str(tmp_path / "pieces")
    tiny_birefnet().save_pretrained(folder, max_shard_size="5MB")
    assert not os.path.exists(os.path.join(folder, WEIGHTS[0]))
    if remote:
        fsspec.filesystem("memory").put(folder, "/tiny-pieces", recursive=True)
        folder = "memory://tiny-pieces"
    mattes = []
    for model in (whole, folder):
        engine = registry.create("birefnet", {"model": model, "resolution": 32, "device": "cpu"})
        registry.check("birefnet", engine)
        engine.load()
        mattes += engine.predict([photograph("coffee")])
    assert (mattes[0].alpha == mattes[1].alpha).all()
    digest = hashlib.sha256()
    for piece in sorted((tmp_path / "pieces").glob("*.safetensors")):
        digest.update(piece.read_bytes())
    assert engine.revision == f"sha256:{digest.hexdigest()[:16]}"


@pytest.mark.parametrize("place", ["/etc/x.safetensors", "../x.safetensors", "x.bin"])
def test_an_index_names_nothing_but_weights_beside_it(tmp_path, place):
    (tmp_path / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"a": "{place}"}}}}')
    with pytest.raises(EngineUnusable, match="which is no safetensors file beside it") as refused:
        fetch_weights(str(tmp_path), None)
    assert "\n" not in str(refused.value)


def test_a_folder_has_no_revisions(store, tmp_path):
    (tmp_path / WEIGHTS[0]).write_bytes(b"weights")
    for folder in (str(tmp_path), store):
        assert fetch_files(folder, "main", WEIGHTS)  # which names of engines stand for
        with pytest.raises(EngineUnusable, match=f"--revision v9: {folder} is a folder"):
            fetch_files(folder, "v9", WEIGHTS)


def test_a_file_in_place_of_its_folder_is_said(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(EngineUnusable, match=r"is a file: give the folder of model\.saf"):
        fetch_files(str(tmp_path / "model.safetensors"), None, WEIGHTS)


# The hub


@pytest.fixture
def at_hub(tmp_path, monkeypatch):
    """Turns huggingface_hub to a hub on loopback, with an empty cache and no token."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with hub() as address:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield address


def test_a_branch_becomes_the_commit_that_was_downloaded(at_hub):
    files = fetch_files("open/model", "main", WEIGHTS, ("config.json", "absent.json"))
    assert files.commit == files.revision(WEIGHTS[0]) == COMMIT
    assert (files.folder / WEIGHTS[0]).read_bytes() == FILES[WEIGHTS[0]]
    assert (files.folder / "config.json").is_file()
    assert read_config("open/model", None) == {"patch_order": "rmbg2"}


def test_pieces_are_downloaded_with_their_index(at_hub):
    files = fetch_weights("pieces/model", "main", ("config.json",))
    assert files.commit == COMMIT
    assert {path.name: path.read_bytes() for path in files.folder.iterdir()} == PIECES
    with pytest.raises(EngineUnusable, match=r"holds no model.safetensors or tokenizer.json"):
        fetch_weights("open/model", None, ("tokenizer.json",))


def test_what_was_downloaded_is_found_without_the_hub(at_hub, monkeypatch):
    files = fetch_files("open/model", None, WEIGHTS)
    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", nobody)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        nobody + "/{repo_id}/resolve/{revision}/{filename}",
    )
    assert fetch_files("open/model", None, WEIGHTS) == files
    assert fetch_files("open/model", COMMIT, WEIGHTS) == files
    with pytest.raises(EngineUnusable, match=rf"not in the cache and {nobody} cannot be reached"):
        fetch_files("open/other", None, WEIGHTS)


def test_a_gated_model_says_where_to_accept_and_which_variable_to_set(at_hub, monkeypatch):
    with pytest.raises(EngineUnusable) as refused:
        fetch_files("gated/RMBG-2.0", None, WEIGHTS)
    assert str(refused.value) == (
        f"--model gated/RMBG-2.0 is gated: accept its licence at {at_hub}/gated/RMBG-2.0 and set "
        f"HF_TOKEN to a token of that account"
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch_files("gated/RMBG-2.0", None, WEIGHTS).commit == COMMIT


@pytest.mark.parametrize(
    ("model", "revision", "names", "expected"),
    [
        ("nobody/model", None, WEIGHTS, "no such folder and no such model"),
        ("open/model", "v9", WEIGHTS, "--revision v9: .* has no such revision"),
        ("open/model", None, ("pytorch_model.bin",), "holds no pytorch_model.bin"),
        ("not/a/hub/id", None, WEIGHTS, "it is no hub id"),
    ],
)
def test_what_the_hub_does_not_have_is_said_in_one_line(at_hub, model, revision, names, expected):
    with pytest.raises(EngineUnusable, match=expected) as refused:
        fetch_files(model, revision, names)
    assert "\n" not in str(refused.value)


def test_offline_mode_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EngineUnusable, match="HF_HUB_OFFLINE") as refused:
        fetch_files("briaai/RMBG-2.0", None, WEIGHTS)
    assert "\n" not in str(refused.value)


def test_commits_are_40_small_hexadecimal_digits():
    assert is_commit(COMMIT)
    assert not any(is_commit(text) for text in (None, "main", COMMIT[:39], COMMIT.upper() + "x"))
