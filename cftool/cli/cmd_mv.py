"""`cftool mv`: as cp, whose rules say where each SRC goes; then the source is gone. The engine finds the renames."""

from typing import Annotated

from typer import Argument

from cftool.cli.cmd_cp import plan
from cftool.cli.options import Recursive
from cftool.cli.run import execute
from cftool.cli.selection import Selection
from cftool.cli.session import Session
from cftool.cli.transfer_flags import Transfer, options, prepare
from cftool.core.errors import ConfigError


def mv(
    session: Session,
    which: Recursive,
    flags: Transfer,
    chosen: Selection,
    sources: Annotated[list[str], Argument(metavar="SRC... DST")],
) -> int:
    """Move files, and with -r directories: as cp, then the source is removed."""
    if len(sources) < 2:
        raise ConfigError("mv: say what to move and where to: SRC... DST")
    if "-" in sources:
        raise ConfigError("mv moves files; cp takes - for standard input and output")
    how = options(flags, chosen)
    prepare(session, flags)
    *names, dst = sources
    steps, failed = plan(session, names, dst, how, recursive=which.recursive, moving=True)
    return execute(session, steps, dry_run=how.dry_run, verb="moved", failed=failed)
