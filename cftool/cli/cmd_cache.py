"""`cftool cache status|flush|clear|fsck`: what the caches hold, and what is not uploaded yet.

Each speaks to the process that has the cache open, where one has; else it opens the cache itself.
"""

import contextlib
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from cftool.cli import archives, cache_words, exits, formats, metadata_caches
from cftool.cli.each import each
from cftool.cli.session import Session
from cftool.core.errors import CftoolError, ConfigError, NotFound
from cftool.core.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable

_NOBODY = (ConnectionRefusedError, FileNotFoundError)  # has it open
Remote = Annotated[str | None, Argument(metavar="[REMOTE:]")]


def status(session: Session, remote: Remote = None) -> int:
    """Show what caches hold, what is not uploaded yet, and why; and what is known of remotes without asking."""

    def show(directory: str) -> None:
        said = _status(directory)
        if session.out.json:
            session.out.event("cache", said)
            return
        used = formats.size(said["bytes"])
        owned = "" if said["mounted"] else ", not mounted"
        count = formats.plural(said["count"], "change")
        dirty = f" ({formats.plural(said['dirty_files'], 'file')}, {formats.size(said['dirty_bytes'])})"
        dirty = dirty if said["dirty_files"] else ""
        session.out.line(f"{session.out.name(said['cache'])}: {used} cached, {count} not uploaded{dirty}{owned}")
        if said["mounted"]:
            for line in cache_words.statistics(said):
                session.out.line(f"  {session.out.name(line)}")
        for row in said["pending"]:
            session.out.line(f"  {_row(session, row)}")

    return _each(session, remote, show, metadata=metadata_caches.show)


def flush(
    session: Session,
    remote: Remote = None,
    timeout: Annotated[str, Option("--timeout", metavar="T", help="Wait so long at most (1h).")] = "1h",
) -> int:
    """Upload what is pending, mounted or not; exit 5 where something stays, and say what."""
    seconds = formats.parse_duration(timeout, "--timeout")

    def upload(directory: str) -> int:
        left, count = _flushed(session, directory, remote, seconds)
        for row in left:
            session.messages.error(f"not uploaded: {_row(session, row)}")
        if session.out.json:
            session.out.event("flushed", {"cache": os.path.basename(directory), "pending": left, "count": count})
        return exits.TEMPORARY if count else exits.DONE

    return _each(session, remote, upload)


def clear(
    session: Session,
    remote: Remote = None,
    force: Annotated[bool, Option("--force", help="What is not uploaded too: it is lost.")] = False,
) -> int:
    """Drop what can be fetched or asked for again; what is not uploaded stays, but with --force."""

    def drop(directory: str) -> None:
        count, lost = _cleared(directory, force=force)
        name = os.path.basename(directory)
        if session.out.json:
            session.out.event("cleared", {"cache": name, "files": count, "lost": lost})
        for row in lost:
            session.messages.warn(f"lost: {_row(session, row)}")
        session.messages.info(f"{name}: {formats.plural(count, 'file')} dropped")

    return _each(session, remote, drop, metadata=metadata_caches.clear)


def fsck(
    session: Session,
    remote: Remote = None,
    download: Annotated[bool, Option("--download", help="Of archives: read all, and compare hashes.")] = False,
) -> int:
    """Check cached files against the journal, and archives against their packs' manifests; exit 6 where one is wrong.

    Nothing damaged is deleted. Of an archive (archive = true) each pack's manifest is read, and the bytes of each file
    must be where it says; what is gone or damaged is named, and so is what the archive does not need.
    """

    def check(directory: str) -> int:
        found = _checked(directory)
        name = os.path.basename(directory)
        if session.out.json:
            session.out.event("checked", {"cache": name, "found": found})
            return exits.DIFFERENT if found else exits.DONE
        for one in found:
            where = session.out.name(one["path"]) or name
            session.out.line(f"{where}: {one['problem']}; {one['done']}")
        session.messages.info(f"{name}: {formats.plural(len(found), 'problem')}")
        return exits.DIFFERENT if found else exits.DONE

    having = archives.having(session, remote)
    code = _each_written(session, remote, check, required=not having)
    return exits.worst([code, each(session, having, lambda one: archives.check(session, one, download=download))])


# ---- which caches


def _each(
    session: Session,
    remote: str | None,
    act: "Callable[[str], int | None]",
    *,
    metadata: "Callable[[Session, str], None] | None" = None,
) -> int:
    """`act` on each write-back cache, then `metadata` on each cache of metadata: of all remotes, or of one."""
    others = metadata_caches.directories(session, remote) if metadata is not None else []
    code = _each_written(session, remote, act, required=not others)
    for directory in others:
        assert metadata is not None
        metadata(session, directory)
    return code


