"""One endpoint: URLs, signed requests, regions, and buckets made when they are missing.

All other modules here build requests with `Service.request` and never a URL by themselves. A redirect is never
followed: its answer teaches the bucket's region, and the request is built and signed anew for the endpoint that we
construct from that region, in the same partition. At a custom endpoint the host never changes, only the signature.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing

from cftool.core.errors import NotFound, PermissionDenied, StoreError, of_no_bucket
from cftool.core.provider import Context
from cftool.http.open import open_client
from cftool.http.sigv4 import SigV4
from cftool.http.types import Auth, Body, Completion, Header, NoAuth, Request, Response, Sink, Stream
from cftool.http.urls import quote, quote_path, quote_query, split
from cftool.http.xml import escape
from cftool_providers.s3 import _errors
from cftool_providers.s3._credentials import Chain
from cftool_providers.s3._objects import CHECKSUM_MODE, opaque_etag
from cftool_providers.s3._settings import Settings, partition, valid_region

log = logging.getLogger("cftool.s3")

CONNECTIONS = 64
CEILING = 256  # connections that a far service is worth, as long as each doubling brings more


class _RegionalAuth:
    """Signs for the region of the bucket that the request goes to; one signer a region."""

    def __init__(self, service: "Service", chain: Chain) -> None:
        self._service = service
        self._chain = chain
        self._default = SigV4(chain.load, region=lambda: service.region(""))
        self._signers: dict[str, SigV4] = {}

    def headers(self, request: Request) -> Iterable[Header]:
        """The signature for this attempt."""
        return self._of(request.url).headers(request)

    def presign(self, url: str, expires: int) -> str:
        """`url` for a GET, signed in its query for so many seconds."""
        return self._of(url).presign("GET", url, expires)

    def _of(self, url: str) -> SigV4:
        service = self._service
        return self._signer(service.region_of(url)) if service.regions else self._default

    def _signer(self, region: str) -> SigV4:
        signer = self._signers.get(region)
        if signer is None:
            signer = self._signers[region] = SigV4(self._chain.load, region=region)
        return signer

    def rejected(self, response: Response | Stream) -> bool:
        """Whether one of the signers could do better now."""
        return sum(signer.rejected(response) for signer in (self._default, *self._signers.values())) > 0


class Service:
    """See the module. Thread-safe."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self.context = context
        self.name = context.remote or "s3"
        self.memory = context.memory
        self.clock = time.monotonic
        self.regions: dict[str, str] = {}  # learnt, by bucket
        self._default_region = settings.region
        self._bases: dict[str, str] = {}
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._made: set[str] = set()
        self._opaque: dict[str, bool] = {}
        self._chain = None if settings.anonymous else Chain(settings)
        self._signing = None if self._chain is None else _RegionalAuth(self, self._chain)
        auth: Auth = self._signing or NoAuth()
        self.client = open_client(
            context,
            auth=auth,
            classify=_errors.classify,
            ca_bundle=settings.ca_bundle,
            connections=CONNECTIONS,
            ceiling=CEILING,
            name=self.name,
        )
        self._access = settings.access_headers()

    def check(self) -> None:
        """Raise Interrupted where the run is to end; for work that sends nothing."""
        self.client.check()

    # ---- regions and URLs

    def _resolve_region(self) -> None:
        """Before the first request: the profile's region counts where no other was configured."""
        chain, self._chain = self._chain, None
        if chain is None or self.settings.region_given or chain.static:
            return
        self._default_region = chain.profile_region() or self._default_region

    def region(self, bucket: str) -> str:
        """The region that requests to `bucket` are signed for."""
        return self.regions.get(bucket) or self._default_region

    def region_of(self, url: str) -> str:
        """The same, by URL."""
        _, authority, target = split(url)
        _, _, prefix = self.settings.base(self._default_region)
        bucket = target[len(prefix) :].lstrip("/").partition("/")[0].partition("?")[0]
        if bucket in self.regions:
            return self.regions[bucket]
        return self.region(authority.partition(".")[0])  # virtual style; a miss is the default

    def base(self, bucket: str) -> str:
        """Everything of a URL before the key's slash."""
        base = self._bases.get(bucket)
        if base is None:
            if self._chain is not None:
                self._resolve_region()
            scheme, authority, prefix = self.settings.base(self.region(bucket))
            if not bucket:
                base = f"{scheme}://{authority}{prefix}"
            elif self.settings.virtual(bucket):
                base = f"{scheme}://{bucket}.{authority}{prefix}"
            else:
                base = f"{scheme}://{authority}{prefix}/{quote(bucket)}"
            self._bases[bucket] = base
        return base

    def host(self, bucket: str = "") -> str:
        """The host for messages."""
        return split(self.base(bucket))[1]

    def learn(self, bucket: str, response: Response | Stream, body: bytes, used: str) -> bool:
        """Whether the refusal told another region than `used` for the request: build it anew then."""
        status = response.status
        if status not in {301, 302, 307, 308, 400, 403}:
            return False
        region = response.header("x-amz-bucket-region")
        if region is None and status != 403:
            found = _errors.decode(body)
            region = found.region if found is not None else None
            if region is None and status in {301, 307} and self.settings.endpoint is None and bucket:
                region = self._ask_region(bucket)
        if region is None or not valid_region(region) or region == used:
            return False
        if region == self.region(bucket):
            return True  # learnt meanwhile from the answer to another request
        if self.settings.endpoint is None and partition(region) != partition(self._default_region):
            log.warning("the bucket %s is in %s, another partition: not followed", bucket, region)
            return False
        log.info("the bucket %s is in %s", bucket or "list", region)
        with self._lock:
            self.regions[bucket] = region
            self._bases.pop(bucket, None)
        return True

    def _ask_region(self, bucket: str) -> str | None:
        scheme, authority, prefix = self.settings.base(self._default_region)
        request = Request("HEAD", f"{scheme}://{authority}{prefix}/{quote(bucket)}", op="HeadBucket")
        return self.client.send(request).header("x-amz-bucket-region")

    # ---- requests

    def request(
        self,
        method: str,
        op: str,
        bucket: str,
        key: str = "",
        *,
        query: str = "",
        headers: tuple[Header, ...] = (),
        body: bytes | Body = b"",
        idempotent: bool = True,
        sink: Sink | None = None,
        tag: object = None,
        max_body: int = 64 * 1024 * 1024,
        encoded: bool = False,
    ) -> Request:
        """A request to the bucket's endpoint; `query` is encoded already."""
        url = self.base(bucket)
        if key:
            url = f"{url}/{quote_path(key)}"
        elif not bucket or self.settings.virtual(bucket):
            url += "/"
        if query:
            url = f"{url}?{query}"
        return Request(
            method,
            url,
            headers + self._access if self._access else headers,
            body,
            op,
            idempotent,
            sink,
            tag,
            max_body,
            None,
            encoded,
        )

    def send(self, method: str, op: str, bucket: str, key: str = "", **parts: object) -> Response:
        """Send and collect; answers of any status but those that taught a region."""
        make: Callable[[], Request] = lambda: self.request(method, op, bucket, key, **parts)  # type: ignore[arg-type]  # noqa: E731 - forwarded as given
        for attempt in range(3):
            used = self.region(bucket)
            response = self.client.send(make())
            if response.status < 300 or attempt == 2 or not self.learn(bucket, response, response.body, used):
                break
        return response

    def many(self, following: Callable[[], Request | float | None]) -> AbstractContextManager[Iterator[Completion]]:
        """Send in parallel; leaving the context early drops what is under way."""
        return closing(self.client.send_many(following))  # type: ignore[type-var] # it is a generator

    def head(self, bucket: str, key: str) -> Response:
        """HEAD of an object with its checksums: 200, 404, or the error raised.

        An answer to HEAD cannot say why it refuses; a GET of one byte can, and an expired session is renewed by it.
        """
        for attempt in range(2):
            response = self.send("HEAD", "HeadObject", bucket, key, headers=CHECKSUM_MODE)
            if response.status == 200:
                self.note(bucket, response.headers)
                return response
            if response.status == 404:
                return response
            if response.status not in {400, 403} or attempt:
                break
            told = self.send("GET", "GetObject", bucket, key, headers=(("range", "bytes=0-0"),), encoded=True)
            if told.status >= 400 and told.status != 416:
                response = told
                break
        raise self.error(response, bucket, f"{bucket}/{key}")

    def stream(self, op: str, bucket: str, key: str, *, headers: tuple[Header, ...]) -> tuple[Stream, bytes]:
        """GET with the body to be pulled; of an answer that is no success, the body (and a closed stream)."""
        for attempt in range(3):
            used = self.region(bucket)
            stream = self.client.stream(self.request("GET", op, bucket, key, headers=headers, encoded=True))
            if stream.status < 300:
                return stream, b""
            body = stream.read_all()
            stream.close()
            if attempt == 2 or not self.learn(bucket, stream, body, used):
                break
        return stream, body

    def error(self, response: Response | Stream, bucket: str, path: str | None = None, body: bytes = b"") -> StoreError:
        """The exception for an answer that is no success."""
        if isinstance(response, Response):
            body = response.body
        return _errors.error(response, body, host=self.host(bucket), path=path)

    def link(self, bucket: str, key: str, expires: int) -> str:
        """A URL of the object, signed for `expires` seconds; where nothing is signed, the plain one."""
        query = quote_query(self._access) if self._access else ""
        url = self.request("GET", "GetObject", bucket, key, query=query).url
        return url if self._signing is None else self._signing.presign(url, expires)

    # ---- what was learnt about a bucket

    def etag_is_md5(self, bucket: str) -> bool:
        """Whether an ETag of 32 hex digits may be taken for the content's MD5 where a listing shows it.

        A listing does not tell how an object is encrypted; what other answers showed of the bucket decides.
        """
        if self.settings.encryption.startswith("aws:kms"):
            return False
        opaque = self._opaque.get(bucket)
        if opaque is None:
            opaque = self._opaque[bucket] = self.memory.get(self._opaque_key(bucket)) == "1"
        return not opaque

    def note(self, bucket: str, headers: Mapping[str, str]) -> None:
        """Learn from an object's headers that the bucket holds ETags that are no MD5."""
        if opaque_etag(headers) and self.etag_is_md5(bucket):
            self._opaque[bucket] = True
            self.memory.set(self._opaque_key(bucket), "1")

    def _opaque_key(self, bucket: str) -> str:
        return f"{self.settings.identity}/{bucket}:etag-is-no-md5"

    # ---- buckets

    def ensure_bucket(self, bucket: str, response: Response) -> bool:
        """Make the bucket that a write found missing, once; True where the write makes sense again."""
        if response.status != 404 or not self.settings.create_bucket:
            return False
        found = _errors.decode(response.body)
        if found is None or found.code != "NoSuchBucket":
            return False
        with self._making:
            if bucket in self._made:
                return True
            try:
                self.create_bucket(bucket)
            except StoreError as error:
                raise of_no_bucket(error) from None
            self._made.add(bucket)
            return True

    def create_bucket(self, bucket: str) -> None:
        """Make it; no error where it is ours already."""
        region = self.region(bucket)
        body = b""
        if region != "us-east-1":
            body = (
                '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<LocationConstraint>{escape(region)}</LocationConstraint></CreateBucketConfiguration>"
            ).encode()
        acl = self.settings.acl
        headers = (("x-amz-acl", acl),) if acl in _BUCKET_ACLS else ()
        response = self.send("PUT", "CreateBucket", bucket, headers=headers, body=body)
        if body and response.status == 400 and b"LocationConstraint" in response.body:
            # Ceph and others know no such place: their region is a word for the signature only.
            response = self.send("PUT", "CreateBucket", bucket, headers=headers)
        if response.status < 300:
            log.info("made the bucket %s", bucket)
            return
        found = _errors.decode(response.body)
        if found is not None and found.code == "BucketAlreadyOwnedByYou":
            return
        error = self.error(response, bucket, bucket)
        if response.status == 409 and self.bucket_exists(bucket):
            return  # some services say "exists already" of our own buckets too
        raise error

    def bucket_exists(self, bucket: str) -> bool:
        """Whether the bucket is there and we may use it."""
        response = self.send("HEAD", "HeadBucket", bucket)
        if response.status < 300:
            return True
        error = self.error(response, bucket, bucket)
        if isinstance(error, (NotFound, PermissionDenied)):
            return False
        raise error

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


# Of a bucket; the others make sense for objects only.
_BUCKET_ACLS = frozenset({"private", "public-read", "public-read-write", "authenticated-read"})
