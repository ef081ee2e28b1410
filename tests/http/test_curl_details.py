"""What only libcurl has: its loop, its pools, its codes."""

import gc
import os
import select
import socket
from functools import partial

import pycurl
import pytest

from cftool.core.errors import ConnectionFailed, LoginRequired, PermissionDenied, ProtocolError, TLSFailed
from cftool.http import curl_loop
from cftool.http.curl import CurlTransport
from cftool.http.curl_errors import failure
from cftool.http.curl_handle import STREAM_BUFFER, Handle
from cftool.http.types import Body, Request, TransportOptions
from cftool.testing.http_fake import FakeResponse, FakeServer


def fail(code, text="", *, began=True, connect_code=0, proxy=""):
    return failure(code, text, place="h:1", began=began, connect_code=connect_code, trust="ca.pem", proxy=proxy)


@pytest.mark.parametrize("code", [5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 65, 97, 9999])
def test_codes_of_the_network_are_connection_failures(code):
    assert type(fail(code)) is ConnectionFailed
    assert fail(code).sent is (code not in {5, 6, 7, 35, 97})
    assert fail(code, began=False).sent is False


@pytest.mark.parametrize("code", [51, 60, 77, 83, 91])
def test_codes_of_certificates_are_final(code):
    assert type(fail(code, "self-signed")) is TLSFailed
    assert "self-signed; trusted is ca.pem" in str(fail(code, "self-signed"))


@pytest.mark.parametrize("code", [1, 3, 8, 61, 63, 100])
def test_codes_of_broken_http_are_protocol_errors(code):
    assert type(fail(code)) is ProtocolError


def test_refusals_of_the_proxy():
    assert type(fail(56, connect_code=407)) is LoginRequired
    assert type(fail(7, connect_code=403)) is PermissionDenied
    assert type(fail(56, connect_code=503)) is ConnectionFailed
    assert type(fail(60, connect_code=407)) is TLSFailed


def test_a_proxy_that_cannot_be_reached_is_named_without_its_password():
    said = str(fail(7, proxy="http://me:secret@proxy:3128"))
    assert said == "h:1: the connection was refused or there is no route, by way of the proxy proxy:3128"
    assert "proxy" not in str(fail(56, proxy="http://proxy:3128"))


def test_foreign_words_are_printable():
    assert "\x1b" not in str(fail(60, "\x1b[2J"))


def ok(request):
    return FakeResponse(200, (), request.target.encode())


def test_every_descriptor_and_handle_is_given_back():
    gc.collect()
    before = len(curl_loop._open)
    with FakeServer(ok) as server:
        transport = CurlTransport(TransportOptions())
        for _ in range(3):
            transport.send(Request("GET", server.url + "/"), ()).read_all()
            waiting = iter([(Request("GET", server.url + "/"), ())] * 5)
            list(transport.send_many(partial(next, waiting, None), lambda: 3))
        assert len(curl_loop._open) == before + 2
        transport.close()
        transport.close()
    assert len(curl_loop._open) == before


def test_what_is_given_back_after_close_is_closed():
    before = len(curl_loop._open)
    with FakeServer(lambda request: FakeResponse(200, (), b"x" * 1_000_000)) as server:
        transport = CurlTransport(TransportOptions())
        stream = transport.send(Request("GET", server.url + "/"), ())
        waiting = [(Request("GET", server.url + "/"), ()) for _ in range(2)]
        run = transport.send_many(lambda: waiting.pop() if waiting else None, lambda: 1)
        next(run)
        transport.close()
        assert len(stream.read_all()) == 1_000_000
        run.close()
        assert len(curl_loop._open) == before


def test_a_transport_and_a_stream_that_are_forgotten_close_themselves():
    before = len(curl_loop._open)
    with FakeServer(lambda request: FakeResponse(200, (), b"x" * 1_000_000)) as server:
        CurlTransport(TransportOptions()).send(Request("GET", server.url + "/"), ())
        gc.collect()
        assert len(curl_loop._open) == before


