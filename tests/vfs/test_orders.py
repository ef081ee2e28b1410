"""Orders in which threads meet at one file, one test each: what `test_threads.py` finds by chance."""

import errno
import os
import threading

import pytest

from cftool.core.errors import NotFound, StoreError, TemporaryError
from cftool.testing.faulty import Fault, FaultyStore
from cftool.vfs.nodes import ROOT
from cftool.vfs.openfile import OpenFile
from tests.vfs.kit import begun, contents, made
from tests.wrap.caching.kit import get, put

PATIENCE = 60
LARGE = 100_000


class Meanwhile:
    """`work` in a thread of its own, as far as it gets: to its end, or to where it waits for a place or a file."""

    def __init__(self, vfs, monkeypatch, work):
        self.far = threading.Event()
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(work,))
        changed = vfs.listing._tree.places._changed
        wait_for = changed.wait_for

        def waits(*args):
            if threading.current_thread() is self.thread:
                self.far.set()
            return wait_for(*args)

        monkeypatch.setattr(changed, "wait_for", waits)

    def _run(self, work):
        try:
            work()
        except (OSError, StoreError) as error:
            self.error = error
        finally:
            self.far.set()

    def begin(self):
        self.thread.start()
        assert self.far.wait(PATIENCE)

    def end(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


# ---- what was acknowledged is not emptied, nor published half-written


def test_opening_counts_as_a_change_from_its_beginning_to_the_end_of_its_handle(vfs, monkeypatch):
    """Else who is released meanwhile is the last to change the file, and commits it as it was just emptied."""
    handle = begun(vfs, "f", b"whole")
    vfs.flush(handle)
    seen = []

    def count(file, changers):
        seen.append(changers)
        file.counted = changers

    monkeypatch.setattr(OpenFile, "changers", property(lambda file: file.counted, count), raising=False)
    vfs.handle(handle).file.changers = 1
    node = vfs.handle(handle).node.id
    again = vfs.open(node, os.O_WRONLY | os.O_TRUNC)
    assert seen == [1, 2]
    vfs.release(handle)
    vfs.release(again)
    assert seen == [1, 2, 1, 0]
    monkeypatch.undo()


def test_what_was_only_given_a_time_since_its_commit_is_not_cut_in_place(vfs):
    handle = begun(vfs, "f", b"w" * LARGE)
    vfs.flush(handle)
    node = vfs.handle(handle).node.id
    vfs.handle(handle).file.set_time(1)
    again = vfs.open(node, os.O_WRONLY | os.O_TRUNC)
    assert get(vfs.store, "f") == b"w" * LARGE
    vfs.release(handle)
    assert get(vfs.store, "f") == b"w" * LARGE
    vfs.write(again, b"new", 0)
    vfs.release(again)
    assert get(vfs.store, "f") == b"new"


@pytest.mark.parametrize("size", [5, LARGE])
def test_file_that_is_renamed_while_it_is_written_anew_is_not_published_half_written(vfs, memory, size):
    node = made(vfs, "f", b"w" * size)
    writer = vfs.open(node, os.O_WRONLY | os.O_TRUNC)
    vfs.write(writer, b"ha", 0)
    vfs.rename(ROOT, "f", ROOT, "g")
    assert get(vfs.store, "g") == b"w" * size
    vfs.write(writer, b"lf", 2)
    vfs.release(writer)
    assert vfs.store.flush() == []
    assert contents(memory) == {"g": b"half"}


def test_new_file_in_the_place_of_one_that_was_removed_is_renamed_while_it_is_written(vfs, memory):
    put(memory, "f", b"old")
    vfs.unlink(ROOT, "f")
    writer = begun(vfs, "f", b"ne")
    vfs.rename(ROOT, "f", ROOT, "g")
    vfs.write(writer, b"w", 2)
    vfs.release(writer)
    assert vfs.store.flush() == []
    assert contents(memory) == {"g": b"new"}


def test_new_file_in_the_place_of_one_that_was_removed_is_renamed_behind_its_directory(vfs, memory):
    put(memory, "d/f", b"old")
    directory = vfs.child(vfs.node(ROOT), "d").id
    vfs.unlink(directory, "f")
    writer = begun(vfs, "f", b"new", parent=directory)
    vfs.rename(ROOT, "d", ROOT, "e")
    vfs.rename(directory, "f", directory, "g")
    vfs.release(writer)
    assert vfs.store.flush() == []
    assert {e.path: get(memory, e.path) for e in memory.walk("") if not e.is_dir} == {"e/g": b"new"}


@pytest.mark.parametrize("over", [False, True])
def test_file_that_others_removed_while_it_is_written_anew_is_renamed(vfs, memory, over):
    put(memory, "f", b"old")
    put(memory, "g", b"other")
    reader = vfs.open(vfs.child(vfs.node(ROOT), "g").id, os.O_RDONLY) if over else None
    writer = vfs.open(vfs.child(vfs.node(ROOT), "f").id, os.O_WRONLY | os.O_TRUNC)
    vfs.write(writer, b"new", 0)
    memory.delete("f")
    vfs.rename(ROOT, "f", ROOT, "g")
    for handle in (writer, reader):
        if handle is not None:
            vfs.release(handle)
    assert vfs.store.flush() == []
    assert contents(memory) == {"g": b"new"}


def test_cut_by_path_publishes_nothing_of_who_began_meanwhile(vfs, monkeypatch):
    node = made(vfs, "f", b"whole")
    open_ = vfs.store.open
    begun = []

    def after_another(path):
        monkeypatch.undo()
        begun.append(vfs.open(node, os.O_WRONLY | os.O_TRUNC))
        vfs.write(begun[0], b"ha", 0)
        return open_(path)

    monkeypatch.setattr(vfs.store, "open", after_another)
    vfs.setattr(node, size=4)
    assert get(vfs.store, "f") == b"whole"
    vfs.write(begun[0], b"lf", 2)
    vfs.release(begun[0])
    assert get(vfs.store, "f") == b"half"


def test_cut_by_path_is_published_where_the_last_reader_goes_meanwhile(vfs, memory, monkeypatch):
    handle = begun(vfs, "f", b"whole")
    node, file = vfs.handle(handle).node.id, vfs.handle(handle).file
    reader = vfs.open(node, os.O_RDONLY)
    vfs.release(handle)
    truncate = file.truncate

    def after_the_reader(*args, **how):
        monkeypatch.undo()
        vfs.release(reader)
        truncate(*args, **how)

    monkeypatch.setattr(file, "truncate", after_the_reader)
    vfs.setattr(node, size=3)
    assert vfs.store.flush() == []
    assert get(memory, "f") == b"who"
    assert vfs.store._drafts == set()


def test_time_that_is_set_while_only_a_reader_has_the_file_open_is_published(vfs, memory):
    handle = begun(vfs, "f", b"whole")
    node = vfs.handle(handle).node.id
    reader = vfs.open(node, os.O_RDONLY)
    vfs.release(handle)
    vfs.setattr(node, mtime_ns=10**18)
    assert vfs.store.stat("f").modified_ns == 10**18
    vfs.release(reader)
    assert vfs.store.flush() == []
    assert memory.stat("f").modified_ns == vfs.getattr(node).mtime_ns == 10**18


def test_time_that_is_published_is_that_of_the_last_write(vfs, monkeypatch):
    handle = begun(vfs, "f", b"1")
    file = vfs.handle(handle).file
    write = file.write
    far = threading.Event()
    commit = file.commit

    def flush():
        if not file.is_free:
            far.set()  # it would wait
        vfs.flush(handle)

    flusher = threading.Thread(target=flush)

    def commits(*args):
        far.set()  # what it was called with it has looked up before
        return commit(*args)

    def meanwhile(*args, **how):
        write(*args, **how)
        flusher.start()
        assert far.wait(PATIENCE)

    monkeypatch.setattr(file, "commit", commits)
    monkeypatch.setattr(file, "write", meanwhile)
    vfs.write(handle, b"2", 0)
    flusher.join(PATIENCE)
    assert vfs.store.stat("f").modified_ns == vfs.handle(handle).node.mtime_ns


def test_what_is_read_of_a_file_in_memory_for_its_holes_stays_in_memory(vfs):
    handle = begun(vfs, "f", b"data")
    file = vfs.handle(handle).file
    assert (file.seek(1, os.SEEK_DATA), file.seek(1, os.SEEK_HOLE)) == (1, 4)
    with pytest.raises(OSError, match="No such device") as error:
        file.seek(4, os.SEEK_DATA)
    assert error.value.errno == errno.ENXIO
    assert file.draft.in_memory
    vfs.release(handle)


# ---- names that go


@pytest.mark.parametrize("over", [False, True], ids=["unlink", "rename"])
def test_file_whose_name_could_not_be_taken_is_published_as_before(opened, memory, over):
    put(memory, "f", b"old")
    put(memory, "g", b"other")
    faulty = FaultyStore(memory, {})
    vfs = opened(faulty)
    node = vfs.child(vfs.node(ROOT), "f").id
    writer = vfs.open(node, os.O_WRONLY | os.O_TRUNC)
    vfs.write(writer, b"new", 0)
    faulty._faults["stat"] = iter([Fault(lambda: TemporaryError("away"))] * 2)
    with pytest.raises(TemporaryError):
        vfs.rename(ROOT, "g", ROOT, "f") if over else vfs.unlink(ROOT, "f")
    faulty._faults.clear()
    vfs.flush(writer)
    assert get(vfs.store, "f") == b"new"
    vfs.release(writer)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_TRUNC])
