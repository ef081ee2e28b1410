"""open_client: which transport, what it is told; and whole clients over real sockets."""

import threading
from collections import Counter

import pytest

from cftool.core.errors import ConfigError, RateLimited, TLSFailed
from cftool.core.provider import Context
from cftool.http.open import open_client, open_transport
from cftool.http.retry import Clock
from cftool.http.sigv4 import Credentials, SigV4
from cftool.http.types import NoAuth, Policy, Request, TransportOptions, Verdict
from cftool.testing.clock import FakeClock
from cftool.testing.http_fake import FakeProxy, FakeResponse, FakeServer, Fault, Wire, mocked


def classify(status, headers, body):
    return {503: Verdict.SLOW_DOWN, 500: Verdict.RETRY, 403: Verdict.AUTH}.get(status, Verdict.ANSWER)


def test_the_context_names_the_transport_then_the_environment():
    def kind(**fields):
        client = open_client(Context(**fields), auth=NoAuth(), classify=classify)
        client.close()
        return type(client.transport).__name__

    assert kind() == "CurlTransport"
    assert kind(transport="requests") == "RequestsTransport"
    assert kind(env={"CFTOOL_TRANSPORT": "requests"}) == "RequestsTransport"
    assert kind(transport="curl", env={"CFTOOL_TRANSPORT": "requests"}) == "CurlTransport"
    with pytest.raises(ConfigError, match="'telnet' is neither 'curl' nor 'requests'"):
        kind(transport="telnet")


