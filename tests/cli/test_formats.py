"""Numbers and times as text, and flags that say them."""

import time

import pytest

from cftool.cli import formats
from cftool.core.errors import ConfigError


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (3_565_158, "3.4 MiB"),
        (5 << 40, "5.0 TiB"),
        (1 << 63, "8.0 EiB"),
        (1 << 80, "1048576.0 EiB"),
    ],
)
def test_size_has_three_digits_or_so_and_a_unit(count, expected):
    assert formats.size(count) == expected


def test_short_size_fits_a_column():
    assert [formats.short_size(count) for count in (7, 2048, 3 << 30)] == ["7", "2.0K", "3.0G"]


def test_plurals_and_thousands():
    assert formats.plural(1, "file") == "1 file"
    assert formats.plural(20_001, "file") == "20,001 files"
    assert formats.plural(2, "entry") == "2 entries"
    assert formats.number(1_234_567) == "1,234,567"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0.0 s"), (1.24, "1.2 s"), (65, "1m05s"), (7380, "2h03m"), (273_600, "3d04h"), (3599.9, "1h00m")],
)
def test_durations_have_two_units_at_most(seconds, expected):
    assert formats.duration(seconds) == expected


def test_utc_time_keeps_every_digit_that_there_is():
    assert formats.utc_time(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"
    assert formats.utc_time(1_700_000_000_250_000_000) == "2023-11-14T22:13:20.25Z"
    assert formats.utc_time(-1) == "1969-12-31T23:59:59.999999999Z"


def test_local_time_is_of_the_local_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    formats._local.cache_clear()
    try:
        assert formats.local_time(1_700_000_000_999_999_999) == "2023-11-15 07:13:20"
    finally:
        monkeypatch.undo()
        time.tzset()
        formats._local.cache_clear()


def test_times_beyond_the_calendar_are_shown_and_raise_nothing():
    assert formats.local_time(10**30) == "@" + "1" + "0" * 21
    assert formats.utc_time(10**30).startswith("9999")
    assert formats.utc_time(-(10**30)).startswith("0001")


def test_flags_that_are_no_numbers_are_named():
    for parse, flag, text in (
        (formats.parse_size, "--bwlimit", "fast"),
        (formats.parse_duration, "--wait-lock", "soon"),
        (formats.parse_count, "--retries", "-1"),
        (formats.parse_count, "--retries", "٣"),
    ):
        with pytest.raises(ConfigError, match=flag):
            parse(text, flag)


def test_counts_have_a_least_value():
    assert formats.parse_count("1", "--transfers", least=1) == 1
    with pytest.raises(ConfigError, match="1 or more"):
        formats.parse_count("0", "--transfers", least=1)
