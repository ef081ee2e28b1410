"""scan and walk over the fake service: order, odd keys, pages, parallel ranges, and what they cost in requests."""

import itertools
import random
import re
from dataclasses import replace

import pytest

from cftool.core import paths
from cftool.core.errors import ListingError, NotADirectory, NotFound, PermissionDenied, TemporaryError
from cftool.core.types import Kind
from cftool.http import flat
from cftool.testing.fake_s3 import Habits
from cftool.testing.fake_s3_pages import token_of
from cftool.testing.http_fake import FakeResponse

ODD = [
    "a",
    "a/b",
    "a//b",
    "a//b/c",
    "a/./b",
    "a/../b",
    "/lead",
    "//",
    "d/",
    "d/x",
    "e/f/",
    "only/",
    "ctrl\x01\x1f",
    "new\nline/x\r",
    "x-y",
    "x/y",
    "x0",
    "é/ü",
    "trail//",
    "100%/+ &",
]


def kinds(entries):
    return {entry.path: entry.kind.value[0] for entry in entries}


def walked(store, path="bucket"):
    entries = list(store.walk(path))
    keys = [paths.entry_key(entry) for entry in entries]
    assert all(a < b for a, b in itertools.pairwise(keys)), "not in order"
    return entries


class TestOddKeys:
    def test_each_is_shown_as_it_is_and_none_is_merged(self, lab):
        lab.fake.make("bucket", ODD, b"")
        found = walked(lab.open())
        assert {e.path for e in found if e.kind is Kind.FILE} == {
            f"bucket/{key}" for key in ODD if not key.endswith("/") or "//" in key
        }
        assert {e.path for e in found if e.kind is Kind.DIRECTORY} == {
            f"bucket/{key}"
            for key in ("a", "a/.", "a/..", "d", "e", "e/f", "only", "new\nline", "x", "é", "trail", "100%")
        }

    def test_scan_tells_the_same_level_by_level(self, lab):
        lab.fake.make("bucket", ODD, b"")
        store = lab.open()

        def below(path):
            for entry in store.scan(path):
                yield entry
                if entry.is_dir:
                    yield from below(entry.path)

        scanned = [(e.path, e.kind) for e in below("bucket")]
        assert len(set(scanned)) == len(scanned)
        assert set(scanned) == {(e.path, e.kind) for e in store.walk("bucket")}

    def test_a_slash_object_with_content_is_a_file_of_that_name(self, lab):
        lab.fake.make("bucket", ["d/", "d/x"], b"content")
        store = lab.open()
        assert [(e.path, e.kind) for e in walked(store)] == [("bucket/d/", Kind.FILE), ("bucket/d/x", Kind.FILE)]
        assert {e.path for e in store.scan("bucket/d")} == {"bucket/d/", "bucket/d/x"}
        assert store.read("bucket/d/").read() == b"content"

    def test_a_marker_gives_its_directory_a_time(self, lab):
        lab.fake.make("bucket", ["d/"], b"")
        lab.fake.make("bucket", ["e/x"])
        store = lab.open()
        times = {entry.path: entry.stored_ns for entry in store.walk("bucket") if entry.is_dir}
        assert times == {"bucket/d": 1_700_000_001_000_000_000, "bucket/e": None}
        assert store.stat("bucket/d").stored_ns == times["bucket/d"]
        assert store.stat("bucket/e").stored_ns is None

    def test_everything_below_an_empty_component_is_a_file_of_its_directory(self, lab):
        lab.fake.make("bucket", ["a//b", "a//c/d", "a/e"])
        store = lab.open()
        assert kinds(store.scan("bucket/a")) == {"bucket/a//b": "f", "bucket/a//c/d": "f", "bucket/a/e": "f"}
        assert kinds(store.scan("bucket/a/")) == {"bucket/a//b": "f", "bucket/a//c/d": "f"}
        assert kinds(store.walk("bucket/a/")) == {"bucket/a//b": "f", "bucket/a//c/d": "f"}

    def test_keys_that_are_no_utf8_are_listed_and_read(self, lab):
        lab.fake.make("bucket", ["bad\udcff"], b"bytes")
        store = lab.open()
        [entry] = walked(store)
        assert entry.path == "bucket/bad\udcff"
        assert store.read(entry.path).read() == b"bytes"


