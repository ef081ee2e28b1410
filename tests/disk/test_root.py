"""The held tree: nothing outside of it, no link followed, nothing but regular files read."""

import os
import socket
import stat

import pytest

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    PermissionDenied,
    StoreError,
    Unsupported,
)
from cftool.disk import root as module
from cftool.disk.root import Root


def put(root, path, data=b"data"):
    full = os.path.join(root.path, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)
    return full


def read(root, path):
    fd = root.open_read(path)
    try:
        return os.read(fd, 1000)
    finally:
        os.close(fd)


def test_missing_root_is_not_found_and_can_be_made(tmp_path):
    with pytest.raises(NotFound):
        Root(str(tmp_path / "a" / "b"))
    with Root(str(tmp_path / "a" / "b"), create=True) as root:
        assert root.path == str(tmp_path / "a" / "b")
    with Root(str(tmp_path / "a" / "b"), create=True):
        pass


def test_file_in_place_of_the_root_or_above_it(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    for path in (tmp_path / "f", tmp_path / "f" / "g"):
        with pytest.raises((NotADirectory, NotFound)):
            Root(str(path))
        with pytest.raises((NotADirectory, AlreadyExists)):
            Root(str(path), create=True)


def test_root_made_by_another_in_the_same_instant(tmp_path, monkeypatch):
    real = os.mkdir

    def mkdir(path, *args, **kwargs):
        real(path, *args, **kwargs)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "mkdir", mkdir)
    with Root(str(tmp_path / "new"), create=True) as root:
        root.mkdirs("d")
    assert (tmp_path / "new" / "d").is_dir()


