"""Services in memory behind real sockets, for a mount in a process of its own: held up, full, or changed by others."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cftool.testing import fake_dropbox, fake_gdrive, fake_s3
from cftool.testing.fake_dropbox import FakeDropbox
from cftool.testing.fake_gdrive import FakeGDrive
from cftool.testing.fake_s3 import FakeS3
from cftool.testing.fake_webdav import FakeWebDav, Habits
from cftool.testing.http_fake import Authority, FakeProxy, FakeRequest, FakeResponse, FakeServer, Handler
from tests.mount.mounted import PATIENCE


def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)  # for a process, not for a result


class Gate:
    """Holds uploads back before the service has them."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.held: set[str] = set()  # targets of what waits

    def early(self, request: FakeRequest) -> FakeResponse | None:
        """What the server asks before it reads a body."""
        if request.method == "PUT" and not self._open.is_set():
            self.held.add(request.target)
            self._open.wait(PATIENCE)
        return None

    def close(self) -> None:
        """From now on."""
        self.held.clear()
        self._open.clear()

    def open(self) -> None:
        """All that waits goes on."""
        self._open.set()


def _none(handle: Handler) -> Handler:
    return handle


@dataclass
class Account:
    """A service: what the environment says of it, what it stores below `work`, and its state."""

    env: dict[str, str]
    address: str
    files: Callable[[], dict[str, bytes]]
    gate: Gate = field(default_factory=Gate)
    full: bool = False
    trouble: Callable[[Handler], Handler] = _none  # around what answers
    is_idle: Callable[[], bool] = bool  # whether nobody is connected
    asked: Counter[str] = field(default_factory=Counter)  # requests

    def answering(self, handle: Handler, refusal: FakeResponse) -> Handler:
        """What takes nothing more while it is full."""
        return lambda request: refusal if self.full and request.method == "PUT" else self.trouble(handle)(request)


def _below(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without the temporary names that a killed process leaves to `cftool cleanup`."""
    found = {name[5:]: data for name, data in files.items() if name.startswith("work/") and not name.endswith("/")}
    return {name: data for name, data in found.items() if "/.cftool-" not in f"/{name}"}


@contextlib.contextmanager
def s3() -> Iterator[Account]:
    """S3, with the bucket `top`."""
    fake = FakeS3()
    objects = fake.make("top", ["work/"], b"")
    account = Account({}, "lab:top/work", lambda: _below({key: stored.data for key, stored in objects.items()}))
    account.asked = fake.ops
    refusal = fake.error(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")
    with FakeServer(account.answering(fake.handle, refusal), early=account.gate.early) as server:
        account.is_idle = lambda: server.open_connections == 0
        account.env = {
            "CFTOOL_LAB_TYPE": "s3", "CFTOOL_LAB_ENDPOINT_URL": server.url, "CFTOOL_LAB_REGION": "us-east-1",
            "CFTOOL_LAB_ACCESS_KEY_ID": fake_s3.ACCESS_KEY, "CFTOOL_LAB_SECRET_ACCESS_KEY": fake_s3.SECRET_KEY,
        }  # fmt: skip
        yield account
        account.gate.open()


@contextlib.contextmanager
def webdav() -> Iterator[Account]:
    """WebDAV."""
    fake = FakeWebDav(Habits())
    fake.mkdir("work")
    account = Account({}, "lab:work", lambda: _below(fake.files()))
    account.asked = fake.requests
    with FakeServer(account.answering(fake.handle, FakeResponse(507)), early=account.gate.early) as server:
        account.is_idle = lambda: server.open_connections == 0
        account.env = {"CFTOOL_LAB_TYPE": "webdav", "CFTOOL_LAB_URL": server.url + fake.habits.base}
        yield account
        account.gate.open()


@contextlib.contextmanager
def behind_proxy(handle: Handler, *hosts: str) -> Iterator[dict[str, str]]:
    """The service under its real names; gives the environment."""
    with Authority() as authority, FakeServer(handle, tls=authority, hosts=hosts) as server:
        place = ("127.0.0.1", server.port)
        with FakeProxy(resolve={f"{host}:443": place for host in hosts}) as proxy:
            yield {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": authority.bundle}


@contextlib.contextmanager
def dropbox() -> Iterator[tuple[FakeDropbox, dict[str, str]]]:
    """The remote `box:`."""
    fake = FakeDropbox()
    login = {
        "CFTOOL_BOX_TYPE": "dropbox", "CFTOOL_BOX_APP_KEY": "key", "CFTOOL_BOX_REFRESH_TOKEN": fake.oauth.grant(),
    }  # fmt: skip
    with behind_proxy(fake.handle, *fake_dropbox.HOSTS) as env:
        yield fake, {**env, **login}


@contextlib.contextmanager
def gdrive() -> Iterator[tuple[FakeGDrive, dict[str, str]]]:
    """The remote `drive:`."""
    fake = FakeGDrive()
    login = {
        "CFTOOL_DRIVE_TYPE": "gdrive", "CFTOOL_DRIVE_CLIENT_ID": fake_gdrive.CLIENT_ID,
        "CFTOOL_DRIVE_CLIENT_SECRET": fake_gdrive.CLIENT_SECRET, "CFTOOL_DRIVE_REFRESH_TOKEN": fake_gdrive.REFRESH,
    }  # fmt: skip
    with behind_proxy(fake.handle, fake_gdrive.API, fake_gdrive.LOGIN) as env:
        yield fake, {**env, **login}
    assert fake.complaints == []


def contents(place: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
