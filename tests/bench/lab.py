"""The server of a benchmark: one that is given, a measuring stand-in, or one of the tests' own.

`Served` are those of small files over WebDAV and Google's API: they begin anew with what they are to hold, and their
logs count requests. A measuring stand-in (`--s3lab PATH`) counts requests, makes a million objects at once, adds
latency and speaks TLS; its control plane is below `/_lab/`. Elsewhere requests are counted only by who counts its own,
and there is no latency.
"""

import contextlib
import json
import os
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.dav_servers import DavServer, apache, rclone_dav
from tests.gs_servers import GsServer, fake_gcs
from tests.servers import S3Server, free_port, rclone_s3, running


@dataclass(slots=True)
class Lab:
    """A server with what it can do; `tls` is the same over HTTPS, with the certificate to trust."""

    server: S3Server | DavServer | GsServer
    name: str
    control: bool = False
    certificate: str | None = None
    scratch: Path = field(default_factory=Path)

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        request = urllib.request.Request(f"{self.server.url}/_lab/{path}", data=body)
        with urllib.request.urlopen(request, timeout=600, context=context) as answer:
            found: bytes = answer.read()
            return found

    def reset(self, *, data: bool = False) -> None:
        """Zero the counters; with `data` empty the store."""
        if self.control:
            self._ask("reset" + ("?data=1" if data else ""), b"")
        elif data and self.server.directory is not None:
            for bucket in self.server.directory.iterdir():
                shutil.rmtree(bucket)

    def requests(self) -> int | None:
        """Requests since the last reset, where the server counts them."""
        if not self.control:
            return None
        return int(json.loads(self._ask("stats"))["requests"])

    def latency(self, milliseconds: int) -> bool:
        """Set the time to the first byte of every answer; False where the server has no such thing."""
        if self.control:
            self._ask(f"latency?ms={milliseconds}", b"")
        return self.control or milliseconds == 0

    def fill(self, bucket: str, count: int, *, per_folder: int = 1000) -> None:
        """Objects `d00000/file-0000000.dat` and so on, of 10 bytes."""
        if self.control:
            asked = {"bucket": bucket, "prefix": "", "count": count, "size": 10, "perdir": per_folder}
            self._ask("fill", json.dumps(asked).encode())
            return
        if self.server.directory is None:
            raise SystemExit("this server cannot be filled from here: give --s3lab, or leave --server out")
        for number in range(count):
            folder = self.server.directory / bucket / f"d{number // per_folder:05d}"
            if number % per_folder == 0:
                folder.mkdir(parents=True)
            (folder / f"file-{number:07d}.dat").write_bytes(bytes(10))

    def make_bucket(self, bucket: str) -> None:
        """An empty bucket, for peers that do not make one."""
        if self.control:
            self._ask("fill", json.dumps({"bucket": bucket, "prefix": "", "count": 0, "size": 0}).encode())
        elif self.server.directory is not None:
            (self.server.directory / bucket).mkdir(exist_ok=True)


