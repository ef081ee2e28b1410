"""The listing of one address for `ls`: which entries, in which order, and how each is shown.

A recursive listing by name is streamed where the store lists in order; what has to be sorted beyond some ten thousand
entries is sorted in runs on disk. Where the first step fails, nothing has been shown: NotFound comes before any line.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cftool.cli import exits, formats
from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError, NotADirectory, NotFound, StoreError, Unnamed
from cftool.core.types import Entry, Kind

if TYPE_CHECKING:
    from cftool.cli.session import Session
    from cftool.core.store import Store
    from cftool.stack import Opened
    from cftool.transfer.options import Select
    from cftool.transfer.select import Filter

_IN_MEMORY = 50_000  # entries sorted without a file


@dataclass(frozen=True)
class Style:
    """How a listing is made. `depth` in levels, None for all."""

    long: bool = False
    human: bool = False
    dirs: bool = True
    files: bool = True
    depth: int | None = 1
    hash: str | None = None
    sort: str = "name"
    reverse: bool = False
    end: str = "\n"
    select: "Filter | None" = None


class Listing:
    """Shows addresses one after the other, in one style."""

    def __init__(self, session: "Session", style: Style) -> None:
        self._session = session
        self._style = style
        self._out = session.out
        self.codes: list[int] = []  # of what failed on the way without ending the last listing
        self._where = ""
        self._store: Store | None = None
        self._select: Select | None = None
        self._unhashed = 0
        self.is_file = False  # whether the last address was that of a file
        self._after: bool | None = None  # whether the last that was shown was a file
        self._typed: str | None = None  # how the one file is called that is shown now

    def show(self, text: str, *, among: bool) -> int:
        """List one address; the exit code of what failed on the way without ending it.

        `among` others: a directory has a heading, and a file is named as it was typed.
        """
        self.codes, self._where = [], text
        opened = self._session.open(text, cached=True)
        entries = self._entries(opened)
        begun = next(entries, None)  # raises here what makes the whole listing fail
        self._typed = text if among and self.is_file else None
        if among and not self._out.json and self._style.end == "\n":
            if self._after is False or (self._after is not None and not self.is_file):
                self._out.line("")
            if not self.is_file:
                self._out.line(f"{self._out.name(text)}:")
            self._after = self.is_file
        write = self._writer()
        if begun is not None:
            write(begun)
            for entry in entries:
                write(entry)
        if self._unhashed:
            what = formats.plural(self._unhashed, "file")
            self._session.messages.warn(f"{what} shown without {self._style.hash}: the listing does not carry it")
            self._unhashed = 0
        return exits.worst(self.codes)

    def visit(self, text: str, take: Callable[[Entry], None]) -> int:
        """Hand every entry of one address to `take`, and return as `show`."""
        for entry in self.below(self._session.open(text, cached=True)):
            take(entry)
        return exits.worst(self.codes)

    def below(self, opened: "Opened") -> Iterator[Entry]:
        """The entries of one address; `codes` has what failed on the way."""
        self.codes, self._where = [], opened.address.text
        return self._entries(opened)

    # ---- which entries, in which order

    def _entries(self, opened: "Opened") -> Iterator[Entry]:
        from cftool import stack

        self.is_file = False
        try:
            self._store = store = stack.rooted(opened)
            if self._style.hash is not None:
                self._check_hash(self._style.hash, store)
            yield from self._in_order(store)
            self._tell_unmet()
        except NotADirectory:  # NotFound: nor a file; a store knows the two apart
            # Asking first whether it is a file would cost every listing of a directory one request more.
            entry = self._file(opened)
            if entry is None:
                raise
            self.is_file = True
            self._store = None if self._style.hash is None else stack.rooted(opened, paths.parent(opened.path))
            yield entry

    @staticmethod
    def _file(opened: "Opened") -> Entry | None:
        if not opened.path or opened.address.trailing_slash:
            return None
        try:
            entry = opened.store.stat(opened.path)
        except NotFound:
            return None
        return None if entry.is_dir else entry.at(entry.name)

    def _in_order(self, store: "Store") -> Iterator[Entry]:
        style = self._style
        if style.select is not None:
            from cftool.transfer.select import recorded

            self._select = recorded(style.select)
        if style.depth is None:
            entries = self._chosen(self._all_below(store))
        elif style.depth == 1:
            entries = _sorted(self._chosen(self._scanned(store, "")), _by_name)
        else:
            entries = self._chosen(self._levels(store, "", style.depth))
        if style.sort == "name" and not style.reverse:
            return entries
        return _sorted(entries, _KEYS[style.sort], reverse=style.reverse)

    def _chosen(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        style = self._style
        if style.dirs and style.files:
            return entries
        return (entry for entry in entries if (style.dirs if entry.kind is Kind.DIRECTORY else style.files))

    def _scanned(self, store: "Store", path: str) -> Iterator[Entry]:
        """One directory, as far as it is selected."""
        select = self._select
        if select is None:
            return self._named(store.scan(path))
        from cftool.transfer.select import timed

        entries = timed(store, select, list(self._named(store.scan(path))))
        return (one for one in entries if (select.directory(one.path) if one.is_dir else select.file(one)))

    def _named(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """What can be shown; that something cannot is told."""
        try:
            yield from entries
        except Unnamed as error:
            self.codes.append(self._session.report(error, self._where))

    def _tell_unmet(self) -> None:
        if self._select is not None:
            from cftool.transfer.select import unmet

            self.codes += [self._session.report(error, self._where) for error in unmet(self._select)]

    def _all_below(self, store: "Store") -> Iterator[Entry]:
        """All in the order of names; a directory that cannot be listed is told of and left out."""
        from cftool.transfer import scan

        beside = scan.Chunk()
        for batch in scan.Listing(store, scan.How(select=self._select), beside).batches():
            for _key, entry in batch:
                yield entry
        for problem in beside.problems:
            self.codes.append(self._session.report(problem.error, self._where))

    def _levels(self, store: "Store", path: str, depth: int) -> Iterator[Entry]:
        for entry in _sorted(self._scanned(store, path), _by_name):
            yield entry
            if entry.kind is Kind.DIRECTORY and depth > 1:
                try:
                    yield from self._levels(store, entry.path, depth - 1)
                except NotFound:
                    continue  # gone meanwhile
                except StoreError as error:
                    if error.retryable:
                        raise
                    self.codes.append(self._session.report(error, self._where))

    # ---- how one is shown

    def _writer(self) -> Callable[[Entry], None]:
        if self._out.json:
            return self._json
        if self._style.long or self._style.hash is not None:
            return self._columns
        end, line = self._style.end, self._out.line
        name = self._name()
        if self._typed is not None:
            shown = name(self._typed)
            return lambda _entry: line(shown, end)
        return lambda entry: line(name(entry.path) + "/" if entry.kind is Kind.DIRECTORY else name(entry.path), end)

    def _name(self) -> Callable[[str], str]:
        """-0 is for programs: exact even on a terminal."""
        if self._style.end == "\0" or not self._out.terminal:
            return str
        return paths.printable

    def _columns(self, entry: Entry) -> None:
        style = self._style
        columns = []
        if style.hash is not None:
            columns.append(self._hash(entry) or "-")
        if style.long:
            size = "-" if entry.size is None or entry.is_dir else str(entry.size)
            if style.human and size != "-":
                size = formats.short_size(int(size))
            time = _time(entry)
            columns += [f"{size:>12}", f"{'-' if time is None else formats.local_time(time):<19}"]
        columns.append(self._name()(self._typed or entry.path) + ("/" if entry.is_dir else ""))
        self._out.line("  ".join(columns) if style.hash is not None else " ".join(columns), style.end)

    def _json(self, entry: Entry) -> None:
        fields = entry_fields(entry)
        if self._style.hash is not None:
            found = self._hash(entry)
            if found is not None:
                fields["hashes"] = {**entry.hashes, self._style.hash: found}
        self._out.event("entry", fields)

    # ---- hashes

    @staticmethod
    def _check_hash(name: str, store: "Store") -> None:
        from cftool.core import hashing

        if name not in store.features.hashes and not hashing.available(name):
            known = ", ".join(sorted({*store.features.hashes, "md5", "sha1", "sha256", "crc32"}))
            raise ConfigError(f"--hash: no {name} here; there is {known}")

    def _hash(self, entry: Entry) -> str | None:
        """What the listing carries; for files of this machine, computed. Nothing is downloaded for it."""
        from cftool.core import hashing

        name = self._style.hash
        assert name is not None
        if entry.kind is not Kind.FILE:
            return None
        found = entry.hashes.get(name)
        if found is None and self._store is not None and not self._store.features.remote and hashing.available(name):
            running = hashing.new(name)
            with self._store.read(entry.path) as download:
                for chunk in download:
                    running.update(chunk)
            return running.hexdigest()
        if found is None:
            self._unhashed += 1
        return found


def entry_fields(entry: Entry) -> dict[str, Any]:
    """The fields of an `entry` event."""
    fields: dict[str, Any] = {
        "path": entry.path,
        "name": entry.name,
        "is_dir": entry.is_dir,
        "bytes": None if entry.is_dir else entry.size,
        "modified": None if entry.modified_ns is None else formats.utc_time(entry.modified_ns),
        "version": entry.version,
        "hashes": dict(entry.hashes),
    }
    if entry.stored_ns is not None:
        fields["stored"] = formats.utc_time(entry.stored_ns)
    if entry.kind is not Kind.FILE and entry.kind is not Kind.DIRECTORY:
        fields["kind"] = entry.kind.value
    return fields


def _time(entry: Entry) -> int | None:
    """The file's own time, or where this listing does not know it, the service's."""
    return entry.stored_ns if entry.modified_ns is None else entry.modified_ns


def _by_name(entry: Entry) -> bytes:
    return paths.entry_key(entry)


def _by_size(entry: Entry) -> bytes:
    return _descending(entry.size) + paths.entry_key(entry)


def _by_time(entry: Entry) -> bytes:
    return _descending(_time(entry)) + paths.entry_key(entry)


def _descending(value: int | None) -> bytes:
    """Bytes that sort the largest first, and the unknown last."""
    top = 1 << 95
    return (top - min(max(-top if value is None else value, -top), top)).to_bytes(16, "big")


_KEYS: dict[str, Callable[[Entry], bytes]] = {"name": _by_name, "size": _by_size, "time": _by_time}


def _sorted(entries: Iterable[Entry], key: Callable[[Entry], bytes], *, reverse: bool = False) -> Iterator[Entry]:
    """`entries` in order: in memory while they are few, in runs on disk beyond."""
    source = iter(entries)
    few: list[Entry] = []
    for entry in source:
        few.append(entry)
        if len(few) >= _IN_MEMORY:
            break
    else:
        few.sort(key=key, reverse=reverse)
        yield from few
        return
    from cftool.transfer import spool

    turn = _inverted if reverse else _unchanged
    with spool.Sorter(in_memory=_IN_MEMORY) as sorter:
        for entry in few:
            sorter.add(turn(key(entry)), entry)
        few.clear()
        for entry in source:
            sorter.add(turn(key(entry)), entry)
        for _key, entry in sorter:
            yield entry


def _unchanged(key: bytes) -> bytes:
    return key


def _inverted(key: bytes) -> bytes:
    """Bytes that sort the other way round; the end mark keeps a prefix behind what it begins."""
    return bytes(255 - byte for byte in key) + b"\xff"
