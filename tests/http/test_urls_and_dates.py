"""Percent-encoding, the parts of a URL, HTTP dates, Retry-After, header blocks."""

import os
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cftool.core.errors import ConfigError, ProtocolError
from cftool.http import urls
from cftool.http.dates import parse_http_date
from cftool.http.messages import parse_head
from cftool.http.retry import retry_after


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("azAZ09-._~", "azAZ09-._~"),
        ("a/b", "a%2Fb"),
        (" +&=?#%", "%20%2B%26%3D%3F%23%25"),
        ("ä漢🙂", "%C3%A4%E6%BC%A2%F0%9F%99%82"),
        (os.fsdecode(b"\xff\xfe"), "%FF%FE"),
        ("\0\n", "%00%0A"),
    ],
)
def test_quote(text, expected):
    assert urls.quote(text) == expected


def test_paths_keep_their_slashes_and_dots():
    assert urls.quote_path("a//b/../c d/") == "a//b/../c%20d/"


def test_queries_keep_their_order_and_blank_values():
    assert urls.quote_query([("prefix", "a/b c"), ("uploads", "")]) == "prefix=a%2Fb%20c&uploads="


@given(st.binary())
def test_any_bytes_survive_quoting(data):
    assert unquote(urls.quote_path(os.fsdecode(data)), errors="surrogateescape") == os.fsdecode(data)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/p?q", ("https", "h", "/p?q")),
        ("HTTP://h", ("http", "h", "/")),
        ("http://h?q", ("http", "h", "/?q")),
        ("http://[::1]:9000//a", ("http", "[::1]:9000", "//a")),
        ("nonsense", ("", "", "nonsense")),
    ],
)
def test_split(url, expected):
    assert urls.split(url) == expected


@pytest.mark.parametrize(
    ("scheme", "authority", "place", "header"),
    [
        ("https", "h", ("h", 443), "h"),
        ("https", "h:443", ("h", 443), "h"),
        ("http", "h:443", ("h", 443), "h:443"),
        ("http", "[::1]", ("::1", 80), "[::1]"),
        ("http", "[::1]:80", ("::1", 80), "[::1]"),
        ("http", "[::1]:9000", ("::1", 9000), "[::1]:9000"),
        ("http", "u:p@h:1", ("h", 1), "u:p@h:1"),
    ],
)
def test_host_and_port(scheme, authority, place, header):
    assert urls.host_port(scheme, authority) == place
    assert urls.host_header(scheme, authority) == header


@pytest.mark.parametrize("port", ["x", "70000", "²"])
def test_a_port_that_is_none(port):
    with pytest.raises(ConfigError):
        urls.host_port("http", f"h:{port}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0),
        ("Sun Nov  6 08:49:37 1994", 784111777.0),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 1_700_000_000.0),
        ("Tue, 14-Nov-23 22:13:20 GMT", 1_700_000_000.0),
        (" Tue, 14 Nov 2023 22:13:20 GMT ", 1_700_000_000.0),
        ("Tue, 14 Foo 2023 22:13:20 GMT", None),
        ("Tue, 99 Nov 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 2023 25:13:20 GMT", None),
        ("Tue, 14 Nov 2023 22:99:20 GMT", None),
        ("Tue, 14 Nov 2023 22:13:99 GMT", None),
        ("Tue, 14 Nov 2023 22:13:20 +0100", None),
        ("", None),
        ("7", None),
    ],
)
def test_http_dates(text, expected):
    assert parse_http_date(text) == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("0", 0.0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, 999999999.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("whenever", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(value, 1_700_000_000.0) == seconds


def test_header_blocks():
    lines = [b"HTTP/1.1 100 Continue\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n", b'ETag: "x"\r\n', b"X-A: 1\r\n", b"  2\r\n"]
    assert parse_head(lines) is None
    trailer = b"X-Late: 1\r\n"
    assert parse_head([*lines, b"X-A2:\r\n", b"\r\n", trailer]) == (200, {"etag": '"x"', "x-a": "1 2", "x-a2": ""})
    assert parse_head([b"HTTP/1.1 404\r\n", b"\r\n"]) == (404, {})
    for bad in (b"hello\r\n", b"HTTP/1.1 abc\r\n", b"HTTP/1.1\r\n"):
        with pytest.raises(ProtocolError):
            parse_head([bad, b"\r\n"])


def test_a_line_that_goes_on_goes_on_in_its_own_block():
    lines = [b"HTTP/1.1 100 Continue\r\n", b"X-A: 1\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n", b" x-b: 2\r\n", b"\r\n"]
    assert parse_head(lines) == (200, {"x-b": "2"})


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_header_block_does_worse_than_a_protocol_error(lines):
    try:
        parse_head([b"HTTP/1.1 200 OK\r\n", *[line + b"\r\n" for line in lines], b"\r\n"])
        parse_head(lines)
    except ProtocolError:
        pass
