"""The file system without FUSE: what it keeps, what it refuses, and what happens at the same time."""

import errno
import os
import stat
import threading
from dataclasses import replace

import pytest

from cftool.core.errors import NotFound, TemporaryError
from cftool.testing.faulty import Fault, FaultyStore
from cftool.vfs import Attributes, Vfs, VfsSettings
from cftool.vfs.nodes import ROOT
from cftool.vfs.openfile import OpenFile
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import Clock, cached, get, put


@pytest.fixture
def memory():
    return MemoryStore()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(memory, directory, clock):
    """A function that opens the file system, again and again."""
    left = []

    def close():
        if left:
            vfs = left.pop()
            vfs.close()
            vfs.store.close()

    def opened(inner=memory, settings=None):
        close()
        store = cached(inner, directory)
        settings = settings or VfsSettings(uid=1, gid=1)
        vfs = Vfs(store, settings, attributes=Attributes(str(directory / "attributes.sqlite")), clock=clock)
        left.append(vfs)
        return vfs

    yield opened
    close()


@pytest.fixture
def vfs(opened):
    return opened()


def names(vfs, number=ROOT):
    handle = vfs.opendir(number)
    found = [name for name, _ in vfs.readdir(handle)]
    vfs.releasedir(handle)
    return sorted(found)[2:]


def make(vfs, name, data=b"", *, parent=ROOT):
    attr, handle = vfs.create(parent, name, 0o644, os.O_WRONLY)
    vfs.write(handle, data, 0)
    vfs.flush(handle)
    vfs.release(handle)
    return attr.id


def number(error):
    return error.value.errno


# ---- what is kept


def test_file_that_was_made_by_opening_it_for_reading_is_kept(vfs, memory):
    _, handle = vfs.create(ROOT, "f", 0o644, os.O_RDONLY | os.O_EXCL)
    vfs.flush(handle)
    vfs.release(handle)
    assert vfs.store.flush() == []
    assert get(memory, "f") == b""


def test_file_that_was_emptied_by_opening_it_for_reading_is_empty(vfs, memory):
    file = make(vfs, "f", b"data")
    handle = vfs.open(file, os.O_RDONLY | os.O_TRUNC)
    vfs.flush(handle)
    vfs.release(handle)
    assert vfs.store.flush() == []
    assert get(memory, "f") == b""


def test_reader_that_closes_publishes_nothing_of_a_writer(vfs):
    attr, writer = vfs.create(ROOT, "f", 0o644, os.O_WRONLY)
    vfs.write(writer, b"half", 0)
    reader = vfs.open(attr.id, os.O_RDONLY)
    assert vfs.read(reader, 10, 0) == b"half"
    vfs.flush(reader)
    vfs.release(reader)
    assert vfs.store.pending() == []


def test_special_files_are_kept_here_and_nowhere_else(opened, memory):
    vfs = opened()
    folder = vfs.mkdir(ROOT, "d", 0o755).id
    vfs.mknod(folder, "fifo", stat.S_IFIFO | 0o640, 0, uid=7, gid=8)
    vfs.mknod(folder, "device", stat.S_IFCHR | 0o600, 259)
    vfs.rename(ROOT, "d", ROOT, "e")
    assert vfs.store.flush() == []
    vfs = opened()
    folder = vfs.lookup(ROOT, "e").id
    assert names(vfs, folder) == ["device", "fifo"]
    fifo, device = vfs.lookup(folder, "fifo"), vfs.lookup(folder, "device")
    assert (fifo.mode, fifo.uid, fifo.gid) == (stat.S_IFIFO | 0o640, 7, 8)
    assert (device.mode, device.rdev) == (stat.S_IFCHR | 0o600, 259)
    assert [entry.path for entry in memory.walk("")] == ["e"]
    with pytest.raises(OSError, match="not empty"):
        vfs.rmdir(ROOT, "e")
    vfs.setattr(fifo.id, mode=0o600, mtime_ns=1)
    vfs.unlink(folder, "device")
    vfs = opened()
    folder = vfs.lookup(ROOT, "e").id
    assert names(vfs, folder) == ["fifo"]
    assert vfs.lookup(folder, "fifo").mode == stat.S_IFIFO | 0o600


def test_special_files_and_others_replace_each_other(vfs, memory):
    make(vfs, "file", b"f")
    vfs.mknod(ROOT, "fifo", stat.S_IFIFO | 0o644, 0)
    vfs.rename(ROOT, "fifo", ROOT, "file")
    assert vfs.store.flush() == []
    assert list(memory.walk("")) == []
    make(vfs, "other", b"o")
    vfs.rename(ROOT, "other", ROOT, "file")
    assert vfs.store.flush() == []
    assert get(memory, "file") == b"o"
    assert stat.S_ISREG(vfs.lookup(ROOT, "file").mode)
    with pytest.raises(FileExistsError):
        vfs.mknod(ROOT, "file", stat.S_IFIFO | 0o644, 0)


