"""Kills of a mount under what programs do (tests/mount/programs.py), over remotes that fail now and then.

After each kill the next mount shows what was acknowledged or what was begun behind it, whole, with its size, time and
mode; at the end the remote has what the last mount showed. At release size the state directory and what the remote has
are kept as they were before the last mount.
"""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cftool.testing.http_fake import FakeRequest, FakeResponse
from tests.command import Cftool
from tests.mount import programs, services
from tests.mount.mounted import PATIENCE, Mount, missing_fuse, mounted
from tests.sizes import FULL, SEED, Budget

pytestmark = [
    pytest.mark.real,
    pytest.mark.crash,
    pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse())),
    pytest.mark.timeout(7200 if FULL else 900),
]
MINUTES = float(os.environ.get("TEST_MINUTES", "3"))  # of each way to mount, at release size
ROOT = Path(__file__).parents[2]
TIMED = ("written", "renamed", "saved", "recreated", "grown", "timed")


@dataclass
class Known:
    """What the programs said: the last version of each name that was acknowledged, with time and mode; begun; wrong."""

    noted: dict[str, int] = field(default_factory=dict)
    status: dict[str, tuple[int, int]] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    count: int = 0
    times: bool = True  # whether the remote keeps them

    def heard(self, line: str) -> bool:
        """Whether it was an acknowledgement."""
        kind, name, *words = line.split(" ")
        if kind == "b":
            self.begun[name] = int(words[0])
        elif kind == "a":
            version, mtime, mode = map(int, words)
            self.noted[name], self.status[name] = version, (mtime, mode)
            self.count += 1
        else:
            self.wrong.append(line)
        return kind == "a"

    def stands(self, name: str, version: int) -> None:
        """This is what is there, and counts from now on."""
        self.noted[name] = version
        self.begun[name] = max(version, self.begun.get(name, 0))
        self.status.pop(name, None)


