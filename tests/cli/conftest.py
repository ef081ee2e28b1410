"""A runner that calls the command in this process, with standard output and error as a file descriptor sees them."""

import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cftool.cli.main import main
from cftool.config.address import parse
from cftool.config.file import Config
from cftool.core import ops
from cftool.core.store import Store
from cftool.stack import OpenContext, open_address
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer


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


def packed_config(here: Path) -> Path:
    """A configuration with the remote `packed`: an archive in the directory `remote`, which is made."""
    config = here / "config.toml"
    config.write_text(f'[remotes.packed]\ntype = "local"\nroot = "{here}/remote"\nstack.archive = true\n')
    config.chmod(0o600)
    (here / "remote").mkdir()
    return config


@dataclass(frozen=True)
class Place:
    """A directory somewhere, past the command: `at` gives addresses, `put` and `get` see its content."""

    kind: str
    root: str
    store: Store
    path: str
    fake: FakeS3 | None = None

    def at(self, path: str = "") -> str:
        return f"{self.root}/{path}" if path else self.root

    def put(self, path: str, data: bytes = b"", when: int | None = None) -> None:
        ops.write_bytes(self.store, f"{self.path}/{path}", data, modified_ns=when)

    def get(self, path: str) -> bytes:
        return ops.read_bytes(self.store, f"{self.path}/{path}")

    def entry(self, path: str) -> Any:
        return self.store.stat(f"{self.path}/{path}")

    def has(self, path: str) -> bool:
        return ops.exists(self.store, f"{self.path}/{path}" if path else self.path)


_numbers = itertools.count(1)


@pytest.fixture
def fake_s3(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """The fake service as the remote `lab`, with the bucket `bucket`."""
    fake = FakeS3()
    fake.make("bucket", {})
    with FakeServer(fake.handle) as server:
        settings = {
            "TYPE": "s3",
            "ENDPOINT_URL": server.url,
            "ACCESS_KEY_ID": ACCESS_KEY,
            "SECRET_ACCESS_KEY": SECRET_KEY,
            "PART_SIZE": "5M",
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"CFTOOL_LAB_{name}", value)
        yield fake


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An empty directory that exists, on each kind of store."""
    fake = None
    if request.param == "local":
        (here / "top").mkdir()
        root = str(here / "top")
    elif request.param == "memory":
        name = f"mem{next(_numbers)}"  # a space lasts as long as the process
        monkeypatch.setenv(f"CFTOOL_{name.upper()}_TYPE", "memory")
        root = f"{name}:top"
    else:
        fake = request.getfixturevalue("fake_s3")
        root = "lab:bucket/top"
    config = Config("", os.environ)
    opened = open_address(parse(root, remotes=config.known()), config, context=OpenContext(os.environ))
    opened.store.mkdir(opened.path)
    yield Place(request.param, root, opened.store, opened.path, fake)
    opened.store.close()


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Give the next command this standard input, as a pipe would."""

    def install(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))  # type: ignore[arg-type]

    return install
