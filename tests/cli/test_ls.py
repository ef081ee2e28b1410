"""`cftool ls`: each flag, in each form, over a small tree whose every byte is known."""

import os
import time

import pytest

from cftool.cli import listing
from cftool.cli.listing import _sorted
from cftool.core.types import Entry, Kind
from tests.cli.conftest import tree


@pytest.fixture
def data(here):
    tree(here / "t", b="22", a__y="1", a__sub__z="333", c="")
    (here / "t/empty").mkdir()
    for number, name in enumerate(("t/c", "t/b", "t/a/y", "t/a/sub/z")):
        os.utime(here / name, ns=(10**18 + number * 10**9, 10**18 + number * 10**9))
    return here / "t"


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["a/", "b", "c", "empty/"]),
        (["-d"], ["a/", "empty/"]),
        (["-f"], ["b", "c"]),
        (["-R"], ["a/", "a/sub/", "a/sub/z", "a/y", "b", "c", "empty/"]),
        (["-R", "-f"], ["a/sub/z", "a/y", "b", "c"]),
        (["-Rd"], ["a/", "a/sub/", "empty/"]),
        (["--depth", "1"], ["a/", "b", "c", "empty/"]),
        (["--depth", "2"], ["a/", "a/sub/", "a/y", "b", "c", "empty/"]),
        (["-R", "--depth", "9"], ["a/", "a/sub/", "a/sub/z", "a/y", "b", "c", "empty/"]),
        (["--reverse"], ["empty/", "c", "b", "a/"]),
        (["-Rf", "--sort", "size"], ["a/sub/z", "b", "a/y", "c"]),
        (["-Rf", "--sort", "size", "--reverse"], ["c", "a/y", "b", "a/sub/z"]),
        (["-Rf", "--sort", "time"], ["a/sub/z", "a/y", "b", "c"]),
        (["-Rf", "--sort", "time", "--reverse"], ["c", "b", "a/y", "a/sub/z"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("-") else "",
)
def test_names_and_their_order(run, data, flags, expected):
    assert run("ls", *flags, data).lines == expected


def test_the_working_directory_needs_its_dot(run, data, monkeypatch):
    monkeypatch.chdir(data)
    assert run("ls", ".").lines == ["a/", "b", "c", "empty/"]
    assert run("ls").out == b""  # the configured remotes


def test_long_lines_have_size_local_time_and_name(run, data):
    (line,) = run("ls", "-l", "-f", "--sort", "size", data).lines[:1]
    assert line.split() == ["2", "2001-09-09", "01:46:41", "b"]
    assert run("ls", "-l", "-d", data).lines[0].split() == ["-", "-", "a/"]


def test_human_sizes(run, data):
    (data / "big").write_bytes(bytes(3_565_158))
    assert run("ls", "-h", data).lines[2].split()[0] == "3.4M"


def test_hashes_are_computed_for_local_files(run, data):
    lines = run("ls", "-f", "--hash", "md5", data).lines
    assert lines == ["b6d767d2f8ed5d21a44b0e5886680cb9  b", "d41d8cd98f00b204e9800998ecf8427e  c"]
    (event, _) = run("ls", "-f", "--json", "--hash", "sha256", data).events
    assert len(event["hashes"]["sha256"]) == 64
    assert "there is" in run("ls", "--hash", "md6", data, code=2).err


def test_a_file_is_shown_itself(run, data):
    assert run("ls", data / "b").lines == ["b"]
    assert run("ls", "--hash", "md5", data / "b").lines == ["b6d767d2f8ed5d21a44b0e5886680cb9  b"]
    assert run("ls", f"{data}/b/", code=1).out == b""


def test_what_is_not_there_is_3_and_shows_nothing(run, data):
    ran = run("ls", data / "missing", code=3)
    assert (ran.out, ran.err) == (b"", f"cftool: {data}/missing: no such file or directory\n")


def test_several_addresses_have_headings_and_one_that_fails_stops_no_other(run, data):
    ran = run("ls", "t/a", "t/missing", "t/empty", "t/b", code=3)
    assert ran.lines == ["t/a:", "sub/", "y", "", "t/empty:", "", "t/b"]
    assert "t/missing" in ran.err


def test_files_among_several_addresses_are_named_as_they_were_typed(run, data):
    assert run("ls", "t/b", "t/a", "t/c", "t/b").lines == ["t/b", "", "t/a:", "sub/", "y", "", "t/c", "t/b"]
    assert run("ls", "-0", "t/b", "t/a").out == b"t/b\0sub/\0y\0"
    assert run("ls", "--hash", "md5", "t/b", "t/c").lines[0] == "b6d767d2f8ed5d21a44b0e5886680cb9  t/b"


@pytest.mark.parametrize("words", [("ls", "-a"), ("ls", "--all"), ("ls", "-1"), ("tree", "-a"), ("tree", "--all")])
def test_flags_of_habit_change_nothing(run, data, words):
    (data / ".hidden").write_text("")
    assert run(*words, data).lines == run(words[0], data).lines
    assert any(".hidden" in line for line in run(*words, data).lines)


@pytest.mark.parametrize("flag", ["-s", "--summarize", "-sh"])
def test_du_is_a_sum_always(run, data, flag):
    assert run("du", flag, data).lines == run("du", *(["-h"] if "h" in flag else []), data).lines


def test_a_link_that_leads_nowhere_is_said_to(run, here):
    (here / "link").symlink_to("gone")
    for words in (("ls", "link"), ("stat", "link"), ("cat", "link"), ("cp", "link", "copy")):
        assert run(*words, code=3).err.startswith("cftool: link: the link leads nowhere\n")


def test_nul_separated_names_are_exact(run, data):
    (data / "new\nline").write_text("")
    assert run("ls", "-f", "-0", data).out == b"b\0c\0new\nline\0"


def test_names_that_are_no_utf8_are_exact_bytes(run, data):
    os.close(os.open(os.fsencode(data / "empty") + b"/x\xff", os.O_CREAT | os.O_WRONLY))
    assert run("ls", data / "empty").out == b"x\xff\n"
    (event,) = run("ls", "--json", data / "empty").events
    assert os.fsencode(event["path"]) == b"x\xff"


def test_json_entries(run, data):
    events = run("ls", "--json", data).events
    assert [event["path"] for event in events] == ["a", "b", "c", "empty"]
    b = events[1]
    version = b.pop("version")
    assert version
    assert b == {
        "v": 1,
        "event": "entry",
        "path": "b",
        "name": "b",
        "is_dir": False,
        "bytes": 2,
        "modified": "2001-09-09T01:46:41Z",
        "hashes": {},
    }
    assert events[0]["is_dir"]
    assert events[0]["bytes"] is None


def test_links_are_shown_and_not_entered(run, data):
    (data / "link").symlink_to("a")
    assert run("ls", "-R", data).lines[-1] == "link"
    assert [event["kind"] for event in run("ls", "--json", data).events if "kind" in event] == ["link"]
    assert run("ls", data / "link").lines == ["sub/", "y"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_directory_that_cannot_be_read_is_named_and_the_rest_is_shown(run, data):
    (data / "a/sub").chmod(0)
    ran = run("ls", "-R", data, code=4)
    (data / "a/sub").chmod(0o755)
    assert ran.lines == ["a/", "a/sub/", "a/y", "b", "c", "empty/"]
    assert "a/sub" in ran.err


@pytest.mark.parametrize("reverse", [False, True])
def test_more_entries_than_memory_are_sorted_on_disk(monkeypatch, reverse):
    monkeypatch.setattr(listing, "_IN_MEMORY", 10)
    names = [f"{number * 7919 % 1000:04d}"[: 1 + number % 4] + str(number) for number in range(95)]
    entries = [Entry(name, Kind.FILE, size=len(name)) for name in names]
    for key in (listing._by_name, listing._by_size):
        found = [entry.path for entry in _sorted(iter(entries), key, reverse=reverse)]
        assert found == [entry.path for entry in sorted(entries, key=key, reverse=reverse)]


def test_unknown_sizes_and_times_come_last():
    entries = [Entry("a", Kind.FILE), Entry("b", Kind.FILE, size=0), Entry("c", Kind.FILE, size=10**20)]
    assert [entry.path for entry in sorted(entries, key=listing._by_size)] == ["c", "b", "a"]
    dated = [Entry("a", Kind.FILE), Entry("b", Kind.FILE, stored_ns=-5), Entry("c", Kind.FILE, modified_ns=5)]
    assert [entry.path for entry in sorted(dated, key=listing._by_time)] == ["c", "b", "a"]
