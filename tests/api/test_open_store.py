"""`cftool.api.open_store`: a typed store for programs, with or without the write-back cache."""

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from cftool.api import ConfigError, Kind, NotFound, exists, open_store, read_bytes, write_bytes
from cftool.cached import NotUploaded
from cftool.core.errors import InvalidName, ReadOnly
from cftool.core.store import Store
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer
from tests.command import Cftool


@pytest.fixture
def fake():
    return FakeS3()


@pytest.fixture
def user(fake, tmp_path):
    (tmp_path / "home").mkdir()
    with FakeServer(fake.handle) as server:
        remote = {"ENDPOINT_URL": server.url, "ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY}
        settings = {f"CFTOOL_WORK_{name}": value for name, value in remote.items()}
        yield Cftool(tmp_path / "home", {"CFTOOL_WORK_TYPE": "s3", **settings})


def stored(fake) -> dict[str, bytes]:
    return {key: one.data for key, one in fake.buckets["bucket"].items()}


def test_paths_are_relative_to_the_address(user, fake):
    with open_store("work:bucket/dir", env=user.environment()) as store:
        entry = write_bytes(store, "sub/file", b"12345", modified_ns=1_600_000_000_000_000_000)
        assert (entry.path, entry.kind, entry.size) == ("sub/file", Kind.FILE, 5)
        assert [one.path for one in store.scan("")] == ["sub"]
        assert store.stat("sub/file").modified_ns == 1_600_000_000_000_000_000
        assert read_bytes(store, "sub/file") == b"12345"
        assert not exists(store, "none")
        with pytest.raises(NotFound):
            store.stat("none")
        assert (store.pending(), store.sync()) == ([], None)
    assert stored(fake) == {"dir/sub/file": b"12345"}


def test_it_is_a_store(user):
    with open_store("work:bucket", env=user.environment()) as opened:
        store: Store = opened
        members = [name for name in vars(Store) if not name.startswith("_")]
        assert [name for name in members if not hasattr(store, name)] == []


def test_a_local_path_needs_no_configuration(tmp_path):
    env = {"HOME": str(tmp_path), "CFTOOL_CONFIG": str(tmp_path / "none.toml")}
    with open_store(str(tmp_path), env=env) as store:
        write_bytes(store, "file", b"1")
    assert (tmp_path / "file").read_bytes() == b"1"


def test_the_configuration_may_be_another_file(tmp_path):
    config = tmp_path / "own.toml"
    config.write_text(f'[remotes.here]\ntype = "local"\nroot = "{tmp_path}"\n')
    env = {"HOME": str(tmp_path)}
    with open_store("here:", config=str(config), env=env) as store:
        assert [entry.path for entry in store.scan("")] == ["own.toml"]
    with pytest.raises(ConfigError, match="here"):
        open_store("here:", env=env)


def test_a_read_only_store_writes_nothing_cached_or_not(user, fake):
    fake.make("bucket", ["file"])
    for cached in (False, True):
        with open_store("work:bucket", env=user.environment(), read_only=True, cached=cached) as store:
            assert read_bytes(store, "file") == b"x"
            with pytest.raises(ReadOnly):
                write_bytes(store, "new", b"1")
            assert store.pending() == []
    assert sorted(stored(fake)) == ["file"]


def test_with_a_cache_a_write_is_on_this_disk_and_sync_brings_it_there(user, fake):
    fake.make("bucket", [])
    with open_store("work:bucket", env=user.environment(), cached=True) as store:
        write_bytes(store, "file", b"1")
        assert (store.pending(), read_bytes(store, "file"), stored(fake)) == (["file"], b"1", {})
    with open_store("work:bucket", env=user.environment(), cached=True) as store:
        assert store.pending() == ["file"]
        store.sync()
        assert store.pending() == []
    assert stored(fake) == {"file": b"1"}


def test_the_cache_is_that_of_the_command(user, fake):
    fake.make("bucket", [])
    with open_store("work:bucket", env=user.environment(), cached=True) as store:
        write_bytes(store, "file", b"1")
        assert user.run("cat", "work:bucket/file").out == b"1"
    assert user.run("cache", "flush", "work:").code == 0
    assert stored(fake) == {"file": b"1"}


def test_sync_tells_what_stays(user, fake):
    fake.make("bucket", [])
    with open_store("work:bucket", env=user.environment(), cached=True, cache_id="mine") as store:
        write_bytes(store, "bad", b"1")
        write_bytes(store, "dir/bad", b"2")
        fake.fail("PutObject", (403, "AccessDenied"), times=2)
        with pytest.raises(NotUploaded, match=r"not uploaded yet: upload .*, and 1 more") as caught:
            store.sync()
        assert sorted((one.path, one.what) for one in caught.value.unsent) == [("bad", "upload"), ("dir/bad", "upload")]
        store.sync()
    assert stored(fake) == {"bad": b"1", "dir/bad": b"2"}


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(user, seconds):
    with pytest.raises(ConfigError, match="metadata_cache is out of range"):
        open_store("work:bucket", env=user.environment(), metadata_cache=seconds)


def test_what_makes_no_sense_is_refused(user):
    with pytest.raises(ConfigError, match="cached=True"):
        open_store("work:bucket", env=user.environment(), cache_id="x")
    with pytest.raises(ConfigError, match="cache_id"):
        open_store("work:bucket", env=user.environment(), cached=True, cache_id="../x")
    with pytest.raises(ConfigError, match="nowhere"):
        open_store("nowhere:x", env=user.environment())
    with (
        open_store("work:bucket", env=user.environment()) as store,
        pytest.raises(InvalidName),
    ):
        store.stat("a\0b")


def test_a_traceback_says_where(user):
    with open_store("work:bucket/dir", env=user.environment()) as store, pytest.raises(NotFound) as caught:
        read_bytes(store, "none")
    assert "".join(traceback.format_exception_only(caught.value)).endswith("\nread of 'none' in the store work\n")


@pytest.mark.parametrize("cached", [False, True])
def test_a_closed_store_says_so(user, cached):
    store = open_store("work:bucket", env=user.environment(), cached=cached)
    write_bytes(store, "file", b"1")
    store.close()
    store.close()
    for use in (
        lambda: store.stat("file"),
        lambda: read_bytes(store, "file"),
        lambda: write_bytes(store, "file", b"2"),
        lambda: list(store.scan("")),
        lambda: store.features,
        store.pending,
        store.sync,
    ):
        with pytest.raises(ValueError, match="the store work is closed"):
            use()


def test_what_is_no_address_no_path_and_no_content_is_a_type_error(tmp_path):
    env = {"HOME": str(tmp_path)}
    for wrong in (None, 5, b"work:"):
        with pytest.raises(TypeError):
            open_store(wrong, env=env)
    with open_store(tmp_path, env=env) as store:
        for use in (
            lambda: store.stat(5),
            lambda: read_bytes(store, b"file"),
            lambda: store.stat(Path("file")),
            lambda: write_bytes(store, "file", "text"),
        ):
            with pytest.raises(TypeError, match=r" is a str, not |content is bytes, not str"):
                use()
        data = bytearray(b"one")
        write_bytes(store, "file", data)
        data[:] = b"two"
        assert read_bytes(store, "file") == b"one"


def test_a_path_is_local_whatever_it_looks_like(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work:x").mkdir()
    for path in (Path("work:x"), tmp_path / "work:x"):
        with open_store(path, env={"HOME": str(tmp_path)}) as store:
            write_bytes(store, "file", b"1")
    with open_store(Path(), env={"HOME": str(tmp_path)}) as store:
        assert [one.path for one in store.walk("") if not one.is_dir] == ["work:x/file"]


def test_importing_it_brings_no_transport_and_no_terminal():
    script = "import sys, cftool.api, cftool.cloudfusion; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)
    heavy = {"pycurl", "requests", "urllib3", "rich", "typer", "boto3", "cftool_providers.s3.store"}
    assert heavy & set(done.stdout.split()) == set()


def test_it_is_typed_for_the_programs_that_use_it():
    import cftool

    assert (Path(cftool.__file__).parent / "py.typed").exists()
