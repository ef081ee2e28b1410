"""Stores over the fake Dropbox under its real host names: mocked for requests, by TLS through a proxy for libcurl."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

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
