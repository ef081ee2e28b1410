"""What each call of the documents does and raises, on a plain store and on one with both caches."""

import io
import os
import threading
import time
from collections.abc import Iterator

import pytest

from cftool.cloudfusion import (
    UNLIMITED,
    AlreadyExistsError,
    InterruptedException,
    InvalidPathValueError,
    MetadataCachingStore,
    MultiprocessingCachingStore,
    NoSuchFilesytemObjectError,
    Store,
    StoreAccessError,
    StoreAutorizationError,
    StoreSpaceLimitError,
    TransparentMultiprocessingCachingStore,
    open_store,
)
from cftool.cloudfusion.errors import translated
from cftool.core import errors
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer
from tests.cloudfusion import services
from tests.servers import S3Server


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home)}


@pytest.fixture
def there(tmp_path):
    place = tmp_path / "there"
    place.mkdir()
    return place


@pytest.fixture(params=["plain", "metadata", "caching", "objects"])
def client(request, env, there) -> Iterator[Store]:
    """A directory under each wrapper, and a bucket, whose service has no directories and renames nothing."""
    if request.param == "objects":
        fake = FakeS3()
        fake.make("bucket", [])
        with (
            FakeServer(fake.handle) as server,
            open_store("s3:bucket", env=env | of_s3_environment(server.url)) as store,
        ):
            yield store
        return
    store = open_store(str(there), env=env)
    if request.param != "plain":
        store = MetadataCachingStore(store)
    if request.param == "caching":
        store = TransparentMultiprocessingCachingStore(store, cache_id="session")
    with store:
        yield store


def of_s3_environment(url: str) -> dict[str, str]:
    return S3Server("fake", url, None, ACCESS_KEY, SECRET_KEY).cftool_environment("s3")


def put(client: Store, **files: str) -> None:
    for name, text in files.items():
        client.store_fileobject(io.BytesIO(text.encode()), "/" + name.replace("__", "/"))


def tree(client: Store, path: str = "/") -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for name, one in client.get_bulk_metadata(path).items():
        if one["is_dir"]:
            found |= {name: None, **tree(client, name)}
        else:
            found[name] = client.get_file(name)
    return found


def test_metadata_of_a_file_and_of_a_directory(client):
    put(client, dir__file="12345")
    now = time.time()
    assert client.get_metadata("/dir/file") == {
        "path": "/dir/file",
        "bytes": 5,
        "is_dir": False,
        "modified": client.get_modified("/dir/file"),
    }
    assert abs(client.get_modified("/dir/file") - now) < 600
    assert (client.get_bytes("/dir/file"), client.is_dir("/dir/file"), client.exists("/dir/file")) == (5, False, True)
    assert (client.get_bytes("/dir"), client.is_dir("/dir"), client.exists("/dir")) == (0, True, True)
    assert client.is_dir("/dir/")
    assert client.is_dir("/")


def test_a_listing_has_absolute_paths_and_bulk_metadata_are_the_same_entries(client):
    put(client, one="1", dir__two="22")
    assert sorted(client.get_directory_listing("/")) == ["/dir", "/one"]
    assert client.get_directory_listing("/dir") == ["/dir/two"]
    bulk = client.get_bulk_metadata("/")
    assert {path: (one["bytes"], one["is_dir"], one["path"]) for path, one in bulk.items()} == {
        "/dir": (0, True, "/dir"),
        "/one": (1, False, "/one"),
    }


@pytest.mark.parametrize("call", ["get_file", "get_metadata", "get_modified", "get_bytes", "is_dir",
                                  "get_directory_listing", "get_bulk_metadata"])  # fmt: skip
def test_what_is_not_there_is_no_such_object(client, call):
    with pytest.raises(NoSuchFilesytemObjectError, match=r"^/none does not exist\.$"):
        getattr(client, call)("/none")
    assert not client.exists("/none")


def test_what_is_not_there_is_not_moved_copied_or_deleted(client):
    for call in (client.move, client.duplicate):
        with pytest.raises(NoSuchFilesytemObjectError, match=r"^/none does not exist"):
            call("/none", "/other")
    for is_dir in (True, False, None):
        with pytest.raises(NoSuchFilesytemObjectError):
            client.delete("/none", is_dir)


@pytest.mark.parametrize("path", ["", "file", "dir/file"])
def test_a_path_that_is_not_absolute_is_refused(client, path):
    for call in (client.get_file, client.get_metadata, client.create_directory, client.exists):
        with pytest.raises(InvalidPathValueError):
            call(path)
    with pytest.raises(InvalidPathValueError):
        client.store_fileobject(io.BytesIO(b""), path)


