"""The pieces without I/O: times, hashes, ETags, error answers, XML."""

import pytest

from cftool.core import errors
from cftool.http import xml as _xml
from cftool.http.types import Response, Verdict
from cftool_providers.s3 import _errors, _objects


class TestTimes:
    @pytest.mark.parametrize(
        ("ns", "text"),
        [
            (0, "0.000000000"),
            (1, "0.000000001"),
            (1_700_000_000_123_456_789, "1700000000.123456789"),
            (-1, "-0.000000001"),
            (-1_500_000_000, "-1.500000000"),
        ],
    )
    def test_travel_exactly(self, ns, text):
        assert _objects.format_time(ns) == text
        assert _objects.parse_time(text) == ns

    @pytest.mark.parametrize(
        ("text", "ns"),
        [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1.5", 1_500_000_000),
            ("1.1234567891", 1_123_456_789),
            (" 7 ", 7_000_000_000),
            ("", None),
            (None, None),
            ("1.", None),
            (".5", None),
            ("2026-01-01T00:00:00Z", None),
            ("nan", None),
            ("1e9", None),
            ("1" * 40, None),
            ("\u0661", 1_000_000_000),
        ],
    )
    def test_of_others_are_read_or_ignored(self, text, ns):
        assert _objects.parse_time(text) == ns


