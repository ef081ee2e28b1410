"""What filters select, what is listed for it, and that filters never make a sync delete what they leave out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cftool.core.types import Cap, Entry, Kind
from cftool.transfer.events import Differs, Failed
from cftool.transfer.select import Filter, Names, Rule
from tests.transfer.kit import T0, Fitted, held, make, put


def here(side) -> Path:
    return Path(side.local_root)


def rules(*texts: str) -> Names:
    return Names(Rule(include=text[0] == "+", pattern=text[2:]) for text in texts)


def by(*texts: str, **more) -> Filter:
    return Filter(rules(*texts) if texts else None, **more)


TREE = ["a", "b.jpg", "d/a", "d/b.jpg", "d/e/a", "node_modules/x/y", "s/node_modules/z", "t/b.jpg", "t/u/v/w"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], TREE),
        (["- *.jpg"], ["a", "d/a", "d/e/a", "node_modules/x/y", "s/node_modules/z", "t/u/v/w"]),
        (["+ *.jpg", "- **"], ["b.jpg", "d/b.jpg", "t/b.jpg"]),
        (["- /d/**", "+ *.jpg", "- *"], ["b.jpg", "t/b.jpg"]),
        (["+ *.jpg", "- /d/**", "- *"], ["b.jpg", "d/b.jpg", "t/b.jpg"]),
        (["- node_modules/"], ["a", "b.jpg", "d/a", "d/b.jpg", "d/e/a", "t/b.jpg", "t/u/v/w"]),
        (["- node_modules/**", "- d/", "- t/"], ["a", "b.jpg"]),
        (["+ /d/", "- *"], []),
        (["+ /d/*", "- *"], ["d/a", "d/b.jpg"]),
        (["- *", "+ *"], []),
        (["+ d/**", "- **"], ["d/a", "d/b.jpg", "d/e/a"]),
    ],
)
def test_the_first_rule_that_matches_decides(texts, expected):
    names = rules(*texts)
    assert [path for path in TREE if names.file(path)] == expected


@pytest.mark.parametrize(
    ("texts", "closed"),
    [
        (["- /d/**"], ["d", "d/e"]),
        (["- node_modules/"], ["node_modules", "node_modules/x", "s/node_modules"]),
        (["+ *.jpg", "- node_modules/"], []),
        (["- node_modules/", "+ *.jpg", "- *"], ["node_modules", "node_modules/x", "s/node_modules"]),
        (["+ /d/*.jpg", "- **"], ["d/e", "node_modules", "node_modules/x", "s", "s/node_modules", "t", "t/u", "t/u/v"]),
        (["+ /d/{a,e/**}", "- *"], ["node_modules", "node_modules/x", "s", "s/node_modules", "t", "t/u", "t/u/v"]),
        (["- *"], ["d", "d/e", "node_modules", "node_modules/x", "s", "s/node_modules", "t", "t/u", "t/u/v"]),
        (["- {{(?s)(d|t)/.*}}"], ["d", "d/e", "t", "t/u", "t/u/v"]),
        (["- d/*"], []),
        (["- *.tmp"], []),
        (["- /*"], []),
        (["- *.{tmp,bak}"], []),
    ],
)
def test_directories_of_which_nothing_can_take_part_are_known(texts, closed):
    directories = ["d", "d/e", "node_modules", "node_modules/x", "s", "s/node_modules", "t", "t/u", "t/u/v"]
    names = rules(*texts)
    assert [path for path in directories if not names.directory(path)] == closed
    assert names.prunes is bool(closed)


WORDS = ["a", "b", "*", "**", "/", "?", "{a,b}", "[^a]", "*.x", "a/**", "b/", "/a/*", "{{a|b/.*}}", "**/a"]


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)), max_size=4),
    st.lists(st.lists(st.sampled_from(["a", "b", "ab", "c.x"]), min_size=1, max_size=4), min_size=1, max_size=20),
)
def test_no_file_that_takes_part_is_in_a_directory_that_is_passed_over(drawn, paths):
    made = [Rule(include, "".join(words).replace("***", "**").replace("****", "**")) for include, words in drawn]
    try:
        names = Names(made)
    except ValueError:  # three stars after all
        return
    for parts in paths:
        path = "/".join(parts)
        if names.file(path):
            assert all(names.directory("/".join(parts[:depth])) for depth in range(1, len(parts)))


def test_many_directories_do_not_fill_the_memory(monkeypatch):
    from cftool.transfer import select

    monkeypatch.setattr(select, "_MEMO", 10)
    names = rules("- *.tmp", "- /x/**")
    assert all(names.file(f"d{number}/e/f") and not names.file(f"d{number}/f.tmp") for number in range(100))
    assert len(names._memo) <= 14


def test_thousands_of_rules_are_one_walk_over_the_name():
    names = rules(*(f"- /dir{number}/**" for number in range(3000)), "+ *.jpg", "- *")
    assert [names.file(path) for path in ("dir7/a.jpg", "dir2999/x/a.jpg", "dir3000/a.jpg", "a")] == [
        False, False, True, False,
    ]  # fmt: skip
    assert not names.directory("dir1234")


# ---- sizes, ages, lists


def entry(path="f", size=10, modified=T0, **more):
    return Entry(path, Kind.FILE, size, modified, **more)


def test_sizes_include_both_ends():
    chosen = by(min_size=10, max_size=20)
    assert [size for size in (9, 10, 20, 21, None) if chosen.file(entry(size=size))] == [10, 20, None]


def test_ages_look_at_the_files_own_time_and_else_at_the_services():
    chosen = by(oldest_ns=T0, newest_ns=T0 + 10)
    assert [t for t in (T0 - 1, T0, T0 + 10, T0 + 11) if chosen.file(entry(modified=t))] == [T0, T0 + 10]
    assert chosen.file(entry(modified=None, stored_ns=T0))
    assert not chosen.file(entry(modified=None, stored_ns=T0 - 1))
    assert chosen.file(entry(modified=None))


def test_a_list_needs_its_directories_only():
    chosen = Filter(listed=frozenset({"a", "d/e/f"}))
    assert [path for path in ("", "d", "d/e", "d/f", "x") if chosen.directory(path)] == ["", "d", "d/e"]
    assert [path for path in ("a", "b", "d/e/f", "d/e") if chosen.file(entry(path))] == ["a", "d/e/f"]


# ---- in the engine


def scans(store: Fitted) -> set[str]:
    return {path for op, path in store.log if op == "scan"}


@pytest.mark.parametrize("select", [by("- /no/", "- deep/**"), Filter(listed=frozenset({"f", "d/g"}))])
def test_excluded_directories_are_not_listed_on_either_side(between, select):
    for side in (between.src, between.dst):
        for path in ("f", "d/g", "no/h", "d/deep/i", "d/deep/er/j"):
            put(side.store, path)
    between.sync(select=select)
    assert scans(between.src.store) == scans(between.dst.store) == {"", "d"}
    assert between.src.store.calls["walk"] == 0


def test_a_filter_that_spares_no_directory_leaves_the_recursive_listing(between):
    put(between.src.store, "d/f")
    between.sync(select=by("- *.tmp", "+ *.jpg"))
    assert (between.src.store.calls["walk"], scans(between.src.store)) == (1, set())


def test_an_excluded_directory_that_may_not_be_read_is_no_error(across):
    make(here(across.src), {"f": b"1", "no/g": b"2"})
    inner = across.src.store
    spoiled = Fitted(inner)

    def refuse(op, path):
        from cftool.core.errors import PermissionDenied

        if path == "no":
            raise PermissionDenied("not for you", path=path)

    spoiled.before = refuse
    across.src = type(across.src)(spoiled, "src", across.src.key, None)
    summary = across.copy(select=by("- /no/**"))
    assert (summary.copied, summary.errors) == (1, {})


class TestDeletion:
    @pytest.fixture
    def pair(self, up):
        make(here(up.src), {"keep.txt": b"1", "no/x": b"1"})
        for path in ("keep.txt", "old.txt", "no/x", "no/y", "only/z"):
            put(up.dst.store, path, b"1")
        return up

    def test_what_a_filter_leaves_out_stays(self, pair):
        assert pair.sync(select=by("- /no/", "- only/**")).deleted == 1
        assert sorted(held(pair.dst.store)) == ["keep.txt", "no/x", "no/y", "only/z"]

    def test_delete_excluded_deletes_it(self, pair):
        assert pair.sync(select=by("- /no/", "- only/**"), delete_excluded=True).errors == {}
        assert sorted(held(pair.dst.store)) == ["keep.txt"]

    def test_delete_excluded_spares_what_the_source_selects(self, pair):
        pair.sync(select=by("+ /no/x", "- /no/**"), delete_excluded=True)
        assert sorted(held(pair.dst.store)) == ["keep.txt", "no/x"]

    def test_a_list_deletes_nothing_else(self, pair):
        assert pair.sync(select=Filter(listed=frozenset({"keep.txt"}))).deleted == 0
        assert len(held(pair.dst.store)) == 5

    def test_a_size_protects_at_the_destination(self, pair):
        put(pair.dst.store, "big", b"x" * 100)
        summary = pair.sync(select=by(max_size=50))
        assert "big" in held(pair.dst.store)
        assert "old.txt" not in held(pair.dst.store)
        assert summary.skipped["excluded"] == 1

    def test_an_age_protects_at_the_destination_by_one_request(self, pair):
        put(pair.dst.store, "young", b"1", modified_ns=T0 + 1000)
        pair.sync(select=by(newest_ns=T0))
        assert "young" in held(pair.dst.store)
        assert "old.txt" not in held(pair.dst.store)


def test_a_file_that_is_replaced_is_seen_although_its_old_size_is_excluded(up):
    make(here(up.src), {"f": b"small"})
    put(up.dst.store, "f", b"x" * 100)
    assert up.sync(select=by(max_size=50)).copied == 1
    assert held(up.dst.store) == {"f": b"small"}
    make(here(up.src), {"f": b"y" * 100})
    summary = up.sync(select=by(max_size=50))
    assert (summary.copied, summary.deleted, summary.skipped) == (0, 0, {"excluded": 1})
    assert held(up.dst.store) == {"f": b"small"}


def test_ages_of_a_store_whose_listing_has_none_cost_one_request_each(down):
    put(down.src.store, "old", modified_ns=T0)
    put(down.src.store, "new", modified_ns=T0 + 100)
    put(down.src.store, "large", b"x" * 100, modified_ns=T0)
    summary = down.copy(select=by("- large", oldest_ns=T0 + 50))
    assert {path.name for path in here(down.dst).iterdir()} == {"new"}
    assert (summary.skipped, [p for op, p in down.src.store.log if op == "stat"].count("large")) == ({"excluded": 2}, 0)


@pytest.mark.parametrize("without", [Cap.NONE, Cap.WALK])
def test_names_of_a_list_that_are_not_there_are_errors_and_nothing_is_deleted(up, without):
    make(here(up.src), {"f": b"1", "d/g": b"2"})
    put(up.dst.store, "gone")
    summary = up.sync(select=Filter(listed=frozenset({"f", "gone", "d", "no/such"})))
    assert {(event.path, event.kind) for event in up.told(Failed)} == {
        ("gone", "not_found"), ("d", "is_a_directory"), ("no/such", "not_found"),
    }  # fmt: skip
    assert held(up.dst.store) == {"f": b"1", "gone": b"x"}
    assert (summary.copied, summary.withheld) == (1, 1)


def test_check_compares_what_is_selected(up):
    make(here(up.src), {"same": b"1", "other": b"1", "no/x": b"1", "large": b"1" * 100})
    for path, data in (("same", b"1"), ("other", b"2"), ("no/y", b"1"), ("much", b"1" * 90), ("large", b"2")):
        put(up.dst.store, path, data)
    up.check(select=by("- no/", max_size=50))
    assert [(event.sign, event.path) for event in up.told(Differs)] == [("*", "other")]
    up.check(select=Filter(listed=frozenset({"same", "missing", "no/y"})))
    assert [(event.path, event.kind) for event in up.told(Failed)] == [("missing", "not_found"), ("no/y", "not_found")]
    assert [(event.sign, event.path) for event in up.told(Differs)] == [("-", "no/y")]


class Odd:
    """A selection of another make: two methods are all that is asked for."""

    def file(self, entry):
        return not entry.path.endswith("1")

    def directory(self, path):
        return path != "no"


def test_a_selection_of_another_make_is_obeyed(between):
    for path in ("f1", "f2", "no/f2", "d/f2"):
        put(between.src.store, path)
    put(between.dst.store, "old1")
    put(between.dst.store, "old2")
    between.sync(select=Odd())
    assert sorted(held(between.dst.store)) == ["d/f2", "f2", "old1"]


def test_a_single_file_is_selected_by_its_name(across):
    from cftool.transfer import api
    from cftool.transfer.options import Options

    make(here(across.src), {"f.tmp": b"1"})
    for texts, copied in ((["- *.tmp"], 0), (["- *.bak"], 1)):
        summary = api.copy_file(
            across.src, "f.tmp", across.dst, "g", Options(select=by(*texts)), across.around(), across.events.append
        )
        assert summary.copied == copied
    assert summary.skipped == {}


def test_removal_of_selected_files_leaves_directories(up):
    from cftool.transfer import api

    for path in ("a.tmp", "a", "d/b.tmp", "d/b", "no/c.tmp"):
        put(up.dst.store, path)
    up.src, up.dst = up.dst, up.src
    summary = up.run(lambda src, _dst, *more: api.remove_selected(src, *more), select=by("- /no/", "+ *.tmp", "- *"))
    assert (summary.deleted, sorted(held(up.src.store))) == (2, ["a", "d/b", "no/c.tmp"])
    summary = up.run(
        lambda src, _dst, *more: api.remove_selected(src, *more), select=Filter(listed=frozenset({"a", "x"}))
    )
    assert (summary.deleted, summary.errors) == (1, {"not_found": 1})


def test_the_total_is_told_before_the_last_files_are_there(between):
    """So that the display does not say that it is scanning while hours of copying are left."""
    from cftool.transfer.events import Copied, Scanned

    for number in range(3):
        put(between.src.store, f"f{number}")
    between.copy(transfers=1)
    kinds = [
        "total" if isinstance(event, Scanned) and event.complete else "copied"
        for event in between.events
        if isinstance(event, Copied) or (isinstance(event, Scanned) and event.complete)
    ]
    assert kinds.index("total") < len(kinds) - kinds[::-1].index("copied") - 1


def test_directories_of_a_service_are_read_several_at_once_and_told_in_order(between):
    """Two listings wait for each other: one after the other they would never end."""
    import threading

    from cftool.transfer import scan

    store = between.src.store
    for number in range(40):
        for name in ("f", "x/g", "y/z/h"):
            put(store, f"d{number:02}/{name}")
    plain = list(scan.Listing(store, scan.How(), scan.Chunk()).batches())
    together = threading.Barrier(2, timeout=30)
    store.before = lambda op, path: together.wait() if op == "scan" and path in {"d00", "d01"} else None
    store.log.clear()
    store._features = store.features.__class__(**{**_fields(store.features), "connections": 4})
    select = by("- /never/**")
    found = list(scan.Listing(store, scan.How(select=select), scan.Chunk()).batches())
    assert [key for batch in found for key, _ in batch] == [key for batch in plain for key, _ in batch]
    assert len(scans(store)) == sum(op == "scan" for op, _ in store.log) == 1 + 40 * 4


def test_a_directory_that_fails_ahead_of_its_turn_is_told_in_its_turn(between):
    from cftool.core.errors import PermissionDenied, TemporaryError
    from cftool.transfer import scan

    store = between.src.store
    for number in range(20):
        put(store, f"d{number:02}/f")
    store._features = store.features.__class__(**{**_fields(store.features), "connections": 4})

    def refuse(kind):
        def before(op, path):
            if (op, path) == ("scan", "d07"):
                raise kind("no", path=path)

        return before

    chunk = scan.Chunk()
    store.before = refuse(PermissionDenied)
    found = list(scan.Listing(store, scan.How(select=by("- /never/**")), chunk).batches())
    assert ([problem.path for problem in chunk.problems], sum(map(len, found))) == (["d07"], 39)
    store.before = refuse(TemporaryError)
    with pytest.raises(TemporaryError):
        list(scan.Listing(store, scan.How(select=by("- /never/**")), scan.Chunk()).batches())


def test_a_file_whose_time_is_asked_for_may_be_gone_and_any_other_error_counts(down):
    from cftool.core.errors import NotFound, PermissionDenied

    for name in ("a", "b"):
        put(down.src.store, name)

    def refuse(kind):
        def before(op, path):
            if (op, path) == ("stat", "a"):
                raise kind("no", path=path)

        return before

    down.src.store.before = refuse(NotFound)
    summary = down.copy(select=by(newest_ns=T0))
    assert (summary.errors, [path.name for path in here(down.dst).iterdir()]) == ({}, ["b"])  # by the service's time
    down.src.store.before = refuse(PermissionDenied)
    assert down.sync(select=by(newest_ns=T0)).errors == {"permission_denied": 1}


def test_a_single_file_that_is_left_out_is_not_removed(up):
    from cftool.transfer import api

    put(up.dst.store, "f.tmp")
    for texts, left in ((["- *.tmp"], 1), (["- x"], 0)):
        summary = up.run(lambda _src, dst, *more: api.remove_tree(dst, "f.tmp", *more), select=by(*texts))
        assert (len(held(up.dst.store)), sum(summary.skipped.values())) == (left, left)


def test_removal_by_a_list_that_is_interrupted_says_nothing_of_what_is_missing(up):
    from cftool.transfer import api

    put(up.dst.store, "a")
    up.cancelled = lambda: True
    summary = up.run(
        lambda _src, dst, *more: api.remove_selected(dst, *more), select=Filter(listed=frozenset({"a", "gone"}))
    )
    assert (summary.stopped, summary.errors) == ("interrupted", {})


def test_a_list_protects_what_else_the_destination_has_from_deletion(down):
    put(down.src.store, "a")
    make(here(down.dst), {"a": b"old", "gone": b"1", "other": b"2"})
    summary = down.sync(select=Filter(listed=frozenset({"a", "gone"})))
    assert (summary.errors, summary.withheld) == ({"not_found": 1}, 1)


def test_a_rule_of_many_states_is_taken_for_one_that_may_close_directories():
    names = rules("- {{(a|b)*a(a|b){9}}}", "- /x/**")
    assert names.prunes
    assert names.directory("y")
    assert not names.directory("x")


def _fields(features):
    return {name: getattr(features, name) for name in features.__dataclass_fields__}