def test_modes_owners_and_times_of_directories_are_kept_until_they_change(opened):
    vfs = opened()
    folder = vfs.mkdir(ROOT, "d", 0o700, uid=5, gid=6).id
    vfs.setattr(folder, mtime_ns=10**18)
    vfs.setattr(folder, mode=0o750)
    found = opened().lookup(ROOT, "d")
    assert (stat.S_IMODE(found.mode), found.uid, found.gid, found.mtime_ns) == (0o750, 5, 6, 10**18)
    vfs = opened()
    folder = vfs.lookup(ROOT, "d").id
    make(vfs, "f", parent=folder)
    found = opened().lookup(ROOT, "d")
    assert (stat.S_IMODE(found.mode), found.uid, found.gid) == (0o750, 5, 6)
    assert found.mtime_ns > 10**18


def test_table_of_an_older_version_is_taken_over(tmp_path):
    import sqlite3

    path = str(tmp_path / "attributes.sqlite")
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE attributes (path BLOB PRIMARY KEY, mode INTEGER, uid INTEGER, gid INTEGER) WITHOUT ROWID"
        )
        db.execute("INSERT INTO attributes VALUES (?, ?, ?, ?)", (b"f", 0o600, 1, 2))
    db.close()
    attributes = Attributes(path)
    found = attributes.get("f")
    assert found is not None
    assert (found.mode, found.uid, found.gid, found.rdev, found.mtime_ns) == (0o600, 1, 2, None, None)
    attributes.close()


# ---- what is shown


def test_links_are_counted(vfs):
    file = make(vfs, "f")
    folder = vfs.mkdir(ROOT, "d", 0o755).id
    vfs.mkdir(folder, "below", 0o755)
    assert [vfs.getattr(n).links for n in (file, folder)] == [1, 3]
    vfs.mkdir(ROOT, "e", 0o755)
    vfs.rename(folder, "below", ROOT, "e")  # over an empty one
    assert vfs.getattr(folder).links == 2
    handle = vfs.open(file, os.O_RDONLY)
    vfs.unlink(ROOT, "f")
    assert vfs.getattr(file).links == 0
    vfs.release(handle)


def test_names_that_are_too_long_are_refused_before_anything_is_done(vfs):
    long = "n" * 256
    for call in (lambda: vfs.lookup(ROOT, long), lambda: vfs.mkdir(ROOT, long, 0o755), lambda: make(vfs, long)):
        with pytest.raises(OSError, match="too long") as error:
            call()
        assert number(error) == errno.ENAMETOOLONG


def test_paths_that_the_service_cannot_hold_are_refused(opened, memory):
    class Short(MemoryStore):
        @property
        def features(self):
            features = super().features
            return replace(features, names=replace(features.names, path_bytes=10))

    vfs = opened(Short())
    folder = vfs.mkdir(ROOT, "123456", 0o755).id
    make(vfs, "890", parent=folder)
    with pytest.raises(OSError, match="too long") as error:
        make(vfs, "8901", parent=folder)
    assert number(error) == errno.ENAMETOOLONG
    assert names(vfs, folder) == ["890"]


def test_a_name_means_what_the_service_takes_it_for(opened, memory):
    class Folding(MemoryStore):
        @property
        def features(self):
            features = super().features
            return replace(features, names=replace(features.names, case_sensitive=False, unicode_form="NFC"))

    remote = Folding()
    for name in ("Stra\u00dfe", "caf\u00e9", "Plain"):
        put(remote, name, b"x")
    vfs = opened(remote)
    found = {name: vfs.lookup(ROOT, name).id for name in ("STRASSE", "Cafe\u0301", "plain")}
    assert found == {
        name: vfs.lookup(ROOT, exact).id
        for name, exact in zip(found, ("Stra\u00dfe", "caf\u00e9", "Plain"), strict=True)
    }
    assert {name: vfs.listing.taken(vfs.node(ROOT), name).id for name in found} == found
    assert vfs.listing.taken(vfs.node(ROOT), "plane") is None
    with pytest.raises(FileNotFoundError):
        vfs.lookup(ROOT, "plane")
    make(vfs, "PLAIN", b"longer")
    vfs.unlink(ROOT, "strasse")
    assert vfs.store.flush() == []
    assert {entry.path: entry.size for entry in remote.walk("")} == {"Plain": 6, "caf\u00e9": 1}


