"""`cftool cache compact`: archives of remotes are rewritten, and nothing that they show changes."""

import pytest

from tests.cli.conftest import packed_config, tree


@pytest.fixture
def packed(run, here):
    """The remote `packed`, whose archive is mostly dead."""
    config = packed_config(here)
    tree(here / "a", **{f"f{number}": "x" * 5_000 for number in range(20)})

    def call(*words, **more):
        return run(*words, "--config", config, **more)

    call("sync", "a", "packed:a")
    for number in range(18):
        (here / "a" / f"f{number}").unlink()
    call("sync", "--max-delete", "100", "a", "packed:a")
    return call


def test_what_is_dead_is_rewritten(packed, here):
    before = packed("ls", "-R", "-l", "packed:").out
    [done] = packed("cache", "compact", "packed:", "--json").of("compacted")
    assert (done["remote"], done["rewritten"] > 0, done["made"], done["removed"]) == ("packed:", True, 1, 0)
    assert packed("ls", "-R", "-l", "packed:").out == before
    packed("check", "--download", "a", "packed:a")


def test_without_a_remote_all_archives_are(packed):
    ran = packed("cache", "compact")
    assert "packed: " in ran.err
    assert "rewritten into 1" in ran.err
    assert packed("cache", "compact", "--json").of("compacted")[0]["rewritten"] == 0


def test_a_remote_without_an_archive_is_told(run, here):
    (here / "plain").mkdir()
    assert "has no archive" in run("cache", "compact", "memory:", code=2).err
