"""What the archive promises beyond the Store protocol: requests, plain tar, other machines, damage, lost state."""

import os
import subprocess
from collections import Counter
from pathlib import Path
from types import NoneType

import pytest

from cftool.core import ops
from cftool.core.errors import ConnectionFailed, InvalidName, IsADirectory, ListingError, NotFound, Unsupported
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind, Leftover, ReadItem, Usage, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.testing.targets import MemoryTarget
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool_providers.memory import MemoryStore, Space


@pytest.fixture
def space():
    return Space("memory")


@pytest.fixture
def machine(space, cache_directory):
    """Another machine at each call: its own state and its own count of requests."""
    opened = []

    def one(name, **more):
        requests = Counter()
        store = ArchivingStore(
            MemoryStore(space, requests=requests),
            os.path.join(cache_directory, name),
            ArchiveSettings(fresh=0, host=name, **more),
        )
        store.requests = requests
        opened.append(store)
        return store

    yield one
    for store in opened:
        store.close()


def files(store):
    return {e.path: ops.read_bytes(store, e.path) for e in store.walk("") if not e.is_dir}


def small(count, size=1024):
    return {f"d{n % 10}/file{n}": n.to_bytes(4, "big") * (size // 4) for n in range(count)}


def put_all(store, contents):
    results = list(store.write_many(WriteItem(path, BytesSource(data)) for path, data in contents.items()))
    assert [r.error for r in results if r.error] == []
    assert len(results) == len(contents)


def test_a_thousand_files_take_at_most_twenty_requests(machine):
    store = machine("a")
    put_all(store, small(1000))
    assert sum(store.requests.values()) <= 20
    assert store.requests["put"] == 1


def test_many_files_take_a_twentieth_of_plain_requests(machine):
    store = machine("a")
    put_all(store, small(5_000, 2048))
    assert sum(store.requests.values()) <= 5_000 / 20
    other = machine("b")
    assert sum(1 for e in other.walk("") if not e.is_dir) == 5_000


def test_a_file_is_read_back_by_one_ranged_request_of_its_size(machine):
    contents = small(50)
    store = machine("a")
    put_all(store, contents)
    asked = []
    real = store.inner.read

    def read(path, *, start=0, end=None, if_version=None):
        asked.append((start, end))
        return real(path, start=start, end=end, if_version=if_version)

    store.inner.read = read
    before = Counter(store.requests)
    version = store.index.node("d7/file7").record.version
    with store.read("d7/file7", if_version=version) as download:
        assert download.read() == contents["d7/file7"]
    assert [end - start for start, end in asked] == [1024]
    assert store.requests - before == {"get": 1}


def test_many_files_are_read_back_by_few_requests(machine):
    contents = small(500)
    put_all(machine("a"), contents)
    store = machine("b")
    entries = [e for e in store.walk("") if not e.is_dir]
    before = store.requests["get"]
    targets = {e.path: MemoryTarget() for e in entries}
    results = list(store.read_many(ReadItem(e, targets[e.path]) for e in entries))
    assert [r.error for r in results if r.error] == []
    assert {path: target.data for path, target in targets.items()} == contents
    assert store.requests["get"] - before == 1


def test_a_deleted_tree_is_one_pack(machine):
    store = machine("a")
    put_all(store, small(300))
    entries = list(store.walk(""))
    before = store.requests["put"]
    assert [r.error for r in store.delete_many(reversed(entries)) if r.error] == []
    assert store.requests["put"] - before == 1
    assert list(machine("b").walk("")) == []


def test_tar_alone_reads_a_pack(machine, space, tmp_path):
    contents = small(20) | {"é/" + "n" * 150: b"long", "with space": b"", "b\udcff": b"no utf-8"}
    put_all(machine("a"), contents)
    [pack] = MemoryStore(space).scan(".cftool-archive")
    file = tmp_path / "pack.tar"
    file.write_bytes(ops.read_bytes(MemoryStore(space), pack.path))
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "xf", file], cwd=out, check=True, timeout=60)
    assert {p: (out / p).read_bytes() for p in contents} == contents
    listed = subprocess.run(
        ["tar", "tf", file, "--quoting-style=literal"], capture_output=True, check=True, timeout=60
    ).stdout.splitlines()
    assert listed == [*map(os.fsencode, contents), b".cftool-manifest.json"]


def test_another_machine_sees_all_and_reads_only_what_is_new(machine):
    a, b = machine("a"), machine("b")
    put_all(a, small(10))
    assert files(b) == small(10)
    before = b.requests["get"]
    ops.write_bytes(a, "new", b"new")
    assert b.stat("new").size == 3
    assert b.requests["get"] - before == 1


def raced(one, other, act_one, act_other):
    """Both act on what they saw before; the second one does not see the first one's pack."""
    one.packs.refresh(now=True)
    other.packs.refresh(now=True)
    act_one()
    refresh, other.packs.refresh = other.packs.refresh, lambda now=False: None
    act_other()
    other.packs.refresh = refresh


