"""A local source is the same file from its first byte to its last, or SourceChanged."""

import os

import pytest

from cftool.core.errors import IsADirectory, NotFound, SourceChanged, Unsupported
from cftool.disk import source as module
from cftool.disk.source import LocalSource, version_of


def put(root, path="f", data=b"0123456789"):
    full = os.path.join(root.path, path)
    with open(full, "wb") as file:
        file.write(data)
    return full


def test_content_is_read_again_and_again(root):
    path = put(root)
    source = LocalSource(root, "f")
    assert source.size == 10
    assert source.local_path == path
    assert source.version == version_of(os.stat(path))
    for _ in range(2):
        assert source.load() == b"0123456789"
        with source.open() as reader:
            assert os.fstat(reader.fileno()).st_size == 10
            assert reader.read(4) + reader.read() == b"0123456789"
        source.check()


def test_any_file_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"data")
    monkeypatch.chdir(tmp_path)
    for source in (LocalSource(str(tmp_path), "f"), LocalSource(str(tmp_path / "f")), LocalSource("f")):
        assert source.load() == b"data"
        source.check()


def test_what_is_no_regular_file_has_no_content(root):
    os.mkdir(os.path.join(root.path, "d"))
    os.symlink("f", os.path.join(root.path, "link"))
    with pytest.raises(NotFound):
        LocalSource(root, "none")
    with pytest.raises(IsADirectory):
        LocalSource(root, "d").open()
    with pytest.raises(Unsupported):
        LocalSource(root, "link").load()


def grow(path):
    with open(path, "ab") as file:
        file.write(b"more")


def shrink(path):
    os.truncate(path, 3)


def edit_and_put_the_time_back(path):
    status = os.stat(path)
    with open(path, "rb+") as file:
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path):
    os.rename(path, path + ".old")
    with open(path, "wb") as file:
        file.write(b"0123456789")
    status = os.stat(path + ".old")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(path):
    os.unlink(path)


CHANGES = [grow, shrink, edit_and_put_the_time_back, replace, remove]


@pytest.fixture
def ticked():
    """Let the clock that stamps files move on, where the kernel stamps by the tick."""

    def wait(path):
        before = os.stat(path).st_ctime_ns
        probe = path + ".probe"
        while True:
            with open(probe, "wb"):
                pass
            now = os.stat(probe).st_ctime_ns
            os.unlink(probe)
            if now > before:
                return

    return wait


@pytest.mark.parametrize("change", CHANGES)
def test_change_before_it_is_read(root, ticked, change):
    path = put(root)
    source = LocalSource(root, "f")
    ticked(path)
    change(path)
    with pytest.raises((SourceChanged, NotFound)):
        source.open()
    with pytest.raises((SourceChanged, NotFound)):
        source.load()
    with pytest.raises(SourceChanged):
        source.check()


@pytest.mark.parametrize("change", CHANGES)
def test_change_while_it_is_read(root, ticked, change):
    path = put(root)
    source = LocalSource(root, "f")
    with source.open() as reader:
        reader.read(5)
        ticked(path)
        change(path)
        reader.read()
    with pytest.raises(SourceChanged):
        source.check()


@pytest.mark.parametrize("change", [grow, shrink, edit_and_put_the_time_back])
def test_change_while_it_is_loaded(root, ticked, monkeypatch, change):
    path = put(root)
    source = LocalSource(root, "f")
    real = module._read_all

    def read_all(fd, size):
        data = real(fd, size)
        ticked(path)
        change(path)
        return data

    monkeypatch.setattr(module, "_read_all", read_all)
    with pytest.raises(SourceChanged):
        source.load()


def test_change_since_the_listing(root, ticked):
    path = put(root)
    version = version_of(os.stat(path))
    assert LocalSource(root, "f", version=version).load() == b"0123456789"
    ticked(path)
    edit_and_put_the_time_back(path)
    with pytest.raises(SourceChanged):
        LocalSource(root, "f", version=version)
    listed = LocalSource(root, "f", version=version, size=10)
    for use in (listed.load, listed.open, listed.check):
        with pytest.raises(SourceChanged):
            use()
    source = LocalSource(root, "f", os.stat(path))
    assert source.load() == b"X123456789"


@pytest.mark.parametrize("limit", [1, 4, 10])
def test_short_reads_are_continued(root, monkeypatch, limit):
    put(root)
    real = os.read
    source = LocalSource(root, "f")
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, min(size, limit)))
    assert source.load() == b"0123456789"


def test_file_that_gives_less_than_it_says(root, monkeypatch):
    put(root)
    source = LocalSource(root, "f")
    monkeypatch.setattr(os, "read", lambda fd, size: b"")
    with pytest.raises(SourceChanged):
        source.load()
