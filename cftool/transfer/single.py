"""One file to one exact destination: the rules of a run without listings, merge and state.

One request for each side says what there is; what differs is copied by the same executors as a tree. Called by `api`.
"""

from collections.abc import Iterable
from contextlib import ExitStack

from cftool.core import paths
from cftool.core.errors import (
    IntegrityError,
    Interrupted,
    InvalidName,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    Refused,
    SourceChanged,
    Unsupported,
)
from cftool.core.types import Entry, Kind
from cftool.disk import locks
from cftool.transfer.actions import Action
from cftool.transfer.cleanup import Unfinished, after_run, forget_runs, killed_runs
from cftool.transfer.compare import SIZE_ONLY, Comparer, Finding, Verdict
from cftool.transfer.events import Emit, Summary
from cftool.transfer.execute import Executor, Outcome, choose
from cftool.transfer.keep import keeper
from cftool.transfer.limits import Budget
from cftool.transfer.links import shown
from cftool.transfer.options import Links, Options, Side, Surroundings
from cftool.transfer.staged import staged
from cftool.transfer.tally import Tally, of_all


class Single:
    """One copy; `moving` inherits it. See `api.copy_file`."""

    shared = True  # the lock of the destination

    def __init__(
        self, src: Side, src_path: str, dst: Side, dst_path: str, options: Options, around: Surroundings, emit: Emit
    ) -> None:
        if options.links is Links.KEEP:
            src, dst = shown(src, options.links), shown(dst, options.links)
        self.src, self.dst, self.options, self.around = src, dst, options, around
        self.src_path, self.dst_path = src_path, dst_path
        self.key = key_of(dst, dst_path)
        if key_of(src, src_path) == self.key:
            raise Refused(f"{src.address}: source and destination are the same file")
        self.tally = Tally(emit, now=around.now, dry_run=options.dry_run)
        self.keep = keeper(dst, options, around)

    def go(self) -> Summary:
        """Do it."""
        reason = paths.problem(self.dst_path, self.dst.store.features.names)
        if reason is not None:
            raise InvalidName(f"the name {reason}", op="write", path=self.dst_path)
        there = self.src.store.stat(self.src_path)
        if there.kind is Kind.DIRECTORY:
            raise IsADirectory("is a directory", op="read", path=self.src_path)
        if there.kind is not Kind.FILE:
            self._special(there)
            return self.tally.summary()
        select = self.options.select
        if select is not None and not select.file(there.at(there.name)):
            self.tally.skipped(self.src_path, "excluded")
            return self.tally.summary()
        self.tally.files, self.tally.bytes_seen = 1, there.size or 0
        with ExitStack() as stack:
            if self.around.state_dir is None or self.options.dry_run:
                self._open(stack)
                self._copy(there)
            else:
                self._lock(stack, self.around.state_dir)
                self._open(stack)
                self._marked(there, self.around.state_dir)
        return self.tally.summary()

    def _special(self, there: Entry) -> None:
        """What is no file is not copied; in a tree that is counted, but this one was asked for by its name."""
        what = "a symbolic link" if there.kind is Kind.LINK else "a device, FIFO or socket"
        self.tally.failed(self.src_path, Unsupported(f"is {what}, which is not copied", op="read", path=self.src_path))

    def _open(self, stack: ExitStack) -> None:
        if self.keep is not None:
            self.keep.open(stack)

    def _lock(self, stack: ExitStack, state_dir: str) -> None:
        wait, cancelled = self.options.wait_lock, self.around.cancelled
        stack.enter_context(locks.lock_tree(state_dir, self.key, wait=wait, shared=self.shared, cancelled=cancelled))

    def _marked(self, there: Entry, state_dir: str) -> None:
        """Copy under a mark that tells the next run of a kill; then sweep what earlier ones left."""
        mark = Unfinished(state_dir, self.key)
        clean = False
        try:
            self._copy(there)
            clean = not self.tally.failures and not self.tally.stopped
        finally:
            mark.end(clean=clean)
        killed = killed_runs(state_dir, self.key) if clean else []
        if killed and after_run(self.dst, self.tally.note, file=self.dst_path):
            forget_runs(killed)

    def _copy(self, there: Entry) -> None:
        options, tally = self.options, self.tally
        old = self._old()
        if old is not None and old.kind is Kind.DIRECTORY:
            raise IsADirectory("is a directory", op="write", path=self.dst_path)
        action = Action(b"", there, None, path=self.dst_path, replaces=old is not None)
        if old is None or old.kind is not Kind.FILE:
            if options.existing and old is None:
                tally.skipped(there.path, "existing")
                return
        elif not self._differs(there, old):
            return
        else:
            action.dst, action.replaces = old, False
        size = there.size or 0
        budget = options.budget or Budget(options.max_transfer, options.max_duration)
        if budget.over(tally.now()) or not budget.may_send(size):
            tally.stopped = "max-duration" if budget.over(tally.now()) else "max-transfer"
            return
        tally.to_copy, tally.to_copy_bytes = 1, size
        tally.scanned(complete=True)
        if options.dry_run:
            self._settled(Outcome(action))
            return
        self._execute(action)

    def _old(self) -> Entry | None:
        try:
            return self.dst.store.stat(self.dst_path)
        except NotFound:
            return None

    def _differs(self, there: Entry, old: Entry) -> bool:
        """Whether it is to be copied; where not, that is told."""
        finding = self._compared(there, old)
        tally = self.tally
        tally.checked += 1
        if finding.by in {"size", "state", "time", "hash", "request", SIZE_ONLY}:
            tally.compared_by[finding.by] += 1
        if finding.verdict in {Verdict.NEWER, Verdict.EXISTING}:
            tally.skipped(there.path, finding.verdict.value)
        if finding.verdict is Verdict.EQUAL:
            self._equal(finding)
        return finding.verdict is Verdict.COPY

    def _equal(self, finding: Finding) -> None:
        """It is there already."""

    def _compared(self, there: Entry, old: Entry) -> Finding:
        comparer = Comparer(self.src, self.dst, self.options)
        verdict, by = comparer.quick(there, old, None)
        return comparer.full(there, old) if verdict is Verdict.CHECK else Finding(verdict, by, there, old)

    def _executor(self) -> Executor:
        return staged(self._choose(), self.src, self.dst, self.options, self.keep)

    def _choose(self) -> Executor:
        return choose(self.src, self.dst, self.options, self.tally.emit, self.around.cancelled)

    def _settled(self, outcome: Outcome) -> None:
        """The file is there."""
        src = outcome.action.src
        self.tally.copied(src.path, src.size, server_side=outcome.server_side)

    def _execute(self, action: Action) -> None:
        executor = self._executor()
        try:
            while True:
                (outcome,) = executor.run(iter_one(action))
                error = outcome.error
                if error is None:
                    self._settled(outcome)
                    return
                anew = isinstance(error, SourceChanged | IntegrityError) or (
                    executor.reads and isinstance(error, PreconditionFailed)
                )
                whole = of_all(error, self.dst)
                if whole is not None:
                    raise whole
                action.attempts += 1
                if not anew or action.attempts >= max(1, self.options.retries):
                    self.tally.failed(action.src.path, error, copying=True)
                    return
                action.src = self.src.store.stat(action.src.path)
        except Interrupted as error:
            self.tally.failed(action.src.path, error)
        finally:
            executor.close()


def key_of(side: Side, path: str) -> str:
    """The canonical name of one file."""
    return f"{side.key.rstrip('/')}/{path}"


def iter_one(action: Action) -> Iterable[Action]:
    """An iterator, because executors pull."""
    yield action
