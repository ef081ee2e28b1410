"""Atomic writes and the group commit: what is published, what is refused, and what every failing call leaves."""

import errno
import hashlib
import os
import stat

import pytest

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidName,
    IsADirectory,
    NotADirectory,
    PermissionDenied,
    StoreError,
)
from cftool.core.types import Entry, Kind
from cftool.disk import atomic, durability, group, links, temps, writer
from cftool.disk.root import Root
from cftool.testing.crash import every_refusal

TIME = 1_600_000_000_123_456_789


def entry(path, data, hashes=None, modified_ns=TIME, version="v1"):
    return Entry(path, Kind.FILE, len(data), modified_ns, None, version, hashes=hashes or {})


def save(root, path, data=b"data", **fields):
    root.target(path).save(data, entry(path, data, **fields))


def content(root, path):
    with open(os.path.join(root.path, path), "rb") as file:
        return file.read()


def temps_in(root):
    return [temp.path for temp in temps.find(root)]


def test_saved_file_has_content_time_and_default_permissions(root, publishing):
    save(root, "a/b/f", b"data")
    assert root.flush() == []
    assert content(root, "a/b/f") == b"data"
    status = os.stat(os.path.join(root.path, "a/b/f"))
    umask = os.umask(0)
    os.umask(umask)
    assert status.st_mtime_ns == TIME
    assert stat.S_IMODE(status.st_mode) == 0o666 & ~umask
    assert temps_in(root) == []


def test_file_without_a_time_has_that_of_now(root):
    save(root, "f", modified_ns=None)
    assert root.flush() == []
    assert root.stat("f").st_mtime_ns > TIME


def test_nothing_is_published_before_the_flush_and_the_temp_is_hidden(root):
    save(root, "f")
    assert [name for name, _ in root.scan("")] == []
    assert len(os.listdir(root.path)) == 1
    assert root.flush() == []
    assert os.listdir(root.path) == ["f"]


def test_replaced_file_keeps_its_permissions_but_no_special_bits(root):
    path = os.path.join(root.path, "f")
    with open(path, "wb"):
        pass
    os.chmod(path, 0o6741)
    save(root, "f")
    assert root.flush() == []
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o741


def test_temp_of_a_private_file_is_never_wider(root):
    path = os.path.join(root.path, "f")
    with open(path, "wb"):
        pass
    os.chmod(path, 0o600)
    one = writer.draft(root, "f")
    try:
        assert stat.S_IMODE(os.fstat(one.fd).st_mode) == 0o600
    finally:
        one.discard()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_replaced_file_keeps_its_owner(root):
    path = os.path.join(root.path, "f")
    with open(path, "wb"):
        pass
    os.chown(path, 12345, 23456)
    save(root, "f")
    assert root.flush() == []
    status = os.stat(path)
    assert (status.st_uid, status.st_gid) == (12345, 23456)


def test_owner_that_cannot_be_given_back_is_no_failure(root, monkeypatch):
    path = os.path.join(root.path, "f")
    with open(path, "wb"):
        pass
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)

    def refuse(*args):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "fchown", refuse)
    save(root, "f", b"new")
    assert root.flush() == []
    assert content(root, "f") == b"new"


def test_wrong_length_is_refused_before_anything_is_written(root):
    with pytest.raises(IntegrityError):
        root.target("d/f").save(b"data", entry("d/f", b"more data"))
    assert os.listdir(root.path) == []


@pytest.mark.parametrize("name", ["md5", "sha256", "crc32"])
def test_wrong_hash_is_refused(root, name):
    from cftool.core import hashing

    save(root, "good", b"data", hashes={name: hashing.digest(name, b"data")})
    with pytest.raises(IntegrityError, match=name):
        save(root, "bad", b"data", hashes={name: hashing.digest(name, b"date")})
    assert root.flush() == []
    assert os.listdir(root.path) == ["good"]


def test_unknown_hash_and_verified_data_are_not_checked_again(root):
    save(root, "f", hashes={"quickxor": "00"})
    root.target("g", verify=False).save(b"data", entry("g", b"data", hashes={"md5": "00"}))
    assert root.flush() == []
    assert sorted(os.listdir(root.path)) == ["f", "g"]


def test_names_of_our_temps_cannot_be_written(root):
    for name in (".cftool-0123456789ab-0.tmp", f"d/.cftool-{'0' * 32}.part.tmp", f".cftool-{'0' * 32}.map.tmp/f"):
        with pytest.raises(InvalidName):
            save(root, name)
    assert not [name for name in os.listdir(root.path) if name.startswith(".cftool")]


