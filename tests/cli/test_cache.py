"""`cftool cache`: through the owner's socket where somebody has the cache open, else by opening it."""

import json
import os

import pytest

from cftool import stack
from cftool.config import dirs
from cftool.config.address import parse
from cftool.config.file import Config, StackOptions
from cftool.core import ops
from cftool.wrap import caches
from cftool.wrap.caching import CachingStore
from cftool.wrap.caching.owner import Owner


def events(ran):
    return [json.loads(line) for line in ran.out.splitlines()]


class Cache:
    """The cache of a local directory named by a remote, opened here as a mount does."""

    def __init__(self, root):
        self.root = root
        self.context = stack.OpenContext(env=os.environ, state_dir=dirs.state_dir(os.environ))
        self.address = parse(str(root), remotes=())

    def open(self, *files):
        cached = stack.open_cached(
            self.address, Config("", os.environ), context=self.context, flags=StackOptions(cache_id="mine")
        )
        for path in files:
            ops.write_bytes(cached.store, path, path.encode())
        return cached.store

    @property
    def directory(self):
        return os.path.join(self.context.state_dir, "cache", "mine")

    def remote(self):
        return sorted(os.listdir(self.root))


@pytest.fixture
def cache(here):
    (here / "remote").mkdir()
    cache = Cache(here / "remote")
    os.environ["CFTOOL_MINE_TYPE"] = "local"
    yield cache
    del os.environ["CFTOOL_MINE_TYPE"]


@pytest.fixture
def in_files(monkeypatch):
    """All content has data files, as large content has."""
    monkeypatch.setattr(CachingStore, "may_be_inline", lambda *_: False)


@pytest.fixture
def owned(cache):
    store = cache.open("a/one", "two")
    owner = Owner(store)
    yield store
    owner.close()
    store.close()


@pytest.fixture
def alone(cache):
    cache.open("a/one", "two").close()
    return cache


def test_nothing_is_cached(run):
    for command in ("status", "flush", "clear", "fsck"):
        assert run("cache", command).out == b""


@pytest.mark.parametrize("mounted", ["owned", "alone"])
def test_status_says_what_is_not_uploaded(run, request, mounted):
    request.getfixturevalue(mounted)
    text = run("cache", "status").out.decode()
    assert "mine: " in text
    assert "3 changes not uploaded" in text
    assert ("not mounted" in text) == (mounted == "alone")
    assert "upload a/one (5 B)" in text
    [event] = events(run("cache", "status", "--json"))
    assert (event["mounted"], event["count"]) == (mounted == "owned", 3)
    assert [(row["what"], row["path"]) for row in event["pending"]] == [
        ("mkdir", "a"), ("upload", "a/one"), ("upload", "two"),
    ]  # fmt: skip


def test_status_of_a_mount_has_statistics_and_errors(run, owned):
    owned.stats.error("permission_denied", "no")
    owned.stats.conflict()
    assert owned.flush() == []
    assert ops.read_bytes(owned, "two") == b"two"
    [event] = events(run("cache", "status", "--json"))
    assert {"count": 1, "last": event["errors"]["permission_denied"]["last"], "text": "no"} == (
        event["errors"]["permission_denied"]
    )
    keys = ("dirty_files", "dirty_bytes", "hits", "misses", "conflicts", "uploaded", "soft_limit")
    assert [event[key] for key in keys] == [0, 0, 1, 0, 1, 8, 5_000_000_000]
    assert event["upload_rate"] > 0
    text = run("cache", "status").out.decode()
    for words in (
        "1 hit, 0 misses: 100 % from the cache",
        "uploaded 0.00 MB at",
        "1 conflict: both versions were kept",
        "1 error of kind permission_denied, the last at ",
        "limits: 4.7 GiB, at most 9.3 GiB",
    ):
        assert words in text


def test_status_counts_what_is_dirty(run, alone):
    [event] = events(run("cache", "status", "--json"))
    assert (event["dirty_files"], event["dirty_bytes"]) == (2, 8)
    assert "3 changes not uploaded (2 files, 8 B), not mounted" in run("cache", "status").out.decode()


def test_flush_asks_the_owner(run, owned, cache):
    run("cache", "flush")
    assert cache.remote() == ["a", "two"]
    assert owned.pending() == []


