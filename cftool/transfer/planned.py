"""`sync --plan` and `apply`: the same run, with a file between its decisions and what it does.

`Planning` is a dry run that writes each action down with what it was decided on. `Applying` reads them back: under the
lock, and only where both sides are the ones of the plan, it looks at each file again just before it copies, moves or
deletes it. What is not as it was is an error that names it; then nothing is deleted. All else is `run`'s: executor,
gate, second look, records.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import chain
from typing import cast

from cftool import __version__
from cftool.core import paths
from cftool.core.errors import (
    ConfigError,
    IntegrityError,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    Refused,
    SourceChanged,
)
from cftool.core.types import Entry, Kind
from cftool.transfer import relocate
from cftool.transfer.actions import Action, Doomed, Replacement
from cftool.transfer.events import Emit, Summary
from cftool.transfer.execute import Executor, Outcome
from cftool.transfer.options import Options, Side, Surroundings
from cftool.transfer.plan import Hooks, Plan, Steps
from cftool.transfer.plan_file import Counts, Line, PlanFile, PlanWriter, place
from cftool.transfer.renames import Rename, rename
from cftool.transfer.run import Run
from cftool.transfer.scan import Scan
from cftool.transfer.spool import Spool
from cftool.transfer.stages import Before
from cftool.transfer.threads import bounded


class Planning(Run):
    """A sync that writes down what it would do, and does nothing else."""

    def __init__(self, src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit, *, path: str) -> None:
        if options.delete_excluded:
            raise ConfigError("--plan does not go with --delete-excluded: apply could not look at the source once more")
        super().__init__(src, dst, options, around, emit, delete=True)
        self._path = path
        self._writer: PlanWriter | None = None
        self._counts = Counts()
        self._recording = True

    def go(self) -> Summary:
        """Write the plan, unless something failed: a plan of half of a tree helps nobody."""
        assert self.options.dry_run
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.around.now()))
        source = place(self.src, self._records.identify())
        self._writer = PlanWriter(
            self._path,
            src=source,
            dst=place(self.dst, ""),
            options=self.options,
            version=__version__,
            created=created,
        )
        try:
            summary = super().go()
            if summary.errors or summary.stopped:
                self.tally.note("no plan was written: see the errors" if summary.errors else "no plan was written")
            else:
                self._writer.commit(self._counts)
        finally:
            self._writer.close()
        return summary

    @property
    def _to(self) -> PlanWriter:
        assert self._writer is not None
        return self._writer

    def _hooks(self) -> Hooks:
        hooks = super()._hooks()

        def make_directory(path: str) -> None:
            self._to.mkdir(path)
            hooks.make_directory(path)

        return replace(hooks, make_directory=make_directory)

    def _settled(self, outcome: Outcome, *, reads: bool) -> None:
        if self._recording:
            self._to.copy(outcome.action)
        super()._settled(outcome, reads=reads)

    def _took(self, plan: Plan, one: Rename, made: Entry | None) -> None:
        self._to.move(one)
        super()._took(plan, one, made)

    def _finish(self, plan: Plan) -> None:
        super()._finish(plan)
        seen, doomed = plan.seen, plan.doomed
        withheld = bool(self.tally.why) or not self._deletes
        self._counts = Counts(
            deletions=0 if withheld else doomed.entry_count,
            deleted_files=0 if withheld else doomed.file_count,
            destination_files=seen.destination_files,
            destination_entries=seen.destination_entries,
            source_files=seen.source_files,
            source_entries=seen.source_entries,
            recorded=seen.recorded,
            recorded_seen=seen.recorded_seen,
        )

    def _delete(self, doomed: Doomed) -> None:
        for replacement in doomed.replacements:
            path = replacement.old.path
            self._to.replace(replacement.old)
            for key, entry in replacement.files:
                self._to.copy(Action(key, entry, None), owner=path)
            for directory in replacement.directories:
                self._to.mkdir(directory, owner=path)
        for _key, entry in doomed.left():
            self._to.delete(entry)
        for _key, entry in doomed.directories:
            self._to.delete(entry)
        self._recording = False  # what a replacement copies was written with it
        super()._delete(doomed)


class Applying(Run):
    """A run whose decisions were made before."""

    def __init__(
        self, plan: PlanFile, src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit
    ) -> None:
        super().__init__(src, dst, plan.options(options), around, emit, delete=True)
        self._times = None  # the plan has none of them
        self._file = plan
        self._moves: list[Rename] = []
        self._replaced: Collection[str] = ()
        for side, then in ((src, plan.src), (dst, plan.dst)):
            if side.key != then.key:
                raise Refused(f"{side.address} is not the {paths.printable(then.key)} that the plan was made for")

    # ---- instead of listings

    def _scans(self) -> tuple[Scan, ...]:
        self._listed = ()
        return ()

    def _begin(self, scans: tuple[Scan, ...]) -> bool:
        del scans
        self.src.store.stat("")
        if self._records.identify() != self._file.src.identity:
            raise Refused(f"{self.src.address} is another directory than the plan was made for: make it anew")
        try:
            self.dst.store.stat("")
        except NotFound:
            return True
        return False

    def _tell_missing(self) -> None:
        """Nothing: what the filters name was asked for when the plan was made."""

    def _plan(self, scans: tuple[Scan, ...]) -> Plan:
        del scans
        written = _Written(self._file, self._moves, self._hooks(), self._spool_dir)
        self._replaced = written.replacements.keys()
        return cast("Plan", written)  # all that `run` asks of one

    def _steps(self, scans: tuple[Scan, ...], *, missing: bool) -> Steps:
        del scans, missing
        return iter(())

    # ---- what must still hold

    def _executor(self) -> Executor:
        if self._opened is None:
            inner = super()._executor()
            threads = self.options.checkers or max(4, self.dst.store.features.connections)
            self._opened = Before(inner, self._holds, threads=threads)
        return self._opened

    def _holds(self, action: Action) -> None:
        """Raise PreconditionFailed where the source or what the destination has is not what the plan says."""
        if action.attempts:  # what a first attempt left is no change of somebody else's
            return
        self._is(self.src, action.src)
        if self.options.dry_run and any(paths.is_within(action.path, old) for old in self._replaced):
            return  # what stands there would be out of the way by then
        if action.dst is not None:
            self._is(self.dst, action.dst)
            return
        there = _there(self.dst, action.path)
        if there is not None and not (action.replaces and there.kind not in {Kind.FILE, Kind.DIRECTORY}):
            raise PreconditionFailed("is there by now, and was not when the plan was made", path=action.path)
        if there is None and action.replaces:
            raise PreconditionFailed("is gone since the plan was made", path=action.path)

    @staticmethod
    def _is(side: Side, then: Entry) -> None:
        now = _there(side, then.path)
        if now is None:
            raise PreconditionFailed("is gone since the plan was made", op="stat", path=then.path)
        if not relocate.same_version(then, now):
            raise PreconditionFailed("changed since the plan was made", op="stat", path=then.path)

    def _not_copied(self, action: Action, error: Exception, *, reads: bool) -> None:
        """Never with what the source is by now: the plan was about what it was."""
        if isinstance(error, IntegrityError) and action.attempts + 1 < max(1, self.options.retries):
            action.attempts += 1
            self._retries.append(action)
            return
        if isinstance(error, NotFound | SourceChanged):
            error = PreconditionFailed("changed since the plan was made", op="read", path=action.src.path)
        super()._not_copied(action, error, reads=False)

    # ---- renames and deletions

    def _copy(self, plan: Plan, steps: Steps) -> None:
        super()._copy(plan, steps)
        if self._moves and not self._stop():
            self._rename_all(plan)

    def _rename_all(self, plan: Plan) -> None:
        """As the gate allows; a new file that may not take the old one's place is copied."""
        why = self._may_rename(plan, len(self._moves))
        if why:
            self.tally.note(f"renamed files are copied: {why}")
            self._rounds(plan, (Action(one.key, one.new, None) for one in self._moves))
            return

        def work(one: Rename) -> Entry | None:
            self._is(self.src, one.new)
            self._is(self.dst, one.old)
            return None if self.options.dry_run else rename(self.src, self.dst, one)

        for done in bounded(work, self._moves, threads=max(1, self.dst.store.features.connections)):
            if done.error is None:
                self._took(plan, done.item, done.value)
            else:
                self.tally.failed(done.item.new.path, done.error)

    def _finish_sync(self, plan: Plan) -> None:
        doomed = plan.doomed
        olds = [replacement.old for replacement in doomed.replacements]
        moves = {one.old_key for one in self._moves}  # these were looked at
        entries = (entry for key, entry in chain(doomed.left(), doomed.directories) if key not in moves)
        gone = 0
        for done in bounded(self._deletable, chain(entries, olds), threads=max(1, self.dst.store.features.connections)):
            if done.error is not None:
                self.tally.failed(done.item.path, done.error)
            gone += done.value is False
        if gone:
            self.tally.note(f"{gone} of what was to be deleted {'is' if gone == 1 else 'are'} gone already")
        super()._finish_sync(plan)

    def _deletable(self, then: Entry) -> bool:
        """Whether it is there, and as it was; raises PreconditionFailed where it is another."""
        now = _there(self.dst, then.path)
        if now is not None and not relocate.same_version(then, now):
            raise PreconditionFailed("changed since the plan was made, and stays", op="stat", path=then.path)
        return now is not None


