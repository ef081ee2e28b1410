"""The flags that choose files: their order, what is wrong in them, and the commands that take them."""

import os
import subprocess

import pytest

from tests.cli.conftest import tree
from tests.cli.test_environment import CFTOOL


@pytest.fixture
def work(here):
    tree(here / "a", **{"x.jpg": "1", "y.txt": "22", "d__z.jpg": "333", "d__w": "4", "no__q": "5"})
    return here


def names(run, *flags):
    return run("ls", "-R", "-f", "a", *flags).lines


def test_flags_work_in_the_order_of_the_command_line(run, work):
    assert names(run, "--exclude", "x.jpg", "--include", "*.jpg") == ["d/z.jpg"]
    assert names(run, "--include", "*.jpg", "--exclude", "x.jpg") == ["d/z.jpg", "x.jpg"]
    assert names(run, "--exclude=*.jpg", "--filter", "!", "--exclude=d/") == ["no/q", "x.jpg", "y.txt"]
    assert names(run, "--include=nothing", "--filter=!") == ["d/w", "d/z.jpg", "no/q", "x.jpg", "y.txt"]


def test_files_of_rules_have_remarks_and_stand_in_the_order_too(run, work):
    (work / "rules").write_bytes(b"\xef\xbb\xbf# all but\r\n; remarks\r\n- d/\r\n\r\n+ *.jpg\r\n- *\r\n")
    (work / "patterns").write_text("*.txt\n/no/\n")
    assert names(run, "--filter-from", "rules") == ["x.jpg"]
    assert names(run, "--exclude-from", "patterns", "--exclude", "w") == ["d/z.jpg", "x.jpg"]
    assert names(run, "--include-from", "patterns") == ["y.txt"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["+ ok", "nonsense"], "rules:2: 'nonsense' is no rule; write it as '+ PATTERN', '- PATTERN' or '!'"),
        (["# x", "", "- a[b"], "rules:3: the pattern 'a[b' has a [ without its ]"),
        (["- {{a(}}"], "rules:1: the pattern '{{a(}}' has a ( without its )"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_its_place(run, work, lines, said):
    (work / "rules").write_text("\n".join(lines))
    assert run("ls", "a", "--filter-from", "rules", code=2).err == f"cftool: {said}\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--filter", "a"], "--filter: 'a' is no rule"),
        (["--include", "a***"], "--include: the pattern 'a***' has more than two stars"),
        (["--include", ""], "--include: the pattern is empty"),
        (["--exclude", ""], "--exclude: the pattern is empty"),
        (["--filter", "- "], "--filter: the pattern is empty"),
        (["--filter-from", "gone"], "--filter-from gone: No such file or directory"),
        (["--files-from", "gone"], "--files-from gone: No such file or directory"),
        (["--min-size", "big"], "--min-size"),
        (["--max-age", "old"], "--max-age"),
        (["--min-age", "2d", "--max-age", "1d"], "nothing can be selected"),
        (["--min-size", "2k", "--max-size", "2000b"], "--min-size is larger than --max-size: nothing can be selected"),
        (["--files-from", "-", "--exclude", "x"], "cannot be used together"),
        (["--bwlimit", "08:00"], "08:00"),
    ],
)
def test_what_is_wrong_in_a_flag_is_one_line(run, work, flags, said):
    ran = run("cp", "-r", "a", "b", *flags, code=2)
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert not (work / "b").exists()


def test_sizes_and_ages(run, work):
    os.utime(work / "a/x.jpg", (1_700_000_000, 1_700_000_000))
    assert names(run, "--min-size", "2", "--max-size", "2b") == ["y.txt"]
    assert names(run, "--min-age", "1d") == names(run, "--min-age", "2023-12-01") == ["x.jpg"]
    assert "x.jpg" not in names(run, "--max-age", "2023-12-01T00:00", "--min-size", "off")
    assert names(run, "--max-age", "0s") == []


def test_a_list_from_standard_input(work):
    done = subprocess.run(
        [CFTOOL, "cp", "-r", "a", "b", "--files-from", "-"],
        input=b"d/z.jpg\n# remark\n /x.jpg \nmissing\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert b"cftool: missing: --files-from names it, and it is not there" in done.stderr
    assert sorted(path.name for path in (work / "b").rglob("*") if path.is_file()) == ["x.jpg", "z.jpg"]
    closed = subprocess.run(
        [CFTOOL, "ls", "a", "--files-from", "-"], capture_output=True, check=False, preexec_fn=lambda: os.close(0)
    )
    assert closed.returncode in {0, 2}
    assert b"Traceback" not in closed.stderr


def test_every_command_that_looks_at_trees_takes_them(run, work):
    assert run("du", "a", "--include", "*.jpg").lines == ["4\t2\ta"]
    assert run("ls", "a", "--exclude", "no/").lines == ["d/", "x.jpg", "y.txt"]
    assert run("ls", "--depth", "2", "-f", "a", "--include", "*.jpg").lines == ["d/z.jpg", "x.jpg"]
    run("cp", "-r", "a", "b", "--exclude", "*.txt")
    run("check", "a", "b", "--exclude", "*.txt")
    assert run("check", "a", "b", code=6).lines == ["+ y.txt"]
    run("rm", "-r", "b", "--exclude", "*.jpg")
    assert sorted(path.name for path in (work / "b").rglob("*") if path.is_file()) == ["x.jpg", "z.jpg"]
    assert (work / "b/no").is_dir()
    run("rm", "b/x.jpg", "--exclude", "*.jpg")
    assert (work / "b/x.jpg").exists()


def test_a_list_that_names_what_is_not_there_fails_a_listing(run, work):
    (work / "list").write_text("x.jpg\nmissing\nd\n")
    ran = run("ls", "-R", "a", "--files-from", "list", code=3)
    assert ran.lines == ["x.jpg"]
    assert "missing" in ran.err
    assert "is a directory" in ran.err


def test_delete_excluded(run, work):
    run("cp", "-r", "a", "b")
    run("sync", "a", "b", "--exclude", "*.jpg")
    assert (work / "b/x.jpg").exists()
    run("sync", "a", "b", "--exclude", "*.jpg", "--delete-excluded")
    assert sorted(path.name for path in (work / "b").rglob("*") if path.is_file()) == ["q", "w", "y.txt"]


def test_a_list_may_be_as_find_writes_it(run, work):
    (work / "list").write_text("./x.jpg\n./d/z.jpg\n")
    assert names(run, "--files-from", "list") == ["d/z.jpg", "x.jpg"]
