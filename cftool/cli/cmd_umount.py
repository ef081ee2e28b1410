"""`cftool umount`: what is pending goes up, then the mount away; the process of the mount does both."""

import os
from typing import Annotated, Any

from typer import Argument, Option

from cftool.cli import cache_words, exits, formats
from cftool.cli.session import Session
from cftool.core.errors import ConfigError
from cftool.core.paths import printable

_END = 60.0  # seconds for the process of a mount to end


def umount(
    session: Session,
    place: Annotated[str, Argument(metavar="DIR")],
    timeout: Annotated[str, Option("--timeout", metavar="TIME", help="Wait so long for uploads (10m).")] = "10m",
    lazy: Annotated[bool, Option("--lazy", help="Also where it is in use: it goes when nobody uses it.")] = False,
) -> int:
    """Upload what is pending, then unmount DIR; exit 5 where something is left, which stays in the cache."""
    import time

    from cftool.config import dirs
    from cftool.mount import daemon, device

    seconds = formats.parse_duration(timeout, "--timeout")
    deadline = time.monotonic() + seconds
    daemon.give_up(dirs.state_dir(session.env), place)
    if device.mounted(place) is None:
        raise ConfigError(f"{printable(place)}: no mount of cftool is there")
    left, count = ([], 0) if device.stale(place) else _drained(session, place, seconds)
    try:
        device.unmount(os.path.abspath(place), lazy=lazy or device.stale(place))
    except OSError as error:
        session.messages.error(f"{printable(place)} is in use ({error.strerror}); --lazy takes it away later")
        return exits.FAILED
    if not lazy:  # whoever mounts again at once, or takes the disk away, finds the cache let go
        daemon.ended(dirs.state_dir(session.env), place, patience=min(_END, max(0.0, deadline - time.monotonic())))
    if session.out.json:
        session.out.event("unmounted", {"place": os.path.abspath(place), "pending": left, "count": count})
    return exits.TEMPORARY if count else exits.DONE


def _drained(session: Session, place: str, seconds: float) -> tuple[list[dict[str, Any]], int]:
    """Ask the process of the mount to upload; the changes that are left, each told, and how many there are."""
    from cftool.config import dirs
    from cftool.mount import daemon
    from cftool.wrap.caching import owner

    directory = daemon.cache_of(dirs.state_dir(session.env), place)
    if directory is None:
        return [], 0  # the process uploads what it can when the mount is gone
    left, rows = 0, []
    try:
        for answer in owner.ask(directory, {"do": "flush", "path": "", "timeout": seconds}):
            before, left = left, int(answer.get("left", answer.get("count", 0)))
            if "left" in answer and left != before:
                session.messages.info(f"{formats.plural(left, 'change')} to upload")
            rows = answer.get("pending", [])
            for row in rows:
                session.messages.error(cache_words.left(row))
    except (ConnectionRefusedError, FileNotFoundError):
        return [], 0
    return rows, left
