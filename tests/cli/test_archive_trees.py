"""Trees within an archive are copied, moved and removed by few packs, whatever their size, and without their bytes."""

import os

import pytest

from tests.cli.conftest import packed_config, tree

SOME = 60
LARGE = "x" * (1 << 20) + "more"


@pytest.fixture
def packed(run, here):
    """The remote `packed` with a tree of files, and a count of packs and of bytes in them that a command made."""
    config = packed_config(here)
    tree(here / "a", **{f"d{n % 3}__f{n}": f"content {n} " * 100 for n in range(SOME)}, large=LARGE)

    def packs():
        folder = here / "remote" / ".cftool-archive"
        return {entry.name: entry.stat().st_size for entry in os.scandir(folder)} if folder.exists() else {}

    def call(*words, **more):
        before = packs()
        ran = run(*words, "--config", config, **more)
        made = {name: size for name, size in packs().items() if name not in before}
        return ran, len(made), sum(made.values())

    call("cp", "-r", "a", "packed:a")
    return call


def test_a_copied_tree_is_one_pack_and_that_of_its_directory(packed):
    ran, packs, size = packed("cp", "-r", "packed:a", "packed:b", "--json")
    assert ran.summary["copied"] == SOME + 1
    assert packs <= 2
    assert size < SOME * 600  # what is said of a file, and not its 1,100 bytes
    packed("check", "--download", "a", "packed:b")
    packed("check", "--download", "a", "packed:a")


def test_a_second_copy_copies_nothing(packed):
    packed("cp", "-r", "packed:a", "packed:b")
    ran, packs, _ = packed("cp", "-r", "packed:a", "packed:b", "--json")
    assert (ran.summary["copied"], packs) == (0, 0)


def test_a_renamed_tree_is_one_pack(packed):
    _, packs, size = packed("mv", "-r", "packed:a", "packed:b")
    assert packs == 1
    assert size < SOME * 600
    packed("check", "--download", "a", "packed:b")
    packed("ls", "packed:a", code=3)


def test_a_tree_that_moves_into_another_one_is_a_few_packs(packed):
    packed("mkdir", "packed:b/x")
    ran, packs, size = packed("mv", "-r", "packed:a", "packed:b", "--json")
    assert ran.summary["moved"] == SOME + 1
    assert packs <= 8  # one for the files, one for what they leave, one for each directory
    assert size < SOME * 1_000 + 20_000
    packed("rmdir", "packed:b/x")
    packed("check", "--download", "a", "packed:b")
    packed("ls", "packed:a", code=3)


def test_a_removed_tree_is_a_few_packs(packed):
    assert packed("rm", "-r", "packed:a")[1] <= 4
    packed("ls", "packed:a", code=3)


def test_what_lies_beside_the_packs_is_copied_too(packed, here):
    (here / "remote" / "plain").write_text("foreign")
    packed("cp", "packed:plain", "packed:copy")
    assert packed("cat", "packed:copy")[0].out == b"foreign"
    packed("cp", "packed:a/large", "packed:copy")
    assert packed("cat", "packed:copy")[0].out == LARGE.encode()
