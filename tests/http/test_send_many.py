"""send_many of both transports: concurrency, order of asking, sinks, faults of single requests, follow-ups."""

import threading
from contextlib import closing

import pytest

from cftool.core.errors import ConfigError, ConnectionFailed, IntegrityError, ProtocolError, SourceChanged
from cftool.http.types import Body
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from tests.http.conftest import IMPATIENT


class Collect:
    """A sink that remembers all that happens to it."""

    def __init__(self):
        self.events = []
        self.data = b""
        self.thread = None

    def start(self, response):
        self.events.append(("start", response.status, response.header("x-a")))
        self.data = b""

    def write(self, chunk):
        assert len(chunk) <= 16 * 1024
        self.thread = threading.current_thread()
        self.data += chunk


class Batched(Collect):
    def __init__(self):
        super().__init__()
        self.batches = []

    def write_batch(self, chunks):
        self.batches.append(len(chunks))
        self.data += b"".join(chunks)


def echo(request):
    return FakeResponse(200, (("X-A", "b"),), request.target.encode() + request.body)


def test_every_request_gets_its_own_answer(open_net):
    net = open_net(echo)
    requests = [net.request("PUT", f"/{i}", body=b"%d" % i, tag=i) for i in range(100)]
    completions = net.run(requests)
    assert sorted(completion.request.tag for completion in completions) == list(range(100))
    for completion in completions:
        assert completion.error is None
        assert completion.response.body == f"/{completion.request.tag}{completion.request.tag}".encode()
    assert net.server.connections <= 8


def test_connections_survive_from_one_run_to_the_next(open_net):
    net = open_net(echo)
    for _ in range(3):
        net.run([net.request(target=f"/{i}") for i in range(10)], concurrency=2)
    assert net.server.connections <= 2 if net.kind == "curl" else net.server.connections <= 6


def test_concurrency_is_asked_again_and_again(nets):
    net = nets(echo, "plain")
    seen, busy, most = iter(range(40)), 0, 0
    limit = [1]

    def attempts():
        nonlocal busy, most
        number = next(seen, None)
        if number is None:
            return None
        busy += 1
        most = max(most, busy)
        return net.request(target=f"/{number}"), ()

    highest = {}
    for _ in net.transport.send_many(attempts, lambda: limit[0]):
        busy -= 1
        highest[limit[0]] = max(highest.get(limit[0], 0), busy + 1)
        limit[0] = 4
    assert highest[1] == 1
    assert most <= 4
    assert busy == 0


def test_follow_ups_that_the_caller_queues_are_sent(open_net):
    net = open_net(echo)
    queue = [net.request(target="/start", tag=3)]
    seen = []
    for completion in net.transport.send_many(lambda: (queue.pop(0), ()) if queue else None, lambda: 4):
        seen.append(completion.response.body)
        depth = completion.request.tag
        if depth:
            queue.extend(net.request(target=f"/{depth}/{i}", tag=depth - 1) for i in range(2))
    assert len(seen) == 1 + 2 + 4 + 8


def test_a_float_means_ask_again_after_that_time_or_a_completion(nets):
    net = nets(echo, "plain")
    script = [(net.request(target="/a"), ()), 0.01, (net.request(target="/b"), ()), 30.0, None]
    asked = []

    def attempts():
        step = script.pop(0) if script else None  # asked once more where /b completes after the None
        asked.append(step if not isinstance(step, tuple) else "request")
        return step

    # 30 s are cut short by the completion of /b (or of /a): else this test would time out.
    answers = [completion.response.body for completion in net.transport.send_many(attempts, lambda: 8)]
    assert sorted(answers) == [b"/a", b"/b"]
    assert asked[-1] is None


def test_nothing_to_do_ends_at_once(kind, nets):
    net = nets(echo, "plain")
    assert list(net.transport.send_many(lambda: None, lambda: 8)) == []
    assert net.server.connections == 0


def test_a_sink_gets_the_body_of_a_success_and_only_of_one(open_net):
    net = open_net(lambda request: FakeResponse(int(request.target[1:]), (("X-A", "b"),), b"0123456789" * 5000))
    sinks = {status: Collect() for status in (200, 206, 404)}
    completions = net.run(
        [net.request(target=f"/{status}", sink=sink, max_body=60_000) for status, sink in sinks.items()]
    )
    bodies = {completion.response.status: completion.response.body for completion in completions}
    assert bodies == {200: b"", 206: b"", 404: b"0123456789" * 5000}
    for status in (200, 206):
        assert sinks[status].data == b"0123456789" * 5000
        assert sinks[status].events == [("start", status, "b")]
        assert sinks[status].thread is threading.current_thread()
    assert sinks[404].events == []


def test_a_sink_is_not_bounded_by_max_body_and_is_told_of_an_empty_one(open_net):
    net = open_net(lambda request: FakeResponse(200, (), b"x" * int(request.target[1:])))
    large, empty = Collect(), Collect()
    net.run([net.request(target="/1000000", sink=large, max_body=10), net.request(target="/0", sink=empty)])
    assert len(large.data) == 1_000_000
    assert empty.events == [("start", 200, None)]


