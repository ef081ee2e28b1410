"""The executor of a run with the stages that its flags ask for: old files kept before, copies read back after."""

from cftool.transfer.execute import Executor
from cftool.transfer.keep import Keeper, kept_first
from cftool.transfer.options import Options, Side, Verify
from cftool.transfer.readback import ReadBack
from cftool.transfer.stages import After


def staged(executor: Executor, src: Side, dst: Side, options: Options, keep: Keeper | None) -> Executor:
    """`executor` itself where the flags ask for nothing."""
    threads = options.checkers or max(4, dst.store.features.connections)
    if keep is not None:
        executor = kept_first(executor, keep, threads=threads)
    if options.verify is Verify.READBACK:
        executor = After(executor, ReadBack(src, dst), threads=threads)
    return executor