def _each_written(session: Session, remote: str | None, act: "Callable[[str], int | None]", *, required: bool) -> int:
    from cftool import stack
    from cftool.config import dirs
    from cftool.wrap import caches

    if remote is not None:
        found = stack.caches_of(session.parse(remote), session.config, context=session.context())
        if not found and required:
            raise NotFound(f"{remote} has no cache", op="cache", path=remote)
        return each(session, found, act)
    return each(session, list(caches.every(dirs.state_dir(session.env))), act)


def _address_of(session: Session, directory: str) -> str:
    """Which remote a cache is of."""
    from cftool import stack
    from cftool.wrap import caches

    name = os.path.basename(directory)
    root = caches.local_root(caches.whose(directory))
    if root is not None:
        return f"/{root}"
    for known in session.config.remotes:
        with contextlib.suppress(CftoolError):  # one that cannot be opened now
            if directory in stack.caches_of(session.parse(f"{known}:"), session.config, context=session.context()):
                return f"{known}:"
    raise ConfigError(f"no remote has the cache {printable(name)}; say which: cftool cache flush REMOTE:")


# ---- what is done with one


def _status(directory: str) -> dict[str, Any]:
    from cftool.wrap.caching import care, owner

    try:
        [said] = owner.ask(directory, {"do": "status"})
    except _NOBODY:
        rows, total, clean = care.looked_at(directory)
        return {
            "cache": os.path.basename(directory), "mounted": False, "bytes": total, "clean_bytes": clean,
            "count": len(rows), "pending": [owner.shown(row) for row in rows[: owner.SHOWN]],
            **owner.dirty(rows),
        }  # fmt: skip
    return {**said, "mounted": True}


def _flushed(session: Session, directory: str, remote: str | None, seconds: float) -> tuple[list[dict[str, Any]], int]:
    from cftool import stack
    from cftool.config.file import StackOptions
    from cftool.wrap.caching import care, owner

    told = None
    try:
        for answer in owner.ask(directory, {"do": "flush", "path": "", "timeout": seconds}):
            if "pending" in answer:
                return answer["pending"], answer["count"]
            if answer["left"] != told:
                session.messages.info(f"{formats.plural(answer['left'], 'change')} to upload")
            told = answer["left"]
    except _NOBODY:
        pass
    if not care.looked_at(directory)[0]:
        return [], 0
    address = session.parse(remote or _address_of(session, directory))
    flags = StackOptions(cache_id=os.path.basename(directory))
    store = stack.open_cached(address, session.config, context=session.context(), flags=flags).store
    try:
        left = store.flush(timeout=seconds)
        return [owner.shown(row) for row in left[: owner.SHOWN]], len(left)
    finally:
        store.close()


def _cleared(directory: str, *, force: bool) -> tuple[int, list[dict[str, Any]]]:
    from cftool.wrap.caching import care, owner

    if not force:
        try:
            [said] = owner.ask(directory, {"do": "clear"})
        except _NOBODY:
            pass
        else:
            return said["files"], []
    cache = care.Unowned(directory)
    try:
        count, lost = care.cleared(cache, everything=force)
        return count, [owner.shown(row) for row in lost]
    finally:
        cache.close()


def _checked(directory: str) -> list[dict[str, Any]]:
    from contextlib import nullcontext

    from cftool.wrap.caching import care, owner

    try:
        [said] = owner.ask(directory, {"do": "fsck"}, patience=3600.0)
    except _NOBODY:
        cache = care.Unowned(directory)
        try:
            found = list(care.checked(cache.journal, cache.files, nullcontext(), ()))
            found += care.unknown(cache.journal, cache.files)
            return [one.fields() for one in found]
        finally:
            cache.close()
    found_there: list[dict[str, Any]] = said["found"]
    return found_there


def _row(session: Session, row: dict[str, Any]) -> str:
    """A pending change in words: what, where, how big, and why it is not done yet."""
    words = [row["what"], session.out.name(row["path"])]
    if row["to"] is not None:
        words.append(f"to {session.out.name(row['to'])}")
    if row["bytes"] is not None:
        words.append(f"({formats.size(row['bytes'])})")
    if row["state"] != "dirty":
        words.append(row["state"])
    text = " ".join(words)
    if row["error"]:
        wait = row["next_try"] - time.time()
        again = f"; tried again in {formats.duration(wait)}" if wait > 0 and row["state"] != "failed" else ""
        text += f": {row['error']}{again}"
    return text
