"""Every provider with a service behind it, as the command line meets it: a remote, its content, and its answers.

`served(kind)` gives a Service: the address of an empty directory that exists, the environment that leads there, what is
stored in it past the command; `before` is what every request goes through on its way, `change` every answer. Without
`sockets` the answers come through `responses`; with them over the loopback (TLS and a proxy where the host name is
fixed), to libcurl.
"""

import contextlib
import hashlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cftool.config.address import parse
from cftool.config.file import Config
from cftool.core import ops
from cftool.http import client as http_client
from cftool.http.retry import Clock
from cftool.stack import OpenContext, open_address
from cftool.testing import fake_dropbox, fake_gdrive, fake_gs, fake_s3, fake_sugarsync, fake_webdav
from cftool.testing.http_fake import Authority, FakeProxy, FakeRequest, FakeResponse, FakeServer, mocked

KINDS = ("local", "memory", "s3", "gs", "gs-xml", "dropbox", "gdrive", "webdav", "nextcloud", "sugarsync")
WIRED = KINDS[2:]  # those with a service that can answer wrongly
_FIXED = {  # hosts that no setting moves
    "dropbox": fake_dropbox.HOSTS,
    "gdrive": (fake_gdrive.API, fake_gdrive.LOGIN),
    "sugarsync": ("api.sugarsync.com",),
}
_WEB = re.compile(r"https?://[^/]*/")
_numbers = itertools.count(1)  # pacers and spaces in memory are known by the remote's name, for the whole process

Change = Callable[[FakeRequest, FakeResponse], FakeResponse]


@dataclass
class Service:
    """See the module. `path` is the directory within the remote; `fake` is None for `local` and `memory`."""

    kind: str
    remote: str
    path: str
    env: dict[str, str]
    fake: object = None
    before: Callable[[FakeRequest], FakeRequest] = lambda request: request
    change: Change = lambda request, answer: answer
    requests: list[FakeRequest] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The directory's address."""
        return f"{self.remote}:{self.path}"

    def handle(self, request: FakeRequest) -> FakeResponse:
        """One request, and what happens to its answer on the way."""
        self.requests.append(request)
        return self.change(request, self.fake.handle(self.before(request)))

    def put(self, name: str, data: bytes) -> None:
        """A file in the directory, past the command and past all checks of the service."""
        path = f"{self.path}/{name}"
        bucket, _, key = path.partition("/")
        if self.kind in {"s3", "gs", "gs-xml"}:
            self.fake.make(bucket, [key], data)
        elif self.kind == "gdrive":
            self.fake.add(path, data)
        elif self.kind == "nextcloud":
            self.fake.put(path, data)
            self.fake.nodes[path].checksums = f"SHA1:{hashlib.sha1(data).hexdigest()}"
        elif self.fake is not None:
            self.fake.put(path, data)
        elif self.kind == "local":
            target = os.path.join(os.fsencode("/" + self.path), os.fsencode(name))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            Path(os.fsdecode(target)).write_bytes(data)
        else:
            with self._store() as store:
                ops.write_bytes(store, path, data)

    def stored(self) -> dict[str, bytes]:
        """Every file below the directory, by its path there."""
        bucket = self.path.partition("/")[0]
        if self.kind in {"s3", "gs", "gs-xml"}:
            found = {f"{bucket}/{key}": stored.data for key, stored in self.fake.buckets[bucket].items()}
            found = {path: data for path, data in found.items() if not path.endswith("/")}
        elif self.kind in {"gdrive", "sugarsync"}:
            found = {path: data for path, data in self.fake.tree().items() if data is not None}
        elif self.fake is not None:
            found = self.fake.files()
        else:
            with self._store() as store:
                listed = [entry.path for entry in store.walk(self.path) if not entry.is_dir]
                found = {path: ops.read_bytes(store, path) for path in listed}
        lead = self.path + "/"
        return {path[len(lead) :]: data for path, data in found.items() if path.startswith(lead)}

    @contextlib.contextmanager
    def _store(self):
        config = Config("", os.environ)
        opened = open_address(parse(f"{self.remote}:", remotes=config.known()), config, context=OpenContext(os.environ))
        try:
            yield opened.store
        finally:
            opened.store.close()


