"""After a power cut at any moment the write-back cache opens, and has what it acknowledged, whole.

What was not synced is lost: all of it, its data but not its names, or any part. See `powercut`.
"""

import os
import platform
import sys
import tempfile
from pathlib import Path

import pytest

from cftool.core import ops
from cftool.core.errors import NotFound
from cftool.wrap.caching import CacheSettings, CachingStore
from cftool_providers.memory import MemoryStore
from tests.adversarial.powercut import record
from tests.sizes import FULL, SEED

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the recorder knows the calls of Linux on x86-64"
)
SHM = "/dev/shm"
CHANCES = 30 if FULL else 1
OLD, NEW = b"old " * 100, b"new content " * 100


@pytest.fixture
def place():
    """In memory where the machine has some: what a disk would have kept is computed, not tried."""
    with tempfile.TemporaryDirectory(prefix="cftool-cuts-", dir=SHM if os.path.isdir(SHM) else None) as path:
        yield Path(path)


@pytest.mark.parametrize("inline", [0, len(OLD)], ids=["files", "journal"])
def test_what_was_acknowledged_is_there_whole(place, record_property, inline):
    """Content in files; and OLD in the journal, NEW in files, and one that grows out of the journal."""
    cache, cut_to = place / "cache", place / "cut"

    def opened(directory):
        return CachingStore(MemoryStore(), str(directory), CacheSettings(delay=3600, inline=inline))

    store = opened(cache)
    ops.write_bytes(store, "replaced", OLD)
    ops.write_bytes(store, "gone", OLD)
    ops.write_bytes(store, "there", NEW)  # the recorder knows directories by what is in them
    store.close()

    def act(acknowledge):
        store = opened(cache)
        ops.write_bytes(store, "replaced", NEW)
        acknowledge("replaced ")
        ops.write_bytes(store, "new", NEW)
        acknowledge("new ")
        store.move("new", "moved")
        acknowledge("moved ")
        store.delete("gone")
        acknowledge("gone ")
        draft = store.edit("grown", create=True)
        draft.write(OLD, 0)
        draft.commit()
        acknowledge("synced ")
        draft.write(NEW, len(OLD))
        draft.close()
        acknowledge("grown ")
        ops.write_bytes(store, "small", OLD)
        acknowledge("small ")
        store.close()

    disk = record(cache, act)
    states = 0
    for cut in disk.cuts(cut_to, chances=CHANCES, seed=SEED):
        states += 1
        (cut_to / "journal.sqlite-shm").unlink(missing_ok=True)  # memory that the processes shared: it is gone
        done = set(cut.acknowledged)
        store = opened(cut_to)
        assert store.problems == [], cut

        def content(path, store=store):
            try:
                return ops.read_bytes(store, path)
            except NotFound:
                return None

        assert content("replaced") in ({NEW} if "replaced" in done else {OLD, NEW}), cut
        moved = {content("new"), content("moved")}
        assert moved in ([{NEW, None}] if "new" in done else [{NEW, None}, {None}]), cut
        if "moved" in done:
            assert (content("new"), content("moved")) == (None, NEW), cut
        assert content("gone") in ({None} if "gone" in done else {OLD, None}), cut
        grown = content("grown")
        assert grown == OLD + NEW if "grown" in done else "synced" not in done or grown.startswith(OLD), cut
        assert content("there") == NEW, cut
        assert content("small") in ({OLD} if "small" in done else {OLD, None}), cut
        assert store.check() == [], cut
        here = {number for number, _ in store.files.ids()} | store.journal.inline.sizes().keys()
        assert here == {n for n, _, _ in store.journal.sizes()}, cut
        assert store.flush() == [], cut
        store.close()
    assert states > 20
    assert os.listdir(cut_to)
    record_property("states", states)
