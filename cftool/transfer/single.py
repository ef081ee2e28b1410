"""One file to one exact destination: the rules of a run without listings, merge and state.

One request for each side says what there is; what differs is copied by the same executors as a tree. Called by `api`.
"""

from collections.abc import Callable, Iterable

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
    StoreError,
)
from cftool.core.types import Entry, Kind
from cftool.disk import locks
from cftool.transfer.cleanup import Unfinished, after_run, forget_runs, killed_runs
from cftool.transfer.compare import SIZE_ONLY, Comparer, Finding, Verdict
from cftool.transfer.events import Emit, Summary
from cftool.transfer.execute import Outcome, choose
from cftool.transfer.limits import Budget
from cftool.transfer.links import shown
from cftool.transfer.options import Links, Options, Side, Surroundings, Verify
from cftool.transfer.plan import Action
from cftool.transfer.tally import Tally
from cftool.transfer.verify import same_bytes


def copy_one(
    src: Side, src_path: str, dst: Side, dst_path: str, options: Options, around: Surroundings, emit: Emit
) -> Summary:
    """See `api.copy_file`."""
    if _key(src, src_path) == _key(dst, dst_path):
        raise Refused(f"{src_path} and {dst_path} are the same file")
    if options.links is Links.KEEP:
        src, dst = shown(src, options.links), shown(dst, options.links)
    tally = Tally(emit, now=around.now, dry_run=options.dry_run)
    reason = paths.problem(dst_path, dst.store.features.names)
    if reason is not None:
        raise InvalidName(f"the name {reason}", op="write", path=dst_path)
    there = src.store.stat(src_path)
    if there.kind is Kind.DIRECTORY:
        raise IsADirectory("is a directory", op="read", path=src_path)
    if there.kind is not Kind.FILE:
        tally.skipped(src_path, "link" if there.kind is Kind.LINK else "special")
        return tally.summary()
    if options.select is not None and not options.select.file(there.at(there.name)):
        tally.skipped(src_path, "excluded")
        return tally.summary()
    tally.files, tally.bytes_seen = 1, there.size or 0
    if around.state_dir is None or options.dry_run:
        _copy(src, there, dst, dst_path, options, tally, around.cancelled)
    else:
        with locks.lock_tree(
            around.state_dir,
            _key(dst, dst_path),
            wait=options.wait_lock,
            shared=True,
            cancelled=around.cancelled,
        ):
            _marked(around, src, there, dst, dst_path, options, tally)
    return tally.summary()


def _marked(
    around: Surroundings, src: Side, there: Entry, dst: Side, dst_path: str, options: Options, tally: Tally
) -> None:
    """Copy under a mark that tells the next run of a kill; then sweep what earlier ones left."""
    state_dir = around.state_dir
    assert state_dir is not None
    key = _key(dst, dst_path)
    mark = Unfinished(state_dir, key)
    clean = False
    try:
        _copy(src, there, dst, dst_path, options, tally, around.cancelled)
        clean = not tally.failures and not tally.stopped
    finally:
        mark.end(clean=clean)
    killed = killed_runs(state_dir, key) if clean else []
    if killed and after_run(dst, tally.note, file=dst_path):
        forget_runs(killed)


def _key(side: Side, path: str) -> str:
    return f"{side.key.rstrip('/')}/{path}"


def _copy(
    src: Side,
    there: Entry,
    dst: Side,
    dst_path: str,
    options: Options,
    tally: Tally,
    cancelled: Callable[[], bool],
) -> None:
    old = _old(dst, dst_path)
    if old is not None and old.kind is Kind.DIRECTORY:
        raise IsADirectory("is a directory", op="write", path=dst_path)
    action = Action(b"", there, None, path=dst_path, replaces=old is not None)
    if old is None or old.kind is not Kind.FILE:
        if options.existing and old is None:
            tally.skipped(there.path, "existing")
            return
    elif not _differs(src, there, dst, old, options, tally):
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
        tally.copied(there.path, there.size)
        return
    _execute(src, dst, action, options, tally, cancelled)


def _old(dst: Side, path: str) -> Entry | None:
    try:
        return dst.store.stat(path)
    except NotFound:
        return None


def _differs(src: Side, there: Entry, dst: Side, old: Entry, options: Options, tally: Tally) -> bool:
    """Whether it is to be copied; where not, that is told and recorded."""
    comparer = Comparer(src, dst, options)
    verdict, by = comparer.quick(there, old, None)
    finding = comparer.full(there, old) if verdict is Verdict.CHECK else Finding(verdict, by, there, old)
    tally.checked += 1
    if finding.by in {"size", "state", "time", "hash", "request", SIZE_ONLY}:
        tally.compared_by[finding.by] += 1
    if finding.verdict in {Verdict.NEWER, Verdict.EXISTING}:
        tally.skipped(there.path, finding.verdict.value)
    return finding.verdict is Verdict.COPY


def _execute(
    src: Side, dst: Side, action: Action, options: Options, tally: Tally, cancelled: Callable[[], bool]
) -> None:
    executor = choose(src, dst, options, tally.emit, cancelled)
    try:
        while True:
            (outcome,) = executor.run(iter_one(action))
            error = outcome.error or _read_back(src, dst, outcome, options)
            if error is None:
                tally.copied(action.src.path, action.src.size, server_side=outcome.server_side)
                return
            anew = isinstance(error, SourceChanged | IntegrityError) or (
                executor.reads and isinstance(error, PreconditionFailed)
            )
            action.attempts += 1
            if not anew or action.attempts >= max(1, options.retries):
                tally.failed(action.src.path, error)
                return
            action.src = src.store.stat(action.src.path)
    except Interrupted as error:
        tally.failed(action.src.path, error)
    finally:
        executor.close()


def iter_one(action: Action) -> Iterable[Action]:
    """An iterator, because executors pull."""
    yield action


def _read_back(src: Side, dst: Side, outcome: Outcome, options: Options) -> Exception | None:
    if options.verify is not Verify.READBACK:
        return None
    action = outcome.action
    try:
        made = outcome.entry if outcome.entry is not None else dst.store.stat(action.path)
        if same_bytes(src.store, action.src, dst.store, made):
            return None
    except StoreError as error:
        return error
    return IntegrityError("read back, it is not what was written", op="read", path=action.path)
