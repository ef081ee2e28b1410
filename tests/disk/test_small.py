"""Copying, atomic replacement, durability and the table of errors."""

import errno
import os
import stat

import pytest

from cftool.core.errors import (
    InvalidName,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ReadOnly,
    SourceChanged,
    StoreError,
    TemporaryError,
    TooLarge,
    Unsupported,
)
from cftool.disk import atomic, copying, durability, temps
from cftool.disk.errors import store_error, translated
from cftool.testing.crash import every_refusal

MIB = 1 << 20


@pytest.fixture
def pair(tmp_path):
    src = os.open(tmp_path / "src", os.O_RDWR | os.O_CREAT)
    dst = os.open(tmp_path / "dst", os.O_RDWR | os.O_CREAT)
    yield src, dst
    os.close(src)
    os.close(dst)


def content(fd):
    return os.pread(fd, os.fstat(fd).st_size + 1, 0)


def refuse(*args):
    raise OSError(errno.EXDEV, "Invalid cross-device link")


WAYS = {
    "as the system does it": {},
    "without copy_file_range": {"copy_file_range": refuse},
    "with short reads and writes": {
        "copy_file_range": refuse,
        "pread": lambda fd, size, offset, real=os.pread: real(fd, min(size, 1000), offset),
        "pwrite": lambda fd, data, offset, real=os.pwrite: real(fd, bytes(data)[:300], offset),
    },
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 4096, 3 * MIB + 5])
def test_content_is_copied(pair, monkeypatch, way, size):
    src, dst = pair
    data = os.urandom(min(size, 50_000)) * (size // 50_000 + 1)
    os.write(src, data[:size])
    with monkeypatch.context() as patch:
        for name, function in WAYS[way].items():
            patch.setattr(os, name, function)
        copying.copy(src, dst, size)
    assert content(dst) == data[:size]


@pytest.mark.parametrize("way", ["as the system does it", "without copy_file_range"])
def test_holes_are_kept(pair, monkeypatch, way):
    src, dst = pair
    os.ftruncate(src, 1 << 40)
    os.pwrite(src, b"middle", 1 << 30)
    for name, function in WAYS[way].items():
        monkeypatch.setattr(os, name, function)
    copying.copy(src, dst, 1 << 40)
    status = os.fstat(dst)
    assert status.st_size == 1 << 40
    assert status.st_blocks * 512 < MIB
    assert os.pread(dst, 6, 1 << 30) == b"middle"


def test_file_system_that_cannot_tell_holes(pair, monkeypatch):
    src, dst = pair
    os.write(src, b"data")

    def lseek(fd, position, how):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "lseek", lseek)
    copying.copy(src, dst, 4)
    assert content(dst) == b"data"


def test_data_after_the_size_is_not_copied(pair):
    src, dst = pair
    os.pwrite(src, b"later", 10 * MIB)
    copying.copy(src, dst, MIB)
    assert os.fstat(dst).st_size == MIB


def test_source_that_became_shorter(pair, monkeypatch):
    src, dst = pair
    os.write(src, b"data")
    monkeypatch.setattr(os, "lseek", lambda fd, position, how: 10 if how == os.SEEK_HOLE else position)
    with pytest.raises(SourceChanged):
        copying.copy(src, dst, 10)


