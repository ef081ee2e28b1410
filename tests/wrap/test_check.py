"""Check: refusals before any I/O, batches whose bad items stop no other, and errors that say where."""

from dataclasses import replace

import pytest

from cftool.core.errors import ConnectionFailed, InvalidName, IsADirectory, ListingError, TooLarge, Unsupported
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Features, Kind, Leftover, NameRules, ReadItem, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.testing.targets import MemoryTarget
from cftool.wrap.check import CheckStore
from cftool_providers.memory import MemoryStore

LEFTOVER = Leftover("file", "1")


class Untouchable:
    """A store where any call is a failure of the test: what is refused must not get this far."""

    name = "work"

    def __init__(self, **features):
        self.features = Features(**features)


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.walk(""),
        lambda s: s.copy("a", "b"),
        lambda s: s.move("a", "b"),
        lambda s: s.set_modified("a", 1),
        lambda s: s.write_many([]),
        lambda s: s.read_many([]),
        lambda s: s.delete_many([]),
        lambda s: s.delete_dir("a"),
        lambda s: s.changes(None),
        lambda s: s.usage(),
        lambda s: s.link("f"),
        lambda s: s.leftovers(""),
        lambda s: s.remove_leftover(LEFTOVER),
        lambda s: s.write("a", BytesSource(b""), if_version="1"),
        lambda s: s.write("a", BytesSource(b""), if_absent=True),
    ],
)
def test_what_the_stack_cannot_do_is_refused_at_the_call(call):
    with pytest.raises(Unsupported) as caught:
        call(CheckStore(Untouchable()))
    assert caught.value.store == "work"
    assert "work" in str(caught.value)


@pytest.mark.parametrize("bad", ["..", "a//b", "/a", "a/", "a/./b", "a\0b"])
@pytest.mark.parametrize(
    "call",
    [
        lambda s, p: s.stat(p),
        lambda s, p: s.scan(p),
        lambda s, p: s.walk(p),
        lambda s, p: s.read(p),
        lambda s, p: s.write(p, BytesSource(b"")),
        lambda s, p: s.delete(p),
        lambda s, p: s.mkdir(p),
        lambda s, p: s.rmdir(p),
        lambda s, p: s.copy(p, "ok"),
        lambda s, p: s.copy("ok", p),
        lambda s, p: s.move("ok", p),
        lambda s, p: s.set_modified(p, 1),
        lambda s, p: s.leftovers(p),
    ],
)
def test_a_path_that_is_not_canonical_is_refused_at_the_call(call, bad):
    store = CheckStore(Untouchable(caps=~Cap.NONE))
    with pytest.raises(InvalidName) as caught:
        call(store, bad)
    assert caught.value.path == bad
    assert caught.value.op


def test_a_file_over_the_size_limit_is_refused_before_any_request():
    store = CheckStore(Untouchable(size_limit=10))
    with pytest.raises(TooLarge, match="11 bytes; work takes up to 10"):
        store.write("a", BytesSource(b"x" * 11))


@pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 4), (0, -1)])
def test_a_range_that_is_none_is_a_programming_error(start, end):
    with pytest.raises(ValueError, match="no range"):
        CheckStore(Untouchable()).read("a", start=start, end=end)


def test_copy_and_move_onto_itself_change_nothing():
    inner = FaultyStore(MemoryStore(), {})
    store = CheckStore(inner)
    entry = store.write("file", BytesSource(b"kept"))
    assert store.copy("file", "file") == entry
    assert store.move("file", "file") == entry
    assert (inner.calls["copy"], inner.calls["move"]) == (0, 0)


def test_copy_of_a_directory_onto_itself_is_refused_as_any_copy_of_one():
    store = CheckStore(MemoryStore())
    store.mkdir("dir")
    with pytest.raises(IsADirectory):
        store.copy("dir", "dir")


def test_move_below_itself_is_refused():
    store = CheckStore(MemoryStore())
    store.write("dir/file", BytesSource(b"kept"))
    with pytest.raises(InvalidName, match="into itself"):
        store.move("dir", "dir/sub")
    assert store.read("dir/file").read() == b"kept"


def test_move_below_itself_is_a_name_like_any_other_where_keys_are_opaque():
    inner = MemoryStore()
    inner._features = replace(inner.features, names=NameRules(opaque=True))
    moved = []
    inner.move = lambda src, dst: moved.append((src, dst)) or Entry(dst, Kind.FILE)
    CheckStore(inner).move("key", "key/below")
    assert moved == [("key", "key/below")]


# ---- batches


def test_bad_items_of_write_many_are_answered_and_stop_no_other():
    inner = MemoryStore()
    inner._features = replace(inner.features, size_limit=5, caps=inner.features.caps & ~Cap.IF_ABSENT)
    items = [
        WriteItem("one", BytesSource(b"1"), tag=1),
        WriteItem("..", BytesSource(b"2"), tag=2),
        WriteItem("large", BytesSource(b"123456"), tag=3),
        WriteItem("two", BytesSource(b"4"), tag=4),
        WriteItem("", BytesSource(b"5"), tag=5),
        WriteItem("cond", BytesSource(b"6"), if_absent=True, tag=6),
    ]
    results = {r.tag: r for r in CheckStore(inner).write_many(items)}
    assert {tag: type(r.error) for tag, r in results.items()} == {
        1: type(None),
        2: InvalidName,
        3: TooLarge,
        4: type(None),
        5: InvalidName,
        6: Unsupported,
    }
    assert results[2].path == ".."
    assert results[3].error.op == "write"
    assert [e.path for e in inner.walk("")] == ["one", "two"]


