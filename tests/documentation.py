"""The documentation's pages as things to run: their fences, one by one and in order."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alphabeam.pipeline import commands
from alphabeam.pipeline.cli import main
from alphabeam.transforms.providers.catalogue import ADAPTERS

ROOT = Path(__file__).parent.parent
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ELSEWHERE = re.compile(r"<!-- tested by (tests/\w+\.py) -->")
_OPERATORS = set("|<>;&()")


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """A page of the documentation; `name` is its path within the repository."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    def fences(self) -> Iterator[Fence]:
        for found in _FENCE.finditer(self.text):
            indent, language, text = found.groups()
            lines = [line.removeprefix(indent) for line in text.splitlines()]
            yield Fence(language, "\n".join(lines), self.text[: found.start()].count("\n") + 1)

    def tested_by(self) -> str | None:
        """Names the test that runs a page which needs more than is prepared for all."""
        found = _ELSEWHERE.search(self.text)
        return found and found[1]


def all_pages() -> list[Page]:
    """Gives the front page, and every page below docs/."""
    pages = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    return [Page(name) for name in ["README.md", *pages]]


def commands_of(fence: Fence) -> Iterator[str]:
    """Gives the commands of a shell fence, continued lines joined, comments left out."""
    joined = re.sub(r"\\\n\s*", "", fence.text)
    prompt = fence.language == "console"
    for line in joined.splitlines():
        command = line.strip()
        if prompt:
            if not command.startswith("$ "):
                continue  # what the command prints
            command = command[2:]
        if command and not command.startswith("#"):
            yield command


class Runner:
    """Runs the fences of one page in the current folder.

    Commands of ours run in this process, which saves starting Beam for each; all others in bash.

    Args:
      hosted_flags: what a run with hosted engines is given besides: where their stand-ins are.
    """

    def __init__(self, hosted_flags: Sequence[str] = ()) -> None:
        self._hosted_flags = hosted_flags
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, fence: Fence) -> None:
        if fence.language == "python":
            exec(compile(fence.text, f"line {fence.line}", "exec"), self._names)
        elif fence.language == "sh":
            for command in commands_of(fence):
                self._run_command(command)
        else:
            check_fence(fence)

    def _run_command(self, command: str) -> None:
        if command.startswith(("pip ", "make ")):
            check_command(command)
            return
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            for word in words[1:]:
                name, _, value = word.partition("=")
                os.environ[name] = value
            return
        if words[0] == "alphabeam" and not _needs_a_shell(command):
            code = main([*map(os.path.expandvars, words[1:]), *self._besides(words)])
        else:
            assert not self._besides(words), f"hosted engines are for this process: {command}"
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            code = subprocess.run(
                ["bash", "-euc", command], env={**os.environ, "PATH": path}, check=False
            ).returncode
        expected = re.search(r"# .*exit code (\d)", command)
        assert code == (int(expected[1]) if expected else 0), command

    def _besides(self, words: list[str]) -> Sequence[str]:
        given = " ".join(words)
        hosted = "alphabeam run" in given and any(name in given for name in ADAPTERS)
        return self._hosted_flags if hosted else ()


def _needs_a_shell(command: str) -> bool:
    """Tells whether there are pipes, redirections and the like outside of quotes."""
    tokens = shlex.shlex(command, posix=True, punctuation_chars=True)
    tokens.whitespace_split = True
    return any(set(token) <= _OPERATORS for token in tokens)


def check_fence(fence: Fence) -> None:
    """Makes sure that a fence could run: its commands exist, its code and data parse."""
    if fence.language in ("sh", "console"):
        for command in commands_of(fence):
            if not _needs_a_shell(command):
                check_command(command)
    elif fence.language == "python":
        compile(fence.text, f"line {fence.line}", "exec")
    elif fence.language == "yaml":
        list(yaml.safe_load_all(fence.text))
    elif fence.language == "json":
        json.loads(fence.text)


def check_command(command: str) -> None:
    """Makes sure that a command which is not run here is one: its flags, targets and extras."""
    words = [word for word in shlex.split(command, comments=True) if word != "…"]  # and so on
    if words[0] == "alphabeam":
        given, rest = commands.parser().parse_known_args(words[1:])
        assert given.command, command
        if given.command == "run":
            commands._refuse_unknown(rest)
        else:
            assert not rest, command
    elif words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), command
    elif words[0] == "pip":
        project = (ROOT / "pyproject.toml").read_text()
        for extra in re.findall(r"\[([\w,-]+)\]", command):
            for name in extra.split(","):
                assert re.search(rf"^{name} = \[", project, re.MULTILINE), command