@pytest.mark.parametrize("path", ["../f", "/f", "a//f", "a/../../f", "", ".", "a\0b", "x\ud800"])
def test_paths_that_are_not_canonical_are_refused(root, path):
    with pytest.raises((InvalidName, IsADirectory)):
        save(root, path)
    assert os.listdir(root.path) == []


def test_directory_in_the_way_is_told_at_once(root):
    os.mkdir(os.path.join(root.path, "d"))
    with pytest.raises(IsADirectory):
        save(root, "d")


def test_file_in_the_way_of_a_directory_is_told_at_once(root):
    with open(os.path.join(root.path, "f"), "wb"):
        pass
    with pytest.raises(NotADirectory):
        save(root, "f/g")


def test_directory_that_comes_meanwhile_fails_at_the_flush_for_that_path_alone(root, publishing):
    save(root, "f")
    save(root, "g")
    os.mkdir(os.path.join(root.path, "f"))
    failures = root.flush()
    assert [(path, type(error)) for path, error in failures] == [("f", IsADirectory)]
    assert content(root, "g") == b"data"
    assert temps_in(root) == []
    assert root.flush() == []


def test_link_at_the_final_name_is_replaced_and_not_followed(root, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    os.symlink(outside, os.path.join(root.path, "f"))
    save(root, "f")
    assert root.flush() == []
    assert outside.read_bytes() == b"outside"
    assert not os.path.islink(os.path.join(root.path, "f"))


def test_linked_directory_is_not_written_through(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(outside, os.path.join(root.path, "d"))
    with pytest.raises(NotADirectory, match="symbolic link"):
        save(root, "d/f")
    with pytest.raises(NotADirectory, match="symbolic link"):
        save(root, "d/e/f")
    assert list(outside.iterdir()) == []


def test_directory_swapped_for_a_link_between_save_and_flush_leads_nowhere(root, tmp_path, publishing):
    outside = tmp_path / "outside"
    outside.mkdir()
    save(root, "d/f")
    save(root, "e/f")
    os.rename(os.path.join(root.path, "d"), os.path.join(root.path, "moved"))
    os.symlink(outside, os.path.join(root.path, "d"))
    failures = root.flush()
    assert [(path, type(error)) for path, error in failures] == [("d/f", NotADirectory)]
    assert list(outside.iterdir()) == []
    assert os.listdir(os.path.join(root.path, "moved")) == []
    assert content(root, "e/f") == b"data"
    with pytest.raises(NotADirectory, match="symbolic link"):
        root.directory("d")
    assert list(outside.iterdir()) == []


def test_directory_replaced_by_another_is_noticed(root):
    save(root, "d/f")
    os.rename(os.path.join(root.path, "d"), os.path.join(root.path, "moved"))
    os.mkdir(os.path.join(root.path, "d"))
    (failure,) = root.flush()
    assert failure[0] == "d/f"
    assert "replaced" in str(failure[1])
    assert os.listdir(os.path.join(root.path, "moved")) == []


def test_directory_removed_meanwhile_is_made_again(root):
    save(root, "d/f")
    assert root.flush() == []
    os.unlink(os.path.join(root.path, "d/f"))
    os.rmdir(os.path.join(root.path, "d"))
    save(root, "d/g")
    assert root.flush() == []
    assert content(root, "d/g") == b"data"


def test_last_save_of_one_path_wins(root, publishing):
    for number in range(200):
        save(root, "f", b"%d" % number)
    assert root.flush() == []
    assert content(root, "f") == b"199"


def test_many_files_need_few_descriptors(root, publishing, descriptors):
    before = descriptors()
    most = 0
    for number in range(1000):
        save(root, f"d{number % 7}/f{number}")
        if number % 16 == 0:
            most = max(most, descriptors())
    assert root.flush() == []
    assert most - before <= 4 * group.BATCH_FILES + 16
    assert sum(len(files) for _, _, files in os.walk(root.path)) == 1000


def test_large_batches_go_to_the_thread(root, monkeypatch):
    monkeypatch.setattr(group, "_FAST", 3600.0)
    monkeypatch.setattr(group, "BATCH_BYTES", 10)
    save(root, "f", b"x" * 20)
    assert root.group._worker is not None
    assert root.flush() == []
    assert content(root, "f") == b"x" * 20


def test_slow_disk_is_tried_again_after_a_while(root, monkeypatch):
    seconds = iter(range(100000))
    monkeypatch.setattr(group, "_PROBE_AFTER", 2)
    monkeypatch.setattr(group, "BATCH_FILES", 10)
    root._group = slow = group.Group(root, clock=lambda: next(seconds))
    for number in range(8):
        save(root, f"f{number}")
    assert slow._until_probe == 2
    for number in range(20):
        save(root, f"g{number}")
    assert slow._until_probe == 0
    slow._jobs.join()
    for number in range(8):
        save(root, f"h{number}")
    assert slow._until_probe == 2
    assert root.flush() == []
    assert len(os.listdir(root.path)) == 36


def test_close_publishes_what_was_not_flushed(tmp_path):
    with Root(str(tmp_path / "new"), create=True) as root:
        save(root, "f")
    assert (tmp_path / "new" / "f").read_bytes() == b"data"
    root.close()


def test_close_raises_what_no_flush_told(tmp_path):
    root = Root(str(tmp_path))
    save(root, "f")
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectory):
        root.close()


def test_leaving_by_an_exception_does_not_hide_it(tmp_path, caplog):
    root = Root(str(tmp_path))
    save(root, "f")
    (tmp_path / "f").mkdir()
    with pytest.raises(ValueError, match="mine"), root:
        raise ValueError("mine")
    assert "directory" in caplog.text


def test_close_of_the_context_raises_too(tmp_path):
    root = Root(str(tmp_path))
    save(root, "f")
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectory), root:
        pass


