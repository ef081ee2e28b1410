"""The policy: what is repeated, when, how often, and what the caller sees. Time is the test's, nothing sleeps."""

import logging
from collections import Counter

import pytest

from cftool.core.errors import (
    ConnectionFailed,
    LoginRequired,
    ProtocolError,
    RateLimited,
    SourceChanged,
    TemporaryError,
    TLSFailed,
)
from cftool.http.pacing import Pacer
from cftool.http.types import NoAuth, Policy, Request
from tests.http.scripted import answer, lost, make

URL = "https://s3.test/bucket/key"


def get(**fields):
    fields.setdefault("op", "GetObject")
    return Request("GET", URL, **fields)


def many(client, requests):
    waiting = iter(requests)
    return list(client.send_many(lambda: next(waiting, None)))


@pytest.fixture(params=["send", "stream", "send_many"])
def ask(request):
    """One request by each of the three ways: (status, body), or the error raised."""

    def by_send(client, sent):
        response = client.send(sent)
        return response.status, response.body

    def by_stream(client, sent):
        with client.stream(sent) as stream:
            return stream.status, stream.read_all()

    def by_many(client, sent):
        [completion] = many(client, [sent])
        assert completion.request is sent
        if completion.error is not None:
            raise completion.error
        return completion.response.status, completion.response.body

    return {"send": by_send, "stream": by_stream, "send_many": by_many}[request.param]


# ---- what is an answer


@pytest.mark.parametrize("status", [200, 204, 206, 301, 304, 307, 400, 403, 404, 409, 412, 416])
def test_statuses_that_the_classifier_calls_answers_come_back_after_one_attempt(ask, status):
    client, transport, clock = make([answer(status, b"body")])
    assert ask(client, get()) == (status, b"body")
    assert len(transport.sent) == 1
    assert clock.slept == []


def test_headers_of_the_request_and_of_the_auth_are_sent_together(ask):
    class Auth(NoAuth):
        def headers(self, request):
            return (("authorization", "x"),)

    client, transport, _ = make([answer(200)], auth=Auth())
    ask(client, get(headers=(("x-a", "b"),)))
    assert transport.sent[0][2] == (("x-a", "b"), ("authorization", "x"))


# ---- what is repeated


@pytest.mark.parametrize("fault", [answer(500), answer(503), answer(429), lost(), lost(sent=False)])
def test_passing_faults_are_repeated(ask, fault):
    client, transport, clock = make([fault, answer(200, b"ok")])
    assert ask(client, get()) == (200, b"ok")
    assert len(transport.sent) == 2
    assert clock.slept == pytest.approx([0.2])


def test_delays_double_with_full_jitter_up_to_the_maximum(ask):
    client, _, clock = make([answer(500)] * 9 + [answer(200)], policy=Policy(budget=1e9, max_delay=3.0))
    ask(client, get())
    assert clock.slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0, 3.0, 3.0])
    client, _, clock = make([answer(500), answer(500), answer(200)], dice=lambda: 0.25)
    ask(client, get())
    assert clock.slept == pytest.approx([0.05, 0.1])


def test_attempts_are_bounded(ask):
    client, transport, _ = make([answer(500, b"<Error><Message>we are sorry</Message></Error>")] * 20)
    with pytest.raises(TemporaryError, match=r"s3\.test answered 500 to GetObject, 10 times: we are sorry") as raised:
        ask(client, get())
    assert type(raised.value) is TemporaryError
    assert len(transport.sent) == 10


def test_the_budget_bounds_the_start_of_the_last_attempt(ask):
    policy = Policy(budget=60.0, attempts=1000, max_delay=10.0)
    client, transport, clock = make(lambda request: answer(500), policy=policy, seconds=7.0)
    begin = clock()
    with pytest.raises(TemporaryError):
        ask(client, get())
    assert 50 < transport.sent[-1][0] - begin <= 60
    assert clock() - begin <= 67