def test_items_refused_before_the_first_and_after_the_last_good_one_are_answered_too():
    inner = MemoryStore()
    for items in (["..", "good"], ["good", ".."], [".."], ["..", ".", "good", ""]):
        results = list(CheckStore(inner).write_many(WriteItem(p, BytesSource(b"")) for p in items))
        assert sorted(r.path for r in results) == sorted(items)


def test_bad_items_of_read_many_and_delete_many_are_answered():
    inner = MemoryStore()
    entry = inner.write("file", BytesSource(b"x"))
    bad = Entry("a/../b", Kind.FILE)
    target = MemoryTarget()
    store = CheckStore(inner)
    results = {r.tag: r for r in store.read_many([ReadItem(bad, MemoryTarget(), "bad"), ReadItem(entry, target, "ok")])}
    assert isinstance(results["bad"].error, InvalidName)
    assert (results["ok"].error, target.data) == (None, b"x")
    results = {r.path: r for r in store.delete_many([bad, entry])}
    assert isinstance(results["a/../b"].error, InvalidName)
    assert results["file"].error is None


def test_an_error_of_an_item_gets_its_context():
    store = CheckStore(FaultyStore(MemoryStore(), {"write": [Fault()]}))
    [result] = store.write_many([WriteItem("file", BytesSource(b"x"))])
    assert (result.error.op, result.error.path, result.error.store) == ("write", "file", "memory")


def test_an_error_of_an_item_that_is_no_store_error_passes_as_it_is():
    inner = MemoryStore()
    error = KeyError("a bug")
    inner.write_many = lambda items: iter([_result(i.path, error) for i in items])
    [result] = CheckStore(inner).write_many([WriteItem("file", BytesSource(b"x"))])
    assert result.error is error


def _result(path, error):
    from cftool.core.types import Result

    return Result(path, error=error)


# ---- context of errors


def test_an_error_says_operation_path_and_store():
    store = CheckStore(FaultyStore(MemoryStore(), {"stat": [Fault()]}))
    with pytest.raises(ConnectionFailed) as caught:
        store.stat("dir/file")
    assert (caught.value.op, caught.value.path, caught.value.store) == ("stat", "dir/file", "memory")


def test_context_that_is_there_already_stays():
    fault = Fault(error=lambda: ConnectionFailed("broke", op="PutObject", path="other", store="inner"))
    store = CheckStore(FaultyStore(MemoryStore(), {"stat": [fault]}))
    with pytest.raises(ConnectionFailed) as caught:
        store.stat("file")
    assert (caught.value.op, caught.value.path, caught.value.store) == ("PutObject", "other", "inner")


@pytest.mark.parametrize("op", ["scan", "walk"])
def test_an_error_in_the_middle_of_a_listing_says_where(op):
    inner = MemoryStore()
    for name in "abc":
        inner.write(f"dir/{name}", BytesSource(b""))
    fault = Fault(at=2, error=lambda: ListingError("cut"))
    entries = getattr(CheckStore(FaultyStore(inner, {op: [fault]})), op)("dir")
    assert [next(entries).path, next(entries).path] == ["dir/a", "dir/b"]
    with pytest.raises(ListingError) as caught:
        next(entries)
    assert (caught.value.op, caught.value.path, caught.value.store) == (op, "dir", "memory")


def test_an_error_in_the_middle_of_a_download_says_where():
    inner = MemoryStore()
    inner.write("file", BytesSource(b"x" * 100))
    for read in (lambda d: d.read(), lambda d: list(d)):
        store = CheckStore(FaultyStore(inner, {"read": [Fault(at=50)]}))
        with store.read("file") as download:
            assert download.entry.path == "file"
            with pytest.raises(ConnectionFailed) as caught:
                read(download)
        assert (caught.value.op, caught.value.path, caught.value.store) == ("read", "file", "memory")


def test_leftovers_pass_through():
    inner = MemoryStore()
    inner._features = replace(inner.features, caps=inner.features.caps | Cap.LEFTOVERS)
    removed = []
    inner.leftovers = lambda path, *, older_than=None: iter([LEFTOVER] if (path, older_than) == ("dir", 5) else [])
    inner.remove_leftover = removed.append
    store = CheckStore(inner)
    assert list(store.leftovers("dir", older_than=5)) == [LEFTOVER]
    store.remove_leftover(LEFTOVER)
    assert removed == [LEFTOVER]


def test_changes_and_usage_pass_through():
    store = CheckStore(MemoryStore())
    assert store.changes(None).paths == ()
    assert store.usage().used == 0


def test_the_root_is_never_removed_as_a_whole():
    memory = MemoryStore()
    memory._features = replace(memory.features, caps=memory.features.caps | Cap.DELETE_DIR | Cap.LEFTOVERS)
    seen = []
    memory.delete_dir = seen.append
    memory.probe = lambda path: Cap.RANGES
    memory.link = lambda path, *, expires=None: f"https://{path}"
    store = CheckStore(memory)
    with pytest.raises(InvalidName, match="root"):
        store.delete_dir("")
    store.delete_dir("d")
    assert (seen, store.probe("d")) == (["d"], Cap.RANGES)
    with pytest.raises(Unsupported):
        store.link("d")
    memory._features = replace(memory.features, caps=memory.features.caps | Cap.LINK)
    assert CheckStore(memory).link("d") == "https://d"
