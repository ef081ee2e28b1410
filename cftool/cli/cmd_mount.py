"""`cftool mount`: the cache under FUSE, in a process of its own unless `--foreground`."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import cache_words, exits, formats
from cftool.cli.messages import explain
from cftool.cli.session import Session
from cftool.core.errors import CftoolError, ConfigError, LoginRequired, NotADirectory, StoreError
from cftool.core.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from cftool.config.file import StackOptions
    from cftool.stack import Cached
    from cftool.vfs import VfsSettings

_MODES = ("full", "read", "off")
_SHOWN = 100  # changes that are named at the end
_SYNCS = ("journal", "remote")
_LARGEST_ID = 2**32 - 1  # which the kernel takes for none
_LOOK = 5.0  # seconds for the first answer of the remote; later ones have their time


@dataclass(frozen=True)
class MountFlags:
    """The cache's settings, as the `stack` table of a remote has them."""

    foreground: Annotated[bool, Option("--foreground", help="Stay; for service managers.")] = False
    read_only: Annotated[bool, Option("--read-only", help="Refuse every change.")] = False
    allow_other: Annotated[bool, Option("--allow-other", help="Other users may use it too.")] = False
    noexec: Annotated[bool, Option("--noexec", help="Programs on it cannot be started.")] = False
    uid: Annotated[
        str | None, Option("--uid", metavar="USER", help="Whose the files are that nobody was given (yours).")
    ] = None
    gid: Annotated[str | None, Option("--gid", metavar="GROUP", help="The same for the group.")] = None
    umask: Annotated[
        str | None, Option("--umask", metavar="OCTAL", help="Permissions that they lack (those of the shell's umask).")
    ] = None
    cache_mode: Annotated[
        str,
        Option(
            "--cache-mode",
            metavar="full|read|off",
            help="full: upload later; read: changes wait for the remote; off: and nothing is kept.",
        ),
    ] = "full"
    fsync: Annotated[
        str,
        Option("--fsync", metavar="journal|remote", help="Close and fsync wait for the journal, or for the remote."),
    ] = "journal"
    stats_dir: Annotated[
        bool, Option("--stats-dir", help="Statistics, pending files and errors as files in .cftool/, which ls hides.")
    ] = False
    cache: Annotated[
        str | None, Option("--cache", metavar="TIME", help="Upload so long after the last write (60).")
    ] = None
    cache_size: Annotated[
        str | None, Option("--cache-size", metavar="SIZE", help="Above it clean files leave the cache (5G).")
    ] = None
    hard_cache_size_limit: Annotated[
        str | None,
        Option(
            "--hard-cache-size-limit",
            metavar="SIZE",
            help="Above it writers wait, then fail (10G, or twice --cache-size).",
        ),
    ] = None
    metadata_cache: Annotated[
        str | None, Option("--metadata-cache", metavar="TIME", help="Changes of others show after it (60).")
    ] = None
    cache_id: Annotated[str | None, Option("--cache-id", metavar="NAME", help="Another cache of the remote.")] = None
    no_passthrough: Annotated[
        bool, Option("--no-passthrough", help="The kernel is not to read and write files of the cache by itself.")
    ] = False
    drain: Annotated[str, Option("--drain", metavar="TIME", help="At the end wait so long for uploads (60).")] = "60"


def mount(
    session: Session,
    flags: MountFlags,
    address: Annotated[str, Argument(metavar="REMOTE:PATH")],
    place: Annotated[str, Argument(metavar="DIR")],
) -> int:
    """Mount a remote at DIR: files are read and written in a local cache and uploaded in the background."""
    from cftool.config import dirs
    from cftool.mount import daemon

    how = _stack_options(flags)  # what is wrong is told before anything is begun
    _owner(flags)
    place = daemon.prepare(dirs.state_dir(session.env), place)
    if flags.foreground:
        return _serve(session, flags, how, address, place, None)
    serving, report = daemon.detach()
    if serving:
        return _serve(session, flags, how, address, place, report)
    said = report.wait()
    if "error" in said:
        session.messages.error(str(said["error"]))
        return int(said["code"])
    _told(session, address, place, said["warnings"], "; cftool umount takes it away")
    return exits.DONE


def _told(session: Session, address: str, place: str, warnings: list[str], more: str = "") -> None:
    """That it is there."""
    for warning in warnings:
        session.messages.warn(warning)
    if session.out.json:
        session.out.event("mounted", {"path": address, "place": place})
    session.messages.info(f"{address} is mounted at {printable(place)}{more}")


def _serve(session: Session, flags: MountFlags, how: "StackOptions", address: str, place: str, report: object) -> int:
    from cftool.config import dirs, sizes
    from cftool.mount import daemon
    from cftool.wrap.caching import owner

    assert report is None or isinstance(report, daemon.Report)
    try:
        cached = _open(session, how, address)
        doubt = _first_look(cached, address)
        settings = daemon.MountSettings(
            name=address,
            allow_other=flags.allow_other,
            drain=sizes.parse_duration(flags.drain),
            root_path=cached.path,
            passthrough=not flags.no_passthrough,
            executable=not flags.noexec,
            binding=session.env.get("CFTOOL_MOUNT_BINDING", "kernel"),
            vfs=_vfs_settings(cached, flags),
            reports=flags.stats_dir,
            poll=cached.poll,
        )

        def ready() -> None:
            warnings = [*doubt, *_held_elsewhere(cached, dirs.state_dir(session.env))]
            if report is not None:
                report.send(ready=True, warnings=warnings)
            else:
                _told(session, address, place, warnings)

        left = daemon.serve(cached.store, place, settings, state_dir=dirs.state_dir(session.env), ready=ready)
    except (CftoolError, OSError) as error:
        if report is None:
            raise
        report.send(error=explain(error, address), code=exits.of_error(error))
        return exits.of_error(error)
    except KeyboardInterrupt:
        if report is not None:
            report.send(error="interrupted", code=exits.INTERRUPTED)  # told by who waits, once
        raise
    for row in left[:_SHOWN]:
        session.messages.error(cache_words.left(owner.shown(row)))
    if left:
        count = formats.plural(len(left), "change")
        session.messages.error(f"{count} not uploaded yet; what is left stays in the cache: cftool cache status")
        return exits.TEMPORARY
    return exits.DONE


