"""`cache status` in words: how a cache that is open has done since then. Megabytes are 10^6 bytes here."""

from collections.abc import Iterator
from typing import Any

from cftool.cli import formats
from cftool.core.paths import printable

_DONE = {"upload": "uploaded", "delete": "deleted", "mkdir": "made", "rmdir": "removed", "rename": "renamed"}


def left(row: dict[str, Any]) -> str:
    """A change that the remote does not have yet, and why, as the end of a mount tells it."""
    to = "" if row["to"] is None else f" to {printable(row['to'])}"
    why = f": {row['error']}" if row["error"] else ""
    return f"not {_DONE[row['what']]}: {printable(row['path'])}{to}{why}"


def statistics(said: dict[str, Any]) -> Iterator[str]:
    """Lines for people, of the owner's answer. Nothing of what never happened."""
    hits, misses = said["hits"], said["misses"]
    if hits + misses:
        share = 100 * hits / (hits + misses)
        yield f"{formats.plural(hits, 'hit')}, {formats.plural(misses, 'miss')}: {share:.0f} % from the cache"
    for word, count, rate in (
        ("uploaded", said["uploaded"], said["upload_rate"]),
        ("downloaded", said["downloaded"], said["download_rate"]),
    ):
        if count:
            yield f"{word} {count / 1e6:,.2f} MB at {rate / 1e6:,.2f} MB/s"
    yield f"limits: {formats.size(said['soft_limit'])}, at most {formats.size(said['hard_limit'])}"
    if said["conflicts"]:
        yield f"{formats.plural(said['conflicts'], 'conflict')}: both versions were kept"
    for kind, one in sorted(said["errors"].items()):
        when = formats.local_time(int(one["last"]) * 1_000_000_000)
        yield f"{formats.plural(one['count'], 'error')} of kind {kind}, the last at {when}: {one['text']}"
    yield from said["problems"]
