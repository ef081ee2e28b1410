"""Both transports, each over plain sockets, TLS, and TLS through a CONNECT proxy."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from cftool.http.open import open_transport
from cftool.http.types import Completion, Policy, Request, Response, Transport, TransportOptions
from cftool.testing.http_fake import Authority, FakeProxy, FakeRequest, FakeResponse, FakeServer

Handler = Callable[[FakeRequest], FakeResponse]
PATIENT = Policy(idle_timeout=20.0)  # the machine may be busy
IMPATIENT = Policy(idle_timeout=0.3)  # for answers that never come


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with Authority() as ca:
        yield ca


@pytest.fixture(params=["curl", "requests"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@dataclass
class Net:
    """A fake server as one transport reaches it."""

    kind: str
    way: str
    options: TransportOptions
    server: FakeServer
    proxy: FakeProxy | None
    transport: Transport

    def request(self, method: str = "GET", target: str = "/x", **fields) -> Request:
        return Request(method, self.server.url + target, **fields)

    def fetch(self, method: str = "GET", target: str = "/x", headers=(), **fields) -> Response:
        """One attempt, body read."""
        request = self.request(method, target, **fields)
        with self.transport.send(request, headers) as stream:
            return Response(stream.status, stream.headers, stream.read_all(request.max_body))

    def run(self, requests: Iterable[Request], concurrency: int = 8) -> list[Completion]:
        """All of them through send_many."""
        waiting = iter(requests)

        def attempts():
            request = next(waiting, None)
            return None if request is None else (request, ())

        return list(self.transport.send_many(attempts, lambda: concurrency))


@pytest.fixture(params=["plain", "tls", "proxy"])
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def nets(kind: str, authority: Authority) -> Iterator[Callable[..., Net]]:
    """Opens nets: `nets(handle, way="plain", early=None, **options)`."""
    opened: list[Net] = []

    def make(handle: Handler, way: str = "plain", early=None, hosts=("127.0.0.1", "localhost"), **fields) -> Net:
        server = FakeServer(handle, tls=None if way == "plain" else authority, early=early, hosts=hosts)
        proxy = FakeProxy() if way == "proxy" else None
        options = TransportOptions(ca_file=authority.bundle, ca_origin="ca_bundle", policy=PATIENT, connections=16)
        if proxy is not None:
            options = replace(options, proxies={"https": proxy.url})
        options = replace(options, **fields)
        net = Net(kind, way, options, server, proxy, open_transport(kind, options))
        opened.append(net)
        return net

    yield make
    for net in opened:
        net.transport.close()
        net.server.close()
        if net.proxy is not None:
            net.proxy.close()


@pytest.fixture
def open_net(nets, way: str) -> Callable[..., Net]:
    """`nets` over each way to a server."""
    return lambda handle, **fields: nets(handle, way, **fields)
