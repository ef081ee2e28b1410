"""Google Cloud Storage in memory: stateful, strict about what it is sent, and faulty on demand.

`FakeGS.handle` is the pure function that the front ends of `http_fake` want. It speaks the JSON API with bearer tokens,
the XML API with HMAC signatures (`fake_gs_xml`), and the token endpoint that makes the tokens. Strict means: a
parameter or a field that the service does not know, a token that it did not give or that has expired, a signature, a
hash or a length that is wrong is refused in the service's own words. Signatures are checked with cftool's own signer:
that Google agrees is what the comparison with its published example is for.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

from cftool.testing.fake_gs_parts import (
    JSON_TYPE,
    QUANTUM,
    START,
    Habits,
    Refused,
    Rule,
    Session,
    Stored,
    check_key,
    crc_of,
    iso,
    md5_of,
    no_bucket,
    no_object,
    page_of,
)
from cftool.testing.fake_gs_xml import XmlSide
from cftool.testing.http_fake import FakeRequest, FakeResponse

__all__ = ["ACCESS_KEY", "REFRESH_TOKEN", "SECRET_KEY", "FakeGS", "Habits", "Session", "Stored"]

ACCESS_KEY, SECRET_KEY = "GOOGFAKEKEY", "fake/secret+key"
REFRESH_TOKEN = "fake-refresh-token"  # noqa: S105 - opens the fake only
_SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
_DESCRIPTION = {
    "name", "contentType", "contentEncoding", "cacheControl", "contentDisposition", "contentLanguage", "customTime",
    "metadata", "md5Hash", "crc32c", "storageClass",
}  # fmt: skip
_PARAMS = {
    "objects.list": {"prefix", "delimiter", "maxResults", "pageToken", "fields", "startOffset"},
    "objects.get": {"fields", "ifGenerationMatch"},
    "objects.download": {"alt", "ifGenerationMatch"},
    "objects.insert": {"uploadType", "fields", "ifGenerationMatch"},
    "upload.start": {"uploadType", "fields", "ifGenerationMatch"},
    "upload.chunk": {"uploadType", "fields", "upload_id", "ifGenerationMatch"},
    "upload.status": {"uploadType", "fields", "upload_id", "ifGenerationMatch"},
    "upload.cancel": {"uploadType", "fields", "upload_id", "ifGenerationMatch"},
    "objects.compose": {"fields", "ifGenerationMatch"},
    "objects.rewrite": {"fields", "rewriteToken", "ifGenerationMatch"},
    "objects.patch": {"fields"},
    "objects.delete": {"ifGenerationMatch"},
    "buckets.list": {"project", "fields", "maxResults", "pageToken"},
    "buckets.insert": {"project"},
    "buckets.delete": set(),
    "batch": set(),
    "token": set(),
}


class FakeGS(XmlSide):
    """See the module. `buckets` maps names to keys to objects; tests look into it and change it at will."""

    def __init__(self, habits: Habits | None = None) -> None:
        self.habits = habits or Habits()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.sessions: dict[str, Session] = {}
        self.keys = {ACCESS_KEY: SECRET_KEY}
        self.ops: Counter[str] = Counter()
        self.log: list[tuple[str, str]] = []
        self.public = False  # requests without credentials are served
        self.tokens: set[str] = set()  # that are good
        self.lifetime = 3600
        self.accounts: dict[str, Any] = {}  # public keys by e-mail, to verify assertions
        self.refresh_tokens = {REFRESH_TOKEN}
        self.rewrites: dict[str, int] = {}
        self._rules: list[Rule] = []
        self._clock = float(START)
        self._sequence = 1_700_000_000_000_000

    # ---- what tests arrange

    def make(self, bucket: str, keys: Iterable[str] = (), data: bytes = b"x", **described: Any) -> dict[str, Stored]:
        """A bucket with objects, past all checks."""
        objects = self.buckets.setdefault(bucket, {})
        for key in keys:
            objects[key] = self.stored(data, described)
        return objects

    def fail(
        self, op: str, answer: FakeResponse | tuple[int, str], *, key: str | None = None, times: int = 1, skip: int = 0
    ) -> None:
        """Answer `times` requests of this operation (after `skip`) with this in place of doing them."""
        if isinstance(answer, tuple):
            answer = self.error(Refused(answer[0], answer[1], answer[1]))
        self._rules.append(Rule(op, key, times, skip, None, answer))

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
        self._rules.append(Rule(op, key, times, skip, act, None))

    @staticmethod
    def error(refused: Refused) -> FakeResponse:
        """As the JSON API says it."""
        first = {"message": refused.message, "domain": "global", "reason": refused.reason}
        body = {"error": {"code": refused.status, "message": refused.message, "errors": [first]}}
        return FakeResponse(refused.status, (JSON_TYPE,), json.dumps(body).encode())

    def stored(self, data: bytes, described: dict[str, Any], *, composed: bool = False) -> Stored:
        """A new object of a new generation."""
        self._sequence += 1
        self._clock += 0.25
        return Stored(
            data,
            self._sequence,
            self._clock,
            dict(described.get("metadata") or {}),
            str(described.get("contentType") or "application/octet-stream"),
            str(described.get("contentEncoding") or ""),
            str(described.get("storageClass") or "STANDARD"),
            None if composed else md5_of(data),
            crc_of(data),
        )

    # ---- the entrance

    def handle(self, request: FakeRequest) -> FakeResponse:
        """One request."""
        op, bucket, key = self._operation(request)
        self.ops[op] += 1
        self.log.append((op, key))
        return self._with_rules(op, request, bucket, key)

    def _with_rules(self, op: str, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        rule = self._rule(op, key)
        if rule is not None and rule.instead is not None:
            return rule.instead
        xml = op.startswith("xml:") or not re.match(r"/(storage|upload|download|batch|token)\b", request.path)
        try:
            if op not in _PARAMS:
                raise Refused(404, "notFound", "NotFound", f"there is no {request.method} {request.path}")
            if xml:
                answer = self.xml_answer(op, request, bucket, key)
            else:
                self._check(op, request)
                answer = self._do(op, request, bucket, key)
        except Refused as refused:
            answer = self.xml_error(request, refused) if xml else self._refusal(op, refused)
        return rule.act(request, answer) if rule is not None and rule.act is not None else answer

    def _refusal(self, op: str, refused: Refused) -> FakeResponse:
        if op == "objects.download":  # media answers are plain text
            body = refused.message.encode("utf-8", "surrogateescape")
            return FakeResponse(refused.status, (("Content-Type", "text/html; charset=UTF-8"),), body)
        return self.error(refused)

    def _rule(self, op: str, key: str) -> Rule | None:
        for rule in self._rules:
            if rule.op == op and rule.key in {None, key} and rule.times:
                if rule.skip:
                    rule.skip -= 1
                    continue
                rule.times -= 1
                return rule
        return None

    def _operation(self, request: FakeRequest) -> tuple[str, str, str]:
        path, method = request.path, request.method
        if path == "/token":
            return "token", "", ""
        if path == "/batch/storage/v1":
            return "batch", "", ""
        if "upload_id" in request.params:
            session = self.sessions.get(request.params["upload_id"])
            op = {"DELETE": "upload.cancel"}.get(method, "upload.chunk" if request.body else "upload.status")
            return op, session.bucket if session else "", str(session.described["name"]) if session else ""
        if found := re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", path):
            kind = request.params.get("uploadType")
            name = ""
            if kind == "multipart" and (match := re.search(rb'"name":\s*("(?:[^"\\]|\\.)*")', request.body)):
                name = json.loads(match[1])
            return {"resumable": "upload.start"}.get(kind or "", "objects.insert"), unquote(found[1]), name
        if found := re.fullmatch(r"/storage/v1/b(?:/([^/]+))?", path):
            ops = {
                ("GET", False): "buckets.list",
                ("POST", False): "buckets.insert",
                ("DELETE", True): "buckets.delete",
            }
            return ops.get((method, found[1] is not None), "?"), unquote(found[1] or ""), ""
        if found := re.fullmatch(r"/storage/v1/b/([^/]+)/o", path):
            return "objects.list", unquote(found[1]), ""
        pattern = r"/storage/v1/b/([^/]+)/o/([^/]+)(/compose|/rewriteTo/b/[^/]+/o/[^/]+)?"
        if found := re.fullmatch(pattern, path):
            key = unquote(found[2], errors="surrogateescape")
            if found[3]:
                return "objects.compose" if found[3] == "/compose" else "objects.rewrite", unquote(found[1]), key
            media = request.params.get("alt") == "media"
            names = {"GET": "objects.download" if media else "objects.get", "PATCH": "objects.patch"}
            return names.get(method, "objects.delete"), unquote(found[1]), key
        return self.xml_operation(request)

    def _check(self, op: str, request: FakeRequest) -> None:
        unknown = set(request.params) - _PARAMS[op]
        if unknown:
            raise Refused(400, "invalidParameter", "InvalidArgument", f"Unknown query parameters: {sorted(unknown)}")
        if op == "token":
            return
        header = request.header("authorization")
        if header is None and (self.public or (op.startswith("upload.") and op != "upload.start")):
            return
        if header is None:
            raise Refused(401, "required", "AuthenticationRequired", "Anonymous caller does not have storage access")
        if not header.startswith("Bearer ") or header[7:] not in self.tokens:
            raise Refused(401, "authError", "ExpiredToken", "Invalid Credentials")

    # ---- operations

    def _do(self, op: str, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        method = getattr(self, "_op_" + op.replace(".", "_"))
        answer: FakeResponse = method(request, bucket, key)
        return answer

    def objects(self, bucket: str) -> dict[str, Stored]:
        """Of a bucket that must be there."""
        if bucket not in self.buckets:
            raise no_bucket()
        return self.buckets[bucket]

    def object(self, bucket: str, key: str, condition: str | None = None) -> Stored:
        """One that must be there, and of the right generation."""
        found = self.objects(bucket).get(key)
        if found is None:
            raise no_object(bucket, key)
        self.require(found, condition)
        return found

    def require(self, found: Stored | None, condition: str | None) -> None:
        """The condition on the generation."""
        if condition is None or not self.habits.conditions:
            return
        if not condition.isdigit():
            raise Refused(400, "invalid", "InvalidArgument", "Invalid generation")
        if int(condition) != (found.generation if found is not None else 0):
            raise Refused(
                412, "conditionNotMet", "PreconditionFailed", "At least one of the pre-conditions did not hold"
            )

    def publish(
        self, bucket: str, described: dict[str, Any], data: bytes, condition: str | None, *, composed: bool = False
    ) -> Stored:
        """Check and store."""
        key = str(described["name"])
        check_key(key)
        self.require(self.objects(bucket).get(key), condition)
        for name, actual in (("md5Hash", md5_of(data)), ("crc32c", crc_of(data))):
            given = described.get(name)
            if given is not None and given != actual:
                word = "MD5 hash" if name == "md5Hash" else "CRC32C"
                message = f'Provided {word} "{given}" doesn\'t match calculated {word} "{actual}".'
                raise Refused(400, "invalid", "BadDigest", message)
        stored = self.stored(data, described, composed=composed)
        self.buckets[bucket][key] = stored
        return stored

    def resource(self, bucket: str, key: str, stored: Stored) -> dict[str, Any]:
        """As the JSON API shows an object."""
        whole: dict[str, Any] = {
            "kind": "storage#object", "id": f"{bucket}/{key}/{stored.generation}", "name": key, "bucket": bucket,
            "generation": str(stored.generation), "metageneration": str(stored.metageneration),
            "contentType": stored.content_type, "storageClass": stored.storage_class, "size": str(len(stored.data)),
            "crc32c": stored.crc32c, "timeCreated": iso(stored.when), "updated": iso(stored.when),
        }  # fmt: skip
        if stored.md5 is not None:
            whole["md5Hash"] = stored.md5
        if stored.metadata:
            whole["metadata"] = stored.metadata
        if stored.encoding:
            whole["contentEncoding"] = stored.encoding
        return whole

    def _answer(self, request: FakeRequest, body: dict[str, Any]) -> FakeResponse:
        fields = request.params.get("fields")
        if fields is not None:
            body = _filtered(body, _fields(fields))
        return FakeResponse(200, (JSON_TYPE,), json.dumps(body).encode())

    def _op_token(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if fields.get("grant_type") == "refresh_token":
            good = fields.get("refresh_token") in self.refresh_tokens and bool(fields.get("client_id"))
        else:
            good = fields.get("grant_type", "").endswith("jwt-bearer") and self._assertion(fields.get("assertion", ""))
        if not good:
            body = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            return FakeResponse(400, (JSON_TYPE,), json.dumps(body).encode())
        token = f"ya29.fake-{len(self.tokens)}-{self.ops['token']}"
        self.tokens.add(token)
        body = {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"}  # type: ignore[dict-item]
        return FakeResponse(200, (JSON_TYPE,), json.dumps(body).encode())

    def _assertion(self, text: str) -> bool:
        head, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in text.split("."))
        said = json.loads(claims)
        account = self.accounts.get(said["iss"])
        if account is None or json.loads(head)["alg"] != "RS256" or said["scope"] != _SCOPE:
            return False
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        account.verify(signature, text.rpartition(".")[0].encode(), padding.PKCS1v15(), hashes.SHA256())
        return bool(said["exp"] - said["iat"] <= 3600)

    def _op_objects_list(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        params, objects = request.params, self.objects(bucket)
        most = min(int(params.get("maxResults", "1000")), self.habits.page)
        items, prefixes, last = page_of(
            objects,
            params.get("prefix", ""),
            params.get("delimiter", ""),
            most,
            at=params.get("startOffset", "") if self.habits.offset else "",
            token=_untoken(params.get("pageToken", "")),
        )
        body: dict[str, Any] = {"kind": "storage#objects"}
        if last:
            body["nextPageToken"] = _token(last)
        if prefixes:
            body["prefixes"] = prefixes
        if items:
            body["items"] = [self.resource(bucket, name, objects[name]) for name in items]
        return self._answer(request, body)

    def _op_objects_get(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        stored = self.object(bucket, key, request.params.get("ifGenerationMatch"))
        return self._answer(request, self.resource(bucket, key, stored))

    def _op_objects_download(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        stored = self.object(bucket, key, request.params.get("ifGenerationMatch"))
        return self.media(request, stored, ())

    def _op_objects_insert(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        kind = re.fullmatch(r"multipart/related; boundary=(\S+)", request.header("content-type") or "")
        if request.params.get("uploadType") != "multipart" or kind is None:
            raise Refused(400, "badRequest", "InvalidArgument", "Malformed multipart body.")
        border = b"--" + kind[1].encode()
        first, _, rest = request.body.partition(border + b"\r\n")
        described, _, media = rest.partition(b"\r\n" + border + b"\r\n")
        content, end, tail = media.rpartition(b"\r\n" + border + b"--")
        if first or not end or tail.strip():
            raise Refused(400, "badRequest", "InvalidArgument", "Malformed multipart body.")
        json_head, _, text = described.partition(b"\r\n\r\n")
        media_head, _, data = content.partition(b"\r\n\r\n")
        if b"application/json" not in json_head or b"Content-Type" not in media_head:
            raise Refused(400, "badRequest", "InvalidArgument", "Malformed multipart body.")
        stored = self.publish(bucket, _description(text), data, request.params.get("ifGenerationMatch"))
        return self._answer(request, self.resource(bucket, str(json.loads(text)["name"]), stored))

    def _op_upload_start(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        described, condition = _description(request.body), request.params.get("ifGenerationMatch")
        check_key(str(described["name"]))
        self.require(self.objects(bucket).get(str(described["name"])), condition)
        name = self.new_session(bucket, described, condition)
        place = f"{request.scheme}://{request.host}/upload/storage/v1/b/{bucket}/o?uploadType=resumable"
        fields = "&fields=" + request.params["fields"].replace(",", "%2C") if "fields" in request.params else ""
        return FakeResponse(200, (("Location", f"{place}{fields}&upload_id={name}"), ("X-GUploader-UploadID", name)))

    def new_session(self, bucket: str, described: dict[str, Any], condition: str | None) -> str:
        """Its id."""
        name = f"session-{len(self.sessions) + 1}"
        self.sessions[name] = Session(bucket, described, condition)
        return name

    def _session(self, request: FakeRequest) -> Session:
        found = self.sessions.get(request.params["upload_id"])
        if found is None:
            raise Refused(404, "notFound", "NoSuchUpload", "The upload is not known")
        return found

    def _op_upload_chunk(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        done = self.chunk(request, self._session(request))
        return done if isinstance(done, FakeResponse) else self._answer(request, self.resource(bucket, key, done))

    _op_upload_status = _op_upload_chunk

    def chunk(self, request: FakeRequest, session: Session) -> Stored | FakeResponse:
        """Bytes of a session, or the question how far it is: the object at its end, else a 308."""
        said = request.header("content-range") or ""
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", said)
        if found is None:
            raise Refused(400, "invalid", "InvalidArgument", f"Content-Range: {said}")
        if session.done is not None:
            return session.done
        total = None if found[3] == "*" else int(found[3])
        if found[1] is not None:
            first, last = int(found[1]), int(found[2])
            if last + 1 - first != len(request.body) or first > len(session.data):
                raise Refused(400, "invalid", "InvalidArgument", "Invalid request: the range does not fit the body")
            body = request.body[len(session.data) - first :]
            if self.habits.partial and len(body) > QUANTUM and len(session.data) % (4 * QUANTUM) == 0:
                body = body[:QUANTUM]
            elif last + 1 != total and len(request.body) % QUANTUM:
                raise Refused(400, "invalid", "InvalidArgument", "chunks must be multiples of 262144 bytes")
            session.data += body
        if total is None or len(session.data) < total:
            held = (("Range", f"bytes=0-{len(session.data) - 1}"),) if session.data else ()
            return FakeResponse(308, held)
        described = dict(session.described)
        for part in (request.header("x-goog-hash") or "").split(","):
            name, _, value = part.strip().partition("=")
            if name:
                described[{"md5": "md5Hash"}.get(name, name)] = value
        session.done = self.publish(session.bucket, described, bytes(session.data), session.condition)
        return session.done

    def _op_upload_cancel(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        self._session(request)
        del self.sessions[request.params["upload_id"]]
        return FakeResponse(499)

    def _op_objects_compose(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if not self.habits.compose:
            raise Refused(501, "notImplemented", "NotImplemented", "not implemented")
        body = json.loads(request.body)
        sources = [
            (item["name"], str(item["objectPreconditions"]["ifGenerationMatch"])) for item in body["sourceObjects"]
        ]
        described = {**body["destination"], "name": key}
        stored = self.compose(bucket, described, sources, request.params.get("ifGenerationMatch"))
        return self._answer(request, self.resource(bucket, key, stored))

    def compose(
        self, bucket: str, described: dict[str, Any], sources: list[tuple[str, str]], condition: str | None
    ) -> Stored:
        """Join objects."""
        if not 0 < len(sources) <= 32:
            raise Refused(400, "invalid", "InvalidArgument", "The number of source components must be 1 to 32")
        data = b"".join([self.object(bucket, name, version).data for name, version in sources])
        return self.publish(bucket, described, data, condition, composed=True)

    def _op_objects_rewrite(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        found = re.search(r"/rewriteTo/b/([^/]+)/o/([^/]+)$", request.path)
        assert found is not None
        target, name = unquote(found[1]), unquote(found[2])
        source = self.object(bucket, key)
        self.objects(target)
        check_key(name)
        token = request.params.get("rewriteToken") or f"rewrite-{len(self.rewrites)}"
        if "rewriteToken" in request.params and token not in self.rewrites:
            raise Refused(400, "invalid", "InvalidArgument", "Invalid rewrite token")
        self.rewrites[token] = self.rewrites.get(token, 0) + 1
        if self.rewrites[token] < self.habits.rewrite_rounds:
            return self._answer(request, {"kind": "storage#rewriteResponse", "done": False, "rewriteToken": token})
        described = json.loads(request.body) if request.body else {}
        if described and set(described) - _DESCRIPTION:
            raise Refused(400, "invalid", "InvalidArgument", f"unknown fields: {sorted(described)}")
        copied = self.stored(source.data, described or _of(source), composed=source.md5 is None)
        self.buckets[target][name] = copied
        body = {"kind": "storage#rewriteResponse", "done": True, "resource": self.resource(target, name, copied)}
        return self._answer(request, body)

    def _op_objects_patch(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        stored, body = self.object(bucket, key), json.loads(request.body)
        if set(body) != {"metadata"}:
            raise Refused(400, "invalid", "InvalidArgument", "the fake patches metadata only")
        merged = {n: v for n, v in {**stored.metadata, **body["metadata"]}.items() if v is not None}
        patched = replace(stored, metadata=merged, metageneration=stored.metageneration + 1)
        self.buckets[bucket][key] = patched
        return self._answer(request, self.resource(bucket, key, patched))

    def _op_objects_delete(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        self.object(bucket, key, request.params.get("ifGenerationMatch"))
        del self.buckets[bucket][key]
        return FakeResponse(204)

    def _op_batch(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        kind = re.fullmatch(r'multipart/mixed; boundary="([^"]+)"', request.header("content-type") or "")
        if kind is None or not request.body.rstrip().endswith(b"--" + kind[1].encode() + b"--"):
            raise Refused(400, "badRequest", "InvalidArgument", "Failed to parse batch request")
        pieces = request.body.split(b"--" + kind[1].encode())[1:-1]
        if not 0 < len(pieces) <= 100:
            raise Refused(400, "invalid", "InvalidArgument", "batch size limit 100 exceeded")
        out = []
        for piece in pieces:
            head, _, inner = piece.partition(b"\r\n\r\n")
            name = re.search(rb"Content-ID: <([^>]+)>", head)
            line = re.match(rb"(\S+) (\S+) HTTP/1\.1\r\n", inner)
            if name is None or line is None or b"application/http" not in head:
                raise Refused(400, "badRequest", "InvalidArgument", "Failed to parse batch request")
            each = replace(request, method=line[1].decode(), target=line[2].decode(), body=b"")
            op, where, what = self._operation(each)
            self.log.append((f"batch:{op}", what))
            answer = self._with_rules(op, each, where, what)
            echo = f"Content-ID: <response-{name[1].decode()}>\r\n" if self.habits.batch_ids else ""
            lines = "".join(f"{key}: {value}\r\n" for key, value in answer.headers)
            out.append(
                f"--batch_fake\r\nContent-Type: application/http\r\n{echo}\r\n"
                f"HTTP/1.1 {answer.status} Whatever\r\n{lines}\r\n".encode()
                + answer.body
                + b"\r\n"
            )
        body = b"".join(out) + b"--batch_fake--\r\n"
        return FakeResponse(200, (("Content-Type", "multipart/mixed; boundary=batch_fake"),), body)

    def _op_buckets_list(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if not request.params.get("project"):
            raise Refused(400, "required", "InvalidArgument", "Required parameter: project")
        names, _, last = page_of(
            self.buckets, "", "", min(1000, self.habits.page), token=_untoken(request.params.get("pageToken", ""))
        )
        body: dict[str, Any] = {"kind": "storage#buckets"}
        if last:
            body["nextPageToken"] = _token(last)
        if names:
            body["items"] = [{"name": name, "timeCreated": iso(START), "location": "US"} for name in names]
        return self._answer(request, body)

    def _op_buckets_insert(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        body = json.loads(request.body)
        if not request.params.get("project"):
            raise Refused(400, "required", "InvalidArgument", "Required parameter: project")
        self.make_bucket(str(body["name"]))
        return FakeResponse(200, (JSON_TYPE,), json.dumps({"kind": "storage#bucket", **body}).encode())

    def make_bucket(self, name: str) -> None:
        """Make it, as somebody's own."""
        if name in self.buckets:
            raise Refused(409, "conflict", "BucketAlreadyOwnedByYou", "You already own this bucket.")
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", name):
            raise Refused(400, "invalid", "InvalidBucketName", f"Invalid bucket name: '{name}'")
        self.buckets[name] = {}

    def _op_buckets_delete(self, request: FakeRequest, bucket: str, key: str) -> FakeResponse:
        if self.objects(bucket):
            raise Refused(409, "conflict", "BucketNotEmpty", "The bucket you tried to delete is not empty.")
        del self.buckets[bucket]
        return FakeResponse(204)