class TestNothing:
    def test_an_empty_bucket_is_an_empty_directory(self, lab):
        lab.fake.make("bucket")
        store = lab.open()
        assert list(store.walk("bucket")) == list(store.scan("bucket")) == []
        assert store.stat("bucket").is_dir

    def test_a_prefix_with_its_marker_alone_is_an_empty_directory(self, lab):
        lab.fake.make("bucket", ["d/"], b"")
        store = lab.open()
        assert list(store.walk("bucket/d")) == list(store.scan("bucket/d")) == []

    def test_a_prefix_with_nothing_below_does_not_exist(self, lab):
        lab.fake.make("bucket", ["dir/x", "dir.txt"])
        store = lab.open()
        for call in (store.stat, lambda p: list(store.scan(p)), lambda p: list(store.walk(p))):
            with pytest.raises(NotFound):
                call("bucket/di")

    def test_below_a_file_there_is_no_directory(self, lab):
        lab.fake.make("bucket", ["file"])
        store = lab.open()
        for call in (store.scan, store.walk):
            with pytest.raises(NotADirectory):
                list(call("bucket/file"))

    def test_a_bucket_that_is_missing_is_not_found(self, lab):
        store = lab.open()
        for call in (store.stat, lambda p: list(store.scan(p)), lambda p: list(store.walk(p))):
            for path in ("nobody", "nobody/dir"):
                with pytest.raises(NotFound):
                    call(path)

    def test_an_error_is_no_empty_listing(self, lab):
        lab.fake.make("bucket", ["x"])
        store = lab.open()
        lab.fake.fail("ListObjectsV2", (403, "AccessDenied"), times=2)
        for call in (store.scan, store.walk):
            with pytest.raises(PermissionDenied):
                list(call("bucket"))


class TestRoot:
    def test_lists_the_buckets_in_the_order_of_the_merge(self, lab):
        for name in ("a", "a-b", "a.b", "ab"):
            lab.fake.make(name, ["x"])
        store = lab.open()
        assert [e.path for e in store.scan("")] == ["a-b", "a.b", "a", "ab"]
        assert all(e.is_dir and e.stored_ns for e in store.scan(""))
        assert [e.path for e in walked(store, "")] == ["a-b", "a-b/x", "a.b", "a.b/x", "a", "a/x", "ab", "ab/x"]

    def test_pages_of_buckets_are_followed(self, lab):
        def split(request, answer):
            token = b"<ContinuationToken>t</ContinuationToken>" if "continuation-token" not in request.query else b""
            name = b"one" if token else b"two"
            return replace(
                answer,
                body=b"<ListAllMyBucketsResult><Buckets><Bucket><Name>" + name + b"</Name></Bucket></Buckets>"
                + token + b"</ListAllMyBucketsResult>",
            )  # fmt: skip

        lab.fake.change("ListBuckets", split, times=2)
        assert [e.path for e in lab.open().scan("")] == ["one", "two"]

    def test_buckets_without_an_end_are_refused(self, lab):
        body = (
            b"<ListAllMyBucketsResult><Buckets><Bucket><Name>%d</Name></Bucket></Buckets>"
            b"<ContinuationToken>t</ContinuationToken></ListAllMyBucketsResult>"
        )
        numbers = itertools.count()
        lab.fake.change("ListBuckets", lambda request, answer: replace(answer, body=body % next(numbers)), times=100)
        with pytest.raises(ListingError):
            list(lab.open().scan(""))
        assert lab.fake.ops["ListBuckets"] <= 3