@pytest.mark.parametrize("fault", [answer(503), lost("s3.test:443")])
def test_long_patience_is_told_once_and_short_patience_never(ask, caplog, fault):
    client, _, _ = make([fault] * 3 + [answer(200)], policy=Policy(max_delay=2.0))
    ask(client, get())
    assert caplog.records == []
    client, _, _ = make([fault] * 9 + [answer(200)], policy=Policy(budget=1e9, max_delay=20.0))
    ask(client, get())
    told = [record.getMessage() for record in caplog.records]
    assert [(text.startswith("s3.test"), text.count("s3.test"), "tried again" in text) for text in told] == [
        (True, 1, True)
    ]


def test_a_lost_connection_that_stays_lost_is_raised_as_it_was(ask):
    error = lost()
    client, transport, _ = make(lambda request: error)
    with pytest.raises(ConnectionFailed) as raised:
        ask(client, get())
    assert raised.value is error
    assert len(transport.sent) == 10


def test_a_host_that_has_never_answered_is_given_up_early(ask):
    client, transport, _ = make(lambda request: lost(sent=False))
    with pytest.raises(ConnectionFailed):
        ask(client, get())
    assert len(transport.sent) == 5
    client, transport, _ = make([answer(200), *[lost(sent=False)] * 20])
    ask(client, get())
    with pytest.raises(ConnectionFailed):
        ask(client, get())
    assert len(transport.sent) == 1 + 10


@pytest.mark.parametrize(
    "error",
    [TLSFailed("x"), ProtocolError("x"), SourceChanged("x"), LoginRequired("x"), OSError(5, "x")],
)
def test_other_errors_are_not_repeated(ask, error):
    client, transport, _ = make(lambda request: error)
    with pytest.raises(type(error)) as raised:
        ask(client, get())
    assert raised.value is error
    assert len(transport.sent) == 1


# ---- requests that are not idempotent


def test_what_may_have_arrived_is_not_repeated(ask):
    error = lost(sent=True)
    client, transport, _ = make(lambda request: error)
    with pytest.raises(ConnectionFailed) as raised:
        ask(client, get(idempotent=False))
    assert raised.value is error
    assert len(transport.sent) == 1


def test_what_certainly_did_not_arrive_is_repeated(ask):
    client, transport, _ = make([lost(sent=False), answer(200)])
    assert ask(client, get(idempotent=False))[0] == 200
    assert len(transport.sent) == 2


def test_a_server_error_is_not_repeated_but_a_refusal_is(ask):
    client, transport, _ = make([answer(500)])
    with pytest.raises(TemporaryError):
        ask(client, get(idempotent=False))
    assert len(transport.sent) == 1
    client, transport, _ = make([answer(503), answer(200)])
    assert ask(client, get(idempotent=False))[0] == 200


# ---- Retry-After


def test_retry_after_in_seconds_is_obeyed(ask):
    client, _, clock = make([answer(503, retry_after="7"), answer(200)], dice=lambda: 0.0)
    ask(client, get())
    assert sum(clock.slept) == pytest.approx(7.0)


def test_retry_after_as_a_date_is_obeyed(ask):
    # The test clock starts on Tue, 14 Nov 2023 22:13:20 GMT.
    client, _, clock = make([answer(503, retry_after="Tue, 14 Nov 2023 22:13:50 GMT"), answer(200)], dice=lambda: 0.0)
    ask(client, get())
    assert sum(clock.slept) == pytest.approx(30.0)


def test_retry_after_that_means_nothing_is_passed_over(ask):
    client, _, clock = make([answer(503, retry_after="soon"), answer(200)])
    ask(client, get())
    assert clock.slept == pytest.approx([0.2])


def test_retry_after_beyond_the_budget_gives_up_at_once(ask):
    client, transport, clock = make([answer(503, retry_after="301")])
    with pytest.raises(RateLimited, match="asks to wait 301 s") as raised:
        ask(client, get())
    assert raised.value.retry_after == 301
    assert clock.slept == []
    assert len(transport.sent) == 1