# ---- at the same time


class Slow(FaultyStore):
    """Each listing in `stops` stops when it was answered, until it is told to go on."""

    def __init__(self, inner):
        super().__init__(inner, {})
        self.stops = []

    def scan(self, path):
        entries = list(super().scan(path))
        if self.stops:
            answered, go_on = self.stops.pop(0)
            answered.set()
            assert go_on.wait(60)
        yield from entries

    def stop(self):
        self.stops.append((threading.Event(), threading.Event()))
        return self.stops[-1]


def in_thread(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()

    def result():
        thread.join(60)
        return found[0]

    return result


def test_listing_that_is_older_than_what_was_written_is_not_believed(opened, memory, clock):
    put(memory, "grows", b"x")
    remote = Slow(memory)
    vfs = opened(remote)
    handle = vfs.open(vfs.lookup(ROOT, "grows").id, os.O_WRONLY)
    clock.now += 3600
    answered, go_on = remote.stop()
    listed = in_thread(lambda: names(vfs))
    assert answered.wait(60)
    vfs.write(handle, b"much more", 0)
    vfs.flush(handle)
    vfs.release(handle)
    go_on.set()
    assert listed() == ["grows"]
    assert vfs.lookup(ROOT, "grows").size == 9


def test_nothing_else_waits_for_a_listing(opened, memory):
    put(memory, "d/f", b"x")
    remote = Slow(memory)
    vfs = opened(remote)
    folder = vfs.lookup(ROOT, "d").id
    answered, go_on = remote.stop()
    found = in_thread(lambda: vfs.lookup(folder, "f").size)
    assert answered.wait(60)
    attr = in_thread(lambda: vfs.getattr(folder))
    assert attr().id == folder
    go_on.set()
    assert found() == 1


def test_listing_that_is_older_than_changed_names_is_not_believed(opened, memory, clock):
    for name in ("gone", "old"):
        put(memory, name, b"x")
    remote = Slow(memory)
    vfs = opened(remote)
    first, second = remote.stop(), remote.stop()

    def change():
        vfs.unlink(ROOT, "gone")  # lists, and then goes on
        make(vfs, "new")
        vfs.rename(ROOT, "old", ROOT, "name")

    changed = in_thread(change)
    assert first[0].wait(60)
    clock.now += 1
    listed = in_thread(lambda: names(vfs))
    assert second[0].wait(60)
    first[1].set()
    changed()
    second[1].set()
    assert listed() == ["name", "new"]
    assert names(vfs) == ["name", "new"]


def test_time_that_was_shown_before_the_closing_stays(opened):
    vfs = opened()
    attr, handle = vfs.create(ROOT, "f", 0o644, os.O_WRONLY)
    vfs.write(handle, b"x", 0)
    shown = vfs.getattr(attr.id).mtime_ns
    vfs.flush(handle)
    vfs.release(handle)
    assert opened().lookup(ROOT, "f").mtime_ns == shown


# ---- small files that are closed at the same moment


def begun(vfs, name, data):
    _, handle = vfs.create(ROOT, name, 0o644, os.O_WRONLY)
    vfs.write(handle, data, 0)
    return handle


def test_files_that_are_closed_together_are_durable_with_one_commit(vfs):
    begins = []
    handles = [begun(vfs, name, name.encode()) for name in "abc"]
    again = vfs.open(vfs.child(vfs.node(ROOT), "a").id, os.O_WRONLY)
    assert all(vfs.is_small(handle) for handle in handles)
    vfs.store.journal._db.set_trace_callback(lambda text: begins.append(text) if text.startswith("BEGIN") else None)
    assert vfs.flush_together([*handles, again]) == [None] * 4
    assert len(begins) == 1
    assert sorted(row.path for row in vfs.store.pending()) == ["a", "b", "c"]
    for handle in (*handles, again):
        vfs.release(handle)
    assert len(begins) == 1
    assert {entry.path: get(vfs.store, entry.path) for entry in vfs.store.scan("")} == {"a": b"a", "b": b"b", "c": b"c"}


def test_each_of_several_closes_hears_of_its_own_error(vfs, monkeypatch):
    good, bad, gone = (begun(vfs, name, b"x") for name in ("good", "bad", "gone"))
    vfs.release(gone)
    draft = vfs.handle(bad).file.draft
    monkeypatch.setattr(draft, "enter", lambda when: vfs.node(1_000_000))
    errors = vfs.flush_together([good, bad, gone])
    assert [getattr(error, "errno", None) for error in errors] == [None, errno.ESTALE, errno.EBADF]
    monkeypatch.setattr(draft, "prepare", lambda: vfs.node(1_000_000))
    assert [getattr(error, "errno", None) for error in vfs.flush_together([good, bad])] == [None, errno.ESTALE]
    assert getattr(vfs.flush_together([bad])[0], "errno", None) == errno.ESTALE
    monkeypatch.undo()
    assert vfs.flush_together([bad]) == [None]


@pytest.mark.parametrize("count", [1, 3])
def test_who_closes_hears_once_and_of_what_is_durable_alone(vfs, monkeypatch, count):
    told = []

    def hears(number):
        return lambda: told.append((number, vfs.store.journal._db.in_transaction))

    handles = [begun(vfs, str(number), b"x") for number in range(count)]
    callbacks = [hears(number) for number in range(count)]
    assert vfs.flush_together(handles, callbacks) == [None] * count
    assert sorted(told) == [(number, False) for number in range(count)]
    assert vfs.flush_together(handles, callbacks) == [None] * count  # nothing to do any more
    vfs.write(handles[-1], b"y", 0)
    monkeypatch.setattr(vfs.handle(handles[-1]).file.draft, "enter", lambda when: vfs.node(1_000_000))
    errors = vfs.flush_together(handles, callbacks)
    assert [getattr(error, "errno", None) for error in errors] == [None] * (count - 1) + [errno.ESTALE]
    assert len(told) == count
    monkeypatch.undo()


@pytest.mark.parametrize("lent", [False, True])
@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("flags", [os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC])
def test_what_is_opened_anew_before_the_kernel_tells_of_the_last_end_is_not_published_empty(opened, flags, size, lent):
    """A file of its own must not be cut before the next commit either; `lent`: the kernel writes to it by itself."""
    vfs = opened()
    whole = b"whole" * (size // 5)
    handle = begun(vfs, "f", b"" if lent else whole)
    file = vfs.handle(handle).file
    if lent:
        assert file.given(lambda _fd: 7, writing=True, anew=True, path="f") == 7
        os.pwrite(file.fd, whole, 0)
    vfs.flush(handle)
    again = vfs.open(vfs.child(vfs.node(ROOT), "f").id, flags)
    assert vfs.handle(again).file is file
    assert vfs.getattr(vfs.handle(again).node.id).size == 0
    assert get(vfs.store, "f") == whole
    vfs.release(handle)
    assert get(vfs.store, "f") == whole
    if flags & os.O_WRONLY:
        vfs.write(again, b"new", 0)
    vfs.release(again)
    assert get(vfs.store, "f") == (b"new" if flags & os.O_WRONLY else b"")


@pytest.mark.parametrize("size", [5, 100_000])
def test_what_programs_did_not_finish_is_put_aside_when_the_mount_ends(opened, memory, size):
    """Taken away in use: the whole old files stay, what was synced counts, and what was written is kept."""
    vfs = opened()
    half = b"half!" * (size // 5)
    for name in ("replaced", "emptied", "synced", "edited"):
        make(vfs, name, b"whole old content")
    assert vfs.store.flush() == []
    root = vfs.node(ROOT)
    begun(vfs, "new.bin", half)
    replaced = vfs.open(vfs.child(root, "replaced").id, os.O_WRONLY | os.O_TRUNC)
    vfs.write(replaced, half, 0)
    vfs.open(vfs.child(root, "emptied").id, os.O_WRONLY | os.O_TRUNC)
    edited = vfs.open(vfs.child(root, "edited").id, os.O_RDWR)
    vfs.write(edited, b"WHOLE", 0)
    synced = vfs.open(vfs.child(root, "synced").id, os.O_WRONLY | os.O_TRUNC)
    vfs.write(synced, half, 0)
    vfs.fsync(synced)
    vfs.close(in_use=True)
    assert vfs.store.flush() == []
    when = "(unfinished here 2023-11-14 22-13-20)"
    assert {entry.path: get(memory, entry.path) for entry in memory.scan("")} == {
        "replaced": b"whole old content", "emptied": b"whole old content", "edited": b"whole old content",
        "synced": half, f"new {when}.bin": half, f"replaced {when}": half, f"edited {when}": b"WHOLE old content",
    }  # fmt: skip


def test_what_was_only_given_a_time_since_its_commit_is_not_cut_in_place(vfs):
    whole = b"w" * 100_000
    handle = begun(vfs, "f", whole)
    vfs.flush(handle)
    node = vfs.handle(handle).node.id
    vfs.handle(handle).file.set_time(1)
    again = vfs.open(node, os.O_WRONLY | os.O_TRUNC)
    assert get(vfs.store, "f") == whole
    vfs.release(handle)
    assert get(vfs.store, "f") == whole
    vfs.write(again, b"new", 0)
    vfs.release(again)
    assert get(vfs.store, "f") == b"new"


def test_opening_counts_as_a_change_from_its_beginning_to_the_end_of_its_handle(vfs, monkeypatch):
    """Else who is released meanwhile is the last to change the file, and commits it as it was just emptied."""
    handle = begun(vfs, "f", b"whole")
    vfs.flush(handle)
    node, file = vfs.handle(handle).node, vfs.handle(handle).file
    seen = []

    def count(of, changers):
        seen.append(changers)
        of.counted = changers

    file.counted = file.changers
    monkeypatch.setattr(OpenFile, "changers", property(lambda of: of.counted, count), raising=False)
    again = vfs.open(node.id, os.O_WRONLY | os.O_TRUNC)
    assert min(seen) == seen[-1] == 2
    vfs.release(handle)
    vfs.release(again)
    assert seen[-1] == 0
    monkeypatch.undo()


def test_nothing_is_emptied_between_the_look_of_a_last_end_and_its_commit(opened, monkeypatch):
    """RELEASE and the next OPEN are answered by two threads: the second one gets as far as it can in between."""
    vfs = opened()
    handle = begun(vfs, "f", b"whole")
    vfs.flush(handle)
    vfs.write(handle, b"WHOLE", 0)  # what the kernel writes after the close, of pages that are mapped
    node, file = vfs.handle(handle).node, vfs.handle(handle).file
    far = threading.Event()
    again = []

    def reopen():
        if not file.lock.acquire(blocking=False):
            far.set()  # it would wait: whoever looks has the lock
        else:
            file.lock.release()
        again.append(vfs.open(node.id, os.O_WRONLY | os.O_TRUNC))
        far.set()

    opener = threading.Thread(target=reopen)
    commit = file.commit

    def after_the_look(*args):
        opener.start()
        assert far.wait(60)
        return commit(*args)

    monkeypatch.setattr(file, "commit", after_the_look)
    vfs.release(handle)
    monkeypatch.undo()
    opener.join(60)
    assert get(vfs.store, "f") == b"WHOLE"
    vfs.write(again[0], b"new", 0)
    vfs.release(again[0])
    assert get(vfs.store, "f") == b"new"


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_opening_empties_also_what_somebody_else_opened_meanwhile(opened, monkeypatch, flags):
    vfs = opened()
    vfs.release(begun(vfs, "f", b"whole"))
    node = vfs.child(vfs.node(ROOT), "f")
    edit = vfs.store.edit
    others = []

    def after_another(*args, **how):
        monkeypatch.undo()
        others.append(vfs.open(node.id, flags))
        return edit(*args, **how)

    monkeypatch.setattr(vfs.store, "edit", after_another)
    handle = vfs.open(node.id, os.O_WRONLY | os.O_TRUNC)
    assert vfs.getattr(node.id).size == 0
    vfs.write(handle, b"new", 0)
    vfs.release(handle)
    vfs.release(others[0])
    assert get(vfs.store, "f") == b"new"


def test_cut_by_path_is_left_to_who_is_about_to_change_the_file(opened, monkeypatch):
    """An opening that empties the file is under way: its close publishes, not the cut before it."""
    vfs = opened()
    vfs.release(begun(vfs, "f", b"whole"))
    node = vfs.child(vfs.node(ROOT), "f")
    reader = vfs.open(node.id, os.O_RDONLY)
    file = vfs.handle(reader).file
    begin = file._begin_anew
    seen = []

    def meanwhile(path):
        monkeypatch.undo()
        begin(path)
        vfs.setattr(node.id, size=3)
        seen.append(get(vfs.store, "f"))

    monkeypatch.setattr(file, "_begin_anew", meanwhile)
    handle = vfs.open(node.id, os.O_WRONLY | os.O_TRUNC)
    assert seen == [b"whole"]
    vfs.write(handle, b"new", 0)
    for number in (handle, reader):
        vfs.release(number)
    assert get(vfs.store, "f") == b"new"


@pytest.mark.parametrize("others", [[], [os.O_RDONLY], [os.O_RDWR]])
def test_time_of_a_file_that_nobody_will_close_is_durable_when_it_is_set(vfs, others):
    """The kernel tells of the last close late, and who reads the file has it open for long."""
    handle = begun(vfs, "f", b"whole")
    node = vfs.handle(handle).node
    handles = [handle, *[vfs.open(node.id, flags) for flags in others]]
    vfs.flush(handle)
    if others:
        vfs.release(handles.pop(0))
    vfs.setattr(node.id, mtime_ns=10**18)
    assert vfs.store.stat("f").modified_ns == 10**18
    for each in handles:
        vfs.release(each)
    assert (vfs.store.stat("f").modified_ns, vfs.getattr(node.id).mtime_ns) == (10**18, 10**18)


def test_time_that_is_set_before_the_close_publishes_nothing(vfs):
    handle = begun(vfs, "f", b"half")
    vfs.setattr(vfs.handle(handle).node.id, mtime_ns=10**18)
    with pytest.raises(NotFound):
        vfs.store.stat("f")
    vfs.release(handle)
    assert (vfs.store.stat("f").modified_ns, get(vfs.store, "f")) == (10**18, b"half")


def take_the_place(vfs, how):
    if how == "removed":
        vfs.unlink(ROOT, "f")
    else:
        make(vfs, "new", b"new")
        vfs.rename(ROOT, "new", ROOT, "f")


@pytest.mark.parametrize("how", ["removed", "renamed over"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC])
def test_file_whose_name_went_after_it_was_looked_up_is_to_be_looked_up_anew(opened, monkeypatch, how, flags):
    """ESTALE: the kernel does so by itself."""
    vfs = opened()
    make(vfs, "f", b"old")
    old = vfs.lookup(ROOT, "f").id
    opens = vfs.store.open

    def meanwhile(path):
        found = opens(path)
        monkeypatch.undo()
        take_the_place(vfs, how)
        return found

    if flags & os.O_TRUNC:  # once it empties the file, its name stays until it has
        take_the_place(vfs, how)
    else:
        monkeypatch.setattr(vfs.store, "open", meanwhile)
    for _ in range(2):
        with pytest.raises(OSError) as error:  # noqa: PT011 - its number is looked at
            vfs.open(old, flags)
        assert error.value.errno == errno.ESTALE
    if how == "removed":
        with pytest.raises(NotFound):
            vfs.store.stat("f")
    else:
        assert get(vfs.store, "f") == b"new"
    vfs.forget(old, 1)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC])
@pytest.mark.parametrize("name", ["f", "new"])
def test_nobody_opens_what_a_rename_is_at(opened, monkeypatch, name, flags):
    """The store has done it, and the node does not know yet: under its name there is another file, or none."""
    vfs = opened()
    make(vfs, "f", b"old")
    make(vfs, "new", b"new")
    node = vfs.lookup(ROOT, name).id
    move = vfs.store.move
    answers = []

    def opening():
        try:
            answers.append(vfs.open(node, flags))
        except OSError as error:
            answers.append(error)

    opener = threading.Thread(target=opening)
    waits = threading.Event()
    changed = vfs.listing._tree.places._changed
    monkeypatch.setattr(changed, "wait", lambda timeout=None, wait=changed.wait: waits.set() or wait(timeout))

    def meanwhile(*args):
        done = move(*args)
        opener.start()
        assert waits.wait(60)
        assert answers == []
        return done

    monkeypatch.setattr(vfs.store, "move", meanwhile)
    vfs.rename(ROOT, "new", ROOT, "f")
    opener.join(60)
    [answer] = answers
    if name == "f":
        assert answer.errno == errno.ESTALE
    else:
        assert vfs.read(answer, 10, 0) == (b"" if flags & os.O_TRUNC else b"new")
        vfs.release(answer)
    assert get(vfs.store, "f") == (b"" if name == "new" and flags & os.O_TRUNC else b"new")


def test_file_that_was_renamed_while_it_was_opened_is_opened_under_its_new_name(vfs, monkeypatch):
    make(vfs, "f", b"mine")
    node = vfs.lookup(ROOT, "f").id
    opens = vfs.store.open

    def meanwhile(path):
        found = opens(path)
        monkeypatch.undo()
        vfs.rename(ROOT, "f", ROOT, "g")
        make(vfs, "f", b"of another")
        return found

    monkeypatch.setattr(vfs.store, "open", meanwhile)
    handle = vfs.open(node, os.O_RDWR)
    vfs.write(handle, b"MINE", 0)
    vfs.release(handle)
    assert (get(vfs.store, "g"), get(vfs.store, "f")) == (b"MINE", b"of another")


def test_file_is_not_renamed_while_it_is_emptied_by_its_opening(vfs, monkeypatch):
    make(vfs, "f", b"mine")
    node = vfs.lookup(ROOT, "f").id
    edit = vfs.store.edit
    changed = vfs.listing._tree.places._changed
    waits = threading.Event()
    renamer = threading.Thread(target=lambda: vfs.rename(ROOT, "f", ROOT, "g"))

    def meanwhile(*args, **how):
        monkeypatch.setattr(changed, "wait", lambda timeout=None, wait=changed.wait: waits.set() or wait(timeout))
        renamer.start()
        assert waits.wait(60)
        return edit(*args, **how)

    monkeypatch.setattr(vfs.store, "edit", meanwhile)
    handle = vfs.open(node, os.O_RDWR | os.O_TRUNC)
    renamer.join(60)
    monkeypatch.undo()
    vfs.write(handle, b"MINE", 0)
    vfs.release(handle)
    assert get(vfs.store, "g") == b"MINE"
    with pytest.raises(NotFound):
        vfs.store.stat("f")


def test_time_of_a_file_that_is_renamed_before_its_close_is_the_one_that_is_kept(vfs):
    """Also where the kernel writes it by itself, and its file says when."""
    handle = begun(vfs, "new", b"x" * 5)
    node, file = vfs.handle(handle).node, vfs.handle(handle).file
    assert file.given(lambda fd: fd, writing=True, anew=True, path="new") is not None
    os.utime(file.fd, ns=(10**18, 10**18))
    vfs.rename(ROOT, "new", ROOT, "f")
    vfs.flush(handle)
    vfs.release(handle)
    assert (vfs.getattr(node.id).mtime_ns, vfs.store.stat("f").modified_ns) == (10**18, 10**18)


def test_file_that_somebody_is_at_is_not_closed_with_others(vfs):
    handle = begun(vfs, "f", b"x")
    file = vfs.handle(handle).file
    inside, done = threading.Event(), threading.Event()

    def busy():
        with file.lock:
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=busy)
    thread.start()
    assert inside.wait(60)
    buffer = memoryview(bytearray(10))
    assert (vfs.is_small(handle), file.read_now(buffer, 0)) == (False, -1)
    done.set()
    thread.join()
    assert (vfs.is_small(handle), file.read_now(buffer, 0)) == (True, 1)


