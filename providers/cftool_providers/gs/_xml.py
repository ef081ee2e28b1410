"""The XML API, for HMAC keys: https://docs.cloud.google.com/storage/docs/xml-api/overview. No I/O.

Names are asked for as they are and not URL-encoded: what a plus sign would mean then is nowhere said. A name that XML
cannot carry makes a listing that is not well-formed, and that is an error.
"""

import re

from cftool.core.errors import ListingError, ProtocolError
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool.http import xml
from cftool.http.flat import Expected, Page
from cftool.http.types import Body, Header, Request, Response, Sink
from cftool.http.urls import quote, quote_path, quote_query
from cftool_providers.gs._api import AS_STORED, CONTENT_TYPE, MAX_LISTING, Key, NewObject, check_page, check_written
from cftool_providers.gs._objects import (
    BILLION,
    generation,
    hash_header,
    header_entry,
    header_hashes,
    parse_time,
    size_of,
    time_metadata,
)
from cftool_providers.gs._settings import Settings

_MD5 = re.compile(r"[0-9a-f]{32}")
# What a copy that replaces metadata would otherwise lose.
_KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type")


class XmlApi:
    """See `_api.Api`."""

    timed = False
    # Besides what the service forbids: what no XML can carry, and so no listing.
    forbidden = "".join(map(chr, range(1, 32))).replace("\t", "") + "\ufffe\uffff"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = settings.endpoint

    def _url(self, bucket: str, key: str = "", query: str = "") -> str:
        url = f"{self._base}/{quote(bucket)}"
        if key:
            url = f"{url}/{quote_path(key)}"
        return f"{url}?{query}" if query else url

    # ---- listings

    def list_objects(self, asked: Expected, token: str | None, after: str, tag: object) -> Request:
        """List objects, second version."""
        pairs = [("list-type", "2"), ("max-keys", str(asked.max_keys)), ("prefix", asked.prefix)]
        if asked.delimiter:
            pairs.append(("delimiter", asked.delimiter))
        if token is not None:
            pairs.append(("continuation-token", token))
        elif after:
            pairs.append(("start-after", after))
        url = self._url(asked.bucket, query=quote_query(pairs))
        return Request("GET", url, op="objects.list", tag=tag, max_body=MAX_LISTING)

    def objects_listed(self, response: Response, asked: Expected, after: str) -> Page[Key]:
        """One page."""
        del after
        what = f"the listing of {asked.bucket}"
        try:
            root = _document(response, "ListBucketResult", what)
            if root.value("Name") != asked.bucket:
                raise ListingError(f"the listing is of the bucket {(root.value('Name') or '')[:80]!r}")
            if (root.value("Prefix") or "") != asked.prefix:
                raise ListingError(f"the listing is of the prefix {(root.value('Prefix') or '')[:80]!r}")
            if root.value("EncodingType"):
                raise ListingError(f"{what} is encoded, which was not asked for")
            keys = [_key(node) for node in root.all("Contents")]
            prefixes = [node.value("Prefix") or "" for node in root.all("CommonPrefixes")]
            count = root.value("KeyCount")
            if count is not None and count != str(len(keys) + len(prefixes)):
                raise ListingError(f"{what} has {len(keys) + len(prefixes)} entries and says {count[:20]}")
            check_page(asked, keys, prefixes)
            return Page(keys, prefixes, _token(root, what))
        except ListingError:
            raise
        except ProtocolError as error:
            raise ListingError(f"{what} cannot be trusted: {error.message}") from None

    def list_buckets(self, project: str, token: str | None) -> Request:
        """List buckets; the HMAC key's account has a project of its own where none is named."""
        del token  # all in one answer
        headers = (("x-goog-project-id", project),) if project else ()
        return Request("GET", f"{self._base}/", headers, op="buckets.list")

    def buckets_listed(self, response: Response) -> tuple[list[tuple[str, int | None]], str | None]:
        """All of them."""
        try:
            root = _document(response, "ListAllMyBucketsResult", "the list of buckets")
            holder = root.find("Buckets")
            if holder is None:
                raise ListingError("the list of buckets holds no list")
            found: list[tuple[str, int | None]] = []
            for node in holder.all("Bucket"):
                name = node.value("Name")
                if not name or "/" in name or name in {".", ".."}:
                    raise ListingError(f"the list of buckets has one that is called {(name or '')[:80]!r}")
                found.append((name, parse_time(node.value("CreationDate"))))
        except ListingError:
            raise
        except ProtocolError as error:
            raise ListingError(f"the list of buckets cannot be trusted: {error.message}") from None
        return found, None

    # ---- one object

    def describe(self, bucket: str, key: str) -> Request:
        """HEAD."""
        return Request("HEAD", self._url(bucket, key), AS_STORED, op="objects.get", encoded=True)

    def described(self, path: str, response: Response) -> Entry:
        """What the headers say."""
        return header_entry(path, response.headers, timed=True)

    def get(
        self,
        bucket: str,
        key: str,
        *,
        version: str | None,
        headers: tuple[Header, ...] = (),
        sink: Sink | None = None,
        tag: object = None,
        max_body: int = 64 * 1024 * 1024,
    ) -> Request:
        """GET."""
        if version is not None:
            headers = (*headers, ("x-goog-if-generation-match", version))
        url = self._url(bucket, key)
        return Request("GET", url, AS_STORED + headers, b"", "objects.download", True, sink, tag, max_body, None, True)

    def put(self, new: NewObject, body: bytes | Body, digest: tuple[str, str], tag: object) -> Request:
        """PUT."""
        headers = (*self._described(new), hash_header(*digest))
        url, idempotent = self._url(new.bucket, new.key), new.generation is None
        return Request("PUT", url, headers, body, "objects.insert", idempotent, None, tag)

    def start(self, new: NewObject, size: int | None, tag: object) -> Request:
        """POST with x-goog-resumable: the session takes chunks as that of the JSON API does."""
        del size
        headers = (*self._described(new), ("x-goog-resumable", "start"))
        return Request("POST", self._url(new.bucket, new.key), headers, op="upload.start", tag=tag)

    def written(self, new: NewObject, response: Response, size: int) -> Entry:
        """What the headers say, and what was sent: the answer has neither times nor always a length."""
        headers = response.headers
        stored = headers.get("x-goog-stored-content-length")
        version = headers.get("x-goog-generation")
        if version is None and not headers.get("etag"):
            raise ProtocolError("the answer has no generation, so nothing was stored", path=new.path)
        entry = Entry(
            new.path,
            Kind.FILE,
            size if stored is None else size_of(stored.strip()),
            new.modified_ns,
            None,
            None if version is None else generation(version.strip()),
            None,
            header_hashes(headers),
        )
        return check_written(new, entry, size)

    def compose(self, new: NewObject, parts: list[tuple[str, str]]) -> Request:
        """PUT with ?compose, each component held by its generation."""
        rows = "".join(
            f"<Component><Name>{xml.escape(key)}</Name><Generation>{version}</Generation></Component>"
            for key, version in parts
        )
        body = f"<ComposeRequest>{rows}</ComposeRequest>".encode()
        url, idempotent = self._url(new.bucket, new.key, "compose"), new.generation is None
        return Request("PUT", url, self._described(new), body, op="objects.compose", idempotent=idempotent)

    def delete(self, bucket: str, key: str, tag: object = None) -> Request:
        """DELETE."""
        return Request("DELETE", self._url(bucket, key), op="objects.delete", tag=tag)

    def copy(self, src: tuple[str, str], new: NewObject, version: str | None, kept: dict[str, str] | None) -> Request:
        """PUT with x-goog-copy-source; `kept` are the headers of the source where the metadata change."""
        headers: tuple[Header, ...] = (("x-goog-copy-source", f"/{quote(src[0])}/{quote_path(src[1])}"),)
        if version is not None:
            headers += (("x-goog-copy-source-if-generation-match", version),)
        if self._settings.storage_class:
            headers += (("x-goog-storage-class", self._settings.storage_class),)
        if kept is not None:
            times = {f"x-goog-meta-{name}": value for name, value in time_metadata(new.modified_ns).items()}
            meta = {name: value for name, value in kept.items() if name.startswith("x-goog-meta-")}
            whole = {name: kept[name] for name in _KEPT if kept.get(name)}
            if "x-goog-storage-class" in kept and not self._settings.storage_class:
                whole["x-goog-storage-class"] = kept["x-goog-storage-class"]
            headers += (("x-goog-metadata-directive", "REPLACE"), *(whole | meta | times).items())
        return Request("PUT", self._url(new.bucket, new.key), headers, op="objects.copy")

    # ---- buckets

    def create_bucket(self, bucket: str, project: str) -> Request:
        """PUT."""
        settings = self._settings
        pairs = (("LocationConstraint", settings.location), ("StorageClass", settings.storage_class))
        rows = "".join(f"<{name}>{xml.escape(value)}</{name}>" for name, value in pairs if value)
        body = f"<CreateBucketConfiguration>{rows}</CreateBucketConfiguration>".encode() if rows else b""
        headers = (("x-goog-project-id", project),) if project else ()
        return Request("PUT", self._url(bucket), headers, body, op="buckets.insert")

    def delete_bucket(self, bucket: str) -> Request:
        """DELETE."""
        return Request("DELETE", self._url(bucket), op="buckets.delete")

    def link(self, bucket: str, key: str) -> str:
        """The object's own address."""
        return self._url(bucket, key)

    # ---- parts

    def _described(self, new: NewObject) -> tuple[Header, ...]:
        headers: tuple[Header, ...] = (("content-type", CONTENT_TYPE),)
        headers += tuple((f"x-goog-meta-{name}", value) for name, value in time_metadata(new.modified_ns).items())
        if storage_class := new.storage_class or self._settings.storage_class:
            headers += (("x-goog-storage-class", storage_class),)
        if new.generation is not None:
            headers += (("x-goog-if-generation-match", new.generation),)
        return headers