def test_retry_after_is_capped(ask):
    client, _, clock = make(
        [answer(429, retry_after="999999999"), answer(200)], policy=Policy(budget=1e6), dice=lambda: 0
    )
    ask(client, get())
    assert sum(clock.slept) == pytest.approx(900.0)


def test_while_retry_after_holds_no_other_client_of_the_remote_sends(ask):
    limited, _, clock = make([answer(503, retry_after="60")], policy=Policy(attempts=1), name="shared")
    other, transport, _ = make([answer(200)], clock=clock, name="shared")
    stranger, elsewhere, _ = make([answer(200)], clock=clock, name="another")
    began = clock()
    with pytest.raises(RateLimited):
        ask(limited, get())
    ask(stranger, get())
    assert elsewhere.sent[0][0] == began
    ask(other, get())
    assert transport.sent[0][0] == began + 60


def test_an_operation_that_would_wait_too_long_fails_without_a_request(ask):
    client, transport, clock = make([answer(503, retry_after="800")])
    with pytest.raises(RateLimited):
        client.send(get())
    with pytest.raises(RateLimited, match="asks to wait 800 s") as raised:
        ask(client, get())
    assert raised.value.retry_after == 800
    assert len(transport.sent) == 1
    clock.advance(801)
    transport._script = lambda request: answer(200)
    assert ask(client, get())[0] == 200


def test_a_batch_that_has_nothing_more_to_send_does_not_wait_for_the_hold_to_end():
    client, _, clock = make([answer(503, retry_after="60")], policy=Policy(attempts=1))
    assert len(many(client, [get()])) == 1
    assert clock.slept == []


def test_a_batch_goes_on_when_the_hold_ends():
    refusals = iter([answer(503, retry_after="60")])
    client, transport, clock = make(lambda request: next(refusals, None) or answer(200), connections=4)
    began = clock()
    assert [completion.response.status for completion in many(client, [get() for _ in range(12)])] == [200] * 12
    assert [began + 60 <= time for time, _, _ in transport.sent[4:]] == [True] * 9


def test_operations_of_a_batch_whose_budget_ends_before_the_hold_fail_while_others_go_on():
    def script(request):
        if request.tag == "old":
            clock.advance(100)
            return answer(500)
        if request.tag == "limited":
            return answer(503, retry_after="250")
        return answer(200)

    client, _transport, clock = make(script, connections=1)
    completions = {c.request.tag: c.error for c in many(client, [get(tag="old"), get(tag="limited"), get(tag="new")])}
    assert isinstance(completions["old"], RateLimited)
    assert isinstance(completions["limited"], RateLimited)
    assert completions["new"] is None


def test_everything_of_a_batch_fails_at_once_where_the_wait_is_too_long():
    client, transport, clock = make(lambda request: answer(503, retry_after="800"), connections=4)
    completions = many(client, [get(tag=i) for i in range(50)])
    assert sorted(completion.request.tag for completion in completions) == list(range(50))
    assert {type(completion.error) for completion in completions} == {RateLimited}
    assert len(transport.sent) <= 4
    assert clock.slept == []


# ---- auth


class Refreshing(NoAuth):
    def __init__(self, helps):
        self.token = 0
        self.helps = helps

    def headers(self, request):
        return (("authorization", str(self.token)),)

    def rejected(self, response):
        self.token += 1
        return self.helps


def test_a_refused_credential_is_refreshed_and_tried_again_at_once(ask):
    client, transport, clock = make([answer(401), answer(200)], auth=Refreshing(helps=True))
    assert ask(client, get(idempotent=False))[0] == 200
    assert [headers for _, _, headers in transport.sent] == [(("authorization", "0"),), (("authorization", "1"),)]
    assert clock.slept == []