@pytest.mark.parametrize("path", ["/../file", "/dir/../../file", "//file", "/a\0b"])
def test_a_path_that_leads_out_is_refused_or_is_a_key_like_any_other(client, path):
    if client.get_name() == "Amazon S3" and "\0" not in path:
        client.store_fileobject(io.BytesIO(b"x"), path)
        assert client.get_file(path) == b"x"
        assert client.get_used_space() == 1  # in this bucket
        return
    with pytest.raises(InvalidPathValueError):
        client.store_fileobject(io.BytesIO(b""), path)
    with pytest.raises(ValueError, match="no valid path"):
        client.get_metadata(path)


def test_a_directory_is_made_once(client):
    client.create_directory("/dir")
    assert client.is_dir("/dir")
    with pytest.raises(AlreadyExistsError):
        client.create_directory("/dir")
    with pytest.raises(AlreadyExistsError):
        client.create_directory("/")


def test_delete_takes_a_tree_where_it_is_told_to(client):
    put(client, dir__a="1", dir__sub__b="2", file="3")
    with pytest.raises(StoreAccessError, match="/dir: "):
        client.delete("/dir", is_dir=False)
    with pytest.raises(StoreAccessError, match="/file: "):
        client.delete("/file", is_dir=True)
    assert len(tree(client)) == 5
    client.delete("/dir", is_dir=True)
    client.delete("/file")
    assert tree(client) == {}


@pytest.mark.parametrize("is_dir", [True, False, None])
def test_the_root_is_never_deleted(client, is_dir):
    put(client, file="3")
    with pytest.raises(InvalidPathValueError):
        client.delete("/", is_dir)
    assert tree(client) == {"/file": b"3"}


@pytest.mark.parametrize("call", ["move", "duplicate"])
def test_a_file_goes_over_a_file(client, call):
    put(client, a="new", b="old")
    getattr(client, call)("/a", "/b")
    assert tree(client) == {"/b": b"new"} | ({"/a": b"new"} if call == "duplicate" else {})


@pytest.mark.parametrize("call", ["move", "duplicate"])
def test_a_directory_goes_with_all_that_is_in_it_to_a_new_name(client, call):
    put(client, a__x="1", a__sub__y="2")
    client.create_directory("/a/empty")
    getattr(client, call)("/a", "/b")
    moved = {"/b": None, "/b/x": b"1", "/b/sub": None, "/b/sub/y": b"2", "/b/empty": None}
    kept = {path.replace("/b", "/a", 1): data for path, data in moved.items()} if call == "duplicate" else {}
    assert tree(client) == moved | kept


@pytest.mark.parametrize("call", ["move", "duplicate"])
def test_a_directory_over_a_directory_is_what_is_there_then(client, call):
    put(client, a__x="1", a__kind__y="2", a__turned="3", b__old="4", b__kind="5", b__turned__z="6", b__x="7")
    getattr(client, call)("/a", "/b")
    moved = {"/b": None, "/b/x": b"1", "/b/kind": None, "/b/kind/y": b"2", "/b/turned": b"3"}
    kept = {path.replace("/b", "/a", 1): data for path, data in moved.items()} if call == "duplicate" else {}
    assert tree(client) == moved | kept


@pytest.mark.parametrize("call", ["move", "duplicate"])
def test_a_file_and_a_directory_do_not_replace_each_other(client, call):
    put(client, file="1", dir__x="2")
    for src, dst in (("/file", "/dir"), ("/dir", "/file")):
        with pytest.raises(AlreadyExistsError):
            getattr(client, call)(src, dst)
    assert tree(client) == {"/file": b"1", "/dir": None, "/dir/x": b"2"}


@pytest.mark.parametrize("call", ["move", "duplicate"])
def test_a_directory_goes_neither_into_itself_nor_onto_what_holds_it(client, call):
    put(client, a__b__c="1")
    for src, dst in (("/a", "/a/b/new"), ("/a/b", "/a")):
        with pytest.raises(AlreadyExistsError):
            getattr(client, call)(src, dst)
    client.move("/a", "/a")
    assert tree(client) == {"/a": None, "/a/b": None, "/a/b/c": b"1"}


def test_store_file_keeps_its_name_or_takes_another(client, tmp_path):
    local = tmp_path / "local name"
    local.write_bytes(b"content")
    os.utime(local, (10**9, 10**9))
    assert abs(client.store_file(str(local)) - time.time()) < 600
    client.store_file(str(local), "/dir/")
    client.store_file(str(local), "/dir", "other")
    assert sorted(path for path, data in tree(client).items() if data == b"content") == [
        "/dir/local name",
        "/dir/other",
        "/local name",
    ]
    with pytest.raises(NoSuchFilesytemObjectError, match=str(tmp_path / "none")):
        client.store_file(str(tmp_path / "none"), "/dir")