def test_directory_of_small_files_is_noticed(vfs):
    root = vfs.node(ROOT)
    for count in range(5):
        make(vfs, str(count), b"x")
    assert root.small == 5
    handle = begun(vfs, "new", b"x")
    assert not vfs.may_write_unseen(vfs.handle(handle))
    make(vfs, "large", bytes(70_000))
    assert root.small == 0
    made = vfs.handle(begun(vfs, "next", b"x"))
    assert vfs.may_write_unseen(made) == vfs.store.is_wide()
    assert not vfs.may_write_unseen(vfs.handle(vfs.open(made.node.id, os.O_WRONLY)))
    assert not vfs.may_write_unseen(made)  # two have it open
    _, mappable = vfs.create(ROOT, "mapped", 0o644, os.O_RDWR)
    assert not vfs.may_write_unseen(vfs.handle(mappable))


class Away(FaultyStore):
    """Every call fails until it is back."""

    away = True

    def _next(self, op):
        return Fault() if self.away else None


def test_what_the_cache_holds_is_there_while_the_remote_is_away_from_the_beginning(opened, memory):
    vfs = opened()
    put(memory, "dir/read", b"cached")
    put(memory, "dir/other", b"not cached")
    directory = vfs.lookup(ROOT, "dir").id
    reader = vfs.open(vfs.lookup(directory, "read").id, os.O_RDONLY)
    assert vfs.read(reader, 10, 0) == b"cached"
    vfs.release(reader)
    make(vfs, "pending", b"pending", parent=directory)
    vfs.symlink(directory, "link", "pending")

    remote = Away(memory, {})
    vfs = opened(remote)
    directory = vfs.lookup(ROOT, "dir").id
    found = {}
    for name in ("read", "pending"):
        attr = vfs.lookup(directory, name)
        reader = vfs.open(attr.id, os.O_RDONLY)
        assert attr.size == len(vfs.read(reader, 100, 0))
        vfs.release(reader)
        found[name] = attr.id
    assert vfs.readlink(vfs.lookup(directory, "link").id) == "pending"
    for name in ("other", "never"):
        with pytest.raises(TemporaryError):
            vfs.lookup(directory, name)
    with pytest.raises(TemporaryError):
        vfs.opendir(directory)  # what is not known is no empty directory

    remote.away = False
    assert names(vfs, directory) == ["link", "other", "pending", "read"]
    assert {name: vfs.lookup(directory, name).id for name in found} == found
    vfs.unlink(directory, "pending")
    assert names(vfs, directory) == ["link", "other", "read"]


