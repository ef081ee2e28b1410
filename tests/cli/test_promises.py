"""What the table of `shown` names and no other test of the command line would miss."""

import pytest

from tests.cli.conftest import tree


def test_check_reads_the_bytes_where_it_is_asked_to(run, here, fake_s3):
    tree(here / "a", f="content")
    run("sync", "a", "lab:bucket/a")
    assert "GetObject" not in run("check", "a", "lab:bucket/a", "--json").summary["requests"]
    assert run("check", "--download", "a", "lab:bucket/a", "--json").summary["requests"]["GetObject"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("cleanup", "--older-than", "soon", "lab:bucket"), ("cache", "flush", "--timeout", "soon", "lab:"),
        ("mount", "--cache", "soon", "lab:bucket", "a/f"),
        ("mount", "--metadata-cache", "soon", "lab:bucket", "a/f"),
        ("mount", "--cache-size", "huge", "lab:bucket", "a/f"),
        ("mount", "--hard-cache-size-limit", "huge", "lab:bucket", "a/f"),
        ("mount", "--drain", "soon", "lab:bucket", "a/f"), ("umount", "--timeout", "soon", "a"),
    ],
    ids=lambda words: " ".join(word for word in words if word.isalpha() or word.startswith("-"))
)  # fmt: skip
def test_a_value_that_is_none_is_refused_by_the_name_of_its_flag(run, here, fake_s3, words):
    """Nothing is mounted at a file, whatever becomes of the flag."""
    tree(here / "a", f="content")
    flag = next(word for word in words if word.startswith("-"))
    assert flag in run(*words, code=2).err


def test_a_key_that_is_its_directory_with_a_slash_is_named_and_the_rest_goes_on(run, here, fake_s3):
    """No file can have the name; some programs leave content in such a key."""
    fake_s3.make("bucket", {"d/": b"content", "d/a": b"1", "d/b/c": b"2"})
    copied = run("cp", "-r", "lab:bucket/d", "here", code=1)
    assert "bucket/d/ is an entry itself" in copied.err
    assert {path.relative_to(here).as_posix() for path in here.rglob("*")} == {"here", "here/a", "here/b", "here/b/c"}
    (here / "here" / "old").touch()
    synced = run("sync", "lab:bucket/d", "here", "--json", code=1)
    assert (synced.summary["deleted"], synced.summary["deletions_withheld"]) == (0, 1)
    assert synced.of("error")[0]["kind"] == "unnamed"
    assert (here / "here" / "old").exists()
    for words, lines in (
        (("ls",), ["a", "b/"]), (("ls", "-R"), ["a", "b/", "b/c"]), (("ls", "--exclude", "a"), ["b/"]),
        (("check", "here"), ["+ old"]),
    ):  # fmt: skip
        shown = run(*words, "lab:bucket/d", code=1)
        assert (shown.lines, "bucket/d/ is an entry itself" in shown.err) == (lines, True)


@pytest.mark.parametrize("words", [("mkdir", "--parents", "a/b"), ("mkdir", "a/b")])
def test_parents_are_made_with_and_without_being_asked_for(run, here, words):
    """`mkdir -p` is in many scripts; here it is the rule."""
    run(*words)
    assert (here / "a" / "b").is_dir()


@pytest.mark.parametrize("flags", [(), ("--lazy",)])
def test_what_is_not_mounted_is_not_unmounted(run, here, flags):
    (here / "a").mkdir()
    assert "a" in run("umount", *flags, "a", code=None).err
    assert run("umount", *flags, "a", code=None).code != 0


def test_a_remote_that_was_made_or_removed_is_an_event(run, here):
    made = run("config", "create", "work", "memory", "--json").of("config")
    assert [(event["action"], event["name"]) for event in made] == [("created", "work")]
    gone = run("config", "remove", "work", "--json").of("config")
    assert [(event["action"], event["name"]) for event in gone] == [("removed", "work")]
