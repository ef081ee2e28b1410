"""HTTP dates, read without the e-mail package: an import of 10 ms for what one expression does.

Used for Retry-After and for the clock skew of signatures. All three forms of RFC 9110 are read.
"""

import re
from datetime import date
from functools import lru_cache

_MONTHS = {
    name: i
    for i, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)  # noqa: SIM905 - a list of 12 names is 12 lines
}
_FIXED = re.compile(r"\w+, (\d\d?)[ -](\w{3})[ -](\d\d(?:\d\d)?) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_EPOCH = date(1970, 1, 1).toordinal()
_ASCTIME = re.compile(r"\w{3} (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})", re.ASCII)


def parse_http_date(text: str) -> float | None:
    """Seconds since the epoch, or None where `text` is no HTTP date."""
    text = text.strip()
    if match := _FIXED.fullmatch(text):
        day, month, year, hour, minute, second = match.groups()
    elif match := _ASCTIME.fullmatch(text):
        month, day, hour, minute, second, year = match.groups()
    else:
        return None
    number = _MONTHS.get(month.lower())
    years = int(year)
    if len(year) == 2:  # RFC 850; nothing that speaks S3 or WebDAV is older than 1970
        years += 2000 if years < 70 else 1900
    clock = (int(hour), int(minute), int(second))
    if number is None or not 1 <= int(day) <= 31 or clock > (23, 59, 60) or clock[1] > 59 or clock[2] > 60:
        return None
    return float(epoch_seconds(years, number, int(day), *clock))


def epoch_seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Seconds from the epoch, UTC; `calendar.timegm` without its import. ValueError where year or month cannot be."""
    return _midnight(year, month, day) + hour * 3600 + minute * 60 + second


@lru_cache(maxsize=1024)  # a listing has thousands of times, of not so many days
def _midnight(year: int, month: int, day: int) -> int:
    """Seconds from the epoch to the beginning of the day, UTC; a day behind the month's last is one of the next."""
    return (date(year, month, 1).toordinal() - _EPOCH + day - 1) * 86400
