"""A provider's stand-in in a process of its own, so that it takes no time from what is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import skimage.data

_TESTS = Path(__file__).resolve().parent.parent / "tests"


@dataclass
class StandIn:
    """A running stand-in.

    Attributes:
      urls: its base addresses, by the names that `--provider_url` takes.
      key: the one that it accepts.
      picture: the address of the picture to send.
      account: once it has ended, its `bills` (how many) and `steps` (requests of each kind).
    """

    urls: dict[str, str]
    key: str
    picture: str
    account: dict[str, Any] = field(default_factory=dict)


@contextmanager
def standing_in(
    provider: str, folder: Path, *flags: str, parallel: int, width: int
) -> Iterator[StandIn]:
    """Runs a stand-in that takes a second a picture.

    Args:
      provider: whose.
      folder: where the picture to send is put.
      flags: others of `python -m standins`.
      parallel: how many pictures it works on at once.
      width: of the square picture, pixels.
    """
    file = folder / "picture.jpg"
    photograph = cv2.resize(skimage.data.astronaut(), (width, width))
    file.write_bytes(cv2.imencode(".jpg", photograph)[1].tobytes())
    command = [sys.executable, "-m", "standins", provider, "--seconds", "1"]
    command += ["--picture", str(file), "--parallel", str(parallel), *flags]
    with subprocess.Popen(
        command, cwd=_TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        standin = StandIn(**json.loads(process.stdout.readline()))
        yield standin
        standin.account.update(json.loads(process.communicate()[0]))
