"""Points in time as people write them for `touch`: `-d` as `date` of coreutils reads it, `-t` as POSIX has it.

    2026-01-31    2026-01-31 17:05:09.25    2026-01-31T17:05Z    17:05    @1769875509.5
    now    today    yesterday    2 hours ago    +3 days    Sat, 31 Jan 2026 17:05:09 +0100

Without a zone: local time. Nanoseconds since the epoch come out, in integers all the way. Pure functions of `now_ns`.
"""

import re
import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from cftool.core.errors import ConfigError

_BILLION = 1_000_000_000
_EPOCH = re.compile(r"@\s*(-?)(\d{1,12})(?:\.(\d{1,9})\d*)?", re.ASCII)
_DATE = r"(?P<year>\d{4})(?:-(?P<month>\d{1,2})-(?P<day>\d{1,2})|(?P<md>\d{4}))"
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9})\d*)?)?"
_ZONE = r"(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)"
_WHOLE = re.compile(rf"(?:{_DATE})?(?:(?:(?<=\d)(?:T|\s+))?{_TIME})?\s*{_ZONE}?", re.ASCII | re.IGNORECASE)
_STEP = re.compile(
    r"(?P<count>[+-]?\s*\d{1,9}|next|last)?\s*(?P<unit>sec(?:ond)?|min(?:ute)?|hour|day|week|fortnight|month|year)s?"
    r"(?P<ago>\s+ago)?",
    re.ASCII | re.IGNORECASE,
)
_SECONDS = {"sec": 1, "min": 60, "hour": 3600, "day": 86_400, "week": 604_800, "fortnight": 1_209_600}
_WORDS = {"now": 0, "today": 0, "yesterday": -1, "tomorrow": 1}
_STAMP = re.compile(r"(\d{2}|\d{4})?(\d{2})(\d{2})(\d{2})(\d{2})(?:\.(\d{2}))?", re.ASCII)


def parse_date(text: str, now_ns: int, flag: str = "--date") -> int:
    """Nanoseconds since the epoch of what `text` says."""
    stripped = text.strip()
    try:
        for reader in (_epoch, _whole, _relative, _mail):
            found = reader(stripped, now_ns)
            if found is not None:
                return found
    except (ValueError, OverflowError, OSError):
        pass
    raise ConfigError(f"{flag}: {text!r} is no date; write it as 2026-01-31 17:05:09, @SECONDS or '2 hours ago'")


def parse_stamp(text: str, now_ns: int) -> int:
    """Of `[[CC]YY]MMDDhhmm[.ss]`, local time; YY from 69 on is of the last century, as POSIX says."""
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ConfigError(f"-t: {text!r} is no [[CC]YY]MMDDhhmm[.ss]")
    year, *rest, second = match.groups()
    numbers = [int(part) for part in rest]
    if year is None:
        whole = time.localtime(now_ns // _BILLION).tm_year
    elif len(year) == 2:
        whole = int(year) + (1900 if int(year) >= 69 else 2000)
    else:
        whole = int(year)
    try:
        return _ns(datetime(whole, *numbers, int(second or 0)), None)  # type: ignore[arg-type,call-arg]  # noqa: DTZ001 - local
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"-t: {text!r} is no date and time") from None


def _epoch(text: str, now_ns: int) -> int | None:
    del now_ns
    match = _EPOCH.fullmatch(text)
    if match is None:
        return None
    sign, seconds, fraction = match.groups()
    ns = int(seconds) * _BILLION + int((fraction or "0").ljust(9, "0"))
    return -ns if sign else ns


def _whole(text: str, now_ns: int) -> int | None:
    match = _WHOLE.fullmatch(text)
    if match is None or not (match["year"] or match["hour"]):
        return None
    zone = _zone(match["zone"])
    day = datetime.fromtimestamp(now_ns // _BILLION, zone)
    month, date = (match["md"][:2], match["md"][2:]) if match["md"] else (match["month"], match["day"])
    if match["year"]:
        day = datetime(int(match["year"]), int(month), int(date), tzinfo=zone)
    moment = day.replace(
        hour=int(match["hour"] or 0), minute=int(match["minute"] or 0), second=int(match["second"] or 0), microsecond=0
    )
    return _ns(moment, zone) + int((match["fraction"] or "0").ljust(9, "0"))


def _zone(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text[0] not in "+-":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:].lstrip(":") or 0))
    return timezone(-offset if text[0] == "-" else offset)


def _relative(text: str, now_ns: int) -> int | None:
    """A word, and any number of steps from now on."""
    word, _, rest = text.lower().partition(" ")
    days = 0
    if word in _WORDS:
        days, text = _WORDS[word], rest.strip()
    elif not text:
        return None
    moment = datetime.fromtimestamp(now_ns // _BILLION) + timedelta(days=days)  # noqa: DTZ006 - local time by the clock
    seconds = 0
    while text:
        match = _STEP.match(text)
        if match is None:
            return None
        unit = next(name for name in (*_SECONDS, "month", "year") if match["unit"].lower().startswith(name))
        count = _count(match)
        if unit in {"month", "year"}:
            months = moment.year * 12 + moment.month - 1 + count * (12 if unit == "year" else 1)
            # A day that the month lacks runs over into the next, as date(1) has it.
            first = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
            moment = first + timedelta(days=moment.day - 1)
        elif unit in {"day", "week", "fortnight"}:
            moment += timedelta(seconds=count * _SECONDS[unit])
        else:
            seconds += count * _SECONDS[unit]
        text = text[match.end() :].strip()
    # Over a change of the clocks the hour is counted by those of now, as date(1) does.
    summer = time.localtime(now_ns // _BILLION).tm_isdst
    return _ns(moment, None, summer=summer) + seconds * _BILLION + now_ns % _BILLION


def _count(match: "re.Match[str]") -> int:
    text = (match["count"] or "1").lower().replace(" ", "")
    count = {"next": 1, "last": -1}.get(text)
    number = int(text) if count is None else count
    return -number if match["ago"] else number


def _mail(text: str, now_ns: int) -> int | None:
    """RFC 2822, as mails and `date -R` have it."""
    del now_ns
    from email.utils import parsedate_to_datetime

    found = parsedate_to_datetime(text)
    return _ns(found, found.tzinfo)


def _ns(moment: datetime, zone: tzinfo | None, *, summer: int = -1) -> int:
    """Of whole seconds; without a zone, local time."""
    if zone is not None:
        return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)) * _BILLION
    return int(time.mktime((*moment.timetuple()[:8], summer))) * _BILLION
