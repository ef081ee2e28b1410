"""Prefix: everything that goes in or comes out is of the view, errors and targets included."""

from dataclasses import replace

import pytest

from cftool.core.errors import (
    ConnectionFailed,
    InvalidName,
    IsADirectory,
    ListingError,
    NotFound,
    StoreError,
    Unnamed,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, ChangeSet, Entry, Kind, Leftover, NameRules, ReadItem, Result, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.testing.targets import MemoryTarget
from cftool.wrap.prefix import PrefixStore, _Target
from cftool_providers.memory import MemoryStore


@pytest.fixture
def memory():
    return MemoryStore()


@pytest.fixture
def view(memory):
    return PrefixStore(memory, "a/b")


def test_what_is_written_below_the_view_is_below_the_prefix(memory, view):
    entry = view.write("dir/file", BytesSource(b"x"))
    assert entry.path == "dir/file"
    assert [e.path for e in memory.walk("")] == ["a", "a/b", "a/b/dir", "a/b/dir/file"]


def test_what_is_beside_the_prefix_is_not_seen(memory, view):
    for path in ("a/b/in", "a/bc/out", "a/out", "ab"):
        memory.write(path, BytesSource(b""))
    assert [e.path for e in view.walk("")] == ["in"]
    assert [e.path for e in view.scan("")] == ["in"]


def test_the_prefix_need_not_exist(view):
    for call in (lambda: view.stat(""), lambda: list(view.scan("")), lambda: list(view.walk(""))):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.path == ""
    assert view.mkdir("").path == ""
    assert view.stat("") == Entry("", Kind.DIRECTORY, id=view.stat("").id)
    assert list(view.scan("")) == []
    view.rmdir("")
    with pytest.raises(NotFound):
        view.stat("")


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a//b", ".."])
def test_a_prefix_must_be_canonical_and_not_the_root(memory, prefix):
    with pytest.raises((ValueError, InvalidName)):
        PrefixStore(memory, prefix)


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.read(""),
        lambda s: s.write("", BytesSource(b"")),
        lambda s: s.delete(""),
        lambda s: s.copy("", "x"),
        lambda s: s.copy("x", ""),
        lambda s: s.move("", "x"),
        lambda s: s.move("x", ""),
        lambda s: s.set_modified("", 1),
    ],
)
def test_the_root_of_the_view_is_no_file_even_where_a_file_has_its_name(memory, view, call):
    memory.write("a/b", BytesSource(b"kept"))
    with pytest.raises(IsADirectory):
        call(view)
    assert memory.read("a/b").read() == b"kept"


# ---- features


def test_identity_says_which_directory(memory, view):
    assert view.features.identity == f"{memory.features.identity}/a/b"
    assert PrefixStore(view, "c").features.identity == f"{memory.features.identity}/a/b/c"


def test_the_length_of_the_prefix_counts_for_the_longest_path(memory):
    memory._features = replace(memory.features, names=NameRules(path_bytes=100))
    assert PrefixStore(memory, "ä/b").features.names.path_bytes == 100 - len("ä/b/".encode())


def test_a_capability_that_appears_later_shows(memory, view):
    before = view.features
    assert view.features is before
    memory._features = replace(memory.features, caps=Cap.WALK)
    assert view.features.caps == Cap.WALK
    assert view.features.identity == before.identity


# ---- errors


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("stat", lambda s: s.stat("dir/file")),
        ("scan", lambda s: list(s.scan("dir/file"))),
        ("walk", lambda s: list(s.walk("dir/file"))),
        ("read", lambda s: s.read("dir/file")),
        ("write", lambda s: s.write("dir/file", BytesSource(b""))),
        ("delete", lambda s: s.delete("dir/file")),
        ("mkdir", lambda s: s.mkdir("dir/file")),
        ("rmdir", lambda s: s.rmdir("dir/file")),
        ("copy", lambda s: s.copy("dir/file", "x")),
        ("move", lambda s: s.move("dir/file", "x")),
        ("set_modified", lambda s: s.set_modified("dir/file", 1)),
    ],
)
def test_errors_carry_the_path_of_the_view(memory, op, call):
    fault = Fault(error=lambda: ConnectionFailed("broke", path="a/b/dir/file"))
    view = PrefixStore(FaultyStore(memory, {op: [fault]}), "a/b")
    with pytest.raises(ConnectionFailed) as caught:
        call(view)
    assert caught.value.path == "dir/file"


def test_an_error_about_what_is_above_the_view_is_about_its_root(memory, view):
    memory.write("a", BytesSource(b"in the way"))
    with pytest.raises(StoreError) as caught:
        view.write("dir/file", BytesSource(b""))
    assert caught.value.path == ""


def test_an_error_without_a_path_stays_without(memory):
    view = PrefixStore(FaultyStore(memory, {"stat": [Fault()]}), "a/b")
    with pytest.raises(ConnectionFailed) as caught:
        view.stat("x")
    assert caught.value.path is None


