"""One run of cp or sync: opens what it needs, drives scan, plan and executor, asks the gate, deletes, records.

The main thread merges, feeds the executor and tells what happened; listings and comparisons that need I/O run in
threads of their own. The order of the end is the promise: every copy is settled and recorded before the gate is
asked, the source is looked at once more before the first deletion, and the source counts as known only after a run
that was allowed all.
"""

import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain

from cftool.core import paths
from cftool.core.errors import (
    CftoolError,
    IntegrityError,
    Interrupted,
    LoginRequired,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    QuotaExceeded,
    ReadOnly,
    Refused,
    SourceChanged,
    StoreError,
    TemporaryError,
)
from cftool.core.types import Cap, Entry
from cftool.disk import locks
from cftool.transfer import gate, listings, relocate, sides
from cftool.transfer.actions import Action, Doomed
from cftool.transfer.beside import Beside
from cftool.transfer.cleanup import Unfinished, after_run, forget_runs, killed_runs
from cftool.transfer.compare import Comparer
from cftool.transfer.directory_times import directory_times
from cftool.transfer.events import Emit, Summary
from cftool.transfer.execute import Dry, Executor, Outcome, choose
from cftool.transfer.keep import KeepingRemover, keeper
from cftool.transfer.limits import Budget
from cftool.transfer.links import shown
from cftool.transfer.merge import Folding, collapse, merge
from cftool.transfer.options import Links, Options, Side, Surroundings
from cftool.transfer.plan import Hooks, Plan, Steps
from cftool.transfer.records import Records
from cftool.transfer.removal import Remover, found_again
from cftool.transfer.renames import Rename, Renames, rename
from cftool.transfer.replace import Replacer
from cftool.transfer.scan import How, Scan, Stopped, is_mark, placed
from cftool.transfer.select import recorded, unmet
from cftool.transfer.staged import staged
from cftool.transfer.tally import AS_ASKED, NEITHER, Tally, of_all
from cftool.transfer.threads import bounded

log = logging.getLogger("cftool.transfer")

_HOPELESS = 64  # temporary failures in a row, each after its full retry budget: the service is away

_CHECKING = 512  # comparisons under way beyond which the plan looks no further ahead

# After one of these every further file would fail alike.
_FATAL = (LoginRequired, QuotaExceeded, ReadOnly)
_ANEW = (SourceChanged, IntegrityError)


