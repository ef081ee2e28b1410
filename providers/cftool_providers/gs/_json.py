"""The JSON API: https://docs.cloud.google.com/storage/docs/json_api/v1. No I/O.

Every request names the `fields` that it wants, `kind` among them: an answer that does not say what it is, is not one.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from cftool.core.errors import ListingError, ProtocolError
from cftool.core.types import Entry
from cftool.http.flat import Expected, Page
from cftool.http.types import Body, Header, Request, Response, Sink
from cftool.http.urls import quote, quote_path, quote_query
from cftool_providers.gs._api import AS_STORED, CONTENT_TYPE, MAX_LISTING, Key, NewObject, check_page, check_written
from cftool_providers.gs._objects import (
    generation,
    json_hashes,
    own_time,
    parse_time,
    resource_entry,
    size_of,
    time_metadata,
    to_base64,
)
from cftool_providers.gs._settings import Settings

_OBJECT = "name,generation,size,md5Hash,crc32c,timeCreated,metadata"
_FIELDS = f"fields={quote(_OBJECT)}"
_LISTED = f"kind,nextPageToken,prefixes,items({_OBJECT})"
_JSON: tuple[Header, ...] = (("content-type", "application/json; charset=UTF-8"),)
_NAMES = {"md5": "md5Hash", "crc32c": "crc32c"}


class JsonApi:
    """See `_api.Api`."""

    timed = True
    forbidden = "\r\n"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = f"{settings.endpoint}/storage/v1/b"
        self._upload = f"{settings.endpoint}/upload/storage/v1/b"
        self.batch_url = f"{settings.endpoint}/batch/storage/v1"
        boundary = os.urandom(16).hex()
        self._multipart: tuple[Header, ...] = (("content-type", f"multipart/related; boundary={boundary}"),)
        self._between = f"\r\n--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n".encode()
        self._first = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
        self._last = f"\r\n--{boundary}--\r\n".encode()

    def object_url(self, bucket: str, key: str) -> str:
        """The resource."""
        return f"{self._base}/{quote(bucket)}/o/{quote(key)}"

    # ---- listings

    def list_objects(self, asked: Expected, token: str | None, after: str, tag: object) -> Request:
        """objects.list; `startOffset` is inclusive, so that `after` itself may come and is left out again."""
        pairs = [("fields", _LISTED), ("maxResults", str(asked.max_keys)), ("prefix", asked.prefix)]
        if asked.delimiter:
            pairs.append(("delimiter", asked.delimiter))
        if after:
            pairs.append(("startOffset", after))
        if token is not None:
            pairs.append(("pageToken", token))
        url = f"{self._base}/{quote(asked.bucket)}/o?{quote_query(pairs)}"
        return Request("GET", url, op="objects.list", tag=tag, max_body=MAX_LISTING)

    def objects_listed(self, response: Response, asked: Expected, after: str) -> Page[Key]:
        """One page."""
        root = _listing(response, "storage#objects", f"the listing of {asked.bucket}")
        items, prefixes = root.get("items", []), root.get("prefixes", [])
        if not isinstance(items, list) or not isinstance(prefixes, list):
            raise ListingError(f"the listing of {asked.bucket} holds no lists")
        if any(not isinstance(prefix, str) for prefix in prefixes):
            raise ListingError(f"the listing of {asked.bucket} has a common prefix that is no text")
        try:
            keys = _keys(items)
        except ProtocolError as error:
            raise ListingError(f"the listing of {asked.bucket} cannot be trusted: {error.message}") from None
        except (KeyError, TypeError, AttributeError):
            raise ListingError(f"an entry of the listing of {asked.bucket} lacks its name, size or time") from None
        check_page(asked, keys, prefixes)
        if after and keys and keys[0].key == after:
            del keys[0]
        return Page(keys, prefixes, _token(root, f"the listing of {asked.bucket}"))

    def list_buckets(self, project: str, token: str | None) -> Request:
        """buckets.list."""
        pairs = [("fields", "kind,nextPageToken,items(name,timeCreated)"), ("maxResults", "1000"), ("project", project)]
        if token is not None:
            pairs.append(("pageToken", token))
        return Request("GET", f"{self._base}?{quote_query(pairs)}", op="buckets.list")

    def buckets_listed(self, response: Response) -> tuple[list[tuple[str, int | None]], str | None]:
        """One page."""
        root = _listing(response, "storage#buckets", "the list of buckets")
        items = root.get("items", [])
        if not isinstance(items, list):
            raise ListingError("the list of buckets holds no list")
        found: list[tuple[str, int | None]] = []
        for item in items:
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str) or not name or "/" in name or "\0" in name or name in {".", ".."}:
                raise ListingError(f"the list of buckets has one that is called {str(name)[:80]!r}")
            found.append((name, parse_time(item.get("timeCreated"))))
        return found, _token(root, "the list of buckets")

    # ---- one object

    def describe(self, bucket: str, key: str) -> Request:
        """objects.get."""
        return Request("GET", f"{self.object_url(bucket, key)}?{_FIELDS}", op="objects.get")

    def described(self, path: str, response: Response) -> Entry:
        """The resource."""
        return resource_entry(path, resource(response, path))

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
        """objects.get with alt=media; a condition and not `generation`, which would give an old version as well."""
        url = f"{self.object_url(bucket, key)}?alt=media"
        if version is not None:
            url += f"&ifGenerationMatch={quote(version)}"
        return Request("GET", url, AS_STORED + headers, b"", "objects.download", True, sink, tag, max_body, None, True)

    def put(self, new: NewObject, body: bytes | Body, digest: tuple[str, str], tag: object) -> Request:
        """objects.insert with uploadType=multipart: metadata and content in one request."""
        described = self._described(new)
        described[_NAMES[digest[0]]] = to_base64(digest[1])
        head = self._first + json.dumps(described, separators=(",", ":")).encode() + self._between
        whole: bytes | Body = head + body + self._last if isinstance(body, bytes) else _framed(head, body, self._last)
        return Request(
            "POST",
            self._insert_url(new, "multipart"),
            self._multipart,
            whole,
            "objects.insert",
            new.generation is None,
            None,
            tag,
        )

    def start(self, new: NewObject, size: int | None, tag: object) -> Request:
        """objects.insert with uploadType=resumable; asked twice it makes two sessions, of which one expires."""
        headers: tuple[Header, ...] = (*_JSON, ("x-upload-content-type", CONTENT_TYPE))
        if size is not None:
            headers += (("x-upload-content-length", str(size)),)
        body = json.dumps(self._described(new)).encode()
        return Request("POST", self._insert_url(new, "resumable"), headers, body, "upload.start", tag=tag)

    def written(self, new: NewObject, response: Response, size: int) -> Entry:
        """The resource."""
        return check_written(new, resource_entry(new.path, resource(response, new.path)), size)

    def compose(self, new: NewObject, parts: list[tuple[str, str]]) -> Request:
        """objects.compose, each source held by its generation."""
        sources = [
            {"name": key, "generation": version, "objectPreconditions": {"ifGenerationMatch": version}}
            for key, version in parts
        ]
        destination = self._described(new)
        del destination["name"]
        body = json.dumps({"kind": "storage#composeRequest", "sourceObjects": sources, "destination": destination})
        url = f"{self.object_url(new.bucket, new.key)}/compose?{_FIELDS}"
        if new.generation is not None:
            url += f"&ifGenerationMatch={quote(new.generation)}"
        idempotent = new.generation is None
        return Request("POST", url, _JSON, body.encode(), op="objects.compose", idempotent=idempotent)

    def delete(self, bucket: str, key: str, tag: object = None) -> Request:
        """objects.delete."""
        return Request("DELETE", self.object_url(bucket, key), op="objects.delete", tag=tag)

    def rewrite(self, src: tuple[str, str], dst: tuple[str, str], token: str, described: Mapping[str, Any]) -> Request:
        """objects.rewrite; without `described` the copy has its source's metadata."""
        pairs = [("fields", f"done,rewriteToken,resource({_OBJECT})")]
        if token:
            pairs.append(("rewriteToken", token))
        url = f"{self.object_url(*src)}/rewriteTo/b/{quote(dst[0])}/o/{quote(dst[1])}?{quote_query(pairs)}"
        body = json.dumps(described).encode() if described else b""
        return Request("POST", url, _JSON if body else (), body, op="objects.rewrite")

    def full(self, bucket: str, key: str) -> Request:
        """objects.get with all fields, for a copy that changes some."""
        return Request("GET", self.object_url(bucket, key), op="objects.get")

    def patch(self, bucket: str, key: str, modified_ns: int) -> Request:
        """objects.patch of the times alone; other metadata stays."""
        body = json.dumps({"metadata": time_metadata(modified_ns)}).encode()
        return Request("PATCH", f"{self.object_url(bucket, key)}?{_FIELDS}", _JSON, body, op="objects.patch")

    # ---- buckets

    def create_bucket(self, bucket: str, project: str) -> Request:
        """buckets.insert."""
        settings = self._settings
        described = {"name": bucket, "location": settings.location, "storageClass": settings.storage_class}
        body = json.dumps({name: value for name, value in described.items() if value}).encode()
        url = f"{self._base}?{quote_query([('project', project)])}"
        return Request("POST", url, _JSON, body, op="buckets.insert")

    def delete_bucket(self, bucket: str) -> Request:
        """buckets.delete."""
        return Request("DELETE", f"{self._base}/{quote(bucket)}", op="buckets.delete")

    def link(self, bucket: str, key: str) -> str:
        """Signed URLs belong to the XML API."""
        return f"{self._settings.endpoint}/{quote(bucket)}/{quote_path(key)}"

    # ---- parts

    def _insert_url(self, new: NewObject, kind: str) -> str:
        url = f"{self._upload}/{quote(new.bucket)}/o?uploadType={kind}&{_FIELDS}"
        return url if new.generation is None else f"{url}&ifGenerationMatch={quote(new.generation)}"

    def _described(self, new: NewObject) -> dict[str, Any]:
        described: dict[str, Any] = {"name": new.key, "contentType": CONTENT_TYPE}
        metadata = time_metadata(new.modified_ns)
        if metadata:
            described["metadata"] = metadata
        if storage_class := new.storage_class or self._settings.storage_class:
            described["storageClass"] = storage_class
        return described