class Killed(BaseException):
    """The process ends here."""


def dies(*args):
    raise Killed


def fails(*args):
    raise TemporaryError("away")


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("over", [False, True])
def test_modes_go_with_a_rename_that_was_done_when_the_mount_was_killed(opened, monkeypatch, at, over):
    vfs = opened()
    vfs.mkdir(ROOT, "d", 0o700)
    made = {"d/f": 0o600, "g": 0o640}
    for path, mode in made.items():
        *above, name = path.split("/")
        parent = vfs.lookup(ROOT, above[0]).id if above else ROOT
        vfs.setattr(make(vfs, name, name.encode(), parent=parent), mode=mode)
    if over:
        vfs.setattr(make(vfs, "h", b"h"), mode=0o444)
    with monkeypatch.context() as patched:
        if at == "before":
            patched.setattr(vfs.store, "move", dies)
        else:
            patched.setattr(vfs.listing._tree.attributes, "move", dies)
        for old, new in (("d", "e"), ("g", "h")):
            with pytest.raises(Killed):
                vfs.rename(ROOT, old, ROOT, new)
    vfs = opened()

    def mode(name, parent=ROOT):
        return vfs.lookup(parent, name).mode & 0o7777

    directory, file = ("d", "g") if at == "before" else ("e", "h")
    assert names(vfs) == sorted({directory, file, *(["h"] if over else [])})
    assert (mode(directory), mode("f", vfs.lookup(ROOT, directory).id), mode(file)) == (0o700, 0o600, 0o640)
    if over and at == "before":
        assert mode("h") == 0o444


