"""Listings: what is refused, what becomes of odd keys, and pages in parallel."""

import json
import random
from itertools import pairwise

import pytest

from cftool.core.errors import ConfigError, ListingError, NotADirectory, NotFound, PermissionDenied
from cftool.core.paths import entry_key
from cftool.core.types import Kind
from cftool.http import flat
from cftool.testing.fake_gs import Habits
from cftool.testing.http_fake import FakeResponse
from cftool_providers.gs import _listing

from .mutations import JSON, XML

ODD = ["/lead", "a//b", "a/", "a/b", "b//", "c/d//e/f", "e", "e/f", "full/", "z z/+%/ä&<>\"'", "#?;", "..", "./x"]


def walked(store, path="bucket"):
    entries = list(store.walk(path))
    keys = [entry_key(entry) for entry in entries]
    assert all(a < b for a, b in pairwise(keys)), "not in order, or twice"
    return entries


def check(lab, mutation):
    lab.fake.make("bucket", ["d/a", "d/b", "d/c", "other"])
    store = lab.open()
    list(store.walk("bucket/d"))
    for listing in (store.walk, store.scan):
        lab.fake.change("objects.list", lambda request, answer: mutation(answer))
        if listing == store.scan and mutation in UNDELIMITED:
            with pytest.raises(ListingError):
                list(store.walk("bucket/d"))
            continue
        with pytest.raises(ListingError):
            list(listing("bucket/d"))
    assert len(list(store.walk("bucket/d"))) == 3


# With a delimiter these are right answers.
UNDELIMITED = [JSON["prefixes that nobody asked for"], XML["a common prefix that nobody asked for"]]


@pytest.mark.parametrize("name", JSON)
def test_a_wrong_answer_in_json_is_an_error(new_lab, name):
    check(new_lab(), JSON[name])


@pytest.mark.parametrize("name", XML)
def test_a_wrong_answer_in_xml_is_an_error(new_lab, name):
    check(new_lab(xml=True), XML[name])


