"""Each flag that commands share, shown by each of these commands: what comes out is not what comes out without it."""

import os
import time
from pathlib import Path

import pytest

from tests.cli.conftest import tree

WORDS = {"cp": ("cp", "-r"), "mv": ("mv", "-r"), "sync": ("sync",), "check": ("check",)}
MOVING = ["cp", "mv", "sync"]
COPYING = ["cp", "sync"]
OLD, SMALL, LARGE = {"old.txt", "d/old.txt"}, {"old.txt", "d/old.txt", "d/new"}, {"large.bin"}
ALL = OLD | SMALL | LARGE

# Each selects something else than all.
SELECTION = {
    "--include": ("*.txt", OLD),
    "--exclude": ("*.txt", ALL - OLD),
    "--filter": ("- *.bin", SMALL),
    "--include-from": ("patterns", OLD),
    "--exclude-from": ("patterns", ALL - OLD),
    "--filter-from": ("rules", SMALL),
    "--files-from": ("names", {"d/new"}),
    "--min-size": ("50", LARGE),
    "--max-size": ("50", SMALL),
    "--min-age": ("1d", OLD),
    "--max-age": ("1d", ALL - OLD),
}


def files(root):
    return {
        os.path.relpath(os.path.join(at, name), root)
        for at, _, found in os.walk(root)
        for name in found
        if ".cftool" not in name
    }


@pytest.fixture
def work(here):
    tree(here / "a", **{"old.txt": "1", "d__old.txt": "22", "d__new": "333", "large.bin": "4" * 100})
    tree(here, patterns="*.txt\n", rules="- *.bin\n", names="d/new\n")
    for name in OLD:
        os.utime(here / "a" / name, (time.time() - 200_000,) * 2)
    return here


@pytest.mark.parametrize("flag", SELECTION)
class TestSelection:
    """What a flag chooses is what the command is about, and nothing else."""

    @pytest.mark.parametrize("command", MOVING)
    def test_transfers(self, run, work, command, flag):
        value, chosen = SELECTION[flag]
        run(*WORDS[command], flag, value, "a", "b")
        assert files("b") == chosen
        assert files("a") == (ALL - chosen if command == "mv" else ALL)

    def test_check(self, run, work, flag):
        value, chosen = SELECTION[flag]
        (work / "b").mkdir()
        ran = run("check", flag, value, "a", "b", code=6)
        assert {line[2:] for line in ran.lines if not line.endswith("/")} >= chosen
        assert {line[2:] for line in ran.lines} & (ALL - chosen) == set()

    def test_ls(self, run, work, flag):
        value, chosen = SELECTION[flag]
        assert set(run("ls", "-R", "-f", flag, value, "a").lines) == chosen

    def test_rm(self, run, work, flag):
        value, chosen = SELECTION[flag]
        run("rm", "-r", flag, value, "a")
        assert files("a") == ALL - chosen

    def test_du(self, run, work, flag):
        value, chosen = SELECTION[flag]
        assert run("du", "--json", flag, value, "a").events[0]["files"] == len(chosen)


@pytest.fixture
def pair(here):
    """`f` differs in content alone, `g` in all but the size, `h` is at the source only, `s` is the same."""
    tree(here, a__f="aaa", a__g="aaa", a__h="h", a__s="s", b__f="bbb", b__g="bbb", b__s="s")
    for at in "ab":
        for name in "fs":
            os.utime(here / at / name, (1_600_000_000,) * 2)
    os.utime(here / "a" / "g", (1_600_000_000,) * 2)
    return here


@pytest.mark.parametrize("command", MOVING)
class TestComparison:
    """Which of the files that are on both sides are replaced."""

    @pytest.mark.parametrize(
        ("flag", "replaced"),
        [
            ("-v", {"g", "h"}), ("--checksum", {"f", "g", "h"}), ("--size-only", {"h"}), ("--ignore-existing", {"h"}),
            ("--existing", {"g"}), ("--ignore-times", {"f", "g", "h"}),
        ],
    )  # fmt: skip
    def test_content(self, run, pair, command, flag, replaced):
        run(*WORDS[command], flag, "a", "b")
        there = {name for name in "fgh" if (pair / "b" / name).exists()}
        assert {name for name in there if (pair / "b" / name).read_text() != "bbb"} == replaced

    def test_dry_run(self, run, pair, command):
        run(*WORDS[command], "--dry-run", "a", "b", code=10)
        assert files("a") == {"f", "g", "h", "s"}
        assert files("b") == {"f", "g", "s"}
        assert (pair / "b" / "g").read_text() == "bbb"


def test_check_by_size_only(run, pair):
    (pair / "b" / "h").write_text("h")
    run("check", "a", "b", code=6)
    assert "4 files were compared by size alone: as --size-only says" in run("check", "--size-only", "a", "b").err