def test_rename_that_fails_leaves_modes_where_they_are(opened, monkeypatch):
    vfs = opened()
    vfs.setattr(make(vfs, "f", b"f"), mode=0o600)
    with monkeypatch.context() as patched:
        patched.setattr(vfs.store, "move", fails)
        with pytest.raises(TemporaryError):
            vfs.rename(ROOT, "f", ROOT, "g")
    vfs.unlink(ROOT, "f")
    vfs.setattr(make(vfs, "g", b"g"), mode=0o640)
    vfs = opened()
    assert vfs.lookup(ROOT, "g").mode & 0o7777 == 0o640


def test_modes_stay_where_it_cannot_be_asked_whether_a_rename_was_done(opened, memory, monkeypatch):
    vfs = opened()
    vfs.setattr(make(vfs, "f", b"f"), mode=0o600)
    vfs.store.flush()
    with monkeypatch.context() as patched:
        patched.setattr(vfs.store, "move", dies)
        with pytest.raises(Killed):
            vfs.rename(ROOT, "f", ROOT, "g")
    opened(Away(memory, {}))
    assert opened().lookup(ROOT, "f").mode & 0o7777 == 0o600


def test_time_that_is_shown_is_the_one_of_the_upload_that_a_close_waits_for(opened):
    vfs = opened(settings=VfsSettings(remote=True))
    vfs.store.start()
    handle = begun(vfs, "f", b"x")
    vfs.flush(handle)
    shown = vfs.getattr(vfs.handle(handle).node.id).mtime_ns
    vfs.release(handle)
    assert vfs.store.stat("f").modified_ns == shown