def test_without_pycurl_it_is_requests_unless_curl_was_asked_for(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cftool.http.curl", None)
    assert type(open_transport(None, TransportOptions())).__name__ == "RequestsTransport"
    with pytest.raises(ConfigError, match="'curl' is not available"):
        open_transport("curl", TransportOptions())


def test_without_epoll_it_is_requests(monkeypatch):
    import select

    monkeypatch.delattr(select, "epoll")
    assert type(open_transport(None, TransportOptions())).__name__ == "RequestsTransport"


def test_the_users_word_caps_the_connections():
    client = open_client(Context(connections=4), auth=NoAuth(), classify=classify)
    assert (client.pacer.limit, client.pacer.ceiling) == (4, 4)
    client = open_client(Context(), auth=NoAuth(), classify=classify)
    assert (client.pacer.limit, client.pacer.ceiling) == (64, 128)
    client = open_client(Context(connections=100), auth=NoAuth(), classify=classify)
    assert (client.pacer.limit, client.pacer.ceiling) == (64, 100)
    client = open_client(Context(), auth=NoAuth(), classify=classify, ceiling=256)
    assert (client.pacer.limit, client.pacer.ceiling) == (64, 256)
    client = open_client(Context(connections=100), auth=NoAuth(), classify=classify, ceiling=256)
    assert (client.pacer.limit, client.pacer.ceiling) == (64, 100)


def test_a_directory_of_certificates_and_a_file(tmp_path, authority):
    client = open_client(Context(env={"SSL_CERT_DIR": str(tmp_path)}), auth=NoAuth(), classify=classify)
    assert client.transport._options.ca_path == str(tmp_path)
    assert client.transport._options.ca_file is None
    client = open_client(Context(), auth=NoAuth(), classify=classify, ca_bundle=authority.bundle)
    assert client.transport._options.ca_file == authority.bundle
    with pytest.raises(ConfigError, match="REQUESTS_CA_BUNDLE"):
        open_client(Context(env={"REQUESTS_CA_BUNDLE": "/missing"}), auth=NoAuth(), classify=classify)


@pytest.fixture
def opened(kind):
    """Clients whose clock is a test's, over real sockets."""
    clients = []

    def make(env, auth=None, **fields):
        context = Context(env=env, transport=kind, requests=Counter())
        client = open_client(context, auth=auth or NoAuth(), classify=classify, **fields)
        clock = FakeClock()
        client.clock = client.schedule._clock = Clock(monotonic=clock, wall=clock, sleep=clock.sleep)
        client.pacer._clock = clock
        clients.append(client)
        return client, clock

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE"])
def test_each_variable_makes_a_certificate_trusted(opened, authority, variable):
    with FakeServer(lambda request: FakeResponse(200), tls=authority) as server:
        client, _ = opened({variable: authority.bundle})
        assert client.send(Request("GET", server.url + "/")).status == 200


def test_a_certificate_that_is_not_trusted_is_tried_once(opened, authority):
    with FakeServer(lambda request: FakeResponse(200), tls=authority) as server:
        client, clock = opened({})
        with pytest.raises(TLSFailed, match="not accepted"):
            client.send(Request("GET", server.url + "/", op="Get"))
        assert clock.slept == []
        assert client.requests == Counter({"Get": 1})


def test_the_proxy_of_the_environment_is_used_and_its_exceptions_obeyed(opened, authority):
    with FakeServer(lambda request: FakeResponse(200), tls=authority) as server, FakeProxy() as proxy:
        client, _ = opened({"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": authority.bundle})
        assert client.send(Request("GET", server.url + "/")).status == 200
        assert proxy.connected == [f"localhost:{server.port}"]
        direct, _ = opened({"HTTPS_PROXY": proxy.url, "NO_PROXY": ".localhost", "SSL_CERT_FILE": authority.bundle})
        assert direct.send(Request("GET", server.url + "/")).status == 200
        assert len(proxy.connected) == 1


def test_a_name_that_only_the_proxy_knows(opened, authority):
    server = FakeServer(lambda request: FakeResponse(200, (), request.host.encode()), tls=authority, hosts=("s3.test",))
    proxy = FakeProxy(resolve={"s3.test:443": ("127.0.0.1", server.port)})
    with server, proxy:
        client, _ = opened({"https_proxy": proxy.url, "SSL_CERT_FILE": authority.bundle})
        assert client.send(Request("GET", "https://s3.test/")).body == b"s3.test"


FAULTS = [
    FakeResponse(fault=Fault(Wire.RESET)),
    FakeResponse(fault=Fault(Wire.CLOSE)),
    FakeResponse(503),
    FakeResponse(500),
    FakeResponse(200, (), b"x" * 1000, Fault(Wire.SHORT_BODY, at=500)),
    FakeResponse(200, (), b"x" * 1000, Fault(Wire.RESET_BODY, at=500)),
    FakeResponse(200, (), b"x" * 1000, Fault(Wire.CHUNKED_CUT, at=500)),
]


def test_every_passing_fault_is_got_over(opened):
    waiting = list(FAULTS)
    with FakeServer(lambda request: waiting.pop(0) if waiting else FakeResponse(200, (), b"whole")) as server:
        client, clock = opened({})
        assert client.send(Request("GET", server.url + "/", op="Get")).body == b"whole"
        assert len(clock.slept) <= len(FAULTS)
        assert client.requests["Get"] <= len(FAULTS) + 1


def test_a_batch_gets_over_a_flood_of_faults(opened):
    """Every request fails once, in one of seven ways; all of them arrive in the end."""
    seen = Counter()

    def handle(request):
        seen[request.target] += 1
        return FAULTS[hash(request.target) % 7] if seen[request.target] == 1 else FakeResponse(200, (), b"whole")

    with FakeServer(handle) as server:
        client, _ = opened({}, connections=8)
        waiting = iter([Request("GET", f"{server.url}/{i}", op="Get") for i in range(100)])
        completions = list(client.send_many(lambda: next(waiting, None)))
        assert [completion.response and completion.response.body for completion in completions] == [b"whole"] * 100
        assert 100 <= client.requests["Get"] <= 200
        assert client.pacer.limit < 8


def test_retry_after_gives_up_at_once_over_sockets(opened):
    answer = FakeResponse(503, (("Retry-After", "3600"),))
    with FakeServer(lambda request: answer) as server:
        client, clock = opened({}, policy=Policy(budget=60))
        with pytest.raises(RateLimited) as raised:
            client.send(Request("GET", server.url + "/"))
        assert raised.value.retry_after == 900
        assert clock.slept == []


def test_a_skewed_clock_is_corrected_and_the_request_signed_anew(opened):
    dates = []

    def handle(request):
        dates.append(request.header("x-amz-date"))
        if len(dates) == 1:
            body = b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
            return FakeResponse(403, (("Date", "Tue, 14 Nov 2023 23:13:20 GMT"),), body)
        return FakeResponse(200)

    auth = SigV4(lambda: Credentials("a", "b"), region="r", now=lambda: 1_700_000_000.0)
    with FakeServer(handle) as server:
        client, _ = opened({}, auth=auth)
        assert client.send(Request("GET", server.url + "/")).status == 200
    assert dates == ["20231114T221320Z", "20231114T231320Z"]


def test_eight_threads_hammer_one_client(opened):
    with FakeServer(lambda request: FakeResponse(200, (), request.target.encode())) as server:
        client, _ = opened({}, connections=8)
        wrong = []

        def work(number):
            for i in range(50):
                target = f"/{number}/{i}"
                if client.send(Request("GET", server.url + target, op="Get")).body != target.encode():
                    wrong.append(target)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert client.requests == Counter({"Get": 400})
        assert server.connections <= 8


# ---- without sockets


def test_the_requests_transport_works_under_responses():
    def handle(request):
        return FakeResponse(201, (("X-Target", request.target), ("X-Host", request.host)), request.body)

    with mocked(handle, "https://s3.test") as mock:
        transport = open_transport("requests", TransportOptions())
        with transport.send(Request("PUT", "https://s3.test//a/../b?q=%2F", body=b"content"), [("x-a", "b")]) as stream:
            assert (stream.status, stream.read_all()) == (201, b"content")
            assert stream.header("x-target") == "//a/../b?q=%2F"
        assert mock.requests[0].header("x-a") == "b"
        waiting = [(Request("GET", f"https://s3.test/{i}"), ()) for i in range(10)]
        assert len(list(transport.send_many(lambda: waiting.pop() if waiting else None, lambda: 3))) == 10


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.fault], ids=lambda fault: fault.fault.wire.name)
def test_faults_are_the_same_under_responses(fault):
    from cftool.core.errors import ConnectionFailed

    with mocked(lambda request: fault, "https://s3.test"):
        transport = open_transport("requests", TransportOptions())
        with pytest.raises(ConnectionFailed) as raised:
            transport.send(Request("GET", "https://s3.test/"), ()).read_all()
        assert raised.value.sent
