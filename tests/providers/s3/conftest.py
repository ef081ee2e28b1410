"""Stores over the fake S3 service, on both transports, and the pieces that the tests here share."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cftool.core.provider import Context, Secret, never
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3, Habits
from cftool.testing.http_fake import FakeServer, mocked
from cftool_providers.s3 import PROVIDER
from cftool_providers.s3.store import S3Store

ORIGIN = "http://s3.test:9000"


class Remembering(dict):
    """A Memory that lasts as long as the test."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


class Lab:
    """One fake service and the stores that are opened on it."""

    def __init__(self, transport: str, state_dir: str) -> None:
        self.transport = transport
        self.state_dir = state_dir
        self.memory = Remembering()
        self.requests: Counter[str] = Counter()
        self._stack = ExitStack()
        self.url = ORIGIN
        self.fake = FakeS3()
        self.server: FakeServer | None = None

    def serve(self, fake: FakeS3) -> "Lab":
        """Put this service behind the URL."""
        self.fake = fake
        if self.transport == "requests":
            self._stack.enter_context(mocked(self._handle, ORIGIN))
        else:
            self.server = self._stack.enter_context(FakeServer(self._handle))
            self.url = self.server.url
        return self

    def _handle(self, request):
        return self.fake.handle(request)

    def open(
        self, *, env: dict[str, str] | None = None, cancelled: Callable[[], bool] = never, **options: object
    ) -> S3Store:
        """A store; options as in the configuration."""
        values: dict[str, object] = {option.name: None for option in PROVIDER.options}
        values |= {
            "endpoint_url": self.url,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": Secret(SECRET_KEY),
            "region": "us-east-1",
        }
        values |= options
        context = Context(
            remote="lab",
            env=env or {},
            state_dir=self.state_dir,
            memory=self.memory,
            requests=self.requests,
            transport=self.transport,
            cancelled=cancelled,
        )
        store = PROVIDER.open(values, context)
        assert isinstance(store, S3Store)
        self._stack.callback(store.close)
        return store

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def new_lab(tmp_path) -> Iterator[Callable[..., Lab]]:
    """Makes labs: `new_lab(Habits(…), transport="curl")`."""
    with ExitStack() as stack:

        def make(habits: Habits | None = None, *, transport: str = "curl", **more: object) -> Lab:
            lab = Lab(transport, str(tmp_path / "state")).serve(FakeS3(habits, **more))
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture(params=["curl", "requests"])
def lab(request, new_lab) -> Lab:
    """Amazon's habits, on either transport."""
    return new_lab(transport=request.param)
