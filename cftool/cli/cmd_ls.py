"""`cftool ls`: what is in a directory, in lines, columns or JSON. The order and the forms are in `listing`."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import exits, formats
from cftool.cli.listing import Listing, Style
from cftool.cli.options import Text
from cftool.cli.selection import Selection, select
from cftool.cli.session import Session
from cftool.core.dataclass import dataclass
from cftool.core.errors import CftoolError, ConfigError

if TYPE_CHECKING:
    from cftool.transfer.select import Filter

_SORTS = ("name", "size", "time")


@dataclass(frozen=True)
class Flags:
    """The flags of ls."""

    long: Annotated[bool, Option("-l", "--long", help="Size, local time and name.")] = False
    recursive: Annotated[bool, Option("-R", "--recursive", help="All below, paths relative to ADDR.")] = False
    dirs: Annotated[bool, Option("-d", "--dirs-only", help="Only directories.")] = False
    files: Annotated[bool, Option("-f", "--files-only", help="Only files.")] = False
    depth: Annotated[Text, Option("--depth", metavar="N", help="Down to N levels; implies -R.")] = None
    human: Annotated[bool, Option("-h", "--human", help="Sizes as 3.4M; implies -l.")] = False
    hash: Annotated[Text, Option("--hash", metavar="TYPE", help="Show this hash, as md5.")] = None
    sort: Annotated[str, Option("--sort", metavar="name|size|time", help="Largest, newest first.")] = "name"
    reverse: Annotated[bool, Option("--reverse", help="The other way round.")] = False
    zero: Annotated[bool, Option("-0", "--null", help="End names with NUL, exact on terminals too.")] = False
    all: Annotated[bool, Option("-a", "--all", help="Always so; accepted out of habit.")] = False
    one: Annotated[bool, Option("-1", help="Always so; accepted out of habit.")] = False


def ls(
    session: Session,
    flags: Flags,
    chosen: Selection,
    addr: Annotated[list[str] | None, Argument(metavar="[ADDR]...")] = None,
) -> int:
    """List files and directories; without ADDR the configured remotes."""
    session.read_only = True
    style = _style(flags, select(chosen))
    if not addr:
        _remotes(session, style)
        return exits.DONE
    listing = Listing(session, style)
    codes = []
    for text in addr:
        try:
            codes.append(listing.show(text, among=len(addr) > 1))
        except (CftoolError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            codes.append(session.report(error, text))
    return exits.worst(codes)


def _style(flags: Flags, chosen: "Filter | None") -> Style:
    if flags.dirs and flags.files:
        raise ConfigError("-d and -f exclude each other")
    if flags.sort not in _SORTS:
        raise ConfigError(f"--sort: {flags.sort!r} is none of {', '.join(_SORTS)}")
    depth = None if flags.depth is None else formats.parse_count(flags.depth, "--depth", least=1)
    if depth is None and not flags.recursive:
        depth = 1
    return Style(
        long=flags.long or flags.human,
        human=flags.human,
        dirs=not flags.files,
        files=not flags.dirs,
        depth=depth,
        hash=flags.hash,
        sort=flags.sort,
        reverse=flags.reverse,
        end="\0" if flags.zero else "\n",
        select=chosen,
    )


def _remotes(session: Session, style: Style) -> None:
    out = session.out
    for name, remote in sorted(session.config.remotes.items()):
        if out.json:
            out.event("remote", {"name": name, "type": remote.type})
        else:
            shown = name if style.end == "\0" else out.name(name)
            out.line(f"{shown}:" + (f"  {remote.type}" if style.long else ""), style.end)
