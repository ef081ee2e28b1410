"""`cftool tree`: what is below a path, drawn as Unix tree draws it, and counted.

One listing of all below; names and sizes are held until it has ended, since a line must know whether another follows.
"""

from collections.abc import Iterator
from typing import Annotated

from typer import Argument, Option

from cftool.cli import formats
from cftool.cli.each import each
from cftool.cli.listing import Listing, Style, entry_fields
from cftool.cli.options import Text
from cftool.cli.session import Session
from cftool.core.dataclass import dataclass
from cftool.core.types import Entry

_MORE, _LAST, _DOWN, _NONE = "├── ", "└── ", "│   ", "    "


@dataclass(frozen=True)
class Flags:
    """The flags of tree."""

    depth: Annotated[Text, Option("-L", "--depth", metavar="N", help="Down to N levels.")] = None
    dirs: Annotated[bool, Option("-d", "--dirs-only", help="Only directories.")] = False
    sizes: Annotated[bool, Option("-s", "--size", help="Sizes in bytes.")] = False
    human: Annotated[bool, Option("-h", "--human", help="Sizes as 3.4M.")] = False
    all: Annotated[bool, Option("-a", "--all", help="Always so; accepted out of habit.")] = False


@dataclass(slots=True)
class _Node:
    """One name; `below` is None for what is no directory."""

    size: int | None = None
    below: "dict[str, _Node] | None" = None


@dataclass(slots=True)
class _Counts:
    directories: int = 0
    files: int = 0


def tree(
    session: Session, flags: Flags, paths: Annotated[list[str] | None, Argument(metavar="[PATH]...")] = None
) -> int:
    """Draw what is below a path."""
    session.read_only = True
    depth = None if flags.depth is None else formats.parse_count(flags.depth, "--depth", least=1)
    counts = _Counts()

    def draw(text: str) -> int:
        listing = Listing(session, Style(depth=depth, files=not flags.dirs))
        top: dict[str, _Node] = {}

        def take(entry: Entry) -> None:
            counts.directories += entry.is_dir
            counts.files += not entry.is_dir
            if session.out.json:
                session.out.event("entry", entry_fields(entry))
            else:
                _place(top, entry)

        code = listing.visit(text, take)
        if not session.out.json:
            session.out.line(session.out.name(text))
            for line in _lines({} if listing.is_file else top, flags, session):
                session.out.line(line)
        return code

    code = each(session, paths or ["."], draw)
    if session.out.json:
        session.out.event("tree", {"directories": counts.directories, "files": counts.files, "exit": code})
    else:
        directories = "directory" if counts.directories == 1 else "directories"
        files = "" if flags.dirs else f", {counts.files} file{'' if counts.files == 1 else 's'}"
        session.out.line(f"\n{counts.directories} {directories}{files}")
    return code


def _place(top: dict[str, _Node], entry: Entry) -> None:
    *above, name = entry.path.split("/")
    below = top
    for part in above:
        node = below.setdefault(part, _Node(below={}))
        if node.below is None:  # opaque keys: `a` is a file, and `a/b` one too
            node = below.setdefault(part + "/", _Node(below={}))
            assert node.below is not None
        below = node.below
    if not entry.is_dir:
        below.setdefault(name, _Node(entry.size))
        return
    taken = name in below and below[name].below is None
    below.setdefault(name + "/" if taken else name, _Node(below={}))


def _lines(top: dict[str, _Node], flags: Flags, session: Session) -> Iterator[str]:
    """Depth first, without recursion: a service may nest deeper than Python calls."""
    levels = [(iter(top.items()), len(top), "")]
    while levels:
        items, left, lead = levels.pop()
        for name, node in items:
            left -= 1
            yield f"{lead}{_MORE if left else _LAST}{_size(node, flags)}{session.out.name(name)}"
            if node.below:
                levels.append((items, left, lead))
                levels.append((iter(node.below.items()), len(node.below), lead + (_DOWN if left else _NONE)))
                break


def _size(node: _Node, flags: Flags) -> str:
    if not flags.sizes and not flags.human:
        return ""
    if node.size is None:
        text = "-"
    else:
        text = formats.short_size(node.size) if flags.human else str(node.size)
    return f"[{text:>6}]  " if flags.human else f"[{text:>11}]  "