def test_opening_that_comes_while_the_name_goes_does_not_bring_it_back(vfs, memory, monkeypatch, flags):
    node = made(vfs, "f", b"whole")
    vfs.refer(vfs.node(node))
    opener = Meanwhile(vfs, monkeypatch, lambda: vfs.release(vfs.open(node, flags)))
    delete = vfs.store.delete

    def deleted(path):
        opener.begin()
        delete(path)

    monkeypatch.setattr(vfs.store, "delete", deleted)
    vfs.unlink(ROOT, "f")
    opener.end()
    assert opener.error.errno == errno.ESTALE
    assert vfs.store.flush() == []
    assert list(memory.walk("")) == []


# ---- directories that are renamed


def test_file_that_is_made_while_its_directory_is_renamed_is_in_that(vfs, memory, monkeypatch):
    directory = vfs.mkdir(ROOT, "old", 0o755).id
    mover = Meanwhile(vfs, monkeypatch, lambda: vfs.rename(ROOT, "old", ROOT, "new"))
    edit = vfs.store.edit

    def edited(*args, **how):
        mover.begin()
        return edit(*args, **how)

    monkeypatch.setattr(vfs.store, "edit", edited)
    handle = begun(vfs, "f", b"data", parent=directory)
    mover.end()
    vfs.release(handle)
    assert vfs.store.flush() == []
    assert [entry.path for entry in memory.walk("")] == ["new", "new/f"]