class TestTree:
    """What has a name, file or directory, out of one listing."""

    @pytest.mark.parametrize("page", [1, 2, 3, 1000])
    @pytest.mark.parametrize(
        "keys",
        [
            ["d"], ["d/a"], ["d/"], ["d", "d/a", "d/b/c"], ["d/", "d/a"], ["d", "d/"],
            ["c", "d", "d!", "d-1", "d-2", "d.txt", "d/a", "d/b/c", "d0", "d0/x", "dé", "e"],
            ["d-1/x", "d-1/y", "d-1/z", "d/a", "d/b", "dd"], ["d-1", "d-2", "d/a/", "d/a/b", "d0"],
            ["d/a", "d/é", "d\U0001f600"],
        ],
        ids=" ".join,
    )  # fmt: skip
    def test_it_is_what_stat_and_walk_say_and_nothing_beside_it(self, new_lab, keys, page):
        lab = new_lab(Habits(page=page))
        lab.fake.make("bucket", keys, data=b"")
        store = lab.open()
        expected = [("bucket/d", "file")] if "d" in keys else []
        if any(key.startswith("d/") for key in keys):
            expected += [("bucket/d", "directory"), *((e.path, e.kind.value) for e in store.walk("bucket/d"))]
        found = list(store.tree("bucket/d"))
        assert [(e.path, e.kind.value) for e in found] == expected
        marked = [e.stored_ns is not None for e in found if e.path == "bucket/d" and e.is_dir]
        assert marked == ["d/" in keys] * len(marked)

    @pytest.mark.parametrize("keys", [[], ["d-1", "d.x", "d0", "dd/x", "c"]], ids=["no keys", "names beside it"])
    def test_where_there_is_nothing_one_request_says_so(self, lab, keys):
        lab.fake.make("bucket", keys)
        with pytest.raises(NotFound, match="nor a directory"):
            list(lab.open().tree("bucket/d"))
        assert sum(lab.requests.values()) == 1

    def test_a_bucket_that_is_not_there_is_not_found(self, lab):
        for path in ("nowhere", "nowhere/d"):
            with pytest.raises(NotFound, match="no such bucket"):
                list(lab.open().tree(path))

    def test_of_5000_it_is_five_requests(self, lab):
        lab.fake.make("bucket", [f"d/{i // 100:03}/f{i:05}" for i in range(5000)])
        assert len(list(lab.open().tree("bucket/d"))) == 5051
        assert sum(lab.requests.values()) == 5

    def test_many_names_beside_it_cost_one_page(self, lab):
        lab.fake.make("bucket", [f"d-{i:05}" for i in range(5000)] + ["d/a"])
        assert [e.path for e in lab.open().tree("bucket/d")] == ["bucket/d", "bucket/d/a"]
        assert sum(lab.requests.values()) == 2


