"""Filters and links with rclone as judge: the same files chosen, the same links stored, each reading the other's."""

import os
import random
from pathlib import Path

import pytest

from tests.acceptance.conftest import FULL
from tests.command import Cftool, peer
from tests.servers import S3Server, new_bucket

pytestmark = pytest.mark.real

SETS = 400 if FULL else 40
SEED = 20_261
NAMES = [
    "a",
    "b",
    "ab",
    "a.jpg",
    "b.txt",
    "c[1]",
    "x{y",
    "dir",
    "sub",
    "A.JPG",
    "é",
    "a b",
    "+x",
    ".hid",
    "z-1",
    "1234",
]
ATOMS = [
    "*", "**", "?", "[ab]", "[^a]", "[a-z]", "[!a]", "[[:alpha:]]", "{a,b}", "{jpg,txt}", "{a,{b,sub}}", "{{a|b}}",
    "{{[a-z]+}}", "{{(?i)jpg}}", "a", "b", "dir", "sub", ".jpg", ".", "/", "\\*", "\\d", "\\[1\\]", "x", "é", " ", "+",
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A tree of short names that patterns of the same letters meet often."""
    rng = random.Random(SEED)
    root = tmp_path_factory.mktemp("tree")
    for _ in range(150):
        path = root / "/".join(rng.choice(NAMES) for _ in range(rng.randint(1, 4)))
        if not any((root / "/".join(path.relative_to(root).parts[:depth])).is_file() for depth in range(1, 4)):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text("x")
                if rng.random() < 0.4:
                    os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


def pattern(rng: random.Random) -> str:
    text = "".join(rng.choice(ATOMS) for _ in range(rng.randint(1, 4)))
    return ("/" if rng.random() < 0.3 else "") + text + rng.choice(["", "", "", "/", "/**"])


def judged(root: object, *flags: str, env: dict[str, str] | None = None) -> list[str] | None:
    """What rclone chooses; None where it refuses a pattern.

    Its first rule is one that keeps it from passing over directories: `--include a/b` would else leave out x/a/b, which
    matches, because x/ itself matches nothing.
    """
    done = peer(
        "rclone", "lsf", "-R", "--files-only", root, *flags, env=env or {"RCLONE_CONFIG": os.devnull}, code=None
    )
    return sorted(done.out.decode().splitlines()) if done.code == 0 else None


OPEN = ("--filter", "+ **/")


def test_rules_choose_what_they_choose_in_rclone(user: Cftool, tree: Path, tmp_path: Path):
    rng = random.Random(SEED)
    refused = 0
    for number in range(SETS):
        lines = [f"{rng.choice('+-')} {pattern(rng)}" for _ in range(rng.randint(1, 4))]
        lines += [rng.choice(["", "- *", "- **", "!", "# nothing"])]
        if lines[-1] == "!":
            lines += ["+ *.jpg", "- /**"]
        rules = tmp_path / f"rules-{number}"
        rules.write_text("\n".join(line for line in lines if line != "!" or number % 2) + "\n")
        if number % 2:  # "!" would clear the rule that keeps rclone's directories open
            head = tmp_path / "open"
            head.write_text("+ **/\n")
            expected = judged(tree, "--filter-from", rules, "--filter-from", head)
            expected = judged(tree, *OPEN, "--filter-from", rules) if "!" not in lines else expected
        else:
            expected = judged(tree, *OPEN, "--filter-from", rules)
        done = user.run("ls", "-R", "-f", tree, "--filter-from", rules, code=None)
        refused += expected is None
        assert (None if done.code else sorted(done.out.decode().splitlines())) == expected, (lines, done)
    assert refused < SETS / 3


@pytest.mark.parametrize(
    "flags",
    [
        ("--include", "*.jpg"),
        ("--include", "*.{jpg,txt}", "--include", "/a/**"),
        ("--exclude", "*.jpg", "--exclude", "/dir/**"),
        ("--include", "/dir/**", "--exclude", "sub/**"),  # in this order rclone's is the same
        ("--exclude", "dir/"),
        ("--include", "[^a-b]*"),
        ("--min-size", "1b"),
        ("--max-age", "1h"),
        ("--min-age", "1h"),
    ],
)
def test_flags_choose_what_they_choose_in_rclone(
    user: Cftool, moto_server: S3Server, tree: Path, flags: tuple[str, ...]
):
    expected = judged(tree, *flags)
    assert expected
    server = moto_server
    bucket = new_bucket(server)
    lab = user.with_server(server)
    lab.run("cp", "-r", tree, f"lab:{bucket}/t", *flags)
    assert judged(f"lab:{bucket}", env=server.rclone_environment()) == [f"t/{path}" for path in expected or []]
    assert sorted(lab.run("ls", "-R", "-f", f"lab:{bucket}/t", *flags).out.decode().splitlines()) == expected


def test_flags_are_applied_in_the_order_of_the_command_line(user: Cftool, tree: Path, tmp_path: Path):
    """What rclone does by --filter, which keeps its order."""
    rules = tmp_path / "rules"
    rules.write_text("; a remark\n- /dir/**\r\n\n  + *.jpg  \n")
    for flags, filters in (
        (["--exclude", "a.jpg", "--include", "*.jpg"], ["- a.jpg", "+ *.jpg", "- /**"]),
        (["--include", "*.jpg", "--exclude", "a.jpg"], ["+ *.jpg", "- a.jpg", "- /**"]),
        (["--filter-from", rules, "--exclude", "*"], ["- /dir/**", "+ *.jpg", "- *"]),
        (["--exclude", "*.jpg", "--filter-from", rules, "--exclude", "*"], ["- *.jpg", "- /dir/**", "- *"]),
        (["--exclude", "*", "--filter", "!", "--exclude", "sub/**"], ["- sub/**"]),
        (["--filter=- dir/", "--include=*.txt", "--exclude-from", rules], None),
    ):
        done = user.run("ls", "-R", "-f", *flags, tree)
        if filters is not None:
            expected = judged(tree, *OPEN, *(word for rule in filters for word in ("--filter", rule)))
            assert sorted(done.out.decode().splitlines()) == expected, flags


def test_a_list_of_files_asks_for_its_directories_only(user: Cftool, server: S3Server, tmp_path: Path):
    bucket = new_bucket(server)
    lab = user.with_server(server)
    source = tmp_path / "src"
    for number in range(30):
        (source / f"d{number}").mkdir(parents=True)
        (source / f"d{number}" / "f").write_text("x")
    lab.run("cp", "-r", source, f"lab:{bucket}/s")
    done = lab.run(
        "cp", "-r", f"lab:{bucket}/s", tmp_path / "out", "--files-from", "-", "--json", stdin=b"d3/f\n# no\n/d7/f\n"
    )
    assert sorted(event["path"] for event in done.of("copy")) == ["d3/f", "d7/f"]
    assert sum(count for name, count in done.summary["requests"].items() if name.startswith("List")) <= 4
    (tmp_path / "list").write_text("d3/f\nmissing\n")
    done = lab.run("sync", f"lab:{bucket}/s", tmp_path / "out", "--files-from", tmp_path / "list", "--json", code=3)
    assert [(event["path"], event["kind"]) for event in done.of("error")] == [("missing", "not_found")]
    assert (tmp_path / "out/d7/f").exists()


def test_sync_deletes_what_rclone_deletes(user: Cftool, tree: Path, tmp_path: Path):
    rules = ["--filter", "- *.txt", "--filter", "- /dir/**", "--filter", "+ *.jpg", "--filter", "- /a/**"]
    for more in ([], ["--delete-excluded"]):
        sides = [tmp_path / f"{name}{len(more)}" for name in ("ours", "theirs")]
        for side in sides:
            peer("rclone", "copy", tree, side, env={"RCLONE_CONFIG": os.devnull})
            for extra in ("dir/extra.txt", "extra.jpg", "extra", "b/only.txt"):
                (side / extra).parent.mkdir(exist_ok=True)
                if (side / extra).parent.is_dir():
                    (side / extra).write_text("x")
        user.run("sync", tree, sides[0], *rules, *more, "--max-delete", "100%", "--force-delete")
        peer("rclone", "sync", tree, sides[1], *rules, *more, env={"RCLONE_CONFIG": os.devnull})
        ours, theirs = (sorted(path for path in side.rglob("*") if path.is_file()) for side in sides)
        assert [path.relative_to(sides[0]) for path in ours] == [path.relative_to(sides[1]) for path in theirs]


# ---- links


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    root = tmp_path / "linked"
    (root / "d").mkdir(parents=True)
    (root / "f").write_text("x")
    (root / "rel").symlink_to("d/nothing")
    (root / "d" / "abs").symlink_to("/etc/hostname")
    (root / "to dir").symlink_to("d")
    return root


def links(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): os.readlink(path) for path in sorted(root.rglob("*")) if path.is_symlink()}


def test_each_reads_the_links_that_the_other_stored(user: Cftool, server: S3Server, linked: Path, tmp_path: Path):
    lab, env = user.with_server(server), server.rclone_environment()
    ours, theirs = new_bucket(server), new_bucket(server)
    lab.run("cp", "-r", "--links", "keep", linked, f"lab:{ours}/x")
    peer("rclone", "copy", "-l", linked, f"lab:{theirs}/x", env=env)
    names = [judged(f"lab:{bucket}", env=env) for bucket in (ours, theirs)]
    assert names[0] == names[1] == ["x/d/abs.rclonelink", "x/f", "x/rel.rclonelink", "x/to dir.rclonelink"]
    peer("rclone", "copy", "-l", f"lab:{ours}/x", tmp_path / "by-rclone", env=env)
    lab.run("cp", "-r", "--links", "keep", f"lab:{theirs}/x", tmp_path / "by-us")
    assert links(tmp_path / "by-rclone") == links(tmp_path / "by-us") == links(linked)
    peer("rclone", "check", "-l", "--download", linked, f"lab:{ours}/x", env=env)
    again = lab.run("sync", "--links", "keep", linked, f"lab:{theirs}/x", "--json")
    assert (again.summary["copied"], again.summary["deleted"]) == (0, 0), again
    done = lab.run("check", "--links", "keep", linked, f"lab:{theirs}/x", "--json")
    assert done.summary["exit"] == 0


def test_one_link_is_copied_as_one(user: Cftool, linked: Path, tmp_path: Path):
    for _ in range(2):
        user.run("cp", "--links", "keep", linked / "to dir", tmp_path / "copy")
    assert os.readlink(tmp_path / "copy") == "d"
    assert sorted(os.listdir(linked / "d")) == ["abs"]


def test_links_are_named_and_counted_or_followed(user: Cftool, linked: Path, tmp_path: Path):
    done = user.run("cp", "-r", linked, tmp_path / "plain")
    assert "3 symbolic links skipped (see --links): d/abs, rel, to dir" in done.err
    assert "3 skipped (link)" in done.err
    followed = user.run("cp", "-r", "--links", "follow", linked, tmp_path / "followed", code=1)
    assert "cftool: rel: the link leads nowhere" in followed.err
    assert (tmp_path / "followed/to dir/abs").read_bytes() == Path("/etc/hostname").read_bytes()
