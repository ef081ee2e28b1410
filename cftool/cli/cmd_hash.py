"""`cftool hash`: lines as `sha256sum` prints them, of any hash and on any store; with --check they are verified.

A hash that the service tells is believed unless --download says otherwise: it was verified when the file was stored.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import exits, formats, hashes, stdio
from cftool.cli.each import each
from cftool.cli.listing import Listing, Style
from cftool.cli.options import Recursive, Text
from cftool.cli.session import Session
from cftool.core.dataclass import dataclass
from cftool.core.errors import CftoolError, ConfigError, IsADirectory, NotADirectory
from cftool.core.types import NO_HASHES, Entry, Kind

if TYPE_CHECKING:
    from cftool.stack import Opened

_THREADS = 16  # files that are read at once


@dataclass(frozen=True)
class Flags:
    """The flags of hash."""

    check: Annotated[Text, Option("-c", "--check", metavar="SUMFILE", help="Verify the lines of SUMFILE.")] = None
    download: Annotated[bool, Option("--download", help="Read every file, whatever the service tells.")] = False
    strict: Annotated[bool, Option("--strict", help="With --check: a line that is no such line is an error.")] = False
    ignore_missing: Annotated[
        bool, Option("--ignore-missing", help="With --check: say nothing of files that are not there.")
    ] = False


def hash_(
    session: Session,
    which: Recursive,
    flags: Flags,
    type_: Annotated[str, Argument(metavar="TYPE")],
    paths: Annotated[list[str] | None, Argument(metavar="[PATH]...")] = None,
) -> int:
    """Print the hashes of files as sha256sum does, or check them.

    TYPE is md5, sha1, sha256, sha512, crc32, crc32c, crc64nvme or dropbox. With --check SUMFILE the names in it are
    addresses, or with a PATH below that.
    """
    session.read_only = True
    if flags.check is not None:
        from cftool.cli import hash_check

        return hash_check.Check(session, flags).run(type_, flags.check, paths or [])
    if not paths:
        hashes.canonical(type_)  # who forgot the type hears of that
        raise ConfigError("hash: say what to hash: TYPE PATH...")
    return each(session, paths, lambda text: _show(session, type_, text, flags, recursive=which.recursive))


def _show(session: Session, type_: str, text: str, flags: Flags, *, recursive: bool) -> int:
    if text == "-":
        name = hashes.canonical(type_)
        _line(session, name, hashes.of_chunks(name, stdio.chunks()), "-")
        return exits.DONE
    opened = session.open(text)
    store, name = opened.store, hashes.canonical(type_, opened.store)
    entry = store.stat(opened.path)
    if entry.is_dir and recursive:
        return _below(session, name, opened, flags)
    if entry.is_dir:
        raise IsADirectory("is a directory; -r hashes all below it", op="read", path=opened.path, store=store.name)
    if opened.address.trailing_slash:
        raise NotADirectory("not a directory", op="read", path=opened.path, store=store.name)
    _line(session, name, hashes.of_file(store, entry, name, download=flags.download, fresh=True), text)
    return exits.DONE


def _below(session: Session, name: str, opened: "Opened", flags: Flags) -> int:
    """All files below a directory, in order, several at once."""
    from cftool import stack

    store, text = stack.rooted(opened), opened.address.text
    listing = Listing(session, Style(depth=None, dirs=False))
    lead = text if text.endswith(("/", ":")) else text + "/"
    skipped = 0
    codes = []

    def files() -> Iterator[Entry]:
        nonlocal skipped
        believed = None  # whether the listing's hashes are: the first file shows it
        for entry in listing.below(opened):
            if entry.kind is not Kind.FILE:
                skipped += 1
                continue
            if believed is None and name in entry.hashes and not flags.download:
                believed = not store.features.remote or hashes.agrees(store, entry, name)
            yield entry if believed is not False else entry._replace(hashes=NO_HASHES)

    def one(entry: Entry) -> str | CftoolError | OSError:
        try:
            return hashes.of_file(store, entry, name, download=flags.download)
        except (CftoolError, OSError) as error:
            return error

    for entry, found in hashes.in_order(one, files(), threads=min(_THREADS, store.features.connections)):
        if isinstance(found, str):
            _line(session, name, found, lead + entry.path)
        else:
            codes.append(session.report(found, lead + entry.path))
    if skipped:
        session.messages.warn(f"{text}: {formats.plural(skipped, 'entry')} not hashed: links and special files")
    return exits.worst([*codes, *listing.codes])


def _line(session: Session, name: str, found: str, shown: str) -> None:
    if session.out.json:
        session.out.event("hash", {"path": shown, "type": name, "hash": found})
        return
    mark, text = hashes.escaped(shown)
    session.out.line(f"{mark}{found}  {session.out.name(text)}")
