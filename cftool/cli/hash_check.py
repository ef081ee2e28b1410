"""`cftool hash --check`: the lines of a file of sums, verified as `sha256sum -c` does, on any store.

Without a PATH the names are addresses as they stand; with one they are below it. A mismatch and a file that is not
there are each named, and the exit code is 1. A line that is no such line is named, and an error with --strict.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cftool.cli import exits, formats, hashes, stdio
from cftool.cli.hashes import Sum
from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import CftoolError, ConfigError, IsADirectory, NotFound, TooLarge, told_at

if TYPE_CHECKING:
    from cftool.cli.cmd_hash import Flags
    from cftool.cli.session import Session
    from cftool.core.store import Store
    from cftool.stack import Opened

_THREADS = 16
_LINE = 1 << 16  # bytes of the longest line


@dataclass(frozen=True, slots=True)
class _Job:
    """One line, and where its file is; `error` where that could not be told."""

    sum: Sum
    store: "Store | None" = None
    path: str = ""
    error: CftoolError | None = None


class Check:
    """One run over one file of sums."""

    def __init__(self, session: "Session", flags: "Flags") -> None:
        self._session = session
        self._flags = flags
        self._codes: list[int] = []
        self._counts = {"checked": 0, "failed": 0, "unreadable": 0, "missing": 0, "malformed": 0}
        self._known: dict[object, Opened] = {}
        self._lead = ""  # of the names, as it was typed

    def run(self, type_: str, sumfile: str, below: list[str]) -> int:
        """The exit code of all."""
        if len(below) > 1:
            raise ConfigError("hash --check takes one PATH, that the names are below of")
        base = self._session.open(below[0]) if below else None
        if below:
            self._lead = below[0] if below[0].endswith(("/", ":")) else f"{below[0]}/"
        name = hashes.canonical(type_, None if base is None else base.store)
        if base is not None and base.store.features.remote and not base.store.stat(base.path).is_dir:
            raise ConfigError(f"{below[0]} is a file; hash --check takes a directory that the names are below of")

        def one(job: _Job) -> str | CftoolError | OSError:
            try:
                return self._hash(job, name)
            except (CftoolError, OSError) as error:
                return error

        jobs = (self._find(each, base) for each in self._sums(sumfile, name))
        for job, found in hashes.in_order(one, jobs, threads=_THREADS):
            self._tell(job.sum, found)
        return self._end(sumfile)

    # ---- which files

    def _sums(self, sumfile: str, name: str) -> Iterator[Sum]:
        for number, line in enumerate(self._lines(sumfile), 1):
            if not line or line.startswith("#"):
                continue
            found = hashes.parse(line, name)
            if found is None:
                self._counts["malformed"] += 1
                self._session.messages.warn(f"{sumfile}: line {number} is no line of {name} sums")
                if self._flags.strict:
                    self._codes.append(exits.FAILED)
                continue
            yield found

    def _lines(self, sumfile: str) -> Iterator[str]:
        rest = b""
        for chunk in self._chunks(sumfile):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.removesuffix(b"\r").decode("utf-8", "surrogateescape") for line in lines)
            if len(rest) > _LINE:
                raise TooLarge(f"{sumfile} has a line of more than {_LINE} bytes: it is no file of sums")
        if rest:
            yield rest.removesuffix(b"\r").decode("utf-8", "surrogateescape")

    def _chunks(self, sumfile: str) -> Iterator[bytes]:
        if sumfile == "-":
            yield from stdio.chunks()
            return
        opened = self._session.open(sumfile)
        with told_at(sumfile):
            content = opened.store.read(opened.path)
        with content:
            yield from content

    def _find(self, wanted: Sum, base: "Opened | None") -> _Job:
        """In the main thread: stores are opened here, one for all files of a remote."""
        name = wanted.name
        try:
            if base is None:
                return self._address(wanted)
            if base.address.remote is None:
                return self._local(wanted, os.path.join(base.address.path, name))
            path = paths.join(base.path, name.removeprefix("./"))
            return _Job(wanted, base.store, path)
        except CftoolError as error:
            return _Job(wanted, error=error)

    def _address(self, wanted: Sum) -> _Job:
        parsed = self._session.parse(wanted.name)
        if parsed.is_stdio:
            raise ConfigError("a line names standard input, which cannot be read again")
        if parsed.remote is None:
            return self._local(wanted, parsed.path)
        key = (parsed.remote, tuple(parsed.overrides.items()))
        if key not in self._known:
            self._known[key] = self._session.open(wanted.name)
        opened = self._known[key]
        path = parsed.path
        if not opened.store.features.names.opaque:
            path = "/".join(part for part in path.split("/") if part not in {"", "."})
        return _Job(wanted, opened.store, path)

    def _local(self, wanted: Sum, path: str) -> _Job:
        if None not in self._known:
            self._known[None] = self._session.open("/")
        return _Job(wanted, self._known[None].store, os.path.realpath(path).strip("/"))

    def _hash(self, job: _Job, name: str) -> str:
        if job.error is not None or job.store is None:
            raise job.error or ConfigError("no store")
        entry = job.store.stat(job.path)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="read", path=job.path, store=job.store.name)
        return hashes.of_file(job.store, entry, name, download=self._flags.download, fresh=True)

    # ---- what is told

    def _tell(self, wanted: Sum, found: str | CftoolError | OSError) -> None:
        out = self._session.out
        if isinstance(found, NotFound) and self._flags.ignore_missing:
            self._counts["missing"] += 1
            return
        if not isinstance(found, str):
            code = self._session.report(found, self._lead + wanted.name)
            self._codes.append(exits.FAILED if isinstance(found, NotFound) else code)
            self._counts["unreadable"] += 1
            verdict = "FAILED open or read"
        else:
            same = found == wanted.hash
            self._counts["checked"] += 1
            self._counts["failed"] += not same
            verdict = "OK" if same else "FAILED"
            if not same:
                self._codes.append(exits.FAILED)
        if out.json:
            if isinstance(found, str):
                out.event("check", {"path": wanted.name, "ok": verdict == "OK", "hash": found})
        elif verdict != "OK" or not self._session.common.quiet:
            ends = any(char in wanted.name for char in "\n\r")  # here, coreutils escapes no other name
            mark, text = hashes.escaped(wanted.name) if ends else ("", wanted.name)
            out.line(f"{mark}{out.name(text)}: {verdict}")

    def _end(self, sumfile: str) -> int:
        counts, messages = self._counts, self._session.messages
        self._session.out.flush()
        if not counts["checked"] and not counts["unreadable"]:
            what = "no file was verified" if counts["missing"] else "no line of sums was found"
            messages.error(f"{sumfile}: {what}")
            self._codes.append(exits.FAILED)
        for key, text in _TEXTS.items():
            if counts[key]:
                messages.warn(f"{formats.plural(counts[key], text[0])} {text[1]}")
        code = exits.worst(self._codes)
        if self._session.out.json:
            self._session.out.event("summary", {**counts, "exit": code})
        return code


_TEXTS = {
    "failed": ("computed checksum", "did NOT match"),
    "unreadable": ("listed file", "could not be read"),
    "malformed": ("line", "improperly formatted"),
}
