"""A runner that calls the command in this process, with standard output and error as a file descriptor sees them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cftool.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode("utf-8", "surrogateescape").splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def summary(self) -> dict[str, Any]:
        assert self.events[-1]["event"] == "summary", self
        return self.events[-1]


Run = Callable[..., Ran]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a home without settings."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / name))
    return work


@pytest.fixture
def run(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run `cftool` with these words; another exit code than `code` fails the test with all that was said."""

    def call(*words: object, code: int | None = 0) -> Ran:
        capfdbinary.readouterr()
        got = main([str(word) for word in words])
        out, err = capfdbinary.readouterr()
        ran = Ran(got, out, err.decode("utf-8", "replace"))
        assert "Traceback" not in ran.err, ran
        assert code is None or got == code, ran
        return ran

    return call


def tree(root: Path, **files: str) -> Path:
    """Files below `root`: `a__b="text"` is `a/b`; an empty name with a slash makes a directory."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
