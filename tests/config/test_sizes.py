"""Sizes and durations, with rclone's units."""

import pytest

from cftool.config.sizes import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500", 500),
        ("500B", 500),
        ("500 b", 500),
        ("10k", 10 * 1024),
        ("10K", 10 * 1024),
        ("10Ki", 10 * 1024),
        ("10KiB", 10 * 1024),
        ("10kib", 10 * 1024),
        ("10M", 10 * 1024**2),
        ("1.5 GiB", 3 * 1024**3 // 2),
        (" 1.5G ", 3 * 1024**3 // 2),
        ("5 GB", 5 * 10**9),
        ("1kB", 1000),
        ("2TB", 2 * 10**12),
        (".5K", 512),
        ("1.K", 1024),
        ("1T", 1024**4),
        ("1P", 1024**5),
        ("7E", 7 * 1024**6),
        ("0.1", 0),
        ("7.999999999999999999EiB", 9_223_372_036_854_775_806),
    ],
)
def test_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "K", "-1", "+1", "1e3", "1,5M", "1MM", "1Mi B", "1 0", "1iB", "1KBB", "0x10", "١", "1\u00b2", "."],
)
def test_no_size(text):
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["8E", "9" * 30, "99999999EB"])
def test_a_size_that_no_file_has(text):
    with pytest.raises(ValueError, match="larger than any file"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 7d ", 7 * 86400),
        ("1w", 7 * 86400),
        ("1M", 30 * 86400),
        ("1y", 365 * 86400),
        ("1m", 60),
        ("250ms", 0.25),
        ("1d12h", 129600),
        ("1.5h", 5400),
        (".5m", 30),
    ],
)
def test_duration(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "x", "s", "-5s", "1H", "1h30", "h1", "1h-", "1e3s", "1,5h", "inf", "nan", "1h  x"]
)
def test_no_duration(text):
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["2000y", "9" * 400, "9" * 400 + "y"])
def test_a_duration_without_end(text):
    with pytest.raises(ValueError, match="thousand years"):
        parse_duration(text)
