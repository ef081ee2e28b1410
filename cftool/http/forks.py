"""What happens to locks and connections in a forked child: they are replaced, never released or closed.

A lock may have been held by a thread that does not exist in the child, and a connection still belongs to the parent.
Objects that own either call `renew_after_fork(self)` once; in a child their `after_fork` runs before anything else.
"""

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """An object with something that must not outlive a fork."""

    def after_fork(self) -> None:
        """Replace locks, forget connections; runs in the child, whose only thread this is."""
        ...


_objects: "weakref.WeakSet[Renewable]" = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have `thing.after_fork()` called in every forked child while `thing` lives."""
    _objects.add(thing)


def _renew() -> None:
    for thing in list(_objects):
        thing.after_fork()


os.register_at_fork(after_in_child=_renew)