def test_who_answers_at_once_can_see_that_a_place_has_to_be_waited_for(vfs, monkeypatch):
    made(vfs, "f", b"data")
    steady = [vfs.is_steady()]
    move = vfs.store.move

    def moved(*args):
        steady.append(vfs.is_steady())
        return move(*args)

    monkeypatch.setattr(vfs.store, "move", moved)
    vfs.rename(ROOT, "f", ROOT, "g")
    assert [*steady, vfs.is_steady()] == [True, False, True]


@pytest.mark.parametrize("change", ["write", "cut", "emptied"])
def test_change_that_begins_while_the_directory_is_renamed_goes_with_it(vfs, memory, monkeypatch, change):
    directory = vfs.mkdir(ROOT, "old", 0o755).id
    node = made(vfs, "f", b"data", parent=directory)
    handle = vfs.open(node, os.O_WRONLY)
    mover = Meanwhile(vfs, monkeypatch, lambda: vfs.rename(ROOT, "old", ROOT, "new"))
    edit = vfs.store.edit

    def edited(*args, **how):
        mover.begin()
        return edit(*args, **how)

    monkeypatch.setattr(vfs.store, "edit", edited)
    if change == "write":
        vfs.write(handle, b"more", 4)
    elif change == "cut":
        vfs.setattr(node, size=2)
    else:
        vfs.release(vfs.open(node, os.O_WRONLY | os.O_TRUNC))
    mover.end()
    vfs.release(handle)
    assert vfs.store.flush() == []
    expected = {"write": b"datamore", "cut": b"da", "emptied": b""}[change]
    assert {e.path: get(memory, e.path) for e in memory.walk("") if not e.is_dir} == {"new/f": expected}


def test_reader_that_opens_while_the_directory_is_renamed_reads_its_own_file(vfs, monkeypatch):
    """Another one has its place by then."""
    directory = vfs.mkdir(ROOT, "old", 0o755).id
    node = made(vfs, "f", b"mine", parent=directory)
    open_ = vfs.store.open

    def after_the_rename(path):
        monkeypatch.undo()
        vfs.rename(ROOT, "old", ROOT, "new")
        made(vfs, "f", b"other", parent=vfs.mkdir(ROOT, "old", 0o755).id)
        return open_(path)

    monkeypatch.setattr(vfs.store, "open", after_the_rename)
    handle = vfs.open(node, os.O_RDONLY)
    assert vfs.read(handle, 10, 0) == b"mine"
    vfs.release(handle)