def test_time_of_what_the_kernel_wrote_is_shown_on_after_the_upload_that_its_close_waits_for(opened):
    vfs = opened(settings=VfsSettings(remote=True))
    vfs.store.start()
    handle = begun(vfs, "f", b"x")
    node, file = vfs.handle(handle).node, vfs.handle(handle).file
    assert file.given(lambda fd: fd, writing=True, anew=True, path="f") is not None
    os.utime(file.fd, ns=(10**18, 10**18))
    vfs.flush(handle)
    vfs.release(handle)
    assert (vfs.getattr(node.id).mtime_ns, vfs.store.stat("f").modified_ns) == (10**18, 10**18)


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("how", ["renamed", "time set"])
def test_close_that_waits_for_the_remote_does_not_wait_for_its_own_end(opened, how, size):
    """What was published before, while the file is open, is not uploaded as it is."""
    vfs = opened(settings=VfsSettings(remote=True, patience=60))
    vfs.store.start()
    handle = begun(vfs, "new", b"x" * size)
    node = vfs.handle(handle).node
    if how == "renamed":
        vfs.rename(ROOT, "new", ROOT, "f")
    else:
        vfs.flush(handle)
        vfs.setattr(node.id, mtime_ns=10**18)
    vfs.flush(handle)
    vfs.release(handle)
    assert vfs.store.pending() == []
