"""The caching stores: what is pending, what is told about it, who has the cache, and what a restart finds."""

import inspect
import io
import os
import subprocess
import sys
import threading
import time
import types

import pytest

from cftool import cached
from cftool.cached import dirty_files
from cftool.cloudfusion import (
    BulkGetMetadata,
    ChunkMultiprocessingCachingStore,
    InvalidPathValueError,
    MetadataCachingStore,
    MultiprocessingCachingStore,
    NotSynchronizedError,
    StoreAccessError,
    TransparentChunkMultiprocessingCachingStore,
    TransparentMultiprocessingCachingStore,
    TransparentStore,
    open_store,
)
from cftool.disk import locks
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer
from cftool.wrap.caching.rows import Pending, What
from tests.command import Cftool


@pytest.fixture
def fake():
    return FakeS3()


@pytest.fixture
def user(fake, tmp_path):
    (tmp_path / "home").mkdir()
    with FakeServer(fake.handle) as server:
        remote = {"ENDPOINT_URL": server.url, "ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY}
        yield Cftool(tmp_path / "home", {f"CFTOOL_S3_{name}": value for name, value in remote.items()})


@pytest.fixture
def opened(user):
    """Opens a caching store, and closes it at the end."""
    stores = []

    def make(
        address: str = "s3:bucket", kind=TransparentMultiprocessingCachingStore, **options: object
    ) -> TransparentMultiprocessingCachingStore:
        plain = open_store(address, env=user.environment())
        stores.append(
            kind(MetadataCachingStore(plain), **{"cache_id": "session", "cache_expiration_time": 3600, **options})
        )
        return stores[-1]

    yield make
    for store in reversed(stores):
        store.close()


def put(client, path: str, data: bytes = b"content") -> None:
    client.store_fileobject(io.BytesIO(data), path)


def stored(fake) -> dict[str, bytes]:
    return {key: one.data for key, one in fake.buckets.get("bucket", {}).items()}


def test_a_store_returns_before_the_upload_and_sync_after_it(opened, fake):
    client = opened()
    put(client, "/dir/file")
    assert client.get_dirty_files() == ["/dir/file"]
    assert (stored(fake), client.get_file("/dir/file")) == ({}, b"content")
    client.sync()
    assert client.get_dirty_files() == []
    assert stored(fake) == {"dir/file": b"content"}


def test_what_is_pending_outlives_the_store(opened, fake):
    client = opened()
    put(client, "/file")
    client.close()
    assert stored(fake) == {}
    again = opened()
    assert (again.get_dirty_files(), again.get_file("/file")) == (["/file"], b"content")
    again.sync()
    assert stored(fake) == {"file": b"content"}


def test_the_upload_happens_by_itself_when_the_time_has_passed(opened, fake):
    there = threading.Event()

    def noticing(_request, answer):
        there.set()
        return answer

    fake.change("PutObject", noticing, key="file")
    put(opened(cache_expiration_time=0), "/file")
    assert there.wait(120)


def test_a_file_that_is_deleted_before_it_was_uploaded_never_is(opened, fake):
    client = opened()
    put(client, "/file")
    client.delete("/file", is_dir=False)
    assert client.get_dirty_files() == []
    client.sync()
    assert fake.ops["PutObject"] == 0


def test_dirty_files_have_the_names_by_which_they_are_seen(opened):
    client = opened()
    for path in ("/one", "/two", "/three"):
        put(client, path)
    client.move("/two", "/four")
    client.delete("/three")
    assert sorted(client.get_dirty_files()) == ["/four", "/one"]
    client.sync()
    assert client.get_dirty_files() == []


def test_what_is_dirty_follows_the_changes_in_their_order():
    rows = [
        Pending(1, What.UPLOAD, "a/one"),
        Pending(2, What.UPLOAD, "ab"),
        Pending(3, What.MKDIR, "dir"),
        Pending(4, What.RENAME, "a", "b", is_dir=True),
        Pending(5, What.UPLOAD, "a/one"),
        Pending(6, What.RENAME, "clean", "c"),
        Pending(7, What.DELETE, "ab"),
        Pending(8, What.DELETE, "never seen"),
        Pending(9, What.RENAME, "b/one", "d"),
    ]
    assert dirty_files(rows) == ["b", "a/one", "c", "d"]


def test_the_statistics_count_in_millions_of_bytes(opened):
    client = opened()
    data = os.urandom(2_000_000)
    put(client, "/file", data)
    assert client.get_uploaded() == 0
    client.sync()
    assert 2 <= client.get_uploaded() < 2.1
    assert client.get_upload_rate() > 0
    assert 2 <= client.get_cachesize() < 2.1
    assert (client.get_hard_limit(), client.exceeds_hard_limit()) == (10_000, False)
    assert (client.get_cache_hits(), client.get_cache_misses(), client.get_downloaded()) == (0, 0, 0)
    assert client.get_file("/file") == data
    assert (client.get_cache_hits(), client.get_cache_misses()) == (1, 0)
    assert client.get_exception_stats() == {}
    assert "cache: session, 2.0 MB\nnot uploaded: 0\nuploaded: 2.0 MB" in client.get_status_information()
    other = opened(cache_id="other")
    assert other.get_file("/file") == data
    assert other.get_file("/file") == data
    assert (other.get_cache_hits(), other.get_cache_misses()) == (1, 1)
    assert 2 <= other.get_downloaded() < 2.1
    assert other.get_download_rate() > 0
    assert other.get_configuration() == {
        "name": other.get_name(), "address": other.get_configuration()["address"], "archive": False, "cache": 3600.0,
        "cache_id": "other", "cache_size": 2_000_000_000, "hard_cache_size_limit": 10_000_000_000,
        "metadata_cache": 60.0,
    }  # fmt: skip
    assert other.get_cache_expiration_time() == 3600


def test_sync_names_what_it_could_not_bring_there(opened, fake):
    client = opened()
    put(client, "/good")
    put(client, "/dir/bad")
    fake.fail("PutObject", (403, "AccessDenied"), key="dir/bad")
    with pytest.raises(NotSynchronizedError, match="not uploaded yet: upload dir/bad: ") as caught:
        client.sync()
    [one] = caught.value.unsent
    assert (one.path, one.what) == ("/dir/bad", "upload")
    assert client.get_dirty_files() == ["/dir/bad"]
    [stats] = client.get_exception_stats().values()
    assert stats.count == 1
    assert "occured 1 time(s)" in repr(stats)
    assert stored(fake) == {"good": b"content"}
    client.sync()
    assert (client.get_dirty_files(), sorted(stored(fake))) == ([], ["dir/bad", "good"])


def test_who_comes_second_sees_what_is_pending_and_syncs_through_the_first(opened, fake):
    first = opened()
    put(first, "/first")
    second = opened()
    assert second.get_file("/first") == b"content"
    assert (second.get_directory_listing("/"), second.get_dirty_files()) == (["/first"], ["/first"])
    put(second, "/second", b"of the second")
    assert stored(fake) == {"second": b"of the second"}
    assert first.get_file("/second") == b"of the second"
    second.sync()
    assert sorted(stored(fake)) == ["first", "second"]
    assert (first.get_dirty_files(), second.get_dirty_files()) == ([], [])
    assert second.get_uploaded() == first.get_uploaded() > 0
    second.sync()


def test_who_comes_second_goes_on_when_the_first_is_gone(opened, fake):
    first = opened()
    put(first, "/file")
    second = opened()
    first.close()
    assert (second.get_dirty_files(), second.get_file("/file")) == (["/file"], b"content")
    assert second.get_cachesize() > 0
    assert second.get_uploaded() == 0
    second.sync()
    assert (stored(fake), second.get_dirty_files()) == ({"file": b"content"}, [])
    second.sync()


def test_another_process_shares_the_cache_too(opened, user, fake):
    client = opened()
    put(client, "/file")
    script = """
from cftool.cloudfusion import MetadataCachingStore, TransparentMultiprocessingCachingStore, open_store

with TransparentMultiprocessingCachingStore(MetadataCachingStore(open_store("s3:bucket")), cache_id="session") as store:
    print(store.get_dirty_files(), store.get_file("/file"))
    store.sync()
    print(store.get_dirty_files())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=user.environment(), capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.stdout, done.stderr) == ("['/file'] b'content'\n[]\n", "")
    assert client.get_dirty_files() == []
    assert stored(fake) == {"file": b"content"}


def test_the_command_sees_the_cache_and_flushes_it(opened, user, fake):
    client = opened()
    put(client, "/file")
    said = [event for event in user.run("cache", "status", "--json").events if event["event"] == "cache"]
    assert [(one["cache"], one["mounted"], one["count"]) for one in said] == [("session", True, 1)]
    user.run("cache", "flush")
    assert (client.get_dirty_files(), stored(fake)) == ([], {"file": b"content"})


def test_two_folders_of_one_account_are_views_of_one_cache(opened, fake):
    one = opened("s3:bucket/one")
    put(one, "/file", b"1")
    two = opened("s3:bucket/two")
    put(two, "/file", b"2")
    assert (one.get_dirty_files(), two.get_dirty_files()) == (["/file"], [])
    two.sync()
    assert stored(fake) == {"two/file": b"2"}
    one.sync()
    assert stored(fake) == {"one/file": b"1", "two/file": b"2"}


@pytest.mark.parametrize("cache_id", ["", ".", "..", "a/b", "a\0b"])
def test_a_cache_id_that_is_no_name_is_refused(opened, cache_id):
    with pytest.raises(StoreAccessError, match="the cache_id "):
        opened(cache_id=cache_id)


def test_a_cache_is_of_one_account(opened, user, tmp_path):
    opened()
    with pytest.raises(StoreAccessError, match=r"^/[^/].*the cache belongs to another remote"):
        TransparentMultiprocessingCachingStore(
            open_store(str(tmp_path), env=user.environment()), cache_id="session"
        ).close()


def test_caches_lie_where_they_are_told_to(opened, tmp_path):
    client = opened(cache_dir=str(tmp_path / "elsewhere"))
    put(client, "/file")
    assert os.listdir(tmp_path / "elsewhere") == ["session"]
    assert os.stat(tmp_path / "elsewhere/session").st_mode & 0o077 == 0


def test_the_default_cache_belongs_to_the_account(opened, fake):
    client = opened(kind=MultiprocessingCachingStore, cache_id=None)
    put(client, "/file")
    assert client.get_configuration()["cache_id"].startswith("s3-")
    plain = open_store("s3:bucket", env=client._place.context.env)
    assert plain.get_file("/file") == b"content"  # as the command: it sees what the remote's cache holds
    plain.close()


def test_many_threads_use_one_store(opened, fake):
    client = opened()
    problems = []

    def work(number: int) -> None:
        try:
            for step in range(5):
                path = f"/dir{number % 3}/file{number}-{step}"
                put(client, path, path.encode())
                assert client.get_file(path) == path.encode()
                assert path in client.get_directory_listing(f"/dir{number % 3}")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(client.get_dirty_files()) <= 40
    client.sync()
    assert {"/" + key: data for key, data in stored(fake).items()} == {
        f"/dir{number % 3}/file{number}-{step}": f"/dir{number % 3}/file{number}-{step}".encode()
        for number in range(8)
        for step in range(5)
    }


def test_a_path_is_checked_before_it_is_journalled(opened):
    client = opened()
    with pytest.raises(InvalidPathValueError):
        put(client, "relative")
    assert client.get_dirty_files() == []


def test_who_meets_an_owner_that_has_only_just_begun_waits_for_it(opened, user):
    directory = user.home / "state/cftool/cache/session"
    directory.mkdir(parents=True)
    lock = locks.Lock(str(directory), "owner")
    found = []
    thread = threading.Thread(target=lambda: found.append(opened()))
    thread.start()
    assert found == []
    lock.release()
    thread.join()
    put(found[0], "/file")
    assert found[0].get_dirty_files() == ["/file"]


def test_an_owner_that_never_begins_is_told(opened, user, monkeypatch):
    monkeypatch.setattr("cftool.cached._BEGINNING", 0.0)
    directory = user.home / "state/cftool/cache/session"
    directory.mkdir(parents=True)
    lock = locks.Lock(str(directory), "owner")
    with pytest.raises(StoreAccessError, match="cannot be looked at"):
        opened()
    lock.release()


@pytest.mark.parametrize("kind", [TransparentMultiprocessingCachingStore, TransparentChunkMultiprocessingCachingStore])
def test_a_hard_limit_below_the_soft_one_counts(opened, kind):
    client = opened(
        "s3:bucket/dir", kind=kind, cache_size_in_mb=5, hard_cache_size_limit_in_mb=1, cache_id=kind.__name__
    )
    said = client.get_configuration()
    assert (client.get_hard_limit(), said["cache_size"], said["hard_cache_size_limit"]) == (1.0, 1_000_000, 1_000_000)


def test_a_soft_limit_above_the_usual_hard_one_counts(opened):
    client = opened(cache_size_in_mb=20_000)
    assert (client.get_hard_limit(), client.get_configuration()["cache_size"]) == (20_000, 20_000_000_000)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["cache_expiration_time", "cache_size_in_mb", "hard_cache_size_limit_in_mb"])
def test_what_is_no_time_or_size_is_refused(opened, name, value):
    with pytest.raises(ValueError, match=f"{name} is out of range"):
        opened(**{name: value})


def test_an_archive_size_of_old_programs_is_told_to_mean_nothing(opened, caplog):
    kind = TransparentChunkMultiprocessingCachingStore
    opened("s3:bucket/dir", kind=kind, max_archive_size_in_mb=4)
    assert [record.message for record in caplog.records if record.name == "cftool.cloudfusion"] == []
    opened("s3:bucket/dir", kind=kind, max_archive_size_in_mb=100)
    assert [record.message for record in caplog.records if record.name == "cftool.cloudfusion"] == [
        "max_archive_size_in_mb has no meaning any more: an archive has 8 MB at most"
    ]


def test_a_closed_store_says_so_whatever_it_is_asked(opened):
    """In particular no sync of what is pending ends well, and no content goes to where its descriptor leads now."""
    client = opened()
    put(client, "/file")
    client.close()
    for call in (
        client.sync, client.get_dirty_files, client.get_cachesize, client.get_status_information,
        lambda: client.get_file("/file"), lambda: client.exists("/file"), lambda: put(client, "/late"),
        lambda: client.delete("/file"), lambda: client._wrapped.get_file("/file"),
    ):  # fmt: skip
        with pytest.raises(StoreAccessError, match="is closed"):
            call()
    client.close()
    assert opened().get_dirty_files() == ["/file"]


def test_the_signatures_of_the_documents_hold():
    common = ["store", "cache_expiration_time", "cache_size_in_mb"]
    hard = "hard_cache_size_limit_in_mb"
    expected = {
        MultiprocessingCachingStore: [*common, "cache_id", "cache_dir"],
        TransparentMultiprocessingCachingStore: [*common, hard, "cache_id", "cache_dir"],
        ChunkMultiprocessingCachingStore: [*common, "cache_id", "max_archive_size_in_mb", "cache_dir"],
        TransparentChunkMultiprocessingCachingStore: [
            *common, hard, "cache_id", "max_archive_size_in_mb", "cache_dir",
        ],
        MetadataCachingStore: ["store", "cache_expiration_time"],
    }  # fmt: skip
    assert {kind: list(inspect.signature(kind).parameters) for kind in expected} == expected


def test_a_program_that_ends_without_closing_loses_nothing(opened, user, fake):
    script = """
import io
from cftool.cloudfusion import MetadataCachingStore, TransparentMultiprocessingCachingStore, open_store

store = TransparentMultiprocessingCachingStore(MetadataCachingStore(open_store("s3:bucket")), cache_id="session")
store.store_fileobject(io.BytesIO(b"content"), "/file")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=user.environment(), capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    client = opened()
    assert client.get_dirty_files() == ["/file"]
    client.sync()
    assert stored(fake) == {"file": b"content"}


def test_a_sync_waits_for_an_owner_that_is_just_ending(opened, fake, monkeypatch):
    first = opened()
    put(first, "/file")
    second = opened()
    first._running._owner.close()  # it answers no more, but has the cache still
    first._running._owner = None
    waiting = threading.Event()

    def pause(_seconds):
        waiting.set()
        first.close()

    monkeypatch.setattr(cached, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    second.sync()
    assert waiting.is_set()
    assert stored(fake) == {"file": b"content"}


def test_a_sync_ends_in_time_where_the_owner_does_not(opened, fake):
    first = opened()
    put(first, "/file")
    second = opened()
    first._running._owner.close()
    first._running._owner = None
    with pytest.raises(StoreAccessError, match="another process has the cache"):
        second.sync(timeout=0)


def test_the_classes_are_related_as_they_were(opened):
    assert issubclass(TransparentMultiprocessingCachingStore, MultiprocessingCachingStore)
    assert issubclass(TransparentChunkMultiprocessingCachingStore, ChunkMultiprocessingCachingStore)
    transparent, plain = opened(), opened(kind=MultiprocessingCachingStore, cache_id="plain")
    assert [isinstance(store, TransparentStore) for store in (transparent, plain)] == [True, False]
    assert [isinstance(store, BulkGetMetadata) for store in (transparent, plain)] == [True, True]
    assert TransparentChunkMultiprocessingCachingStore._ARCHIVE
    assert not transparent._ARCHIVE