def _of(stored: Stored) -> dict[str, Any]:
    return {
        "metadata": stored.metadata,
        "contentType": stored.content_type,
        "contentEncoding": stored.encoding,
        "storageClass": stored.storage_class,
    }


def _description(text: bytes) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict) or "name" not in found or set(found) - _DESCRIPTION:
        raise Refused(400, "invalid", "InvalidArgument", f"Invalid object description: {text[:100]!r}")
    return found


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogateescape")).decode()


def _untoken(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode("utf-8", "surrogateescape")
    except ValueError:
        raise Refused(400, "invalid", "InvalidArgument", "Invalid page token") from None


def _fields(text: str) -> dict[str, Any]:
    """The selection as a tree: `a,b(c,d)`."""
    tree: dict[str, Any] = {}
    for name, inner in re.findall(r"([A-Za-z]\w*)(?:\(([^()]*)\))?(?:,|$)", text):
        tree[name] = _fields(inner) if inner else {}
    if not tree:
        raise Refused(400, "invalidParameter", "InvalidArgument", f"Invalid field selection {text}")
    return tree


def _filtered(body: Any, tree: dict[str, Any]) -> Any:
    if not tree:
        return body
    if isinstance(body, list):
        return [_filtered(item, tree) for item in body]
    return {name: _filtered(body[name], inner) for name, inner in tree.items() if name in body}
