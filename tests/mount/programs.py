"""What programs do to files of a mount until it is killed under them: `python -m tests.mount.programs` is one process.

Each program has a thread and writes version after version. It says on standard output, by lines that nothing can take
back, what it begins (`b NAME VERSION`), what the mount has acknowledged (`a NAME VERSION MTIME MODE`), and what is
wrong (`e NAME ...`). test_kills_programs.py starts it, kills the mount, and judges what is there afterwards.
"""

import errno
import json
import mmap
import os
import random
import shutil
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

# Content goes into the journal up to 64 KiB; blocks have 1 MiB.
SIZES = (8, 5_000, 65_535, 65_536, 65_537, 200_000, 1_048_575, 1_048_577, 2_500_000)
RECORD = 64
TREE = {"version": 8, "empty": 0, "small": 900, "limit": 65_536, "deep/above": 65_537, "deep/er/large": 1_100_000}
GONE = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


def whole(name: str, version: int, sizes: tuple[int, ...] = SIZES) -> bytes:
    rng = random.Random(f"{name}/{version}")
    size = rng.choice(sizes)
    return version.to_bytes(8, "big") + rng.randbytes(size - 8)


def member(name: str, version: int) -> bytes:
    data = random.Random(f"{name}/{version}").randbytes(TREE[name])
    return version.to_bytes(8, "big") + data[8:] if data else b""


