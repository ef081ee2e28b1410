"""Stores over the fake Drive, on both transports and on the real host names, and what the tests here share."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cftool.config.address import parse
from cftool.config.file import Config
from cftool.core.provider import Context, Secret, never
from cftool.stack import OpenContext, Opened, open_address
from cftool.testing.fake_gdrive import ACCESS, API, CLIENT_ID, CLIENT_SECRET, LOGIN, REFRESH, FakeGDrive
from cftool.testing.http_fake import Authority, FakeProxy, FakeServer, mocked
from cftool.transfer import api
from cftool.transfer.options import Options, Side, Surroundings
from cftool_providers.gdrive import PROVIDER
from cftool_providers.gdrive.store import GDriveStore

HOSTS = re.compile(rf"https://({re.escape(API)}|{re.escape(LOGIN)})/")


class Remembering(dict):
    """A Memory that lasts as long as the test."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


class Lab:
    """One fake service behind the real host names, and the stores that are opened on it."""

    def __init__(self, fake: FakeGDrive, transport: str, state_dir: str, authority: Authority) -> None:
        self.fake = fake
        self.transport = transport
        self.state_dir = state_dir
        self.memory = Remembering()
        self.requests: Counter[str] = Counter()
        self.env: dict[str, str] = {}
        self._before = 0
        self._stack = ExitStack()
        if transport == "requests":
            self._stack.enter_context(mocked(fake.handle, HOSTS))
        else:
            self.server = self._stack.enter_context(FakeServer(self._handle, tls=authority, hosts=(API, LOGIN)))
            place = ("127.0.0.1", self.server.port)
            self.proxy = self._stack.enter_context(FakeProxy(resolve={f"{API}:443": place, f"{LOGIN}:443": place}))
            self.env = {"HTTPS_PROXY": self.proxy.url, "SSL_CERT_FILE": authority.bundle}

    def _handle(self, request):
        return self.fake.handle(request)

    def open(self, *, cancelled: Callable[[], bool] = never, deletes: bool = False, **options: object) -> GDriveStore:
        """A store; options as in the configuration."""
        values: dict[str, object] = {option.name: option.default for option in PROVIDER.options}
        values |= {
            "client_id": CLIENT_ID,
            "client_secret": Secret(CLIENT_SECRET),
            "refresh_token": Secret(REFRESH),
            "shared_drive": self.fake.shared_drive,
        }
        values |= options
        context = Context(
            remote="lab",
            env=self.env,
            state_dir=self.state_dir,
            memory=self.memory,
            requests=self.requests,
            transport=self.transport,
            cancelled=cancelled,
            deletes=deletes,
        )
        store = PROVIDER.open(values, context)
        assert isinstance(store, GDriveStore)
        self._stack.callback(store.close)
        return store

    def opened(self, text: str, *, deletes: bool = True) -> Opened:
        """An address in the stack that commands use; the remote is called `drive`."""
        env = self.env | {
            "CFTOOL_DRIVE_TYPE": "gdrive",
            "CFTOOL_DRIVE_CLIENT_ID": CLIENT_ID,
            "CFTOOL_DRIVE_CLIENT_SECRET": CLIENT_SECRET,
            "CFTOOL_DRIVE_REFRESH_TOKEN": REFRESH,
        }
        config = Config("", env)
        context = OpenContext(env, self.requests, state_dir=self.state_dir, transport=self.transport, deletes=deletes)
        opened = open_address(parse(text, remotes=config.known()), config, context=context)
        self._stack.callback(opened.store.close)
        return opened

    def side(self, text: str, *, deletes: bool = True) -> Side:
        """A side of the engine."""
        return api.side(self.opened(text, deletes=deletes))

    def run(self, what, *args, options: Options | None = None):
        """`api.copy`, `sync`, …: the summary."""
        around = Surroundings(state_dir=self.state_dir, now=time.time, cancelled=never)
        return what(*args, options or Options(), around, lambda event: None)

    def counted(self) -> int:
        """HTTP requests of the API since the last call, without those for tokens."""
        asked = self.fake.requests
        total = sum(asked.values()) - asked["token"]
        before, self._before = self._before, total
        return total - before

    def close(self) -> None:
        self._stack.close()
        assert self.fake.complaints == []


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with Authority() as authority:
        yield authority


@pytest.fixture
def new_lab(tmp_path, authority) -> Iterator[Callable[..., Lab]]:
    """Makes labs: `new_lab(FakeGDrive(…), transport="curl")`."""
    with ExitStack() as stack:

        def make(fake: FakeGDrive | None = None, *, transport: str = "requests") -> Lab:
            lab = Lab(fake or FakeGDrive(), transport, str(tmp_path / "state"), authority)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture(params=["curl", "requests"])
def lab(request, new_lab) -> Lab:
    """On either transport."""
    return new_lab(transport=request.param)


@pytest.fixture
def quick(new_lab) -> Lab:
    """Without sockets."""
    return new_lab()


__all__ = ["ACCESS", "Lab"]
