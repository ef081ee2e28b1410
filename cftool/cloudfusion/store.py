"""Store: the calls of the CloudFusion documents over one of cftool's stacks. All stores and wrappers inherit it.

Paths are absolute, `/dir/file`, and "/" is the folder or bucket that the store was opened on. Sizes and space are in
bytes, times in seconds since the epoch. Every error is one of `errors`. Stores are thread-safe; none survives a fork.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self, TypedDict, cast

from cftool import stack
from cftool.cloudfusion import trees
from cftool.cloudfusion.errors import InvalidPathValueError, NoSuchFilesytemObjectError, StoreAccessError, told
from cftool.cloudfusion.sources import Event, Readable, interruptible, of_fileobject
from cftool.config import dirs
from cftool.config.address import Address
from cftool.config.file import Config
from cftool.core import ops, paths
from cftool.core.errors import AlreadyExists, NotFound
from cftool.core.store import Store as Core
from cftool.core.types import Cap, Entry, Source, Usage
from cftool.disk.errors import translated
from cftool.disk.source import LocalSource
from cftool.stack import OpenContext

UNLIMITED = 2**63 - 1  # bytes, where a service has no limit or does not tell it

_SERVICES = {
    "dropbox": "Dropbox",
    "gdrive": "Google Drive",
    "gs": "Google Storage",
    "local": "Local drive",
    "s3": "Amazon S3",
    "sugarsync": "SugarSync",
    "webdav": "WebDAV",
}


class Metadata(TypedDict):
    """What `get_metadata` gives. `bytes` of a directory is 0, and `modified` 0 where the service has none for one."""

    path: str
    bytes: int
    is_dir: bool
    modified: int


@dataclass(frozen=True, slots=True)
class Place:
    """What a stack is opened from, once by every wrapper."""

    address: Address
    config: Config
    context: OpenContext

    @property
    def service(self) -> str:
        """The name of the service, for people."""
        name = self.address.remote
        if name is None:
            return _SERVICES["local"]
        remote = self.config.remote(name)
        kind = name if remote is None else remote.type or remote.name
        return _SERVICES.get(kind, kind)


def context_of(env: Mapping[str, str]) -> OpenContext:
    """The surroundings of a program: those of the command."""
    return OpenContext(env=env, state_dir=dirs.state_dir(env))


class BulkGetMetadata:
    """Marks stores with `get_bulk_metadata`; all have it."""


class Store(BulkGetMetadata):
    """See the module. Opened by `open_store`, by a class of `stores`, or by wrapping another one.

    A wrapper takes over what it wraps: closing it closes both. A store is a context manager that closes it.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._wrapped: Store | None = None
        self._closed = False
        with told():
            self._core = self._opened()

    def _opened(self) -> Core:
        return stack.rooted(stack.open_address(self._place.address, self._place.config, context=self._place.context))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release connections and files. Idempotent; any other call is a StoreAccessError then."""
        if self._closed:
            return
        self._closed = True
        core, self._core = self._core, cast("Core", Closed(self.get_name()))
        try:
            with told():
                core.close()
        finally:
            if self._wrapped is not None:
                self._wrapped.close()

    # ---- looking

    def get_name(self) -> str:
        """The name of the service, such as Dropbox or Amazon S3."""
        return self._place.service

    def get_file(self, path_to_file: str) -> bytes:
        """The content, verified. Raises NoSuchFilesytemObjectError; StoreAccessError for a directory."""
        with told(path_to_file):
            return ops.read_bytes(self._core, self._path(path_to_file))

    def get_metadata(self, path: str) -> Metadata:
        """The entry at `path`. Raises NoSuchFilesytemObjectError."""
        with told(path):
            return _metadata(self._core.stat(self._path(path)))

    def get_bulk_metadata(self, directory: str) -> dict[str, Metadata]:
        """All entries of a directory by their paths, by one listing. Raises NoSuchFilesytemObjectError."""
        with told(directory):
            found = map(_metadata, self._core.scan(self._path(directory)))
            return {metadata["path"]: metadata for metadata in found}

    def get_directory_listing(self, directory: str) -> list[str]:
        """The paths of all entries of a directory. Raises NoSuchFilesytemObjectError."""
        with told(directory):
            return ["/" + entry.path for entry in self._core.scan(self._path(directory))]

    def get_modified(self, path: str) -> int:
        """When it was modified. Raises NoSuchFilesytemObjectError."""
        return self.get_metadata(path)["modified"]

    def get_bytes(self, path: str) -> int:
        """Its size. Raises NoSuchFilesytemObjectError."""
        return self.get_metadata(path)["bytes"]

    def is_dir(self, path: str) -> bool:
        """Whether it is a directory. Raises NoSuchFilesytemObjectError."""
        return self.get_metadata(path)["is_dir"]

    def exists(self, path: str) -> bool:
        """Whether anything is there; that it cannot be found out is an error, never False."""
        try:
            self.get_metadata(path)
        except NoSuchFilesytemObjectError:
            return False
        return True

    # ---- changing

    def store_file(
        self,
        path_to_file: str,
        dest_dir: str = "/",
        remote_file_name: str | None = None,
        interrupt_event: Event | None = None,
    ) -> int:
        """Store a local file in a directory, under its own name or another; when it is modified by then.

        Once `interrupt_event` is set nothing is stored any more and InterruptedException raised.
        """
        name = remote_file_name or os.path.basename(path_to_file)
        path = f"{dest_dir.rstrip('/')}/{name}"
        with told(path_to_file), translated("read", path_to_file):
            os.stat(path_to_file)
        with told(path), translated("read", path_to_file):
            return self._write(path, interruptible(LocalSource(path_to_file), interrupt_event))

    def store_fileobject(self, fileobject: Readable, path: str, interrupt_event: Event | None = None) -> int:
        """Store all that a binary file object has, from its beginning, replacing an old file; when it is modified then.

        The file object stays open. Missing directories are made. `interrupt_event` as for `store_file`.
        """
        with told(path), of_fileobject(fileobject, interrupt_event) as source:
            return self._write(path, source)

    def _write(self, path: str, source: Source) -> int:
        now = time.time_ns()
        entry = self._core.write(self._path(path), source, modified_ns=now)
        return _seconds(entry) or now // 10**9

    def create_directory(self, directory: str) -> None:
        """Make a directory, with what is missing above it. Raises AlreadyExistsError."""
        path = self._path(directory)
        with told(directory):
            if ops.exists(self._core, path):
                raise AlreadyExists("it exists already", op="mkdir", path=path, store=self._core.name)
            self._core.mkdir(path)

    def delete(self, path: str, is_dir: bool | None = None) -> None:
        """Delete a file, or a directory with all that is in it; None: whichever it is. Raises where it is the other.

        Raises NoSuchFilesytemObjectError where the service tells. "/" is never deleted.
        """
        place = self._path(path)
        if not place:
            raise InvalidPathValueError(path)
        with told(path):
            if is_dir is None:
                is_dir = self._core.stat(place).is_dir
            if is_dir:
                trees.remove(self._core, place)
            else:
                self._core.delete(place)

    def duplicate(self, path_to_src: str, path_to_dest: str) -> None:
        """Copy a file or a directory; what is at `path_to_dest` is replaced, where it is of the same kind.

        Raises NoSuchFilesytemObjectError, AlreadyExistsError where a file would replace a directory or the reverse.
        """
        with told():
            trees.copy(self._core, self._path(path_to_src), self._path(path_to_dest))

    def move(self, path_to_src: str, path_to_dest: str) -> None:
        """Move a file or a directory; what is at `path_to_dest` is replaced, and what is raised, as for `duplicate`."""
        with told():
            trees.move(self._core, self._path(path_to_src), self._path(path_to_dest))

    # ---- the account

    def get_overall_space(self) -> int:
        """The account's space; UNLIMITED where the service has no limit, or does not tell."""
        total = self._usage().total
        return UNLIMITED if total is None else total

    def get_used_space(self) -> int:
        """What is used of it. Where the service does not tell: the sum of the files of this store, by listing them."""
        used = self._usage().used
        if used is not None:
            return used
        with told():
            try:
                files = trees.files(self._core, "")
                return sum(entry.size or 0 for entry in files)
            except NotFound:  # nothing was ever stored
                return 0

    def get_free_space(self) -> int:
        """What is left of it; UNLIMITED where the service has no limit, or does not tell."""
        usage = self._usage()
        if usage.free is not None:
            return usage.free
        return UNLIMITED if usage.total is None else max(0, usage.total - self.get_used_space())

    def _usage(self) -> Usage:
        if Cap.USAGE not in self._core.features.caps:
            return Usage()
        with told():
            return self._core.usage()

    def account_info(self) -> str:
        """The service, the address and the space in words."""
        usage = self._usage()
        words = [f"{self.get_name()}, {paths.printable(self._place.address.text)}"]
        words += [
            f"{count / 1e6:.1f} MB {what}"
            for count, what in ((usage.used, "used"), (usage.free, "free"), (usage.total, "in all"))
            if count is not None
        ]
        return ", ".join(words)

    def get_max_filesize(self) -> int:
        """The largest file that the service takes; UNLIMITED where it takes any."""
        limit = self._core.features.size_limit
        return UNLIMITED if limit is None else limit

    # ---- the rest of the interface

    def reconnect(self) -> None:
        """Nothing to do: connections and logins are renewed when a request needs it."""

    def get_configuration(self, config: object = None) -> dict[str, Any]:
        """What may interest a person; of a wrapper: how it was set up."""
        del config
        return {"name": self.get_name(), "address": self._place.address.text}

    def set_configuration(self, config: object) -> None:
        """Nothing can be changed while a store is open: StoreAccessError, unless `config` is empty."""
        if config:
            raise StoreAccessError("nothing can be configured while the store is open: open it anew")

    def get_logging_handler(self) -> str:
        """The name of the logger."""
        return "cftool"

    def _path(self, path: str) -> str:
        """As cftool has it. Raises InvalidPathValueError for what is not absolute."""
        if not path.startswith("/"):
            raise InvalidPathValueError(path)
        return path[1:].removesuffix("/")


class Closed:
    """In place of what was closed: nothing is opened anew behind the caller's back."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> NoReturn:
        raise StoreAccessError(f"the store ({self._name}) is closed")


def _metadata(entry: Entry) -> Metadata:
    return {
        "path": "/" + entry.path,
        "bytes": 0 if entry.is_dir else entry.size or 0,
        "is_dir": entry.is_dir,
        "modified": _seconds(entry),
    }


def _seconds(entry: Entry) -> int:
    """The file's own time, else when it was stored, else 0."""
    when = entry.modified_ns if entry.modified_ns is not None else entry.stored_ns
    return 0 if when is None else when // 10**9
