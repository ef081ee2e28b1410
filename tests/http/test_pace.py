"""A run that is held back: every body is told to the pace, in pieces, whole and unchanged, over both transports."""

import threading

import pytest

from cftool.http.types import Body
from cftool.testing.http_fake import FakeResponse

DATA = bytes(range(256)) * 400  # 100 KiB


class Pace:
    """Writes down what it hears; holds nothing back."""

    def __init__(self, piece=5000):
        self.size, self.sent, self.received = piece, [], []
        self._lock = threading.Lock()

    def piece(self):
        return self.size

    def up(self, count):
        with self._lock:
            self.sent.append(count)

    def down(self, count):
        with self._lock:
            self.received.append(count)


def echo(request):
    return FakeResponse(200, body=request.body)


@pytest.mark.parametrize("body", [DATA, Body(len(DATA), lambda size, at: DATA[at : at + size])], ids=["bytes", "body"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_large_bodies_go_in_pieces_and_arrive_whole(nets, body, method):
    pace = Pace()
    net = nets(echo, pace=pace)
    assert net.fetch(method, body=body).body == DATA
    assert net.server.requests[-1].body == DATA
    assert (sum(pace.sent), max(pace.sent) <= 5000) == (len(DATA), True)
    assert sum(pace.received) == len(DATA)


def test_small_bodies_go_at_once_and_requests_without_one_are_free(nets):
    pace = Pace()
    net = nets(echo, pace=pace)
    assert net.fetch("PUT", body=b"x" * 100).body == b"x" * 100
    assert pace.sent == [100]
    net.fetch("GET")
    assert sum(pace.sent) == 100


def test_many_at_once_share_it(nets):
    pace = Pace()
    net = nets(echo, pace=pace)
    completions = net.run(net.request("PUT", f"/{number}", body=DATA) for number in range(6))
    assert [completion.response.body == DATA for completion in completions] == [True] * 6
    assert (sum(pace.sent), sum(pace.received)) == (6 * len(DATA), 6 * len(DATA))


def test_a_body_that_is_read_by_a_sink_counts_once(nets):
    class Sink:
        def __init__(self):
            self.data = b""

        def start(self, response):
            self.data = b""

        def write(self, chunk):
            self.data += chunk

    pace, sink = Pace(), Sink()
    net = nets(lambda request: FakeResponse(200, body=DATA), pace=pace)
    net.run([net.request(sink=sink)])
    assert (sink.data == DATA, sum(pace.received)) == (True, len(DATA))


def test_a_slow_reader_is_told_of_each_byte_once(nets):
    """A stream that pauses gets the same piece twice from libcurl."""
    pace = Pace()
    large = DATA * 20
    net = nets(lambda request: FakeResponse(200, body=large), pace=pace)
    with net.transport.send(net.request(), ()) as stream:
        assert b"".join(stream.chunks()) == large
    assert sum(pace.received) == len(large)
