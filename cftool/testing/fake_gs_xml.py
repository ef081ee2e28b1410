"""The XML side of the fake Google Cloud Storage: signatures, documents, headers. Mixed into `fake_gs.FakeGS`."""

import base64
import gzip
import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from cftool.http.sigv4 import GOOG, Credentials, SigV4
from cftool.http.types import Request
from cftool.testing.fake_gs_parts import START, Refused, Stored, http_date, iso, page_of
from cftool.testing.http_fake import FakeRequest, FakeResponse

if TYPE_CHECKING:
    from cftool.testing.fake_gs_parts import Habits, Session

_NAMESPACE = "http://doc.s3.amazonaws.com/2006-03-01"
_XML_TYPE = ("Content-Type", "application/xml; charset=UTF-8")
_LIST = {"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after"}


class XmlSide:
    """See the module; the state is that of `FakeGS`."""

    if TYPE_CHECKING:  # what the other half has
        # ruff: noqa: D102 - documented there
        habits: Habits
        keys: dict[str, str]
        public: bool
        buckets: dict[str, dict[str, Stored]]
        sessions: dict[str, Session]

        def objects(self, bucket: str) -> dict[str, Stored]: ...
        def object(self, bucket: str, key: str, condition: str | None = None) -> Stored: ...
        def require(self, found: Stored | None, condition: str | None) -> None: ...
        def make_bucket(self, name: str) -> None: ...
        def stored(self, data: bytes, described: dict[str, Any], *, composed: bool = False) -> Stored: ...
        def new_session(self, bucket: str, described: dict[str, Any], condition: str | None) -> str: ...
        def chunk(self, request: FakeRequest, session: Session) -> Stored | FakeResponse: ...
        def compose(
            self, bucket: str, described: dict[str, Any], sources: list[tuple[str, str]], condition: str | None
        ) -> Stored: ...
        def publish(
            self, bucket: str, described: dict[str, Any], data: bytes, condition: str | None, *, composed: bool = False
        ) -> Stored: ...

    def xml_operation(self, request: FakeRequest) -> tuple[str, str, str]:
        """Which operation of the XML API it is."""
        path = unquote(request.path[1:], errors="surrogateescape")
        bucket, _, key = path.partition("/")
        method, params = request.method, request.params
        if not bucket:
            return "buckets.list", "", ""
        if not key:
            names = {"GET": "objects.list", "PUT": "buckets.insert", "DELETE": "buckets.delete"}
            return names.get(method, "?"), bucket, ""
        if method == "PUT":
            if request.header("x-goog-copy-source"):
                return "objects.rewrite", bucket, key
            return "objects.compose" if "compose" in params else "objects.insert", bucket, key
        names = {
            "HEAD": "objects.get",
            "GET": "objects.download",
            "DELETE": "objects.delete",
            "POST": "upload.start",
        }
        return names.get(method, "?"), bucket, key

    def xml_error(self, request: FakeRequest, refused: Refused) -> FakeResponse:
        """As the XML API says it; an answer to HEAD says nothing."""
        body = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
        return FakeResponse(refused.status, (_XML_TYPE,), b"" if request.method == "HEAD" else _document(body))

    def xml_answer(self, op: str, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        """One request, authorised and done."""
        self._authorise(op, request)
        method = getattr(self, "_xml_" + op.replace(".", "_"))
        answer: FakeResponse = method(request, bucket, key)
        return answer

    def _authorise(self, op: str, request: FakeRequest) -> None:
        if op in {"upload.chunk", "upload.status", "upload.cancel"}:
            return  # the address is the credential
        header = request.header("authorization")
        if header is None:
            if self.public or "X-Goog-Signature" in request.params:
                self._check_link(request)
                return
            raise Refused(401, "required", "AuthenticationRequired", "Authentication required.")
        if any(name.startswith("x-amz-") for name in request.headers):
            raise Refused(400, "invalid", "ExcessHeaderValues", "x-amz and x-goog headers do not mix")
        found = re.fullmatch(
            r"GOOG4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/auto/storage/goog4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            header,
        )
        if found is None or found[1] not in self.keys:
            raise Refused(403, "forbidden", "SignatureDoesNotMatch", "Access denied.")
        names = found[3].split(";")
        must = {"host", "content-type", "range"}
        unsigned = [n for n in request.headers if (n.startswith("x-goog-") or n in must) and n not in names]
        own = {"host", "x-goog-content-sha256", "x-goog-date"}
        stamp, said = request.header("x-goog-date") or "", request.header("x-goog-content-sha256") or ""
        signer = SigV4(
            lambda: Credentials(found[1], self.keys[found[1]]), region="auto", dialect=GOOG, now=lambda: _seconds(stamp)
        )
        again = Request(
            request.method,
            request.url,
            tuple((name, request.headers[name]) for name in names if name not in own),
            payload_hash=said,
        )
        if (unsigned and unsigned != ["content-type"]) or dict(signer.headers(again))["authorization"] != header:
            raise Refused(403, "forbidden", "SignatureDoesNotMatch", f"The signature is wrong {unsigned}")
        if said != "UNSIGNED-PAYLOAD" and said != hashlib.sha256(request.body).hexdigest():
            raise Refused(400, "invalid", "BadDigest", "The content hash does not match")

    def _check_link(self, request: FakeRequest) -> None:
        """A signed URL of an HMAC key; one of a service account is the test's to verify."""
        params = request.params
        if params.get("X-Goog-Algorithm") != "GOOG4-HMAC-SHA256":
            return
        access = params["X-Goog-Credential"].partition("/")[0]
        keys = Credentials(access, self.keys[access])
        signer = SigV4(lambda: keys, region="auto", dialect=GOOG, now=lambda: _seconds(params["X-Goog-Date"]))
        again = signer.presign(request.method, request.url.partition("?")[0], int(params["X-Goog-Expires"]))
        if again != request.url:
            raise Refused(403, "forbidden", "SignatureDoesNotMatch", "The signature is wrong")

    # ---- operations

    def _xml_buckets_list(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        rows = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{iso(START)}</CreationDate></Bucket>"
            for name in sorted(self.buckets)
        )
        body = f'<ListAllMyBucketsResult xmlns="{_NAMESPACE}"><Owner><ID>1</ID></Owner><Buckets>{rows}</Buckets></ListAllMyBucketsResult>'  # noqa: E501 - one document
        return FakeResponse(200, (_XML_TYPE,), _document(body))

    def _xml_objects_list(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        params, objects = request.params, self.objects(bucket)
        if set(params) - _LIST or params.get("list-type") != "2":
            raise Refused(400, "invalid", "InvalidArgument", f"unknown parameters {sorted(params)}")
        token = params.get("continuation-token", "")
        prefix, delimiter = params.get("prefix", ""), params.get("delimiter", "")
        items, prefixes, last = page_of(
            objects,
            prefix,
            delimiter,
            min(int(params.get("max-keys", "1000")), self.habits.page),
            after=params.get("start-after", "") if self.habits.offset else "",
            token=base64.urlsafe_b64decode(token.encode()).decode() if token else "",
        )
        parts = [f"<Name>{bucket}</Name><Prefix>{_text(prefix)}</Prefix>"]
        if delimiter:
            parts.append(f"<Delimiter>{_text(delimiter)}</Delimiter>")
        parts.append(f"<KeyCount>{len(items) + len(prefixes)}</KeyCount>")
        parts.append(f"<IsTruncated>{'true' if last else 'false'}</IsTruncated>")
        if last:
            following = base64.urlsafe_b64encode(last.encode()).decode()
            parts.append(f"<NextContinuationToken>{following}</NextContinuationToken>")
        for name in items:
            stored = objects[name]
            etag = _etag(stored)
            parts.append(
                f"<Contents><Key>{_text(name)}</Key><Generation>{stored.generation}</Generation>"
                f"<MetaGeneration>1</MetaGeneration><LastModified>{iso(stored.when)}</LastModified>"
                f"<ETag>{escape(etag)}</ETag><Size>{len(stored.data)}</Size></Contents>"
            )
        parts += [f"<CommonPrefixes><Prefix>{_text(each)}</Prefix></CommonPrefixes>" for each in prefixes]
        body = f'<ListBucketResult xmlns="{_NAMESPACE}">{"".join(parts)}</ListBucketResult>'
        return FakeResponse(200, (_XML_TYPE,), _document(body))

    def _xml_objects_get(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        stored = self.object(bucket, key, request.header("x-goog-if-generation-match"))
        return self.media(request, stored, _metadata_headers(stored))

    def _xml_objects_download(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        return self._xml_objects_get(request, bucket, key)

    def media(self, request: FakeRequest, stored: Stored, more: tuple[tuple[str, str], ...]) -> FakeResponse:
        """The content, whole or a range, unpacked for those who do not take gzip."""
        data, status = stored.data, 200
        headers = [*_hash_headers(self.habits, stored), *more, ("Content-Type", stored.content_type)]
        headers.append(("X-Goog-Stored-Content-Length", str(len(data))))
        headers.append(("X-Goog-Stored-Content-Encoding", stored.encoding or "identity"))
        if stored.encoding == "gzip" and "gzip" not in (request.header("accept-encoding") or ""):
            return FakeResponse(200, (*headers, ("Warning", "214 UploadServer gunzipped")), gzip.decompress(data))
        if stored.encoding:
            headers.append(("Content-Encoding", stored.encoding))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or "")
        if wanted is not None:
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            if first >= len(data):
                raise Refused(416, "requestedRangeNotSatisfiable", "InvalidRange", "The range cannot be satisfied")
            last = min(last, len(data) - 1)
            headers.append(("Content-Range", f"bytes {first}-{last}/{len(data)}"))
            data, status = data[first : last + 1], 206
        return FakeResponse(status, tuple(headers), data)

    def _xml_objects_insert(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        described = _described(request, key)
        stored = self.publish(bucket, described, request.body, request.header("x-goog-if-generation-match"))
        return FakeResponse(200, tuple(_hash_headers(self.habits, stored)))

    def _xml_upload_start(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if request.header("x-goog-resumable") != "start" or request.body:
            raise Refused(400, "invalid", "InvalidArgument", "x-goog-resumable: start is missing")
        condition = request.header("x-goog-if-generation-match")
        self.require(self.objects(bucket).get(key), condition)
        name = self.new_session(bucket, _described(request, key), condition)
        place = f"{request.scheme}://{request.host}{request.path}?upload_id={name}"
        return FakeResponse(201, (("Location", place),))

    def _xml_upload_chunk(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        session = self.sessions.get(request.params["upload_id"])
        if session is None:
            raise Refused(404, "notFound", "NoSuchUpload", "The upload is not known")
        done = self.chunk(request, session)
        if isinstance(done, FakeResponse):
            return done
        return FakeResponse(200, tuple(_hash_headers(self.habits, done)))

    _xml_upload_status = _xml_upload_chunk

    def _xml_upload_cancel(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if self.sessions.pop(request.params["upload_id"], None) is None:
            raise Refused(404, "notFound", "NoSuchUpload", "The upload is not known")
        return FakeResponse(499)

    def _xml_objects_compose(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if not self.habits.compose:
            raise Refused(501, "notImplemented", "NotImplemented", "not implemented")
        root = ET.fromstring(request.body)  # noqa: S314 - the test's own request
        sources = [
            (node.findtext("Name") or "", node.findtext("Generation") or "") for node in root.findall("Component")
        ]
        condition = request.header("x-goog-if-generation-match")
        stored = self.compose(bucket, _described(request, key), sources, condition)
        return FakeResponse(200, (("ETag", _etag(stored)), ("x-goog-generation", str(stored.generation))))

    def _xml_objects_rewrite(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        self.objects(bucket)
        where = unquote((request.header("x-goog-copy-source") or "")[1:], errors="surrogateescape")
        source_bucket, _, source_key = where.partition("/")
        source = self.object(source_bucket, source_key, request.header("x-goog-copy-source-if-generation-match"))
        if request.header("x-goog-metadata-directive") == "REPLACE":
            described = _described(request, key)
        else:
            described = {
                "metadata": source.metadata,
                "contentType": source.content_type,
                "contentEncoding": source.encoding,
                "storageClass": source.storage_class,
            }
        copied = self.stored(source.data, described)
        self.buckets[bucket][key] = copied if source.md5 is not None else replace(copied, md5=None)
        body = f"<CopyObjectResult><ETag>{escape(_etag(copied))}</ETag></CopyObjectResult>"
        return FakeResponse(200, (_XML_TYPE,), _document(body))

    def _xml_objects_delete(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        self.object(bucket, key)
        del self.buckets[bucket][key]
        return FakeResponse(204)

    def _xml_buckets_insert(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        self.make_bucket(bucket)
        return FakeResponse(200)

    def _xml_buckets_delete(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if self.objects(bucket):
            raise Refused(409, "conflict", "BucketNotEmpty", "The bucket you tried to delete is not empty.")
        del self.buckets[bucket]
        return FakeResponse(204)


def _document(body: str) -> bytes:
    return f"<?xml version='1.0' encoding='UTF-8'?>{body}".encode("utf-8", "surrogateescape")


def _text(text: str) -> str:
    return escape(text).replace("\r", "&#13;")


def _etag(stored: Stored) -> str:
    """The content's MD5 in hex, quoted; of what was composed something else."""
    if stored.md5 is None:
        return f'"-C{stored.generation}="'
    return f'"{base64.b64decode(stored.md5).hex()}"'


def _hash_headers(habits: "Habits", stored: Stored) -> list[tuple[str, str]]:
    headers = [
        ("x-goog-generation", str(stored.generation)),
        ("x-goog-metageneration", str(stored.metageneration)),
        ("ETag", _etag(stored)),
        ("Last-Modified", http_date(stored.when)),
    ]
    hashes = [f"crc32c={stored.crc32c}", *([f"md5={stored.md5}"] if stored.md5 else [])]
    if habits.one_hash_header:
        hashes = [",".join(hashes)]
    return headers + [("x-goog-hash", value) for value in hashes]


def _metadata_headers(stored: Stored) -> tuple[tuple[str, str], ...]:
    own = tuple((f"x-goog-meta-{name}", value) for name, value in stored.metadata.items())
    return (*own, ("x-goog-storage-class", stored.storage_class))


def _described(request: FakeRequest, key: str) -> dict[str, Any]:
    """The object that the headers describe, in the words of the JSON API."""
    described: dict[str, Any] = {
        "name": key,
        "contentType": request.header("content-type"),
        "contentEncoding": request.header("content-encoding"),
        "storageClass": request.header("x-goog-storage-class"),
        "metadata": {name[12:]: value for name, value in request.headers.items() if name.startswith("x-goog-meta-")},
    }
    for part in (request.header("x-goog-hash") or "").split(","):
        name, _, value = part.strip().partition("=")
        if name:
            described[{"md5": "md5Hash"}.get(name, name)] = value
    return described


def _seconds(stamp: str) -> float:
    import calendar
    import time

    return float(calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")))
