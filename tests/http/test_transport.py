"""What a transport does with good, bad and broken answers: the same on both, over plain, TLS and a proxy."""

import threading
import time
from types import SimpleNamespace

import pytest

from cftool.core.errors import (
    ConfigError,
    ConnectionFailed,
    InvalidName,
    LoginRequired,
    PermissionDenied,
    ProtocolError,
    SourceChanged,
    StoreError,
    TLSFailed,
)
from cftool.http.open import open_transport
from cftool.http.types import Body, Request, TransportOptions
from cftool.testing.http_fake import FakeProxy, FakeResponse, FakeServer, Fault, Wire
from tests.http.conftest import IMPATIENT, PATIENT

BODY = bytes(range(256)) * 40


def echo(request):
    lines = "".join(f"{name}={value}\n" for name, value in sorted(request.headers.items()))
    return FakeResponse(
        200, (("X-Method", request.method), ("X-Target", request.target)), lines.encode() + request.body
    )


def answering(*responses):
    """A handler that gives these, one after the other, then the last again and again."""
    waiting = list(responses)
    return lambda request: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def faulty(wire, **fields):
    return answering(FakeResponse(200, (), BODY, Fault(wire, **fields)))


# ---- good answers


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PROPFIND", "MKCOL", "COPY", "OPTIONS", "PATCH"])
def test_method_target_headers_and_body_arrive_as_they_were_given(open_net, method):
    net = open_net(echo)
    body = b"content" if method in {"PUT", "POST", "PROPFIND", "PATCH"} else b""
    answer = net.fetch(method, "/a//b/../%7Ec%2Fd?q=%20&uploads", [("X-One", "1"), ("x-empty", "")], body=body)
    received = net.server.requests[0]
    assert (answer.status, received.method, received.target) == (200, method, "/a//b/../%7Ec%2Fd?q=%20&uploads")
    assert received.body == body
    assert received.header("x-one") == "1"
    assert received.header("x-empty") == ""
    assert received.header("user-agent") == "cftool"
    assert received.header("content-length") in ({str(len(body))} if body else {None, "0"})
    for absent in ("content-type", "expect", "transfer-encoding", "cookie"):
        assert received.header(absent) is None
    assert received.header("accept-encoding") in {None, "identity"}


def test_head_has_headers_and_no_body(open_net):
    net = open_net(answering(FakeResponse(200, (("ETag", '"x"'),), BODY)))
    answer = net.fetch("HEAD", max_body=10)
    assert (answer.status, answer.header("content-length"), answer.header("etag"), answer.body) == (
        200,
        str(len(BODY)),
        '"x"',
        b"",
    )


def test_the_same_handle_changes_between_all_kinds_of_request(open_net):
    net = open_net(echo)
    large = Body(300_000, lambda size, offset: b"\1" * size)
    for method, body in [
        ("PUT", large), ("GET", b""), ("HEAD", b""), ("POST", b"x"), ("HEAD", b""), ("PUT", large), ("DELETE", b""),
        ("PUT", b""), ("PUT", large), ("POST", b"y"), ("GET", b""), ("HEAD", b""), ("GET", b""),
    ]:  # fmt: skip
        answer = net.fetch(method, body=body)
        received = net.server.requests[-1]
        assert (answer.status, received.method) == (200, method)
        assert len(received.body) == (300_000 if body is large else len(body))


def test_chunked_close_delimited_empty_and_bodiless_answers_are_read(open_net):
    net = open_net(
        answering(
            FakeResponse(200, (), BODY, Fault(Wire.CHUNKED)),
            FakeResponse(200, (), BODY, Fault(Wire.CLOSE_DELIMITED)),
            FakeResponse(200),
            FakeResponse(204),
            FakeResponse(304, (("ETag", "x"),)),
            FakeResponse(200, (), BODY, Fault(Wire.EXTRA, data=b"more than was promised")),
        )
    )
    assert [net.fetch().body for _ in range(6)] == [BODY, BODY, b"", b"", b"", BODY]