def test_reflink_is_used_where_there_is_one(pair, monkeypatch):
    src, dst = pair
    os.write(src, b"data")
    clones = []

    def ioctl(to, request, origin):
        clones.append(request)
        os.write(to, os.pread(origin, 100, 0))

    monkeypatch.setattr(copying.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(os, "copy_file_range", None)
    copying.copy(src, dst, 4)
    assert content(dst) == b"data"
    assert clones == [0x40049409]
    os.ftruncate(dst, 0)
    with pytest.raises(SourceChanged):
        copying.copy(src, dst, 5)


def test_full_disk_while_copying_is_told(pair, monkeypatch):
    src, dst = pair
    os.write(src, b"data")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space"):
        copying.copy(src, dst, 4)


def test_copy_that_ends_early_is_finished_by_reading(pair, monkeypatch):
    src, dst = pair
    os.write(src, b"data")
    monkeypatch.setattr(os, "copy_file_range", lambda *args: 0)
    copying.copy(src, dst, 4)
    assert content(dst) == b"data"


def test_system_without_copy_file_range(pair, monkeypatch):
    src, dst = pair
    os.write(src, b"data")
    monkeypatch.delattr(os, "copy_file_range")
    copying.copy(src, dst, 4)
    assert content(dst) == b"data"


def test_small_file_is_replaced_with_its_mode(tmp_path):
    path = tmp_path / "config"
    path.write_bytes(b"old")
    path.chmod(0o644)
    atomic.write_file(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    atomic.write_file(str(path), b"", mode=0o640)
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["config"]


def test_small_file_is_synced_before_its_name_and_the_name_after(tmp_path, monkeypatch):
    trace = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def call(first, *args, real=real, name=name, **kwargs):
            what = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
            trace.append((name, "temp" if what.endswith(".tmp") else "directory"))
            return real(first, *args, **kwargs)

        monkeypatch.setattr(os, name, call)
    atomic.write_file(str(tmp_path / "config"), b"new")
    assert trace == [("fsync", "temp"), ("rename", "temp"), ("fsync", "directory")]


def test_small_file_behind_a_link_is_replaced_where_it_is(tmp_path):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "config").write_bytes(b"old")
    (tmp_path / "config").symlink_to("repository/config")
    atomic.write_file(str(tmp_path / "config"), b"new")
    assert (tmp_path / "repository" / "config").read_bytes() == b"new"
    assert (tmp_path / "config").is_symlink()


def test_small_file_in_no_directory(tmp_path):
    with pytest.raises(NotFound):
        atomic.write_file(str(tmp_path / "none" / "config"), b"new")


@pytest.mark.parametrize("call", ["open", "write", "fchmod", "fsync", "rename"])
def test_small_file_is_old_or_new_whatever_fails(tmp_path, call):
    path = tmp_path / "config"
    path.write_bytes(b"old")
    injected = 0
    for refusal, raised in every_refusal(call, errno.ENOSPC, lambda: atomic.write_file(str(path), b"new")):
        injected += 1
        assert isinstance(raised, QuotaExceeded), refusal
        assert path.read_bytes() in (b"old", b"new")
        assert not [name for name in os.listdir(tmp_path) if temps.is_temp(name)]
        path.write_bytes(b"old")
    assert injected > 0


def test_directories_that_cannot_be_synced_are_passed_over(tmp_path, monkeypatch):
    fd = os.open(tmp_path, os.O_RDONLY)
    real = os.fsync
    try:
        for number, raised in ((errno.EINVAL, False), (errno.EIO, True)):

            def fsync(fd, number=number):
                raise OSError(number, os.strerror(number))

            monkeypatch.setattr(os, "fsync", fsync)
            if raised:
                with pytest.raises(OSError, match="Input/output"):
                    durability.sync_directory(fd)
            else:
                durability.sync_directory(fd)
        monkeypatch.setattr(os, "fsync", real)
        monkeypatch.setattr(os, "open", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(errno.EACCES, "no")))
        durability.sync_directory(fd)
        monkeypatch.setattr(os, "open", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(errno.EIO, "bad")))
        with pytest.raises(OSError, match="bad"):
            durability.sync_directory(fd)
    finally:
        monkeypatch.undo()
        os.close(fd)


def test_writeback_is_a_hint_that_may_be_missing(pair, monkeypatch):
    src, _ = pair
    os.write(src, b"data")
    durability.start_writeback(src)
    durability._sync_file_range.cache_clear()
    monkeypatch.setattr(durability.ctypes, "CDLL", lambda *args, **kwargs: object())
    durability.start_writeback(src)
    durability._sync_file_range.cache_clear()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, NotFound),
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.ENOSPC, QuotaExceeded),
        (errno.EDQUOT, QuotaExceeded),
        (errno.EROFS, ReadOnly),
        (errno.ELOOP, InvalidName),
        (errno.ENAMETOOLONG, InvalidName),
        (errno.EFBIG, TooLarge),
        (errno.EXDEV, Unsupported),
        (errno.ETIMEDOUT, TemporaryError),
        (errno.EIO, StoreError),
        (errno.EMFILE, StoreError),
    ],
)
def test_errors_of_the_system_have_their_class(number, kind):
    error = store_error(OSError(number, os.strerror(number)), op="write", path="a/b")
    assert type(error) is kind
    assert (error.op, error.path) == ("write", "a/b")
    assert error.message == os.strerror(number)[0].lower() + os.strerror(number)[1:]


def test_errors_without_a_number():
    assert store_error(OSError()).message == "input/output error"
    assert store_error(OSError("Odd")).message == "odd"


def fail(error):
    with translated("stat", "p"):
        raise error


def test_other_errors_pass_and_ours_learn_their_place():
    with pytest.raises(ValueError, match="x"):
        fail(ValueError("x"))
    with pytest.raises(NotFound) as caught:
        fail(NotFound("gone"))
    assert (caught.value.op, caught.value.path) == ("stat", "p")


def test_directories_are_made_with_their_parents_and_each_is_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durability, "sync_directory", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    durability.make_directories(str(tmp_path / "a/b/c"))
    durability.make_directories(str(tmp_path / "a/b/c"))
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/b")]
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    monkeypatch.chdir(tmp_path)
    durability.make_directories("d")
    assert synced[-1] == str(tmp_path)