def test_a_download_shows_the_view_and_so_do_its_errors(memory, view):
    view.write("file", BytesSource(b"0123456789"))
    with view.read("file", start=2, end=5) as download:
        assert download.entry.path == "file"
        assert b"".join(download) == b"234"
    view = PrefixStore(FaultyStore(memory, {"read": [_at("a/b/file"), _at("a/b/file")]}), "a/b")
    for read in (lambda d: d.read(), list):
        download = view.read("file")
        with pytest.raises(ConnectionFailed) as caught:
            read(download)
        assert caught.value.path == "file"
        download.close()


def _at(path):
    return Fault(at=5, error=lambda: ConnectionFailed("broke", path=path))


# ---- listings that are not what they should be


def test_an_entry_outside_of_the_prefix_is_an_error_and_not_a_wrong_path(memory, view):
    memory.walk = lambda path: iter([Entry("a/b/in", Kind.FILE), Entry("a/bc/out", Kind.FILE)])
    walked = view.walk("")
    assert next(walked).path == "in"
    with pytest.raises(ListingError, match="outside"):
        next(walked)


def test_walk_leaves_out_a_directory_without_a_name_but_not_what_is_in_it(memory, view):
    listed = [Entry("a/b/", Kind.DIRECTORY), Entry("a/b//x", Kind.FILE), Entry("a/b/y", Kind.FILE)]
    memory.walk = lambda path: iter(listed)
    assert [e.path for e in view.walk("")] == ["/x", "y"]


def test_scan_tells_of_a_directory_without_a_name_because_the_root_has_that_path(memory, view):
    memory.scan = lambda path: iter([Entry("a/b/", Kind.DIRECTORY)])
    with pytest.raises(Unnamed, match="a/b/ is an entry itself"):
        list(view.scan(""))


@pytest.mark.parametrize("op", ["scan", "walk"])
def test_a_file_without_a_name_is_told_when_all_others_were_given(memory, view, op):
    setattr(memory, op, lambda path: iter([Entry("a/b/", Kind.FILE), Entry("a/b/x", Kind.FILE)]))
    listing = getattr(view, op)("")
    assert next(listing).path == "x"
    with pytest.raises(Unnamed, match="a/b/ is an entry itself"):
        next(listing)


# ---- batches


def test_batches_map_paths_both_ways_and_keep_tags(memory, view):
    results = list(view.write_many(WriteItem(p, BytesSource(p.encode()), 7, tag=[p]) for p in ("x/1", "2")))
    assert [(r.path, r.entry.path, r.tag) for r in results] == [("x/1", "x/1", ["x/1"]), ("2", "2", ["2"])]
    assert memory.read("a/b/x/1").read() == b"x/1"
    assert view.stat("2").modified_ns == 7
    targets = {p: MemoryTarget() for p in ("x/1", "2")}
    results = list(view.read_many(ReadItem(view.stat(p), t, p) for p, t in targets.items()))
    assert [(r.path, r.entry.path, r.tag, r.error) for r in results] == [(p, p, p, None) for p in targets]
    assert {p: (t.data, t.entry.path) for p, t in targets.items()} == {p: (p.encode(), p) for p in targets}
    results = list(view.delete_many([view.stat("x/1"), view.stat("x")]))
    assert [(r.path, r.entry.path, r.error) for r in results] == [("x/1", "x/1", None), ("x", "x", None)]


def test_conditions_of_a_batch_pass_through(memory, view):
    version = view.write("file", BytesSource(b"1")).version
    view.write("file", BytesSource(b"22"))
    items = [
        WriteItem("file", BytesSource(b""), if_version=version),
        WriteItem("file", BytesSource(b""), if_absent=True),
    ]
    assert [type(r.error).__name__ for r in view.write_many(items)] == ["PreconditionFailed", "AlreadyExists"]


def test_errors_of_a_batch_carry_the_path_of_the_view(memory, view):
    memory.mkdir("a/b/dir")
    [result] = view.write_many([WriteItem("dir", BytesSource(b""), tag="t")])
    assert (result.path, result.error.path, result.entry, result.tag) == ("dir", "dir", None, "t")


def test_an_error_of_a_batch_that_is_no_store_error_passes_as_it_is(memory, view):
    error = KeyError("a bug")
    memory.write_many = lambda items: iter([Result("a/b/file", error=error)])
    [result] = view.write_many([WriteItem("file", BytesSource(b""))])
    assert (result.path, result.error) == ("file", error)


def test_an_error_that_ends_a_batch_carries_the_path_of_the_view(memory, view):
    def broken(items):
        raise ConnectionFailed("broke", path="a/b/file")
        yield

    memory.write_many = broken
    with pytest.raises(ConnectionFailed) as caught:
        list(view.write_many([]))
    assert caught.value.path == "file"


