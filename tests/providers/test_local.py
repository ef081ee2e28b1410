"""The local provider: the conformance suite, and what is particular to local files."""

import errno
import gc
import io
import os
import stat

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConfigError,
    DirectoryNotEmpty,
    IntegrityError,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.provider import Context
from cftool.core.types import Kind, WriteItem
from cftool.disk import copying, durability, temps
from cftool.disk.root import Root
from cftool.testing.contract import StoreContract
from cftool.testing.crash import every_death
from cftool_providers.local import PROVIDER
from cftool_providers.local.store import LocalStore


class TestLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(str(tmp_path))
        yield store
        store.close()


@pytest.fixture
def store(tmp_path):
    store = LocalStore(str(tmp_path / "root"))
    yield store
    store.close()


class Text:
    """A source of unknown or false size over text."""

    local_path = None

    def __init__(self, data, size=None, *, changed=False):
        self.data = data
        self.size = size
        self.changed = changed

    def open(self):
        return io.BytesIO(self.data)

    def load(self):
        return self.data

    def check(self):
        if self.changed:
            raise SourceChanged("changed while it was read")


def files(store):
    return [name for _, _, names in os.walk(store._path) for name in names]


def test_provider_opens_its_root_and_no_relative_one(tmp_path):
    (tmp_path / "f").write_bytes(b"data")
    with_root = PROVIDER.open({"root": str(tmp_path)}, Context(remote="mine"))
    assert with_root.name == "mine"
    assert [entry.path for entry in with_root.scan("")] == ["f"]
    with_root.close()
    whole = PROVIDER.open({}, Context())
    assert whole.stat(str(tmp_path / "f")[1:]).size == 4
    assert whole.name == "local"
    whole.close()
    for root in ("relative", 3):
        with pytest.raises(ConfigError):
            PROVIDER.open({"root": root}, Context())


def test_missing_root_is_not_found_until_something_is_written(store):
    with pytest.raises(NotFound):
        list(store.scan(""))
    with pytest.raises(NotFound):
        store.stat("")
    store.write("a/f", Text(b"data"))
    assert [entry.path for entry in store.walk("")] == ["a", "a/f"]
    with pytest.raises(DirectoryNotEmpty):
        store.rmdir("")
    store.delete("a/f")
    store.rmdir("a")
    store.rmdir("")
    with pytest.raises(NotFound):
        store.stat("")
    store.mkdir("")
    assert store.stat("").is_dir


def test_what_dead_runs_have_left_does_not_keep_a_directory(store, tmp_path):
    store.write("d/f", Text(b"data"))
    store.delete("d/f")
    place = tmp_path / "root" / "d"
    for name in (".cftool-0123456789ab-1.tmp", f".cftool-{'0' * 32}.part.tmp"):
        (place / name).write_bytes(b"half")
    with (place / ".cftool-0123456789ab-2.tmp").open("wb") as of_a_live_run:
        assert temps.lock(of_a_live_run.fileno())
        with pytest.raises(DirectoryNotEmpty):
            store.rmdir("d")
    store.rmdir("d")
    assert not place.exists()


def test_closed_store_refuses(store):
    store.close()
    with pytest.raises(StoreError):
        store.stat("")


def test_write_of_false_size_or_changed_source_leaves_nothing(store):
    store.write("f", Text(b"old"))
    with pytest.raises(IntegrityError):
        store.write("f", Text(b"data", 5))
    with pytest.raises(SourceChanged):
        store.write("f", Text(b"data", 4, changed=True))
    assert files(store) == ["f"]
    assert store.read("f").read() == b"old"
    with pytest.raises(Unsupported):
        store.write("f", Text(b"data"), if_version="1")


