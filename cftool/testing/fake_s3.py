"""An S3 service in memory: stateful, strict about what it is sent, and faulty on demand.

`FakeS3.handle` is the pure function that the front ends of `http_fake` want: behind a real socket or behind the mocked
`requests`. Strict means: a request without a right signature, with a header that should be signed and is not, or with a
body that is not what its headers say, is refused. Its variants (`Habits`) are what real services do differently. It
checks signatures with cftool's own signer, so it proves that what is signed is what is sent, not that AWS agrees: that
is the business of the tests that compare with botocore and talk to other servers.
"""

import base64
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import quote_plus, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from cftool.core import hashing
from cftool.http.sigv4 import Credentials, SigV4
from cftool.http.types import Request
from cftool.testing.fake_s3_pages import (
    NAMESPACE,
    Habits,
    Listing,
    Stored,
    answer_of,
    document,
    escaped,
    iso,
    metadata_of,
    operation_of,
    params_of,
    sum_headers,
    to_base64,
    with_headers,
)
from cftool.testing.http_fake import FakeRequest, FakeResponse

__all__ = ["ACCESS_KEY", "SECRET_KEY", "FakeS3", "Habits", "Stored", "Upload"]

ACCESS_KEY, SECRET_KEY = "FAKEKEY", "fake/secret+key"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_SUMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
_START = 1_700_000_000


@dataclass(slots=True)
class Upload:
    """One multipart upload."""

    bucket: str
    key: str
    headers: dict[str, str]
    when: int
    algorithm: str
    parts: dict[int, tuple[bytes, str, str]] = field(default_factory=dict)  # data, ETag, checksum


@dataclass(slots=True)
class _Rule:
    op: str
    key: str | None
    times: int
    skip: int
    act: Callable[[FakeRequest, FakeResponse], FakeResponse] | None
    instead: FakeResponse | None


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "", **more: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or code
        self.more = more


