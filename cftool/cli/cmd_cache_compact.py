"""`cftool cache compact`: archives that are mostly dead are rewritten, and what was replaced a day ago is removed."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument

from cftool.cli import archives, formats
from cftool.cli.each import each
from cftool.cli.session import Session

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
        done = archives.layer(opened.store, address).compact()
        if session.out.json:
            session.out.event("compacted", _fields(address, done))
        waiting = f"; {done.waiting} wait for the next run, a day from now" if done.waiting else ""
        session.messages.info(
            f"{address} {formats.plural(done.rewritten, 'pack')} of {done.packs} rewritten into {done.made},"
            f" {done.removed} removed{waiting}"
        )

    return each(session, archives.having(session, None) if remote is None else [remote], one)


def _fields(address: str, done: "Compacted") -> dict[str, object]:
    return {
        "remote": address, "packs": done.packs, "rewritten": done.rewritten, "made": done.made,
        "removed": done.removed, "waiting": done.waiting,
    }  # fmt: skip
