"""What the engine's tests share: sides over memory and local trees, a store to be spoiled, recorded events."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cftool.core.types import Cap, Entry, Features, Kind
from cftool.core.wrapper import Wrapper
from cftool.transfer import api
from cftool.transfer.events import Event, Summary
from cftool.transfer.options import Options, Side, Surroundings
from cftool_providers.local.store import LocalStore
from cftool_providers.memory import MemoryStore

T0 = 1_700_000_000_000_000_000


class Fitted(Wrapper):
    """A memory store that behaves as told: features replaced, listings trimmed, calls counted and spoiled."""

    def __init__(self, inner=None, **features):
        super().__init__(inner or MemoryStore())
        without = features.pop("without", Cap.NONE)
        caps = features.pop("caps", self.inner.features.caps) & ~without
        self._features = replace(self.inner.features, caps=caps, **features)
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[str, object]] = []
        self.before: Callable[[str, object], None] = lambda op, path: None
        self.listed: Callable[[Entry], Entry | None] = lambda entry: entry
        self.walked: Callable[[Iterator[Entry]], Iterator[Entry]] = lambda entries: entries

    @property
    def features(self) -> Features:
        return self._features

    def _call(self, op, path=""):
        self.calls[op] += 1
        self.log.append((op, path))
        self.before(op, path)

    def stat(self, path):
        self._call("stat", path)
        return self.inner.stat(path)

    def scan(self, path):
        self._call("scan", path)
        for entry in self.walked(self.inner.scan(path)):
            shown = self.listed(entry)
            if shown is not None:
                yield shown

    def walk(self, path):
        self._call("walk", path)
        for entry in self.walked(self.inner.walk(path)):
            shown = self.listed(entry)
            if shown is not None:
                yield shown

    def read(self, path, **how):
        self._call("read", path)
        return self.inner.read(path, **how)

    def write(self, path, source, **how):
        self._call("write", path)
        return self.inner.write(path, source, **how)

    def delete(self, path):
        self._call("delete", path)
        self.inner.delete(path)

    def mkdir(self, path):
        self._call("mkdir", path)
        return self.inner.mkdir(path)

    def rmdir(self, path):
        self._call("rmdir", path)
        self.inner.rmdir(path)

    def copy(self, src, dst):
        self._call("copy", src)
        return self.inner.copy(src, dst)

    def move(self, src, dst):
        self._call("move", src)
        return self.inner.move(src, dst)

    def set_modified(self, path, modified_ns):
        self._call("set_modified", path)
        return self.inner.set_modified(path, modified_ns)

    def write_many(self, items):
        self._call("write_many")
        for item in items:
            yield from self._each(item.path, "write", item)

    def _each(self, path, op, item):
        from cftool.core.errors import StoreError
        from cftool.core.types import Result

        try:
            entry = self.write(
                path, item.source, modified_ns=item.modified_ns, if_version=item.if_version, if_absent=item.if_absent
            )
        except StoreError as error:
            yield Result(path, error=error, tag=item.tag)
        else:
            yield Result(path, entry=entry, tag=item.tag)

    def read_many(self, items):
        from cftool.core.errors import StoreError
        from cftool.core.types import Result

        self._call("read_many")
        for item in items:
            try:
                with self.read(item.entry.path, if_version=item.entry.version) as download:
                    item.target.save(download.read(), download.entry)
            except StoreError as error:
                yield Result(item.entry.path, error=error, tag=item.tag)
            else:
                yield Result(item.entry.path, entry=download.entry, tag=item.tag)

    def delete_many(self, entries):
        from cftool.core.errors import NotFound, StoreError
        from cftool.core.types import Result

        self._call("delete_many")
        for entry in entries:
            try:
                if entry.kind is Kind.DIRECTORY:
                    self.rmdir(entry.path)
                else:
                    self.delete(entry.path)
            except NotFound:
                yield Result(entry.path, entry=entry)
            except StoreError as error:
                yield Result(entry.path, error=error)
            else:
                yield Result(entry.path, entry=entry)


@dataclass
class Bench:
    """One source, one destination, one state directory; runs the engine and keeps what it told."""

    src: Side
    dst: Side
    state_dir: str | None
    events: list[Event] = field(default_factory=list)
    cancelled: Callable[[], bool] = lambda: False
    now: float = 1000.0

    def around(self) -> Surroundings:
        return Surroundings(self.state_dir, now=lambda: self.now, cancelled=self.cancelled)

    def run(self, what, **options) -> Summary:
        self.events.clear()
        return what(self.src, self.dst, Options(**options), self.around(), self.events.append)

    def sync(self, **options) -> Summary:
        return self.run(api.sync, **options)

    def copy(self, **options) -> Summary:
        return self.run(api.copy, **options)

    def check(self, **options) -> Summary:
        return self.run(api.check, **options)

    def told(self, kind) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def local(path: Path) -> Side:
    """A local tree, made where it is missing."""
    path.mkdir(parents=True, exist_ok=True)
    return there(path)


def there(path: Path) -> Side:
    """A local tree that may be missing."""
    real = os.path.realpath(path)
    return Side(LocalStore(real), str(path), real, real)


def remote(store, name: str = "memory/test") -> Side:
    """A store as a side without a local root."""
    return Side(store, f"{name}:", name)


def put(store, path: str, data: bytes = b"x", modified_ns: int = T0) -> None:
    """A file in a store."""
    from cftool.core.sources import BytesSource

    inner = store.inner if isinstance(store, Fitted) else store
    inner.write(path, BytesSource(data), modified_ns=modified_ns)


def make(root: Path, tree: dict[str, bytes | None], modified_ns: int = T0) -> None:
    """Files of a local tree; None is an empty directory."""
    for name, data in tree.items():
        path = root / name
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(modified_ns, modified_ns))


def tree(root: Path) -> dict[str, bytes | None]:
    """What a local tree holds; empty directories as None."""
    found: dict[str, bytes | None] = {}
    for directory, folders, files in os.walk(root):
        base = os.path.relpath(directory, root)
        for name in files:
            with open(os.path.join(directory, name), "rb") as file:
                found[os.path.normpath(os.path.join(base, name))] = file.read()
        if not folders and not files and base != ".":
            found[base] = None
    return found


def held(store) -> dict[str, bytes | None]:
    """What a store holds; empty directories as None."""
    inner = store.inner if isinstance(store, Fitted) else store
    entries = list(inner.walk(""))
    parents = {entry.path.rpartition("/")[0] for entry in entries}
    found: dict[str, bytes | None] = {}
    for entry in entries:
        if entry.kind is Kind.FILE:
            with inner.read(entry.path) as download:
                found[entry.path] = download.read()
        elif entry.path not in parents:
            found[entry.path] = None
    return found