def test_root_behind_a_link_is_its_real_path(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Root(str(tmp_path / "link")) as root:
        assert root.path == str(tmp_path / "real")


def test_identity_is_of_the_directory_and_not_of_its_name(tmp_path):
    (tmp_path / "a").mkdir()
    with Root(str(tmp_path / "a")) as root:
        first = root.identity()
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").mkdir()
    with Root(str(tmp_path / "a")) as other, Root(str(tmp_path / "b")) as same:
        assert same.identity() == first
        assert other.identity() != first


def test_closed_root_refuses(root):
    root.close()
    for call in (lambda: root.stat("f"), lambda: root.stat(""), root.identity, lambda: root.mkdirs("d")):
        with pytest.raises(StoreError):
            call()


def test_regular_files_are_read(root):
    put(root, "a/b/f")
    assert read(root, "a/b/f") == b"data"
    assert root.stat("a/b/f").st_size == 4
    assert stat.S_ISDIR(root.stat("").st_mode)


def test_special_files_are_never_opened_for_data(root, tmp_path, monkeypatch):
    os.mkfifo(os.path.join(root.path, "fifo"))
    monkeypatch.chdir(root.path)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        os.symlink("/etc/hostname", "link")
        os.symlink("nowhere", "dangling")
        for name in ("fifo", "socket", "link", "dangling"):
            with pytest.raises(Unsupported):
                root.open_read(name)
    os.mkdir("d")
    with pytest.raises(IsADirectory):
        root.open_read("d")
    with pytest.raises(IsADirectory):
        root.open_read("")
    with pytest.raises(NotFound):
        root.open_read("none")
    with pytest.raises(NotFound):
        root.stat("none")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_devices_are_never_read(root):
    try:
        os.mknod(os.path.join(root.path, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this container may not make devices")
    with pytest.raises((Unsupported, PermissionDenied)):  # PermissionDenied: the file system is mounted nodev
        root.open_read("null")


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "a\0", "a/"])
def test_paths_out_of_the_tree_are_refused_by_every_member(root, path):
    for call in (
        root.open_read,
        root.stat,
        root.mkdirs,
        root.unlink,
        root.rmdir,
        lambda path: list(root.scan(path)),
        lambda path: root.rename(path, "x"),
        lambda path: root.rename("f", path),
    ):
        put(root, "f")
        with pytest.raises(InvalidName):
            call(path)
    assert os.listdir(root.path) == ["f"]


def test_linked_directories_are_followed_by_no_member(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"outside")
    (outside / "empty").mkdir()
    os.symlink(outside, os.path.join(root.path, "d"))
    put(root, "mine")
    for call in (
        lambda: root.open_read("d/f"),
        lambda: root.stat("d/f"),
        lambda: root.unlink("d/f"),
        lambda: root.rmdir("d/empty"),
        lambda: root.mkdirs("d/new"),
        lambda: root.mkdirs("d/new/new"),
        lambda: list(root.scan("d")),
        lambda: list(root.scan("d/empty")),
        lambda: root.rename("mine", "d/mine"),
        lambda: root.rename("d/f", "f"),
    ):
        with pytest.raises(NotADirectory, match="symbolic link"):
            call()
    assert sorted(os.listdir(outside)) == ["empty", "f"]
    assert (outside / "f").read_bytes() == b"outside"


def test_held_directory_that_was_swapped_for_a_link_is_not_used(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"outside")
    put(root, "d/f", b"inside")
    assert read(root, "d/f") == b"inside"
    os.rename(os.path.join(root.path, "d"), tmp_path / "elsewhere")
    os.symlink(outside, os.path.join(root.path, "d"))
    for call in (root.open_read, root.stat, root.unlink):
        with pytest.raises(NotADirectory, match="symbolic link"):
            call("d/f")
    assert (outside / "f").exists()
    assert (tmp_path / "elsewhere" / "f").exists()


def test_link_that_vanishes_while_it_is_refused(root, monkeypatch):
    os.symlink("x", os.path.join(root.path, "d"))
    real = os.stat

    def gone(path, *args, **kwargs):
        if path == "d":
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", gone)
    with pytest.raises(NotADirectory, match="not a directory"):
        root.directory("d")


def test_swapping_racer_never_gets_a_byte_outside(root, tmp_path):
    """A thread swaps a directory for a link and back, all the time, while files are saved and deleted below it."""
    import shutil
    import threading

    from cftool.core.types import Entry, Kind

    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_bytes(b"outside")
    os.mkdir(os.path.join(root.path, "d"))
    inside, aside = os.path.join(root.path, "d"), os.path.join(root.path, "aside")
    stop = threading.Event()

    def race():
        while not stop.is_set():
            os.rename(inside, aside)
            try:
                os.symlink(outside, inside)
                os.unlink(inside)
            except FileExistsError:  # a save made the directory anew in between
                shutil.rmtree(inside, ignore_errors=True)
            while os.path.exists(aside):
                try:
                    os.rename(aside, inside)
                except OSError:  # and again
                    shutil.rmtree(inside, ignore_errors=True)

    thread = threading.Thread(target=race)
    thread.start()
    outcomes = set()
    try:
        for _ in range(600):
            try:
                root.target("d/keep").save(b"x", Entry("d/keep", Kind.FILE, 1))
                outcomes.update(type(error) for _, error in root.flush())
                root.unlink("d/keep")
            except StoreError as error:
                outcomes.add(type(error))
    finally:
        stop.set()
        thread.join()
    assert os.listdir(outside) == ["keep"]
    assert (outside / "keep").read_bytes() == b"outside"
    assert outcomes <= {NotADirectory, NotFound}


def test_scan_hides_our_temps_and_nothing_else(root):
    put(root, "f")
    put(root, ".cftool-0123456789ab-0.tmp")
    put(root, ".cftool-mine.tmp")
    assert sorted(name for name, _ in root.scan("")) == [".cftool-mine.tmp", "f"]
    with pytest.raises(NotFound):
        list(root.scan("none"))
    with pytest.raises(NotADirectory):
        list(root.scan("f"))


def test_directories_are_made_with_parents_and_again(root):
    root.mkdirs("a/b/c")
    root.mkdirs("a/b/c")
    root.mkdirs("")
    put(root, "f")
    with pytest.raises(AlreadyExists):
        root.mkdirs("f")
    with pytest.raises(NotADirectory):
        root.mkdirs("f/g")
    with pytest.raises(InvalidName):
        root.mkdirs(".cftool-0123456789ab-0.tmp")


def test_directory_that_becomes_a_file_while_it_is_made(root, monkeypatch):
    real = os.mkdir

    def mkdir(name, *args, **kwargs):
        with open(os.path.join(root.path, name), "wb"):
            pass
        real(name, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(AlreadyExists):
        root.mkdirs("d")


def test_files_and_directories_are_removed(root):
    put(root, "d/f")
    with pytest.raises(DirectoryNotEmpty):
        root.rmdir("d")
    with pytest.raises(IsADirectory):
        root.unlink("d")
    with pytest.raises(NotADirectory):
        root.rmdir("d/f")
    root.unlink("d/f")
    root.rmdir("d")
    assert os.listdir(root.path) == []
    for call in (root.unlink, root.rmdir):
        with pytest.raises(NotFound):
            call("d")
        with pytest.raises(IsADirectory):
            call("")


@pytest.mark.parametrize("directory", [True, False])
def test_unlink_where_the_system_says_not_permitted(root, monkeypatch, directory):
    put(root, "d/f")

    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(IsADirectory if directory else PermissionDenied):
        root.unlink("d" if directory else "d/f")


def test_removing_a_link_leaves_what_it_leads_to(root):
    put(root, "f")
    os.symlink("f", os.path.join(root.path, "link"))
    root.unlink("link")
    assert os.listdir(root.path) == ["f"]


def test_rename_replaces_a_file_and_makes_parents(root):
    put(root, "f", b"new")
    put(root, "a/b", b"old")
    root.rename("f", "a/b")
    assert read(root, "a/b") == b"new"
    root.rename("a", "x/y/z")
    assert read(root, "x/y/z/b") == b"new"
    assert root.flush() == []
    with pytest.raises(NotFound):
        root.rename("none", "new/parent/f")
    assert not os.path.exists(os.path.join(root.path, "new"))
    root.mkdirs("d/full")
    with pytest.raises((DirectoryNotEmpty, AlreadyExists)):
        root.rename("x", "d")
    with pytest.raises(InvalidName):
        root.rename("d", "d/full/d")
    with pytest.raises(InvalidName):
        root.rename("d", ".cftool-0123456789ab-0.tmp")


def test_rename_of_two_names_of_one_file_leaves_the_new_one(root):
    put(root, "f")
    os.link(os.path.join(root.path, "f"), os.path.join(root.path, "g"))
    root.rename("f", "g")
    assert os.listdir(root.path) == ["g"]
    root.rename("g", "g")
    assert os.listdir(root.path) == ["g"]


def test_rename_whose_old_name_was_taken_by_another_meanwhile(root, monkeypatch):
    put(root, "f", b"mine")
    real = os.rename

    def rename(*args, **kwargs):
        real(*args, **kwargs)
        put(root, "f", b"another")

    monkeypatch.setattr(os, "rename", rename)
    root.rename("f", "g")
    assert read(root, "f") == b"another"
    assert read(root, "g") == b"mine"


def test_held_directories_are_bounded(root, monkeypatch, descriptors):
    monkeypatch.setattr(module, "_HELD", 4)
    before = descriptors()
    for number in range(30):
        root.mkdirs(f"d{number}/e")
    assert descriptors() - before <= 4
    root.close()
    assert descriptors() < before


def test_descriptor_stays_open_while_it_is_used(root, monkeypatch):
    monkeypatch.setattr(module, "_HELD", 1)
    root.mkdirs("d")
    held = root.directory("d")
    for number in range(5):
        root.mkdirs(f"e{number}")
    assert os.fstat(held.fd).st_ino == os.stat(os.path.join(root.path, "d")).st_ino


@pytest.mark.parametrize("call", ["fstat"])
def test_failing_status_leaks_no_descriptor(root, monkeypatch, call, descriptors):
    os.mkdir(os.path.join(root.path, "d"))
    before = descriptors()

    def fail(fd):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError):
            root.directory("d")
        put(root, "f")
        with pytest.raises(StoreError):
            root.open_read("f")
    assert descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to drop privileges")
def test_unreadable_directories_for_an_ordinary_user(tmp_path):
    """May be passed through where they may be entered; listing one is an error, never an empty directory."""
    from cftool.core.types import Entry, Kind
    from cftool.disk import listing

    top = tmp_path / "root"
    (top / "through" / "d").mkdir(parents=True)
    (top / "through" / "d" / "f").write_bytes(b"data")
    (top / "through" / "d").chmod(0o777)
    (top / "through").chmod(0o711)
    (top / "closed").mkdir(mode=0o700)
    for path in (top, *top.parents):
        if path.is_relative_to(tmp_path.parents[-3]) and path.stat().st_uid == os.getuid() and len(path.parts) > 2:
            path.chmod(path.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            with Root(str(top)) as root:
                assert read(root, "through/d/f") == b"data"
                root.target("through/d/g").save(b"data", Entry("g", Kind.FILE, 4))
                assert root.flush() == []
                for broken in (
                    lambda: list(root.scan("through")),
                    lambda: list(listing.walk(root, "through")),
                    lambda: list(listing.walk(root, "closed")),
                    lambda: list(listing.walk(root, "")),
                    lambda: root.stat("closed/f"),
                    lambda: root.mkdirs("closed/d"),
                ):
                    try:
                        broken()
                    except PermissionDenied:
                        continue
                    raise AssertionError(broken)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