def _first_look(cached: "Cached", address: str) -> list[str]:
    """Refuse what nobody could use: a login that is not accepted, a file. A remote that is away may come back.

    Where the cache holds what is not uploaded, its user has to get at it: then the refusal is told, and no more.
    """
    import contextlib
    import threading

    found: list[StoreError] = []

    def look() -> None:
        try:
            next(iter(cached.store.scan(cached.path)), None)
        except (LoginRequired, NotADirectory) as error:
            found.append(error)
        except Exception:  # noqa: S110 - not there yet, away, not to be listed; or the mount ended before the answer
            pass

    thread = threading.Thread(target=look, name="cftool-look", daemon=True)
    thread.start()
    thread.join(_LOOK)
    if not found:
        return []
    if cached.store.pending():
        return [explain(found[0], address)]
    with contextlib.suppress(CftoolError):
        cached.store.close()
    raise found[0].at_place(address)


def _held_elsewhere(cached: "Cached", state_dir: str) -> list[str]:
    """What other caches of the remote hold back: it is not shown here, so it is told."""
    import os

    from cftool.wrap import caches

    own = cached.store.directory
    found = caches.pending(caches.of(state_dir, cached.store.features.identity, own))
    return [
        f"the cache {os.path.basename(other)} of this remote holds changes that are neither uploaded nor shown here;"
        " cftool cache flush uploads them"
        for other in found
        if other != own
    ]


def _stack_options(flags: MountFlags) -> "StackOptions":
    from cftool.config.file import StackOptions
    from cftool.config.sizes import parse_duration, parse_size

    def size(name: str, text: str | None) -> int | None:
        try:
            return None if text is None else parse_size(text)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None

    def seconds(name: str, text: str | None) -> float | None:
        try:
            return None if text is None else parse_duration(text)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None

    seconds("--drain", flags.drain)
    if flags.cache_mode not in _MODES:
        raise ConfigError(f"--cache-mode: {flags.cache_mode!r} is none of {', '.join(_MODES)}")
    if flags.fsync not in _SYNCS:
        raise ConfigError(f"--fsync: {flags.fsync!r} is none of {', '.join(_SYNCS)}")
    if flags.cache_mode == "off" and flags.cache_size is not None:
        raise ConfigError("--cache-size: nothing is kept with --cache-mode off")
    return StackOptions(
        metadata_cache=seconds("--metadata-cache", flags.metadata_cache),
        cache=seconds("--cache", flags.cache),
        cache_size=0 if flags.cache_mode == "off" else size("--cache-size", flags.cache_size),
        hard_cache_size_limit=size("--hard-cache-size-limit", flags.hard_cache_size_limit),
        cache_id=flags.cache_id,
        read_only=flags.read_only or None,
    ).checked()


def _open(session: Session, how: "StackOptions", address: str) -> "Cached":
    from cftool import stack

    session.read_only = bool(how.read_only)
    config = session.config
    return stack.open_cached(session.parse(address), config, context=session.context(), flags=how)


def _owner(flags: MountFlags) -> tuple[int, int, int]:
    """User, group and umask of what nobody was given. Raises ConfigError."""
    import grp
    import os
    import pwd

    def number(name: str, text: str | None, own: int, known: "Callable[[str], int]") -> int:
        if text is None:
            return own
        try:
            found = int(text) if text.isdecimal() else known(text)
        except (KeyError, ValueError):
            found = _LARGEST_ID
        if found >= _LARGEST_ID:
            raise ConfigError(f"{name}: {printable(text)!r} is not known here; write a name or a number")
        return found

    umask = os.umask(0)
    os.umask(umask)
    if flags.umask is not None:
        if re.fullmatch("0*[0-7]{1,3}", flags.umask) is None:
            raise ConfigError(f"--umask: {printable(flags.umask)!r} is no mask; write it as 022")
        umask = int(flags.umask, 8)
    uid = number("--uid", flags.uid, os.getuid(), lambda name: pwd.getpwnam(name).pw_uid)
    gid = number("--gid", flags.gid, os.getgid(), lambda name: grp.getgrnam(name).gr_gid)
    return uid, gid, umask


def _vfs_settings(cached: "Cached", flags: MountFlags) -> "VfsSettings":
    from cftool.vfs import VfsSettings

    uid, gid, umask = _owner(flags)
    return VfsSettings(
        file_mode=0o666 & ~umask,
        dir_mode=0o777 & ~umask,
        uid=uid,
        gid=gid,
        ttl=cached.metadata,
        read_only=cached.read_only,
        remote=flags.fsync == "remote" or flags.cache_mode != "full",
        through=flags.cache_mode != "full",
        forget=flags.cache_mode == "off",
    )