def _framed(head: bytes, body: Body, tail: bytes) -> Body:
    """A body between two pieces of bytes; the transport reads from any offset, also across the borders."""
    start, end = len(head), len(head) + body.length

    def pread(size: int, offset: int) -> bytes:
        if offset < start:
            return head[offset : offset + size]
        if offset < end:
            return body.pread(min(size, end - offset), offset - start)
        return tail[offset - end : offset - end + size]

    def whole(size: int, offset: int) -> bytes:
        data = pread(size, offset)
        while data and len(data) < size and (more := pread(size - len(data), offset + len(data))):
            data += more
        return data

    return Body(end + len(tail), whole)


def resource(response: Response, path: str) -> Any:
    """The JSON of a success. Raises ProtocolError."""
    if response.status != 200:
        raise ProtocolError(f"the answer has status {response.status}", path=path)
    try:
        return json.loads(response.body)
    except ValueError:
        raise ProtocolError("the answer is no JSON", path=path) from None


def _listing(response: Response, kind: str, what: str) -> dict[str, Any]:
    """The root object of a listing that says what it is."""
    if response.status != 200:
        raise ListingError(f"{what} was answered with status {response.status}")
    said = response.header("content-type") or ""
    if "json" not in said.lower():
        raise ListingError(f"{what} was answered with {said[:60]!r} in place of JSON")
    try:
        root = json.loads(response.body)
    except (ValueError, RecursionError):
        raise ListingError(f"{what} is no whole JSON") from None
    if not isinstance(root, dict) or "error" in root or root.get("kind") != kind:
        raise ListingError(f"{what} does not say that it is one (kind {kind})")
    return root


def _token(root: Mapping[str, Any], what: str) -> str | None:
    if "nextPageToken" not in root:
        return None
    token = root["nextPageToken"]
    if not isinstance(token, str) or not token:
        raise ListingError(f"{what} says that more follows, but not how to get it (nextPageToken)")
    return token


def _keys(items: list[Any]) -> list[Key]:
    seconds: dict[str, int] = {}
    keys: list[Key] = []
    for item in items:
        name, created = item["name"], item["timeCreated"]
        if not isinstance(name, str) or not isinstance(created, str):
            raise ProtocolError("an entry's name or time is no text")
        stored = seconds.get(created)
        if stored is None:
            stored = parse_time(created)
            if stored is None:
                raise ProtocolError(f"an entry has the time {created[:40]!r}")
            if len(seconds) < 1000:
                seconds[created] = stored
        metadata = item.get("metadata")
        modified = None
        if metadata is not None:
            if not isinstance(metadata, dict):
                raise ProtocolError("an entry's metadata are none")
            modified = own_time(metadata)
        keys.append(
            Key(name, size_of(item["size"]), stored, modified, generation(item["generation"]), json_hashes(item))
        )
    return keys