def grown(version: int) -> bytes:
    """A whole file, then cut, then extended with zeros to more than it had."""
    data = whole("grown", version - version % 3)
    if version % 3 == 0:
        return data
    cut = data[: len(data) * 2 // 3]
    return cut if version % 3 == 1 else cut + bytes(len(data) // 2 + 70)


def record(who: str, version: int) -> bytes:
    return f"{who} {version} ".encode().ljust(RECORD - 1, b"." if version % 2 else b"-") + b"\n"


def own_time(version: int) -> int:
    return 1_200_000_000_123_456_789 + version * 1_000_000_007


def own_mode(version: int) -> int:
    return 0o600 + version % 8 * 8


class Programs:
    """See the module. `noted` and `begun`: the versions that the last process of these programs came to."""

    def __init__(self, place: Path, noted: dict[str, int], begun: dict[str, int]) -> None:
        self.place = place
        self.noted = noted
        self.begun = begun

    def say(self, *words: object) -> None:
        os.write(1, (" ".join(map(str, words)) + "\n").encode())

    def versions(self, name: str, *, step: int = 1, files: int = 1) -> Iterator[int]:
        """Each is begun, and acknowledged when the next one is asked for.

        `files`: so many are written in place, in turn; the one that was begun last is what may be torn.
        """
        noted, begun = self.noted.get(name, 0), self.begun.get(name, 0)
        version = max(noted, begun)
        version += files if files > 1 and begun > noted else step - version % step
        while True:
            self.begun[name] = version
            self.say("b", name, version)
            yield version
            self.noted[name] = version
            version += 1

    def acknowledged(self, name: str, version: int, path: Path | None = None) -> None:
        status = os.lstat(self.place / name if path is None else path)
        self.say("a", name, version, status.st_mtime_ns, status.st_mode & 0o7777)

    def read_back(self, path: Path, data: bytes) -> None:
        """Nobody else writes to it: what was written is read, whoever has older pages of it."""
        found = path.read_bytes()
        assert found == data, f"{len(found)} bytes are read back, {len(data)} were written"

    def run(self, name: str, program: Callable[[str], None]) -> None:
        """Until the mount is gone."""
        try:
            program(name)
        except (OSError, sqlite3.Error, shutil.Error) as error:
            try:
                os.statvfs(self.place)  # nothing of it is in the kernel's memory
            except OSError as gone:
                if gone.errno in GONE:
                    return
            at = traceback.extract_tb(error.__traceback__)[-1]
            self.say("e", name, repr(error), getattr(error, "filename", None), f"in {at.name}: {at.line}")
        except AssertionError as error:
            self.say("e", name, str(error))

    # ---- one file, by one program

    def written(self, name: str) -> None:
        """Emptied and written anew, in pieces."""
        for version in self.versions(name):
            data = whole(name, version)
            with open(self.place / name, "wb", buffering=0) as file:
                file.writelines(data[at : at + 70_000] for at in range(0, len(data), 70_000))
            self.acknowledged(name, version)
            if version % 2:
                self.read_back(self.place / name, data)

    def renamed(self, name: str) -> None:
        """As sed -i and rsync: a new file is renamed over the old one, synced or not, before its close or after it."""
        path = self.place / name
        for version in self.versions(name):
            new = path.with_name(f"{path.name}.{version}")
            fd = os.open(new, (os.O_RDWR if version % 2 else os.O_WRONLY) | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(fd, whole(name, version))
                if version % 3 == 0:
                    os.fsync(fd)
                if version % 3 == 1:
                    os.fchmod(fd, 0o644)
                if version % 4 < 2:
                    os.rename(new, path)
            finally:
                os.close(fd)
            if version % 4 >= 2:
                os.rename(new, path)
            self.acknowledged(name, version)

    def saved(self, name: str) -> None:
        """As vim: the old file is renamed to a backup, the new one is written and synced, the backup goes."""
        path, backup = self.place / name, self.place / f"{name}~"
        for version in self.versions(name):
            if path.exists():
                path.rename(backup)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                os.write(fd, whole(name, version))
                if version % 2:
                    os.fsync(fd)
            finally:
                os.close(fd)
            self.acknowledged(name, version)
            backup.unlink(missing_ok=True)

    def recreated(self, name: str) -> None:
        path = self.place / name
        for version in self.versions(name):
            path.unlink(missing_ok=True)
            path.write_bytes(whole(name, version))
            self.acknowledged(name, version)

    def grown(self, name: str) -> None:
        """Cut and extended by path, and by descriptor."""
        path = self.place / name
        for version in self.versions(name, step=3):
            if version % 3 == 0:
                path.write_bytes(grown(version))
            elif version % 2:
                os.truncate(path, len(grown(version)))
            else:
                with path.open("r+b") as file:
                    file.truncate(len(grown(version)))
            self.acknowledged(name, version)
            self.read_back(path, grown(version))

    def timed(self, name: str) -> None:
        """As tar and cp -p: time and mode are set, before the close or after it."""
        path = self.place / name
        for version in self.versions(name):
            with path.open("wb") as file:
                file.write(whole(name, version))
                file.flush()
                if version % 2:
                    os.utime(file.fileno(), ns=(own_time(version), own_time(version)))
            if not version % 2:
                os.utime(path, ns=(own_time(version), own_time(version)))
            os.chmod(path, own_mode(version))
            self.acknowledged(name, version)
            if version % 2:
                self.read_back(path, whole(name, version))

    def mapped(self, name: str) -> None:
        """Two files in turn, because a rewrite in place may be seen half done; made durable in four ways."""
        for version in self.versions(name, files=2):
            path = self.place / f"{name}{version % 2}"
            data = whole(name, version)
            fd = os.open(path, os.O_RDWR | os.O_CREAT)
            try:
                os.ftruncate(fd, len(data))
                with mmap.mmap(fd, len(data)) as memory:
                    if version % 4 == 3:  # nothing but the mapping has it open
                        os.close(fd)
                        fd = -1
                    memory[:] = data
                    if version % 4 == 0:
                        memory.flush()
                        self.acknowledged(name, version, path)
                if version % 4 == 1:
                    os.fsync(fd)
            finally:
                if fd >= 0:
                    os.close(fd)
            if version % 4 == 3:
                with path.open("rb") as again:
                    os.fsync(again.fileno())
            self.acknowledged(name, version, path)
            self.read_back(path, data)

    def shared(self, name: str) -> None:
        """Another process has it open meanwhile, and ends; descriptors are copied."""
        path = self.place / name
        for version in self.versions(name):
            data = whole(name, version)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                other = os.dup(fd)
                os.set_inheritable(fd, True)
                child = os.posix_spawn("/bin/true", ["true"], {})
                os.write(fd, data[: len(data) // 2])
                os.close(other)
                os.write(fd, data[len(data) // 2 :])
                os.waitpid(child, 0)
            finally:
                os.close(fd)
            self.acknowledged(name, version)

    # ---- several at one file, and whole trees

    def appended(self, name: str) -> None:
        """Two processes add records to one file: `name` is LOG.WHO."""
        path = self.place / name.split(".")[0]
        for version in self.versions(name):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                os.write(fd, record(name, version))
                if version % 2:
                    os.fsync(fd)
            finally:
                os.close(fd)
            self.acknowledged(name, version, path)

    def read(self, name: str) -> None:
        """Beside `renamed`, in its process: whole versions, none older than what was acknowledged before."""
        while True:
            least = self.noted.get(name, 0)
            try:
                fd = os.open(self.place / name, os.O_RDONLY)
            except FileNotFoundError:
                assert least == 0, f"version {least} cannot be found"
                continue
            except OSError as error:
                if error.errno != errno.ESTALE:  # renamed over twice: the kernel looks a name up again but once
                    raise
                continue
            try:
                data = b"".join(iter(lambda fd=fd: os.read(fd, 60_000), b""))
            finally:
                os.close(fd)
            self.judge(name, data, least)

    def linger(self, name: str) -> None:
        """Beside who writes it: has it open for three versions, and reads now and then."""
        while True:
            version = self.begun.get(name, 0)
            try:
                fd = os.open(self.place / name, os.O_RDONLY)
            except FileNotFoundError:
                os.statvfs(self.place)
                continue
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                continue
            try:
                while self.begun[name] < version + 3:
                    os.pread(fd, 10_000, 0)
                    os.statvfs(self.place)  # what was read may be in the kernel's memory when the mount is gone
                    time.sleep(0.001)  # the others are to write
            finally:
                os.close(fd)

    def read_mapped(self, name: str) -> None:
        """The same from another process."""
        last = 0
        while True:
            try:
                with (self.place / name).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
                    last = self.judge(name, memory[:], last)
            except FileNotFoundError:
                assert last == 0, f"version {last} cannot be found"
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise

    def judge(self, name: str, data: bytes, least: int) -> int:
        version = int.from_bytes(data[:8], "big")
        assert data == whole(name, version), f"{len(data)} bytes that are no version, the first of {version}"
        assert version >= least, f"version {version} is read after {least}"
        return version

    def database(self, name: str) -> None:
        """`name` ends with the journal's mode."""
        db = sqlite3.connect(self.place / name, isolation_level=None, timeout=120)
        db.execute(f"PRAGMA journal_mode = {name.split('.')[-1]}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE IF NOT EXISTS t (version PRIMARY KEY, text)")
        for version in self.versions(name):
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO t VALUES (?, ?)", (version, "x" * (version * 997 % 9_000)))
            db.execute("DELETE FROM t WHERE version < ?", (version - 30,))
            db.execute("COMMIT")
            self.acknowledged(name, version)

    def tree(self, name: str) -> None:
        """A tree is made, and takes the place of another: of an empty directory, or of none."""
        top = self.place / name
        top.mkdir(exist_ok=True)
        now, new, old = top / "now", top / "new", top / "old"
        if not (now / "version").exists() and old.exists():
            if now.exists():
                now.rmdir()
            old.rename(now)
        for version in self.versions(name):
            for left in (new, old):
                if left.exists():
                    shutil.rmtree(left)
            for member_name in TREE:
                path = new / member_name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(member(member_name, version))
                os.utime(path, ns=(own_time(version), own_time(version)))
                path.chmod(own_mode(version))
            (new / "link").symlink_to(f"to/{version}")
            if now.exists():
                now.rename(old)
            if version % 2:
                now.mkdir()
            new.rename(now)
            self.acknowledged(name, version, now)


PROCESSES = (
    ("written", "renamed", "read:renamed", "saved", "recreated", "log.one", "grown", "tree", "linger:written"),
    ("mapped", "log.two", "db.wal", "db.delete", "timed", "linger:timed"),
    ("shared", "read_mapped:renamed"),  # who starts a process closes all that is open once more
)


def program_of(programs: Programs, name: str) -> tuple[Callable[[str], None], str]:
    kind, _, of = name.partition(":")
    kind = {"log": "appended", "db": "database"}.get(kind.split(".")[0], kind)
    return getattr(programs, kind), of or name


def main() -> None:
    asked = json.load(sys.stdin)
    programs = Programs(Path(asked["place"]), asked["noted"], asked["begun"])
    threads = []
    for name in asked["names"]:
        program, of = program_of(programs, name)
        threads.append(threading.Thread(target=programs.run, args=(of, program)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
