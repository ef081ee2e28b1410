"""`--verify readback`: what was written is read again, and its bytes have to be those of the source.

Where they are not, the bad copy is removed, so that it does not stand under its final name, unless it is another
version by then, which is somebody else's; the error says which. Called in threads, after each copy.
"""

from dataclasses import replace

from cftool.core.errors import IntegrityError, NotFound, StoreError
from cftool.core.types import Entry
from cftool.transfer.actions import Action
from cftool.transfer.compare import SHORT, best_hash, hash_of
from cftool.transfer.execute import Outcome
from cftool.transfer.options import Side


class ReadBack:
    """Judges outcomes; see `stages.After`."""

    def __init__(self, src: Side, dst: Side) -> None:
        self._src, self._dst = src, dst

    def __call__(self, outcome: Outcome) -> Outcome:
        """The outcome, or the one that says what is wrong with the copy."""
        if outcome.error is not None or outcome.moved:
            return outcome
        action = outcome.action
        src = action.src
        # By the source's own hash where the listing carried a good one: then the source is not read again.
        known = best_hash(src.hashes.keys() - SHORT)
        name = known or "sha256"
        try:
            made = outcome.entry if outcome.entry is not None else self._dst.store.stat(action.path)
            expected = hash_of(self._src, src, name) if known is None else src.hashes[name]
            problem = self._problem(action, made, name, expected)
        except StoreError as error:
            return replace(outcome, entry=None, error=error)
        return replace(outcome, entry=made) if problem is None else replace(outcome, entry=None, error=problem)

    def _problem(self, action: Action, made: Entry, name: str, expected: str) -> IntegrityError | None:
        try:
            if hash_of(self._dst, made, name) == expected:
                return None
        except IntegrityError as error:  # what came back is not even what the service says that it has
            return self._removed(action, made, error.message)
        return self._removed(action, made, "read back, it is not what was written")

    def _removed(self, action: Action, made: Entry, what: str) -> IntegrityError:
        try:
            if self._dst.store.stat(made.path).version != made.version:
                what += "; another version is there by now, and stays"
            else:
                self._dst.store.delete(made.path)
                action.dst = None  # for a second attempt
                what += "; the bad copy was removed"
        except NotFound:
            what += "; it is gone by now"
        except StoreError as error:
            what += f"; the bad copy is still there ({error.message})"
        return IntegrityError(what, op="read", path=made.path)