def test_two_machines_that_write_at_once_have_both_files_under_the_same_names(machine):
    a, b = machine("a"), machine("b")
    ops.write_bytes(a, "f.txt", b"base")
    raced(a, b, lambda: ops.write_bytes(a, "f.txt", b"from a"), lambda: ops.write_bytes(b, "f.txt", b"from b"))
    found = files(a)
    assert sorted(found.values()) == [b"from a", b"from b"]
    assert files(b) == found == files(machine("c"))
    [other] = found.keys() - {"f.txt"}
    assert other.startswith("f (conflict ")
    assert other.endswith(".txt")
    a.delete("f.txt")
    assert files(b).keys() == {other}
    b.delete(other)
    assert files(a) == {}


def test_a_change_outlives_a_deletion_at_the_same_time(machine):
    a, b = machine("a"), machine("b")
    ops.write_bytes(a, "d/f", b"base")
    raced(a, b, lambda: a.delete("d/f"), lambda: ops.write_bytes(b, "d/f", b"changed"))
    assert files(a) == files(b) == {"d/f": b"changed"}


def test_a_directory_that_moved_while_a_file_in_it_changed_keeps_both(machine):
    a, b = machine("a"), machine("b")
    ops.write_bytes(a, "d/f", b"base")
    raced(a, b, lambda: a.move("d", "e"), lambda: ops.write_bytes(b, "d/f", b"changed"))
    assert files(a) == files(b) == {"e/f": b"base", "d/f": b"changed"}


def test_moving_a_directory_moves_no_bytes_and_keeps_versions(machine):
    store = machine("a")
    put_all(store, small(30))
    version = store.stat("d1/file1").version
    before = Counter(store.requests)
    store.move("d1", "elsewhere/d1")
    moved = store.requests - before
    assert moved["put"] <= 2  # the directories above, and all that moves
    assert moved["get"] == 0
    assert store.stat("elsewhere/d1/file1").version == version
    with pytest.raises(NotFound):
        store.stat("d1")


def test_foreign_files_are_shown_and_can_be_removed(machine, space):
    ops.write_bytes(MemoryStore(space), "foreign/file", b"foreign")
    store = machine("a")
    ops.write_bytes(store, "foreign/ours", b"ours")
    assert files(store) == {"foreign/file": b"foreign", "foreign/ours": b"ours"}
    store.delete("foreign/file")
    assert files(store) == {"foreign/ours": b"ours"}


def test_large_files_lie_under_their_own_names(machine, space):
    store = machine("a", large=100)
    ops.write_bytes(store, "dir/large", b"x" * 101)
    assert ops.read_bytes(MemoryStore(space), "dir/large") == b"x" * 101
    ops.write_bytes(store, "dir/large", b"small")
    assert files(machine("b")) == {"dir/large": b"small"}
    ops.write_bytes(store, "dir/large", b"y" * 200)
    assert files(machine("c")) == {"dir/large": b"y" * 200}


def test_a_plain_file_that_was_written_past_us_is_shown_beside_ours(machine, space):
    store = machine("a")
    ops.write_bytes(store, "f", b"ours")
    ops.write_bytes(MemoryStore(space), "f", b"theirs")
    assert files(store) == {"f": b"ours", "f (conflict plain)": b"theirs"}
    store.delete("f (conflict plain)")
    assert files(store) == {"f": b"ours"}


def test_equal_content_is_not_sent_again_and_keeps_its_version(machine):
    store = machine("a")
    first = store.write("f", BytesSource(b"x" * 5000), modified_ns=1)
    second = store.write("f", BytesSource(b"x" * 5000), modified_ns=2)
    assert (second.version, second.modified_ns) == (first.version, 2)
    assert max(e.size for e in store.inner.scan(".cftool-archive")) > 5000
    assert min(e.size for e in store.inner.scan(".cftool-archive")) < 5000
    assert ops.read_bytes(store, "f") == b"x" * 5000


def test_a_pack_that_cannot_be_understood_is_an_error_that_names_it(machine, space):
    ops.write_bytes(machine("a"), "f", b"x")
    below = MemoryStore(space)
    [pack] = below.scan(".cftool-archive")
    data = ops.read_bytes(below, pack.path)
    changed = [data.replace(old, new) for old, new in ((b'"format": 1', b'"format": 2'), (b'"kind"', b'"mind"'))]
    for number, damaged in enumerate((data[:-512], data[:-1600] + bytes(1600), b"", *changed)):
        ops.write_bytes(below, pack.path, damaged)
        with pytest.raises(ListingError, match=pack.name):
            list(machine(f"machine{number}").walk(""))


def test_a_damaged_index_is_set_aside_and_built_anew(machine, cache_directory):
    store = machine("a")
    put_all(store, small(10))
    store.close()
    state = Path(cache_directory, "a")
    (state / "index.sqlite").write_bytes(b"no database" * 1000)
    assert files(machine("a")) == small(10)
    assert [name for name in os.listdir(state) if "damaged" in name]


