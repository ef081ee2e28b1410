"""Resumable downloads: what is believed of an earlier run, who may go on with it, and what is left."""

import errno
import os

import pytest

from cftool.core.errors import (
    IntegrityError,
    IsADirectory,
    QuotaExceeded,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.types import Entry, Kind
from cftool.disk import durability, temps
from cftool.disk import partial as module
from cftool.disk.ranges import Ranges
from cftool.disk.root import Root
from cftool.testing.crash import every_refusal

MIB = 1 << 20
TIME = 1_600_000_000_123_456_789
DATA = bytes(range(256)) * (4 * MIB // 256)


def entry(size=4 * MIB, version="v1"):
    return Entry("remote name", Kind.FILE, size, TIME, None, version)


def begin(root, path="f", version="v1", size=4 * MIB, origin=""):
    return root.target(path, origin=origin).begin(entry(size, version))


def write(partial, start, end):
    partial.write_at(DATA[start:end], start)
    partial.done(start, end)


def temps_in(root):
    return sorted(os.path.basename(temp.path).rpartition(".tmp")[0].rpartition(".")[2] for temp in temps.find(root))


def content(root, path="f"):
    with open(os.path.join(root.path, path), "rb") as file:
        return file.read()


def test_parts_in_any_order_make_the_file(root):
    partial = begin(root, "d/f")
    ranges = partial.missing(MIB)
    assert ranges == [(0, MIB), (MIB, 2 * MIB), (2 * MIB, 3 * MIB), (3 * MIB, 4 * MIB)]
    for start, end in reversed(ranges):
        write(partial, start, end)
    assert partial.missing(MIB) == []
    assert partial.read_at(100, 50) == DATA[50:150]
    assert partial.read_at(100, 4 * MIB - 10) == DATA[-10:]
    partial.commit(entry())
    partial.close()
    partial.discard()
    assert root.flush() == []
    assert content(root, "d/f") == DATA
    assert root.stat("d/f").st_mtime_ns == TIME
    assert temps_in(root) == []
    assert os.listdir(os.path.join(root.path, "d")) == ["f"]


def test_several_pieces_are_written_at_once(root, monkeypatch):
    monkeypatch.setattr(module, "_PIECES", 3)
    partial = begin(root)
    pieces = [DATA[start : start + MIB // 4] for start in range(0, 4 * MIB, MIB // 4)]
    partial.writev_at(pieces, 0)
    partial.done(0, 4 * MIB)
    partial.commit(entry())
    assert root.flush() == []
    assert content(root) == DATA


def test_short_writes_are_continued(root, monkeypatch):
    pwrite, pwritev = os.pwrite, os.pwritev
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, bytes(data)[:100_000], offset))
    monkeypatch.setattr(os, "pwritev", lambda fd, data, offset: pwritev(fd, [data[0][:1000]], offset))
    partial = begin(root)
    partial.writev_at([DATA[:MIB], DATA[MIB : 2 * MIB]], 0)
    partial.write_at(DATA[2 * MIB :], 2 * MIB)
    partial.done(0, 4 * MIB)
    partial.commit(entry())
    assert root.flush() == []
    assert content(root) == DATA


def test_later_run_goes_on_where_the_first_gave_up(root):
    partial = begin(root)
    write(partial, MIB, 2 * MIB)
    write(partial, 0, 1000)
    partial.close()
    partial.close()
    again = begin(root)
    assert again.missing(8 * MIB) == [(1000, MIB), (2 * MIB, 4 * MIB)]
    write(again, 1000, MIB)
    write(again, 2 * MIB, 4 * MIB)
    again.commit(entry())
    assert root.flush() == []
    assert content(root) == DATA
    assert temps_in(root) == []


def test_gaps_are_cut_at_multiples_of_the_part_size(root):
    partial = begin(root)
    write(partial, 0, 1000)
    assert partial.missing(3 * MIB) == [(1000, 3 * MIB), (3 * MIB, 4 * MIB)]
    partial.discard()


@pytest.mark.parametrize(
    "other", [{"version": "v2"}, {"size": 4 * MIB - 1}, {"origin": "elsewhere"}, {"path": "g"}], ids=str
)
def test_another_version_size_origin_or_name_starts_anew(root, other):
    partial = begin(root)
    write(partial, 0, MIB)
    partial.close()
    again = begin(root, **other)
    assert again.missing(8 * MIB) == [(0, other.get("size", 4 * MIB))]
    again.discard()
    assert temps_in(root) == ["map", "part"]


def test_what_has_no_version_is_never_taken_up(root):
    partial = begin(root, version=None)
    write(partial, 0, MIB)
    partial.close()
    assert temps_in(root) == []


def test_nothing_is_kept_where_nothing_came(root):
    begin(root).close()
    assert os.listdir(root.path) == []


def test_two_at_once_never_share(root, tmp_path):
    first = begin(root)
    write(first, 0, MIB)
    with Root(root.path) as other:
        second = begin(other)
        assert second.missing(8 * MIB) == [(0, 4 * MIB)]
        write(second, 0, 4 * MIB)
        second.commit(entry())
        assert other.flush() == []
    assert content(root) == DATA
    write(first, MIB, 4 * MIB)
    first.commit(entry())
    assert root.flush() == []
    assert content(root) == DATA
    assert temps_in(root) == []


def test_incomplete_file_is_never_published(root):
    partial = begin(root)
    write(partial, 0, 4 * MIB - 1)
    with pytest.raises(IntegrityError, match="4194303 of 4194304"):
        partial.commit(entry())
    with pytest.raises(IntegrityError):
        partial.commit(entry(size=4 * MIB - 1))
    partial.discard()
    assert os.listdir(root.path) == []


def test_bytes_outside_of_the_file_are_refused(root):
    partial = begin(root, size=10)
    for call in (
        lambda: partial.write_at(b"12345", 6),
        lambda: partial.writev_at([b"123", b"45"], 6),
        lambda: partial.done(0, 11),
        lambda: partial.done(-1, 5),
        lambda: partial.done(6, 5),
    ):
        with pytest.raises(IntegrityError, match="outside"):
            call()
    partial.done(5, 5)
    assert partial.missing(100) == [(0, 10)]
    partial.discard()


def test_temp_that_grew_is_not_published(root):
    partial = begin(root, size=10)
    partial.write_at(DATA[:10], 0)
    partial.done(0, 10)
    os.pwrite(partial._draft.fd, b"more", 10)
    with pytest.raises(IntegrityError):
        partial.commit(entry(10))
    assert os.listdir(root.path) == []


def test_empty_file(root):
    partial = begin(root, size=0)
    assert partial.missing(MIB) == []
    partial.commit(entry(0))
    assert root.flush() == []
    assert content(root) == b""


def test_unknown_size_is_refused(root):
    with pytest.raises(Unsupported):
        root.target("f").begin(Entry("f", Kind.FILE, None, version="v"))


def test_directory_in_the_way_is_told_at_once(root):
    os.mkdir(os.path.join(root.path, "f"))
    with pytest.raises(IsADirectory):
        begin(root)


def test_replaced_file_keeps_its_permissions(root):
    path = os.path.join(root.path, "f")
    with open(path, "wb"):
        pass
    os.chmod(path, 0o640)
    partial = begin(root, size=10)
    partial.write_at(DATA[:10], 0)
    partial.done(0, 10)
    partial.commit(entry(10))
    assert root.flush() == []
    assert os.stat(path).st_mode & 0o7777 == 0o640


def test_calls_after_the_end_are_refused(root):
    partial = begin(root, size=10)
    partial.discard()
    for call in (lambda: partial.write_at(b"1", 0), lambda: partial.read_at(1, 0), lambda: partial.commit(entry(0))):
        with pytest.raises(StoreError):
            call()


def interrupted(root, monkeypatch):
    """A partial file as a killed process leaves it: 2 MiB written and recorded, 1 MiB of them for good."""
    partial = begin(root)
    write(partial, 0, MIB)
    partial._make_durable()
    write(partial, MIB, 2 * MIB)
    os.close(partial._log.fd)
    os.close(partial._draft.fd)
    partial._draft = partial._log = None


def test_killed_run_is_believed_in_the_same_boot(root, monkeypatch):
    interrupted(root, monkeypatch)
    again = begin(root)
    assert again.missing(8 * MIB) == [(2 * MIB, 4 * MIB)]
    again.discard()


def test_after_a_restart_only_what_was_synced_is_believed(root, monkeypatch):
    interrupted(root, monkeypatch)
    monkeypatch.setattr(module, "_boot", lambda: "another")
    again = begin(root)
    assert again.missing(8 * MIB) == [(MIB, 4 * MIB)]
    write(again, 2 * MIB, 3 * MIB)
    again.close()
    third = begin(root)
    assert third.missing(8 * MIB) == [(MIB, 2 * MIB), (3 * MIB, 4 * MIB)]
    third.discard()


def test_without_a_boot_id_only_what_was_synced_is_believed(root, monkeypatch):
    monkeypatch.setattr(module, "_boot", lambda: "")
    interrupted(root, monkeypatch)
    again = begin(root)
    assert again.missing(8 * MIB) == [(MIB, 4 * MIB)]
    again.discard()


def test_boot_id_is_empty_where_the_system_has_none(monkeypatch):
    def refuse(*args, **kwargs):
        raise FileNotFoundError

    module._boot.cache_clear()
    monkeypatch.setattr("builtins.open", refuse)
    try:
        assert module._boot() == ""
    finally:
        module._boot.cache_clear()


def part_and_map(root):
    names = sorted(name for name in os.listdir(root.path) if temps.is_temp(name))
    return [os.path.join(root.path, name) for name in sorted(names, key=lambda name: ".map" in name)]


def test_holes_where_data_was_said_to_be_are_fetched_again(root, monkeypatch):
    interrupted(root, monkeypatch)
    part, _ = part_and_map(root)
    os.truncate(part, MIB // 2)
    os.truncate(part, 4 * MIB)
    again = begin(root)
    assert again.missing(8 * MIB) == [(MIB // 2, 4 * MIB)]
    again.discard()


def test_hole_in_the_middle_is_found(root, monkeypatch):
    interrupted(root, monkeypatch)
    part, _ = part_and_map(root)
    with open(part, "rb+") as file:
        first = file.read(MIB)
        file.truncate(0)
        file.truncate(4 * MIB)
        file.seek(0)
        file.write(first[: MIB // 2])
        file.seek(MIB)
        file.write(first)
        file.seek(3 * MIB)
        file.write(first)
    again = begin(root)
    assert again.missing(8 * MIB) == [(MIB // 2, MIB), (2 * MIB, 4 * MIB)]
    again.discard()


@pytest.mark.parametrize("size", [0, MIB, 5 * MIB])
def test_file_of_another_length_is_not_believed(root, monkeypatch, size):
    interrupted(root, monkeypatch)
    part, _ = part_and_map(root)
    os.truncate(part, size)
    again = begin(root)
    assert again.missing(8 * MIB) == [(0, 4 * MIB)]
    again.discard()


@pytest.mark.parametrize("keep", range(0, 200, 7))
def test_torn_map_is_believed_up_to_the_tear(root, monkeypatch, keep):
    interrupted(root, monkeypatch)
    _, map_path = part_and_map(root)
    with open(map_path, "rb+") as file:
        whole = file.read()
        file.truncate(min(keep, len(whole) - 1))
    again = begin(root)
    ((start, end),) = again.missing(8 * MIB)
    assert start in (0, MIB)
    assert end == 4 * MIB
    write(again, start, 4 * MIB)
    again.commit(entry())
    assert root.flush() == []
    assert content(root) == DATA


def test_flipped_bits_in_the_map_are_not_believed(root, monkeypatch):
    interrupted(root, monkeypatch)
    _, map_path = part_and_map(root)
    with open(map_path, "rb") as file:
        whole = file.read()
    for position in range(len(whole)):
        with open(map_path, "wb") as file:
            file.write(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        again = begin(root)
        assert again.missing(8 * MIB)[0][0] in (0, MIB)
        os.close(again._log.fd)
        os.close(again._draft.fd)


def test_map_of_a_file_that_is_gone_is_not_believed(root, monkeypatch):
    interrupted(root, monkeypatch)
    part, _ = part_and_map(root)
    os.unlink(part)
    again = begin(root)
    assert again.missing(8 * MIB) == [(0, 4 * MIB)]
    again.discard()
    assert os.listdir(root.path) == []


def test_old_map_is_gone_for_good_before_the_file_is_made_anew(root, monkeypatch):
    """After a power cut it could otherwise vouch for a new file's holes."""
    interrupted(root, monkeypatch)
    part, map_path = part_and_map(root)
    os.unlink(part)
    synced = []
    real = durability.sync_directory

    def sync(fd):
        synced.append((os.path.exists(map_path), os.path.exists(part)))
        real(fd)

    monkeypatch.setattr(durability, "sync_directory", sync)
    begin(root).discard()
    assert synced == [(False, False)]


def test_range_is_recorded_for_good_only_after_its_data_was_synced(root, monkeypatch):
    partial = begin(root)
    write(partial, 0, MIB)
    trace = []
    sync, append = os.fdatasync, module._Log.append
    fds = {partial._draft.fd: "data", partial._log.fd: "map"}
    monkeypatch.setattr(os, "fdatasync", lambda fd: (trace.append(f"sync {fds[fd]}"), sync(fd)))
    monkeypatch.setattr(
        module._Log, "append", lambda self, *records: (trace.append(records[0]), append(self, *records))
    )
    partial.close()
    assert trace == ["sync data", f"d 0 {MIB}", "sync map"]


def test_file_without_a_map_is_not_believed(root, monkeypatch):
    interrupted(root, monkeypatch)
    _, map_path = part_and_map(root)
    os.unlink(map_path)
    again = begin(root)
    assert again.missing(8 * MIB) == [(0, 4 * MIB)]
    again.discard()


def test_map_that_another_holds_makes_the_download_not_resumable(root, monkeypatch):
    interrupted(root, monkeypatch)
    _, map_path = part_and_map(root)
    fd = os.open(map_path, os.O_RDONLY)
    try:
        assert temps.lock(fd)
        again = begin(root)
        assert again.missing(8 * MIB) == [(0, 4 * MIB)]
        write(again, 0, 4 * MIB)
        again.commit(entry())
        assert root.flush() == []
    finally:
        os.close(fd)
    assert content(root) == DATA


@pytest.mark.parametrize("which", [0, 1])
def test_planted_files_are_not_used(root, monkeypatch, tmp_path, which):
    """In a directory that others may write to, a hard link or a link under the name we are going to use."""
    interrupted(root, monkeypatch)
    path = part_and_map(root)[which]
    os.link(path, tmp_path / "kept")
    before = (tmp_path / "kept").read_bytes()
    again = begin(root)
    assert again.missing(8 * MIB) == [(0, 4 * MIB)]
    again.discard()
    assert (tmp_path / "kept").read_bytes() == before
    os.unlink(path) if os.path.exists(path) else None
    os.symlink(tmp_path / "kept", path)
    again = begin(root)
    assert again.missing(8 * MIB) == [(0, 4 * MIB)]
    again.discard()
    assert (tmp_path / "kept").read_bytes() == before


def test_file_published_between_open_and_lock_is_left_alone(root, monkeypatch):
    interrupted(root, monkeypatch)
    real = temps.lock
    part, _ = part_and_map(root)
    calls = []

    def lock(fd):
        calls.append(fd)
        if len(calls) == 1:
            os.rename(part, os.path.join(root.path, "published"))
        return real(fd)

    monkeypatch.setattr(temps, "lock", lock)
    again = begin(root)
    assert again.missing(8 * MIB) == [(0, 4 * MIB)]
    write(again, 0, 10)
    assert content(root, "published")[: 2 * MIB] == DATA[: 2 * MIB]
    again.discard()


def test_file_that_another_made_in_the_same_instant(root, monkeypatch):
    real = os.open
    made = []

    def open_(path, flags, *args, **kwargs):
        if str(path).endswith(".part.tmp") and flags & os.O_EXCL and not made:
            made.append(real(path, flags, *args, **kwargs))
            temps.lock(made[0])
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)
    partial = begin(root)
    write(partial, 0, MIB)
    partial.close()
    os.close(made[0])
    assert temps_in(root) == ["part"]


def test_file_system_without_locks_leaves_nothing_to_resume(root, monkeypatch):
    monkeypatch.setattr(temps, "lock", lambda fd: None)
    partial = begin(root)
    write(partial, 0, MIB)
    partial.close()
    assert os.listdir(root.path) == []


def test_failing_sync_is_remembered_and_nothing_is_published(root, monkeypatch):
    partial = begin(root)
    write(partial, 0, 4 * MIB)

    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        partial._make_durable()
    partial._make_durable()
    with pytest.raises(StoreError, match="input/output"):
        partial.commit(entry())
    assert os.listdir(root.path) == []


def test_failing_sync_at_close_keeps_nothing(root, monkeypatch):
    partial = begin(root)
    write(partial, 0, MIB)

    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StoreError, match="input/output"):
        partial.close()
    assert os.listdir(root.path) == []


def test_data_is_synced_in_the_background_every_so_often(root, monkeypatch):
    monkeypatch.setattr(module, "_DURABLE", MIB)
    partial = begin(root)
    write(partial, 0, MIB)
    write(partial, MIB, 3 * MIB)
    root.group.drain()
    os.close(partial._log.fd)
    os.close(partial._draft.fd)
    partial._draft = partial._log = None
    partial._make_durable()
    monkeypatch.setattr(module, "_boot", lambda: "another")
    again = begin(root)
    assert again.missing(8 * MIB) == [(3 * MIB, 4 * MIB)]
    again.discard()


def test_full_disk_under_the_map_costs_only_the_resume(root, monkeypatch):
    partial = begin(root)
    real = os.write

    def fail(fd, data):
        if fd == log:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    log = partial._log.fd
    monkeypatch.setattr(os, "write", fail)
    write(partial, 0, 4 * MIB)
    partial.commit(entry())
    assert root.flush() == []
    assert content(root) == DATA
    assert temps_in(root) == []


@pytest.mark.parametrize("short", [True, False])
def test_full_disk_under_the_map_at_the_end(root, monkeypatch, short):
    partial = begin(root)
    write(partial, 0, MIB)

    def fail(fd, data):
        if short:
            return 1
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    partial.close()
    monkeypatch.undo()
    again = begin(root)
    assert again.missing(8 * MIB) in ([(MIB, 4 * MIB)], [(0, 4 * MIB)])
    again.discard()


@pytest.mark.parametrize("name", ["_is_ours", "_without_holes", "_open_log"])
def test_failure_while_it_is_taken_up_gives_all_descriptors_back(root, monkeypatch, name, descriptors):
    interrupted(root, monkeypatch)
    before = descriptors()

    def fail(*args):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises(StoreError):
            begin(root)
    assert descriptors() == before
    again = begin(root)
    assert again.missing(8 * MIB) == [(2 * MIB, 4 * MIB)]
    again.discard()


def test_failing_status_of_the_map_gives_all_descriptors_back(root, monkeypatch, descriptors):
    interrupted(root, monkeypatch)
    before = descriptors()
    real = module._is_ours
    answers = [real, lambda fd: os.fstat(-1)]
    with monkeypatch.context() as patch:
        patch.setattr(module, "_is_ours", lambda fd: answers.pop(0)(fd))
        with pytest.raises(StoreError):
            begin(root)
    assert descriptors() == before


def test_sync_without_a_map_is_a_sync(root):
    partial = begin(root)
    write(partial, 0, MIB)
    partial._close_log()
    partial._make_durable()
    partial.close()
    assert temps_in(root) == []


def test_failing_start_without_a_map_leaves_nothing(root, monkeypatch):
    def fail(fd, size):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(TooLarge):
        begin(root, version=None)
    assert os.listdir(root.path) == []


def test_range_that_is_all_hole_before_later_data(root, monkeypatch):
    interrupted(root, monkeypatch)
    part, _ = part_and_map(root)
    with open(part, "rb+") as file:
        file.truncate(0)
        file.truncate(4 * MIB)
        file.seek(3 * MIB)
        file.write(DATA[:MIB])
    again = begin(root)
    assert again.missing(8 * MIB) == [(0, 4 * MIB)]
    again.discard()


def test_new_file_that_cannot_be_locked_is_left_to_a_sweep(root, monkeypatch):
    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(temps, "lock", fail)
    with pytest.raises(StoreError):
        begin(root)
    monkeypatch.undo()
    assert temps_in(root) == ["part"]


def test_map_lags_behind_by_a_quarter_mebibyte_at_most(root, monkeypatch):
    partial = begin(root)
    for start in range(0, 2 * MIB, 16384):
        write(partial, start, start + 16384)
    os.close(partial._log.fd)
    os.close(partial._draft.fd)
    again = begin(root)
    ((start, _),) = again.missing(8 * MIB)
    assert 2 * MIB - 262144 <= start <= 2 * MIB
    again.discard()


def test_map_records_are_few(root):
    partial = begin(root)
    for start in range(0, 4 * MIB, 16384):
        write(partial, start, start + 16384)
    assert os.fstat(partial._log.fd).st_size < 2000
    partial.discard()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    "call",
    [
        "open",
        "ftruncate",
        "pwrite",
        "pwritev",
        "write",
        "fsync",
        "fdatasync",
        "rename",
        "utime",
        "unlink",
        "fstat",
        "stat",
    ],
)
def test_every_refused_call_leaves_old_or_new_and_is_told(tmp_path, call, error):
    number = [0]

    def attempt():
        number[0] += 1
        top = tmp_path / str(number[0])
        top.mkdir()
        (top / "f").write_bytes(b"old")
        told = None
        with Root(str(top)) as root:
            try:
                for run in range(2):
                    partial = begin(root)
                    try:
                        for start, end in partial.missing(MIB)[: 2 if run == 0 else 4]:
                            partial.writev_at([DATA[start : start + 10], DATA[start + 10 : end - 10]], start)
                            partial.write_at(DATA[end - 10 : end], end - 10)
                            partial.done(start, end)
                        if run:
                            partial.commit(entry())
                    finally:
                        partial.close()
            except StoreError as failure:
                told = failure
            told = told or (root.flush() or [("", None)])[0][1]
            temps.sweep(root)
        assert (top / "f").read_bytes() in ((b"old", DATA) if told else (DATA,))
        if call != "unlink":
            assert os.listdir(top) == ["f"]
        if error == errno.ENOSPC and told is not None:
            assert isinstance(told, QuotaExceeded)

    for refusal, raised in every_refusal(call, error, attempt):
        assert raised is None or isinstance(raised, StoreError), refusal
        number[0] += 1000
    assert number[0] > 1


def test_ranges_merge_and_count():
    ranges = Ranges([(0, 10), (20, 30)])
    assert ranges
    assert not Ranges()
    assert ranges.add(10, 12) == (0, 12)
    assert list(ranges) == [(0, 12), (20, 30)]
    assert ranges.total() == 22
    assert ranges.add(5, 25) == (0, 30)
    assert ranges.add(40, 50) == (40, 50)
    assert ranges.missing(60, 100) == [(30, 40), (50, 60)]
    assert ranges.add(35, 37) == (35, 37)
    assert ranges.add(0, 60) == (0, 60)
    assert ranges.missing(60, 7) == []
    assert Ranges().missing(20, 8) == [(0, 8), (8, 16), (16, 20)]


def test_ranges_agree_with_a_set_of_bytes():
    import random

    chance = random.Random(7)
    for _ in range(300):
        ranges, model = Ranges(), set()
        for _ in range(chance.randrange(12)):
            start = chance.randrange(60)
            end = chance.randrange(start + 1, 64)
            first, last = ranges.add(start, end)
            model |= set(range(start, end))
            assert set(range(first, last)) <= model
            assert first - 1 not in model
            assert last not in model
        assert {byte for start, end in ranges for byte in range(start, end)} == model
        assert ranges.total() == len(model)
        gaps = ranges.missing(64, 10)
        assert [byte for start, end in gaps for byte in range(start, end)] == sorted(set(range(64)) - model)
        assert all(end - start <= 10 for start, end in gaps)
