"""After a power cut at any moment: whole files under final names, acknowledged bytes there, state that opens.

What was not synced is lost: all of it, its data but not its names, or any part. See `powercut`.
"""

import os
import platform
import shutil
import sqlite3
import sys

import pytest

from cftool.core.provider import Secret
from cftool.core.types import Entry, Kind
from cftool.disk import partial, temps
from cftool.disk.root import Root
from cftool.http.oauth import Token, TokenFile
from cftool.transfer.state import PairState
from tests.adversarial.powercut import Disk, Op, record
from tests.sizes import FULL, SEED

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the recorder knows the calls of Linux on x86-64"
)
CHANCES = 40 if FULL else 2
OLD, NEW = b"old " * 700, b"new content " * 900


def entry(name: str, data: bytes) -> Entry:
    return Entry(name, Kind.FILE, len(data), 1_600_000_000_000_000_000, None, "v1")


def files(root) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Lab:
    """A directory whose operations are recorded, and another where states of it are made."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "tree"
        self.cut = tmp_path / "cut"
        self.root.mkdir()
        self.states = 0

    def record(self, action) -> Disk:
        return record(self.root, action)

    def put(self, **data):
        for name, content in data.items():
            path = self.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def cuts(self, disk: Disk):
        for cut in disk.cuts(self.cut, chances=CHANCES, seed=SEED):
            self.states += 1
            yield cut


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def kinds(disk: Disk) -> set[str]:
    return {op.kind for op in disk.ops}


def test_the_recorder_sees_a_writer_that_forgets_to_sync(lab):
    """The control: what these tests look for happens to a program without syncs."""
    lab.put(file=OLD)

    def careless(_acknowledge):
        temp = lab.root / "temp"
        temp.write_bytes(NEW)
        os.rename(temp, lab.root / "file")

    disk = lab.record(careless)
    assert [op.kind for op in disk.ops] == ["create", "write", "rename"]
    assert {files(lab.cut).get("file") for _ in lab.cuts(disk)} >= {OLD, b""}


def test_files_are_whole_and_acknowledged_ones_are_there(lab, record_property):
    names = ["replaced", "sub/replaced too", "new", "made/deep/new too"]
    lab.put(replaced=OLD, **{"sub__replaced too": OLD})

    def write(acknowledge):
        with Root(str(lab.root)) as root:
            for name in names:
                root.target(name).save(NEW, entry(name, NEW))
                assert root.flush() == []
                acknowledge(name.replace(" ", "_") + " ")

    disk = lab.record(write)
    assert {"create", "write", "sync", "rename", "syncdir", "mkdir", "ack"} <= kinds(disk)
    for cut in lab.cuts(disk):
        found = files(lab.cut)
        done = {name.replace("_", " ") for name in cut.acknowledged}
        for name in names:
            allowed = {NEW} if name in done else {NEW, OLD} if "replaced" in name else {NEW, None}
            assert found.get(name) in allowed, (cut, name)
        assert {name for name in found if not temps.is_temp(os.path.basename(name))} <= set(names), cut
        with Root(str(lab.cut)) as root:
            temps.sweep(root)
        assert not [name for name in files(lab.cut) if temps.is_temp(os.path.basename(name))]
    record_property("states", lab.states)


def test_groups_of_files_are_whole_and_acknowledged_ones_are_there(lab, record_property):
    names = [f"d{n % 3}/f{n}" for n in range(24)]
    lab.put(**{name.replace("/", "__"): OLD for name in names[:12]})

    def write(acknowledge):
        with Root(str(lab.root)) as root:
            for name in names:
                root.target(name).save(NEW, entry(name, NEW))
            assert root.flush() == []
            acknowledge("all ")

    disk = lab.record(write)
    for cut in lab.cuts(disk):
        found = files(lab.cut)
        for number, name in enumerate(names):
            allowed = {NEW} if cut.acknowledged else {NEW, OLD if number < 12 else None}
            assert found.get(name) in allowed, (cut, name)
    record_property("states", lab.states)


def test_a_partial_download_believes_only_what_is_there(lab, record_property, monkeypatch):
    data = os.urandom(300_000)
    what = entry("large", data)

    def write(acknowledge):
        with Root(str(lab.root)) as root:
            part = root.target("large").begin(what)
            for start, end in part.missing(50_000)[:5]:
                part.write_at(data[start:end], start)
                part.done(start, end)
            part.close()
        acknowledge("closed ")

    disk = lab.record(write)
    monkeypatch.setattr(partial, "_boot", lambda: "after the cut")
    kept = 0
    for cut in lab.cuts(disk):
        with Root(str(lab.cut)) as root:
            part = root.target("large").begin(what)
            missing = part.missing(50_000)
            kept = max(kept, len(data) - sum(end - start for start, end in missing))
            for start, end in missing:
                part.write_at(data[start:end], start)
                part.done(start, end)
            part.commit(what)
            part.close()
            assert root.flush() == [], cut
        assert (lab.cut / "large").read_bytes() == data, cut
    record_property("states", lab.states)


def test_the_state_database_opens_and_has_what_was_committed(lab, record_property):
    rounds = 6 if FULL else 3

    def write(acknowledge):
        state = PairState(str(lab.root / "pair.sqlite"), identity="i", folding="f")
        for number in range(rounds):
            for row in range(10):
                state.put(b"file%d" % row, number, f"v{number}", f"@{number}")
            state.flush()
            acknowledge(f"{number} ")
        state.close()

    disk = lab.record(write)
    assert {"write", "sync", "ack"} <= kinds(disk)
    for cut in lab.cuts(disk):
        shutil.rmtree(lab.cut / "damaged", ignore_errors=True)
        (lab.cut / "pair.sqlite-shm").unlink(missing_ok=True)  # memory that the processes shared: it is gone
        state = PairState(str(lab.cut / "pair.sqlite"), identity="i", folding="f")
        try:
            rows = dict(state.rows())
            assert cut.acknowledged == () or state.damaged is None, cut
        finally:
            state.close()
        versions = {row[1] for row in rows.values()}
        assert len(versions) <= 1, cut  # a commit is there whole, or not at all
        if cut.acknowledged:
            assert len(rows) == 10, cut
            assert min(versions) >= int(cut.acknowledged[-1]), cut
        database = sqlite3.connect(lab.cut / "pair.sqlite")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), cut
        database.close()
    record_property("states", lab.states)


def test_the_token_file_is_the_old_or_the_new_one(lab, record_property):
    def token(number):
        return Token(Secret(f"access {number}"), 1e12, Secret(f"refresh {number}"))

    def write(acknowledge):
        tokens = TokenFile(str(lab.root), "p", "r")
        for number in range(3):
            tokens.save("source", token(number))
            acknowledge(f"{number} ")

    disk = lab.record(write)
    for cut in lab.cuts(disk):
        found = TokenFile(str(lab.cut), "p", "r").load("source")
        least = int(cut.acknowledged[-1]) if cut.acknowledged else None
        if found is None:
            assert least is None, cut
            # Nothing, not half of something: a damaged file would be told by a warning and cost a login.
            assert not os.path.exists(TokenFile(str(lab.cut), "p", "r").path), cut
        else:
            assert found in [token(number) for number in range(least or 0, 3)], cut
    record_property("states", lab.states)


def test_operations_are_recorded_as_they_are(lab):
    def act(acknowledge):
        fd = os.open(lab.root / "a", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"12345")
        os.pwrite(fd, b"X", 2)
        os.ftruncate(fd, 4)
        os.fsync(fd)
        os.close(fd)
        os.mkdir(lab.root / "d")
        os.link(lab.root / "a", lab.root / "d/b")
        os.unlink(lab.root / "a")
        acknowledge("x ")

    disk = lab.record(act)
    file = disk.ops[0].file
    assert disk.ops == [
        Op("create", file, "", "a"),
        Op("write", file, offset=0, data=b"12345"),
        Op("write", file, offset=2, data=b"X"),
        Op("truncate", file, offset=4),
        Op("sync", file),
        Op("mkdir", 0, "", "d"),
        Op("link", file, "", "a", "d", "b"),
        Op("unlink", 0, "", "a"),
        Op("ack", data=b"x "),
    ]
    *_, (last, how) = [(files(lab.cut), cut.how) for cut in lab.cuts(disk) if cut.how == "names kept"]
    assert (last, how) == ({"d/b": b"12X4"}, "names kept")
