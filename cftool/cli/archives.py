"""What `cache compact` and `cache fsck` share: which remotes have an archive, and the layer of a stack that is one."""

from typing import TYPE_CHECKING

from cftool.cli import exits, formats
from cftool.core.errors import ConfigError
from cftool.core.wrapper import layers

if TYPE_CHECKING:
    from cftool.cli.session import Session
    from cftool.core.store import Store
    from cftool.wrap.archiving import ArchivingStore


def having(session: "Session", remote: str | None) -> list[str]:
    """The address that was named, where its remote has an archive; without one all remotes that have."""
    if remote is None:
        return [f"{name}:" for name in session.config.remotes if _has(session, name)]
    name = session.parse(remote).remote
    return [remote] if name is not None and _has(session, name) else []


def _has(session: "Session", name: str) -> bool:
    known = session.config.remote(name)
    return known is not None and bool(known.stack.archive)


def layer(store: "Store", address: str) -> "ArchivingStore":
    """The archiving layer of a stack."""
    from cftool.wrap.archiving import ArchivingStore

    for each in layers(store):
        if isinstance(each, ArchivingStore):
            return each
    raise ConfigError(f"{address} has no archive; `archive = true` in the stack of its configuration makes one")


def check(session: "Session", address: str, *, download: bool) -> int:
    """Tell what is wrong with an archive."""
    done = layer(session.open(address).store, address).check(download=download)
    code = exits.DIFFERENT if done.found else exits.DONE
    if session.out.json:
        session.out.event(
            "checked",
            {
                "archive": address, "packs": done.packs, "files": done.files,
                "found": [{"path": one.path, "problem": one.problem} for one in done.found],
                "unused": [{"path": one.path, "problem": one.problem} for one in done.unused],
            },
        )  # fmt: skip
        return code
    for one in done.found:
        session.out.line(f"{session.out.name(one.path)}: {one.problem}")
    for one in done.unused:
        session.messages.info(f"{session.out.name(one.path)} {one.problem}")
    session.messages.info(
        f"{address} {formats.plural(len(done.found), 'problem')} in {formats.plural(done.packs, 'pack')} with "
        f"{formats.plural(done.files, 'file')}"
    )
    return code
