r"""Hashes of files for `cftool hash`: how one is had, and the lines of `sha256sum`, written and read.

A hash that the service tells is used as it is; else the file is read, verified as it passes. A line is
`HASH  NAME`; or `\HASH  NAME` where the name has backslashes or line ends, which are then written `\\`, `\n`, `\r`.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from cftool.config.suggest import unknown
from cftool.core import hashing
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from cftool.core.store import Store
    from cftool.core.types import Entry

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

_LINE = re.compile(r"[ \t]*(?P<mark>\\?)(?P<hash>[0-9A-Fa-f]+)[ \t](?:[ *]|(?![ *]))(?P<name>.+)", re.DOTALL)
_TAGGED = re.compile(
    r"[ \t]*(?P<mark>\\?)(?P<type>[A-Za-z0-9-]+) ?\((?P<name>.+)\) ?= ?(?P<hash>[0-9A-Fa-f]+)", re.DOTALL
)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@dataclass(frozen=True, slots=True)
class Sum:
    """One line of a file of sums."""

    name: str
    hash: str


def canonical(name: str, store: "Store | None" = None) -> str:
    """`SHA-256` -> `sha256`; ConfigError where neither we can compute it nor the service tells it."""
    plain = name.lower().replace("-", "").replace("_", "")
    told = store.features.hashes if store is not None else frozenset[str]()
    if plain not in told and not hashing.available(plain):
        raise ConfigError(unknown("hash", name, {*told, *hashing.names()}))
    return plain


def of_file(store: "Store", entry: "Entry", name: str, *, download: bool = False, fresh: bool = False) -> str:
    """The hash of one file. `fresh`: the entry is from `stat`, which tells all that the service knows."""
    if not download:
        found = entry.hashes.get(name)
        if found is None and not fresh and store.features.remote and name in store.features.hashes:
            # A listing tells less than a request for the one file, and that costs less than its content.
            found = store.stat(entry.path).hashes.get(name)
        if found is not None:
            return found
    with store.read(entry.path) as content:
        return of_chunks(name, content)


def agrees(store: "Store", entry: "Entry", name: str) -> bool:
    """Whether what a listing tells as the hash is what a request for the file tells.

    A listing of S3 does not say how objects are encrypted: what looks like an MD5 there may be none, in a whole bucket.
    """
    try:
        return store.stat(entry.path).hashes.get(name) == entry.hashes[name]
    except NotFound:
        return False  # gone meanwhile; of the others each tells for itself


def of_chunks(name: str, chunks: Iterable[bytes]) -> str:
    """The hash of bytes as they come."""
    try:
        running = hashing.new(name)
    except ValueError as error:
        known = ", ".join(hashing.names())
        raise ConfigError(f"{error}, and is not told for every file: choose one of {known}") from None
    for chunk in chunks:
        running.update(chunk)
    return running.hexdigest()


def escaped(name: str) -> tuple[str, str]:
    """The mark that stands before the hash, and the name as it stands behind it."""
    if not any(char in name for char in "\\\n\r"):
        return "", name
    return "\\", name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def parse(line: str, name: str) -> Sum | None:
    """What a line says of the hash `name`; None where it is no such line."""
    match = _LINE.fullmatch(line) or _TAGGED.fullmatch(line)
    if match is None:
        return None
    told = match.groupdict().get("type")
    if told is not None and told.lower().replace("-", "") != name:
        return None
    digits = hashing.digits(name)
    if len(match["hash"]) != digits and digits is not None:
        return None
    shown = match["name"]
    if match["mark"]:
        if re.search(r"\\(?![\\nr])", re.sub(r"\\\\", "", shown)):
            return None
        shown = re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], shown)
    return Sum(shown, match["hash"].lower())


def in_order(
    function: Callable[[_Item], _Value], items: Iterable[_Item], *, threads: int
) -> Iterator[tuple[_Item, _Value]]:
    """`function` of each item, at most `threads` at once, in the order of the items; it must not raise."""
    from concurrent.futures import Future, ThreadPoolExecutor

    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="hash")
    waiting: deque[tuple[_Item, Future[_Value]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            while len(waiting) > 2 * threads or (waiting and waiting[0][1].done()):
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        # After Ctrl-C nobody waits for what is still being read: the process ends.
        pool.shutdown(wait=False, cancel_futures=True)
