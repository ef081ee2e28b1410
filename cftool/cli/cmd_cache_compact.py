"""`cftool cache compact`: archives that are mostly dead are rewritten, and what was replaced a day ago is removed."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from cftool.cli import formats
from cftool.cli.each import each
from cftool.cli.session import Session
from cftool.core.errors import ConfigError
from cftool.core.wrapper import layers

if TYPE_CHECKING:
    from cftool.wrap.archiving.compaction import Compacted


def compact(
    session: Session,
    remote: Annotated[str | None, Argument(metavar="[REMOTE:]")] = None,
) -> int:
    """Rewrite archives that are mostly dead; without REMOTE those of all remotes with archive = true.

    What is replaced goes a day later, with the next run: other machines may still read it.
    """

    def one(address: str) -> None:
        opened = session.open(address)
        done = _archive(opened.store, address).compact()
        if session.out.json:
            session.out.event("compacted", _fields(address, done))
        waiting = f"; {done.waiting} wait for the next run, a day from now" if done.waiting else ""
        session.messages.info(
            f"{address} {formats.plural(done.rewritten, 'pack')} of {done.packs} rewritten into {done.made},"
            f" {done.removed} removed{waiting}"
        )

    known = session.config.remotes
    addresses = [remote] if remote is not None else [f"{name}:" for name in known if _has_archive(session, name)]
    return each(session, addresses, one)


def _has_archive(session: Session, name: str) -> bool:
    known = session.config.remote(name)
    return known is not None and bool(known.stack.archive)


def _archive(store: Any, address: str) -> Any:
    """The archiving layer of a stack."""
    for layer in layers(store):
        if hasattr(layer, "compact"):
            return layer
    raise ConfigError(f"{address} has no archive; `archive = true` in the stack of its configuration makes one")


def _fields(address: str, done: "Compacted") -> dict[str, object]:
    return {
        "remote": address, "packs": done.packs, "rewritten": done.rewritten, "made": done.made,
        "removed": done.removed, "waiting": done.waiting,
    }  # fmt: skip
