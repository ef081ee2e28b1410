"""What people do in a directory: each work does it, and `check` says whether what is there is whole.

A work is done in an empty directory of a mount, and checked at once, after a new mount, and in an empty cache. Where a
program is not installed, others or the system calls that it makes stand in for it.
"""

import mmap
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import trees

ENV = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}


@dataclass(frozen=True)
class Work:
    """`do` with the directory and one outside for whatever it needs; `check` with both again."""

    do: Callable[[Path, Path], None]
    check: Callable[[Path, Path], None]


def run(*command: object, cwd: Path | None = None) -> bytes:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (command, done.stderr[-2000:], done.stdout[-2000:])
    return done.stdout


def picture(root: Path) -> dict[str, object]:
    """Every name below with what it is: a directory, a link's target, a file's content."""
    found: dict[str, object] = {}
    for folder, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = Path(folder, name)
            shown = str(path.relative_to(root))
            if path.is_symlink():
                found[shown] = os.readlink(path)
            else:
                found[shown] = None if path.is_dir() else path.read_bytes()
    return found


# ---- a source tree, unpacked and built


def _sources(place: Path) -> None:
    place.mkdir()
    for number in range(12):
        place.joinpath(f"part{number}.c").write_text(f"int part{number}(int n) {{ return n + {number}; }}\n")
    calls = " + ".join(f"part{number}(1)" for number in range(12))
    declared = "".join(f"int part{number}(int);\n" for number in range(12))
    place.joinpath("parts.h").write_text(declared)
    place.joinpath("main.c").write_text(
        f'#include <stdio.h>\n#include "parts.h"\nint main(void) {{ printf("%d\\n", {calls}); return 0; }}\n'
    )
    place.joinpath("Makefile").write_text(
        "objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))\n"
        "program: $(objects)\n\t$(CC) -o $@ $^\n$(objects): parts.h\n"
    )
    place.joinpath("lib.py").write_text("def one():\n    return 1\n")
    place.joinpath("latest").symlink_to("main.c")


def build(place: Path, outside: Path) -> None:
    _sources(outside / "source")
    with tarfile.open(outside / "source.tar", "w") as archive:
        archive.add(outside / "source", "source")
    for where in (place, outside / "unpacked"):
        where.mkdir(exist_ok=True)
        run("tar", "xf", outside / "source.tar", "-C", where)
        if shutil.which("make") and shutil.which("cc"):
            run("make", "-j2", cwd=where / "source")
            assert b"up to date" in run("make", cwd=where / "source")
        run(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "lib.py",
            cwd=where / "source")  # fmt: skip


def built(place: Path, outside: Path) -> None:
    assert picture(place) == picture(outside / "unpacked")


# ---- git


def git(where: Path, *args: str) -> bytes:
    return run("git", "-c", "user.name=a", "-c", "user.email=a@b", *args, cwd=where)


def version(place: Path, outside: Path) -> None:
    first = place / "first"
    first.mkdir()
    git(first, "init", "-q", "-b", "main")
    trees.make(first / "src", files=15, seed=2, size=3_000)
    git(first, "add", ".")
    git(first, "commit", "-qm", "one")
    (first / "src" / "new").write_text("new")
    git(first, "add", ".")
    git(first, "commit", "-qm", "two")
    git(place, "clone", "-q", "first", "second")
    (place / "second" / "src" / "new").write_text("newer")
    git(place / "second", "commit", "-qam", "three")
    git(first, "pull", "-q", "../second", "main")
    git(first, "gc", "-q")
    outside.joinpath("head").write_bytes(git(first, "rev-parse", "HEAD^{tree}"))


def versioned(place: Path, outside: Path) -> None:
    for clone in ("first", "second"):
        git(place / clone, "fsck", "--strict")
        assert git(place / clone, "status", "--porcelain") == b""
        assert git(place / clone, "rev-parse", "HEAD^{tree}") == outside.joinpath("head").read_bytes()
    assert (place / "first" / "src" / "new").read_text() == "newer"


# ---- SQLite, several processes in one database

_WRITER = """
import sqlite3, sys
path, who, mode = sys.argv[1:]
db = sqlite3.connect(path, timeout=120, isolation_level=None)
db.execute(f"PRAGMA journal_mode = {mode}")
for number in range(20):
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES (?, ?, ?)", (int(who), number, "x" * (number * 50)))
    db.execute("UPDATE total SET n = n + 1")
    db.execute("COMMIT")
"""