class Run:
    """See the module. `delete`: sync; else cp."""

    def __init__(
        self, src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit, *, delete: bool
    ) -> None:
        sides.refuse(src, dst, options, delete=delete and options.delete)
        src = shown(src, options.links)
        if options.links is Links.KEEP:
            dst = shown(dst, options.links)
        self.src, self.dst, self.options, self.around = src, dst, options, around
        self._exclusive = delete
        self._deletes = delete and options.delete
        self.tally = Tally(
            emit,
            now=around.now,
            dry_run=options.dry_run,
            why_by_size=AS_ASKED if options.size_only else NEITHER,
        )
        self.comparer = Comparer(src, dst, options)
        self.keep = keeper(dst, options, around)
        self._stack = ExitStack()
        self._folding = Folding.of(src.store.features, dst.store.features)
        self._records = Records(src, dst, self._folding, around.state_dir, self.tally, self.comparer)
        self._incomplete = ""
        self._merged = False  # the merge has come to its end by itself
        self._total_told = False
        self._hopeless = 0
        self._given_up = False
        self._whole: StoreError | None = None  # why nothing at all can be written to the destination
        self._budget = options.budget or Budget(options.max_transfer, options.max_duration)
        self._budget.over(self.tally.started)
        self._retries: deque[Action] = deque()
        self._ahead: deque[Action] = deque()  # planned, when all was listed
        self._beside = Beside(src, dst, options, self.comparer, self.tally, stop=self._stop)
        self._opened: Executor | None = None
        self._mark: Unfinished | None = None
        self._spool_dir = self._made_spool_dir()
        self._renames = self._tracked()
        self._times = directory_times(src, dst, options, self._spool_dir)

    def _made_spool_dir(self) -> str | None:
        """Not /tmp, which is memory on many machines."""
        if self.around.state_dir is None:
            return None
        path = os.path.join(self.around.state_dir, "spool")
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError:
            return None
        return path

    def _tracked(self) -> Renames | None:
        if not (self.options.track_renames and self._deletes):
            return None
        if not relocate.can(self.dst.store):
            self.tally.note("--track-renames: the destination can neither move nor copy by itself; all is copied")
            return None
        threads = self.options.checkers or max(4, self.dst.store.features.connections)
        renames = Renames(self.src, self.dst, self.comparer, threads=threads, spool_dir=self._spool_dir)
        self._stack.callback(renames.close)
        return renames

    # ---- the whole

    def go(self) -> Summary:
        """Do it. Raises what concerns the whole run, before anything is changed."""
        with self._stack:
            self._stack.callback(self._unmark)
            self._stack.callback(self._beside.close)
            self._lock()
            if self.keep is not None:
                self.keep.open(self._stack)
            scans = self._scans()
            missing = self._begin(scans)
            self._records.open(self._stack)
            # Of a source that could not be listed nothing will come.
            self._make_root(missing=missing and all(scan.failed is None for scan in scans[:1]))
            plan = self._plan(scans)
            self._stack.callback(plan.close)
            if self._times is not None:
                self._stack.callback(self._times.close)
                self._times.note("")
            steps = self._steps(scans, missing=missing)
            self._copy(plan, steps)
            if self._whole is not None:
                raise self._whole
            for scan in scans:
                for problem in scan.problems:
                    self.tally.failed(problem.path, problem.error)
                    self._incomplete = self._incomplete or scan.name
            self._tell_missing()
            self.tally.scanned(complete=self._merged)
            self._finish(plan)
            self._records.end(
                accept=self._deletes, clean=self._clean() and not self.tally.withheld, files=plan.seen.source_files
            )
            self._sweep()
            if self._times is not None and not self.tally.stopped:
                self._times.set()
        return self.tally.summary()

    def _tell_missing(self) -> None:
        """What --files-from names and the source has not, as far as the source was listed."""
        if self._merged and self._listed[0].complete:
            for error in unmet(self._selected):
                self.tally.failed(error.path or "", error)

    def _clean(self) -> bool:
        return self._merged and not (self.tally.failures or self.tally.stopped)

    def _sweep(self) -> None:
        """After a run that went well, what killed ones left here."""
        state_dir = self.around.state_dir
        if state_dir is None or self.options.dry_run or not self._clean():
            return
        killed = killed_runs(state_dir, self.dst.key)
        if killed and after_run(self.dst, self.tally.note):
            forget_runs(killed)

    def _unmark(self) -> None:
        if self._mark is not None:
            self._mark.end(clean=self._clean())

    def _lock(self) -> None:
        if self.around.state_dir is None or self.options.dry_run:
            return
        self._stack.enter_context(
            locks.lock_tree(
                self.around.state_dir,
                self.dst.key,
                wait=self.options.wait_lock,
                shared=not self._exclusive,
                cancelled=self.around.cancelled,
            )
        )

    def _scans(self) -> tuple[Scan, ...]:
        select = self._selected = recorded(self.options.select)
        how = How(key_of=self._folding.key_of(), select=select, spool_dir=self._spool_dir)
        self._listed: tuple[Scan, ...] = listings.both(self.src, self.dst, self.options, how, self._stop_now)
        for scan in self._listed:
            self._stack.callback(scan.close)
            scan.start()
        return self._listed

    def _begin(self, scans: tuple[Scan, ...]) -> bool:
        """Wait for both listings to begin; whether the destination is not there. Raises NotFound for the source."""
        return listings.begin(self.src, self.dst, *scans)

    def _make_root(self, *, missing: bool) -> None:
        """An empty source makes an empty directory, too, where one can be; object stores make theirs with the files."""
        caps = self.dst.store.features.caps
        if missing and not self.options.dry_run and Cap.EMPTY_DIRS in caps and Cap.IMPLICIT_DIRS not in caps:
            try:
                self.dst.store.mkdir("")
            except StoreError as error:
                raise placed(error, self.dst.address) from None

    def _executor(self) -> Executor:
        if self._opened is None:
            if self.options.dry_run:
                self._opened = Dry()
            else:
                if self.around.state_dir is not None:
                    self._mark = Unfinished(self.around.state_dir, self.dst.key)
                self._opened = staged(self._choose(), self.src, self.dst, self.options, self.keep)
            self._stack.callback(self._opened.close)
        return self._opened

    def _choose(self) -> Executor:
        return choose(self.src, self.dst, self.options, self.tally.emit, self.around.cancelled)

    def _hooks(self) -> Hooks:
        return Hooks(
            check=self._beside.check,
            equal=self._records.equal,
            make_directory=self._beside.make_directory,
            forget=self._records.forget,
            accepted=self._records.accepted,
            directory=(lambda _path: None) if self._times is None else self._times.note,
            keeps=(lambda _path: False) if self.keep is None else self.keep.is_kept,
        )

    def _plan(self, scans: tuple[Scan, ...]) -> Plan:
        src, dst = scans
        return Plan(
            self.src,
            self.dst,
            self.options,
            delete=self._deletes,
            tally=self.tally,
            comparer=self.comparer,
            hooks=self._hooks(),
            scans=(src, dst),
            spool_dir=self._spool_dir,
        )

    def _steps(self, scans: tuple[Scan, ...], *, missing: bool) -> Steps:
        rows = self._records.rows()
        there: Scan | tuple[()] = () if missing else scans[1]
        if self._folding:
            steps = merge(collapse(scans[0], is_mark), collapse(there), rows)
        else:
            steps = merge(scans[0], there, rows)
        return steps if self._renames is None else self._noted(steps, self._renames)

    @staticmethod
    def _noted(steps: Steps, renames: Renames) -> Steps:
        for step in steps:
            if step[3] is not None and step[1] is None and isinstance(step[2], Entry):
                renames.note(step[0], step[2], step[3])
            yield step

    # ---- copying

    def _copy(self, plan: Plan, steps: Steps) -> None:
        self._beside.found = plan.found
        self._rounds(plan, plan.actions(steps))
        if self._renames is not None and not self._stop():
            self._rounds(plan, self._after_renames(plan, self._renames))
        self._beside.finish()

    def _rounds(self, plan: Plan, actions: Iterator[Action]) -> None:
        """Rounds, because a comparison in a thread may find something to copy after the executor had nothing left."""
        while True:
            feed = self._feed(plan, actions)
            first = next(feed, None)
            if first is not None:  # a run with nothing to copy opens nothing
                self._round(chain((first,), feed))
            if self._stop() or (not self._retries and not plan.ready and not self._beside.checking):
                break
            if not plan.ready and not self._retries:
                self._beside.take_found(wait=True)

    def _after_renames(self, plan: Plan, renames: Renames) -> Iterator[Action]:
        """Rename what can be; what was held back and is to be copied after all."""
        renames.holding = False
        found = renames.found(plan.doomed, self._records.source) if self._merged else []
        if found and (why := self._may_rename(plan, len(found))):
            self.tally.note(f"renamed files are copied: {why}")
            found = []
        done: list[Rename] = []
        work = (lambda _rename: None) if self.options.dry_run else partial(rename, self.src, self.dst)
        for result in bounded(work, found, threads=max(1, self.dst.store.features.connections)):
            one = result.item
            if result.error is not None:
                log.info("%s: not renamed: %s", paths.printable(one.old.path), result.error)
                continue
            done.append(one)
            self.tally.to_copy -= 1
            self.tally.to_copy_bytes -= one.new.size or 0
            self._took(plan, one, result.value)
        return renames.rest(done, found)

    def _took(self, plan: Plan, one: Rename, made: Entry | None) -> None:
        """A file has its new name."""
        plan.doomed.take(one.old_key)
        self.tally.moved(one.old.path, one.new.path)
        if made is not None:
            self._records.forget(one.old_key)
            self._records.equal(one.key, one.new, made, None)

    def _may_rename(self, plan: Plan, count: int) -> str:
        """A rename takes a file away: why the gate would not let it, or ""."""
        evidence = self._evidence(plan)
        evidence = replace(evidence, deleted_files=evidence.deleted_files - count)
        return gate.judge(evidence, self.options).why or self._second_look(plan)

    def _round(self, actions: Iterator[Action]) -> None:
        """Let the executor copy all of `actions`; what it never answers for has failed."""
        begun: dict[int, Action] = {}

        def noted() -> Iterator[Action]:
            for action in actions:
                begun[id(action)] = action
                yield action

        try:
            executor = self._executor()
            for outcome in executor.run(noted()):
                begun.pop(id(outcome.action), None)
                self._settled(outcome, reads=executor.reads)
        except Interrupted:
            self.tally.stopped = self.tally.stopped or "interrupted"
            return  # what was under way is neither there nor failed
        except StoreError as error:
            self.tally.failed("", error)
            self._given_up = True
            if self.tally.locked_out:
                return  # nor can it be found out what became of the others
        for action in begun.values():
            path = action.src.path
            self.tally.failed(path, ProtocolError("whether it was copied was never told", op="write", path=path))

    def _feed(self, plan: Plan, actions: Iterator[Action]) -> Iterator[Action]:
        beside = self._beside
        while not self._stop():
            if beside.checking:
                beside.take_found(wait=False)
            if beside.making:
                beside.take_made(wait=False)
            if not self._merged and all(scan.listed for scan in self._listed):
                self._look_ahead(actions)
            if not self._total_told:
                self._tell_total()
            if self._retries:
                action = self._retries.popleft()
            elif self._ahead:
                action = self._ahead.popleft()
            elif plan.ready:
                action = plan.ready.popleft()
            else:
                following = self._next(actions)
                if following is None:
                    return  # what is ready or to be tried again by now, is the next round's
                action = following
            if self._renames is not None and self._renames.hold(action):
                continue
            if not self._may_send(action.src.size or 0):
                return
            yield action

    def _look_ahead(self, actions: Iterator[Action]) -> None:
        """Plan all that is listed, so that the total is known while the last files are copied; a queue's worth."""
        while self._beside.checking < _CHECKING and not self._stop():
            action = self._next(actions)
            if action is None:
                return
            self._ahead.append(action)

    def _next(self, actions: Iterator[Action]) -> Action | None:
        """The plan's next; a listing that failed ends the plan."""
        try:
            action = next(actions, None)
        except Stopped:
            return None
        except CftoolError as error:
            failed = [scan.name for scan in self._listed if scan.failed is error]
            self._incomplete = self._incomplete or (failed[0] if failed else "the source or the destination")
            self.tally.failed("", error)
            return None
        if action is None and not self._incomplete:
            self._merged = True
            self._tell_total()
        return action

    def _tell_total(self) -> None:
        """As soon as both listings have ended and everything in them is compared, while the last files are copied."""
        if self._merged and not self._total_told and not self._beside.checking:
            self._total_told = True
            self.tally.scanned(complete=True)

    def _may_send(self, size: int) -> bool:
        if self._budget.may_send(size):
            return True
        self.tally.stopped = "max-transfer"
        return False

    def _stop_now(self) -> bool:
        """Whether the run ends early, for the threads as well."""
        if self.tally.stopped:
            return True
        if self.around.cancelled():
            self.tally.stopped = "interrupted"
        elif self._budget.over(self.around.now()):
            self.tally.stopped = "max-duration"
        return bool(self.tally.stopped)

    def _stop(self) -> bool:
        return self._given_up or self.tally.locked_out or self._stop_now()

    def _settled(self, outcome: Outcome, *, reads: bool) -> None:
        action = outcome.action
        if outcome.error is not None:
            self._not_copied(action, outcome.error, reads=reads)
            return
        self._hopeless = 0
        self.tally.copied(action.src.path, action.src.size, server_side=outcome.server_side)
        if outcome.entry is not None:
            self._record(action, outcome.entry)

    def _record(self, action: Action, made: Entry) -> None:
        self._records.equal(action.key, action.src, made, None)

    def _not_copied(self, action: Action, error: Exception, *, reads: bool) -> None:
        path = action.src.path
        whole = of_all(error, self.dst)
        if whole is not None:
            self._whole = self._whole or whole
            self._given_up = True
            return
        anew = isinstance(error, _ANEW) or (reads and isinstance(error, PreconditionFailed))
        if anew or isinstance(error, NotFound):
            # The source may have changed or gone; what it is now decides.
            try:
                now = self.src.store.stat(path)
            except NotFound:
                self.tally.skipped(path, "vanished")
                return
            except StoreError as unknown:
                self.tally.failed(path, unknown)
                return
            if anew and action.attempts + 1 < max(1, self.options.retries) and now.kind is action.src.kind:
                log.info("%s: %s; once more", paths.printable(path), error)
                action.attempts += 1
                action.src = now
                self._retries.append(action)
                return
        self.tally.failed(path, error, copying=True)
        if isinstance(error, TemporaryError):
            self._hopeless += 1
        if isinstance(error, _FATAL) or self._hopeless >= _HOPELESS:
            if not self._stop():
                self.tally.note("nothing more is started: every further file would fail alike")
            self._given_up = True

    # ---- deleting

    def _finish(self, plan: Plan) -> None:
        """What comes after all copies."""
        if self._deletes:
            self._finish_sync(plan)

    def _finish_sync(self, plan: Plan) -> None:
        doomed = plan.doomed
        self._stop_now()  # the time may have run out since the last file
        verdict = gate.judge(self._evidence(plan), self.options)
        why = verdict.why
        if verdict.allowed and doomed.entry_count:
            why = self._second_look(plan)
        if why:
            self.tally.withheld, self.tally.why = doomed.entry_count, why
            return
        self._delete(doomed)

    def _delete(self, doomed: Doomed) -> None:
        """What the gate allowed."""
        remover = self._remover()
        if doomed.replacements:
            done = Replacer(
                self.dst.store, self._executor(), remover, self.tally, spool_dir=self._spool_dir, keep=self.keep
            ).replace_all(doomed.replacements, self._settled)
            if not done:
                self.tally.withheld = len(doomed.files) - len(doomed.renamed) + len(doomed.directories)
                self.tally.why = "a replacement failed" if self.tally.withheld else ""
                return
        if doomed.files:
            remover.remove(doomed.left(), gone=self._records.forget)
        if doomed.directories:
            remover.remove(reversed(doomed.directories))

    def _remover(self) -> Remover:
        dry, cancelled = self.options.dry_run, self.around.cancelled
        if self.keep is not None:
            return KeepingRemover(self.dst, self.tally, self.keep, dry_run=dry, cancelled=cancelled)
        return Remover(self.dst.store, self.tally, dry_run=dry, cancelled=cancelled)

    def _evidence(self, plan: Plan) -> gate.Evidence:
        seen, doomed = plan.seen, plan.doomed
        incomplete = self._incomplete
        if not incomplete and not self._merged and not self.tally.stopped:
            incomplete = "the source or the destination"
        return gate.Evidence(
            deletions=doomed.entry_count,
            deleted_files=doomed.file_count,
            destination_files=seen.destination_files,
            destination_entries=seen.destination_entries,
            source_files=seen.source_files,
            source_entries=seen.source_entries,
            failures=self.tally.failures,
            incomplete=incomplete,
            stopped=self.tally.stopped,
            other_source=self._records.other_source,
            stable_identity=self.src.local_root is None,
            recorded=seen.recorded,
            recorded_seen=seen.recorded_seen,
        )

    def _second_look(self, plan: Plan) -> str:
        """Look once more for what would be deleted; why nothing may be, or "" where the source has none of it."""
        select = self.options.select if self.options.delete_excluded else None
        try:
            found = found_again(self.src, plan.doomed.tops, select)
        except (StoreError, Refused) as error:
            self.tally.failed("", error)
            return "the source could not be looked at once more"
        if found is not None:
            return f"the source has {paths.printable(found)}, which its listing did not name"
        return ""