def test_a_batch_sink_gets_its_pieces_in_batches(nets):
    net = nets(lambda request: FakeResponse(200, (), bytes(range(256)) * 8000), "plain")
    sink = Batched()
    [completion] = net.run([net.request(sink=sink)])
    assert completion.error is None
    assert sink.data == bytes(range(256)) * 8000
    assert len(sink.batches) > 1
    assert max(sink.batches) == (8 if net.kind == "curl" else 1)


@pytest.mark.parametrize("where", ["start", "write"])
def test_an_error_of_a_sink_is_that_requests_error_and_nobody_elses(open_net, where):
    net = open_net(lambda request: FakeResponse(200, (), b"x" * 500_000))
    failure = IntegrityError("wrong hash")

    class Failing(Collect):
        def start(self, response):
            if where == "start":
                raise failure

        def write(self, chunk):
            raise failure

    good = Collect()
    completions = net.run([net.request(target="/bad", sink=Failing()), net.request(target="/good", sink=good)])
    errors = {completion.request.url.rpartition("/")[2]: completion.error for completion in completions}
    assert errors == {"bad": failure, "good": None}
    assert len(good.data) == 500_000


def test_one_broken_answer_does_not_disturb_the_others(open_net):
    faults = {
        "/reset": Fault(Wire.RESET),
        "/short": Fault(Wire.SHORT_BODY, at=10),
        "/raw": Fault(Wire.RAW, data=b"what?\r\n\r\n"),
    }
    net = open_net(lambda request: FakeResponse(200, (), b"x" * 100, faults.get(request.target)))
    targets = [*faults, *[f"/{i}" for i in range(20)]]
    completions = net.run([net.request(target=target, tag=target) for target in targets])
    kinds = {completion.request.tag: type(completion.error) for completion in completions}
    assert kinds.pop("/raw") is ProtocolError
    assert [kinds.pop(target) for target in ("/reset", "/short")] == [ConnectionFailed] * 2
    assert set(kinds.values()) == {type(None)}
    assert len(completions) == 23


def test_an_answer_that_never_comes_ends_with_the_idle_timeout(open_net):
    net = open_net(lambda request: FakeResponse(fault=Fault(Wire.HANG, at=-1)), policy=IMPATIENT)
    completions = net.run([net.request() for _ in range(3)])
    assert [type(completion.error) for completion in completions] == [ConnectionFailed] * 3
    assert {completion.error.sent for completion in completions} == {True}


def test_what_cannot_be_sent_is_a_completion_too(open_net):
    net = open_net(echo)
    short = Body(10, lambda size, offset: b"")
    bad = net.request(target="/x y")
    completions = net.run([bad, net.request("PUT", body=short), net.request(target="/good")])
    errors = {type(completion.error) for completion in completions}
    assert errors == {ConfigError, SourceChanged, type(None)}


def test_an_oversize_answer_is_refused(open_net):
    net = open_net(echo)
    [completion] = net.run([net.request(target="/" + "x" * 200, max_body=100)])
    assert isinstance(completion.error, ProtocolError)


def test_a_run_that_is_given_up_drops_what_is_in_flight_and_the_next_one_works(open_net):
    net = open_net(echo)
    gate = threading.Event()
    slow = Fault(Wire.WAIT, gate=gate)
    net.server._handle = lambda request: FakeResponse(200, (), b"", slow if request.target == "/slow" else None)
    waiting = [net.request(target="/fast"), *[net.request(target="/slow") for _ in range(3)]]
    if net.kind == "requests":
        threading.Timer(0.2, gate.set).start()  # its threads end with their attempts
    with closing(net.transport.send_many(lambda: (waiting.pop(0), ()) if waiting else None, lambda: 1)) as completions:
        assert next(completions).response.status == 200
    gate.set()
    assert [completion.response.status for completion in net.run([net.request(target="/x")])] == [200]


def test_an_error_of_the_caller_in_between_leaves_the_transport_usable(open_net):
    net = open_net(echo)

    def attempts():
        raise LookupError("the caller's own")

    with pytest.raises(LookupError):
        list(net.transport.send_many(attempts, lambda: 4))
    assert len(net.run([net.request(target="/x")])) == 1


def test_two_runs_at_once_in_two_threads(open_net):
    net = open_net(echo)
    results = {}

    def work(name):
        results[name] = net.run([net.request(target=f"/{name}/{i}", tag=i) for i in range(50)], concurrency=4)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "abc":
        bodies = sorted(completion.response.body.decode() for completion in results[name])
        assert bodies == sorted(f"/{name}/{i}" for i in range(50))


def test_a_run_inside_a_run(open_net):
    net = open_net(echo)
    outer = iter([net.request(target=f"/{i}") for i in range(3)])
    inner = []
    for _ in net.transport.send_many(lambda: (r, ()) if (r := next(outer, None)) else None, lambda: 2):
        inner += net.run([net.request(target="/inner")])
        inner.append(net.fetch(target="/single"))
    assert len(inner) == 6


def test_an_interrupt_inside_a_callback_reaches_the_caller(nets):
    net = nets(lambda request: FakeResponse(200, (), b"x" * 100), "plain")

    class Interrupting(Collect):
        def write(self, chunk):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.run([net.request(sink=Interrupting())])
    assert net.fetch().status == 200
