"""A remote with a metadata cache at the command line: what is believed, by whom, and `cftool cache`."""

import pytest


class Lab:
    """The remote `lab` with `metadata_cache`, and what it is asked."""

    def __init__(self, run, fake, here, monkeypatch):
        config = here / "c.toml"
        config.write_text('[remotes.lab]\ntype = "s3"\n[remotes.lab.stack]\nmetadata_cache = "1h"\n')
        config.chmod(0o600)
        monkeypatch.setenv("CFTOOL_CONFIG", str(config))
        self.command, self.fake, self.here = run, fake, here
        for name in ("a", "b", "deep/c"):
            self.behind(f"dir/{name}")

    def run(self, *words):
        """The lines of a command that must work; what was asked before is not counted."""
        self.fake.ops.clear()
        ran = self.command(*words)
        assert ran.code == 0, ran
        return ran.lines

    @property
    def asked(self):
        return sum(self.fake.ops.values())

    def behind(self, key, data=b"x"):
        """Somebody else writes."""
        self.fake.make("bucket", [key], data)


@pytest.fixture
def lab(run, fake_s3, here, monkeypatch):
    return Lab(run, fake_s3, here, monkeypatch)


def test_a_second_look_asks_nothing(lab):
    for asked in (1, 0, 0):
        assert lab.run("ls", "lab:bucket/dir") == ["a", "b", "deep/"]
        assert lab.asked == asked
    assert lab.run("ls", "lab:bucket/dir/deep") == ["c"]
    assert lab.run("stat", "lab:bucket/dir/a")
    assert lab.run("stat", "lab:bucket/dir/a")
    assert lab.asked == 0


def test_trees_are_known_too(lab):
    listed = lab.run("ls", "-R", "lab:bucket/dir")
    assert listed == ["a", "b", "deep/", "deep/c"]
    for command in (("ls", "-R"), ("tree",), ("du",)):
        lab.run(*command, "lab:bucket/dir")
        assert lab.asked == 0, command
    assert lab.run("ls", "-R", "lab:bucket/dir") == listed


def test_what_any_command_changes_shows_at_once(lab):
    (lab.here / "f").write_bytes(b"mine")
    steps = [
        (("cp", "f", "lab:bucket/dir/new"), ["a", "b", "deep/", "new"]),
        (("rm", "lab:bucket/dir/a"), ["b", "deep/", "new"]),
        (("mv", "lab:bucket/dir/new", "lab:bucket/dir/newer"), ["b", "deep/", "newer"]),
        (("rm", "-r", "lab:bucket/dir/deep"), ["b", "newer"]),
        (("touch", "lab:bucket/dir/empty"), ["b", "empty", "newer"]),
        (("cp", "-r", "f", "lab:bucket/dir/"), ["b", "empty", "f", "newer"]),
    ]
    lab.run("ls", "lab:bucket/dir")
    for command, expected in steps:
        lab.run(*command)
        assert lab.run("ls", "lab:bucket/dir") == expected, command
        assert lab.run("ls", "lab:bucket/dir") == expected
        assert lab.asked == 0


def test_no_transfer_believes_it(lab):
    """A sync both ways, a check and a removal see what others did, whatever was listed an hour ago."""
    lab.run("ls", "-R", "lab:bucket")
    lab.run("ls", "lab:bucket/dir")
    lab.behind("dir/late")
    assert lab.run("ls", "lab:bucket/dir") == ["a", "b", "deep/"]
    lab.run("sync", "lab:bucket/dir", "out")
    assert sorted(path.name for path in (lab.here / "out").iterdir()) == ["a", "b", "deep", "late"]
    lab.behind("dir/later")
    assert lab.command("check", "lab:bucket/dir", "out", code=6).lines == ["+ later"]
    del lab.fake.buckets["bucket"]["dir/a"]
    lab.run("sync", "out", "lab:bucket/dir")
    assert sorted(lab.fake.buckets["bucket"]) == ["dir/a", "dir/b", "dir/deep/c", "dir/late"]
    lab.behind("dir/latest")
    lab.run("rm", "-r", "lab:bucket/dir")
    assert lab.fake.buckets["bucket"] == {}


def test_a_listing_that_broke_is_not_believed_by_the_next_run(lab):
    lab.fake.fail("ListObjectsV2", (403, "AccessDenied"))
    lab.command("ls", "lab:bucket/dir", code=4)
    assert lab.run("ls", "lab:bucket/dir") == ["a", "b", "deep/"]


def test_status_and_clear(lab):
    assert lab.run("cache", "status") == []
    lab.command("cache", "status", "lab:", code=3)
    lab.run("ls", "lab:bucket/dir")
    for where in ((), ("lab:",)):
        [line] = lab.run("cache", "status", *where)
        assert line.startswith("s3-")
        assert ": 3 entries in 1 listing known, " in line
    [event] = lab.command("cache", "status", "--json").events
    assert (event["event"], event["entries"], event["listings"], event["cleared"]) == ("metadata", 3, 1, False)
    assert event["bytes"] > 0
    ran = lab.command("cache", "clear", "lab:")
    assert (ran.code, ran.lines) == (0, [])
    assert "3 entries in 1 listing forgotten" in ran.err
    assert ": 0 entries in 0 listings known, " in lab.run("cache", "status")[0]
    lab.run("ls", "lab:bucket/dir")
    assert lab.asked == 1
    [event] = lab.command("cache", "clear", "--json").events
    assert (event["event"], event["entries"], event["cleared"]) == ("metadata", 3, True)


def test_of_a_cache_of_an_earlier_boot_nothing_is_known(lab, monkeypatch):
    from cftool.wrap.metadata import place

    lab.run("ls", "lab:bucket/dir")
    monkeypatch.setattr(place, "boot_id", lambda: "00000000")
    assert ": 0 entries in 0 listings known, 0 B" in lab.run("cache", "status")[0]