class _Written:
    """What `run` needs of a Plan, read from the file."""

    def __init__(self, file: PlanFile, moves: list[Rename], hooks: Hooks, spool_dir: str | None) -> None:
        self.ready: deque[Action] = deque()
        self.seen = file.counts.seen()
        self.doomed = Doomed(
            Spool(spool_dir),
            Spool(spool_dir),
            Spool(spool_dir),
            file_count=file.counts.deleted_files,
            entry_count=file.counts.deletions,
        )
        self.found: Callable[..., None] = lambda *_: None  # nothing is compared
        self._file, self._moves, self._hooks, self._spool_dir = file, moves, hooks, spool_dir
        self.replacements: dict[str, Replacement] = {}

    def actions(self, steps: Steps) -> Iterator[Action]:
        """The copies; all else is sorted to where `run` looks for it."""
        del steps
        for line in self._file.lines():
            if line.action is not None and line.owner is None:
                yield line.action
            else:
                self._sort(line)

    def _sort(self, line: Line) -> None:
        doomed = self.doomed
        if line.owner is not None:
            replacement = self.replacements[line.owner]
            if line.action is not None:
                replacement.files.append(line.action.key, line.action.src)
            else:
                replacement.directories.append(line.path)
        elif line.do == "mkdir":
            self._hooks.make_directory(line.path)
        elif line.rename is not None:
            self._moves.append(line.rename)
            doomed.files.append(line.rename.old_key, line.rename.old)
            doomed.tops.append(line.rename.old_key, line.rename.old)
            doomed.entry_count += 1
            doomed.file_count += 1
        else:
            assert line.entry is not None
            self._doom(line.do, line.entry)

    def _doom(self, do: str, entry: Entry) -> None:
        doomed = self.doomed
        key = paths.entry_key(entry)
        if do == "replace":
            replacement = Replacement(entry, Spool(self._spool_dir))
            self.replacements[entry.path] = replacement
            doomed.replacements.append(replacement)
            return
        doomed.tops.append(key, entry)
        if entry.is_dir:
            doomed.directories.append(key, entry)
        else:
            doomed.files.append(key, entry)

    def close(self) -> None:
        """Give the space back."""
        doomed = self.doomed
        for spool in (doomed.files, doomed.directories, doomed.tops, *(one.files for one in doomed.replacements)):
            spool.close()


def _there(side: Side, path: str) -> Entry | None:
    try:
        return side.store.stat(path)
    except (NotFound, NotADirectory):
        return None