@pytest.mark.parametrize("back", [False, True], ids=["away", "to and fro"])
def test_directory_that_is_renamed_while_it_is_listed_shows_what_it_has(vfs, monkeypatch, back):
    directory = vfs.mkdir(ROOT, "old", 0o755).id
    made(vfs, "f", b"data", parent=directory)
    vfs.node(directory).children = None
    scan = vfs.store.scan

    def after_the_rename(path):
        monkeypatch.undo()
        vfs.rename(ROOT, "old", ROOT, "new")
        if not back:
            vfs.mkdir(ROOT, "old", 0o755)
            yield from scan(path)
            return
        with pytest.raises(NotFound):
            list(scan(path))
        vfs.rename(ROOT, "new", ROOT, "old")
        raise NotFound("not found", op="scan", path=path)

    monkeypatch.setattr(vfs.store, "scan", after_the_rename)
    assert list(vfs.children(vfs.node(directory))) == ["f"]


def test_listing_that_is_taken_between_a_rename_at_the_store_and_in_the_tree_is_not_believed(vfs, monkeypatch):
    node = made(vfs, "f", b"data")
    root = vfs.node(ROOT)
    lister = Meanwhile(vfs, monkeypatch, lambda: vfs.children(root))
    move = vfs.store.move

    def moved(*args):
        move(*args)
        root.loaded = -1.0
        root.children = dict(root.children)
        root.changed = float("inf")
        lister.begin()
        root.changed = float("-inf")

    monkeypatch.setattr(vfs.store, "move", moved)
    vfs.rename(ROOT, "f", ROOT, "g")
    lister.end()
    assert {name: child.id for name, child in vfs.children(root).items()} == {"g": node}
    assert vfs.node(node).parent is root


# ---- close and fsync that mean the remote


def test_what_is_uploaded_is_copied_while_nobody_changes_it(opened, memory, monkeypatch):
    vfs = opened(remote=True)
    handle = begun(vfs, "f", b"whole")
    file = vfs.handle(handle).file
    free = []
    copy = file.draft._copy

    def copied(when):
        def look():
            free.append(file.is_free)

        looker = threading.Thread(target=look)
        looker.start()
        looker.join(PATIENCE)
        copy(when)

    monkeypatch.setattr(file.draft, "_copy", copied)
    vfs.flush(handle)
    assert free == [False]
    assert get(memory, "f") == b"whole"
    vfs.release(handle)


def test_release_waits_for_the_remote_without_the_files_lock(opened, memory, monkeypatch):
    vfs = opened(remote=True)
    handle = begun(vfs, "f", b"whole")
    file = vfs.handle(handle).file
    free = []
    upload = vfs.store.upload

    def uploaded(*args, **how):
        looker = threading.Thread(target=lambda: free.append(file.is_free))
        looker.start()
        looker.join(PATIENCE)
        upload(*args, **how)

    monkeypatch.setattr(vfs.store, "upload", uploaded)
    vfs.release(handle)
    assert free == [True]
    assert get(memory, "f") == b"whole"


def test_write_of_the_kernel_right_behind_an_upload_is_uploaded_too(opened, memory):
    """In the same moment and of the same size: nothing shows it."""
    vfs = opened(remote=True)
    handle = begun(vfs, "f", b"")
    file = vfs.handle(handle).file
    assert vfs.given(handle, lambda _fd: 7, anew=True) == 7
    os.pwrite(file.fd, b"one", 0)
    when = os.fstat(file.fd).st_mtime_ns
    vfs.fsync(handle)
    os.pwrite(file.fd, b"two", 0)
    os.utime(file.fd, ns=(when, when))
    vfs.flush(handle)
    assert get(memory, "f") == b"two"
    vfs.release(handle)


def test_what_is_shown_of_a_lent_file_is_looked_at_while_nobody_closes_it(vfs, monkeypatch):
    """Its size and time are those of a descriptor: it must not be another file's by then."""
    handle = begun(vfs, "f", b"")
    node, file = vfs.handle(handle).node, vfs.handle(handle).file
    assert vfs.given(handle, lambda _fd: 7, anew=True) == 7
    os.pwrite(file.fd, b"data", 0)
    held = []
    times = file.draft.times

    def looked():
        def try_it():
            free = vfs.listing._lock.acquire(blocking=False)
            held.append(not free)
            if free:
                vfs.listing._lock.release()

        other = threading.Thread(target=try_it)
        other.start()
        other.join(PATIENCE)
        return times()

    monkeypatch.setattr(file.draft, "times", looked)
    assert vfs.listing.taken(vfs.node(ROOT), "f").size == 4
    assert vfs.getattr(node.id).size == 4
    assert vfs.xattrs(node.id)["user.cftool.state"] == b"dirty"
    assert held
    assert all(held)
    monkeypatch.undo()
    vfs.release(handle)