def test_no_more_lanes_are_kept_than_allowed():
    with FakeServer(lambda request: FakeResponse(200, (), b"x" * 1_000_000)) as server:
        transport = CurlTransport(TransportOptions(connections=2))
        streams = [transport.send(Request("GET", server.url + "/"), ()) for _ in range(5)]
        for stream in streams:
            assert len(stream.read_all()) == 1_000_000
        assert len(transport._lanes) == 2
        transport.close()


def test_a_stream_can_be_closed_by_its_own_reader():
    with FakeServer(lambda request: FakeResponse(200, (), b"x" * 1_000_000)) as server:
        transport = CurlTransport(TransportOptions())
        stream = transport.send(Request("GET", server.url + "/"), ())
        for _ in stream.chunks():
            stream.close()
        assert list(stream.chunks()) == []
        transport.close()


def test_little_of_a_large_answer_waits_in_memory():
    with FakeServer(lambda request: FakeResponse(200, (), b"x" * 20_000_000)) as server:
        transport = CurlTransport(TransportOptions())
        with transport.send(Request("GET", server.url + "/"), ()) as stream:
            most = max(stream._lane.handle.waiting for _ in stream.chunks())
        assert 0 < most <= STREAM_BUFFER + 16 * 1024
        transport.close()


def test_descriptors_beyond_those_of_select_work():
    """libcurl's own wait uses select, which ends at descriptor 1023."""
    import os
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2200:
        pytest.skip("the system does not allow so many open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2200), hard))
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with FakeServer(ok) as server:
            transport = CurlTransport(TransportOptions())
            assert transport.send(Request("GET", server.url + "/x"), ()).read_all() == b"/x"
            transport.close()
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_descriptor_number_that_comes_back_is_watched_anew(monkeypatch):
    loop = curl_loop.Loop(connections=1, idle_timeout=1.0)
    first, first_peer = socket.socketpair()
    number = first.fileno()
    loop._on_socket(pycurl.POLL_IN, number, None, None)
    loop._on_socket(pycurl.POLL_REMOVE, number, None, None)
    first.close()  # leaves epoll; the loop does not know yet
    second, second_peer = socket.socketpair()
    with first_peer, second, second_peer:
        if second.fileno() != number:  # another thread was faster: take the number all the same
            os.dup2(second.fileno(), number)
        loop._on_socket(pycurl.POLL_OUT, number, None, None)
        assert loop._poller.poll(5) == [(number, select.EPOLLOUT)]
        loop._on_socket(pycurl.POLL_REMOVE, number, None, None)
        if second.fileno() != number:
            os.close(number)
    loop._settle()
    assert loop._registered == {}
    loop.close()


def test_an_error_inside_the_loops_own_callback_is_raised():
    loop = curl_loop.Loop(connections=1, idle_timeout=1.0)
    loop._on_socket(pycurl.POLL_IN, 10**6, None, None)  # no such descriptor
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop._finished()
    loop.close()


def test_an_upload_can_be_rewound_by_libcurl():
    handle = Handle(TransportOptions(), lambda url: "")
    from cftool.http.messages import BodyReader

    reader = BodyReader(Body(4, lambda size, offset: b"abcd"[offset : offset + size]))
    read, seek = handle._reader(reader), handle._seeker(reader)
    assert read(3) == b"abc"
    assert seek(1, 0) == pycurl.SEEKFUNC_OK
    assert read(10) == b"bcd"
    assert read(10) == b""
    assert seek(0, 2) == pycurl.SEEKFUNC_FAIL
    handle.close()


def test_a_stale_connection_under_an_upload_is_replayed_with_the_whole_body():
    """The server closes the kept connection; libcurl notices while it sends, rewinds and sends again."""
    from cftool.testing.http_fake import Fault, Wire

    answers = [FakeResponse(200), FakeResponse(fault=Fault(Wire.CLOSE)), FakeResponse(200, (), b"stored")]
    with FakeServer(lambda request: answers.pop(0)) as server:
        transport = CurlTransport(TransportOptions())
        transport.send(Request("GET", server.url + "/"), ()).read_all()
        content = bytes(range(256)) * 1000
        body = Body(len(content), lambda size, offset: content[offset : offset + size])
        stream = transport.send(Request("PUT", server.url + "/", body=body), ())
        assert stream.read_all() == b"stored"
        assert server.requests[-1].body == content
        transport.close()