class TestHashes:
    MD5 = "5d41402abc4b2a76b9719d911017c592"
    BASE64 = "XUFAKrxLKna5cZ2REBfFkg=="

    @pytest.mark.parametrize(
        ("headers", "found"),
        [
            ({"etag": f'"{MD5}"'}, {"md5": MD5}),
            ({"etag": MD5}, {"md5": MD5}),
            ({"etag": f'"{MD5}-2"'}, {}),
            ({"etag": f'"{MD5}"', "x-amz-server-side-encryption": "AES256"}, {"md5": MD5}),
            ({"etag": f'"{MD5}"', "x-amz-server-side-encryption": "aws:kms"}, {}),
            ({"etag": f'"{MD5}"', "x-amz-server-side-encryption": "aws:kms:dsse"}, {}),
            ({"etag": f'"{MD5}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, {}),
            ({"etag": f'"{MD5}-2"', "x-amz-meta-md5chksum": BASE64}, {"md5": MD5}),
            ({"etag": '"x"', "x-amz-meta-md5chksum": "junk"}, {}),
            ({"x-amz-checksum-crc32": "AAAAAQ=="}, {"crc32": "00000001"}),
            ({"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-checksum-type": "COMPOSITE"}, {}),
            ({"x-amz-checksum-crc32": "AAAAAQ==-2"}, {}),
            ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAE="}, {"crc64nvme": "0000000000000001"}),
            ({"x-amz-checksum-sha256": "AAAA"}, {}),
            ({}, {}),
        ],
    )
    def test_only_those_of_the_whole_content_count(self, headers, found):
        assert dict(_objects.hashes(headers)) == found


class TestErrors:
    def of(self, status, body=b"", **headers):
        return _errors.error(Response(status, headers, body), body, host="s3.test", path="b/k")

    @staticmethod
    def xml(code, message="words"):
        return f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (404, "NoSuchKey", errors.NotFound),
            (404, "NoSuchBucket", errors.NotFound),
            (403, "AccessDenied", errors.PermissionDenied),
            (403, "InvalidAccessKeyId", errors.LoginRequired),
            (403, "SignatureDoesNotMatch", errors.LoginRequired),
            (400, "ExpiredToken", errors.LoginRequired),
            (403, "RequestTimeTooSkewed", errors.LoginRequired),
            (503, "SlowDown", errors.RateLimited),
            (500, "InternalError", errors.TemporaryError),
            (412, "PreconditionFailed", errors.PreconditionFailed),
            (400, "EntityTooLarge", errors.TooLarge),
            (507, "XMinioStorageFull", errors.QuotaExceeded),
            (403, "QuotaExceeded", errors.QuotaExceeded),
            (400, "BadDigest", errors.IntegrityError),
            (409, "BucketNotEmpty", errors.DirectoryNotEmpty),
            (403, "InvalidObjectState", errors.Unsupported),
            (400, "SomethingNew", errors.StoreError),
            (403, "SomethingNew", errors.PermissionDenied),
            (500, "SomethingNew", errors.TemporaryError),
        ],
    )
    def test_codes(self, status, code, kind):
        error = self.of(status, self.xml(code))
        assert type(error) is kind
        assert error.path == "b/k"
        assert "\n" not in str(error)

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (404, errors.NotFound),
            (401, errors.LoginRequired),
            (403, errors.PermissionDenied),
            (412, errors.PreconditionFailed),
            (429, errors.RateLimited),
            (500, errors.TemporaryError),
            (503, errors.TemporaryError),
            (400, errors.ProtocolError),
            (301, errors.ProtocolError),
        ],
    )
    def test_statuses_without_a_body(self, status, kind):
        assert type(self.of(status)) is kind

    @pytest.mark.parametrize("status", [200, 301, 400, 403, 404, 500])
    def test_pages_that_are_no_s3_are_protocol_errors(self, status):
        for body in (b"<html>x</html>", b"<!DOCTYPE html><p>", b"nothing at all", b"{}", b"<Error", b"<Error></Error>"):
            error = self.of(status, body)
            assert type(error) is errors.ProtocolError
            assert "s3.test" in str(error)
            assert str(status) in str(error)

    def test_what_the_service_says_cannot_drive_a_terminal(self):
        body = self.xml("New&#xA;Code", "a\x1b[31m\nb").replace(b"\x1b", "\x9b".encode())
        assert str(self.of(400, body)).isprintable()

    def test_retry_after_is_kept(self):
        assert self.of(503, b"", **{"retry-after": "7"}).retry_after == 7.0
        assert self.of(503, b"", **{"retry-after": "soon"}).retry_after is None

    @pytest.mark.parametrize(
        ("status", "body", "verdict"),
        [
            (200, b"", Verdict.ANSWER),
            (200, b"content", Verdict.ANSWER),
            (200, b"<Error><Code>InternalError</Code></Error>", Verdict.RETRY),
            (200, b"<Error><Code>SlowDown</Code></Error>", Verdict.SLOW_DOWN),
            (200, b"<Error><Code>AccessDenied</Code></Error>", Verdict.ANSWER),
            (200, b"a file about <Error><Code>InternalError</Code></Error>", Verdict.ANSWER),
            (301, b"", Verdict.ANSWER),
            (404, b"", Verdict.ANSWER),
            (412, b"", Verdict.ANSWER),
            (400, b"", Verdict.AUTH),
            (400, b"<Error><Code>ExpiredToken</Code></Error>", Verdict.AUTH),
            (400, b"<Error><Code>RequestTimeout</Code></Error>", Verdict.RETRY),
            (400, b"<Error><Code>InvalidRequest</Code></Error>", Verdict.ANSWER),
            (401, b"", Verdict.AUTH),
            (403, b"<Error><Code>AccessDenied</Code></Error>", Verdict.ANSWER),
            (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>", Verdict.AUTH),
            (409, b"<Error><Code>OperationAborted</Code></Error>", Verdict.RETRY),
            (429, b"", Verdict.SLOW_DOWN),
            (500, b"", Verdict.RETRY),
            (500, b"<Error><Code>Whatever</Code></Error>", Verdict.RETRY),
            (501, b"", Verdict.ANSWER),
            (503, b"<html>", Verdict.SLOW_DOWN),
            (503, b"<Error><Code>ServiceUnavailable</Code></Error>", Verdict.RETRY),
            (507, b"<Error><Code>XMinioStorageFull</Code></Error>", Verdict.ANSWER),
        ],
    )
    def test_verdicts(self, status, body, verdict):
        assert _errors.classify(status, {}, body) is verdict


class TestXml:
    def test_reads_text_through_references_and_sections(self):
        node = _xml.parse(b"<a><b>x &amp; <![CDATA[<y>]]></b></a>", "a")
        assert node.value("b") == "x & <y>"
        assert node.value("c") is None
        assert [child.name for child in node] == ["b"]

    @pytest.mark.parametrize("text", ["a&b<c>d", "cr\rlf\ntab\t", "é😀", "]]>"])
    def test_what_is_escaped_is_read_back(self, text):
        assert _xml.representable(text)
        assert _xml.parse(f"<a>{_xml.escape(text)}</a>".encode(), "a").text == text

    @pytest.mark.parametrize("text", ["\x00", "\x01", "\x1f", "\udcff", "\ufffe"])
    def test_what_xml_cannot_carry_is_known(self, text):
        assert not _xml.representable(text)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<a>",
            b"<b/>",
            b'<a xmlns="urn:other"/>',
            b"<!DOCTYPE a><a/>",
            b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
            b"<a>&undefined;</a>",
            b"<a/><a/>",
            b"\xff<a/>",
            b"<a>" + b"<b>" * 20 + b"</b>" * 20 + b"</a>",
        ],
    )
    def test_everything_doubtful_is_refused(self, body):
        with pytest.raises(errors.ProtocolError):
            _xml.parse(body, "a")