def test_flush_without_a_mount_uploads_by_itself(run, alone, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(f'[remotes.mine]\ntype = "local"\nroot = "{alone.root}"\nstack.cache_id = "mine"\n')
    run("cache", "flush", "--config", config)
    assert alone.remote() == ["a", "two"]
    assert "0 changes not uploaded" in run("cache", "status").out.decode()


def test_flush_of_a_cache_of_a_local_directory_needs_no_configuration(run, alone):
    run("cache", "flush")
    assert alone.remote() == ["a", "two"]


def test_flush_of_a_cache_whose_remote_is_not_known_asks_for_it(run, alone):
    with open(os.path.join(alone.directory, "identity"), "w") as file:
        file.write("s3:nobody")
    assert "say which" in run("cache", "flush", code=2).err


@pytest.mark.parametrize("mounted", ["owned", "alone"])
def test_commands_on_a_local_directory_see_what_its_cache_still_holds(run, request, cache, mounted):
    request.getfixturevalue(mounted)
    assert run("cat", cache.root / "a/one").out == b"a/one"
    assert cache.remote() == ["a"]
    assert run("ls", cache.root.parent / "elsewhere", code=None).out == b""
    assert cache.remote() == ["a"]
    assert b"two" in run("ls", "-R", cache.root.parent).out
    assert cache.remote() == ["a", "two"]


def test_command_on_a_local_directory_fails_where_its_cache_cannot_bring_what_it_holds(run, alone):
    (alone.root / "a").write_text("a file is in the way")
    assert "not uploaded yet" in run("ls", alone.root, code=5).err


def test_caches_of_two_local_directories_are_two(cache, here):
    (here / "other").mkdir()
    places = [
        stack.cache_of(parse(str(root), remotes=()), Config("", os.environ), context=cache.context)
        for root in (cache.root, here / "other")
    ]
    assert len(set(places)) == 2


def test_cache_of_the_whole_disk_is_found(cache):
    place = os.path.join(cache.context.state_dir, "cache", "all")
    os.makedirs(place)
    caches.say_whose(place, "local")
    assert caches.local_root(caches.whose(place)) == ""
    assert caches.local_root("localhost/x") is None


def test_flush_tells_what_stays_and_exits_5(run, alone, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(f'[remotes.mine]\ntype = "local"\nroot = "{alone.root}"\nstack.cache_id = "mine"\n')
    (alone.root / "a").write_text("a file is in the way")
    ran = run("cache", "flush", "--config", config, code=5)
    assert "not uploaded: mkdir a: exists and is no directory" in ran.err
    assert alone.remote() == ["a", "two"]
    assert "mkdir a: exists and is no directory; tried again in" in run("cache", "status").out.decode()


def test_clear_keeps_what_is_not_uploaded(run, alone):
    store = alone.open()
    assert store.flush() == []
    ops.write_bytes(store, "three", b"3")
    store.close()
    [event] = events(run("cache", "clear", "--json"))
    assert (event["files"], event["lost"]) == (2, [])
    store = alone.open()
    assert ops.read_bytes(store, "three") == b"3"
    store.close()


def test_clear_of_a_mounted_cache(run, owned):
    owned.flush()
    assert events(run("cache", "clear", "--json"))[0]["files"] == 2
    assert "another run" in run("cache", "clear", "--force", code=9).err


def test_clear_by_force_says_what_is_lost(run, alone):
    ran = run("cache", "clear", "--force")
    assert "lost: upload a/one" in ran.err
    assert "lost: upload two" in ran.err
    store = alone.open()
    assert list(store.scan("")) == []
    assert os.listdir(os.path.join(alone.directory, "data")) == []
    store.close()


@pytest.fixture
def s3_cache(fake_s3):  # for its environment
    context = stack.OpenContext(env=os.environ, state_dir=dirs.state_dir(os.environ))
    config = Config("", os.environ)

    def opened():
        where = parse("lab:", remotes=config.known())
        return stack.open_cached(where, config, context=context, flags=StackOptions()).store

    return opened


@pytest.mark.usefixtures("in_files")
def test_fsck_sets_damaged_clean_content_aside_and_it_is_fetched_again(run, s3_cache):
    store = s3_cache()
    ops.write_bytes(store, "bucket/file", b"content")
    assert store.flush() == []
    with store.open("bucket/file") as handle:
        name = store.files.path(handle.number)
    store.close()
    with open(name, "r+b") as file:
        file.write(b"damaged")
    text = run("cache", "fsck", "lab:", code=6).out.decode()
    assert "bucket/file: its data file has another md5; it will be fetched again; it is now" in text
    assert [n.partition(".damaged-")[0] for n in os.listdir(os.path.dirname(name))] == [os.path.basename(name)]
    store = s3_cache()
    assert ops.read_bytes(store, "bucket/file") == b"content"
    store.close()
    assert run("cache", "fsck", "lab:").out == b""


def test_fsck_of_a_sound_cache(run, alone):
    assert events(run("cache", "fsck", "--json")) == [{"v": 1, "event": "checked", "cache": "mine", "found": []}]
    assert run("cache", "fsck").out == b""


@pytest.mark.usefixtures("in_files")
def test_fsck_keeps_pending_content_that_is_damaged_and_does_not_upload_it(run, alone):
    store = alone.open()
    with store.open("two") as handle:
        name = store.files.path(handle.number)
    store.close()
    with open(name, "ab") as file:
        file.write(b"more")
    ran = run("cache", "fsck", code=6)
    assert "two: its data file has 7 bytes, not 3; it is not uploaded" in ran.out.decode()
    assert os.path.exists(name)
    assert "two (3 B) failed" in run("cache", "status").out.decode()


@pytest.mark.usefixtures("in_files")
def test_fsck_finds_a_missing_file_and_one_of_nobody(run, alone):
    data = os.path.join(alone.directory, "data")
    for name in os.listdir(data):
        os.rename(os.path.join(data, name), os.path.join(data, "ff" + name))
    text = run("cache", "fsck", code=6).out.decode()
    assert text.count("its data file is missing") == 2
    assert text.count("is in no row; it goes when") == 2


@pytest.mark.usefixtures("in_files")
def test_fsck_of_a_damaged_journal_changes_nothing(run, alone):
    path = os.path.join(alone.directory, "journal.sqlite")
    for suffix in ("-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
    with open(path, "wb") as file:
        file.write(b"no database" * 1000)
    assert "damaged" in run("cache", "fsck", code=1).err
    store = alone.open()
    assert any("damaged" in problem for problem in store.problems)
    assert any(name.startswith("data.damaged-") for name in os.listdir(alone.directory))
    store.close()


def test_each_command_has_its_event(run, owned):
    assert [event["event"] for event in events(run("cache", "status", "--json"))] == ["cache"]
    [flushed] = events(run("cache", "flush", "--json"))
    assert (flushed["event"], flushed["pending"]) == ("flushed", [])
    [checked] = events(run("cache", "fsck", "--json"))
    assert (checked["event"], checked["found"]) == ("checked", [])
