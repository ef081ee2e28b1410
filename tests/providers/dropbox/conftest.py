"""Stores over the fake Dropbox under its real host names: mocked for requests, by TLS through a proxy for libcurl."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from cftool.cli.main import main
from cftool.core.provider import Context, Secret, never
from cftool.testing.fake_dropbox import HOSTS, FakeDropbox, Habits
from cftool.testing.http_fake import Authority, FakeProxy, FakeServer, mocked
from cftool_providers.dropbox import PROVIDER
from cftool_providers.dropbox.store import DropboxStore

ORIGIN = re.compile(r"^https://(api|content|notify)\.dropboxapi\.com(?=/)")


class Remembering(dict):
    """A Memory that lasts as long as the test."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


class Lab:
    """One fake service and the stores that are opened on it."""

    def __init__(self, transport: str, state_dir: str, fake: FakeDropbox, authority: Authority) -> None:
        self.transport = transport
        self.state_dir = state_dir
        self.fake = fake
        self.memory = Remembering()
        self.requests: Counter[str] = Counter()
        self.env: dict[str, str] = {}
        self.refresh = fake.oauth.grant()
        self.change = lambda request, answer: answer  # what happens to an answer on its way
        self._stack = ExitStack()
        if transport == "requests":
            self._stack.enter_context(mocked(self._handle, ORIGIN))
        else:
            server = self._stack.enter_context(FakeServer(self._handle, tls=authority, hosts=HOSTS))
            resolve = {f"{host}:443": ("127.0.0.1", server.port) for host in HOSTS}
            self.proxy = self._stack.enter_context(FakeProxy(resolve=resolve))
            self.env = {"HTTPS_PROXY": self.proxy.url, "SSL_CERT_FILE": authority.bundle}

    def _handle(self, request):
        return self.change(request, self.fake.handle(request))

    def open(self, *, cancelled: Callable[[], bool] = never, remote: str = "lab", **options: object) -> DropboxStore:
        """A store; options as in the configuration."""
        values: dict[str, object] = {option.name: None for option in PROVIDER.options}
        values |= {"app_key": "key", "refresh_token": Secret(self.refresh)}
        values |= options
        context = Context(
            remote=remote,
            env=self.env,
            state_dir=self.state_dir,
            memory=self.memory,
            requests=self.requests,
            transport=self.transport,
            cancelled=cancelled,
        )
        store = PROVIDER.open(values, context)
        assert isinstance(store, DropboxStore)
        self._stack.callback(store.close)
        return store

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with Authority() as ca:
        yield ca


@pytest.fixture
def new_lab(tmp_path, authority) -> Iterator[Callable[..., Lab]]:
    """Makes labs: `new_lab(Habits(…), transport="curl")`."""
    with ExitStack() as stack:

        def make(habits: Habits | None = None, *, transport: str = "requests") -> Lab:
            lab = Lab(transport, str(tmp_path / "state"), FakeDropbox(habits), authority)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture(params=["curl", "requests"])
def lab(request, new_lab) -> Lab:
    """On either transport."""
    return new_lab(transport=request.param)


@pytest.fixture
def quick(new_lab) -> Lab:
    """On one transport, where the other would show nothing else."""
    return new_lab()


@pytest.fixture
def cli(quick, tmp_path, monkeypatch, capfdbinary):
    """Runs `cftool --json …` in this process with the remote `box:` on the fake; gives code, events, errors."""
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "CFTOOL_TRANSPORT": "requests",
        "CFTOOL_BOX_TYPE": "dropbox",
        "CFTOOL_BOX_APP_KEY": "key",
        "CFTOOL_BOX_REFRESH_TOKEN": quick.refresh,
        **quick.env,
    }.items():
        monkeypatch.setenv(name, value)
    return Cli(quick, tmp_path, capfdbinary)


class Cli:
    """See the fixture."""

    def __init__(self, lab: Lab, here, capture) -> None:
        self.lab = lab
        self.fake = lab.fake
        self.here = here
        self._capture = capture

    def run(self, *words: object, code: int | None = 0) -> "Ran":
        self._capture.readouterr()
        self.fake.requests.clear()
        got = main([*map(str, words), "--json"])
        out, err = self._capture.readouterr()
        ran = Ran(got, [json.loads(line) for line in out.splitlines()], err.decode(), Counter(self.fake.requests))
        assert "Traceback" not in ran.err, ran.err
        assert code is None or got == code, (got, ran.err, ran.events[-3:])
        return ran

    def tree(self, name: str = "src", *, folders: int = 10, files: int = 100, size: int = 1024):
        """A local tree of files with different contents, modified long ago."""
        root = self.here / name
        for folder in range(folders):
            (root / f"dir{folder}").mkdir(parents=True)
            for number in range(files):
                path = root / f"dir{folder}" / f"file{number}"
                path.write_bytes(f"{folder}/{number} ".encode().ljust(size, b"."))
                os.utime(path, ns=(WHEN, WHEN + number * 10**9))
        return root

    def local(self, root) -> dict[str, bytes]:
        """Files of a local tree by path."""
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def stored(self, below: str = "dst") -> dict[str, bytes]:
        """Files of the fake below a folder."""
        lead = f"{below}/"
        return {path[len(lead) :]: data for path, data in self.fake.files().items() if path.startswith(lead)}


WHEN = 1_600_000_000_000_000_000


@dataclass
class Ran:
    """What a command left."""

    code: int
    events: list[dict]
    err: str
    requests: Counter

    @property
    def summary(self) -> dict:
        assert self.events[-1]["event"] == "summary", self.err
        return self.events[-1]

    @property
    def asked(self) -> int:
        """Requests, without looks at jobs and at the login service."""
        return sum(n for route, n in self.requests.items() if "check" not in route and route != "oauth2/token")