@contextlib.contextmanager
def running(place: Path, known: Known, *, but: frozenset[str]) -> Iterator[threading.Semaphore]:
    """The programs, until the mount is gone; the semaphore counts acknowledgements."""
    acknowledged = threading.Semaphore(0)
    lock = threading.Lock()

    def listen(process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with lock:
                if known.heard(line.rstrip("\n")):
                    acknowledged.release()

    processes, listeners = [], []
    for names in programs.PROCESSES:
        asked = {
            "place": str(place), "noted": dict(known.noted), "begun": dict(known.begun),
            "names": [name for name in names if name not in but],
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.mount.programs"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked))
        process.stdin.close()
        processes.append(process)
        listeners.append(threading.Thread(target=listen, args=(process,)))
        listeners[-1].start()
    try:
        yield acknowledged
        for process in processes:
            process.wait(PATIENCE)
    finally:
        for process, listener in zip(processes, listeners, strict=True):
            process.kill()
            process.wait()
            listener.join()
            assert process.stdout is not None
            process.stdout.close()


# ---- what is there afterwards


def look(place: Path, known: Known) -> None:
    assert [str(path) for path in place.rglob("*") if "(conflict" in path.name] == []
    if not (place / "saved").exists() and (place / "saved~").exists():
        assert known.begun.get("saved", 0) > known.noted.get("saved", 0), "saved is gone: its new version was synced"
        (place / "saved~").rename(place / "saved")
    for name in ("written", "renamed", "saved", "timed"):
        found_version(place / name, name, known)
    if (place / "recreated").exists() or known.begun.get("recreated", 0) == known.noted.get("recreated", 0):
        found_version(place / "recreated", "recreated", known)
    look_at_grown(place, known)
    look_at_shared(place, known)
    if last := known.noted.get("mapped", 0):
        assert (place / f"mapped{last % 2}").read_bytes() == programs.whole("mapped", last), f"mapped {last}"
    look_at_log(place / "log", known)
    for mode in ("wal", "delete"):
        look_at_database(place / f"db.{mode}", known)
    look_at_tree(place / "tree", known)


def found_version(path: Path, name: str, known: Known, content: Callable[[int], bytes] | None = None) -> None:
    least = known.noted.get(name, 0)
    most = max(least, known.begun.get(name, 0))
    if not path.exists():
        assert least == 0, f"{name} is lost: version {least} was acknowledged"
        return
    data, status = path.read_bytes(), path.stat()
    assert status.st_size == len(data), name
    of_version = content or (lambda version: programs.whole(name, version))
    fits = [version for version in range(least, most + 1) if version and data == of_version(version)]
    if not fits:
        version = int.from_bytes(data[:8], "big")
        raise AssertionError(f"{name}: {len(data)} bytes that begin as {version} are none of {least} to {most}")
    if fits[0] == least and name in known.status:
        mtime_ns = status.st_mtime_ns if known.times else known.status[name][0]
        assert (mtime_ns, status.st_mode & 0o7777) == known.status[name], f"{name}, version {least}"
    known.stands(name, fits[0])
    if name == "timed":
        os.utime(path, ns=(programs.own_time(fits[0]),) * 2)
        path.chmod(programs.own_mode(fits[0]))
    known.status[name] = path.stat().st_mtime_ns, path.stat().st_mode & 0o7777


def look_at_grown(place: Path, known: Known) -> None:
    found_version(place / "grown", "grown", known, programs.grown)


def look_at_shared(place: Path, known: Known) -> None:
    """Its new content was perhaps published in part, by the end of the process that had it open too."""
    path, least = place / "shared", known.noted.get("shared", 0)
    most = known.begun.get("shared", 0)
    data = path.read_bytes() if path.exists() else b""
    if least and data == programs.whole("shared", least):
        return
    assert most > least or not data, f"shared: {len(data)} bytes, {least} was acknowledged, {most} begun"
    assert programs.whole("shared", most)[: len(data)] == data, f"shared: {len(data)} bytes are no part of {most}"
    if most:
        path.write_bytes(programs.whole("shared", most))
        known.stands("shared", most)


def look_at_log(path: Path, known: Known) -> None:
    data = path.read_bytes() if path.exists() else b""
    lines = data[: len(data) // programs.RECORD * programs.RECORD]
    if len(lines) < len(data):
        os.truncate(path, len(lines))
    found: dict[str, list[int]] = {"log.one": [], "log.two": []}
    for at in range(0, len(lines), programs.RECORD):
        name, version, _ = lines[at : at + programs.RECORD].decode().split(" ")
        assert lines[at : at + programs.RECORD] == programs.record(name, int(version))
        found[name].append(int(version))
    for name, versions in found.items():
        assert versions == sorted(set(versions)), name
        last = versions[-1] if versions else 0
        assert known.noted.get(name, 0) <= last <= max(known.noted.get(name, 0), known.begun.get(name, 0)), name
        known.stands(name, last)


def look_at_database(path: Path, known: Known) -> None:
    name, least = path.name, known.noted.get(path.name, 0)
    if not least:
        return
    db = sqlite3.connect(path, timeout=60)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",), name
        (last,) = db.execute("SELECT max(version) FROM t").fetchone()
    finally:
        db.close()
    assert least <= last <= max(least, known.begun.get(name, 0)), f"{name}: {last}, but {least} was committed"
    known.stands(name, last)


def look_at_tree(top: Path, known: Known) -> None:
    least = known.noted.get("tree", 0)
    most = max(least, known.begun.get("tree", 0))
    now = top / "now"
    if not (now / "version").exists():
        assert most > least or not least, "the tree is gone"
        now = top / "old"
    if not now.exists():
        assert least == 0, f"both trees are gone: version {least} was acknowledged"
        return
    version = int.from_bytes((now / "version").read_bytes(), "big")
    assert least <= version <= most, f"the tree is version {version}, {least} to {most} expected"
    found = {str(path.relative_to(now)): path for path in now.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: programs.member(name, version) for name in programs.TREE
    }
    expected = (programs.own_time(version), programs.own_mode(version))
    assert {
        name: (path.stat().st_mtime_ns if known.times else expected[0], path.stat().st_mode & 0o7777)
        for name, path in found.items()
    } == dict.fromkeys(programs.TREE, expected)
    assert os.readlink(now / "link") == f"to/{version}"
    if now.name == "now":
        known.stands("tree", version)


def shown(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


# ---- remotes


@dataclass(frozen=True)
class Remote:
    """Where it is, what the environment says of it, and what it has."""

    address: str
    env: dict[str, str]
    files: Callable[[], dict[str, bytes]]
    is_idle: Callable[[], bool] = lambda: True  # whether nothing is at work there that was sent


@contextlib.contextmanager
def directory(scratch: Path, rng: random.Random) -> Iterator[Remote]:
    del rng
    served = scratch / "served"
    served.mkdir()
    yield Remote(str(served), {}, lambda: shown(served))


@contextlib.contextmanager
def unreliable(
    service: Callable[[], contextlib.AbstractContextManager[services.Account]], rng: random.Random, *, lost: bool
) -> Iterator[Remote]:
    """Some changes are refused; with `lost` some are done, and their answer is an error."""
    lock = threading.Lock()

    def troubled(handle: Callable[[FakeRequest], FakeResponse]) -> Callable[[FakeRequest], FakeResponse]:
        def answer(request: FakeRequest) -> FakeResponse:
            with lock:
                luck = rng.random()
            if request.method in {"GET", "HEAD", "PROPFIND"} or luck > 0.06:
                return handle(request)
            if lost and luck > 0.03:
                handle(request)
            return FakeResponse(503)

        return answer

    with service() as account:
        account.trouble = troubled
        yield Remote(account.address, account.env, account.files, account.is_idle)


REMOTES = {
    "directory": directory,
    "s3": lambda scratch, rng: unreliable(services.s3, rng, lost=True),
    "webdav": lambda scratch, rng: unreliable(services.webdav, rng, lost=False),
}
WAYS = {
    "directory, at once": ("directory", "--cache", "0"),
    "directory, later": ("directory",),
    "directory, through the mount": ("directory", "--cache", "0", "--no-passthrough"),
    "directory, libfuse": ("directory", "--cache", "0"),
    "directory, read": ("directory", "--cache-mode", "read"),
    "directory, off": ("directory", "--cache-mode", "off"),
    "directory, fsync remote": ("directory", "--fsync", "remote"),
    "s3, at once": ("s3", "--cache", "0"),
    "s3, later": ("s3", "--cache", "2s"),
    "webdav, at once": ("webdav", "--cache", "0"),
}
EACH_MERGE = {"directory, at once": 2, "directory, through the mount": 1}


def keep(mount: Mount, evidence: Path) -> None:
    """What the kill left, before anything changes it."""
    shutil.rmtree(evidence, ignore_errors=True)
    shutil.copytree(
        mount.env["XDG_STATE_HOME"], evidence / "state", symlinks=True, ignore=shutil.ignore_patterns("*.sock")
    )
    if os.path.isdir(mount.address):
        shutil.copytree(mount.address, evidence / "served", symlinks=True)


@pytest.mark.parametrize("way", WAYS if FULL else EACH_MERGE)
def test_programs_find_what_was_acknowledged_after_kills(tmp_path, record_property, way):
    kind, *flags = WAYS[way]
    rng = random.Random(f"{SEED}/{way}")
    known = Known(times=kind != "webdav")
    with contextlib.ExitStack() as stack:
        remote = stack.enter_context(REMOTES[kind](tmp_path, rng))
        env = Cftool(tmp_path / "home", remote.env).environment()
        but: frozenset[str] = frozenset()
        if "libfuse" in way:
            env["CFTOOL_MOUNT_BINDING"] = "libfuse"
            but = frozenset(
                {"read_mapped:renamed"}
            )  # to map a file one asks for its status: see cftool/mount/libfuse.py
        mount = stack.enter_context(mounted(remote.address, tmp_path / "mnt", env, *flags))
        budget = Budget(EACH_MERGE.get(way, 1), seconds=MINUTES * 60)
        while budget.goes_on():
            with running(mount.place, known, but=but) as acknowledged:
                for _ in range(rng.randrange(1, 120)):
                    assert acknowledged.acquire(timeout=PATIENCE), "the programs do not get on"
                    assert known.wrong == []
                mount.kill()
            assert known.wrong == []
            services.until("the service is still at what the killed one had sent", remote.is_idle)
            before = dataclasses.replace(known, noted=dict(known.noted), begun=dict(known.begun))
            if FULL:
                keep(mount, tmp_path / "evidence")
            mount.mount()
            try:
                look(mount.place, known)
            except AssertionError:
                print(before)
                raise
        expected = shown(mount.place)
        mount.umount()
        left = remote.files()
    assert {
        name: data for name, data in left.items() if "/.cftool-" not in f"/{name}" and not name.endswith(".rclonelink")
    } == expected
    assert "damaged" not in mount.log.read_text()
    record_property("kills", budget.done)
    record_property("acknowledgements", known.count)