def test_repeated_cookies_are_joined_and_utf8_in_headers_survives(open_net):
    headers = (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Amz-Meta-Name", "grün"), ("X-Twice", "1"))
    answer = open_net(answering(FakeResponse(200, headers))).fetch()
    assert answer.header("set-cookie") == "a=1, b=2"
    assert answer.header("x-amz-meta-name") == "grün"


def test_cookies_are_not_sent_back(open_net):
    net = open_net(answering(FakeResponse(200, (("Set-Cookie", "session=1; Path=/"),))))
    net.fetch()
    net.fetch()
    assert net.server.requests[1].header("cookie") is None


def test_header_values_beyond_ascii_are_sent_as_utf8(open_net):
    net = open_net(echo)
    net.fetch(headers=[("x-amz-meta-name", "grün")])
    assert net.server.requests[0].header("x-amz-meta-name") == "grün"


def test_a_large_body_goes_up_through_pread_and_a_large_answer_comes_down_in_pieces(open_net):
    content = bytes(range(256)) * 20_000
    net = open_net(lambda request: FakeResponse(200, (), request.body))
    request = net.request("PUT", body=Body(len(content), lambda size, offset: content[offset : offset + size]))
    with net.transport.send(request, ()) as stream:
        pieces = list(stream.chunks())
    assert b"".join(pieces) == content
    assert len(pieces) > 10


def test_connections_are_kept_and_used_again(open_net):
    net = open_net(echo)
    for method in ("GET", "PUT", "GET", "HEAD", "DELETE"):
        net.fetch(method)
    assert net.server.connections == 1


def test_a_stream_closed_before_its_end_drops_the_connection(open_net):
    net = open_net(answering(FakeResponse(200, (), b"x" * 3_000_000)))
    with net.transport.send(net.request(), ()) as stream:
        assert next(iter(stream.chunks()))
    assert len(net.fetch().body) == 3_000_000
    assert net.server.connections == 2


def test_a_stream_closed_at_its_end_keeps_the_connection(open_net):
    net = open_net(answering(FakeResponse(200, (), b"")))
    for _ in range(3):
        net.transport.send(net.request(), ()).close()
    assert net.server.connections == 1


def test_two_streams_at_once_do_not_disturb_each_other(open_net):
    net = open_net(lambda request: FakeResponse(200, (), request.target.encode() * 100_000))
    with net.transport.send(net.request(target="/a"), ()) as a, net.transport.send(net.request(target="/b"), ()) as b:
        first, second = iter(a.chunks()), iter(b.chunks())
        start = next(first), next(second)
        assert start[0] + b"".join(first) == b"/a" * 100_000
        assert start[1] + b"".join(second) == b"/b" * 100_000


def test_interim_answers_are_passed_over(open_net):
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok"
    net = open_net(answering(FakeResponse(fault=Fault(Wire.RAW, data=raw))))
    if net.kind == "requests":  # http.client takes the first block for the answer: refused, never believed
        with pytest.raises(ProtocolError, match="interim"):
            net.fetch()
        return
    answer = net.fetch()
    assert (answer.status, answer.header("x-a"), answer.body) == (200, "b", b"ok")


# ---- redirects and credentials


def test_redirects_are_answers_and_nothing_is_sent_elsewhere(open_net):
    with FakeServer(echo) as elsewhere:
        net = open_net(answering(FakeResponse(307, (("Location", elsewhere.url + "/y"),))))
        answer = net.fetch(headers=[("Authorization", "secret"), ("X-Amz-Security-Token", "secret")])
        assert (answer.status, answer.header("location")) == (307, elsewhere.url + "/y")
        assert elsewhere.requests == []


def test_a_url_with_credentials_is_refused_and_they_are_not_repeated(open_net):
    net = open_net(echo)
    with pytest.raises(ConfigError, match="user name or password") as raised:
        net.transport.send(Request("GET", net.server.url.replace("://", "://user:hunter2@")), ())
    assert "hunter2" not in str(raised.value)
    assert net.server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.test/",
        "file:///etc/passwd",
        "x",
        "http:///x",
        "http://a.test/ü",
        "http://a.test/ b",
        "http://a.test/\r\nX: y",
        "http://a.test/#f",
    ],
)
def test_urls_that_must_not_be_sent_are_refused(open_net, url):
    with pytest.raises(ConfigError, match="the URL"):
        open_net(echo).transport.send(Request("GET", url), ())


@pytest.mark.parametrize(
    "header", [("X-A", "a\r\nX-B: c"), ("X-A", "a\0b"), ("X A", "b"), ("X-A:", "b"), ("X-\n", "b")]
)
def test_headers_cannot_smuggle_others_in(open_net, header):
    net = open_net(echo)
    with pytest.raises(InvalidName):
        net.transport.send(net.request(), [header])
    assert net.server.requests == []
    assert net.fetch().status == 200  # the transport goes on