@pytest.mark.parametrize("command", MOVING)
class TestWhatIsReplaced:
    """Nothing that a flag keeps is lost."""

    def test_trash(self, run, pair, command):
        run(*WORDS[command], "--trash", "a", "b")
        kept = [os.path.join(at, name) for at, _, found in os.walk(pair / "b" / ".cftool-trash") for name in found]
        assert [Path(name).read_text() for name in kept if name.endswith("/g")] == ["bbb"]

    def test_suffix(self, run, pair, command):
        run(*WORDS[command], "--suffix", ".before", "a", "b")
        assert (pair / "b" / "g.before").read_text() == "bbb"


@pytest.mark.parametrize("command", [*MOVING, "check"])
class TestValues:
    """Values that are none are refused by the flag's name, before anything is done."""

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            ("--transfers", "0"), ("--checkers", "0"), ("--bwlimit", "fast"), ("--max-transfer", "much"),
            ("--max-duration", "long"), ("--retries", "often"), ("--links", "eat"), ("--verify", "never"),
            ("--wait-lock", "soon"), ("--stats", "now"),
        ],
    )  # fmt: skip
    def test_is_refused(self, run, pair, command, flag, value):
        assert flag in run(*WORDS[command], flag, value, "a", "b", code=2).err
        assert files("a") == {"f", "g", "h", "s"}
        assert files("b") == {"f", "g", "s"}

    def test_metrics(self, run, pair, command):
        run(*WORDS[command], "--metrics-file", "metrics", "a", "b", code=None)
        assert "cftool_" in (pair / "metrics").read_text()

    @pytest.mark.parametrize(
        "flag",
        [
            "--dry-run", "--checksum", "--update", "--ignore-existing", "--existing", "--ignore-times", "--trash",
            "--suffix=.b", "--max-transfer=1k", "--max-duration=1h",
        ],
    )  # fmt: skip
    def test_is_accepted(self, run, pair, command, flag):
        """The commands share their flags, so that one set serves a script: where it means nothing, it does nothing."""
        if command == "check":
            before = run("check", "a", "b", code=6)
            assert sorted(run("check", flag, "a", "b", code=6).lines) == sorted(before.lines)
        else:
            run(*WORDS[command], flag, "a", "b", code=None)


@pytest.mark.parametrize("command", MOVING)
def test_a_limit_of_bytes(run, pair, command):
    run(*WORDS[command], "--max-transfer", "1", "--transfers", "1", "a", "b", code=8)
    assert (pair / "a" / "g").read_text() == "aaa"


@pytest.mark.parametrize("command", COPYING)
def test_links_that_are_followed(run, pair, command):
    os.symlink("h", pair / "a" / "link")
    run(*WORDS[command], "a", "b")
    assert not (pair / "b" / "link").exists()
    run(*WORDS[command], "--links", "follow", "a", "b")
    assert (pair / "b" / "link").read_text() == "h"


def test_names_sorted_by_size_time_and_backwards(run, work):
    by_name = ["d/", "large.bin", "old.txt"]
    assert run("ls", "a").lines == by_name
    assert run("ls", "--reverse", "a").lines == by_name[::-1]
    assert [line for line in run("ls", "--sort", "size", "a").lines if line != "d/"] == ["large.bin", "old.txt"]
    (work / "a" / "a-last").write_text("")
    os.utime(work / "a" / "large.bin", (1_600_000_000,) * 2)
    found = [line for line in run("ls", "--sort", "time", "a").lines if line != "d/"]
    assert found in (["large.bin", "old.txt", "a-last"], ["a-last", "old.txt", "large.bin"])


class TestApply:
    """A plan is done with flags of its own."""

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            ("--checkers", "0"),
            ("--retries", "often"),
            ("--wait-lock", "soon"),
            ("--transfers", "0"),
            ("--bwlimit", "fast"),
            ("--verify", "never"),
            ("--stats", "now"),
        ],
    )
    def test_a_value_is_refused(self, run, pair, flag, value):
        run("sync", "--plan", "plan", "a", "b", code=10)
        assert flag in run("apply", flag, value, "plan", code=2).err
        assert files("b") == {"f", "g", "s"}

    def test_metrics(self, run, pair):
        run("sync", "--plan", "plan", "a", "b", code=10)
        run("apply", "--metrics-file", "metrics", "plan")
        assert "cftool_" in (pair / "metrics").read_text()


class TestDeletions:
    """More than half of the files, and more than a hundred of them, are not deleted on a doubt."""

    @pytest.fixture
    def full(self, here):
        tree(here / "a", kept="k")
        tree(here / "b", kept="k", **{f"n{number}": "" for number in range(120)})
        return here

    def test_max_delete(self, run, full):
        run("sync", "a", "b", code=7)
        assert len(files("b")) == 121
        run("sync", "--max-delete", "200", "a", "b")
        assert files("b") == {"kept"}

    def test_a_source_of_another_identity(self, run, full):
        run("sync", "--max-delete", "200", "a", "b")
        os.rename("a", "was")
        tree(full / "a", other="o")
        run("sync", "a", "b", code=7)
        assert files("b") == {"kept", "other"}
        run("sync", "--force-delete", "a", "b")
        assert files("b") == {"other"}