CALLS = ["open", "write", "fsync", "rename", "close", "utime", "fchmod", "mkdir", "fstat"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", CALLS)
def test_every_refused_call_leaves_old_or_new_and_is_told(tmp_path, call, error, publishing):
    number = [0]

    def attempt():
        number[0] += 1
        top = tmp_path / str(number[0])
        mkdir(top)
        (top / "old").write_bytes(b"old")
        told = []
        errors = []
        with Root(str(top)) as root:
            for path in ("old", "new", "d/new"):
                try:
                    save(root, path, b"data")
                except StoreError as failure:
                    told.append(path)
                    errors.append(failure.errno)
            told += [path for path, _ in root.flush()]
        for path in ("old", "new", "d/new"):
            there = (top / path).read_bytes() if (top / path).exists() else None
            if path in told or "d" in told:
                assert there in (b"old" if path == "old" else None, b"data")
            else:
                assert there == b"data"
        assert set(errors) <= {error}
        assert not [name for _, _, names in os.walk(top) for name in names if temps.is_temp(name)]

    mkdir = os.mkdir
    injected = 0
    for refusal, raised in every_refusal(call, error, attempt):
        injected += 1
        if raised is not None:
            assert isinstance(raised, StoreError), refusal
    assert injected > 0


def test_sync_of_a_directory_that_fails_is_told_for_each_path_in_it(root, monkeypatch):
    save(root, "d/f")
    save(root, "d/g")
    save(root, "e/f")
    real = durability.sync_directory
    bad = root.directory("d").fd

    def sync(fd):
        if os.fstat(fd).st_ino == os.fstat(bad).st_ino:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(durability, "sync_directory", sync)
    assert sorted(path for path, _ in root.flush()) == ["d/f", "d/g"]
    assert root.flush() == []


def test_sync_of_one_path_raises_its_own_failure_and_those_above(root, monkeypatch):
    os.mkdir(os.path.join(root.path, "d"))

    def sync(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durability, "sync_directory", sync)
    root.published("d/f")
    root.published("g")
    with pytest.raises(StoreError):
        root.sync("d/f")
    root.sync("d/other")
    with pytest.raises(StoreError):
        root.sync("g")
    root.sync("g")
    root.published("d")
    with pytest.raises(StoreError):
        root.sync("d/f")
    assert [path for path, _ in root.flush()] == ["d"]


def test_many_published_names_are_synced_without_a_flush(root, monkeypatch):
    monkeypatch.setattr("cftool.disk.root._UNSYNCED", 10)
    monkeypatch.setattr(group, "_FAST", 3600.0)
    for number in range(64):
        save(root, f"f{number}")
    assert root._unsynced_count < 10
    assert root.flush() == []


def test_data_is_synced_before_its_name_and_the_name_after(root, monkeypatch):
    """The order that a power cut asks for."""
    trace = []
    for name in ("fsync", "rename", "utime", "write"):
        real = getattr(os, name)

        def call(first, *args, real=real, name=name, **kwargs):
            what = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
            trace.append((name, "temp" if ".tmp" in what else "directory"))
            return real(first, *args, **kwargs)

        monkeypatch.setattr(os, name, call)
    save(root, "f")
    root.flush()
    assert trace == [
        ("write", "temp"),
        ("utime", "temp"),
        ("fsync", "temp"),
        ("rename", "temp"),
        ("fsync", "directory"),
    ]


def test_new_directories_are_synced_in_their_parents(root, monkeypatch):
    synced = []
    real = durability.sync_directory

    def sync(fd):
        synced.append(os.readlink(f"/proc/self/fd/{fd}")[len(root.path) :])
        real(fd)

    monkeypatch.setattr(durability, "sync_directory", sync)
    save(root, "a/b/f")
    assert root.flush() == []
    assert sorted(synced) == ["", "/a", "/a/b"]


def test_publish_if_absent_never_replaces(root):
    with open(os.path.join(root.path, "f"), "wb") as file:
        file.write(b"old")
    drafts = [writer.draft(root, "f"), writer.draft(root, "g")]
    assert [writer.exists(one) for one in drafts] == [True, False]
    for one in drafts:
        one.write(b"new")
    ((path, error),) = writer.publish(root, drafts, if_absent=True)
    assert path == "f"
    assert isinstance(error, AlreadyExists)
    assert content(root, "f") == b"old"
    assert content(root, "g") == b"new"
    assert temps_in(root) == []


def test_interrupt_while_publishing_leaves_no_temp(root, monkeypatch):
    one = writer.draft(root, "f")
    one.write(b"new")

    def interrupt(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.publish(root, [one])
    assert os.listdir(root.path) == []


def test_short_writes_are_continued(root, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    save(root, "f", b"0123456789")
    assert root.flush() == []
    assert content(root, "f") == b"0123456789"


def test_discarding_twice_is_harmless(root):
    one = writer.draft(root, "f")
    one.discard()
    one.discard()
    assert os.listdir(root.path) == []


def test_bytes_that_another_put_into_the_temp_are_noticed(root):
    one = writer.draft(root, "f")
    try:
        one.write(b"data")
        os.pwrite(one.fd, b"more", 4)
        with pytest.raises(IntegrityError):
            one.finish(None)
    finally:
        one.discard()


def test_failing_worker_is_told_for_each_file(root, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(group, "publish", fail)
    save(root, "f")
    ((path, error),) = root.flush()
    assert path == "f"
    assert isinstance(error, RuntimeError)


def test_failing_job_does_not_end_the_thread(root, caplog):
    def fail():
        raise RuntimeError("a mistake")

    root.group.call(fail)
    root.group.drain()
    assert "a mistake" in caplog.text
    save(root, "f")
    assert root.flush() == []


def test_jobs_are_dropped_where_the_thread_is_behind(root):
    import threading

    gate = threading.Event()
    done = []
    root.group.call(gate.wait)
    for number in range(20):
        root.group.call(lambda number=number: done.append(number))
    gate.set()
    root.group.drain()
    assert 0 < len(done) < 20


def test_changes_come_after_what_was_saved_before(root, publishing):
    save(root, "f", b"new")
    root.rename("f", "g")
    save(root, "h")
    root.unlink("h")
    assert root.flush() == []
    assert os.listdir(root.path) == ["g"]
    assert content(root, "g") == b"new"


def test_five_thousand_hashes_do_not_change_what_is_saved(root):
    data = os.urandom(4096)
    hashes = {"md5": hashlib.md5(data).hexdigest()}
    for number in range(300):
        save(root, f"{number}", data, hashes=hashes)
    assert root.flush() == []
    assert all(content(root, f"{number}") == data for number in range(300))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to drop privileges")
def test_directory_that_may_not_be_written_is_permission_denied(tmp_path):
    top = tmp_path / "root"
    (top / "d").mkdir(parents=True)
    for path in (top, *top.parents):
        if str(path).startswith(str(tmp_path.parent.parent)):
            os.chmod(path, os.stat(path).st_mode | 0o055)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setuid(65534)
            with Root(str(top)) as root:
                save(root, "d/f")
        except PermissionDenied:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_device_fifo_or_socket_is_never_replaced(root, tmp_path):
    save(root, "f")
    root.flush()
    os.mkfifo(os.path.join(root.path, "pipe"))
    for attempt in (
        lambda: save(root, "pipe"),
        lambda: root.rename("f", "pipe"),
        lambda: links.place(root, "pipe", b"f", None),
        lambda: atomic.write_file(os.path.join(root.path, "pipe"), b""),
    ):
        with pytest.raises(AlreadyExists):
            attempt()
    assert stat.S_ISFIFO(os.stat(os.path.join(root.path, "pipe")).st_mode)
    assert sorted(os.listdir(root.path)) == ["f", "pipe"]
