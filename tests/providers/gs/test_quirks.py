"""What else the package's docstring names: reading, deleting, copying, times, links, errors; one test each."""

import calendar
import gzip
import json
import time
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from cftool.core.errors import (
    ConfigError,
    ConnectionFailed,
    IntegrityError,
    IsADirectory,
    LoginRequired,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    RateLimited,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.provider import Secret
from cftool.core.types import Cap, Entry, Kind, ReadItem
from cftool.disk.root import Root
from cftool.http import downloads, ranged
from cftool.testing.fake_gs import ACCESS_KEY, REFRESH_TOKEN, FakeGS, Habits
from cftool.testing.fake_gs_parts import Refused
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool.testing.targets import MemoryTarget
from cftool_providers.gs import _delete, _errors, _objects
from cftool_providers.gs._settings import settings

MIB = 1 << 20


def fetch(store, path, entry=None):
    target = MemoryTarget()
    [result] = store.read_many([ReadItem(entry or store.stat(path), target)])
    if result.error is not None:
        raise result.error
    return target


class TestReading:
    def test_one_request_and_both_hashes(self, lab):
        lab.fake.make("bucket", ["f"], b"0123456789")
        with lab.open().read("bucket/f") as download:
            assert download.read() == b"0123456789"
            assert set(download.entry.hashes) == {"md5", "crc32c"}
            assert download.entry.version == str(lab.fake.buckets["bucket"]["f"].generation)
        assert (lab.fake.ops["objects.download"], lab.fake.ops["objects.get"]) == (1, 0)

    def test_gzip_is_read_as_it_is_stored(self, lab):
        packed = gzip.compress(b"hello" * 100)
        lab.fake.make("bucket", ["f.gz"], packed, contentEncoding="gzip")
        with lab.open().read("bucket/f.gz") as download:
            assert download.read() == packed
        with lab.open().read("bucket/f.gz", start=3, end=9) as download:
            assert download.read() == packed[3:9]
        assert fetch(lab.open(), "bucket/f.gz").data == packed

    def test_one_that_came_unpacked_all_the_same_is_refused(self, either):
        packed = gzip.compress(b"hello" * 100)
        either.fake.make("bucket", ["f.gz"], packed, contentEncoding="gzip")

        def unpack(request, answer):
            return replace(answer, headers=answer.headers[:-1], body=gzip.decompress(answer.body))

        either.fake.change("objects.download", unpack)
        with pytest.raises((IntegrityError, ProtocolError)), either.open().read("bucket/f.gz") as download:
            download.read()

    def test_a_range_is_of_the_version_that_was_asked_for(self, lab):
        lab.fake.make("bucket", ["f"], b"0123456789")
        store = lab.open()
        version = store.stat("bucket/f").version
        with store.read("bucket/f", start=2, end=5, if_version=version) as download:
            assert download.read() == b"234"
        lab.fake.make("bucket", ["f"], b"other")
        for ask in ({"start": 2}, {}, {"start": 3, "end": 3}):
            with pytest.raises(PreconditionFailed):
                store.read("bucket/f", if_version=version, **ask).read()
        with pytest.raises(PreconditionFailed):
            store.read("bucket/f", if_version="no number")

    @pytest.mark.parametrize(
        "said", ["bytes 0-4/10", "bytes 2-5/10", "bytes 2-4/*", "2-4/10", "", "bytes 2-4/3"], ids=repr
    )
    def test_another_range_than_was_asked_for_is_refused(self, either, said):
        either.fake.make("bucket", ["f"], b"0123456789")

        def lie(request, answer):
            kept = [pair for pair in answer.headers if pair[0] != "Content-Range"]
            return replace(answer, headers=(*kept, ("Content-Range", said)))

        either.fake.change("objects.download", lie)
        with pytest.raises(ProtocolError):
            either.open().read("bucket/f", start=2, end=5)

    def test_the_whole_in_place_of_a_range_is_refused(self, either):
        either.fake.make("bucket", ["f"], b"0123456789")

        def whole(request, answer):
            kept = tuple(pair for pair in answer.headers if pair[0] != "Content-Range")
            return FakeResponse(200, kept, b"0123456789")

        either.fake.change("objects.download", whole)
        with pytest.raises(ProtocolError):
            either.open().read("bucket/f", start=2, end=5)

    def test_large_files_come_in_ranges_and_are_verified(self, lab, monkeypatch, tmp_path):
        monkeypatch.setattr(downloads, "SMALL", 100_000)
        monkeypatch.setattr(ranged, "RANGE", 64_000)
        data = bytes(range(256)) * 4_000
        lab.fake.make("bucket", ["f"], data)
        store = lab.open()
        (tmp_path / "to").mkdir()
        with Root(str(tmp_path / "to")) as root:
            [result] = store.read_many([ReadItem(store.stat("bucket/f"), root.target("f"))])
            assert (result.error, root.flush()) == (None, [])
        assert (tmp_path / "to/f").read_bytes() == data
        assert lab.fake.ops["objects.download"] == 16

        def flip(request, answer):
            return replace(answer, fault=Fault(Wire.FLIP, at=10))

        lab.fake.change("objects.download", flip, skip=3)
        with pytest.raises(IntegrityError):
            fetch(store, "bucket/f")

    def test_a_file_that_changes_between_two_ranges_is_refused(self, either, monkeypatch):
        monkeypatch.setattr(downloads, "SMALL", 100_000)
        monkeypatch.setattr(ranged, "RANGE", 64_000)
        monkeypatch.setattr(ranged, "IN_FLIGHT", 1)
        either.fake.make("bucket", ["f"], bytes(300_000))

        def replace_it(request, answer):
            either.fake.make("bucket", ["f"], bytes(300_000))
            return answer

        either.fake.change("objects.download", replace_it, skip=1)
        with pytest.raises(PreconditionFailed):
            fetch(either.open(), "bucket/f")

    def test_a_file_that_changed_since_it_was_listed_is_refused(self, lab):
        lab.fake.make("bucket", ["f"], b"old")
        store = lab.open()
        [entry] = store.scan("bucket")
        lab.fake.make("bucket", ["f"], b"new")
        with pytest.raises(PreconditionFailed):
            fetch(store, "bucket/f", entry)

    def test_what_the_listing_knew_stays_known(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket", ["f"], b"x", metadata={"mtime": "2020-01-02T03:04:05Z"})
        store = lab.open()
        [entry] = store.scan("bucket")
        assert fetch(store, "bucket/f", entry).entry == entry

    def test_a_404_in_plain_text_is_asked_about(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket", ["dir/x", "f"])
        store = lab.open()
        with pytest.raises(NotFound):
            store.read("bucket/none")
        with pytest.raises(IsADirectory):
            store.read("bucket/dir")
        page = FakeResponse(404, (("Content-Type", "text/html"),), b"<html>not here</html>")
        lab.fake.fail("objects.download", page)
        with pytest.raises(ProtocolError, match="HTML"):  # the file is there: it is somebody else who says this
            store.read("bucket/f")

    def test_a_composed_object_has_no_md5_and_is_verified_all_the_same(self, lab):
        lab.fake.make("bucket")
        lab.fake.buckets["bucket"]["f"] = lab.fake.stored(b"0123456789", {}, composed=True)
        store = lab.open()
        assert set(store.stat("bucket/f").hashes) == {"crc32c"}
        assert fetch(store, "bucket/f").data == b"0123456789"
        lab.fake.change("objects.download", lambda r, a: replace(a, fault=Fault(Wire.FLIP, at=1)))
        with pytest.raises(IntegrityError):
            fetch(store, "bucket/f")

    def test_one_hash_header_or_two(self, new_lab):
        for xml in (False, True):
            lab = new_lab(Habits(one_hash_header=True), xml=xml)
            lab.fake.make("bucket", ["f"])
            with lab.open().read("bucket/f") as download:
                assert set(download.entry.hashes) == {"md5", "crc32c"}

    @pytest.mark.parametrize("kind", ["short", "long", "html"])
    def test_a_body_that_is_not_the_objects_is_refused(self, lab, kind):
        lab.fake.make("bucket", ["f"], b"0123456789")

        def damage(request, answer):
            if kind == "html":
                return FakeResponse(200, (("Content-Type", "text/html"),), b"0123456789")
            return replace(answer, body=answer.body[:-1] if kind == "short" else answer.body + b"x")

        for _ in range(2):
            lab.fake.change("objects.download", damage)
        store = lab.open()
        with pytest.raises((IntegrityError, ProtocolError)), store.read("bucket/f") as download:
            download.read()
        with pytest.raises((IntegrityError, ProtocolError)):
            fetch(store, "bucket/f")


class TestTimes:
    @pytest.mark.parametrize(
        ("metadata", "expected"),
        [
            ({"mtime": "2020-01-02T03:04:05.123456789Z"}, 1577934245123456789),
            ({"mtime": "2020-01-02T05:04:05.5+02:00"}, 1577934245500000000),
            ({"mtime": "2020-01-01T22:04:05-05:00"}, 1577934245000000000),
            ({"mtime": "1969-12-31T23:59:59.75Z"}, -250000000),
            ({"mtime": "nonsense", "goog-reserved-file-mtime": "1577934245"}, 1577934245000000000),
            ({"goog-reserved-file-mtime": "-5"}, -5000000000),
            ({"goog-reserved-file-mtime": "soon"}, None),
            ({"mtime": "2020-13-02T03:04:05Z"}, None),
            ({}, None),
        ],
    )
    def test_all_forms_are_read(self, either, metadata, expected):
        either.fake.make("bucket", ["f"], metadata=metadata)
        assert either.open().stat("bucket/f").modified_ns == expected

    @pytest.mark.parametrize(
        "ns", [0, 1, -1, 1577934245123456789, -(10**18), 253402300799 * 10**9, 1577934245100000000]
    )
    def test_what_is_written_is_read(self, ns):
        assert _objects.parse_time(_objects.format_time(ns)) == ns

    def test_the_json_api_patches_them(self, json_lab):
        json_lab.fake.make("bucket", ["f"], metadata={"color": "blue"}, contentType="text/plain")
        before = json_lab.fake.buckets["bucket"]["f"]
        entry = json_lab.open().set_modified("bucket/f", 1577934245123456789)
        after = json_lab.fake.buckets["bucket"]["f"]
        assert (entry.modified_ns, entry.version) == (1577934245123456789, str(before.generation))
        assert after.metadata["color"] == "blue"
        assert (after.content_type, after.generation) == ("text/plain", before.generation)
        assert sum(json_lab.fake.ops.values()) == 2  # one of them the token

    def test_the_xml_api_copies_the_object_onto_itself(self, new_lab):
        lab = new_lab(xml=True)
        lab.fake.make(
            "bucket", ["f"], b"abc", metadata={"color": "blue"}, contentType="text/plain", storageClass="NEARLINE"
        )
        entry = lab.open().set_modified("bucket/f", 1577934245123456789)
        after = lab.fake.buckets["bucket"]["f"]
        assert entry.modified_ns == 1577934245123456789
        assert (after.data, after.metadata["color"], after.content_type) == (b"abc", "blue", "text/plain")
        assert after.storage_class == "NEARLINE"

    def test_of_what_is_no_file(self, either):
        either.fake.make("bucket", ["dir/x"])
        store = either.open()
        with pytest.raises(NotFound):
            store.set_modified("bucket/none", 1)
        for path in ("bucket/dir", "bucket", ""):
            with pytest.raises(IsADirectory):
                store.set_modified(path, 1)


class TestDeleting:
    def test_a_hundred_in_a_request(self, json_lab):
        keys = [f"f{n}" for n in range(1000)] + ["odd/ä +&%", "odd/..", "odd/a//b"]
        json_lab.fake.make("bucket", keys)
        entries = [Entry(f"bucket/{key}", Kind.FILE) for key in [*keys, "gone"]]
        entries.append(Entry("bucket/nodir", Kind.DIRECTORY))
        results = list(json_lab.open().delete_many(entries))
        assert [result.error for result in results if result.error] == []
        assert {result.path for result in results} == {entry.path for entry in entries}
        assert json_lab.fake.buckets["bucket"] == {}
        assert (json_lab.requests["batch"], json_lab.requests["objects.delete"]) == (11, 0)

    def test_one_by_one_over_the_xml_api(self, new_lab):
        lab = new_lab(xml=True)
        lab.fake.make("bucket", [f"f{n}" for n in range(300)])
        entries = [Entry(f"bucket/f{n}", Kind.FILE) for n in range(301)]
        assert [result.error for result in lab.open().delete_many(entries) if result.error] == []
        assert lab.fake.buckets["bucket"] == {}

    def test_answers_without_ids_count_by_their_order(self, new_lab):
        lab = new_lab(Habits(batch_ids=False))
        lab.fake.make("bucket", ["a", "b", "c"])
        lab.fake.fail("objects.delete", (403, "forbidden"), key="b")
        entries = [Entry(f"bucket/{key}", Kind.FILE) for key in "abc"]
        errors = {result.path: type(result.error) for result in lab.open().delete_many(entries) if result.error}
        assert errors == {"bucket/b": PermissionDenied}

    def test_parts_that_fail_for_now_are_sent_again(self, json_lab, monkeypatch):
        monkeypatch.setattr(_delete, "PAUSE", 0.0)
        json_lab.fake.make("bucket", [f"f{n}" for n in range(50)])
        json_lab.fake.fail("objects.delete", (503, "backendError"), skip=5, times=20)
        json_lab.fake.fail("objects.delete", (429, "rateLimitExceeded"), skip=5, times=20)
        entries = [Entry(f"bucket/f{n}", Kind.FILE) for n in range(50)]
        assert [result.error for result in json_lab.open().delete_many(entries) if result.error] == []
        assert json_lab.fake.buckets["bucket"] == {}

    def test_parts_that_go_on_failing_fail_alone(self, json_lab, monkeypatch):
        monkeypatch.setattr(_delete, "PAUSE", 0.0)
        json_lab.fake.make("bucket", ["a", "b", "c", "d"])
        for key in "bd":
            json_lab.fake.fail("objects.delete", (503, "backendError"), key=key, times=100)
        json_lab.fake.fail("objects.delete", (403, "forbidden"), key="c", times=100)
        entries = [Entry(f"bucket/{key}", Kind.FILE) for key in "abcd"]
        errors = {result.path: type(result.error) for result in json_lab.open().delete_many(entries) if result.error}
        assert errors == {"bucket/b": TemporaryError, "bucket/c": PermissionDenied, "bucket/d": TemporaryError}

    @pytest.mark.parametrize("kind", ["cut", "html", "json", "missing", "twice", "strange"])
    def test_a_wrong_answer_deletes_nothing_in_our_books(self, new_lab, kind):
        lab = new_lab()
        lab.fake.make("bucket", ["a", "b", "c"])

        def damage(request, answer):
            pieces = answer.body.split(b"--batch_fake\r\n")
            bodies = {
                "cut": answer.body[:-20],
                "html": b"<html></html>",
                "json": b"{}",
                "missing": b"--batch_fake\r\n".join([*pieces[:2], pieces[3]]),
                "twice": b"--batch_fake\r\n".join([*pieces[:3], pieces[2], pieces[3]]),
                "strange": answer.body.replace(b"cftool+1", b"cftool+7"),
            }
            return replace(answer, body=bodies[kind])

        lab.fake.change("batch", damage)
        entries = [Entry(f"bucket/{key}", Kind.FILE) for key in "abc"]
        failed = {result.path for result in lab.open().delete_many(entries) if result.error is not None}
        assert failed == ({"bucket/b"} if kind == "missing" else {f"bucket/{key}" for key in "abc"})

    def test_delete_says_what_is_no_file(self, lab):
        lab.fake.make("bucket", ["dir/x"])
        store = lab.open()
        with pytest.raises(NotFound):
            store.delete("bucket/none")
        for path in ("bucket/dir", "bucket", ""):
            with pytest.raises(IsADirectory):
                store.delete(path)
        [result] = store.delete_many([Entry("bucket", Kind.DIRECTORY)])
        assert isinstance(result.error, StoreError)


class TestCopying:
    def test_a_copy_keeps_all_of_its_source(self, lab):
        lab.fake.make("bucket", ["a b"], b"abc", metadata={"mtime": "2020-01-02T03:04:05Z"}, contentType="text/plain")
        lab.fake.make("other")
        entry = lab.open().copy("bucket/a b", "other/c+d")
        copied = lab.fake.buckets["other"]["c+d"]
        assert (copied.data, copied.content_type) == (b"abc", "text/plain")
        assert (entry.path, entry.modified_ns, entry.version) == (
            "other/c+d",
            1577934245000000000,
            str(copied.generation),
        )

    def test_a_rewrite_is_called_until_it_is_done(self, new_lab):
        lab = new_lab(Habits(rewrite_rounds=4))
        lab.fake.make("bucket", ["a"], b"abc")
        lab.open().copy("bucket/a", "bucket/b")
        assert lab.fake.buckets["bucket"]["b"].data == b"abc"
        assert lab.fake.ops["objects.rewrite"] == 4

    @pytest.mark.parametrize("body", [b"{}", b'{"done": false}', b'{"done": true}', b"[]", b"<html>", b'{"done": 1}'])
    def test_an_answer_that_says_neither_is_an_error(self, new_lab, body):
        lab = new_lab()
        lab.fake.make("bucket", ["a"], b"abc")
        lab.fake.fail("objects.rewrite", FakeResponse(200, (("Content-Type", "application/json"),), body))
        with pytest.raises(ProtocolError):
            lab.open().copy("bucket/a", "bucket/b")

    def test_another_storage_class_keeps_the_rest(self, either):
        either.fake.make("bucket", ["a"], b"abc", metadata={"color": "blue"}, contentType="text/plain")
        either.open(storage_class="COLDLINE").copy("bucket/a", "bucket/b")
        copied = either.fake.buckets["bucket"]["b"]
        assert copied.metadata == {"color": "blue"}
        assert copied.content_type == "text/plain"
        if not either.xml:
            assert copied.storage_class == "COLDLINE"

    def test_into_a_bucket_that_is_missing(self, either):
        either.fake.make("bucket", ["a"], b"abc")
        either.open().copy("bucket/a", "newbucket/b")
        assert either.fake.buckets["newbucket"]["b"].data == b"abc"

    def test_of_what_is_no_file(self, either):
        either.fake.make("bucket", ["dir/x"])
        store = either.open()
        with pytest.raises(NotFound):
            store.copy("bucket/none", "bucket/b")
        with pytest.raises(IsADirectory):
            store.copy("bucket/dir", "bucket/b")
        with pytest.raises(IsADirectory):
            store.copy("bucket/dir/x", "bucket")

    def test_move_never_has_fewer_than_one(self, either):
        either.fake.make("bucket", ["a"], b"abc")
        store = either.open()
        assert store.move("bucket/a", "bucket/a").size == 3
        store.move("bucket/a", "bucket/b")
        assert list(either.fake.buckets["bucket"]) == ["b"]
        either.fake.fail("objects.rewrite", (403, "forbidden"))
        with pytest.raises(PermissionDenied):
            store.move("bucket/b", "bucket/c")
        assert list(either.fake.buckets["bucket"]) == ["b"]


class TestLinks:
    def test_of_a_service_account_it_is_signed_with_its_key(self, new_lab):
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        lab = new_lab()
        lab.fake.make("bucket", ["a b"])
        store = lab.open()
        assert Cap.LINK in store.features.caps
        url = store.link("bucket/a b", expires=60)
        place, _, query = url.partition("?")
        assert place == f"{lab.url}/bucket/a%20b"
        params = dict(parse_qsl(query))
        stamp, scope = params["X-Goog-Date"], params["X-Goog-Credential"].partition("/")[2]
        assert scope == f"{stamp[:8]}/auto/storage/goog4_request"
        assert (params["X-Goog-Algorithm"], params["X-Goog-Expires"]) == ("GOOG4-RSA-SHA256", "60")
        unsigned = query.partition("&X-Goog-Signature=")[0]
        host = lab.url.partition("://")[2]
        canonical = f"GET\n/bucket/a%20b\n{unsigned}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        import hashlib

        text = f"GOOG4-RSA-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        account = next(iter(lab.fake.accounts.values()))
        signature = bytes.fromhex(params["X-Goog-Signature"])
        account.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())

    def test_of_an_hmac_key_anybody_may_use_it(self, new_lab):
        import urllib.request

        lab = new_lab(xml=True)
        lab.fake.make("bucket", ["a b"], b"abc")
        url = lab.open().link("bucket/a b")
        assert f"{ACCESS_KEY}%2F" in url
        assert "X-Goog-Expires=604800" in url
        with urllib.request.urlopen(url) as response:
            assert response.read() == b"abc"

    def test_of_what_is_no_file(self, either):
        either.fake.make("bucket", ["dir/x"])
        store = either.open()
        with pytest.raises(NotFound):
            store.link("bucket/none")
        for path in ("bucket/dir", "bucket"):
            with pytest.raises(IsADirectory):
                store.link(path)

    def test_nobody_signs_nothing(self, new_lab):
        lab = new_lab()
        lab.fake.public = True
        lab.fake.make("bucket", ["a"])
        store = lab.open(service_account_file=None, anonymous=True)
        assert Cap.LINK not in store.features.caps
        with pytest.raises(Unsupported):
            store.link("bucket/a")


class TestCredentials:
    def test_anonymous_sends_none(self, json_lab):
        json_lab.fake.public = True
        json_lab.fake.make("bucket", ["a"])
        store = json_lab.open(service_account_file=None, anonymous=True)
        assert store.stat("bucket/a").size == 1
        assert json_lab.fake.ops["token"] == 0

    def test_an_emulator_gets_none_by_itself(self, new_lab):
        lab = new_lab()
        lab.fake.public = True
        host = lab.url.partition("://")[2]
        store = lab.open(service_account_file=None, endpoint_url=None, env={"STORAGE_EMULATOR_HOST": host})
        store.mkdir("bucket")
        assert [entry.path for entry in store.scan("")] == ["bucket"]
        assert store.features.identity == f"gs:{host}"

    def test_default_credentials_of_a_login_need_no_library(self, json_lab, tmp_path):
        path = tmp_path / "adc.json"
        info = {"type": "authorized_user", "client_id": "id", "client_secret": "s", "refresh_token": REFRESH_TOKEN}
        path.write_text(json.dumps(info | {"token_uri": f"{json_lab.url}/token"}))
        json_lab.fake.make("bucket", ["a"])
        store = json_lab.open(service_account_file=None, env={"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
        assert store.stat("bucket/a").size == 1
        assert Cap.LINK not in store.features.caps

    def test_default_credentials_may_be_a_service_account(self, json_lab):
        json_lab.fake.make("bucket", ["a"])
        env = {"GOOGLE_APPLICATION_CREDENTIALS": json_lab.account()}
        store = json_lab.open(service_account_file=None, env=env)
        assert [entry.path for entry in store.scan("")] == ["bucket"]  # its project counts
        assert Cap.LINK in store.features.caps

    def test_a_token_is_used_by_the_next_run(self, json_lab):
        json_lab.fake.make("bucket", ["a"])
        for _ in range(3):
            json_lab.open().stat("bucket/a")
        assert json_lab.fake.ops["token"] == 1

    def test_a_refused_token_is_renewed_once(self, json_lab):
        json_lab.fake.make("bucket", ["a"])
        json_lab.open().stat("bucket/a")
        json_lab.fake.tokens.clear()
        json_lab.open().stat("bucket/a")
        assert json_lab.fake.ops["token"] == 2

    def test_wrong_credentials_are_a_matter_of_login(self, either, tmp_path):
        either.fake.make("bucket", ["a"])
        either.fake.accounts.clear()
        options = {"secret_access_key": Secret("wrong")} if either.xml else {}
        with pytest.raises(LoginRequired):
            either.open(**options).stat("bucket/a")

    def test_a_key_file_that_is_none(self, new_lab, tmp_path):
        lab = new_lab()
        lab.fake.make("bucket", ["a"])
        for text in ("", "{}", '{"type": "authorized_user"}', '{"type": "service_account", "client_email": "x"}'):
            (tmp_path / "key").write_text(text)
            with pytest.raises(ConfigError):
                lab.open(service_account_file=str(tmp_path / "key")).stat("bucket/a")
        with pytest.raises(ConfigError, match="cannot be read"):
            lab.open(service_account_file=str(tmp_path / "none")).stat("bucket/a")

    def test_the_clock_is_corrected(self, new_lab):
        lab = new_lab(xml=True)
        lab.fake.make("bucket", ["a"])
        from email.utils import formatdate

        body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>x</Message></Error>"
        later = (("Content-Type", "application/xml"), ("Date", formatdate(time.time() + 5000, usegmt=True)))
        lab.fake.fail("objects.list", FakeResponse(403, later, body))
        assert len(list(lab.open().scan("bucket"))) == 1
        stamp = lab.server.requests[-1].header("x-goog-date")
        assert calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) > time.time() + 4000


class TestSettings:
    def read(self, env=None, **values):
        from cftool.core.provider import Context

        return settings(values, Context(env=env or {}))

    @pytest.mark.parametrize(
        "values",
        [
            {"access_key_id": "a"},
            {"secret_access_key": Secret("a")},
            {"access_key_id": "a", "secret_access_key": Secret("b"), "service_account_file": "x"},
            {"access_key_id": "a", "secret_access_key": Secret("b"), "anonymous": True},
            {"service_account_file": "x", "anonymous": True},
            {"project": "no project"},
            {"location": "Mars & Venus"},
            {"storage_class": "hot/cold"},
            {"endpoint_url": "ftp://x"},
            {"endpoint_url": "http://user@x"},
            {"endpoint_url": "http://x?y"},
            {"endpoint_url": "http://x:port"},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, values):
        with pytest.raises(ConfigError):
            self.read(**values)

    def test_the_environment_fills_in(self):
        found = self.read({"STORAGE_EMULATOR_HOST": "localhost:4443", "GOOGLE_CLOUD_PROJECT": "p-1"})
        assert (found.endpoint, found.emulator, found.project) == ("http://localhost:4443", True, "p-1")
        found = self.read({"STORAGE_EMULATOR_HOST": "https://x/y/"}, endpoint_url="http://z/")
        assert (found.endpoint, found.emulator) == ("http://z", False)
        assert self.read().identity == "gs:google"
        assert self.read(access_key_id="a", secret_access_key=Secret("b")).identity == "gs:google"


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "reason", "kind"),
        [
            (400, "invalid", StoreError),
            (401, "authError", LoginRequired),
            (403, "forbidden", PermissionDenied),
            (403, "accessNotConfigured", PermissionDenied),
            (403, "quotaExceeded", StoreError),
            (404, "notFound", NotFound),
            (409, "conflict", StoreError),
            (412, "conditionNotMet", PreconditionFailed),
            (429, "rateLimitExceeded", RateLimited),
            (500, "backendError", TemporaryError),
            (501, "notImplemented", Unsupported),
            (503, "backendError", TemporaryError),
            (418, "teapot", StoreError),
        ],
    )
    def test_each_reason_has_its_class(self, status, reason, kind):
        from cftool.http.types import Response

        body = FakeGS.error(Refused(status, reason, reason)).body
        assert isinstance(_errors.error(Response(status, {}, body), body, host="h"), kind)

    @pytest.mark.parametrize("body", [b"", b"not found", b"<html>404</html>", b"{", b'{"error": 5}', b"<Error><Code>"])
    def test_a_404_that_is_not_the_services_is_no_missing_file(self, either, body):
        either.fake.make("bucket", ["a"])
        either.fake.fail("objects.list", FakeResponse(404, (("Content-Type", "text/html"),), body), times=3)
        with pytest.raises(ProtocolError):
            list(either.open().walk("bucket"))

    def test_no_answer_at_all(self, new_lab):
        lab = new_lab()
        lab.server.close()
        with pytest.raises(ConnectionFailed):
            lab.open(service_account_file=None, anonymous=True).stat("bucket/a")

    def test_a_head_that_refuses_is_explained_by_a_get(self, new_lab):
        lab = new_lab(xml=True)
        lab.fake.make("bucket", ["a"])
        lab.fake.fail("objects.get", FakeResponse(403))
        lab.fake.fail("objects.download", (403, "AccessDenied"))
        with pytest.raises(PermissionDenied):
            lab.open().stat("bucket/a")