def _has_control(url: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/_lab/stats", timeout=5):
        return True
    return False


@contextlib.contextmanager
def stand_in(binary: str, *, tls: bool = False) -> Iterator[Lab]:
    """The measuring stand-in as a process of ours."""
    port = free_port()
    flags = ["-tls"] if tls else []
    with running([binary, "-addr", f"127.0.0.1:{port}", *flags], port), tempfile.TemporaryDirectory() as scratch:
        scheme = "https" if tls else "http"
        certificate = None
        if tls:
            certificate = str(Path(scratch) / "server.pem")
            Path(certificate).write_text(ssl.get_server_certificate(("127.0.0.1", port)))
        yield Lab(S3Server("s3lab", f"{scheme}://127.0.0.1:{port}"), "s3lab", control=True, certificate=certificate)


@contextlib.contextmanager
def given(url: str) -> Iterator[Lab]:
    """A server that somebody started; keys as the SDKs read them from the environment, else our own servers'."""
    keys = {
        field: os.environ[name]
        for field, name in (("access_key", "AWS_ACCESS_KEY_ID"), ("secret_key", "AWS_SECRET_ACCESS_KEY"))
        if name in os.environ
    }
    host = urlsplit(url).hostname or url
    yield Lab(S3Server("given", url.rstrip("/"), **keys), host, control=_has_control(url.rstrip("/")))


@contextlib.contextmanager
def local_rclone(scratch: Path) -> Iterator[Lab]:
    """`rclone serve s3` over a directory below `scratch`."""
    directory = scratch / "served"
    directory.mkdir()
    with rclone_s3(directory) as server:
        yield Lab(server, "rclone serve s3")


@dataclass(slots=True)
class Service:
    """A kind of server: `start` makes one that logs there, and `counts` tells a request among the lines."""

    name: str
    start: Callable[[Path, Path, Path | None], AbstractContextManager[DavServer | GsServer]]
    counts: Callable[[str], bool] = lambda _line: True


class Served(Lab):
    """A server that begins anew whenever its content has to be another; `server` is the one that runs now."""

    def __init__(self, service: Service, scratch: Path, stack: contextlib.ExitStack) -> None:
        self.service = service
        self.name, self.control, self.certificate, self.scratch = service.name, False, None, scratch
        self._stack = stack
        self._began = 0
        self._passed = 0  # bytes of the log that are no longer counted
        self._log = scratch / "log"

    def begin(self, stock: Path | None = None) -> None:
        """A new server, with a copy of the folder `stock` as `bench/data`."""
        self._stack.close()
        self._began += 1
        place = self.scratch / f"served-{self._began}"
        self._stack.callback(shutil.rmtree, place)
        self._log = place / "log"
        self._passed = 0
        place.mkdir()
        self.server = self._stack.enter_context(self.service.start(place, self._log, stock))

    def reset(self, *, data: bool = False) -> None:
        """Zero the counter; with `data` empty the store."""
        if data:
            self.begin()
        self._passed = self._log.stat().st_size

    def requests(self) -> int | None:
        """By the server's log."""
        with self._log.open(errors="surrogateescape") as log:
            log.seek(self._passed)
            return sum(map(self.service.counts, log))

    def files(self) -> Path | None:
        """Where the server keeps what clients wrote to `bench/data`, if that is in files."""
        return self.server.root / "bench" / "data" if isinstance(self.server, DavServer) else None


def _stocked(server: DavServer, stock: Path | None) -> DavServer:
    """Before anybody asks: nothing is cached yet."""
    if stock is not None:
        target = server.root / "bench" / "data"
        shutil.copytree(stock, target)
        owner = server.root.stat()
        for folder, _, names in os.walk(server.root):
            for name in ("", *names):
                os.chown(os.path.join(folder, name), owner.st_uid, owner.st_gid)
    return server


@contextlib.contextmanager
def _rclone_webdav(place: Path, log: Path, stock: Path | None) -> Iterator[DavServer]:
    with rclone_dav(place / "dav", "--log-level", "INFO", "--log-file", str(log)) as server:
        yield _stocked(server, stock)


@contextlib.contextmanager
def _apache(place: Path, log: Path, stock: Path | None) -> Iterator[DavServer]:
    del place  # it has rights to a directory of its own only
    with apache(log=log) as server:
        yield _stocked(server, stock)


@contextlib.contextmanager
def _fake_gcs(place: Path, log: Path, stock: Path | None) -> Iterator[GsServer]:
    buckets = place / "buckets"
    (buckets / "bench").mkdir(parents=True)
    if stock is not None:
        shutil.copytree(stock, buckets / "bench" / "data")
    with fake_gcs(data=buckets, log=log) as server:
        yield server


RCLONE_WEBDAV = Service("rclone serve webdav", _rclone_webdav, lambda line: " from 127.0.0.1:" in line)
APACHE = Service("Apache mod_dav", _apache)
FAKE_GCS = Service("fake-gcs-server", _fake_gcs, lambda line: "HTTP/1.1" in line)


@contextlib.contextmanager
def served(service: Service, scratch: Path) -> Iterator[Served]:
    """A lab of that kind, below `scratch`."""
    with tempfile.TemporaryDirectory(dir=scratch) as place, contextlib.ExitStack() as stack:
        lab = Served(service, Path(place), stack)
        lab.begin()
        yield lab
