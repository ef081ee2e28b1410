"""Kills of a mount under load, and a look through the next mount at what is left.

Writers write version after version of their files, each in its own way, and note what the mount has acknowledged, by a
close or an fsync. The process of the mount is killed after a random number of acknowledgements. Then every file is one
whole version, none older than what was noted; a file that was neither closed nor synced is not there; and at the end
the remote has what the last mount showed.
"""

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.mount.mounted import Mount, missing_fuse, mounted
from tests.sizes import FULL, SEED, Budget
from tests.trees import content

pytestmark = [
    pytest.mark.real,
    pytest.mark.crash,
    pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse())),
    pytest.mark.timeout(7200 if FULL else 600),
]
MINUTES = 40  # at release size: as many kills as fit
RECORD = 100


def whole(name: str, version: int) -> bytes:
    return version.to_bytes(8, "big") + content(f"{name}/{version}", 1_000 + 911 * version % 60_000)


def record(version: int) -> bytes:
    return version.to_bytes(8, "big") + content(f"log/{version}", RECORD - 8)


class Writers:
    """Each writes until the mount is gone; `noted` has the last acknowledged version of a file, `begun` the last."""

    def __init__(self, place: Path, noted: dict[str, int]) -> None:
        self.place = place
        self.noted = noted
        self.begun: dict[str, int] = {}
        self.wanted = threading.Semaphore(0)
        self.threads = [
            threading.Thread(target=self.run, args=(steps,))
            for steps in (
                self.closed("closed"),
                self.synced("d/synced"),
                self.renamed("d/renamed"),
                self.appended("log"),
            )
        ]

    def run(self, steps: Iterator[None]) -> None:
        try:
            for _ in steps:
                self.wanted.release()
        except OSError:
            pass  # the mount is gone

    def versions(self, name: str) -> Iterator[int]:
        version = self.noted.get(name, 0)
        while True:
            version += 1
            self.begun[name] = version
            yield version
            self.noted[name] = version

    def closed(self, name: str) -> Iterator[None]:
        for version in self.versions(name):
            (self.place / name).write_bytes(whole(name, version))
            yield

    def synced(self, name: str) -> Iterator[None]:
        """In place, through one descriptor; two files in turn, because a rewrite in place may be seen half done."""
        for version in self.versions(name):
            fd = os.open(self.place / f"{name}{version % 2}", os.O_WRONLY | os.O_CREAT)
            try:
                data = whole(name, version)
                os.write(fd, data)
                os.ftruncate(fd, len(data))
                os.fsync(fd)
                yield
            finally:
                os.close(fd)

    def renamed(self, name: str) -> Iterator[None]:
        for version in self.versions(name):
            new = self.place / f"{name}.new"
            new.write_bytes(whole(name, version))
            new.rename(self.place / name)
            yield

    def appended(self, name: str) -> Iterator[None]:
        """Records at the end, each synced, the file open all the time."""
        fd = os.open(self.place / name, os.O_WRONLY | os.O_CREAT)
        try:
            for version in self.versions(name):
                os.pwrite(fd, record(version)[: RECORD // 2], (version - 1) * RECORD)
                os.pwrite(fd, record(version)[RECORD // 2 :], (version - 1) * RECORD + RECORD // 2)
                os.fsync(fd)
                yield
        finally:
            os.close(fd)


def one_kill(mount: Mount, noted: dict[str, int], acknowledged: int) -> dict[str, int]:
    """Write, kill after so many acknowledgements; what was begun."""
    unfinished = os.open(mount.place / "unfinished", os.O_WRONLY | os.O_CREAT)
    os.write(unfinished, b"never closed before the end")
    writers = Writers(mount.place, noted)
    for thread in writers.threads:
        thread.start()
    for _ in range(acknowledged):
        assert writers.wanted.acquire(timeout=300), "the writers do not get on"
    mount.kill()
    for thread in writers.threads:
        thread.join(300)
    with pytest.raises(OSError, match=r"not connected|abort"):
        os.close(unfinished)
    return writers.begun


def look(place: Path, noted: dict[str, int], begun: dict[str, int]) -> None:
    """Every file is whole, and not older than what was acknowledged; what is there counts from now on."""
    assert not (place / "unfinished").exists()
    assert [name for name in shown(place) if "(conflict" in name] == []
    for name in ("closed", "d/renamed"):
        least = noted.get(name, 0)
        noted[name] = found_version(place / name, name, least, max(least, begun.get(name, 0)))
    name = "d/synced"
    last = noted.get(name, 0)
    if last:
        found_version(place / f"{name}{last % 2}", name, last, last)
    if begun.get(name, 0) > last:  # it may be half done: it is written anew
        noted[name] = begun[name] + 1
        (place / f"{name}{noted[name] % 2}").write_bytes(whole(name, noted[name]))
    log = (place / "log").read_bytes() if (place / "log").exists() else b""
    count = len(log) // RECORD
    least = noted.get("log", 0)
    assert least <= count <= max(least, begun.get("log", 0))
    assert log[: count * RECORD] == b"".join(record(number) for number in range(1, count + 1))
    noted["log"] = count


def found_version(path: Path, name: str, least: int, most: int) -> int:
    if not path.exists():
        assert least == 0, f"{name} is lost: version {least} was acknowledged"
        return 0
    data = path.read_bytes()
    version = int.from_bytes(data[:8], "big")
    assert data == whole(name, version), f"{name} is torn"
    assert least <= version <= most, f"{name} is version {version}; {least} was acknowledged, {most} was begun"
    return version


def shown(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_no_acknowledged_file_is_lost_or_torn_by_kills(tmp_path, record_property):
    rng = random.Random(SEED)
    served = tmp_path / "served"
    served.mkdir()
    noted: dict[str, int] = {}
    total = 0
    with mounted(str(served), tmp_path / "mnt", Cftool(tmp_path / "home").environment(), "--cache", "0") as mount:
        (mount.place / "d").mkdir()
        budget = Budget(20, seconds=MINUTES * 60)
        while budget.goes_on():
            acknowledged = rng.randrange(1, 40)
            begun = one_kill(mount, noted, acknowledged)
            total += acknowledged
            mount.mount()
            look(mount.place, noted, begun)
        expected = shown(mount.place)
        mount.umount()
    left = shown(served)
    assert {name: data for name, data in left.items() if "/.cftool-" not in f"/{name}"} == expected
    assert "damaged" not in mount.log.read_text()
    record_property("kills", budget.done)
    record_property("acknowledged files", total)
