"""`mv`: files and trees change their place; at no instant is a file at neither of the two.

Where both sides are one service or one disk it is a rename. Else it is a copy by the same engine as `cp`, and then the
source goes: only after its copy was proven, or found to be there by more than its size, and only while it still is the
version that was copied. A kill leaves some files at both places; the next run finds them equal and finishes. Both sides
are locked. What cp skips stays at the source, and so do the directories that hold it.
"""

from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from os import path as os_path

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    ConfigError,
    DirectoryNotEmpty,
    NotADirectory,
    NotFound,
    Refused,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.types import Cap, Entry, Kind
from cftool.disk import locks
from cftool.transfer import relocate
from cftool.transfer.actions import Action
from cftool.transfer.compare import SIZE_ONLY, Finding, Verdict
from cftool.transfer.events import Emit, Summary
from cftool.transfer.execute import Executor, Outcome
from cftool.transfer.merge import Folding
from cftool.transfer.options import Links, Options, Side, Surroundings
from cftool.transfer.plan import Hooks, Plan, Steps
from cftool.transfer.run import Run
from cftool.transfer.scan import Scan, placed
from cftool.transfer.shift import Renaming, Shift
from cftool.transfer.single import Single, key_of
from cftool.transfer.spool import Keyed, Spool
from cftool.transfer.tally import side_of
from cftool.transfer.threads import bounded

_TOGETHER = 10_000  # files that one round of listings answers for


def _refuse_links(options: Options) -> None:
    """A rename takes links along as what they are; what would mv remove of one that it follows, or keeps as a file?"""
    if options.links is not Links.SKIP:
        raise ConfigError(f"--links {options.links.value} is for copying: mv skips links, or renames what holds them")


def _twins(src: Side, dst: Side, a: str, b: str) -> bool:
    """Whether the two keys are one name to the store that holds both."""
    folding = Folding.of(src.store.features, dst.store.features)
    return bool(folding) and a != b and folding.key(a, Kind.FILE) == folding.key(b, Kind.FILE)


def _same_place(src: Side, dst: Side, a: Entry, b: Entry) -> bool:
    """Whether two local entries are one file: by another spelling of its name, a hard link, a mount."""
    return src.local_root is not None and dst.local_root is not None and a.version == b.version


def _lock_both(stack: ExitStack, around: Surroundings, options: Options, keys: set[str]) -> None:
    """In one order for all, so that two runs in opposite directions do not wait for each other."""
    assert around.state_dir is not None
    for key in sorted(keys):
        stack.enter_context(locks.lock_tree(around.state_dir, key, wait=options.wait_lock, cancelled=around.cancelled))


class MoveOne(Single):
    """One file to one exact name. See `api.move_file`."""

    def __init__(
        self, src: Side, src_path: str, dst: Side, dst_path: str, options: Options, around: Surroundings, emit: Emit
    ) -> None:
        _refuse_links(options)
        super().__init__(src, src_path, dst, dst_path, options, around, emit)
        self._from = key_of(src, src_path)
        if paths.is_within(self.key, self._from) or paths.is_within(self._from, self.key):
            raise Refused(f"{src_path} and {dst_path}: one lies inside the other")
        self._shift = Shift(src, dst)
        self._twin = _twins(src, dst, self._from, self.key)

    def go(self) -> Summary:
        """Do it."""
        try:
            return super().go()
        finally:
            self._shift.close()

    def _lock(self, stack: ExitStack, state_dir: str) -> None:
        del state_dir
        _lock_both(stack, self.around, self.options, {self.key, self._from})

    def _special(self, there: Entry) -> None:
        """A link is renamed as what it is, where it can be."""
        if not self._shift or there.kind is not Kind.LINK or self._old() is not None:
            super()._special(there)
            return
        try:
            if not self.options.dry_run:
                self._shift.file(self.src_path, self.dst_path)
        except Unsupported:
            super()._special(there)
        else:
            self.tally.moved(self.src_path, self.dst_path)

    def _copy(self, there: Entry) -> None:
        if not self._twin:
            super()._copy(there)
            return
        if not self._shift:
            raise Refused(f"{self.dst_path}: only the case differs, and the store cannot rename")
        if not self.options.dry_run:
            self._shift.spelling(self.src_path, self.dst_path)
        self.tally.moved(self.src_path, self.dst_path)

    def _compared(self, there: Entry, old: Entry) -> Finding:
        finding = super()._compared(there, old)
        unproven = finding.by == SIZE_ONLY and not self.options.size_only
        if finding.verdict is Verdict.EQUAL and (unproven or _same_place(self.src, self.dst, there, old)):
            return replace(finding, verdict=Verdict.COPY, by="")
        return finding

    def _choose(self) -> Executor:
        if not self._shift:
            return super()._choose()
        return Renaming(self._shift, super()._choose, threads=1)

    def _equal(self, finding: Finding) -> None:
        self._drop(finding.src)

    def _settled(self, outcome: Outcome) -> None:
        src = outcome.action.src
        if outcome.moved or self.options.dry_run:
            self.tally.moved(src.path, self.dst_path)
            return
        super()._settled(outcome)
        self._drop(src)

    def _drop(self, src: Entry) -> None:
        try:
            if not self.options.dry_run:
                relocate.drop(self.src.store, src)
        except StoreError as error:
            self.tally.failed(src.path, error)
        else:
            self.tally.moved(src.path, self.dst_path)