def test_a_refusal_that_no_refresh_helps_is_the_answer(ask):
    client, transport, _ = make([answer(401, b"no")], auth=Refreshing(helps=False))
    assert ask(client, get()) == (401, b"no")
    client, transport, _ = make(lambda request: answer(401), auth=Refreshing(helps=True))
    assert ask(client, get())[0] == 401
    assert len(transport.sent) == 3


def test_an_error_while_signing_is_that_requests_error():
    class Broken(NoAuth):
        def headers(self, request):
            if request.tag:
                raise LoginRequired("no credentials")
            return ()

    client, transport, _ = make(lambda request: answer(200), auth=Broken())
    with pytest.raises(LoginRequired):
        client.send(get(tag=1))
    completions = many(client, [get(tag=0), get(tag=1), get(tag=0), get(tag=2)])
    assert [type(completion.error) for completion in completions].count(LoginRequired) == 2
    assert len(transport.sent) == 2
    assert many(client, [get(tag=3)])[0].error is not None


def test_a_proxy_that_wants_a_password_is_a_matter_of_login(ask):
    client, _, _ = make([answer(407)])
    with pytest.raises(LoginRequired, match="proxy"):
        ask(client, get())


# ---- counting, logging, errors in bodies


def test_every_attempt_is_counted_by_operation(ask):
    client, _, _ = make([answer(500), lost(), answer(200), answer(404)])
    ask(client, get(op="GetObject"))
    ask(client, get(op="HeadObject"))
    assert client.requests == Counter({"GetObject": 3, "HeadObject": 1})


def test_a_success_with_an_error_inside_can_be_a_passing_fault():
    client, _transport, _ = make([answer(200, b"<Error>InternalError</Error>"), answer(200, b"<Fine/>")])
    assert client.send(get()).body == b"<Fine/>"


def test_each_attempt_is_logged_without_secrets(ask, caplog):
    class Secretive(NoAuth):
        def headers(self, request):
            return (("authorization", "AWS4 hunter2"),)

    client, _, _ = make([lost(), answer(404)], auth=Secretive())
    with caplog.at_level(logging.DEBUG, "cftool.http"):
        ask(client, Request("GET", URL + "?X-Amz-Signature=hunter2&prefix=a", op="GetObject"))
    assert "GetObject GET https://s3.test/bucket/key?X-Amz-Signature=***&prefix=a: 404 in 0.000 s" in caplog.text
    assert "hunter2" not in caplog.text
    assert len(caplog.records) == 2


def test_an_error_page_cannot_drive_the_terminal_or_leak():
    client, _, _ = make(lambda request: answer(500, b"<a>\x1b[2J</a> token=hunter2 " + b"x" * 5000))
    with pytest.raises(TemporaryError) as raised:
        client.send(get())
    text = str(raised.value)
    assert "\x1b" not in text
    assert "hunter2" not in text
    assert len(text) < 400


def test_a_long_error_page_of_a_stream_is_cut():
    client, _, _ = make([answer(404, b"x" * 1_000_000)])
    with client.stream(get()) as stream:
        assert len(stream.read_all()) == 64 * 1024


def test_send_feeds_a_sink_again_from_the_start():
    class Sink:
        data = b""

        def start(self, response):
            self.data = b""

        def write(self, chunk):
            self.data += chunk

    client, _, _ = make([answer(200, b"first"), answer(404, b"none")])
    sink = Sink()
    assert client.send(get(sink=sink)).body == b""
    assert sink.data == b"first"
    assert client.send(get(sink=sink)).body == b"none"


def test_close_closes_the_transport():
    client, transport, _ = make([])
    client.close()
    assert transport.closed


# ---- batches


def test_a_request_that_waits_for_its_next_attempt_holds_up_no_other():
    first = iter([answer(500), answer(500), answer(200)])
    client, _transport, clock = make(lambda request: next(first) if request.tag == 0 else answer(200), connections=2)
    completions = many(client, [get(tag=i) for i in range(20)])
    assert [completion.request.tag for completion in completions] == [*range(1, 20), 0]
    assert sum(clock.slept) == pytest.approx(0.6)


