"""Stores over the fake WebDAV server, on both transports, and the pieces that the tests here share."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import cftool.testing.contract  # noqa: F401 - before any test takes a piece of it: its assertions are to be rewritten
from cftool.core.provider import Context, Secret
from cftool.http.retry import Clock
from cftool.testing.fake_webdav import FakeWebDav, Habits
from cftool.testing.http_fake import FakeServer, mocked
from cftool_providers.webdav import PROVIDER
from cftool_providers.webdav.store import WebDavStore


class Remembering(dict):
    """A Memory that lasts as long as the test."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


class Lab:
    """One fake server and the stores that are opened on it. `slept`: what any of them waited for, in seconds."""

    def __init__(self, fake: FakeWebDav, transport: str, state_dir: str | None, origin: str) -> None:
        self.fake = fake
        self.transport = transport
        self.state_dir = state_dir
        self.memory = Remembering()
        self.requests: Counter[str] = Counter()
        self.slept: list[float] = []
        self.stack = ExitStack()
        self.origin = origin
        if transport == "requests":
            self.stack.enter_context(mocked(fake.handle, origin))
        else:
            self.server = self.stack.enter_context(FakeServer(fake.handle))
            self.origin = self.server.url

    def open(self, *, path: str | None = None, **options: object) -> WebDavStore:
        """A store at the fake's top; options as in the configuration."""
        values: dict[str, object] = {option.name: None for option in PROVIDER.options}
        values["url"] = self.origin + (self.fake.habits.base if path is None else path)
        if self.fake.habits.user and self.fake.habits.auth != "bearer":
            values |= {"user": self.fake.habits.user, "password": Secret(self.fake.habits.password)}
        values |= options
        context = Context(
            remote="",
            env={},
            state_dir=self.state_dir,
            memory=self.memory,
            requests=self.requests,
            transport=self.transport,
        )
        store = PROVIDER.open(values, context)
        assert isinstance(store, WebDavStore)
        client = store._api.client
        # What is slept passes, but takes no time.
        clock = Clock(lambda: time.monotonic() + sum(self.slept), sleep=self.slept.append, random=lambda: 0.5)
        client.clock = client.schedule._clock = clock
        self.stack.callback(store.close)
        return store

    def forget(self) -> None:
        """The requests so far do not count."""
        self.fake.requests.clear()
        self.fake.log.clear()


@pytest.fixture
def new_lab(tmp_path) -> Iterator[Callable[..., Lab]]:
    """Makes labs: `new_lab(vendor="nextcloud", transport="curl")`; other names are Habits."""
    with ExitStack() as stack:

        def make(
            *,
            transport: str = "curl",
            state_dir: str | None = str(tmp_path / "state"),
            origin: str = "https://dav.test",
            **habits: object,
        ) -> Lab:
            lab = Lab(FakeWebDav(Habits(**habits)), transport, state_dir, origin)
            stack.enter_context(lab.stack)
            return lab

        yield make


@pytest.fixture(params=["curl", "requests"])
def lab(request, new_lab) -> Lab:
    """A plain server, on either transport."""
    return new_lab(transport=request.param)