def test_a_large_download_tells_its_target_paths_of_the_view(memory, view):
    entry = view.write("file", BytesSource(b"0123456789"))
    target = MemoryTarget()
    seen = []

    def read_many(items):
        for item in items:
            partial = item.target.begin(item.entry)
            seen.append(partial.missing(4))
            partial.write_at(b"junk", 0)
            partial.discard()
            partial.write_at(b"01234", 0)
            partial.done(0, 5)
            seen.append(partial.missing(10))
            partial.writev_at([b"56", b"789"], 5)
            partial.done(5, 10)
            seen.append(partial.read_at(3, 4))
            partial.commit(item.entry)
            partial.close()
            yield Result(item.entry.path, entry=item.entry, tag=item.tag)

    memory.read_many = read_many
    [result] = view.read_many([ReadItem(entry, target, "t")])
    assert (result.path, result.error, result.tag) == ("file", None, "t")
    assert (target.begun, target.data, target.entry.path) == (1, b"0123456789", "file")
    assert seen == [[(0, 4), (4, 8), (8, 10)], [(5, 10)], b"456"]


# ---- the rest


def test_changes_are_those_of_the_view(memory, view):
    memory.mkdir("a/b")
    cursor = view.changes(None).cursor
    memory.write("a/b/in", BytesSource(b""))
    memory.write("a/out", BytesSource(b""))
    assert view.changes(cursor).paths == ("in",)
    assert view.changes("unknown").reset


@pytest.mark.parametrize("path", ["a/b", "a"])
def test_a_change_of_the_root_or_above_it_may_have_changed_anything(memory, view, path):
    memory.changes = lambda cursor: ChangeSet((path, "a/b/x"), "2")
    assert view.changes("1") == ChangeSet((), "2", reset=True)


def test_usage_is_that_of_the_account(memory, view):
    memory.write("elsewhere", BytesSource(b"12345"))
    assert view.usage().used == 5


def test_leftovers_are_those_of_the_view(memory, view):
    asked, removed = [], []

    def leftovers(path, *, older_than=None):
        asked.append((path, older_than))
        yield Leftover("a/b/dir/file", "id", own=True)

    memory.leftovers, memory.remove_leftover = leftovers, removed.append
    [leftover] = view.leftovers("dir", older_than=60)
    assert asked == [("a/b/dir", 60)]
    assert leftover == Leftover("dir/file", "id", own=True)
    view.remove_leftover(leftover)
    assert removed == [Leftover("a/b/dir/file", "id", own=True)]


def test_close_closes_the_inner_store(memory, view):
    closed = []
    memory.close = lambda: closed.append(True)
    view.close()
    assert closed == [True]


# ---- what whole stacks seldom ask of a view


def test_a_link_is_of_the_file_below_the_prefix(memory, view):
    memory.link = lambda path, *, expires=None: f"{path} for {expires}"
    assert view.link("dir/file", expires=60) == "a/b/dir/file for 60"


def test_a_whole_directory_goes_below_the_view_and_never_the_view_itself(memory, view):
    asked = []
    memory.delete_dir = asked.append
    view.delete_dir("dir")
    with pytest.raises(IsADirectory):
        view.delete_dir("")
    assert asked == ["a/b/dir"]


def test_probe_and_leftovers_are_of_the_place_below(memory, view):
    seen = []
    memory.probe = lambda path: (seen.append(path), Cap.RANGES)[1]
    memory.remove_leftover = seen.append
    assert view.probe("x") is Cap.RANGES
    view.remove_leftover(Leftover("x", "1"))
    assert seen == ["a/b/x", Leftover("a/b/x", "1")]


def test_a_target_in_parts_hears_of_the_view_alone():
    heard = []

    class Parts:
        def __getattr__(self, name):
            return lambda *arguments: heard.append((name, *arguments))

    class Target:
        def begin(self, entry):
            heard.append(("begin", entry.path))
            return Parts()

    def out(path):
        return path.removeprefix("a/b/")

    partial = _Target(Target(), out).begin(Entry("a/b/f", Kind.FILE))
    partial.missing(5)
    partial.write_at(b"x", 1)
    partial.writev_at([b"x"], 2)
    partial.done(0, 3)
    partial.read_at(4, 5)
    partial.discard()
    partial.close()
    partial.commit(Entry("a/b/f", Kind.FILE))
    assert heard == [
        ("begin", "f"), ("missing", 5), ("write_at", b"x", 1), ("writev_at", [b"x"], 2), ("done", 0, 3),
        ("read_at", 4, 5), ("discard",), ("close",), ("commit", Entry("f", Kind.FILE)),
    ]  # fmt: skip


def test_below_a_bucket_files_may_be_anywhere():
    class Buckets(MemoryStore):
        @property
        def features(self):
            features = super().features
            return replace(features, names=replace(features.names, top_files=False))

    assert not Buckets().features.names.top_files
    assert PrefixStore(Buckets(), "bucket").features.names.top_files


def test_a_tree_is_mapped_and_that_of_the_root_is_the_directory(memory, view):
    memory.write("a/b/d/f", BytesSource(b"1"))
    memory.tree = lambda path: iter([memory.stat(path), *memory.walk(path)])
    assert [entry.path for entry in view.tree("d")] == ["d", "d/f"]
    assert [(entry.path, entry.is_dir) for entry in view.tree("")] == [("", True), ("d", True), ("d/f", False)]