# ---- broken answers


@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        (Wire.RESET, {}),
        (Wire.CLOSE, {}),
        (Wire.RESET_BODY, {"at": 100}),
        (Wire.SHORT_BODY, {"at": 100}),
        (Wire.SHORT_BODY, {"at": 0}),
        (Wire.CHUNKED_CUT, {"at": 100}),
        (Wire.HANG, {"at": -1}),
        (Wire.HANG, {"at": 100}),
    ],
    ids=lambda value: value.name if isinstance(value, Wire) else str(value.get("at", "")),
)
def test_a_connection_that_breaks_is_a_connection_failure_that_may_have_arrived(open_net, wire, fields):
    net = open_net(faulty(wire, **fields), policy=IMPATIENT if wire is Wire.HANG else PATIENT)
    with pytest.raises(ConnectionFailed, match=r"(127\.0\.0\.1|localhost):\d+: ") as raised:
        net.fetch()
    assert raised.value.sent


def test_what_came_before_the_break_is_given_out(open_net):
    net = open_net(faulty(Wire.HANG, at=5000), policy=IMPATIENT)
    pieces = []
    with pytest.raises(ConnectionFailed), net.transport.send(net.request(), ()) as stream:
        pieces.extend(stream.chunks())
    assert b"".join(pieces) == BODY[:5000]


def test_the_transport_goes_on_after_every_fault(open_net):
    faults = [Fault(wire, at=10) for wire in (Wire.RESET, Wire.SHORT_BODY, Wire.CHUNKED_CUT, Wire.RESET_BODY)]
    net = open_net(answering(*[FakeResponse(200, (), BODY, fault) for fault in faults], FakeResponse(200, (), BODY)))
    for _ in faults:
        with pytest.raises(ConnectionFailed):
            net.fetch()
    assert net.fetch().body == BODY


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"x" * 8000) for i in range(60)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000 + b"\r\n\r\n",
    ],
    ids=["ssh", "two lengths", "many headers", "a long header"],
)
def test_what_is_no_http_is_a_protocol_error(open_net, raw):
    net = open_net(answering(FakeResponse(fault=Fault(Wire.RAW, data=raw))))
    with pytest.raises(ProtocolError):
        net.fetch()


def test_a_bad_chunk_header_is_an_error(open_net):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n"
    with pytest.raises((ConnectionFailed, ProtocolError)):
        open_net(answering(FakeResponse(fault=Fault(Wire.RAW, data=raw)))).fetch()


def test_an_encoded_body_is_refused_unless_the_request_takes_it(open_net):
    net = open_net(answering(FakeResponse(200, (("Content-Encoding", "gzip"),), b"\x1f\x8b not really")))
    with pytest.raises(ProtocolError, match="Content-Encoding 'gzip'"):
        net.fetch()
    assert net.fetch(encoded=True).body == b"\x1f\x8b not really"


def test_an_encoded_error_page_keeps_its_status(open_net):
    net = open_net(answering(FakeResponse(503, (("Content-Encoding", "gzip"),), b"\x1f\x8b")))
    [completion] = net.run([net.request()])
    assert completion.response.status == 503
    assert net.fetch().status == 503


@pytest.mark.parametrize("fault", [None, Fault(Wire.CHUNKED)])
def test_a_body_larger_than_allowed_is_refused(open_net, fault):
    net = open_net(answering(FakeResponse(200, (), BODY, fault)))
    with pytest.raises(ProtocolError, match="larger than the 100 bytes"):
        net.fetch(max_body=100)
    assert net.fetch(max_body=len(BODY)).body == BODY


# ---- bodies on their way up


def test_a_source_that_comes_short_is_source_changed(open_net):
    net = open_net(echo)
    content = b"x" * 100_000
    request = net.request("PUT", body=Body(200_000, lambda size, offset: content[offset : offset + size]))
    with pytest.raises(SourceChanged, match="it changed meanwhile"):
        net.transport.send(request, ())
    assert net.server.requests == []
    assert net.fetch().status == 200