class TestPages:
    def test_a_no_op_listing_of_5000_in_50_directories_is_five_requests(self, lab):
        lab.fake.make("bucket", (f"d{i // 100:03}/f{i:05}" for i in range(5000)))
        assert len(list(lab.open().walk("bucket"))) == 5050
        assert sum(lab.requests.values()) == 5

    def test_one_page_is_one_request(self, lab):
        lab.fake.make("bucket", [f"f{i}" for i in range(1000)])
        assert len(list(lab.open().walk("bucket"))) == 1000
        assert sum(lab.requests.values()) == 1

    def test_pages_are_fetched_as_they_are_needed(self, lab):
        lab.fake.make("bucket", [f"f{i:04}" for i in range(3000)])
        listing = lab.open().walk("bucket")
        next(listing)
        assert lab.requests["ListObjectsV2"] == 1

    @pytest.mark.parametrize("path", ["bucket/d", "bucket"])
    @pytest.mark.parametrize("call", ["scan", "walk"])
    def test_pages_that_come_again_are_an_error(self, new_lab, call, path):
        lab = new_lab(Habits(page=2))
        lab.fake.make("bucket", [f"d/f{i}" for i in range(6)] + [f"e{i}/x" for i in range(6)])
        store = lab.open()
        first = []

        def same(request, answer):
            first.append(answer)
            return first[0]

        lab.fake.change("ListObjectsV2", same, times=100)
        with pytest.raises(ListingError):
            list(getattr(store, call)(path))
        assert lab.requests["ListObjectsV2"] <= 3

    def test_ever_new_tokens_with_the_same_entries_are_an_error(self, new_lab):
        lab = new_lab(Habits(page=2))
        lab.fake.make("bucket", [f"d/f{i}" for i in range(6)])
        numbers = itertools.count()
        first = []

        def same(request, answer):
            first.append(answer)
            token = f"<NextContinuationToken>{token_of(str(next(numbers)))}<".encode()
            return replace(first[0], body=re.sub(rb"<NextContinuationToken>[^<]*<", token, first[0].body))

        lab.fake.change("ListObjectsV2", same, times=100)
        with pytest.raises(ListingError, match="not in order"):
            list(lab.open().walk("bucket/d"))
        assert lab.requests["ListObjectsV2"] == 2

    def test_empty_pages_without_an_end_are_an_error_and_one_is_not(self, new_lab):
        lab = new_lab(Habits(page=2))
        lab.fake.make("bucket", [f"f{i}" for i in range(4)])

        def emptied(request, answer):
            body = re.sub(rb"<Contents>.*</Contents>", b"", answer.body)
            return replace(answer, body=re.sub(rb"<KeyCount>\d+", b"<KeyCount>0", body))

        store = lab.open()
        lab.fake.change("ListObjectsV2", emptied, times=1)
        assert [e.path for e in store.walk("bucket")] == ["bucket/f2", "bucket/f3"]
        lab.fake.make("bucket", [f"f{i}" for i in range(20)])
        lab.fake.change("ListObjectsV2", emptied, times=2)
        with pytest.raises(ListingError, match="two pages without entries"):
            list(store.walk("bucket"))

    def test_the_second_page_failing_fails_the_listing(self, new_lab):
        lab = new_lab(Habits(page=2), transport="requests")
        lab.fake.make("bucket", [f"f{i}" for i in range(4)])
        store = lab.open()
        lab.fake.fail("ListObjectsV2", (403, "AccessDenied"), skip=1)
        seen = []
        with pytest.raises(PermissionDenied):
            seen.extend(store.walk("bucket"))


@pytest.fixture
def slow(monkeypatch):
    """Every listing counts as slow from its second page on."""
    monkeypatch.setattr(flat, "SERIAL_PAGES", 2)
    monkeypatch.setattr(flat, "SERIAL_SECONDS", 0.0)
    monkeypatch.setattr(flat, "SLOW_PAGE", 0.0)


