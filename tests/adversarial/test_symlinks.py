"""A racer swaps directories and files of the destination for symbolic links while `cftool` writes there.

Whatever the run comes to, nothing outside of the destination may change: no byte, no name, no time.
"""

import contextlib
import itertools
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.servers import new_bucket
from tests.sizes import FULL

SWAPS = 10_000 if FULL else 200
NAMES = tuple(f"file{n}" for n in range(12))


class Racer:
    """Swaps in a thread until it is told to stop; `swaps` counts the links that were in place."""

    def __init__(self, target: Path, outside: Path) -> None:
        self.swaps = 0
        self._target = target
        self._outside = outside
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Racer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            if turn % 2:
                self._swap(self._target / "sub", self._outside)
            else:
                self._swap(self._target / "sub" / NAMES[turn % len(NAMES)], self._outside / NAMES[turn % len(NAMES)])

    def _swap(self, path: Path, link: Path) -> None:
        """`path` is a link for a moment, then again what it was, or what the run made meanwhile."""
        aside = self._target / ".aside"
        with contextlib.suppress(OSError):
            os.rename(path, aside)
        try:
            os.symlink(link, path)
        except OSError:  # the run was faster, or the directory is not there yet
            shutil.rmtree(aside, ignore_errors=True)
            with contextlib.suppress(OSError):
                aside.unlink()
            return
        self.swaps += 1
        self._stop.wait(0.0005)  # long enough for a system call of the other side
        with contextlib.suppress(OSError):
            if path.is_symlink():
                path.unlink()
        with contextlib.suppress(OSError):
            os.rename(aside, path)
        shutil.rmtree(aside, ignore_errors=True)


def outside_state(outside: Path) -> dict[str, tuple[bytes, int, int]]:
    """All that could change."""
    return {
        str(path.relative_to(outside)): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mtime_ns,
            path.stat().st_ino,
        )
        for path in [outside, *sorted(outside.rglob("*"))]
    }


@pytest.fixture
def places(tmp_path):
    source, target, outside = (tmp_path / name for name in ("source", "target", "outside"))
    (source / "sub").mkdir(parents=True)
    (target / "sub").mkdir(parents=True)
    outside.mkdir()
    for name in NAMES:
        (source / "sub" / name).write_bytes(name.encode() * 500)
        (outside / name).write_bytes(b"victim")
    (outside / "kept").mkdir()
    return source, target, outside


def race(user: Cftool, places, command, record_property) -> None:
    source, target, outside = places
    before = outside_state(outside)
    codes: dict[int, int] = {}
    runs = 0
    with Racer(target, outside) as racer:
        while racer.swaps < SWAPS or runs < 5:
            done = user.run(*command(runs), code=None)
            codes[done.code] = codes.get(done.code, 0) + 1
            runs += 1
            for name in NAMES:  # so that there is something to do again
                (source / "sub" / name).write_bytes(f"{runs} ".encode() * 500)
            with contextlib.suppress(OSError):
                (target / "sub").mkdir()
            assert outside_state(outside) == before
    assert outside_state(outside) == before
    assert set(codes) <= {0, 1, 3, 7}, codes
    assert not [path for path in outside.rglob("*") if "cftool" in path.name]
    record_property("swaps", racer.swaps)
    record_property("runs", runs)


def test_a_local_copy_never_writes_through_a_link(tmp_path, places, record_property):
    source, target, _ = places
    user = Cftool(tmp_path / "home")
    user.home.mkdir()
    race(user, places, lambda _turn: ("cp", "-r", source, target), record_property)


def test_a_local_sync_never_deletes_through_a_link(tmp_path, places, record_property):
    source, target, _ = places
    user = Cftool(tmp_path / "home")
    user.home.mkdir()

    def command(turn):
        victim = source / "sub" / NAMES[turn % len(NAMES)]
        if turn % 2:
            victim.unlink(missing_ok=True)  # to be deleted at the destination, where a link may have its name
        return ("sync", source, target, "--force-delete")

    race(user, places, command, record_property)


def test_a_download_never_writes_through_a_link(tmp_path, places, rclone_server, record_property):
    source, target, _ = places
    home = tmp_path / "home"
    home.mkdir()
    user = Cftool(home).with_server(rclone_server)
    place = f"lab:{new_bucket(rclone_server)}/tree"
    user.run("cp", "-r", source, place)

    def command(turn):
        if turn:
            user.run("cp", "-r", source, place)
        return ("sync", place, target, "--force-delete")

    race(user, places, command, record_property)


def test_the_racer_does_harm_a_writer_that_follows_paths(places):
    """The control: what these tests look for happens to a program without protection."""
    _, target, outside = places
    before = outside_state(outside)
    with Racer(target, outside) as racer:
        for turn in range(200_000):
            with contextlib.suppress(OSError):
                (target / "sub" / NAMES[turn % len(NAMES)]).write_bytes(b"through")
            if turn % 100 == 0 and outside_state(outside) != before:
                break
    assert outside_state(outside) != before, racer.swaps
