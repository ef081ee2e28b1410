"""A forked child leaves the parent's connections alone and can talk by itself."""

import os
import signal
import warnings

import pytest

from cftool.core.errors import ConnectionFailed
from cftool.testing.http_fake import FakeResponse


def in_child(work) -> int:
    """Run `work` in a forked child; its exit status, killed after 20 s."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the fake server's threads: nothing of theirs is used
        pid = os.fork()
    if pid == 0:
        status = 99
        signal.alarm(20)
        try:
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def net(nets, way):
    net = nets(lambda request: FakeResponse(200, (), b"x" * 2_000_000), way)
    if way == "plain":  # a name instead of an address: libcurl's resolver thread is part of the matter
        net.server.host = "localhost"
    return net


def test_parent_and_child_both_go_on(net):
    assert net.fetch().status == 200
    net.run([net.request()])

    def child():
        assert net.fetch().status == 200
        assert net.run([net.request()])[0].response.status == 200
        net.transport.close()

    assert in_child(child) == 0
    connections = net.server.connections
    assert net.fetch().status == 200
    assert net.server.connections == connections  # the parent's connection was neither used nor closed


def test_a_fork_in_the_middle_of_a_stream(net):
    with net.transport.send(net.request(), ()) as stream:
        chunks = stream.chunks()
        size = len(next(chunks))

        def child():
            if net.kind == "curl":
                with pytest.raises(ConnectionFailed, match="parent process"):
                    next(stream.chunks())
            stream.close()
            assert net.fetch().status == 200
            net.transport.close()

        assert in_child(child) == 0
        size += sum(len(chunk) for chunk in chunks)
    assert size == 2_000_000


def test_a_fork_in_the_middle_of_a_run(net):
    requests = [net.request(target=f"/{i}") for i in range(6)]
    waiting = iter(requests)
    sizes = []
    for completion in net.transport.send_many(lambda: (r, ()) if (r := next(waiting, None)) else None, lambda: 3):
        sizes.append(len(completion.response.body))
        if len(sizes) == 2:
            assert in_child(lambda: net.run([net.request()])) == 0
    assert sizes == [2_000_000] * 6


def test_a_child_that_forgets_everything_ends(nets, tmp_path):
    """Finalising an inherited multi handle hangs in the child: it must never be finalised, not even at exit."""
    import subprocess
    import sys

    script = tmp_path / "fork.py"
    script.write_text(
        "import gc, os, sys\n"
        "from cftool.http.open import open_transport\n"
        "from cftool.http.types import Request, TransportOptions\n"
        "t = open_transport('curl', TransportOptions())\n"
        "t.send(Request('GET', sys.argv[1]), ()).read_all()\n"
        "s = t.send(Request('GET', sys.argv[1]), ())\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    del t, s\n"
        "    gc.collect()\n"
        "    sys.exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(s.read_all()))\n"
    )
    net = nets(lambda request: FakeResponse(200, (), b"x" * 2_000_000), "plain")
    url = f"http://localhost:{net.server.port}/"
    run = subprocess.run([sys.executable, "-W", "ignore", str(script), url], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.returncode) == ("7 2000000\n", 0), run.stderr