@pytest.mark.usefixtures("slow")
class TestParallel:
    def check(self, lab, path="bucket"):
        """The same entries in the same order as one page after the other would give."""
        store = lab.open()
        entries = walked(store, path)
        files = {e.path for e in entries if not e.is_dir}
        prefix = path.partition("/")[2]
        expected = {
            f"bucket/{key}"
            for key, stored in lab.fake.buckets["bucket"].items()
            if (not prefix or key.startswith(prefix + "/")) and not (key.endswith("/") and "//" not in key)
        }
        assert files == expected
        directories = {e.path for e in entries if e.is_dir}
        for file in files:
            parent = file.rpartition("/")[0]
            while len(parent) > len(path):
                assert parent in directories or "//" in file
                parent = parent.rpartition("/")[0]
        return entries

    @pytest.mark.parametrize("page", [1, 2, 7, 100])
    def test_all_shapes_of_trees(self, new_lab, monkeypatch, page):
        monkeypatch.setattr(flat, "PAGE", page)
        dice = random.Random(page)
        shapes = [
            [f"flat{i:04}" for i in range(300)],
            [f"d{i // 10:03}/f{i}" for i in range(300)],
            [f"one/two/three/d{i // 10:03}/e{i % 3}/f{i}" for i in range(300)],
            [f"{'/'.join(dice.choices('abc', k=dice.randrange(1, 7)))}{i}" for i in range(300)],
            [f"top{i}" for i in range(50)] + [f"m/{i}" for i in range(150)] + [f"z{i}/x" for i in range(100)],
        ]
        for keys in shapes:
            lab = new_lab(Habits(page=page))
            lab.fake.make("bucket", keys if page > 2 else keys[::4])
            self.check(lab)

    def test_markers_odd_keys_and_cuts_that_are_keys(self, new_lab, monkeypatch):
        monkeypatch.setattr(flat, "PAGE", 3)
        lab = new_lab(Habits(page=3))
        lab.fake.make("bucket", [f"d{i}/" for i in range(30)], b"")
        lab.fake.make("bucket", [f"d{i}/x" for i in range(0, 30, 3)])
        lab.fake.make("bucket", ODD, b"")
        lab.fake.make("bucket", [f"d7/{key}" for key in ODD if not key.startswith("/")], b"")
        self.check(lab)
        self.check(lab, "bucket/d7")

    def test_costs_little_more_than_the_pages(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket", [f"d{i // 100:03}/f{i:05}" for i in range(20_000)])
        assert len(self.check(lab)) == 20_200
        assert lab.requests["ListObjectsV2"] <= 30

    def test_a_service_that_ignores_start_after_is_refused(self, new_lab, monkeypatch):
        monkeypatch.setattr(flat, "PAGE", 5)
        lab = new_lab(Habits(page=5, start_after=False))
        lab.fake.make("bucket", [f"d{i // 10:03}/f{i:05}" for i in range(300)])
        with pytest.raises(ListingError):
            list(lab.open().walk("bucket"))

    def test_a_failing_range_fails_the_listing(self, new_lab, monkeypatch):
        monkeypatch.setattr(flat, "PAGE", 5)
        for skip in (2, 3, 5, 20):
            lab = new_lab(Habits(page=5))
            lab.fake.make("bucket", [f"d{i // 10:03}/f{i:05}" for i in range(300)])
            lab.fake.fail("ListObjectsV2", (403, "AccessDenied"), skip=skip)
            with pytest.raises(PermissionDenied):
                list(lab.open().walk("bucket"))

    def test_may_be_abandoned(self, new_lab, monkeypatch):
        monkeypatch.setattr(flat, "PAGE", 5)
        lab = new_lab(Habits(page=5))
        lab.fake.make("bucket", [f"d{i // 10:03}/f{i:05}" for i in range(300)])
        store = lab.open()
        listing = store.walk("bucket")
        for _ in range(40):
            next(listing)
        listing.close()
        assert len(list(store.scan("bucket"))) == 30


class TestRetries:
    def test_a_passing_failure_of_a_page_is_not_seen(self, lab):
        lab.fake.make("bucket", ["x"])
        store = lab.open()
        lab.fake.fail("ListObjectsV2", (500, "InternalError"), times=2)
        assert [e.path for e in store.walk("bucket")] == ["bucket/x"]

    def test_an_error_under_200_that_passes_is_not_seen(self, lab):
        lab.fake.make("bucket", ["x"])
        store = lab.open()
        answer = replace(lab.fake.error(200, "InternalError"), status=200)
        lab.fake.fail("ListObjectsV2", answer)
        assert [e.path for e in store.walk("bucket")] == ["bucket/x"]

    def test_a_proxy_page_under_503_is_temporary(self, new_lab):
        lab = new_lab(transport="requests")
        lab.fake.make("bucket", ["x"])
        store = lab.open()
        store._service.client.schedule.policy = replace(store._service.client.policy, attempts=1)
        lab.fake.fail(
            "ListObjectsV2", FakeResponse(503, (("Content-Type", "text/html"),), b"<html>busy</html>"), times=9
        )
        with pytest.raises(TemporaryError):
            list(store.walk("bucket"))