class Mover(Run):
    """The tree of `src` into `dst`. See `api.move`."""

    def __init__(self, src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit) -> None:
        _refuse_links(options)
        self._twin = _twins(src, dst, src.key.rstrip("/"), dst.key.rstrip("/"))
        super().__init__(src, dst, options, around, emit, delete=False)
        same_kind = (src.local_root is None) is (dst.local_root is None)
        if same_kind and paths.is_within(src.key.rstrip("/"), dst.key.rstrip("/")):
            raise Refused(f"{src.address} lies inside {dst.address}")
        self._exclusive = True
        self._shift = Shift(src, dst)
        self._stack.callback(self._shift.close)
        self._done = Spool(self._spool_dir)  # files that are at the destination, as they were at the source
        self._directories = Spool(self._spool_dir)
        self._filled: set[str] = set()  # directories that something was moved out of

    # ---- as a whole

    def go(self) -> Summary:
        """Do it: where nothing is at the destination, the directory changes its name; else file by file."""
        if self._may_be_renamed():
            with ExitStack() as stack:
                if self.around.state_dir is not None and not self.options.dry_run:
                    self._lock_sides(stack)
                if self._renamed():
                    self._stack.close()
                    return self.tally.summary()
        if self._twin:
            raise Refused(f"{self.dst.address}: only the case differs, and the store cannot rename a directory")
        self._refuse_one_directory()
        return super().go()

    def _may_be_renamed(self) -> bool:
        options = self.options
        whole = self._shift.whole and bool(self._place(self.src)) and bool(self._place(self.dst))
        return whole and options.select is None and not options.existing and options.max_transfer is None

    @staticmethod
    def _place(side: Side) -> str:
        return (side.base_path if side.local_root is None else side.local_root).strip("/")

    def _renamed(self) -> bool:
        if self.src.store.stat("").kind is not Kind.DIRECTORY:
            raise NotADirectory("not a directory", op="move", path="")
        if not self._twin and _there(self.dst, "") is not None:
            return False
        names = [self._place(side).rpartition("/")[2] for side in (self.src, self.dst)]
        if self.options.dry_run:
            self.tally.moved(*names)
            return True
        try:
            if self._twin:
                self._shift.spelling("", "")
            else:
                self._shift.directory("", "")
        except (Unsupported, AlreadyExists):  # another disk, or somebody was faster
            return False
        except StoreError as error:
            error.message, error.path = error.message + side_of(error), ""  # seen from the directory itself
            raise placed(error, self.src.address) from None
        self.tally.moved(*names)
        return True

    def _refuse_one_directory(self) -> None:
        """The same directory under another name: mounted twice, or on a file system that folds case."""
        roots = (self.src.local_root, self.dst.local_root)
        if None not in roots and all(os_path.exists(root) for root in roots if root) and os_path.samefile(*roots):  # type: ignore[arg-type]
            raise Refused(f"{self.src.address} and {self.dst.address} are the same directory")

    # ---- file by file

    def _lock(self) -> None:
        if self.around.state_dir is not None and not self.options.dry_run:
            self._lock_sides(self._stack)

    def _lock_sides(self, stack: ExitStack) -> None:
        _lock_both(stack, self.around, self.options, {self.src.key, self.dst.key})

    def _choose(self) -> Executor:
        if (
            not self._shift or Cap.COPY_MANY in self.dst.store.features.caps
        ):  # and what was copied goes together as well
            return super()._choose()
        threads = self.options.transfers or max(4, self.dst.store.features.connections)
        return Renaming(self._shift, super()._choose, threads=threads)

    def _hooks(self) -> Hooks:
        return replace(super()._hooks(), same=self._same)

    def _steps(self, scans: tuple[Scan, ...], *, missing: bool) -> Steps:
        for step in super()._steps(scans, missing=missing):
            src = step[1]
            if isinstance(src, Entry) and src.kind is Kind.DIRECTORY:
                self._directories.append(step[0], src)
            yield step

    def _same(self, key: bytes, src: Entry, dst: Entry) -> None:
        if _same_place(self.src, self.dst, src, dst):
            self.tally.failed(src.path, AlreadyExists("is one file at both places", op="move", path=src.path))
        elif self.options.dry_run:
            self.tally.moved(src.path, dst.path)
        else:
            self._arrived(key, src)

    def _arrived(self, key: bytes, src: Entry) -> None:
        self._done.append(key, src)
        self._emptied(src.path)

    def _emptied(self, path: str) -> None:
        while (path := paths.parent(path)) not in self._filled:
            self._filled.add(path)
            if not path:
                return

    def _settled(self, outcome: Outcome, *, reads: bool) -> None:
        action = outcome.action
        if outcome.error is None and (outcome.moved or self.options.dry_run):
            self._hopeless = 0
            self.tally.moved(action.src.path, action.path)
            self._emptied(action.src.path)
            return
        super()._settled(outcome, reads=reads)
        if outcome.error is None:
            self._arrived(action.key, action.src)

    def _record(self, action: Action, made: Entry) -> None:
        """Nothing: the source is about to go."""

    # ---- the source

    def _finish(self, plan: Plan) -> None:
        del plan
        if self.options.dry_run or self.tally.stopped == "interrupted":
            return
        self._stack.callback(self._done.close)
        self._stack.callback(self._directories.close)
        features = self.src.store.features
        if features.remote and Cap.DELETE_MANY in features.caps:
            files = iter(self._done)
            while some := list(islice(files, _TOGETHER)):
                self._drop_together([entry for _key, entry in some])
        else:
            for done in bounded(self._drop, iter(self._done), threads=max(1, features.connections)):
                self._told(done.item[1].path, done.error)
        for _key, entry in reversed(self._directories):
            self._leave(entry)
        self._leave_root()

    def _told(self, path: str, error: Exception | None) -> None:
        if error is None:
            self.tally.moved(path, path)
        else:
            self.tally.failed(path, error)

    def _drop(self, keyed: Keyed) -> None:
        relocate.drop(self.src.store, keyed[1])

    def _drop_together(self, entries: list[Entry]) -> None:
        """One listing of each directory says which are still what was copied; these go in batches."""
        store = self.src.store
        by_parent: dict[str, dict[str, Entry]] = {}
        for entry in entries:
            by_parent.setdefault(paths.parent(entry.path), {})[entry.path] = entry
        unchanged: list[Entry] = []

        def look(parent: str) -> list[Entry]:
            wanted = by_parent[parent]
            try:
                return [found for found in store.scan(parent) if found.path in wanted]
            except (NotFound, NotADirectory):
                return []

        for done in bounded(look, by_parent, threads=max(1, store.features.connections)):
            wanted = by_parent[done.item]
            if done.error is not None:
                self.tally.failed(done.item, done.error)
                continue
            for found in done.value or ():
                entry = wanted.pop(found.path)
                if relocate.same_version(entry, found):
                    unchanged.append(entry)
                else:
                    self._told(entry.path, SourceChanged("changed after it was copied, and stays", path=entry.path))
            for path in wanted:  # gone already
                self._told(path, None)
        for result in store.delete_many(unchanged):
            self._told(result.path, result.error)

    def _leave(self, entry: Entry) -> None:
        """Remove a source directory that is empty now and is not lost with it."""
        store = self.src.store
        if Cap.IMPLICIT_DIRS in store.features.caps and entry.stored_ns is None:
            return
        try:
            if entry.path not in self._filled and _there(self.dst, entry.path) is None:
                return  # the destination cannot hold an empty directory
            store.rmdir(entry.path)
        except (DirectoryNotEmpty, NotFound):
            return
        except StoreError as error:
            self.tally.failed(entry.path, placed(error, self.src.address))

    def _leave_root(self) -> None:
        if self.tally.failures or self.tally.stopped or not self._place(self.src):
            return
        try:
            entry = self.src.store.stat("")
        except NotFound:
            return
        if entry.id is None and Cap.IMPLICIT_DIRS in self.src.store.features.caps and entry.stored_ns is None:
            return
        self._leave(entry._replace(path=""))


def _there(side: Side, path: str) -> Entry | None:
    try:
        return side.store.stat(path)
    except (NotFound, NotADirectory):
        return None