def _document(response: Response, root: str, what: str) -> xml.Node:
    if response.status != 200:
        raise ListingError(f"{what} was answered with status {response.status}")
    kind = response.header("content-type") or ""
    if "xml" not in kind.lower():
        raise ListingError(f"{what} was answered with {kind[:60]!r} in place of XML")
    return xml.parse(response.body, root)


def _token(root: xml.Node, what: str) -> str | None:
    truncated = root.value("IsTruncated")
    if truncated not in {"true", "false"}:
        raise ListingError(f"{what} does not say whether it is complete (IsTruncated)")
    if truncated == "false":
        return None
    token = root.value("NextContinuationToken")
    if not token:
        raise ListingError(f"{what} says that more follows, but not how to get it (NextContinuationToken)")
    return token


def _key(node: xml.Node) -> Key:
    name, size, etag = node.value("Key"), node.value("Size"), (node.value("ETag") or "").strip('"')
    stored = parse_time(node.value("LastModified"))
    if not name or size is None or stored is None:
        raise ListingError("an entry of the listing lacks its name, its size or its time")
    version = node.value("Generation")
    # Whole seconds, as HEAD tells them. Of a composed object the ETag is no MD5, and does not look like one.
    return Key(
        name,
        size_of(size),
        stored // BILLION * BILLION,
        None,
        None if version is None else generation(version),
        {"md5": etag} if _MD5.fullmatch(etag) else NO_HASHES,
    )