def databases(place: Path, outside: Path) -> None:
    del outside
    for mode in ("WAL", "DELETE"):
        path = place / mode
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA journal_mode = {mode}")
            db.executescript("CREATE TABLE t (who, number, text); CREATE TABLE total (n); INSERT INTO total VALUES (0)")
        db.close()
        writers = [
            subprocess.Popen([sys.executable, "-S", "-c", _WRITER, str(path), str(who), mode], stdin=subprocess.DEVNULL)
            for who in range(3)
        ]
        assert [writer.wait(300) for writer in writers] == [0, 0, 0]


def consistent(place: Path, outside: Path) -> None:
    del outside
    for mode in ("WAL", "DELETE"):
        db = sqlite3.connect(place / mode)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT n FROM total").fetchone() == (60,)
        rows = db.execute("SELECT who, count(*), sum(length(text)) FROM t GROUP BY who ORDER BY who").fetchall()
        assert rows == [(who, 20, 9500) for who in range(3)]
        db.close()


# ---- editors


def edit(place: Path, outside: Path) -> None:
    del outside
    text = place / "text"
    text.write_text("first\n")
    for number in range(3):  # as vim: the old one is renamed, the new one is written and synced, the old one goes
        backup = place / "text~"
        text.rename(backup)
        with text.open("w") as file:
            file.write(f"saved {number}\n")
            file.flush()
            os.fsync(file.fileno())
        backup.unlink()
    other = place / "other"
    other.write_text("first\n")
    for number in range(3):  # as emacs and many libraries: the new one is written beside it and renamed over it
        temporary = place / f".#other.{number}"
        temporary.write_text(f"saved {number}\n")
        temporary.rename(other)
    real = place / "vim"
    real.write_text("first\n")
    if shutil.which("vim"):
        for copies in ("no", "yes"):
            run("vim", "-u", "NONE", "-es", "-c", f"set nocp backup writebackup backupcopy={copies} swapfile",
                "-c", "normal Godone", "-c", "wq", "vim", cwd=place)  # fmt: skip
    else:
        real.write_text("first\ndone\ndone\n")


def edited(place: Path, outside: Path) -> None:
    del outside
    found = picture(place)
    found.pop("vim~", None)
    assert found == {"text": b"saved 2\n", "other": b"saved 2\n", "vim": b"first\ndone\ndone\n"}


# ---- copies


def copy(place: Path, outside: Path) -> None:
    source = outside / "source"
    trees.make(source, files=40, seed=5, size=4_000)
    (source / "link").symlink_to("d0000/missing")
    (source / "empty").mkdir()
    os.chmod(source / "empty", 0o700)
    os.utime(source / "empty", ns=(10**18, 10**18))
    run("cp", "-a", source, place / "copy")
    if shutil.which("rsync"):
        run("rsync", "-a", f"{source}/", place / "synced")
        grown = source / "d0000" / "grown"
        grown.write_bytes(trees.content("grown", 300_000))
        run("rsync", "-a", "--no-whole-file", f"{source}/", place / "synced")
        grown.write_bytes(b"shorter")
        run("rsync", "-a", "--no-whole-file", "--delete", f"{source}/", place / "synced")
        assert run("rsync", "-ani", f"{source}/", place / "synced") == b""
        grown.unlink()
        run("rsync", "-a", "--delete", f"{source}/", place / "synced")
    else:
        run("cp", "-a", source, place / "synced")


def copied(place: Path, outside: Path) -> None:
    expected = picture(outside / "source")
    assert picture(place / "copy") == expected
    assert picture(place / "synced") == expected


# ---- mapped files


def mapped(place: Path, outside: Path) -> None:
    size = 3_000_000
    for where in (place, outside):
        path = where / "mapped"
        path.write_bytes(trees.content("mapped", size))
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            for at in range(0, size, 100_003):
                memory[at : at + 5] = b"dirty"
            memory.flush()
            assert memory[:] == path.read_bytes()
            memory[-3:] = b"end"  # written back by the closing alone


def read_mapped(place: Path, outside: Path) -> None:
    with (place / "mapped").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        assert memory[:] == (outside / "mapped").read_bytes()


WORKS = {
    "build": Work(build, built),
    "git": Work(version, versioned),
    "sqlite": Work(databases, consistent),
    "editors": Work(edit, edited),
    "copies": Work(copy, copied),
    "mapped": Work(mapped, read_mapped),
}