class FakeS3:
    """See the module. `buckets` maps names to keys to objects; tests look into it and change it at will."""

    def __init__(self, habits: Habits | None = None, *, region: str = "us-east-1", token: str = "") -> None:
        self.habits = habits or Habits()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}
        self.regions: dict[str, str] = {}  # of buckets that are not in `region`
        self.region = region
        self.public = False  # unsigned requests are served
        self.keys = {ACCESS_KEY: SECRET_KEY}
        self.token = token
        self.ops: Counter[str] = Counter()
        self.domain: str | None = None  # virtual-host style below this name
        self.log: list[tuple[str, str, str]] = []
        self.now = time.time  # for the end of presigned links
        self._rules: list[_Rule] = []
        self._clock = _START
        self._sequence = 0

    # ---- what tests arrange

    def make(self, bucket: str, keys: Iterable[str] = (), data: bytes = b"x") -> dict[str, Stored]:
        """A bucket with objects, past all checks."""
        objects = self.buckets.setdefault(bucket, {})
        for key in keys:
            objects[key] = self._object(data, {})
        return objects

    def fail(
        self,
        op: str,
        answer: FakeResponse | tuple[int, str],
        *,
        key: str | None = None,
        times: int = 1,
        skip: int = 0,
    ) -> None:
        """Answer `times` requests of this operation (after `skip`) with this in place of doing them."""
        if isinstance(answer, tuple):
            answer = self.error(*answer)
        self._rules.append(_Rule(op, key, times, skip, None, answer))

    def change(
        self,
        op: str,
        act: Callable[[FakeRequest, FakeResponse], FakeResponse],
        *,
        key: str | None = None,
        times: int = 1,
        skip: int = 0,
    ) -> None:
        """Do the operation, and have `act` change the answer."""
        self._rules.append(_Rule(op, key, times, skip, act, None))

    @staticmethod
    def error(status: int, code: str, message: str = "", **more: str) -> FakeResponse:
        """An <Error>."""
        extra = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in more.items())
        body = f"<Error><Code>{code}</Code><Message>{escape(message or code)}</Message>{extra}</Error>"
        return FakeResponse(status, (("Content-Type", "application/xml"),), document(body))

    # ---- the entrance

    def handle(self, request: FakeRequest) -> FakeResponse:
        """One request."""
        bucket, key = self._target(request)
        op = operation_of(request, bucket, key)
        self.ops[op] += 1
        self.log.append((op, bucket, key))
        rule = self._rule(op, key)
        if rule is not None and rule.instead is not None:
            return rule.instead
        try:
            self._authorise(request, bucket)
            answer = self._do(op, request, bucket, key)
        except _Refused as refusal:
            answer = self.error(refusal.status, refusal.code, refusal.message, **refusal.more)
            if refusal.status in {301, 400} and bucket in self.regions:
                answer = with_headers(answer, ("x-amz-bucket-region", self.regions[bucket]))
        if rule is not None and rule.act is not None:
            answer = rule.act(request, answer)
        return answer

    def _rule(self, op: str, key: str) -> _Rule | None:
        for rule in self._rules:
            if rule.op == op and rule.key in {None, key} and rule.times:
                if rule.skip:
                    rule.skip -= 1
                    continue
                rule.times -= 1
                return rule
        return None

    def _target(self, request: FakeRequest) -> tuple[str, str]:
        path = unquote(request.path[1:], errors="surrogateescape")
        host = request.host.partition(":")[0]
        if self.domain is not None and host.endswith("." + self.domain):
            return host[: -len(self.domain) - 1], path
        bucket, _, key = path.partition("/")
        return bucket, key

    def _authorise(self, request: FakeRequest, bucket: str) -> None:
        header = request.header("authorization")
        if header is None and "X-Amz-Signature" in request.params:
            self._check_link(request, bucket)
            return
        if header is None:
            if self.public:
                return
            raise _Refused(403, "AccessDenied", "Anonymous access is forbidden")
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            header,
        )
        if found is None:
            raise _Refused(400, "AuthorizationHeaderMalformed")
        access, _, region, names, _ = found.groups()
        if access not in self.keys:
            raise _Refused(403, "InvalidAccessKeyId")
        if (request.header("x-amz-security-token") or "") != self.token:
            raise _Refused(400, "ExpiredToken", "The provided token has expired.")
        wanted = self.regions.get(bucket, self.region)
        if region != wanted:
            raise _Refused(400, "AuthorizationHeaderMalformed", f"expecting '{wanted}'", Region=wanted)
        self._check_signature(request, region, names.split(";"), self.keys[access])
        self._check_body(request)

    def _check_link(self, request: FakeRequest, bucket: str) -> None:
        """A presigned URL: our signer must come to the same one, and its time must not be over."""
        params = request.params
        access, _, region, *_ = params["X-Amz-Credential"].split("/")
        if access not in self.keys or region != self.regions.get(bucket, self.region):
            raise _Refused(403, "InvalidAccessKeyId")
        stamp, expires = params["X-Amz-Date"], int(params["X-Amz-Expires"])
        signer = SigV4(
            lambda: Credentials(access, self.keys[access], self.token), region=region, now=lambda: _seconds(stamp)
        )
        plain = re.sub(r"[?&]X-Amz-Algorithm=.*", "", request.url)
        if signer.presign(request.method, plain, expires) != request.url:
            raise _Refused(403, "SignatureDoesNotMatch")
        if not 0 < expires <= 604_800 or self.now() > _seconds(stamp) + expires:
            raise _Refused(403, "AccessDenied", "Request has expired")

    def _check_signature(self, request: FakeRequest, region: str, names: list[str], secret: str) -> None:
        must = {"host", "content-md5", "content-type", "range"}
        unsigned = [n for n in request.headers if (n.startswith("x-amz-") or n in must) and n not in names]
        if unsigned and unsigned != ["content-type"]:
            raise _Refused(403, "AccessDenied", f"There were headers present which were not signed: {unsigned}")
        own = {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}
        stamp = request.header("x-amz-date") or ""
        signer = SigV4(lambda: Credentials(ACCESS_KEY, secret, self.token), region=region, now=lambda: _seconds(stamp))
        again = Request(
            request.method,
            request.url,
            tuple((name, request.headers[name]) for name in names if name not in own),
            payload_hash=request.header("x-amz-content-sha256"),
        )
        signed = dict(signer.headers(again))
        if signed["authorization"] != request.header("authorization"):
            raise _Refused(403, "SignatureDoesNotMatch")

    def _check_body(self, request: FakeRequest) -> None:
        said = request.header("x-amz-content-sha256")
        if said is None:
            raise _Refused(400, "MissingSecurityHeader")
        if said != _UNSIGNED and said != hashlib.sha256(request.body).hexdigest():
            raise _Refused(400, "XAmzContentSHA256Mismatch")

    # ---- operations

    def _do(self, op: str, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if op == "ListBuckets":
            return self._list_buckets()
        if op == "CreateBucket":
            return self._create_bucket(request, bucket)
        if bucket not in self.buckets:
            raise _Refused(404, "NoSuchBucket", "The specified bucket does not exist")
        md5 = request.header("content-md5")
        if md5 is not None and md5 != base64.b64encode(hashlib.md5(request.body).digest()).decode():  # noqa: S324
            raise _Refused(400, "BadDigest", "The Content-MD5 you specified did not match")
        method = getattr(self, "_op_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op).lower())
        answer: FakeResponse = method(request, bucket, key)
        return answer

    def _list_buckets(self) -> FakeResponse:
        rows = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{iso(_START)}</CreationDate></Bucket>"
            for name in sorted(self.buckets)
        )
        return answer_of(f'<ListAllMyBucketsResult xmlns="{NAMESPACE}"><Owner><ID>1</ID></Owner><Buckets>{rows}</Buckets></ListAllMyBucketsResult>')  # fmt: skip # noqa: E501

    def _create_bucket(self, request: FakeRequest, bucket: str) -> FakeResponse:
        if bucket in self.buckets:
            raise _Refused(409, "BucketAlreadyOwnedByYou")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            raise _Refused(400, "InvalidBucketName", "The specified bucket is not valid.")
        found = re.search(rb"<LocationConstraint>([^<]*)<", request.body)
        region = found[1].decode() if found else "us-east-1"
        if region != self.region:
            raise _Refused(400, "IllegalLocationConstraintException", "The location constraint is incompatible")
        self.buckets[bucket] = {}
        return FakeResponse(200)

    def _op_head_bucket(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        return FakeResponse(200, (("x-amz-bucket-region", self.regions.get(bucket, self.region)),))

    def _op_delete_bucket(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if self.buckets[bucket]:
            raise _Refused(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
        del self.buckets[bucket]
        return FakeResponse(204)

    def _op_list_objects_v2(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        return Listing(self.habits, request, bucket, self.buckets[bucket]).answer()

    def _op_put_object(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if len(key.encode("utf-8", "surrogateescape")) > 1024:
            raise _Refused(400, "KeyTooLongError", "Your key is too long")
        self._condition(request, bucket, key)
        stored = self._object(request.body, metadata_of(request), self._sums(request))
        if not self.habits.markers:
            key = key.rstrip("/")
        self.buckets[bucket][key] = stored
        return FakeResponse(200, (("ETag", f'"{stored.etag}"'), *self._encryption(), *sum_headers(stored)))

    def _op_head_object(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        return self._op_get_object(request, bucket, key)

    def _op_get_object(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        stored = self.buckets[bucket].get(key)
        if stored is None:
            raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
        match = request.header("if-match")
        if match is not None and match.strip('"') != stored.etag:
            raise _Refused(412, "PreconditionFailed")
        data, status = stored.data, 200
        headers = [("ETag", f'"{stored.etag}"'), ("Last-Modified", _http_date(stored.when)), ("Accept-Ranges", "bytes")]
        headers += [*stored.headers.items(), *self._encryption()]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or "")
        if wanted is not None:
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            if first >= len(data):
                raise _Refused(416, "InvalidRange", "The requested range is not satisfiable")
            last = min(last, len(data) - 1)
            headers.append(("Content-Range", f"bytes {first}-{last}/{len(data)}"))
            data, status = data[first : last + 1], 200 if self.habits.ranges_as_200 else 206
        elif request.header("x-amz-checksum-mode") == "ENABLED":
            headers += sum_headers(stored)
        return FakeResponse(status, tuple(headers), data)

    def _op_delete_object(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        self.buckets[bucket].pop(key, None)
        return FakeResponse(204)

    def _op_delete_objects(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if request.header("content-md5") is None:
            raise _Refused(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
        keys = [node.text or "" for node in _parse(request.body).iter("Key")]
        if not 0 < len(keys) <= 1000:
            raise _Refused(400, "MalformedXML", "The XML you provided was not well-formed")
        for each in keys:
            self.buckets[bucket].pop(each, None)
        rows = "".join(f"<Deleted><Key>{escaped(each)}</Key></Deleted>" for each in keys)
        return answer_of(f'<DeleteResult xmlns="{NAMESPACE}">{rows}</DeleteResult>')

    def _op_copy_object(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        source, same = self._copy_source(request, bucket, key)
        if len(source.data) > 5 * 1024**3:
            raise _Refused(400, "InvalidRequest", "The specified copy source is larger than the maximum allowable size")
        replace = request.header("x-amz-metadata-directive") == "REPLACE"
        if same and not replace:
            raise _Refused(400, "InvalidRequest", "This copy request is illegal without changing the metadata")
        headers = metadata_of(request) if replace else dict(source.headers)
        stored = self._object(source.data, headers, dict(source.sums))
        self.buckets[bucket][key] = stored
        return answer_of(
            f'<CopyObjectResult xmlns="{NAMESPACE}"><LastModified>{iso(stored.when)}</LastModified>'
            f"<ETag>&quot;{stored.etag}&quot;</ETag></CopyObjectResult>"
        )

    def _copy_source(self, request: FakeRequest, bucket: str, key: str) -> tuple[Stored, bool]:
        path = unquote((request.header("x-amz-copy-source") or "").lstrip("/"), errors="surrogateescape")
        name, _, source_key = path.partition("/")
        source = self.buckets.get(name, {}).get(source_key)
        if source is None:
            raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
        match = request.header("x-amz-copy-source-if-match")
        if match is not None and match.strip('"') != source.etag:
            raise _Refused(412, "PreconditionFailed")
        return source, (name, source_key) == (bucket, key)

    # ---- multipart

    def _op_create_multipart_upload(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        self._sequence += 1
        upload_id = f"upload/{self._sequence}+"  # of characters that must be escaped in a query
        algorithm = (request.header("x-amz-checksum-algorithm") or "").lower() if self.habits.full_checksums else ""
        if algorithm and request.header("x-amz-checksum-type") != "FULL_OBJECT":
            raise _Refused(501, "NotImplemented", "only checksums of the full object")
        self.uploads[upload_id] = Upload(bucket, key, metadata_of(request), self._now(), algorithm)
        headers = list(self._encryption())
        if algorithm:
            headers += [("x-amz-checksum-algorithm", algorithm.upper()), ("x-amz-checksum-type", "FULL_OBJECT")]
        root = self.habits.initiate_root
        answer = answer_of(
            f'<{root} xmlns="{NAMESPACE}"><Bucket>{bucket}</Bucket><Key>{escaped(key)}</Key>'
            f"<UploadId>{upload_id}</UploadId></{root}>"
        )
        return with_headers(answer, *headers)

    def _upload(self, request: FakeRequest, bucket: str, key: str) -> tuple[str, Upload]:
        upload_id = params_of(request)["uploadId"]
        upload = self.uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise _Refused(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload_id, upload

    def _op_upload_part(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        _, upload = self._upload(request, bucket, key)
        return self._store_part(request, upload, request.body)

    def _op_upload_part_copy(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        _, upload = self._upload(request, bucket, key)
        source, _ = self._copy_source(request, bucket, key)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.header("x-amz-copy-source-range") or "")
        data = source.data[int(wanted[1]) : int(wanted[2]) + 1] if wanted else source.data
        etag = self._store_part(request, upload, data).header("etag")
        return answer_of(f'<CopyPartResult xmlns="{NAMESPACE}"><ETag>{escaped(etag or "")}</ETag></CopyPartResult>')

    def _store_part(self, request: FakeRequest, upload: Upload, data: bytes) -> FakeResponse:
        number = int(params_of(request)["partNumber"])
        if not 1 <= number <= 10_000:
            raise _Refused(400, "InvalidArgument", "Part number must be an integer between 1 and 10000")
        checksum = ""
        headers: list[tuple[str, str]] = []
        if upload.algorithm:
            checksum = request.header(f"x-amz-checksum-{upload.algorithm}") or ""
            if checksum != to_base64(hashing.digest(upload.algorithm, data)):
                raise _Refused(400, "BadDigest", "The checksum you specified did not match")
            headers.append((f"x-amz-checksum-{upload.algorithm}", checksum))
        etag = self._etag(data)
        upload.parts[number] = (data, etag, checksum)
        return FakeResponse(200, (("ETag", f'"{etag}"'), *headers, *self._encryption()))

    def _op_list_parts(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        upload_id, upload = self._upload(request, bucket, key)
        after = int(params_of(request).get("part-number-marker", "0"))
        numbers = [number for number in sorted(upload.parts) if number > after]
        shown = numbers[: self.habits.page]
        element = f"Checksum{upload.algorithm.upper()}"
        rows = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>&quot;{upload.parts[n][1]}&quot;</ETag>"
            f"<Size>{len(upload.parts[n][0])}</Size>"
            + (f"<{element}>{upload.parts[n][2]}</{element}>" if upload.algorithm else "")
            + "</Part>"
            for n in shown
        )
        more = f"<NextPartNumberMarker>{shown[-1]}</NextPartNumberMarker>" if len(shown) < len(numbers) else ""
        return answer_of(
            f'<ListPartsResult xmlns="{NAMESPACE}"><Key>{escaped(key)}</Key><UploadId>{upload_id}</UploadId>'
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{rows}</ListPartsResult>"
        )

    def _op_list_multipart_uploads(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        prefix = params_of(request).get("prefix", "")
        rows = "".join(
            f"<Upload><Key>{quote_plus(upload.key)}</Key><UploadId>{upload_id}</UploadId>"
            f"<Initiated>{iso(upload.when)}</Initiated></Upload>"
            for upload_id, upload in self.uploads.items()
            if upload.bucket == bucket and upload.key.startswith(prefix)
        )
        return answer_of(
            f'<ListMultipartUploadsResult xmlns="{NAMESPACE}"><EncodingType>url</EncodingType>'
            f"<IsTruncated>false</IsTruncated>{rows}</ListMultipartUploadsResult>"
        )

    def _op_abort_multipart_upload(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        upload_id, _ = self._upload(request, bucket, key)
        del self.uploads[upload_id]
        return FakeResponse(204)

    def _op_complete_multipart_upload(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        upload_id, upload = self._upload(request, bucket, key)
        self._condition(request, bucket, key)
        rows = list(_parse(request.body).iter("Part"))
        numbers = [int(row.findtext("PartNumber") or 0) for row in rows]
        if numbers != sorted(set(numbers)) or not numbers:
            raise _Refused(400, "InvalidPartOrder")
        for row, number in zip(rows, numbers, strict=True):
            if number not in upload.parts or (row.findtext("ETag") or "").strip('"') != upload.parts[number][1]:
                raise _Refused(400, "InvalidPart")
        if any(len(upload.parts[number][0]) < self.habits.min_part for number in numbers[:-1]):
            raise _Refused(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        data = b"".join(upload.parts[number][0] for number in numbers)
        sums = {}
        if upload.algorithm:
            sums[upload.algorithm] = to_base64(hashing.digest(upload.algorithm, data))
            if request.header(f"x-amz-checksum-{upload.algorithm}") != sums[upload.algorithm]:
                raise _Refused(400, "BadDigest", "The checksum of the whole did not match")
        stored = self._object(data, upload.headers, sums)
        joined = b"".join(hashlib.md5(upload.parts[number][0]).digest() for number in numbers)  # noqa: S324
        stored.etag = f"{hashlib.md5(joined).hexdigest()}-{len(numbers)}"  # noqa: S324
        self.buckets[bucket][key] = stored
        del self.uploads[upload_id]
        return answer_of(
            f'<CompleteMultipartUploadResult xmlns="{NAMESPACE}"><Bucket>{bucket}</Bucket><Key>{escaped(key)}</Key>'
            f"<ETag>&quot;{stored.etag}&quot;</ETag></CompleteMultipartUploadResult>"
        )

    # ---- parts

    def _now(self) -> int:
        self._clock += 1
        return self._clock

    def _etag(self, data: bytes) -> str:
        salt = b"kms" if self.habits.kms else b""
        return hashlib.md5(salt + data).hexdigest()  # noqa: S324 - what S3 does

    def _object(self, data: bytes, headers: dict[str, str], sums: dict[str, str] | None = None) -> Stored:
        return Stored(data, headers, self._etag(data), self._now(), sums or {})

    def _encryption(self) -> tuple[tuple[str, str], ...]:
        return (("x-amz-server-side-encryption", "aws:kms"),) if self.habits.kms else ()

    def _sums(self, request: FakeRequest) -> dict[str, str]:
        found = {}
        for name in _SUMS:
            said = request.header("x-amz-checksum-" + name)
            if said is None or not self.habits.full_checksums:
                continue
            if said != to_base64(hashing.digest(name, request.body)):
                raise _Refused(400, "BadDigest", f"The {name} you specified did not match")
            found[name] = said
        return found

    def _condition(self, request: FakeRequest, bucket: str, key: str) -> None:
        if not self.habits.conditions:
            return
        there = self.buckets[bucket].get(key)
        match = request.header("if-match")
        if request.header("if-none-match") == "*" and there is not None:
            raise _Refused(412, "PreconditionFailed")
        if match is not None:
            if there is None:
                raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
            if match.strip('"') != there.etag:
                raise _Refused(412, "PreconditionFailed")


def _parse(body: bytes) -> ET.Element:
    try:
        root = ET.fromstring(body)  # noqa: S314 - of our own client, in a test
    except ET.ParseError:
        raise _Refused(400, "MalformedXML", "The XML you provided was not well-formed") from None
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    return root


def _http_date(when: int) -> str:
    from email.utils import formatdate

    return formatdate(when, usegmt=True)


def _seconds(stamp: str) -> float:
    import calendar

    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")))
    except ValueError:
        raise _Refused(403, "AccessDenied", "x-amz-date is missing or wrong") from None