def test_an_error_of_the_source_reaches_the_caller_as_it_is(open_net):
    net = open_net(echo)
    failure = OSError(5, "Input/output error")

    def pread(size, offset):
        raise failure

    with pytest.raises(OSError, match="Input/output error") as raised:
        net.transport.send(net.request("PUT", body=Body(10, pread)), ())
    assert raised.value is failure


def test_a_refusal_in_the_middle_of_an_upload_is_the_answer(open_net):
    net = open_net(echo, early=lambda request: FakeResponse(403, (), b"<no/>") if request.method == "PUT" else None)
    answer = net.fetch("PUT", body=Body(8 * 1024 * 1024, lambda size, offset: b"x" * size))
    assert (answer.status, answer.body) == (403, b"<no/>")
    assert net.fetch().status == 200


def test_a_refusal_that_a_reset_overtakes_counts_as_sent(open_net):
    net = open_net(echo, early=lambda request: FakeResponse(403, close=True) if request.method == "PUT" else None)
    try:
        answer = net.fetch("PUT", body=Body(8 * 1024 * 1024, lambda size, offset: b"x" * size))
    except ConnectionFailed as error:
        assert error.sent  # noqa: PT017 - either outcome is right, which one is the network's choice
    else:
        assert answer.status == 403
    assert net.fetch().status == 200


# ---- stale connections


def test_an_idempotent_request_survives_a_kept_connection_that_died(open_net):
    net = open_net(answering(FakeResponse(200, (), b"1"), FakeResponse(fault=Fault(Wire.CLOSE)), FakeResponse(200)))
    net.fetch()
    try:
        net.fetch()  # libcurl repeats it by itself; requests reports it
    except ConnectionFailed as error:
        assert (net.kind, error.sent) == ("requests", True)  # noqa: PT017 - see above
    assert net.fetch().status == 200


def test_a_request_that_is_not_idempotent_is_never_repeated_behind_our_back(open_net):
    net = open_net(
        lambda request: FakeResponse(200) if request.method == "GET" else FakeResponse(fault=Fault(Wire.CLOSE))
    )
    net.fetch()
    with pytest.raises(ConnectionFailed):
        net.fetch("POST", body=b"create", idempotent=False)
    assert [request.method for request in net.server.requests] == ["GET", "POST"]
    assert net.server.connections == 2


# ---- connections that do not come about


def test_a_refused_connection_certainly_did_not_send(kind):
    with FakeServer(echo) as server:
        url = server.url
    transport = open_transport(kind, TransportOptions())
    with pytest.raises(ConnectionFailed, match="refused") as raised:
        transport.send(Request("GET", url + "/"), ())
    assert not raised.value.sent
    transport.close()


def test_a_name_that_does_not_resolve_is_said_in_plain_words(kind):
    transport = open_transport(kind, TransportOptions())
    with pytest.raises(ConnectionFailed, match=r"no-such-host\.invalid:443: the name does not resolve") as raised:
        transport.send(Request("GET", "https://no-such-host.invalid/"), ())
    assert not raised.value.sent
    transport.close()


@pytest.mark.parametrize("way", ["tls", "proxy"])
def test_an_untrusted_certificate_fails_for_good_and_names_the_bundle(nets, way, tmp_path):
    from cftool.testing.certificates import Authority

    with Authority() as other:
        net = nets(echo, way, ca_file=other.bundle, ca_origin="SSL_CERT_FILE")
        with pytest.raises(TLSFailed) as raised:
            net.fetch()
    assert not raised.value.retryable
    assert other.bundle in str(raised.value)
    assert "SSL_CERT_FILE" in str(raised.value)
    assert net.server.requests == []


@pytest.mark.parametrize("way", ["tls", "proxy"])
def test_a_certificate_for_another_name_is_not_accepted(nets, way):
    net = nets(echo, way, hosts=("other.test",))
    with pytest.raises(TLSFailed):
        net.fetch()
    assert net.server.requests == []


def test_a_directory_of_authorities_works(nets, authority, tmp_path):
    import subprocess

    directory = tmp_path / "certs"
    directory.mkdir()
    with open(authority.bundle, "rb") as file:
        (directory / "ca.pem").write_bytes(file.read())
    if subprocess.run(["openssl", "rehash", str(directory)], check=False).returncode:
        pytest.skip("no openssl command to index the directory with")
    net = nets(echo, "tls", ca_file=None, ca_path=str(directory))
    assert net.fetch().status == 200


