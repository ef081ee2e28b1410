"""The entry points of the engine, for `cli` and for programs. Contracts here, work in the other modules.

copy(src, dst, …)          files and empty directories of src that differ, to dst; deletes nothing
copy_file(src, path, …)    one file to one exact destination
move, move_file            the same, and then the source is gone
sync(src, dst, …)          copy, then delete what src lacks, as far as the gate allows
plan, read_plan, apply     the same in two steps, with a file between them
check(a, b, …)             compare only
remove_tree(side, path, …) a file, or a directory with all below it
remove_selected(side, …)   files that a filter takes
cleanup(side, …)           what killed runs left behind
trash_files, empty_trash, restore    what --trash kept

All emit events while they work and return the Summary, which is also the last event. They raise only what concerns the
whole run: Locked, Refused (overlap), NotFound (SRC missing), ConfigError, KeyboardInterrupt never (see Surroundings).
"""

from typing import TYPE_CHECKING

from cftool.core.types import Cap, Entry, Kind
from cftool.transfer.cleanup import cleanup
from cftool.transfer.events import Emit, Summary
from cftool.transfer.options import Options, Side, Surroundings
from cftool.transfer.sides import side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cftool.transfer.plan_file import PlanFile
    from cftool.transfer.trash import Old

__all__ = [
    "Emit",
    "Options",
    "Side",
    "Summary",
    "Surroundings",
    "apply",
    "check",
    "cleanup",
    "copy",
    "copy_file",
    "empty_trash",
    "move",
    "move_file",
    "plan",
    "read_plan",
    "remove_selected",
    "remove_tree",
    "restore",
    "side",
    "sync",
    "trash_files",
]


def copy(src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit) -> Summary:
    """Make `dst` hold what `src` holds, besides what it has already."""
    from cftool.transfer.run import Run

    return Run(src, dst, options, around, emit, delete=False).go()


def sync(src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit) -> Summary:
    """Make `dst` hold exactly what `src` holds. With `options.delete` False nothing is deleted."""
    from cftool.transfer.run import Run

    return Run(src, dst, options, around, emit, delete=True).go()


def plan(src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit, *, path: str) -> Summary:
    """A dry run of `sync` (`options.dry_run` is set) that writes what would be done to the local file `path`."""
    from cftool.transfer.planned import Planning

    return Planning(src, dst, options, around, emit, path=path).go()


def read_plan(path: str) -> "PlanFile":
    """A plan, read to its end. Raises ConfigError where it is damaged, cut or none at all."""
    from cftool.transfer.plan_file import PlanFile

    return PlanFile(path)


def apply(what: "PlanFile", src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit) -> Summary:
    """Do what the plan says, where all is still as it was. Raises Refused where the sides are not those of the plan."""
    from cftool.transfer.planned import Applying

    return Applying(what, src, dst, options, around, emit).go()


def copy_file(
    src: Side,
    src_path: str,
    dst: Side,
    dst_path: str,
    options: Options,
    around: Surroundings,
    emit: Emit,
) -> Summary:
    """Copy the file `src_path` of `src` to exactly `dst_path` of `dst`, unless it is there already."""
    from cftool.transfer.single import Single

    return Single(src, src_path, dst, dst_path, options, around, emit).go()


def move(src: Side, dst: Side, options: Options, around: Surroundings, emit: Emit) -> Summary:
    """As `copy`; then what is at `dst` goes at `src`. Where nothing is at `dst` yet, `src` is renamed as a whole."""
    from cftool.transfer.moving import Mover

    return Mover(src, dst, options, around, emit).go()


def move_file(
    src: Side,
    src_path: str,
    dst: Side,
    dst_path: str,
    options: Options,
    around: Surroundings,
    emit: Emit,
) -> Summary:
    """As `copy_file`; then the source goes."""
    from cftool.transfer.moving import MoveOne

    return MoveOne(src, src_path, dst, dst_path, options, around, emit).go()


def check(a: Side, b: Side, options: Options, around: Surroundings, emit: Emit) -> Summary:
    """Compare two trees by size and content; changes nothing. Raises NotFound where A is not there."""
    from cftool.transfer.verify import Check

    return Check(a, b, options, around, emit).go()


def remove_tree(at: Side, path: "str | Entry", options: Options, around: Surroundings, emit: Emit) -> Summary:
    """Delete a file, or a directory with all below it; of the root "" only what is below. Raises NotFound."""
    from cftool.transfer.removal import Remover
    from cftool.transfer.tally import Tally

    tally = Tally(emit, now=around.now, dry_run=options.dry_run)
    if isinstance(path, str) and path and options.select is None and Cap.TREE in at.store.features.caps:
        remover = Remover(at.store, tally, dry_run=options.dry_run, cancelled=around.cancelled)
        remover.remove_below(path, spool_dir=None, top=True)
        return tally.summary()
    entry = at.store.stat(path) if isinstance(path, str) else path
    if options.select is not None and not entry.is_dir and not options.select.file(entry.at(entry.name)):
        tally.skipped(entry.path, "excluded")
        return tally.summary()
    remover = Remover(at.store, tally, dry_run=options.dry_run, cancelled=around.cancelled)
    if entry.kind is Kind.DIRECTORY and entry.path and not options.dry_run and remover.remove_at_once(entry):
        return tally.summary()
    if entry.kind is Kind.DIRECTORY:
        remover.remove_below(entry.path, spool_dir=None)
    if entry.path and not tally.stopped and not tally.failures:
        if entry.is_dir:
            remover.remove_named(entry)
        else:
            remover.remove([(b"", entry)])
    return tally.summary()


def trash_files(at: Side, trash: str, around: Surroundings, *, older_than: float | None = None) -> "Iterator[Old]":
    """What the trash of the tree `at` holds, oldest first; `trash` is its path in it, `older_than` in seconds."""
    from cftool.transfer.trash import old_files

    return old_files(at, trash, around, older_than=older_than)


def empty_trash(
    at: Side, trash: str, options: Options, around: Surroundings, emit: Emit, *, older_than: float | None = None
) -> Summary:
    """Delete what the trash holds, or what is `older_than` that many seconds."""
    from cftool.transfer.trash import empty

    return empty(at, trash, options, around, emit, older_than=older_than)


def restore(
    at: Side,
    path: str,
    to: Side,
    target: str,
    options: Options,
    around: Surroundings,
    emit: Emit,
    *,
    trash: str,
    when: float | None = None,
    replace: bool = False,
) -> Summary:
    """Bring `path` of the tree `at` back from its trash, to `target` of `to`; see `trash.Restore`. Raises NotFound."""
    from cftool.transfer.trash import Restore

    return Restore(at, path, to, target, options, around, emit).go(trash, when=when, replace=replace)


def remove_selected(at: Side, options: Options, around: Surroundings, emit: Emit) -> Summary:
    """Delete the files of the directory `at` that `options.select` takes; directories stay."""
    from cftool.transfer.removal import Remover
    from cftool.transfer.select import recorded, unmet
    from cftool.transfer.tally import Tally

    tally = Tally(emit, now=around.now, dry_run=options.dry_run)
    selected = recorded(options.select)
    remover = Remover(at.store, tally, dry_run=options.dry_run, cancelled=around.cancelled)
    remover.remove_below("", spool_dir=None, select=selected)
    if not tally.stopped and not tally.failures:
        for error in unmet(selected):
            tally.failed(error.path or "", error)
    return tally.summary()
