"""Header blocks: what is remembered of one answer's lines must not show in what another answer says."""

import pytest

from cftool.http import messages
from cftool.http.messages import parse_head


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(messages, "_seen", {})


def head(*lines):
    return [b"HTTP/1.1 200 OK\r\n", *lines, b"\r\n"]


def test_lines_that_came_before_say_the_same_again():
    lines = head(b"Server:  x \r\n", b"ETag: 1\r\n")
    assert [parse_head(lines) for _ in range(3)] == [(200, {"server": "x", "etag": "1"})] * 3
    assert parse_head(head(b"Server:  x \r\n", b"Server: y\r\n")) == (200, {"server": "y"})
    assert parse_head([b"HTTP/1.1 100 Continue\r\n", b"\r\n", *lines]) == (200, {"server": "x", "etag": "1"})


def test_a_line_that_stood_first_goes_on_with_the_one_above_elsewhere():
    odd = b" server: folded\r\n"
    parse_head(head(odd))
    assert parse_head(head(b"X-A: 1\r\n", odd)) == (200, {"x-a": "1 server: folded"})
    known = b"X-B: 2\r\n"
    parse_head(head(known))
    assert parse_head(head(known, b"\tmore\r\n")) == (200, {"x-b": "2 more"})
    assert parse_head(head(known)) == (200, {"x-b": "2"})


def test_headers_that_come_several_times_are_joined_each_time():
    cookies = head(b"Set-Cookie: a=1\r\n", b"Set-Cookie: b=2\r\n")
    assert [parse_head(cookies) for _ in range(2)] == [(200, {"set-cookie": "a=1, b=2"})] * 2


def test_a_line_is_a_status_line_only_where_one_is_due():
    line = b"HTTP/1.1 200 OK\r\n"
    assert parse_head(head(line, b"X: 1\r\n")) == parse_head(head(line, b"X: 1\r\n"))
    assert parse_head([line, b"X: 1\r\n"]) is None


def test_not_everything_is_remembered():
    for number in range(messages._SEEN + 50):
        parse_head(head(b"X-%d: 1\r\n" % number, b"Y: " + b"y" * 200 + b"\r\n"))
    assert len(messages._seen) == messages._SEEN


def test_lines_that_differ_from_answer_to_answer_are_not_remembered():
    for number in range(3):
        lines = [b"HTTP/1.1 200 OK\r\n", b"Server: x\r\n", b'ETag: "%d"\r\n' % number, b"\r\n"]
        assert messages.parse_head(lines) == (200, {"server": "x", "etag": f'"{number}"'})
    assert list(messages._seen) == [b"Server: x\r\n"]
