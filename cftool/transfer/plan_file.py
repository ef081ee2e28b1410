"""The file of `sync --plan`, JSON Lines: a header, an action a line with what must still hold, an end that seals it.

    {"v":1,"plan":1,"cftool":"…","created":"…","src":{…},"dst":{…},"options":{…}}
    {"do":"copy","path":"…","src":{entry},"dst":{entry}|null,"replaces":false}      "for": the replacement it belongs to
    {"do":"mkdir","path":"…"}   {"do":"move","old":{entry},"new":{entry}}
    {"do":"replace","old":{entry}}   {"do":"delete","entry":{entry}}
    {"end":true,"actions":N,"evidence":{…}}
    {"sha256":"… of all lines before"}

It is written whole or not at all, for its owner alone. Reading believes nothing before the end is seen and the sum is
right; every field is checked. What is wrong raises ConfigError: not one action of such a file is done.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from itertools import islice
from typing import IO, Any, TypeVar

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.types import NO_HASHES, Entry, Kind, NameRules
from cftool.disk import durability, temps
from cftool.disk.errors import store_error
from cftool.disk.writer import refuse_special
from cftool.transfer.actions import Action, Seen
from cftool.transfer.options import Links, MaxDelete, Options, Side
from cftool.transfer.renames import Rename

FORMAT = 1
_OPAQUE = NameRules(opaque=True, utf8=False)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a plan. `identity` says which tree it was, as far as that is known."""

    address: str
    key: str
    identity: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What the gate is told; see `gate.Evidence`."""

    deletions: int = 0
    deleted_files: int = 0
    destination_files: int = 0
    destination_entries: int = 0
    source_files: int = 0
    source_entries: int = 0
    recorded: int = 0
    recorded_seen: int = 0

    def seen(self) -> Seen:
        """As a run has it."""
        return Seen(
            source_files=self.source_files,
            source_entries=self.source_entries,
            destination_files=self.destination_files,
            destination_entries=self.destination_entries,
            recorded=self.recorded,
            recorded_seen=self.recorded_seen,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One action: `do`, and what belongs to it. `owner`: the path of the replacement that a copy belongs to."""

    do: str
    path: str = ""
    action: Action | None = None
    entry: Entry | None = None
    rename: Rename | None = None
    owner: str | None = None


def place(side: Side, identity: str) -> Place:
    """A local side is named by its real path, so that the plan means the same wherever it is applied from."""
    return Place(side.address if side.local_root is None else side.local_root, side.key, identity)


# ---- writing


