"""Stores over the fake Google Cloud Storage, on both transports and over both APIs, and what the tests here share."""

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import cftool.testing.contract  # noqa: F401 - before its cases, whose assertions pytest rewrites
from cftool.core.provider import Context, Secret, never
from cftool.testing.fake_gs import ACCESS_KEY, SECRET_KEY, FakeGS, Habits
from cftool.testing.http_fake import FakeServer, mocked
from cftool_providers.gs import PROVIDER
from cftool_providers.gs.store import GsStore

ORIGIN = "http://gs.test:9000"
ACCOUNT = "robot@fake.iam.gserviceaccount.com"


class Remembering(dict):
    """A Memory that lasts as long as the test."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


class Lab:
    """One fake service and the stores that are opened on it."""

    def __init__(self, transport: str, directory, key: tuple[str, object], *, xml: bool) -> None:
        self.transport = transport
        self.xml = xml
        self.directory = directory
        self.state_dir = str(directory / "state")
        self.memory = Remembering()
        self.requests: Counter[str] = Counter()
        self._pem, self._public = key
        self._stack = ExitStack()
        self.url = ORIGIN
        self.fake = FakeGS()
        self.server: FakeServer | None = None

    def serve(self, fake: FakeGS) -> "Lab":
        """Put this service behind the URL."""
        self.fake = fake
        fake.accounts[ACCOUNT] = self._public
        if self.transport == "requests":
            self._stack.enter_context(mocked(self._handle, ORIGIN))
        else:
            self.server = self._stack.enter_context(FakeServer(self._handle))
            self.url = self.server.url
        return self

    def _handle(self, request):
        return self.fake.handle(request)

    def account(self, token_uri: str | None = None) -> str:
        """The path of the service account's key."""
        path = self.directory / "account.json"
        info = {
            "type": "service_account",
            "project_id": "fake-project",
            "private_key_id": "1",
            "private_key": self._pem,
            "client_email": ACCOUNT,
            "token_uri": token_uri or f"{self.url}/token",
        }
        path.write_text(json.dumps(info))
        return str(path)

    def open(
        self,
        *,
        env: dict[str, str] | None = None,
        cancelled: Callable[[], bool] = never,
        state: bool = True,
        **options: object,
    ) -> GsStore:
        """A store; options as in the configuration."""
        values: dict[str, object] = {option.name: None for option in PROVIDER.options}
        values["endpoint_url"] = self.url
        if self.xml:
            values |= {"access_key_id": ACCESS_KEY, "secret_access_key": Secret(SECRET_KEY)}
        else:
            values["service_account_file"] = self.account()
        values |= options
        context = Context(
            remote="lab",
            env=env or {},
            state_dir=self.state_dir if state else None,
            memory=self.memory,
            requests=self.requests,
            transport=self.transport,
            cancelled=cancelled,
        )
        store = PROVIDER.open(values, context)
        assert isinstance(store, GsStore)
        self._stack.callback(store.close)
        return store

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def key() -> tuple[str, object]:
    """A service account's RSA key: PEM, and the public half."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), private.public_key()


@pytest.fixture(scope="session", autouse=True)
def _key_is_checked_once() -> Iterator[None]:
    """To load a key is to test its primes, 30 ms of CPU for each of some thousand stores of the same key."""
    from cryptography.hazmat.primitives import serialization

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialization, "load_pem_private_key", functools.cache(serialization.load_pem_private_key))
        yield


@pytest.fixture
def new_lab(tmp_path, key) -> Iterator[Callable[..., Lab]]:
    """Makes labs: `new_lab(Habits(…), transport="curl", xml=True)`."""
    with ExitStack() as stack:

        def make(habits: Habits | None = None, *, transport: str = "curl", xml: bool = False) -> Lab:
            lab = Lab(transport, tmp_path, key, xml=xml).serve(FakeGS(habits))
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture(params=["json-curl", "json-requests", "xml-curl", "xml-requests"])
def lab(request, new_lab) -> Lab:
    """Both APIs on both transports."""
    api, transport = request.param.split("-")
    return new_lab(transport=transport, xml=api == "xml")


@pytest.fixture(params=["curl", "requests"])
def json_lab(request, new_lab) -> Lab:
    """The JSON API on both transports."""
    return new_lab(transport=request.param)


@pytest.fixture(params=["json", "xml"])
def either(request, new_lab) -> Lab:
    """Both APIs on libcurl."""
    return new_lab(xml=request.param == "xml")
