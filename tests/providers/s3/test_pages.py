"""Decoders of listings: what is right is read, by either way alike; what may be wrong is an error."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cftool.core.errors import ListingError, NotFound, ProtocolError
from cftool.http.types import Response
from cftool.testing.fake_s3 import FakeS3, Habits
from cftool.testing.http_fake import FakeRequest
from cftool_providers.s3 import _pages
from cftool_providers.s3._pages import Expected

from .mutations import MUTATIONS

ASKED = Expected("bucket", "d/", "", 1000)


def good_page(habits: Habits | None = None, keys=("d/a b+c", "d/b/c", "d/é")) -> Response:
    fake = FakeS3(habits)
    fake.public = True
    fake.make("bucket", keys, b"12345")
    return as_response(fake.handle(_request("encoding-type=url&list-type=2&prefix=d%2F")))


def _request(query: str) -> FakeRequest:
    return FakeRequest("GET", "http", "s3.test", f"/bucket?{query}", {"host": "s3.test"})


def as_response(answer) -> Response:
    return Response(answer.status, {n.lower(): v for n, v in answer.headers}, answer.body)


class TestPage:
    @pytest.mark.parametrize(
        "habits",
        [
            Habits(),
            Habits(plus_for_blank=False),
            Habits(indent=True, bare_etags=True),
            Habits(pretty_order=True),
            Habits(encoding=False),
            Habits(pretty_order=True, indent=True, plus_for_blank=False),
        ],
        ids=str,
    )
    def test_all_layouts_say_the_same(self, habits):
        page = _pages.page(good_page(habits), ASKED)
        assert [(key.key, key.size) for key in page.keys] == [("d/a b+c", 5), ("d/b/c", 5), ("d/é", 5)]
        assert page.keys[0].etag == "827ccb0eea8a706c4c34a16891f84e7b"
        assert page.keys[0].stored_ns == 1_700_000_001_000_000_000
        assert (page.prefixes, page.token) == ([], None)

    def test_fractions_of_the_time_are_dropped_as_head_drops_them(self):
        answer = good_page()
        answer.body = answer.body.replace(b"21.000Z", b"21.987Z")
        assert _pages.page(answer, ASKED).keys[0].stored_ns == 1_700_000_001_000_000_000

    def test_an_empty_page_is_complete_without_a_count(self):
        assert _pages.page(good_page(Habits(omit_zero_count=True), keys=()), ASKED).keys == []

    def test_a_missing_prefix_is_right_only_where_none_was_asked_for(self):
        answer = good_page()
        answer.body = answer.body.replace(b"<Prefix>d/</Prefix>", b"")
        assert len(_pages.page(answer, Expected("bucket", "", "", 1000)).keys) == 3
        with pytest.raises(ListingError):
            _pages.page(answer, ASKED)

    def test_keys_that_are_no_utf8_keep_their_bytes_and_their_order(self):
        keys = ["d/\udc80", "d/\U0001f600", "d/\udcff"]
        keys.sort(key=lambda key: key.encode("utf-8", "surrogateescape"))
        page = _pages.page(good_page(keys=keys), ASKED)
        assert [key.key for key in page.keys] == keys

    def test_the_type_of_storage_and_checksums_do_not_matter(self):
        answer = good_page()
        answer.body = answer.body.replace(
            b"<Size>", b"<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>"
        )
        assert len(_pages.page(answer, ASKED).keys) == 3
        answer.body = answer.body.replace(b"</Contents>", b"<Owner><ID>1</ID></Owner></Contents>")
        assert len(_pages.page(answer, ASKED).keys) == 3

    @pytest.mark.parametrize("habits", [Habits(), Habits(pretty_order=True)], ids=["fast", "slow"])
    @pytest.mark.parametrize("name", MUTATIONS)
    def test_no_mutation_of_a_good_page_is_believed(self, name, habits):
        fake = FakeS3(habits)
        fake.public = True
        fake.make("bucket", ("d/a", "d/b", "d/c"))
        answer = fake.handle(_request("encoding-type=url&list-type=2&prefix=d%2F"))
        _pages.page(as_response(answer), ASKED)
        with pytest.raises(ListingError):
            _pages.page(as_response(MUTATIONS[name](answer)), ASKED)

    def test_deep_nesting_is_refused(self):
        body = b"<ListBucketResult>" + b"<x>" * 5000 + b"</x>" * 5000 + b"</ListBucketResult>"
        with pytest.raises(ListingError, match="nested too deep"):
            _pages.page(Response(200, {"content-type": "application/xml"}, body), ASKED)

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_a_damaged_page_is_an_error_or_says_the_same(self, data):
        """Cut or flipped anywhere, a page never turns into a shorter listing that is believed."""
        answer = good_page()
        at = data.draw(st.integers(0, len(answer.body) - 1))
        if data.draw(st.booleans()):
            answer.body = answer.body[:at]
        else:
            flip = data.draw(st.integers(1, 255))
            answer.body = answer.body[:at] + bytes([answer.body[at] ^ flip]) + answer.body[at + 1 :]
        try:
            page = _pages.page(answer, ASKED)
        except ListingError:
            return
        assert len(page.keys) == 3

    def test_fast_and_slow_way_agree_on_any_keys(self):
        dice = random.Random(20)
        alphabet = "abz AB09+%&<>'\"/~\t\n\r\x01\x1f\x7fé日😀#?;=@,"
        for _ in range(200):
            keys = {"d/" + "".join(dice.choices(alphabet, k=dice.randrange(12))) for _ in range(dice.randrange(9))}
            fast = _pages.page(good_page(Habits(), keys), ASKED)
            slow = _pages.page(good_page(Habits(pretty_order=True, plus_for_blank=False), keys), ASKED)
            assert fast == slow
            assert {key.key for key in fast.keys} == keys


class TestDelimited:
    ASKED = Expected("bucket", "d/", "/", 1000)

    def page(self) -> Response:
        fake = FakeS3()
        fake.public = True
        fake.make("bucket", ("d/a", "d/b/1", "d/b/2", "d/c d/e"))
        return as_response(fake.handle(_request("delimiter=%2F&encoding-type=url&list-type=2&prefix=d%2F")))

    def test_prefixes_are_decoded(self):
        page = _pages.page(self.page(), self.ASKED)
        assert [key.key for key in page.keys] == ["d/a"]
        assert page.prefixes == ["d/b/", "d/c d/"]

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"<Prefix>d/b/</Prefix></CommonPrefixes>", b"<Prefix>e/b/</Prefix></CommonPrefixes>"),
            (b"<Prefix>d/b/</Prefix></CommonPrefixes>", b"<Prefix>d/b</Prefix></CommonPrefixes>"),
            (b"<Prefix>d/b/</Prefix></CommonPrefixes>", b"<Prefix>d/</Prefix></CommonPrefixes>"),
            (b"<Prefix>d/b/</Prefix></CommonPrefixes>", b"</CommonPrefixes>"),
            (b"<Prefix>d/b/</Prefix></CommonPrefixes>", b"<Prefix>d/z/</Prefix></CommonPrefixes>"),
            (b"<CommonPrefixes><Prefix>d/b/</Prefix></CommonPrefixes>", b""),
            (b"<Delimiter>/</Delimiter>", b"<Delimiter>b</Delimiter>"),
        ],
    )
    def test_doubtful_prefixes_are_refused(self, old, new):
        good = self.page()
        assert old in good.body
        good.body = good.body.replace(old, new)
        with pytest.raises(ListingError):
            _pages.page(good, self.ASKED)


def xml(body: bytes) -> Response:
    return Response(200, {"content-type": "application/xml"}, body)


class TestBuckets:
    def test_names_and_times(self):
        body = (
            b"<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name><CreationDate>2026-01-01T00:00:00Z</CreationDate>"
            b"</Bucket><Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>"
        )
        assert _pages.buckets(xml(body)) == ([("a", 1_767_225_600_000_000_000), ("b", None)], None)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html/>",
            b"<ListAllMyBucketsResult/>",
            b"<ListAllMyBucketsResult><Buckets><Bucket/></Buckets></ListAllMyBucketsResult>",
            b"<ListAllMyBucketsResult><Buckets><Bucket><Name>a/b</Name></Bucket></Buckets></ListAllMyBucketsResult>",
            b"<ListAllMyBucketsResult><Buckets><Bucket><Name>..</Name></Bucket></Buckets></ListAllMyBucketsResult>",
            b"<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name>",
        ],
    )
    def test_doubtful_lists_are_refused(self, body):
        with pytest.raises(ListingError):
            _pages.buckets(xml(body))


class TestParts:
    def test_a_page_of_parts(self):
        body = (
            b"<ListPartsResult><UploadId>u</UploadId><IsTruncated>true</IsTruncated>"
            b"<NextPartNumberMarker>1</NextPartNumberMarker><Part><PartNumber>1</PartNumber><Size>5</Size>"
            b'<ETag>"e"</ETag><ChecksumCRC32>AAAA</ChecksumCRC32></Part></ListPartsResult>'
        )
        parts, marker = _pages.parts(body, "u")
        assert parts == [_pages.Part(1, 5, '"e"', {"crc32": "AAAA"})]
        assert marker == "1"

    @pytest.mark.parametrize(
        "body",
        [
            b"<ListPartsResult><UploadId>other</UploadId></ListPartsResult>",
            b"<ListPartsResult><Part><PartNumber>x</PartNumber><Size>5</Size><ETag>e</ETag></Part></ListPartsResult>",
            b"<ListPartsResult><Part><PartNumber>1</PartNumber><Size>5</Size></Part></ListPartsResult>",
            b"<ListPartsResult><IsTruncated>true</IsTruncated></ListPartsResult>",
            b"<Error><Code>x</Code></Error>",
        ],
    )
    def test_doubtful_parts_are_refused(self, body):
        with pytest.raises(ProtocolError):
            _pages.parts(body, "u")

    @pytest.mark.parametrize(
        "body",
        [
            b"<ListMultipartUploadsResult><Upload><Key>k</Key></Upload></ListMultipartUploadsResult>",
            b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>",
        ],
    )
    def test_doubtful_uploads_are_refused(self, body):
        with pytest.raises(ProtocolError):
            _pages.uploads(body)


class TestThroughTheStore:
    """The same answers, as a store meets them: scan, walk and stat raise, and see no empty directory."""

    @pytest.mark.parametrize("name", MUTATIONS)
    def test_walk_and_scan_fail(self, new_lab, name):
        lab = new_lab()
        lab.fake.make("bucket", ("d/a", "d/b", "d/c"))
        store = lab.open()
        lab.fake.change("ListObjectsV2", lambda request, answer: MUTATIONS[name](answer), times=100)
        for listing in (store.walk, store.scan):
            with pytest.raises(ProtocolError) as caught:
                list(listing("bucket/d"))
            assert not isinstance(caught.value, NotFound)
