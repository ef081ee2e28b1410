"""The helpers that third parties' tests rely on do what they say: a fault that does not happen would hide a bug."""

import pytest

from cftool.core.errors import ConnectionFailed, IntegrityError, SourceChanged
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind, ReadItem, WriteItem
from cftool.testing.clock import FakeClock
from cftool.testing.contract import StoreContract
from cftool.testing.faulty import Fault, FaultyStore
from cftool.testing.targets import MemoryTarget
from cftool_providers.memory import MemoryStore

DATA = bytes(range(256)) * 1000


def faulty(**faults):
    inner = MemoryStore()
    inner.write("dir/a", BytesSource(DATA))
    inner.write("dir/b", BytesSource(b"b"))
    return FaultyStore(inner, faults)


SINGLE = {
    "stat": lambda s: s.stat("dir/a"),
    "write": lambda s: s.write("new", BytesSource(b"")),
    "delete": lambda s: s.delete("dir/a"),
    "mkdir": lambda s: s.mkdir("new"),
    "rmdir": lambda s: s.rmdir("empty"),
    "copy": lambda s: s.copy("dir/a", "new"),
    "move": lambda s: s.move("dir/a", "new"),
    "set_modified": lambda s: s.set_modified("dir/a", 5),
}


@pytest.mark.parametrize("op", SINGLE)
@pytest.mark.parametrize("lost", [False, True])
def test_each_call_takes_the_next_fault_and_is_done_or_not(op, lost):
    store = faulty(**{op: [Fault(answer_lost=lost), None]})
    store.inner.mkdir("empty")
    before = list(store.inner.walk(""))
    with pytest.raises(ConnectionFailed):
        SINGLE[op](store)
    assert (list(store.inner.walk("")) != before) == (lost and op != "stat")
    assert store.calls[op] == 1
    if not lost:
        SINGLE[op](store)
        assert store.calls[op] == 2


@pytest.mark.parametrize("op", ["scan", "walk"])
def test_listings_fail_at_once_in_the_middle_or_end_quietly(op):
    store = faulty(**{op: [Fault(), Fault(at=1), Fault(at=1, quiet=True), None]})

    def listed():
        return [e.path for e in getattr(store, op)("dir")]

    for _ in range(2):
        with pytest.raises(ConnectionFailed):
            listed()
    assert listed() == ["dir/a"]
    assert listed() == ["dir/a", "dir/b"]


def test_downloads_fail_at_once_or_in_the_middle():
    store = faulty(read=[Fault(), Fault(at=100_000), Fault(at=0), Fault(at=len(DATA)), None])
    with pytest.raises(ConnectionFailed):
        store.read("dir/a")
    for at in (100_000, 0, len(DATA)):
        got = []
        with store.read("dir/a") as download, pytest.raises(ConnectionFailed):
            got.extend(download)
        assert b"".join(got) == DATA[:at]
    assert store.read("dir/a").read() == DATA


def test_downloads_end_quietly_or_with_another_byte():
    store = faulty(read=[Fault(at=100, quiet=True), Fault(at=100, flip=True)])
    assert store.read("dir/a").read() == DATA[:100]
    with store.read("dir/a") as download:
        head = download.read(50)
        got = head + b"".join(download)
    assert len(head) == 50
    assert [n for n, (a, b) in enumerate(zip(got, DATA, strict=True)) if a != b] == [100]


def test_batches_meet_the_faults_of_single_calls():
    store = faulty(write=[None, Fault()], read=[None, Fault()], delete=[None, Fault()], rmdir=[Fault()])
    results = list(store.write_many(WriteItem(p, BytesSource(b"x"), tag=p) for p in ("x", "y")))
    assert [(r.tag, type(r.error).__name__) for r in results] == [("x", "NoneType"), ("y", "ConnectionFailed")]
    targets = [MemoryTarget(), MemoryTarget()]
    entries = [store.stat("dir/a"), store.stat("dir/b")]
    results = list(store.read_many(ReadItem(e, t, e.path) for e, t in zip(entries, targets, strict=True)))
    assert [type(r.error).__name__ for r in results] == ["NoneType", "ConnectionFailed"]
    assert [t.data for t in targets] == [DATA, None]
    gone = [Entry("gone", Kind.FILE), *entries, Entry("dir", Kind.DIRECTORY)]
    names = [type(r.error).__name__ for r in store.delete_many(gone)]
    assert names == ["NoneType", "ConnectionFailed", "NoneType", "ConnectionFailed"]


def test_another_error_may_be_chosen():
    with pytest.raises(SourceChanged):
        faulty(stat=[Fault(error=lambda: SourceChanged("x"))]).stat("dir/a")


def test_the_clock_moves_only_when_told():
    clock = FakeClock(100.0)
    assert (clock(), clock.ns()) == (100.0, 100_000_000_000)
    clock.sleep(1.5)
    clock.advance(2)
    assert (clock(), clock.slept) == (103.5, [1.5])
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_a_target_refuses_what_is_not_whole():
    target = MemoryTarget()
    with pytest.raises(IntegrityError):
        target.save(b"abc", Entry("f", Kind.FILE, 4))
    with pytest.raises(IntegrityError):
        target.begin(Entry("f", Kind.FILE))
    partial = target.begin(Entry("f", Kind.FILE, 4))
    with pytest.raises(IntegrityError):
        partial.write_at(b"12345", 0)
    partial.write_at(b"12", 0)
    partial.done(0, 2)
    with pytest.raises(IntegrityError):
        partial.commit(Entry("f", Kind.FILE, 4))
    assert target.data is None
    partial.write_at(b"34", 2)
    partial.done(2, 4)
    partial.commit(Entry("f", Kind.FILE, 4))
    assert target.data == b"1234"
    empty = target.begin(Entry("f", Kind.FILE, 0))
    empty.commit(Entry("f", Kind.FILE, 0))
    assert target.data == b""


def test_the_suite_has_a_case_for_every_member():
    cases = [name for name in dir(StoreContract) if name.startswith("test_")]
    assert len(cases) > 110
    for word in ("stat", "scan", "walk", "read", "write", "delete", "mkdir", "rmdir", "copy", "move", "set_modified"):
        assert any(word in case for case in cases), word


def test_a_store_that_loses_bytes_fails_the_suite():
    """The suite must be able to fail: a store that cuts each download is found."""
    inner = MemoryStore()
    store = FaultyStore(inner, {"read": [Fault(at=1, quiet=True)] * 100})
    with pytest.raises(AssertionError):
        StoreContract().test_what_is_written_is_read_back_at_every_size(store)
