"""Fixtures of more than one file; what few tests need is imported where it is used."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def astronaut_jpeg() -> bytes:
    """Gives a photograph as a file's bytes."""
    from skimage import data

    target = io.BytesIO()
    Image.fromarray(data.astronaut()).save(target, "JPEG")
    return target.getvalue()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets providers be asked again without their usual pauses."""
    from standins.kinds import hurry

    hurry(monkeypatch.setattr)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keeps small operations from waiting for a second core that something else may hold."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Gives a headless browser."""
    from chromium import launched

    with launched() as browser:
        yield browser