class TestPages:
    def test_all_pages_are_read(self, new_lab):
        for xml in (False, True):
            lab = new_lab(Habits(page=7), xml=xml)
            lab.fake.make("bucket", [f"d{n // 10}/f{n:03}" for n in range(100)])
            entries = walked(lab.open())
            assert [e.kind for e in entries].count(Kind.FILE) == 100
            assert sorted(e.path for e in lab.open().scan("bucket")) == [f"bucket/d{n}" for n in range(10)]

    def test_a_token_that_comes_twice_is_an_error(self, new_lab):
        lab = new_lab(Habits(page=2))
        lab.fake.make("bucket", ["a", "b", "c", "d", "e"])
        first = []

        def repeat(request, answer):
            first.append(answer.body)
            return FakeResponse(200, answer.headers, first[0])

        lab.fake.change("objects.list", repeat, times=10)
        with pytest.raises(ListingError):
            list(lab.open().walk("bucket"))

    def test_pages_without_end_or_entries_are_an_error(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        numbers = iter(range(100))

        def empty(request, answer):
            body = {"kind": "storage#objects", "nextPageToken": f"t{next(numbers)}"}
            return FakeResponse(200, answer.headers, json.dumps(body).encode())

        lab.fake.change("objects.list", empty, times=50)
        with pytest.raises(ListingError):
            list(lab.open().walk("bucket"))
        assert lab.fake.ops["objects.list"] < 5

    def test_one_empty_page_in_the_middle_is_none(self, new_lab):
        lab = new_lab(Habits(page=2))
        lab.fake.make("bucket", ["a", "b", "c"])

        def empty(request, answer):
            body = json.loads(answer.body)
            del body["items"]
            body["nextPageToken"] = "AA=="
            return FakeResponse(200, answer.headers, json.dumps(body).encode())

        lab.fake.change("objects.list", empty)
        assert len(walked(lab.open())) == 3

    def test_the_second_page_failing_fails_the_listing(self, either):
        either.fake.make("bucket", [f"f{n:04}" for n in range(1500)])
        either.fake.fail("objects.list", (403, "forbidden"), skip=1)
        seen = []
        with pytest.raises(PermissionDenied):
            seen.extend(either.open().walk("bucket"))


class TestWhatIsThere:
    def test_odd_keys_are_plain_files(self, either):
        either.fake.make("bucket", ODD)
        either.fake.make("bucket", ["dir/"], b"")
        entries = walked(either.open())
        assert {e.path for e in entries if not e.is_dir} == {f"bucket/{key}" for key in ODD}
        assert {e.path for e in entries if e.is_dir} == {
            "bucket/.", "bucket/b", "bucket/c", "bucket/c/d", "bucket/dir", "bucket/e", "bucket/z z", "bucket/z z/+%",
        }  # fmt: skip
        store = either.open()
        for entry in entries:
            if not entry.is_dir:
                with store.read(entry.path) as download:
                    assert download.read() == b"x"

    def test_a_file_a_directory_and_nothing_are_told_apart(self, either):
        either.fake.make("bucket", ["file", "dir/x"])
        store = either.open()
        for listing in (store.scan, store.walk):
            with pytest.raises(NotADirectory):
                list(listing("bucket/file"))
            with pytest.raises(NotFound):
                list(listing("bucket/none"))
            with pytest.raises(NotFound):
                list(listing("nobucket"))
        assert store.stat("bucket/dir").is_dir
        assert store.stat("bucket").is_dir
        for path in ("bucket/none", "nobucket", "nobucket/x"):
            with pytest.raises(NotFound):
                store.stat(path)

    def test_a_404_without_a_word_is_no_missing_bucket(self, either):
        either.fake.make("bucket", ["a"])
        either.fake.fail("objects.list", FakeResponse(404))
        with pytest.raises(ListingError):
            list(either.open().walk("bucket"))

    def test_the_root_lists_the_buckets(self, either):
        for name in ("b-2", "a.1", "a-1"):
            either.fake.make(name)
        assert [entry.path for entry in either.open().scan("")] == ["a-1", "a.1", "b-2"]
        assert [entry.path for entry in either.open(project="p-1").walk("")] == ["a-1", "a.1", "b-2"]

    def test_buckets_need_a_project(self, new_lab):
        lab = new_lab()
        lab.fake.public = True
        with pytest.raises(ConfigError, match="project"):
            list(lab.open(service_account_file=None, anonymous=True).scan(""))

    def test_many_buckets_come_in_pages(self, new_lab):
        lab = new_lab(Habits(page=3))
        for n in range(10):
            lab.fake.make(f"bucket-{n}")
        assert len(list(lab.open().scan(""))) == 10

    def test_a_wrong_list_of_buckets_is_an_error(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        for body in (b"{}", b'{"kind": "storage#objects"}', b"", b'{"kind": "storage#buckets", "items": [{}]}'):
            answer = FakeResponse(200, (("Content-Type", "application/json"),), body)
            lab.fake.fail("buckets.list", answer)
            with pytest.raises(ListingError):
                list(lab.open().scan(""))

    def test_a_listing_carries_all_that_stat_knows(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket", ["f"], b"12", metadata={"mtime": "2020-01-02T03:04:05.123456789Z"})
        [entry] = lab.open().scan("bucket")
        assert entry == lab.open().stat("bucket/f")
        assert (entry.modified_ns, entry.size, set(entry.hashes)) == (1577934245123456789, 2, {"md5", "crc32c"})


@pytest.fixture
def slow(monkeypatch):
    """Every listing counts as slow from its second page on."""
    monkeypatch.setattr(_listing, "SERIAL_PAGES", 2)
    monkeypatch.setattr(flat, "SERIAL_SECONDS", 0.0)
    monkeypatch.setattr(flat, "SLOW_PAGE", 0.0)


@pytest.mark.usefixtures("slow")
class TestParallel:
    @pytest.mark.parametrize("page", [2, 7, 100])
    @pytest.mark.parametrize("xml", [False, True], ids=["json", "xml"])
    def test_all_shapes_of_trees(self, new_lab, monkeypatch, page, xml):
        monkeypatch.setattr(flat, "PAGE", page)
        dice = random.Random(page)
        shapes = [
            [f"flat{i:04}" for i in range(200)],
            [f"d{i // 10:03}/f{i}" for i in range(200)],
            [f"one/two/d{i // 10:03}/e{i % 3}/f{i}" for i in range(200)],
            [f"{'/'.join(dice.choices('abc', k=dice.randrange(1, 7)))}{i}" for i in range(200)],
            [f"d{i}/x" for i in range(0, 60, 3)] + ODD,
        ]
        for keys in shapes:
            lab = new_lab(Habits(page=page), xml=xml)
            lab.fake.make("bucket", keys if page > 2 else keys[::3])
            files = {e.path for e in walked(lab.open()) if not e.is_dir}
            assert files == {f"bucket/{key}" for key in lab.fake.buckets["bucket"]}

    def test_costs_little_more_than_the_pages(self, either):
        either.fake.make("bucket", [f"d{i // 100:03}/f{i:05}" for i in range(20_000)])
        assert len(walked(either.open())) == 20_200
        assert either.requests["objects.list"] <= 30

    def test_a_service_that_ignores_the_offset_is_refused(self, new_lab, monkeypatch):
        monkeypatch.setattr(flat, "PAGE", 5)
        for xml in (False, True):
            lab = new_lab(Habits(page=5, offset=False), xml=xml)
            lab.fake.make("bucket", [f"d{i // 10:03}/f{i:05}" for i in range(300)])
            with pytest.raises(ListingError):
                list(lab.open().walk("bucket"))