def test_the_reserved_directory_cannot_be_named(machine):
    store = machine("a")
    for act in (lambda p: ops.write_bytes(store, p, b""), store.mkdir):
        with pytest.raises(InvalidName):
            act(".cftool-archive/x")
    with pytest.raises(NotFound):
        store.stat(".cftool-archive")


@pytest.mark.parametrize("lost", [False, True])
def test_a_write_that_fails_leaves_the_old_or_the_new_file(space, tmp_path, lost):
    store = ArchivingStore(MemoryStore(space), str(tmp_path / "a"), ArchiveSettings(fresh=0))
    ops.write_bytes(store, "f", b"old")
    store.inner = store.packs._inner = FaultyStore(MemoryStore(space), {"write": [Fault(answer_lost=lost)]})
    with pytest.raises(Exception, match="on purpose"):
        ops.write_bytes(store, "f", b"new")
    assert files(store) == {"f": b"new" if lost else b"old"}
    store.close()


def test_a_batch_that_cannot_be_written_is_told_file_by_file(space):
    faulty = FaultyStore(MemoryStore(space), {"write": [None, Fault(), Fault()]})
    store = ArchivingStore(faulty, None, ArchiveSettings(fresh=0))
    put_all(store, {"a": b"a", "b": b"b"})
    failed = {r.path: type(r.error) for r in store.write_many(WriteItem(p, BytesSource(b"new")) for p in ("a", "c"))}
    assert failed == {"a": ConnectionFailed, "c": ConnectionFailed}
    failed = {r.path: type(r.error) for r in store.delete_many([store.stat("a"), Entry("x/y", Kind.FILE)])}
    assert failed == {"a": ConnectionFailed, "x/y": NoneType}
    assert files(store) == {"a": b"a", "b": b"b"}
    store.close()


def test_of_one_path_twice_in_a_batch_the_last_one_stays(machine):
    results = machine("a").write_many(WriteItem("d/f", BytesSource(data)) for data in (b"first", b"last"))
    assert [r.error for r in results] == [None, None]
    assert files(machine("b")) == {"d/f": b"last"}


def test_what_was_sent_is_told_as_it_goes(machine):
    told = []
    [result] = machine("a").write_many([WriteItem("f", BytesSource(b"12345"), progress=told.append)])
    assert (result.error, told) == (None, [5])


def test_the_root_stays(machine):
    store = machine("a")
    with pytest.raises(InvalidName, match="root"):
        store.rmdir("")
    [result] = store.delete_many([Entry("", Kind.DIRECTORY)])
    assert isinstance(result.error, IsADirectory)
    assert store.mkdir("").is_dir
    assert store.stat("").is_dir


def test_what_makes_no_sense_with_packs_is_refused(machine):
    store = machine("a")
    for act in (
        lambda: store.changes(None),
        lambda: store.link("f"),
        lambda: store.delete_dir("d"),
        lambda: store.tree("d"),
    ):
        with pytest.raises(Unsupported):
            act()


def test_of_the_store_below_are_space_and_what_uploads_left(space):
    class Below(MemoryStore):
        removed = ()

        def usage(self):
            return Usage(1, 2, 3)

        def leftovers(self, path, *, older_than=None):
            return iter([Leftover(path, "id", None, None, own=older_than is None)])

        def remove_leftover(self, leftover):
            self.removed = (*self.removed, leftover.path)

    store = ArchivingStore(Below(space), None)
    assert store.usage() == Usage(1, 2, 3)
    [left] = store.leftovers("d", older_than=5)
    store.remove_leftover(left)
    assert (left.own, store.inner.removed) == (False, ("d",))
    assert store.probe("d") == MemoryStore(space).probe("d")
    store.close()


def test_a_directory_is_there_while_something_is_in_it_whoever_removed_it(machine):
    a, b = machine("a"), machine("b")
    a.mkdir("d")
    raced(a, b, lambda: a.rmdir("d"), lambda: ops.write_bytes(b, "d/f", b"new"))
    assert {e.path for e in a.walk("")} == {"d", "d/f"}
    a.move("d", "e")
    assert files(b) == {"e/f": b"new"}
    b.delete("e/f")
    assert [e.path for e in a.walk("")] == ["e"]


def test_a_conflict_name_that_is_taken_gets_a_number(machine):
    a, b, c = machine("a"), machine("b"), machine("c")
    ops.write_bytes(a, "f.txt", b"base")
    c.packs.refresh(now=True)
    raced(a, b, lambda: ops.write_bytes(a, "f.txt", b"from a"), lambda: ops.write_bytes(b, "f.txt", b"from b"))
    [name] = files(a).keys() - {"f.txt"}
    loser = files(a)[name]
    refresh, c.packs.refresh = c.packs.refresh, lambda now=False: None  # it knows of no conflict
    ops.write_bytes(c, name, b"from c")
    c.packs.refresh = refresh
    found = files(a)
    assert found == files(b) == files(c)
    assert found[name] == b"from c"
    assert found[name.replace(").txt", " 2).txt")] == loser
    c.delete(name)  # the other one has become a file of its own name
    assert files(a).keys() == found.keys() - {name}