class PlanWriter:
    """Writes a plan beside its final name; `commit` publishes it, `close` without that leaves nothing."""

    def __init__(self, path: str, *, src: Place, dst: Place, options: Options, version: str, created: str) -> None:
        self._path = os.path.realpath(path)
        self._sum = hashlib.sha256()
        self._count = 0
        try:
            self._directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if os.path.isdir(self._path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            refuse_special(self._directory, os.path.basename(self._path))
            self._temp, fd = temps.create(self._directory, "0" * 12, 0o600)
        except OSError as error:
            raise store_error(error, op="write", path=path) from error
        self._file: IO[bytes] | None = os.fdopen(fd, "wb")
        self._line(
            {
                "v": 1,
                "plan": FORMAT,
                "cftool": version,
                "created": created,
                "src": asdict(src),
                "dst": asdict(dst),
                "options": _options_out(options),
            }
        )

    def _line(self, record: Mapping[str, object]) -> None:
        assert self._file is not None
        data = json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
        self._sum.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise store_error(error, op="write", path=self._path) from error

    def _action(self, do: str, **more: object) -> None:
        self._count += 1
        self._line({"do": do, **more})

    def copy(self, action: Action, *, owner: str | None = None) -> None:
        """A file is to be copied."""
        dst = None if action.dst is None else _entry_out(action.dst)
        more = {} if owner is None else {"for": owner}
        src = _entry_out(action.src)
        self._action("copy", path=action.path, src=src, dst=dst, replaces=action.replaces, **more)

    def mkdir(self, path: str, *, owner: str | None = None) -> None:
        """An empty directory is to be made."""
        self._action("mkdir", path=path, **({} if owner is None else {"for": owner}))

    def move(self, rename: Rename) -> None:
        """A file is to get another name."""
        self._action("move", old=_entry_out(rename.old), new=_entry_out(rename.new))

    def replace(self, old: Entry) -> None:
        """A file is to give way to a directory, or the other way round; what comes instead follows."""
        self._action("replace", old=_entry_out(old))

    def delete(self, entry: Entry) -> None:
        """An entry is to go."""
        self._action("delete", entry=_entry_out(entry))

    def commit(self, counts: Counts) -> None:
        """Seal and publish."""
        assert self._file is not None
        self._line({"end": True, "actions": self._count, "evidence": asdict(counts)})
        self._line({"sha256": self._sum.hexdigest()})
        name = os.path.basename(self._path)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            os.rename(self._temp, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._temp = ""
            durability.sync_directory(self._directory)
        except OSError as error:
            raise store_error(error, op="write", path=self._path) from error

    def close(self) -> None:
        """Release everything; idempotent."""
        if self._file is None:
            return
        if self._temp:
            os.unlink(self._temp, dir_fd=self._directory)
        file, self._file = self._file, None
        os.close(self._directory)
        try:
            file.close()
        except OSError as error:  # what a full disk could not take; without a commit nobody misses it
            raise store_error(error, op="write", path=self._path) from error


def _options_out(options: Options) -> dict[str, object]:
    return {
        "delete": options.delete,
        "max_delete": [options.max_delete.files, options.max_delete.share],
        "force_delete": options.force_delete,
        "allow_empty_source": options.allow_empty_source,
        "trash": options.trash,
        "suffix": options.suffix,
        "links": options.links.value,
    }


def _entry_out(entry: Entry) -> dict[str, object]:
    record: dict[str, object] = {"path": entry.path, "kind": entry.kind.value}
    for name in ("size", "modified_ns", "stored_ns", "version", "id"):
        value = getattr(entry, name)
        if value is not None:
            record[name] = value
    if entry.hashes:
        record["hashes"] = dict(entry.hashes)
    return record


# ---- reading


class PlanFile:
    """A plan that was read to its end and found whole; `lines` reads it again, an action at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = open(path, "rb")  # noqa: SIM115 - kept open: what was checked is what is applied
        except OSError as error:
            raise store_error(error, op="read", path=path) from error
        try:
            self._check()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check(self) -> None:
        total = hashlib.sha256()
        count = -3  # header, end and sum are no actions
        end = last = b""
        for line in self._file:
            if count == -3:
                self._head(line)
            total.update(last)
            count += 1
            end, last = last, line
        if count == -3:
            raise self._foreign()
        if count < 0 or not last.endswith(b"\n"):
            raise self._damaged("it ends early")
        if self._record(last) != {"sha256": total.hexdigest()}:
            raise self._damaged("its sum is wrong, or it ends early")
        sealed = self._record(end)
        if sealed.get("end") is not True or sealed.get("actions") != count:
            raise self._damaged("its number of lines is wrong")
        self._count = count
        self.counts = self._fields(Counts, sealed.get("evidence"), int)
        owners = set()
        for one in self.lines():  # before the first action is done, all are seen to be readable
            if one.do == "replace":
                owners.add(one.path)
            elif one.owner is not None and one.owner not in owners:
                raise self._damaged("a line belongs to no other")

    def _head(self, line: bytes) -> None:
        try:
            head = json.loads(line)
            number = head["plan"]
        except (ValueError, KeyError, TypeError):
            raise self._foreign() from None
        if number != FORMAT:
            raise ConfigError(f"{paths.printable(self._path)}: a plan of another version of cftool ({number!r})")
        self.src = self._fields(Place, head.get("src"), str)
        self.dst = self._fields(Place, head.get("dst"), str)
        self._options = self._decoded(_options_in, head.get("options"))

    def options(self, base: Options) -> Options:
        """`base`, with what the plan was made with."""
        return replace(base, **self._options)

    def lines(self) -> Iterator[Line]:
        """All actions, in their order."""
        self._file.seek(0)
        next(self._file)
        for line in islice(self._file, self._count):
            yield self._decoded(_line_in, self._record(line))

    def _record(self, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            raise self._damaged("a line is not JSON") from None
        if not isinstance(record, dict):
            raise self._damaged("a line is no record")
        return record

    def _fields(self, kind: type[_T], record: object, type_: type) -> _T:
        names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # both are dataclasses
        if not isinstance(record, dict) or record.keys() != names:
            raise self._damaged("a record has other fields")
        if any(type(value) is not type_ for value in record.values()):
            raise self._damaged("a field has another type")
        return kind(**record)

    def _decoded(self, decode: Callable[[Any], _T], record: object) -> _T:
        try:
            return decode(record)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._damaged("a line says what cannot be") from None

    def _damaged(self, why: str) -> ConfigError:
        return ConfigError(f"{paths.printable(self._path)}: the plan is damaged: {why}; make it anew")

    def _foreign(self) -> ConfigError:
        return ConfigError(f"{paths.printable(self._path)}: this is no plan of cftool")


def _options_in(record: Any) -> dict[str, Any]:
    files, share = record["max_delete"]
    values: dict[str, Any] = {
        "max_delete": MaxDelete(_optional(files, int), _optional(share, float, int)),
        "trash": _optional(record["trash"], str),
        "suffix": _optional(record["suffix"], str),
        "links": Links(record["links"]),
    }
    if values["trash"] is not None:
        _path(values["trash"])
    for name in ("delete", "force_delete", "allow_empty_source"):
        values[name] = _exactly(record[name], bool)
    return values


def _line_in(record: Any) -> Line:
    do = record["do"]
    owner = _optional(record.get("for"), str)
    if do == "copy":
        dst = record["dst"]
        src = _entry_in(record["src"])
        path = _path(record["path"])
        action = Action(
            paths.sort_key(src.path, is_dir=False),
            src,
            None if dst is None else _entry_in(dst),
            path=path,
            replaces=_exactly(record["replaces"], bool),
        )
        return Line(do, path, action=action, owner=owner)
    if do == "mkdir":
        return Line(do, _path(record["path"]), owner=owner)
    if do == "move":
        old, new = _entry_in(record["old"]), _entry_in(record["new"])
        keys = [paths.sort_key(entry.path, is_dir=False) for entry in (old, new)]
        return Line(do, old.path, rename=Rename(keys[0], old, keys[1], new))
    if do in {"replace", "delete"}:
        entry = _entry_in(record["old" if do == "replace" else "entry"])
        return Line(do, entry.path, entry=entry)
    raise ValueError(do)


def _entry_in(record: Any) -> Entry:
    hashes = record.get("hashes", {})
    if not all(type(name) is str and type(value) is str for name, value in hashes.items()):
        raise TypeError("hashes")
    return Entry(
        _path(record["path"]),
        Kind(record["kind"]),
        _optional(record.get("size"), int),
        _optional(record.get("modified_ns"), int),
        _optional(record.get("stored_ns"), int),
        _optional(record.get("version"), str),
        _optional(record.get("id"), str),
        hashes or NO_HASHES,
    )


def _path(value: Any) -> str:
    """A path below a root; which names a store can hold, it says itself."""
    path: str = _exactly(value, str)
    if not path or paths.problem(path, _OPAQUE) is not None or path.startswith("/"):
        raise ValueError("path")
    return path


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value


def _optional(value: Any, *kinds: type) -> Any:
    if value is not None and type(value) not in kinds:
        raise TypeError("optional")
    return value
