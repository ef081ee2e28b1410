"""ReadOnly: nothing changes, no capability promises that it would, and reading is as before."""

from dataclasses import replace

import pytest

from cftool.core.errors import ReadOnly
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Kind, Leftover, WriteItem
from cftool.testing.faulty import FaultyStore
from cftool.wrap.readonly import ReadOnlyStore
from cftool_providers.memory import MemoryStore


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.write("file", BytesSource(b"new")),
        lambda s: s.write("new", BytesSource(b"new"), if_absent=True),
        lambda s: s.delete("file"),
        lambda s: s.mkdir("new"),
        lambda s: s.rmdir("dir"),
        lambda s: s.copy("file", "new"),
        lambda s: s.move("file", "new"),
        lambda s: s.set_modified("file", 1),
        lambda s: s.write_many([WriteItem("new", BytesSource(b""))]),
        lambda s: s.delete_many([Entry("file", Kind.FILE)]),
        lambda s: s.delete_dir("dir"),
        lambda s: s.remove_leftover(Leftover("file", "1")),
    ],
)
def test_every_change_is_refused_and_nothing_reaches_the_store(call):
    memory = MemoryStore(name="work")
    memory.write("file", BytesSource(b"kept"))
    memory.mkdir("dir")
    inner = FaultyStore(memory, {})
    with pytest.raises(ReadOnly, match="work is opened read-only") as caught:
        call(ReadOnlyStore(inner))
    assert (caught.value.store, sum(inner.calls.values())) == ("work", 0)
    assert {e.path for e in memory.walk("")} == {"file", "dir"}


def test_no_capability_promises_a_change():
    caps = ReadOnlyStore(MemoryStore()).features.caps
    assert caps == Cap.WALK | Cap.READ_MANY | Cap.CHANGES | Cap.USAGE | Cap.EMPTY_DIRS | Cap.RANGES


def test_a_capability_that_appears_later_shows_unless_it_changes_something():
    inner = MemoryStore()
    store = ReadOnlyStore(inner)
    before = store.features
    assert store.features is before
    inner._features = replace(inner.features, caps=Cap.WALK | Cap.IF_VERSION)
    assert store.features.caps == Cap.WALK


def test_reading_is_as_before():
    inner = MemoryStore()
    entry = inner.write("dir/file", BytesSource(b"content"))
    store = ReadOnlyStore(inner)
    assert store.stat("dir/file") == entry
    assert [e.path for e in store.walk("")] == ["dir", "dir/file"]
    assert store.read("dir/file").read() == b"content"


def test_nothing_is_found_out_by_writing():
    inner = FaultyStore(MemoryStore(), {})
    assert ReadOnlyStore(inner).probe("") is Cap.NONE
    assert sum(inner.calls.values()) == 0
