"""The times that `touch -d` and `-t` read, beside what `date` of coreutils makes of the same words."""

import random
import subprocess
import time

import pytest

from cftool.cli import times
from cftool.core.errors import ConfigError

NOW = 1_769_875_509 * 10**9 + 250_000_000  # 2026-01-31T16:05:09.25Z


@pytest.fixture(autouse=True, params=["UTC", "Europe/Berlin", "America/St_Johns"])
def _zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def date(text):
    """What coreutils says: seconds and nanoseconds as one number."""
    seconds, ns = subprocess.run(["date", "-d", text, "+%s %N"], capture_output=True, check=True).stdout.split()
    return int(seconds) * 10**9 + int(ns)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "20260131",
        "2026-01-31 17:05",
        "2026-07-31 17:05:09",
        "2026-07-31T17:05:09",
        "2026-01-31 17:05:09.25",
        "2026-01-31 17:05:09,123456789",
        "2026-01-31T17:05:09Z",
        "2026-01-31 17:05 UTC",
        "2026-01-31T17:05:09+01:00",
        "2026-01-31 17:05:09 -0330",
        "2026-01-31 17:05:09 +05",
        "1969-12-31 23:59:59.5Z",
        "1901-01-01",
        "@1769875509",
        "@1769875509.5",
        "@-5",
        "@0",
        "Sat, 31 Jan 2026 17:05:09 +0100",
        "31 Jan 2026 17:05:09 GMT",
    ],
)
def test_dates_are_read_as_coreutils_reads_them(text):
    assert times.parse_date(text, NOW) == date(text)


@pytest.mark.parametrize(
    "text",
    [
        "now", "today", "yesterday", "tomorrow", "2 hours ago", "1 hour", "+3 days", "-3 days", "week ago", "3 weeks",
        "90 min ago", "10 sec", "1 fortnight ago", "next month", "last year", "1 month ago", "13 months ago", "2 years",
        "1 day 2 hours ago", "yesterday 3 hours", "next day",
    ],
)  # fmt: skip
def test_relative_times_are_those_of_coreutils(text):
    # date(1) takes its own now: both are asked again where the second changed in between.
    for _ in range(5):
        before = int(time.time())
        ours = times.parse_date(text, before * 10**9) // 10**9
        theirs = date(text) // 10**9
        if int(time.time()) == before:
            break
    assert ours == theirs


def test_a_time_alone_is_of_today():
    day = time.strftime("%Y-%m-%d", time.localtime(NOW // 10**9))
    assert times.parse_date("08:30", NOW) == date(f"{day} 08:30")


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "2026-01-31 25:00", "99999999999999", "@", "5 parsecs ago", "yesterday soon", "2026-01-31 17:05:09 +99:99", "hour:", "--", "1 year" * 4 + "x", "999999999 years"])  # fmt: skip # noqa: E501
def test_what_is_no_date_is_told(text):
    with pytest.raises(ConfigError, match="--date: "):
        times.parse_date(text, NOW)


@pytest.mark.parametrize(
    ("stamp", "same"),
    [
        ("01020304", "2026-01-02 03:04"),
        ("01020304.05", "2026-01-02 03:04:05"),
        ("2401020304", "2024-01-02 03:04"),
        ("6801020304", "2068-01-02 03:04"),
        ("6901020304", "1969-01-02 03:04"),
        ("202401020304.59", "2024-01-02 03:04:59"),
    ],
)
def test_stamps(stamp, same):
    assert times.parse_stamp(stamp, NOW) == date(same)


@pytest.mark.parametrize("stamp", ["", "1", "0102030", "13020304", "01320304", "01020304.5", "x1020304", "1" * 13])
def test_what_is_no_stamp_is_told(stamp):
    with pytest.raises(ConfigError, match="-t: "):
        times.parse_stamp(stamp, NOW)


def test_nothing_but_a_configuration_error_is_raised():
    chance = random.Random(5)
    for _ in range(3000):
        text = "".join(chance.choice("0123456789-:+@. TZagodhurs") for _ in range(chance.randrange(12)))
        try:
            assert isinstance(times.parse_date(text, NOW), int)
        except ConfigError:
            continue
