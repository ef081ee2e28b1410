"""One target for each decoder of foreign data: `run(data)` may raise the errors that it declares, and nothing else.

What a decoder lets through is looked at, too: a name that is none, a key outside of its prefix or a link that leads
elsewhere is an AssertionError here. `seeds` are good inputs, from which the bad ones are made.
"""

import contextlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cftool.config import address, file, memory, sizes
from cftool.core import paths
from cftool.core.errors import (
    ConfigError,
    IntegrityError,
    ListingError,
    LoginRequired,
    NotADirectory,
    NotFound,
    ProtocolError,
    StoreError,
)
from cftool.core.provider import Context, Secret
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind
from cftool.disk import partial, sessions
from cftool.http import dates, messages, oauth, redact, retry, urls
from cftool.http.types import Response
from cftool.testing import fake_sugarsync, fake_webdav
from cftool.testing.http_fake import FakeRequest
from cftool.transfer.spool import Sorter, Spool
from cftool.transfer.state import PairState
from cftool.wrap.archiving import manifest as archive_manifest
from cftool.wrap.archiving import names as archive_names
from cftool.wrap.archiving import tar as archive_tar
from cftool.wrap.metadata import place as metadata_place
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool_providers.dropbox import _sessions as dropbox_sessions
from cftool_providers.gdrive import _sessions as gdrive_sessions
from cftool_providers.memory import MemoryStore
from cftool_providers.s3 import _errors as s3_errors
from cftool_providers.s3 import _objects as s3_objects
from cftool_providers.s3 import _pages as s3_pages
from cftool_providers.sugarsync import _errors as sugarsync_errors
from cftool_providers.sugarsync import _pages as sugarsync_pages
from cftool_providers.webdav import PROVIDER as WEBDAV
from cftool_providers.webdav import _api as webdav_api
from cftool_providers.webdav import _auth as webdav_auth
from cftool_providers.webdav import _errors as webdav_errors
from cftool_providers.webdav import _journal as webdav_journal
from cftool_providers.webdav import _listing as webdav_listing
from cftool_providers.webdav import _multistatus as webdav_multistatus
from cftool_providers.webdav import _vendor as webdav_vendor