class Pipe(io.RawIOBase):
    """Cannot seek, and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def readable(self):
        return True

    def seekable(self):
        return False

    def read(self, size=-1):
        piece, self.rest = self.rest[: min(70_000, size)], self.rest[min(70_000, size) :]
        return piece


@pytest.mark.parametrize("size", [0, 5, (8 << 20) + 12_345])
def test_a_file_object_is_stored_whole_whatever_it_is(client, size, tmp_path):
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    at_the_end = io.BytesIO(data)
    at_the_end.seek(0, os.SEEK_END)
    (tmp_path / "real").write_bytes(data)
    with open(tmp_path / "real", "rb") as real:
        for name, source in {"memory": at_the_end, "pipe": Pipe(data), "real": real}.items():
            client.store_fileobject(source, f"/{name}")
            assert client.get_file(f"/{name}") == data
        assert not real.closed
    assert not at_the_end.closed


def test_text_is_not_guessed_at(client):
    with pytest.raises(TypeError, match="must be binary"):
        client.store_fileobject(io.StringIO("text"), "/file")
    assert tree(client) == {}


def test_an_upload_that_is_interrupted_stores_nothing(client, tmp_path):
    put(client, file="old")
    event = threading.Event()

    class Interrupting(io.BytesIO):
        def read(self, size=-1):
            event.set()
            return super().read(size)

    with pytest.raises(InterruptedException):
        client.store_fileobject(Interrupting(b"new"), "/file", event)
    with pytest.raises(InterruptedException):
        client.store_fileobject(Pipe(bytes(9 << 20)), "/file", event)
    (tmp_path / "local").write_bytes(b"new")
    with pytest.raises(InterruptedException):
        client.store_file(str(tmp_path / "local"), "/", "file", event)
    assert tree(client) == {"/file": b"old"}
    event.clear()
    client.store_file(str(tmp_path / "local"), "/", "file", event)
    assert tree(client) == {"/file": b"new"}


def test_space_and_account(client):
    assert client.get_overall_space() >= client.get_used_space() >= 0
    assert client.get_free_space() >= 0
    assert client.get_name() in {"Local drive", "Amazon S3"}
    assert client.account_info().startswith(client.get_name() + ", ")
    assert client.get_max_filesize() >= 5 << 40
    assert client.get_logging_handler() == "cftool"
    assert client.get_configuration()["name"] == client.get_name()
    client.reconnect()
    client.set_configuration({})
    with pytest.raises(StoreAccessError, match="while the store is open"):
        client.set_configuration({"cache": 1})


def test_where_the_service_tells_no_space_the_files_count(env):
    with open_store("memory:counted", env=env) as client:
        before = client.get_used_space()  # memory is one for all tests of a process
        put(client, a="123", dir__b="45")
        assert client.get_used_space() == before + 5
        assert client.get_overall_space() == UNLIMITED
        assert client.get_free_space() == UNLIMITED


def test_where_nothing_was_ever_stored_nothing_is_used(env):
    with (
        FakeServer(FakeS3().handle) as server,
        open_store("s3:never", env=env | of_s3_environment(server.url)) as client,
    ):
        assert client.get_used_space() == 0
        assert not client.exists("/")


def test_an_address_that_is_not_usable_is_told(env):
    for address in ("", "nowhere:x", "-"):
        with pytest.raises(StoreAccessError):
            open_store(address, env=env)


def test_a_wrapper_closes_what_it_wraps_and_wraps_no_cache(env, there):
    inner = open_store(str(there), env=env)
    cached = MultiprocessingCachingStore(MetadataCachingStore(inner))
    for wrapper in (MetadataCachingStore, MultiprocessingCachingStore):
        with pytest.raises(TypeError):
            wrapper(cached)
    with pytest.raises(TypeError):
        MetadataCachingStore("not a store")
    cached.close()
    cached.close()


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (errors.NotFound, NoSuchFilesytemObjectError),
        (errors.AlreadyExists, AlreadyExistsError),
        (errors.QuotaExceeded, StoreSpaceLimitError),
        (errors.TooLarge, StoreSpaceLimitError),
        (errors.LoginRequired, StoreAutorizationError),
        (errors.ReadOnly, StoreAutorizationError),
        (errors.InvalidName, InvalidPathValueError),
        (errors.Interrupted, InterruptedException),
        (errors.ConnectionFailed, StoreAccessError),
        (errors.ConfigError, StoreAccessError),
        (errors.Locked, StoreAccessError),
    ],
)
def test_each_error_of_cftool_has_its_exception(error, ours):
    assert type(translated(error("why"), "/path")) is ours


def test_a_service_that_removes_whole_directories_is_asked_once(env, tmp_path, authority):
    with (
        services.sugarsync(tmp_path, authority) as service,
        open_store(service.address, env=env | service.env) as client,
    ):
        put(client, a__x="1", a__sub__y="2", b__x="3", b__old="4", file="5")
        client.move("/a", "/b")
        assert tree(client) == {"/b": None, "/b/x": b"1", "/b/sub": None, "/b/sub/y": b"2", "/file": b"5"}
        client.delete("/b", is_dir=True)
        with pytest.raises(StoreAccessError):
            client.delete("/file", is_dir=True)
        assert tree(client) == {"/file": b"5"}
        assert client.get_overall_space() >= client.get_used_space() > 0
        assert client.get_free_space() > 0