def test_copy_keeps_holes_times_and_permissions(store):
    store.mkdir("")
    path = os.path.join(store._path, "src")
    with open(path, "wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"middle")
    os.chmod(path, 0o4750)
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    entry = store.copy("src", "d/dst")
    status = os.stat(os.path.join(store._path, "d/dst"))
    assert entry == store.stat("d/dst")
    assert entry.modified_ns == 1_600_000_000_123_456_789
    assert status.st_size == 1 << 30
    assert status.st_blocks * 512 < 1 << 20
    assert stat.S_IMODE(status.st_mode) == 0o750 & ~umask()
    with pytest.raises(IsADirectory):
        store.copy("d", "e")


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_source_changed_while_it_is_copied(store, monkeypatch):
    store.write("src", Text(b"data" * 1000))
    real = copying.copy

    def copy(src, dst, size, tick, **how):
        real(src, dst, size, tick, **how)
        with open(os.path.join(store._path, "src"), "ab") as file:
            file.write(b"more")

    monkeypatch.setattr(copying, "copy", copy)
    with pytest.raises(SourceChanged):
        store.copy("src", "dst")
    assert files(store) == ["src"]


def test_file_changed_while_it_is_read(store):
    store.write("f", Text(b"x" * (3 << 20)))
    path = os.path.join(store._path, "f")
    for change in (lambda: os.truncate(path, 1 << 20), lambda: os.truncate(path, 4 << 20), lambda: os.utime(path)):
        download = store.read("f")
        assert len(download.read(1 << 20)) == 1 << 20
        change()
        with pytest.raises(SourceChanged):
            download.read()
        download.close()
        store.write("f", Text(b"x" * (3 << 20)))


def test_read_of_a_version_that_is_gone(store):
    entry = store.write("f", Text(b"data"))
    with store.read("f", if_version=entry.version) as download:
        assert download.read() == b"data"
    store.write("f", Text(b"date"))
    with pytest.raises(PreconditionFailed):
        store.read("f", if_version=entry.version)


def test_links_and_special_files_are_listed_and_never_read(store):
    store.mkdir("d")
    os.symlink("/etc/hostname", os.path.join(store._path, "link"))
    os.mkfifo(os.path.join(store._path, "pipe"))
    assert {entry.path: entry.kind for entry in store.scan("")} == {
        "d": Kind.DIRECTORY,
        "link": Kind.LINK,
        "pipe": Kind.OTHER,
    }
    for path in ("link", "pipe"):
        assert store.stat(path).size is None
        with pytest.raises(Unsupported):
            store.read(path)
        with pytest.raises(Unsupported):
            store.copy(path, "copy")
    with pytest.raises(IsADirectory):
        store.set_modified("d", 5)
    store.delete("link")
    assert os.path.exists("/etc/hostname")


def test_batch_of_writes_tells_each_result(store):
    store.write("old", Text(b"old"))
    store.mkdir("directory")
    items = [
        WriteItem("new/f", Text(b"data", 4), modified_ns=5, tag="a"),
        WriteItem("directory", Text(b"data", 4), tag="b"),
        WriteItem("old", Text(b"data", 4), if_absent=True, tag="c"),
        WriteItem("absent", Text(b"data", 4), if_absent=True, tag="d"),
        WriteItem("short", Text(b"data", 9), tag="e"),
        WriteItem("version", Text(b"data"), if_version="1", tag="f"),
    ]
    results = {result.tag: result for result in store.write_many(items)}
    assert results["a"].entry == store.stat("new/f")
    assert results["a"].entry.modified_ns == 5
    assert results["d"].entry == store.stat("absent")
    kinds = {tag: type(result.error) for tag, result in results.items() if result.error}
    assert kinds == {"b": IsADirectory, "c": AlreadyExists, "e": IntegrityError, "f": Unsupported}
    assert store.read("old").read() == b"old"


def test_large_batches_are_published_as_they_come(store):
    def items():
        for number in range(200):
            yield WriteItem(f"f{number}", Text(b"data", 4))
            if number == 150:
                assert len(files(store)) >= 64

    assert sum(result.error is None for result in store.write_many(items())) == 200
    assert store.write_many([]) is not None
    (result,) = store.write_many([WriteItem("unknown", Text(b"x"))])
    assert result.entry.size == 1


def test_batch_that_breaks_off_leaves_no_temp(store, monkeypatch):
    def items():
        yield WriteItem("f", Text(b"data", 4))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(store.write_many(items()))
    assert files(store) == []

    class Interrupting(Text):
        def check(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(store.write_many([WriteItem("f", Text(b"data", 4)), WriteItem("g", Interrupting(b"data", 4))]))
    assert files(store) == []


def test_batch_tells_a_publication_that_fails_and_a_file_that_is_gone(store, monkeypatch):
    store.mkdir("")
    real = os.rename

    def rename(src, dst, **where):
        if dst == "bad":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(src, dst, **where)
        if dst == "gone":
            os.unlink(os.path.join(store._path, "gone"))

    monkeypatch.setattr(os, "rename", rename)
    items = [WriteItem(name, Text(b"data", 4)) for name in ("bad", "gone", "good")]
    errors = {result.path: type(result.error) for result in store.write_many(items) if result.error}
    assert errors == {"bad": QuotaExceeded, "gone": NotFound}
    assert files(store) == ["good"]
    with pytest.raises(QuotaExceeded):
        store.write("bad", Text(b"data"))


def test_sync_of_the_directory_that_fails_fails_the_write(store, monkeypatch):
    store.mkdir("")

    def sync(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durability, "sync_directory", sync)
    with pytest.raises(StoreError):
        store.write("f", Text(b"data"))
    (result,) = store.write_many([WriteItem("g", Text(b"data", 4))])
    assert isinstance(result.error, StoreError)


def test_move_of_the_root_is_refused(store):
    store.mkdir("d")
    for src, dst in (("", "x"), ("d", "")):
        with pytest.raises(Unsupported):
            store.move(src, dst)


def test_set_modified_keeps_the_access_time_and_works_on_what_cannot_be_read(store):
    store.write("f", Text(b"data"))
    path = os.path.join(store._path, "f")
    os.chmod(path, 0)
    os.utime(path, ns=(7_000_000_000, 8))
    assert store.set_modified("f", 1_600_000_000_123_456_789).modified_ns == 1_600_000_000_123_456_789
    assert os.stat(path).st_atime_ns == 7_000_000_000


def test_usage_is_of_the_file_system(store):
    store.mkdir("")
    usage = store.usage()
    assert usage.total >= usage.used > 0
    assert usage.total >= usage.free > 0


def test_unfinished_download_gives_its_file_back(store):
    store.write("f", Text(b"data"))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with store.read("f"):
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.crash
def test_write_is_old_or_new_after_death_at_any_call(tmp_path):
    root = tmp_path / "root"

    def reset():
        root.mkdir(exist_ok=True)
        for name in os.listdir(root):
            os.unlink(root / name)
        (root / "f").write_bytes(b"old")
        (root / "src").write_bytes(b"new" * 1000)

    def action():
        store = LocalStore(str(root))
        store.copy("src", "f")
        store.close()

    count = 0
    for death in every_death(reset, action):
        count += 1
        assert (root / "f").read_bytes() in (b"old", b"new" * 1000), death
        with Root(str(root)) as tree:
            temps.sweep(tree)
        assert sorted(os.listdir(root)) == ["f", "src"]
    assert count > 10