def test_tls_to_a_plain_port_is_a_connection_failure(kind, authority):
    with FakeServer(echo) as server:
        transport = open_transport(kind, TransportOptions(ca_file=authority.bundle))
        with pytest.raises(ConnectionFailed, match=r"TLS handshake failed \(no TLS is spoken there"):
            transport.send(Request("GET", server.url.replace("http:", "https:") + "/"), ())
        transport.close()


def test_old_tls_is_refused(kind, authority):
    import ssl
    import warnings

    server = FakeServer(echo, tls=authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        server._tls.minimum_version = ssl.TLSVersion.TLSv1
        server._tls.maximum_version = ssl.TLSVersion.TLSv1_1
    server._tls.set_ciphers("ALL:@SECLEVEL=0")
    transport = open_transport(kind, TransportOptions(ca_file=authority.bundle))
    with pytest.raises(StoreError):
        transport.send(Request("GET", server.url + "/"), ())
    assert server.requests == []
    transport.close()
    server.close()


# ---- proxies


def test_https_goes_through_connect_and_the_proxy_sees_no_request(nets):
    net = nets(echo, "proxy")
    net.fetch(headers=[("Authorization", "secret")])
    assert net.proxy.connected == [f"localhost:{net.server.port}"]
    assert net.proxy.forwarded == []


def test_plain_http_is_forwarded_in_absolute_form(nets):
    with FakeProxy() as proxy:
        net = nets(echo, "plain", proxies={"http": proxy.url})
        assert net.fetch(target="//a//b?q=%20").header("x-target") == "//a//b?q=%20"
        assert proxy.forwarded == [net.server.url + "//a//b?q=%20"]
        net.transport.close()


def test_credentials_of_the_proxy_come_from_its_url(nets):
    with FakeProxy(auth="user:pass word") as proxy:
        url = proxy.url.replace("://", "://user:pass%20word@")
        net = nets(echo, "tls", proxies={"https": url})
        assert net.fetch().status == 200
        assert net.server.requests[0].header("proxy-authorization") is None
        net.transport.close()


@pytest.mark.parametrize(("status", "error"), [(407, LoginRequired), (403, PermissionDenied), (502, ConnectionFailed)])
def test_a_proxy_that_refuses_is_named_as_such(nets, status, error):
    with FakeProxy(refuse=status) as proxy:
        net = nets(echo, "tls", proxies={"https": proxy.url})
        with pytest.raises(error, match="proxy") as raised:
            net.fetch()
        assert getattr(raised.value, "sent", False) is False
        net.transport.close()


def test_no_proxy_goes_direct(nets):
    with FakeProxy() as proxy:
        net = nets(echo, "tls", proxies={"https": proxy.url}, no_proxy="10.0.0.0/8,localhost")
        assert net.fetch().status == 200
        assert proxy.connections == 0


def test_the_environment_is_not_read(nets, monkeypatch, tmp_path):
    with FakeProxy() as proxy:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(name, str(tmp_path / "missing.pem"))
        (tmp_path / ".netrc").write_text("machine localhost login a password b\n")
        (tmp_path / ".netrc").chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        net = nets(echo, "tls")
        assert net.fetch().status == 200
        assert net.server.requests[0].header("authorization") is None
        assert proxy.connections == 0


# ---- threads


def test_eight_threads_share_a_transport(open_net):
    net = open_net(lambda request: FakeResponse(200, (), request.target.encode()))
    wrong: list[object] = []

    def work(number):
        for i in range(50):
            try:
                body = net.fetch(target=f"/{number}/{i}").body
            except StoreError as error:
                wrong.append(error)
            else:
                if body != f"/{number}/{i}".encode():
                    wrong.append(body)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(net.server.requests) == 400
    assert net.server.connections <= 8


def test_the_time_that_the_reader_takes_is_not_the_servers_silence(nets, monkeypatch):
    net = nets(answering(FakeResponse(200, (), b"x" * 5_000_000)), "plain")
    offset = 0.0
    if net.kind == "curl":
        from cftool.http import curl_loop

        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + offset)
        monkeypatch.setattr(curl_loop, "time", clock)
    total = 0
    with net.transport.send(net.request(), ()) as stream:
        for chunk in stream.chunks():
            total += len(chunk)
            offset += 100.0  # many times the idle timeout, spent between two pulls
    assert total == 5_000_000
