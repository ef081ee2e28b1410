"""Canonical paths: what is refused and why, the order of the merge, and names that drive no terminal."""

import os
import random

import pytest

from cftool.core import paths
from cftool.core.errors import InvalidName
from cftool.core.types import Entry, Kind, NameRules

OPAQUE = NameRules(opaque=True)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/a", "empty component"),
        ("a/", "empty component"),
        ("a//b", "empty component"),
        ("/", "empty component"),
        (".", "component '.'"),
        ("..", "component '..'"),
        ("a/../b", "component '..'"),
        ("a/.", "component '.'"),
        ("a\0b", "NUL"),
        ("\udcff", "not valid UTF-8"),
    ],
)
def test_what_is_not_canonical_is_refused_with_the_reason(path, reason):
    assert reason in paths.problem(path)
    with pytest.raises(InvalidName, match=reason) as caught:
        paths.check(path)
    assert caught.value.path == path


@pytest.mark.parametrize("path", ["", "a", "a/b", "...", ".a", "a.", "..a/b..", "a b", "é", "a\nb", "a\\b"])
def test_what_is_canonical_passes_as_it_is(path):
    assert paths.problem(path) is None
    assert paths.check(path) == path


@pytest.mark.parametrize("path", ["", "a//b", "/a", "a/", "../a", "a/./b", "."])
def test_opaque_keys_may_be_anything_but_nul(path):
    assert paths.problem(path, OPAQUE) is None
    assert "NUL" in paths.problem(path + "\0", OPAQUE)


def test_characters_at_the_end_of_a_component():
    rules = NameRules(no_end=" .")
    assert paths.problem("a b/c.d/ e", rules) is None
    for path in ("a ", "a /b", "b/a.", "a./b"):
        assert "ends with" in (paths.problem(path, rules) or "")


def test_forbidden_characters():
    rules = NameRules(forbidden=':"')
    assert paths.problem("a:b", rules) == "contains ':'"
    assert paths.problem("a/b", rules) is None


def test_limits_are_in_bytes():
    rules = NameRules(component_bytes=4, path_bytes=9)
    assert paths.problem("abcd/efgh", rules) is None
    assert paths.problem("abcd/efghi", rules) == "is longer than 9 bytes"
    assert paths.problem("abcde/f", rules) == "has a component longer than 4 bytes"
    assert paths.problem("éé", rules) is None
    assert paths.problem("ééé", rules) == "has a component longer than 4 bytes"
    assert paths.problem("éé/éé/", NameRules(opaque=True, path_bytes=9)) == "is longer than 9 bytes"
    assert paths.problem("ab/cd/ef", NameRules(component_bytes=4)) is None


def test_bytes_that_are_no_utf8_pass_where_the_rules_allow_them():
    rules = NameRules(utf8=False, component_bytes=2)
    assert paths.problem("\udcff\udcfe", rules) is None
    assert "no file name can hold" in paths.problem("\ud800", rules)
    assert paths.problem("\udcff\udcfe\udcfd", rules) == "has a component longer than 2 bytes"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "is empty"), (".", "is '.'"), ("..", "is '..'"), ("a/b", "contains a slash"), ("\0", "contains a NUL")],
)
def test_names_that_an_answer_must_not_hold(name, reason):
    assert paths.component_problem(name) == reason


@pytest.mark.parametrize("name", ["a", "...", " ", "é", "a\nb"])
def test_names_that_an_answer_may_hold(name):
    assert paths.component_problem(name) is None


def test_join_and_parent():
    assert (paths.join("", "a"), paths.join("a/b", "c")) == ("a", "a/b/c")
    assert (paths.parent("a/b/c"), paths.parent("a"), paths.parent("")) == ("a/b", "", "")


def test_is_within():
    assert paths.is_within("a/b", "a")
    assert paths.is_within("a", "a")
    assert paths.is_within("a", "")
    assert not paths.is_within("ab", "a")
    assert not paths.is_within("a", "a/b")


def test_the_order_is_that_of_the_keys_and_depth_first():
    seed = 11
    chooser = random.Random(seed)
    names = ["a", "a-", "a.b", "a0", "b", "é", "\udcff", "A", "~"]
    files = {"/".join(chooser.choices(names, k=chooser.randint(1, 4))) for _ in range(300)}
    directories = {path[:at] for path in files for at in range(len(path)) if path[at] == "/"}
    entries = [Entry(p, Kind.FILE) for p in files - directories] + [Entry(p, Kind.DIRECTORY) for p in directories]
    entries.sort(key=paths.entry_key)
    # Of files alone: the byte order of S3's keys.
    keys = [os.fsencode(e.path) for e in entries if not e.is_dir]
    assert keys == sorted(keys), f"seed {seed}"
    # Depth first: what is below a directory follows it directly.
    position = {e.path: n for n, e in enumerate(entries)}
    for directory in directories:
        below = [position[e.path] for e in entries if e.path.startswith(directory + "/")]
        assert sorted(below) == list(range(position[directory] + 1, position[directory] + 1 + len(below))), (
            f"seed {seed}"
        )


def test_the_root_sorts_first():
    assert paths.sort_key("", is_dir=True) == b""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("right\u202eleft", "right\\u202eleft"),
        ("line\u2028", "line\\u2028"),
        ("byte\udcff", "byte\\xff"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_nothing_that_drives_a_terminal_is_shown(text, shown):
    assert paths.printable(text) == shown
    assert paths.printable(text).isprintable()
