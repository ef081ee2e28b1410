"""The merge against plain dictionaries, the order of names, and names that fold to one."""

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from cftool.core import paths
from cftool.core.types import Entry, Features, Kind, NameRules
from cftool.transfer.merge import Folding, Twins, collapse, exact_key, merge
from cftool.transfer.spool import Sorter, Spool

keys = st.dictionaries(st.binary(min_size=1, max_size=4), st.integers(), max_size=12)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=4).filter(
    lambda name: name not in {".", ".."}
)


@seed(1)
@given(keys, keys, keys)
def test_every_key_comes_once_in_order_with_what_each_side_has(a, b, rows):
    steps = list(merge(sorted(a.items()), sorted(b.items()), sorted(rows.items())))
    expected = [(key, a.get(key), b.get(key), rows.get(key)) for key in sorted({*a, *b, *rows})]
    assert steps == expected


@seed(2)
@given(st.lists(st.lists(names, min_size=1, max_size=3), max_size=12))
def test_the_exact_key_is_the_order_of_paths(parts):
    for path in ("/".join(names) for names in parts):
        for kind in (Kind.FILE, Kind.DIRECTORY):
            assert exact_key(path, kind) == paths.sort_key(path, is_dir=kind is Kind.DIRECTORY)


def test_a_key_that_ends_in_a_slash_and_is_a_file_is_not_the_directory():
    directory, file = exact_key("a", Kind.DIRECTORY), exact_key("a/", Kind.FILE)
    assert directory < file < exact_key("a/\x01", Kind.FILE)


def entry(path, kind=Kind.FILE, size=1):
    return Entry(path, kind, size)


def folding(**rules):
    return Folding.of(Features(), Features(names=NameRules(**rules)))


def test_nothing_folds_where_both_sides_tell_names_apart():
    assert not folding()
    assert folding().key_of() is exact_key


@pytest.mark.parametrize(
    ("rules", "one", "other"),
    [
        ({"case_sensitive": False}, "Straße/A", "STRASSE/a"),
        ({"unicode_form": "NFC"}, "u\u0308", "\xfc"),
        ({"case_sensitive": False, "unicode_form": "NFC"}, "U\u0308", "\xfc"),
    ],
)
def test_names_that_a_side_takes_for_one_have_one_key(rules, one, other):
    key = folding(**rules).key_of()
    assert key(one, Kind.FILE) == key(other, Kind.FILE)
    assert exact_key(one, Kind.FILE) != exact_key(other, Kind.FILE)


def test_twins_come_as_one_step():
    a, b, c = entry("A"), entry("a"), entry("b")
    assert list(collapse([(b"a", a), (b"a", b), (b"b", c)])) == [(b"a", Twins((a, b))), (b"b", c)]
    assert list(collapse([])) == []


def test_what_does_not_take_part_is_nobodys_twin():
    a, b = entry("A", size=0), entry("a")
    assert list(collapse([(b"a", a), (b"a", b)], lambda entry: entry.size == 0)) == [(b"a", b)]
    assert list(collapse([(b"a", a), (b"a", a)], lambda entry: entry.size == 0)) == [(b"a", a)]


full = st.builds(
    Entry,
    names,
    st.sampled_from(Kind),
    st.none() | st.integers(0, 1 << 50),
    st.none() | st.integers(),
    st.none() | st.integers(),
    st.none() | st.text(max_size=3),
    st.none() | st.text(max_size=3),
    st.dictionaries(st.sampled_from(["md5", "sha256"]), st.text("0123456789abcdef", max_size=4)),
)


@seed(3)
@given(st.lists(full, max_size=30), st.integers(1, 7))
def test_a_spool_gives_back_what_it_got_both_ways(entries, in_memory):
    keyed = [(exact_key(entry.path, entry.kind), entry) for entry in entries]
    spool = Spool(in_memory=in_memory)
    for key, one in keyed:
        spool.append(key, one)
    assert list(spool) == keyed
    assert list(spool) == keyed
    assert list(reversed(spool)) == keyed[::-1]
    assert len(spool) == len(keyed)
    spool.close()


@seed(4)
@given(st.lists(full, max_size=30, unique_by=lambda entry: entry.path), st.integers(1, 7))
def test_a_sorter_sorts_in_runs(entries, in_memory):
    with Sorter(in_memory=in_memory) as sorter:
        for one in entries:
            sorter.add(exact_key(one.path, one.kind), one)
        found = list(sorter)
    assert found == sorted(
        ((exact_key(one.path, one.kind), one) for one in entries), key=lambda item: (item[0], item[1].path)
    )
    assert sorted(one.path for one in entries) == sorted(one.path for _key, one in found)


def test_names_that_are_no_unicode_survive_the_spool():
    spool = Spool(in_memory=1)
    odd = entry("caf\udce9")
    spool.append(exact_key(odd.path, odd.kind), odd)
    assert list(spool) == [(b"caf\xe9", odd)]
    spool.close()
