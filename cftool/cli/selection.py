"""The flags that choose files, in the order in which they were typed, and their translation into a Filter.

Shared by all commands that look at trees. Filter files are read here; what is wrong in one is told with its name and
the number of the line.
"""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from typer import Option

from cftool.cli import formats
from cftool.cli.options import Text
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError

if TYPE_CHECKING:
    from cftool.transfer.select import Filter, Rule

Texts = list[str] | None
_RULES = ("include", "exclude", "filter", "include_from", "exclude_from", "filter_from")
_FILES = {"include_from": "--include-from", "exclude_from": "--exclude-from", "filter_from": "--filter-from"}


@dataclass(frozen=True)
class Selection:
    """Which files take part. `order`: the names of all options in the order of the command line."""

    include: Annotated[Texts, Option("--include", metavar="P", help="Only files that match; rclone's patterns.")] = None
    exclude: Annotated[Texts, Option("--exclude", metavar="P", help="No files that match.")] = None
    filter: Annotated[Texts, Option("--filter", metavar="RULE", help="A rule: '+ P', '- P' or '!'.")] = None
    include_from: Annotated[Texts, Option("--include-from", metavar="F", help="Patterns from a file.")] = None
    exclude_from: Annotated[Texts, Option("--exclude-from", metavar="F", help="Patterns from a file.")] = None
    filter_from: Annotated[Texts, Option("--filter-from", metavar="F", help="Rules from a file.")] = None
    files_from: Annotated[Texts, Option("--files-from", metavar="F", help="Exactly the files named in F.")] = None
    min_size: Annotated[Text, Option("--min-size", metavar="SIZE", help="No smaller files.")] = None
    max_size: Annotated[Text, Option("--max-size", metavar="SIZE", help="No larger files.")] = None
    min_age: Annotated[Text, Option("--min-age", metavar="T", help="No files younger than T, as 7d.")] = None
    max_age: Annotated[Text, Option("--max-age", metavar="T", help="No files older than T.")] = None
    order: tuple[str, ...] = ()


def select(flags: Selection) -> "Filter | None":
    """What the flags select; None where there are none. ConfigError says what is wrong, and where."""
    rules = list(_rules(flags)) if _given(flags) else []
    sizes = [
        None if text is None or text == "off" else formats.parse_size(text, flag)
        for text, flag in ((flags.min_size, "--min-size"), (flags.max_size, "--max-size"))
    ]
    ages = [
        None if text is None or text == "off" else _moment(text, flag)
        for text, flag in ((flags.min_age, "--min-age"), (flags.max_age, "--max-age"))
    ]
    measured = any(value is not None for value in (*sizes, *ages))
    if not _given(flags) and not flags.files_from and not measured:
        return None
    if flags.files_from and (_given(flags) or measured):
        raise ConfigError("--files-from names the files; it cannot be used together with other filters")
    listed = frozenset(_listed(flags.files_from)) if flags.files_from else None
    if None not in ages and ages[0] < ages[1]:  # type: ignore[operator] # both are there
        raise ConfigError("--min-age is larger than --max-age: nothing can be selected")
    if None not in sizes and sizes[0] > sizes[1]:  # type: ignore[operator] # both are there
        raise ConfigError("--min-size is larger than --max-size: nothing can be selected")
    from cftool.transfer.select import Filter, Names

    # Each pattern was read once already, so that a bad one could be told with its place.
    names = Names(rules) if rules else None
    return Filter(names, listed, sizes[0], sizes[1], newest_ns=ages[0], oldest_ns=ages[1])


def _given(flags: Selection) -> bool:
    return any(getattr(flags, name) for name in _RULES)


def _rules(flags: Selection) -> "Iterator[Rule]":
    """All rules in order. One --include means that nothing else takes part, whatever else is said (as in rclone)."""
    from cftool.transfer.select import Rule

    found: list[Rule] = []
    waiting = {name: iter(getattr(flags, name) or ()) for name in _RULES}
    implied = False
    for name in flags.order:
        if name not in waiting:
            continue
        text = next(waiting[name])
        implied = implied or name.startswith("include")
        for line, where in _lines(text, _FILES[name]) if name in _FILES else ((text, f"--{name}"),):
            if name.startswith("filter") and line == "!":
                found.clear()
                implied = False
                continue
            include = name.startswith("include")
            if name.startswith("filter"):
                include, line = _signed(line, where)  # noqa: PLW2901 - the sign is no part of the pattern
            found.append(_rule(line, where, include=include))
    yield from found
    if implied:
        yield Rule(include=False, pattern="/**")


def _signed(line: str, where: str) -> tuple[bool, str]:
    if not line.startswith(("+ ", "- ")):
        raise ConfigError(f"{where}: {line!r} is no rule; write it as '+ PATTERN', '- PATTERN' or '!'")
    return line[0] == "+", line[2:]


def _rule(pattern: str, where: str, *, include: bool) -> "Rule":
    from cftool.transfer import patterns, regex
    from cftool.transfer.select import Rule

    if not pattern:  # a shell's variable that is not set; what it was to keep might be deleted
        raise ConfigError(f"{where}: the pattern is empty")
    try:
        patterns.tree(pattern)
    except regex.PatternError as error:
        raise ConfigError(f"{where}: the pattern {pattern!r} has {error}") from None
    return Rule(include=include, pattern=pattern)


def _lines(path: str, flag: str) -> Iterator[tuple[str, str]]:
    """The lines of a file that say something, each with its place; `-` is standard input."""
    shown = "standard input" if path == "-" else path
    try:
        if path == "-":
            if sys.stdin is None:
                raise ConfigError(f"{flag}: standard input is closed")
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise ConfigError(f"{flag} {shown}: {error.strerror or error}") from error
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and stripped[0] not in "#;":
            yield stripped, f"{shown}:{number}"


def _listed(files: list[str]) -> Iterator[str]:
    for path in files:
        for line, where in _lines(path, "--files-from"):
            name = line.removeprefix("./").strip("/")  # as find writes them
            if not name or "\0" in name:
                raise ConfigError(f"{where}: {line!r} names no file")
            yield name


def _moment(text: str, flag: str) -> int:
    """Nanoseconds since the epoch of a duration ago, or of a date as `2026-01-31` or `2026-01-31T17:05`."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return time.time_ns() - int(formats.parse_duration(text, flag) * 1_000_000_000)
    seconds = (when if when.tzinfo else when.astimezone()).astimezone(UTC).timestamp()
    return int(seconds * 1_000_000_000)
