"""Stores over the fake SugarSync service, on both transports, under the real host name."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cftool.core.provider import Context, Secret, never
from cftool.testing.fake_sugarsync import ACCESS_KEY, APP_ID, BASE, PRIVATE_KEY, REFRESH, FakeSugarSync, Habits
from cftool.testing.http_fake import Authority, FakeProxy, FakeServer, mocked
from cftool_providers.sugarsync import PROVIDER
from cftool_providers.sugarsync.store import SugarSyncStore

HOST = "api.sugarsync.com"


class Remembering(dict):
    """A Memory that lasts as long as the test."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with Authority() as ca:
        yield ca


class Quick:
    """A clock whose sleeps take no time, but pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @staticmethod
    def random() -> float:
        return 0.5


def hasten(store: SugarSyncStore) -> Quick:
    """Have the store's retries wait for no real time."""
    clock = Quick()
    client = store._service.client
    client.clock = clock
    client.schedule._clock = clock
    return clock


class Lab:
    """One fake service and the stores that are opened on it."""

    def __init__(self, transport: str, authority: Authority, state_dir: str, habits: Habits | None) -> None:
        self.transport = transport
        self.state_dir = state_dir
        self.memory = Remembering()
        self.requests: Counter[str] = Counter()
        self.fake = FakeSugarSync(habits)
        self.env: dict[str, str] = {}
        self._stack = ExitStack()
        if transport == "requests":
            self._stack.enter_context(mocked(self._handle, BASE))
            return
        self.server = self._stack.enter_context(FakeServer(self._handle, tls=authority, hosts=(HOST,)))
        place = ("127.0.0.1", self.server.port)
        self.proxy = self._stack.enter_context(FakeProxy(resolve={f"{HOST}:443": place}))
        self.env = {"HTTPS_PROXY": self.proxy.url, "SSL_CERT_FILE": authority.bundle}

    def _handle(self, request):
        return self.fake.handle(request)

    def values(self, **options: object) -> dict[str, object]:
        """Options as the configuration gives them."""
        values: dict[str, object] = {option.name: None for option in PROVIDER.options}
        values |= {
            "app_id": APP_ID,
            "access_key_id": ACCESS_KEY,
            "private_access_key": Secret(PRIVATE_KEY),
            "refresh_token": Secret(REFRESH),
        }
        return values | options

    def context(self, *, cancelled: Callable[[], bool] = never) -> Context:
        """The surroundings of a store."""
        return Context(
            remote="lab",
            env=self.env,
            state_dir=self.state_dir,
            memory=self.memory,
            requests=self.requests,
            transport=self.transport,
            cancelled=cancelled,
        )

    def open(self, *, cancelled: Callable[[], bool] = never, **options: object) -> SugarSyncStore:
        """A store; options as in the configuration."""
        store = PROVIDER.open(self.values(**options), self.context(cancelled=cancelled))
        assert isinstance(store, SugarSyncStore)
        self._stack.callback(store.close)
        return store

    def forget_token(self) -> None:
        """As if the last run were more than an hour ago: the account is remembered, the access token is not."""
        shutil.rmtree(f"{self.state_dir}/tokens")

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def new_lab(tmp_path, authority) -> Iterator[Callable[..., Lab]]:
    """Makes labs: `new_lab(Habits(…), transport="curl")`."""
    with ExitStack() as stack:

        def make(habits: Habits | None = None, *, transport: str = "requests") -> Lab:
            lab = Lab(transport, authority, str(tmp_path / "state"), habits)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture(params=["curl", "requests"])
def lab(request, new_lab) -> Lab:
    """The service's habits, on either transport."""
    return new_lab(transport=request.param)


@pytest.fixture
def quick(new_lab) -> Lab:
    """Without sockets."""
    return new_lab()