XML = {"content-type": "application/xml"}
# In memory, where there is such a place: thousands of small files are synced here.
_FOLDER = tempfile.TemporaryDirectory(prefix="cftool-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
SCRATCH = Path(_FOLDER.name)


@dataclass(frozen=True)
class Target:
    """See the module. `errors` is what `run` may raise."""

    name: str
    run: Callable[[bytes], object]
    errors: tuple[type[BaseException], ...]
    seeds: tuple[bytes, ...] = field(default=(b"",))

    def __call__(self, data: bytes) -> bool:
        """Whether the decoder took it."""
        try:
            self.run(data)
        except self.errors:
            return False
        return True


# ---- WebDAV

_DAV = WEBDAV.open({"url": "https://dav.test/dav"}, Context())._api


def _webdav(depth: str) -> bytes:
    """What the fake server answers."""
    fake = fake_webdav.FakeWebDav(fake_webdav.Habits())
    fake.put("dir/file & one", b"x")
    fake.mkdir("dir/sub")
    headers = {"depth": depth}
    return fake.handle(FakeRequest("PROPFIND", "https", "dav.test", "/dav/dir/", headers, _DAV._find_body)).body


def webdav_listing_of(data: bytes) -> None:
    level = webdav_listing._Level(_DAV, "dir")
    entries = level.entries(webdav_multistatus.decode(data))
    level.finish()
    for entry in entries:
        assert entry.path.startswith("dir/"), entry
        assert paths.component_problem(entry.name) is None, entry
        assert entry.path.count("/") == 1, entry
        assert entry.size is None or entry.size >= 0, entry


def webdav_tree_of(data: bytes) -> None:
    tree = webdav_listing._Tree(_DAV, "dir")
    for entry in tree.entries(webdav_multistatus.decode(data)):
        assert entry.path.startswith("dir/"), entry
        assert all(paths.component_problem(name) is None for name in entry.path.split("/")), entry
    tree.finish()


def webdav_headers(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    webdav_auth.digest_challenges(text)
    webdav_auth.offers_basic(text)
    webdav_api.opaque(text)
    webdav_api.hashes(text)
    webdav_vendor.detect(Response(200, {"dav": text, "server": text}), lambda: Response(200, {}, data))
    webdav_vendor.Profile.loads(text)
    webdav_errors.words(data)
    webdav_api.content_range({"content-range": text})


# ---- S3

_ASKED = s3_pages.Expected("bucket", "dir/", "/", 1000)
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_LIST = (
    f'{_HEAD}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>dir/</Prefix>'
    "<Delimiter>/</Delimiter><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
    "<IsTruncated>true</IsTruncated><NextContinuationToken>token</NextContinuationToken><Contents><Key>dir/a</Key>"
    "<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
    "<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents><Contents><Key>dir/b%20c</Key><LastModified>"
    '2026-01-02T03:04:05.000Z</LastModified><ETag>"x-2"</ETag><Size>12</Size></Contents>'
    "<CommonPrefixes><Prefix>dir/sub/</Prefix></CommonPrefixes></ListBucketResult>"
).encode()
_BUCKETS = (
    f"{_HEAD}<ListAllMyBucketsResult><Owner><ID>1</ID></Owner><Buckets><Bucket><Name>b</Name><CreationDate>"
    "2026-01-02T03:04:05.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>"
).encode()
_PARTS = (
    f"{_HEAD}<ListPartsResult><UploadId>id</UploadId><IsTruncated>true</IsTruncated><NextPartNumberMarker>1"
    "</NextPartNumberMarker><Part><PartNumber>1</PartNumber><Size>5</Size><ETag>e</ETag></Part></ListPartsResult>"
).encode()
_UPLOADS = (
    f"{_HEAD}<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>"
    "k</NextKeyMarker><Upload><Key>k</Key><UploadId>id</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated>"
    "</Upload></ListMultipartUploadsResult>"
).encode()
_ERROR = f"{_HEAD}<Error><Code>SlowDown</Code><Message>Reduce</Message><Region>eu</Region></Error>".encode()


def s3_page(data: bytes) -> None:
    page = s3_pages.page(Response(200, XML, data), _ASKED)
    names = [key.key for key in page.keys]
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    assert encoded == sorted(set(encoded)), names
    assert all(name.startswith("dir/") and "\0" not in name for name in (*names, *page.prefixes))
    assert all(key.size >= 0 for key in page.keys)
    assert len(page.keys) + len(page.prefixes) <= 1000


def s3_buckets(data: bytes) -> None:
    for name, _ in s3_pages.buckets(Response(200, XML, data))[0]:
        assert paths.component_problem(name) is None, name


def s3_error(data: bytes) -> None:
    for status in (200, 404, 500):
        s3_errors.classify(status, XML, data)
        assert isinstance(s3_errors.error(Response(status, XML, data), data, host="host"), StoreError)


def s3_headers(data: bytes) -> None:
    """Every header of an object holds the same odd text."""
    text = data.decode("utf-8", "surrogateescape")
    names = ("etag", "last-modified", "x-amz-meta-mtime", "x-amz-checksum-crc32", "content-length", "content-range")
    for name in (*names, "x-amz-checksum-type", "x-amz-meta-md5chksum"):
        with contextlib.suppress(ProtocolError):
            found = s3_objects.entry("p", {"etag": '"e"', "content-length": "1", name: text})
            assert found.size is not None
            assert found.size >= 0
        s3_objects.content_range({"content-range": text})


def s3_session(data: bytes) -> None:
    intent, upload_id = sessions._decode(data)
    assert isinstance(intent.path, str)
    assert upload_id is None or isinstance(upload_id, str)


def dropbox_record(data: bytes) -> None:
    record = dropbox_sessions.Record(-1, "name", dropbox_sessions.Intent("s", "p", "f", 1, 1))
    record.load(b"intent\n" + data)
    assert all(isinstance(offset, int) and isinstance(digest, str) for offset, digest in record.parts.items())


_DROPBOX_RECORD = b'{"id": "u"}\n{"at": 0, "hash": "h"}\n{"at": 5, "hash": "i"}\n'
_GDRIVE_RECORD = b"%s\n%s\n" % (
    json.dumps(
        {
            "service": "s",
            "path": "p",
            "source": "f",
            "size": 1,
            "parent": "d",
            "handle": "h",
            "new": True,
            "metadata": "",
            "started_ns": 1,
        }
    ).encode(),
    b'{"uri": "https://www.googleapis.com/x"}',
)
_WEBDAV_RECORD = b'{"service": "s"}\n{"directory": "a/b"}\n{"ended": "x"}\n'


_INTENT = json.dumps(
    {"service": "s3:aws", "path": "b/k", "source": "1:2:3", "part_size": 5, "headers": "", "started_ns": 1}
).encode()


# ---- SugarSync


def _sugarsync(method: str, target: str) -> bytes:
    """What the fake service answers."""
    fake = fake_sugarsync.FakeSugarSync()
    fake.tokens["t"] = 1 << 62
    fake.put("Top/file & one", b"x")
    fake.put("Top/two", None)
    fake.folder("Top/sub")
    target = target.replace("FILE", next(iter(fake.files))).replace("FOLDER", fake.folder("Top"))
    headers = {"authorization": "t", "user-agent": "cftool/0"}
    return fake.handle(FakeRequest(method, "https", fake_sugarsync.HOST, target, headers)).body


_SC = "/:sc:566494:"


def sugarsync_page(data: bytes, *, top: bool = False) -> None:
    for item in sugarsync_pages.page(Response(200, XML, data), 0, top=top).items:
        assert paths.component_problem(item.name) is None, item
        assert item.ref.startswith("https://api.sugarsync.com/"), item
        assert ".." not in item.ref, item
        assert item.size >= 0 or item.is_dir or not item.present, item


def sugarsync_file(data: bytes) -> None:
    info = sugarsync_pages.file_info(Response(200, XML, data))
    assert info.size >= 0 or not info.present


def sugarsync_account(data: bytes) -> None:
    account = sugarsync_pages.account(Response(200, XML, data))
    assert account.folders.startswith("https://api.sugarsync.com/")


def sugarsync_token(data: bytes) -> None:
    place = {"location": "https://api.sugarsync.com/authorization/x", **XML}
    with contextlib.suppress(ProtocolError):
        text = {"location": data.decode("latin-1")}
        assert sugarsync_pages.token(Response(201, text), "authorization").startswith("https://api.sugarsync.com/")
    sugarsync_pages.authorization(Response(201, place, data))


def sugarsync_error(data: bytes) -> None:
    for status in (400, 403, 500):
        text = str(sugarsync_errors.error(Response(status, {}), data))
        assert text.isprintable(), text


_TOKEN = b"<authorization><expiration>2012-03-28T23:30:44.463+03:00</expiration><user>u</user></authorization>"


# ---- WebDAV


def multistatus(data: bytes) -> None:
    """Whole and in pieces, which must make no difference."""
    rows = webdav_multistatus.decode(data)
    assert all(row.href for row in rows)
    decoder = webdav_multistatus.Decoder()
    pieces = [row for start in range(0, len(data), 97) for row in decoder.feed(data[start : start + 97])]
    assert pieces + decoder.close() == rows


_MULTISTATUS = (
    f'{_HEAD}<d:multistatus xmlns:d="DAV:"><d:response><d:href>/dav/a%20b/</d:href><d:propstat><d:prop><d:resourcetype>'
    "<d:collection/></d:resourcetype><d:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</d:getlastmodified></d:prop>"
    "<d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop><d:getcontentlength/></d:prop><d:status>"
    "HTTP/1.1 404 Not Found</d:status></d:propstat></d:response><d:response><d:href>/dav/a%20b/c</d:href><d:propstat>"
    "<d:prop><d:resourcetype/><d:getcontentlength>12</d:getcontentlength><d:getetag>&quot;e&quot;</d:getetag></d:prop>"
    "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>"
).encode()


# ---- configuration, addresses


def config_file(data: bytes) -> None:
    for name, remote in file.Reader("config.toml", data, exposed=False).remotes().items():
        assert address.valid_name(name)
        assert isinstance(remote.type, str)


_CONFIG = b"""# mine
[remotes.work]
type = "s3"
endpoint_url = "https://s3.example.org"
secret_access_key = { command = "pass show s3" }
part_size = "16M"
root = "bucket/x"
[remotes.work.stack]
metadata_cache = 120
archive = false
cache_size = "5 GB"
[remotes."b-c"]
type = "local"
"""


def address_parser(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    parsed = address.parse(text, remotes=("work", "s3"))
    assert "\0" not in parsed.path
    assert parsed.remote is None or address.valid_name(parsed.remote)


def sizes_and_durations(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for parse in (sizes.parse_size, sizes.parse_duration):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


# ---- what lies in the state directory


def _written(name: str, data: bytes) -> str:
    path = SCRATCH / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def state_database(data: bytes) -> None:
    path = _written("pairs/pair.sqlite", data)
    try:
        state = PairState(path, identity="i", folding="f")
        try:
            for key, row in state.rows():
                assert isinstance(key, bytes), key
                assert len(row) == 5
            state.put(b"key", 1, "a", "b")
            state.flush()
        finally:
            state.close()
    finally:
        for left in (SCRATCH / "pairs").iterdir():
            left.unlink()


def _database() -> bytes:
    path = SCRATCH / "seed/pair.sqlite"
    state = PairState(str(path), identity="i", folding="f")
    for number in range(40):
        state.put(b"dir/file%d" % number, number, f"v{number}", f"@{number}")
    state.flush()
    state.accept()
    state.close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    return path.read_bytes()


def metadata_database(data: bytes) -> None:
    """Whatever it says, the store works, and what is changed through it is known after it."""
    directory = SCRATCH / "metadata"
    try:
        _written(os.path.relpath(_metadata_path(), SCRATCH), data)
        store, _ = _metadata_store()
        try:
            for entry in (*store.scan(""), *store.scan("dir"), *store.walk("")):
                assert isinstance(entry, Entry)
            for path in ("dir", "dir/a", "none"):
                with contextlib.suppress(NotFound):
                    assert isinstance(store.stat(path), Entry)
            store.poll()
            entry = store.write("dir/new", BytesSource(b"new"))
            assert store.stat("dir/new") == entry
            assert entry in list(store.scan("dir"))
            store.delete("dir/new")
            assert "dir/new" not in [entry.path for entry in store.scan("dir")]
        finally:
            store.close()
    finally:
        for left in directory.iterdir():
            left.unlink()


def _metadata_path() -> str:
    return metadata_place.Place(str(SCRATCH / "metadata")).current()


def _metadata_store() -> tuple[MetadataCachingStore, MemoryStore]:
    memory = MemoryStore()
    for path in ("dir/a", "dir/sub/b", "top"):
        memory.write(path, BytesSource(b"x"))
    return MetadataCachingStore(memory, ttl=1e9, directory=str(SCRATCH / "metadata")), memory


def _metadata() -> bytes:
    path = _metadata_path()
    store, _ = _metadata_store()
    list(store.walk(""))
    with contextlib.suppress(NotFound):
        store.stat("none")
    store.write("dir/c", BytesSource(b"x"))
    store._cache.begin("top")
    store.close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    found = Path(path).read_bytes()
    for left in (SCRATCH / "metadata").iterdir():
        left.unlink()
    return found


_PACK = archive_names.PackName(f"{1:010x}-{'a' * 16}-a00.tar", f"{1:010x}-{'a' * 16}", 0xA00)


def manifest(data: bytes) -> None:
    """What it says is of files that can be, and comes out the same when it is written again."""
    found = archive_manifest.decode(data, _PACK, 1 << 20)
    assert archive_manifest.decode(archive_manifest.encode(found, _PACK.stem), _PACK, 1 << 20) == found
    for record in found.entries:
        assert record.path
        assert not archive_names.reserved(record.path)
        assert ".." not in record.path.split("/")
        record.entry(record.path)


def _manifest() -> bytes:
    record = archive_manifest.Record
    entries = (
        record(f"{_PACK.stem}.0", "dir", True, host="here"),
        record(
            f"{_PACK.stem}.1",
            "dir/\u00e4\udcff",
            False,
            (f"{_PACK.stem}.7",),
            5,
            None,
            1,
            "v",
            {"md5": "0" * 32},
            "",
            512,
        ),
        record(f"{_PACK.stem}.9", "other", False, (), 5, 1, 1, "v", {}, f"{_PACK.stem}.object", 0, "over", "there"),
    )
    found = archive_manifest.Manifest(1, "here", entries, ((f"{_PACK.stem}.3", 1),), (_PACK.name,), (_PACK.name,))
    return archive_manifest.encode(found, _PACK.stem)


def pack_end(data: bytes) -> None:
    """What is taken is the manifest of an end that this program writes."""
    found = archive_tar.manifest_of(data)
    assert data.endswith(archive_tar.padding(len(found)) + archive_tar.END)


def token_file(data: bytes) -> None:
    tokens = oauth.TokenFile(str(SCRATCH), "fuzz", "remote")
    _written(os.path.relpath(tokens.path, SCRATCH), data)
    found = tokens.load("source")
    assert found is None or (isinstance(found.access, Secret) and isinstance(found.usable(0.0), bool))


def token_answer(data: bytes) -> None:
    found = oauth.decode_token(Response(200, {"content-type": "application/json"}, data), 0.0)
    assert found.access.reveal()
    assert found.expires == found.expires


_SAVED = b'{"source": "source", "access_token": "a", "expires": 1e9, "refresh_token": "r"}'


def learnt(data: bytes) -> None:
    _written("learnt/fuzz.json", data)
    found = memory.FileMemory(str(SCRATCH), "fuzz")
    assert found.get("key") is None or isinstance(found.get("key"), str)


_MAP_HEADER = "cftool-map 1 1000 77"
_MAP = b"".join(partial._sealed(line) for line in (_MAP_HEADER, "b boot", "w 0 10", "d 0 10", "d 20 30"))


def partial_map(data: bytes) -> None:
    """What is there of a download: every line has its own checksum, so nearly all that is bad ends the log."""
    fd = os.open(_written("map", data), os.O_RDWR | os.O_APPEND)
    try:
        for start, end in partial._Log(fd, _MAP_HEADER).load():
            assert 0 <= start < end <= 30
    finally:
        os.close(fd)


def spool(data: bytes) -> None:
    """Not foreign, but it must give back exactly what it got, whatever names are like."""
    names = [part.decode("utf-8", "surrogateescape") for part in data.split(b"\n")][:200]
    entries = [Entry(name, Kind.FILE, len(name), None, 1, None, name, {"md5": name} if name else {}) for name in names]
    keyed = [(os.fsencode(entry.path), entry) for entry in entries]
    kept = Spool(str(SCRATCH), in_memory=7)
    with Sorter(str(SCRATCH), in_memory=7) as sorter:
        for key, entry in keyed:
            kept.append(key, entry)
            sorter.add(key, entry)
        assert list(kept) == keyed
        assert list(reversed(kept)) == keyed[::-1]
        assert [key for key, _ in sorter] == sorted(key for key, _ in keyed)
    kept.close()


# ---- HTTP


def http_head(data: bytes) -> None:
    messages.parse_head(data.splitlines(keepends=True))


def http_values(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    date = dates.parse_http_date(text)
    assert date is None or date == date  # noqa: PLR0124 - not NaN
    wait = retry.retry_after(text, 0.0)
    assert wait is None or wait >= 0
    assert redact.safe_url(text).isprintable()
    with contextlib.suppress(ConfigError):
        urls.check(text)


TARGETS = (
    Target("webdav listing", webdav_listing_of, (ListingError, NotADirectory), (_webdav("1"),)),
    Target("webdav tree", webdav_tree_of, (ListingError, NotADirectory), (_webdav("infinity"),)),
    Target(
        "webdav headers",
        webdav_headers,
        (ProtocolError,),
        (b"bytes 0-1/2", b'Digest realm="r", nonce="n", qop="auth"', b"SHA1:" + b"0" * 40, b'{"installed":true}'),
    ),
    Target("s3 page", s3_page, (ListingError,), (_LIST, _ERROR)),
    Target("s3 buckets", s3_buckets, (ListingError,), (_BUCKETS, _LIST)),
    Target("s3 parts", lambda data: s3_pages.parts(data, "id"), (ProtocolError,), (_PARTS,)),
    Target("s3 uploads", lambda data: s3_pages.uploads(data), (ProtocolError,), (_UPLOADS,)),
    Target("s3 error", s3_error, (), (_ERROR, _LIST)),
    Target(
        "s3 headers", s3_headers, (ProtocolError,), (b'"abc"', b"1700000000.123456789", b"bytes 0-1/2", b"AAAAAA==")
    ),
    Target("s3 session record", s3_session, (ValueError,), (_INTENT + b'\n{"id": "u"}\n', _INTENT + b"\n")),
    Target("dropbox session record", dropbox_record, (), (_DROPBOX_RECORD,)),
    Target("gdrive session record", gdrive_sessions._decode, (ValueError,), (_GDRIVE_RECORD,)),
    Target("webdav journal", lambda data: webdav_journal._decode("run", data, "s"), (), (_WEBDAV_RECORD,)),
    Target("sugarsync page", sugarsync_page, (ListingError,), (_sugarsync("GET", f"/folder{_SC}FOLDER/contents"),)),
    Target(
        "sugarsync root",
        lambda data: sugarsync_page(data, top=True),
        (ListingError,),
        (_sugarsync("GET", "/user/566494/folders/contents"),),
    ),
    Target("sugarsync file", sugarsync_file, (ProtocolError,), (_sugarsync("GET", f"/file{_SC}FILE"),)),
    Target(
        "sugarsync folder",
        lambda data: sugarsync_pages.folder_info(Response(200, XML, data)),
        (ProtocolError,),
        (_sugarsync("GET", f"/folder{_SC}FOLDER"),),
    ),
    Target("sugarsync account", sugarsync_account, (ProtocolError,), (_sugarsync("GET", "/user"),)),
    Target("sugarsync token", sugarsync_token, (ProtocolError,), (_TOKEN,)),
    Target("sugarsync error page", sugarsync_error, (), (fake_sugarsync.FakeSugarSync.error(400, "No & no").body,)),
    Target("multistatus", multistatus, (ListingError,), (_MULTISTATUS,)),
    Target("configuration file", config_file, (ConfigError,), (_CONFIG,)),
    Target(
        "address",
        address_parser,
        (ConfigError,),
        (b"s3:bucket/a/../key", b"work,region=eu,endpoint_url='http://h:1/x':/p", b"./a:b"),
    ),
    Target("sizes and durations", sizes_and_durations, (), (b"10M", b"1.5 GiB", b"1h30m", b"7d")),
    Target("archive manifest", manifest, (ProtocolError,), (_manifest(),)),
    Target("end of a pack", pack_end, (IntegrityError,), (archive_tar.tail(_manifest(), 1),)),
    Target("metadata database", metadata_database, (), (_metadata(),)),
    Target("state database", state_database, (StoreError, sqlite3.Error), (_database(),)),
    Target("token file", token_file, (), (_SAVED,)),
    Target(
        "answer of a token endpoint",
        token_answer,
        (LoginRequired, ProtocolError, StoreError),
        (b'{"access_token": "a", "expires_in": 3600, "refresh_token": "r"}',),
    ),
    Target("learnt facts", learnt, (), (b'{"key": "value"}',)),
    Target("partial map", partial_map, (), (_MAP,)),
    Target("spool", spool, (), (b"a\nb\n\xff\xfe\n",)),
    Target(
        "http head",
        http_head,
        (ProtocolError,),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",),
    ),
    Target("http values", http_values, (), (b"Sun, 06 Nov 1994 08:49:37 GMT", b"120", b"https://u:p@h/x?a=b")),
)
