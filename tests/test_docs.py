"""The documentation: every command in it runs, and every link leads somewhere."""

import os
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from documentation import (
    ROOT,
    Fence,
    Page,
    Runner,
    all_pages,
    check_command,
    check_fence,
    commands_of,
)
from photographs import NAMES, photograph
from PIL import Image
from standins.kinds import QUICK, STAND_INS
from stub_engines import disc
from tiny_models import save_tiny_birefnet

from alphabeam.pipeline.column_meanings import MEANINGS
from alphabeam.pipeline.columns import data_schema, error_schema
from alphabeam.transforms.providers.contract import Adapter

PAGES = all_pages()
# Pages that no test runs as they stand; of others that need more, the page names the test. Commands
# of both are parsed at least.
NOT_RUN = {
    "docs/how-to/dataflow-gpu.md": "needs a cloud project",
    "docs/how-to/webhooks-and-uploads.md": "needs a receiver and a bucket: its parts are tested in "
    "test_webhook.py, test_upload.py and test_staging.py",
}
PARSED = [page for page in PAGES if page.name in NOT_RUN or page.tested_by()]
RUN = [page for page in PAGES if page not in PARSED and any(page.fences())]
_PATIENCE = 240  # seconds: whatever a page does then will not end


def named(page):
    return page.name


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_tiny_birefnet(str(tmp_path_factory.mktemp("weights") / "weights"), "rmbg2")


@pytest.fixture
def prepared(tmp_path, weights, monkeypatch):
    """A folder that holds what the pages speak of: photographs, manifests of them, masks."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    for name in NAMES:
        picture = Image.fromarray(photograph(name))
        picture.thumbnail((128, 128))
        picture.save(tmp_path / "photos" / f"{name}.jpg", quality=90)
        matte = np.rint(255 * disc(picture.height, picture.width)).astype(np.uint8)
        Image.fromarray(matte).save(tmp_path / "masks" / f"{name}.png")
    Image.fromarray(photograph("coffee")).resize((150, 100)).save(tmp_path / "cup.jpg")
    images = [f"photos/{name}.jpg" for name in NAMES]
    splits = ["train" if number % 3 else "test" for number in range(len(NAMES))]
    labels = ["person", "animal", "thing", "thing", "plant", "thing"]
    table = pa.table({"key": NAMES, "image": images, "split": splits, "label": labels})
    for manifest in ("photos.parquet", "train.parquet"):
        pq.write_table(table, tmp_path / manifest)
    rows = (
        f"{name},{image},{number}.90"
        for number, (name, image) in enumerate(zip(NAMES, images, strict=True))
    )
    (tmp_path / "shop.csv").write_text("\n".join(["key,image,price", *rows]) + "\n")
    masks = [f"masks/{name}.png" for name in NAMES]
    pq.write_table(pa.table({"key": NAMES, "mask": masks}), tmp_path / "truth.parquet")
    (tmp_path / "weights").symlink_to(weights)
    (tmp_path / "my_models.py").write_text(
        "from stub_engines import Disc as Matter\n__all__ = ['Matter']\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, value in os.environ.items():
        monkeypatch.setenv(name, value)  # so that what a page exports ends with it
    yield tmp_path
    sys.modules.pop("my_models", None)


@pytest.fixture
def stand_ins(prepared, monkeypatch):
    """Every provider on loopback, its key where the page says it is; gives flags to reach them."""
    monkeypatch.setattr(Adapter, "timing", QUICK)
    for adapter in Adapter.__subclasses__():
        monkeypatch.setattr(adapter, "timing", QUICK, raising=False)
    keys = {"fal-bria": "FAL_KEY", "pixazo-bria": "PIXAZO_API_KEY", "gmi-bria": "GMI_API_KEY",
            "runware-bria": "RUNWARE_API_KEY"}  # fmt: skip
    flags = ["--allow_private_hosts"]
    with ExitStack() as stack:
        for name, variable in keys.items():
            standin = stack.enter_context(STAND_INS[name]())
            monkeypatch.setenv(variable, standin.key)
            flags += [f"--provider_url={base}={url}" for base, url in standin.urls().items()]
        yield flags


@pytest.fixture
def impatient():
    """Ends what does not end by itself."""

    def end(*_):
        raise TimeoutError(f"still at it after {_PATIENCE} s: a page of NOT_RUN?")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("page", RUN, ids=named)
def test_every_command_of_a_page_runs(page, stand_ins, impatient):
    runner = Runner(stand_ins)
    for fence in page.fences():
        try:
            runner.run(fence)
        except (Exception, SystemExit) as error:
            where = f"{page.name}:{fence.line}"
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error


def test_commands_that_cannot_run_here_are_ones_at_least():
    for page in PARSED:
        for fence in page.fences():
            check_fence(fence)


def test_a_page_that_needs_more_names_the_test_that_runs_it():
    for page in PAGES:
        test = page.tested_by()
        assert test is None or Path(page.name).name in (ROOT / test).read_text(), page.name


def anchors(page):
    """Gives the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.text, flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_within_the_repository_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.path.parent / path).resolve() if path else page.path
        assert found.exists(), f"{page.name}: {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(Page(str(found.relative_to(ROOT)))), f"{page.name}: {target}"


def test_every_page_is_reached_from_the_index():
    reached, waiting = set(), ["README.md"]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for target in re.findall(r"\]\(([^)\s#]+\.md)", Page(name).text):
            found = (ROOT / name).parent / target
            if found.exists():
                waiting.append(str(found.resolve().relative_to(ROOT)))
    assert {page.name for page in PAGES} <= reached


def test_commands_are_taken_apart_as_a_shell_does():
    fence = Fence("sh", "# first\nalphabeam run \\\n    --manifest x  # why\n\nls", 1)
    assert list(commands_of(fence)) == ["alphabeam run --manifest x  # why", "ls"]
    fence = Fence("console", "$ alphabeam verify x\nok: 1 unit\n", 1)
    assert list(commands_of(fence)) == ["alphabeam verify x"]


@pytest.mark.parametrize(
    "command",
    [
        "alphabeam run --manifest x --outptu y",
        "alphabeam verify x --all",
        "make dmeo",
        "pip install 'alphabeam[tourch]'",
    ],
)
def test_commands_that_do_not_exist_are_found(command):
    with pytest.raises((AssertionError, ValueError, SystemExit)):
        check_command(command)


@pytest.mark.parametrize(
    "fence",
    [
        Fence("sh", "alphabeam verify nowhere", 1),
        Fence("sh", "test -e nowhere", 1),
        Fence("python", "assert False", 1),
        Fence("yaml", "a: [", 1),
    ],
)
def test_a_fence_that_fails_is_found(fence, prepared):
    with pytest.raises((AssertionError, yaml.YAMLError)):
        Runner().run(fence)


def test_every_column_has_a_meaning():
    plain = pa.schema([])
    names = {"image", "mask", *data_schema(plain).names, *error_schema(plain).names}
    assert set(MEANINGS) == names


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Python 3.10 hides the constructors of protocols"
)
def test_the_reference_is_what_the_code_gives():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import generate
    finally:
        sys.path.remove(str(ROOT / "docs"))
    written = {path.name: path.read_text() for path in generate.FOLDER.iterdir()}
    assert written == generate.pages(), "run `make reference`"
    assert generate.INDEX.read_text() == generate.index(), "run `make reference`"
