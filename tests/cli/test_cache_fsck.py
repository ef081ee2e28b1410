"""`cftool cache fsck` of an archive: what is damaged or gone is named, nothing is changed, and the exit code is 6."""

import os

import pytest

from tests.cli.conftest import packed_config, tree


@pytest.fixture
def packed(run, here):
    """The remote `packed`, with one pack of three files."""
    config = packed_config(here)
    tree(here / "a", one="first " * 100, two="second " * 100, three="third " * 100)

    def call(*words, **more):
        return run(*words, "--config", config, **more)

    call("cp", "-r", "a", "packed:a")
    return call


@pytest.fixture
def packs(here):
    return here / "remote" / ".cftool-archive"


def with_files(packs):
    """The pack of the three files; there may be another one, of their directory."""
    return max(packs.iterdir(), key=lambda path: path.stat().st_size)


def everything(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_sound_archive(packed, packs, here):
    before = everything(here / "remote")
    for more in ((), ("--download",)):
        ran = packed("cache", "fsck", "packed:", *more)
        assert ran.out == b""
        assert f"packed: 0 problems in {len(os.listdir(packs))} packs with 3 files" in ran.err
    assert everything(here / "remote") == before
    [checked] = packed("cache", "fsck", "--json").of("checked")
    count = len(os.listdir(packs))
    assert checked == {
        "v": 1, "event": "checked", "archive": "packed:", "packs": count, "files": 3, "found": [], "unused": [],
    }  # fmt: skip


@pytest.mark.parametrize("keep", [0, 700, -1])
def test_a_pack_that_was_cut(packed, packs, here, keep):
    pack = with_files(packs)
    pack.write_bytes(pack.read_bytes()[:keep])
    before = everything(here / "remote")
    [line] = packed("cache", "fsck", "packed:", code=6).lines
    assert line.startswith(f".cftool-archive/{pack.name}: cannot be relied on: ")
    assert everything(here / "remote") == before


def test_a_flipped_byte_is_found_where_all_is_read(packed, packs):
    pack = with_files(packs)
    pack.write_bytes(pack.read_bytes().replace(b"second", b"sEcond", 1))
    packed("cache", "fsck", "packed:")  # sizes and manifests are right
    [line] = packed("cache", "fsck", "--download", "packed:", code=6).lines
    assert line.startswith(f".cftool-archive/{pack.name}: is damaged: a/two has another ")


def test_a_flipped_byte_of_a_tar_header_is_found_where_all_is_read(packed, packs):
    pack = with_files(packs)
    data = pack.read_bytes()
    at = data.index(b"ustar", 600)
    pack.write_bytes(data[:at] + b"x" + data[at + 1 :])
    assert "tar " in packed("cache", "fsck", "--download", "packed:", code=6).lines[0]


def test_a_pack_that_is_gone_is_known_until_the_next_look(packed, packs):
    packed("ls", "packed:a")
    pack = with_files(packs)
    pack.unlink()
    [line] = packed("cache", "fsck", code=6).lines
    assert line == f".cftool-archive/{pack.name}: is gone, and 3 files of it with it"


def test_files_whose_bytes_are_in_a_pack_that_is_gone_are_named(packed, packs):
    pack = with_files(packs)
    packed("mv", "packed:a/two", "packed:a/moved")
    pack.unlink()
    told = packed("ls", "-R", "packed:", code=1)  # nothing of the pack is known any more
    assert f"the pack {pack.name} was removed by somebody: 2 files are gone" in told.err
    packed("ls", "-R", "packed:")
    lines = packed("cache", "fsck", "packed:", code=6).lines
    assert lines == [
        f".cftool-archive/{pack.name}: was removed by somebody, and 2 files of it with it",
        f"a/moved: .cftool-archive/{pack.name}, which holds its content, is gone or damaged",
    ]
    assert packed("cache", "fsck", "packed:", code=6).lines == lines[1:]


def test_a_sync_does_not_believe_an_archive_that_somebody_took_a_pack_from(packed, packs, here):
    pack = with_files(packs)
    packed("sync", "packed:", here / "copy")
    kept = everything(here / "copy")
    pack.unlink()
    told = packed("sync", "packed:", here / "copy", code=1)
    assert "was removed by somebody" in told.err
    assert everything(here / "copy") == kept


def test_what_is_not_the_archives_is_named_and_no_problem(packed, packs):
    (packs / "notes.txt").write_text("mine")
    (packs / f"{9:010x}-{'a' * 16}.object").write_text("cut off")
    ran = packed("cache", "fsck", "packed:")
    assert ran.out == b""
    assert ".cftool-archive/notes.txt is not the archive's" in ran.err
    assert "is an object that no file needs" in ran.err
    assert max(os.listdir(packs)) == "notes.txt"
    [checked] = packed("cache", "fsck", "packed:", "--json").of("checked")
    assert [one["problem"].split()[-1] for one in checked["unused"]] == ["archive's", "day"]


def test_a_remote_without_a_cache_or_an_archive_is_told(run, here):
    assert "has no cache" in run("cache", "fsck", "memory:", code=3).err