def _settings(kind: str, fake: object, url: str) -> dict[str, str]:
    """The options of the remote."""
    if kind == "s3":
        return {
            "TYPE": "s3",
            "ENDPOINT_URL": url,
            "ACCESS_KEY_ID": fake_s3.ACCESS_KEY,
            "SECRET_ACCESS_KEY": fake_s3.SECRET_KEY,
            "REGION": "us-east-1",
        }
    if kind == "gs":
        return {"TYPE": "gs", "ENDPOINT_URL": url, "ANONYMOUS": "true"}
    if kind == "gs-xml":
        keys = {"ACCESS_KEY_ID": fake_gs.ACCESS_KEY, "SECRET_ACCESS_KEY": fake_gs.SECRET_KEY}
        return {"TYPE": "gs", "ENDPOINT_URL": url, **keys}
    if kind == "dropbox":
        return {"TYPE": "dropbox", "APP_KEY": "key", "REFRESH_TOKEN": fake.oauth.grant()}
    if kind == "gdrive":
        keys = {"CLIENT_ID": fake_gdrive.CLIENT_ID, "CLIENT_SECRET": fake_gdrive.CLIENT_SECRET}
        return {"TYPE": "gdrive", "REFRESH_TOKEN": fake_gdrive.REFRESH, **keys}
    if kind in {"webdav", "nextcloud"}:
        login = {"USER": "me", "PASSWORD": "p"}
        return {"TYPE": "webdav", "URL": url + fake.habits.base, **login}
    keys = {"ACCESS_KEY_ID": fake_sugarsync.ACCESS_KEY, "PRIVATE_ACCESS_KEY": fake_sugarsync.PRIVATE_KEY}
    return {"TYPE": "sugarsync", "APP_ID": fake_sugarsync.APP_ID, "REFRESH_TOKEN": fake_sugarsync.REFRESH, **keys}


def _service(kind: str) -> object:
    """A fake with the empty directory in it."""
    if kind == "s3":
        fake = fake_s3.FakeS3()
        fake.make("bucket", ["d/"], b"")
    elif kind in {"gs", "gs-xml"}:
        fake = fake_gs.FakeGS()
        fake.public = kind == "gs"
        fake.make("bucket", ["d/"], b"")
    elif kind == "dropbox":
        fake = fake_dropbox.FakeDropbox()
        fake.put("d", None)
    elif kind == "gdrive":
        fake = fake_gdrive.FakeGDrive()
        fake.folder("d")
    elif kind in {"webdav", "nextcloud"}:
        vendor = "nextcloud" if kind == "nextcloud" else "plain"
        fake = fake_webdav.FakeWebDav(fake_webdav.Habits(vendor=vendor, user="me", password="p"))
        fake.mkdir("d")
    else:
        fake = fake_sugarsync.FakeSugarSync()
        fake.folder("Top")
    return fake


@contextlib.contextmanager
def served(
    kind: str, tmp_path: Path, *, sockets: bool = False, authority: Authority | None = None
) -> Iterator[Service]:
    """A service of this kind for as long as the block lasts; `authority` signs where TLS is needed."""
    remote = f"lab{next(_numbers)}"
    if kind in {"local", "memory"}:
        service = Service(kind, remote, "d", {f"CFTOOL_{remote.upper()}_TYPE": kind})
        if kind == "local":
            service.path = str(tmp_path / "served")[1:]
            (tmp_path / "served").mkdir()
        with _environment(service.env):
            if kind == "memory":
                with service._store() as store:
                    store.mkdir("d")
            yield service
        return
    path = {"s3": "bucket/d", "gs": "bucket/d", "gs-xml": "bucket/d", "sugarsync": "Top"}.get(kind, "d")
    service = Service(kind, remote, path, {}, _service(kind))
    with contextlib.ExitStack() as stack:
        url, extra = f"https://{remote}.test", {"CFTOOL_TRANSPORT": "requests"}
        if not sockets:
            stack.enter_context(mocked(service.handle, _WEB))
        elif kind in _FIXED:
            hosts = _FIXED[kind]
            server = stack.enter_context(FakeServer(service.handle, tls=authority, hosts=hosts))
            resolve = {f"{host}:443": ("127.0.0.1", server.port) for host in hosts}
            proxy = stack.enter_context(FakeProxy(resolve=resolve))
            trusted = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), authority.bundle)
            extra = {"HTTPS_PROXY": proxy.url, "CFTOOL_TRANSPORT": "curl", **trusted}
        else:
            server = stack.enter_context(FakeServer(service.handle))
            url, extra = server.url, {"CFTOOL_TRANSPORT": "curl"}
        settings = _settings(kind, service.fake, url)
        service.env = {f"CFTOOL_{remote.upper()}_{name}": value for name, value in settings.items()} | extra
        stack.enter_context(_environment(service.env))
        yield service


@contextlib.contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def without_waiting(monkeypatch) -> None:
    """Retries of all clients made from now on come at once: the dice say nought, and what is slept is skipped."""
    skipped = [0.0]

    def sleep(seconds: float) -> None:
        skipped[0] += seconds

    def clock() -> Clock:
        return Clock(monotonic=lambda: time.monotonic() + skipped[0], sleep=sleep, random=lambda: 0.0)

    monkeypatch.setattr(http_client, "Clock", clock)