def test_the_same_request_object_may_be_in_flight_twice():
    client, _, _ = make(lambda request: answer(200), connections=4)
    request = get()
    completions = many(client, [request] * 5)
    assert [completion.request is request for completion in completions] == [True] * 5
    errors, _transport, _ = make(lambda request: TLSFailed("x"), connections=4)
    assert [completion.request is request for completion in many(errors, [request] * 5)] == [True] * 5


def test_follow_ups_may_come_after_the_first_none():
    client, _, _ = make(lambda request: answer(200), connections=4)
    queue = [get(tag=3)]
    tags = []
    for completion in client.send_many(lambda: queue.pop(0) if queue else None):
        tags.append(completion.request.tag)
        if completion.request.tag:
            queue.extend([get(tag=completion.request.tag - 1)] * 2)
    assert sorted(tags) == [0] * 8 + [1] * 4 + [2] * 2 + [3]


def test_follow_ups_may_come_after_a_failure_without_an_attempt():
    class Broken(NoAuth):
        def headers(self, request):
            if request.tag == "bad":
                raise LoginRequired("no")
            return ()

    client, _, _ = make(lambda request: answer(200), auth=Broken())
    queue = [get(tag="bad")]
    tags = []
    for completion in client.send_many(lambda: queue.pop(0) if queue else None):
        tags.append(completion.request.tag)
        if completion.error:
            queue.append(get(tag="good"))
    assert tags == ["bad", "good"]


def test_a_caller_that_says_later_is_asked_later():
    client, _, clock = make(lambda request: answer(200))
    script = [5.0, 2.5, get(), None]
    assert len(list(client.send_many(lambda: script.pop(0) if script else None))) == 1
    assert sum(clock.slept) == pytest.approx(7.5)


def test_the_wait_is_the_shorter_of_the_callers_and_the_next_retry():
    client, transport, clock = make([answer(500), answer(200)])
    script = [get(), 50.0]
    began = clock()

    def next_request():
        return script.pop(0) if script else None

    list(client.send_many(next_request))
    assert transport.sent[1][0] - began == pytest.approx(0.2)


def test_nobody_is_left_behind_when_a_batch_is_given_up():
    client, _, _ = make(lambda request: answer(200), connections=4)
    completions = client.send_many(lambda: get())
    next(completions)
    completions.close()
    assert client.pacer.allowed(client.pacer.join()) == client.pacer.limit


def test_slow_down_halves_the_concurrency_once_per_round_and_it_climbs_back():
    refusals = iter([answer(503)] * 8)
    client, _transport, _clock = make(lambda request: next(refusals, None) or answer(200), connections=16, seconds=0.01)
    many(client, [get() for _ in range(17)])
    assert client.pacer.limit == 8
    many(client, [get() for _ in range(2000)])
    assert client.pacer.limit == 16


def test_the_limit_is_obeyed_in_flight():
    client, transport, _ = make(lambda request: answer(200), connections=3)
    many(client, [get() for _ in range(30)])
    assert transport.most == 3


def test_the_limit_never_falls_to_nothing():
    clock = iter(range(1, 10_000))
    pacer = Pacer(4, 4, lambda: float(next(clock)))
    for began in range(0, 9000, 900):
        pacer.slow_down(float(began) + 1000)
    assert pacer.limit >= 1


def test_what_a_login_raises_is_not_repeated_with_the_request(ask):
    asked = []

    class AwayAuth(NoAuth):
        def headers(self, request):
            asked.append(request)
            raise lost()

    client, transport, clock = make([], auth=AwayAuth())
    with pytest.raises(ConnectionFailed):
        ask(client, get())
    assert (len(asked), transport.sent, clock()) == (1, [], make([])[2]())
