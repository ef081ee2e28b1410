"""`memory:`, a store that lives in this process: for tests, examples and try-outs.

Every capability works, so that it is also the reference that the conformance suite is written against. All stores that
are opened under one remote name share one space for as long as the process lives; what is in it is gone afterwards.
"""

from collections.abc import Mapping
from threading import Lock

from cftool.core.provider import Context, Provider, Secret
from cftool.core.store import Store
from cftool_providers.memory.space import Space
from cftool_providers.memory.store import MemoryStore

__all__ = ["PROVIDER", "MemoryStore", "Space"]

_spaces: dict[str, Space] = {}
_lock = Lock()


def _open(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> Store:
    del values
    name = context.remote or "memory"
    with _lock:
        space = _spaces.setdefault(name, Space(name))
    return MemoryStore(space, name=name, requests=context.requests)


PROVIDER = Provider(
    name="memory",
    summary="Files in the memory of this process, for tests and try-outs",
    docs="",
    options=(),
    open=_open,
)
