"""Ctrl-C while requests are under way: they end soon, by Interrupted, whatever the server does."""

import threading

import pytest

from cftool.core.errors import Interrupted
from cftool.core.provider import Context
from cftool.http.open import open_client
from cftool.http.types import NoAuth, Policy, Request, Verdict
from cftool.testing.http_fake import FakeResponse, FakeServer, Fault, Wire
from tests.http.scripted import answer, make


def by_send(client, request):
    return client.send(request)


def by_stream(client, request):
    return client.stream(request)


def by_many(client, request):
    waiting = iter([request])
    return list(client.send_many(lambda: next(waiting, None)))


WAYS = [by_send, by_stream, by_many]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_sent_once_the_run_is_to_end(way):
    client, transport, _ = make([answer(200)], cancelled=lambda: True)
    with pytest.raises(Interrupted):
        way(client, Request("GET", "https://h/x"))
    assert transport.sent == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("headers", [{}, {"retry-after": "100"}], ids=["backoff", "retry-after"])
def test_a_wait_for_the_next_attempt_ends_within_a_slice(way, headers):
    told = []
    client, transport, _ = make(
        lambda request: answer(503, **headers), policy=Policy(base_delay=50.0, max_delay=50.0), cancelled=lambda: told
    )
    sleep, slept = client.clock.sleep, []

    def counted(seconds):
        slept.append(seconds)
        sleep(seconds)
        if len(slept) == 3:
            told.append(True)

    object.__setattr__(client.clock, "sleep", counted)
    with pytest.raises(Interrupted):
        way(client, Request("GET", "https://h/x"))
    assert len(transport.sent) == 1
    assert slept == [pytest.approx(0.2)] * 3


@pytest.mark.parametrize("kind", ["curl", "requests"])
@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_the_server_never_answers_is_given_up(kind, way):
    if kind == "requests" and way is not by_many:
        pytest.skip("a single call of the requests library cannot be left before its server says something")
    reached, gate = threading.Event(), threading.Event()

    def handler(request):
        reached.set()
        return FakeResponse(200, fault=Fault(Wire.WAIT, gate=gate))

    with FakeServer(handler) as server:
        context = Context(transport=kind, cancelled=reached.is_set)
        client = open_client(
            context, auth=NoAuth(), classify=lambda *_: Verdict.ANSWER, policy=Policy(idle_timeout=30.0)
        )
        try:
            with pytest.raises(Interrupted):
                way(client, Request("GET", server.url + "/x"))
        finally:
            gate.set()
            client.close()
