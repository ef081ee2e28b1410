"""Server-side copies, and times set without sending the content again.

https://docs.cloud.google.com/storage/docs/json_api/v1/objects/rewrite: the service copies as much as it likes in one
call and is called again with its token until it is done. The XML API copies in one request, and changes metadata only
by copying an object onto itself.
"""

from typing import Any

from cftool.core.errors import IntegrityError, IsADirectory, NotFound, PreconditionFailed, ProtocolError
from cftool.core.types import Entry
from cftool.http.flat import split_path
from cftool.http.types import Request, Response
from cftool_providers.gs._api import NewObject
from cftool_providers.gs._download import Downloader
from cftool_providers.gs._json import JsonApi, resource
from cftool_providers.gs._objects import resource_entry
from cftool_providers.gs._service import Service
from cftool_providers.gs._xml import XmlApi

# What makes an object what it is, besides its content: a copy with another storage class must be told all of it.
_COPIED = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
)
_ROUNDS = 100_000  # of a rewrite: the service copies at least 1 MiB each time, and in practice far more


class Copier:
    """Thread-safe."""

    def __init__(self, service: Service, downloader: Downloader) -> None:
        self._service = service
        self._downloader = downloader

    def copy(self, src: str, dst: str) -> Entry:
        """The file at `dst` is what was at `src`, time and other metadata included."""
        for path in (src, dst):
            bucket, key = split_path(path)
            if not key:
                raise IsADirectory("is a bucket" if bucket else "is the root", op="copy", path=path)
        service = self._service
        if service.json is not None:
            return self._rewrite(service.json, src, dst)
        assert service.xml is not None
        source = self._source(src, "copy")
        return self._copy_xml(service.xml, src, dst, source, None)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """The new time, and everything else as it was."""
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="set_modified", path=path)
        service = self._service
        if service.json is None:
            assert service.xml is not None
            source = self._source(path, "set_modified")
            return self._copy_xml(service.xml, path, path, source, modified_ns)
        response = service.send(service.json.patch(bucket, key, modified_ns))
        if response.status >= 300:
            raise self._refused(response, path, "set_modified")
        return resource_entry(path, resource(response, path))

    # ---- JSON

    def _rewrite(self, api: JsonApi, src: str, dst: str) -> Entry:
        described: dict[str, Any] = {}
        if self._service.settings.storage_class:
            described = self._full(api, src)
        source, target, token = split_path(src), split_path(dst), ""
        made = False
        for _ in range(_ROUNDS):
            response = self._service.send(api.rewrite(source, target, token, described))
            if response.status >= 300:
                if not made and not token and self._make_bucket(response, src, target[0]):
                    made = True
                    continue
                raise self._refused(response, src, "copy")
            answer = resource(response, dst)
            done = answer.get("done") if isinstance(answer, dict) else None
            if done is True:
                return resource_entry(dst, answer.get("resource"))
            following = answer.get("rewriteToken") if isinstance(answer, dict) else None
            if done is not False or not isinstance(following, str) or not following:
                raise ProtocolError("the service has not copied all, and does not say how to go on", path=dst)
            token = following
        raise ProtocolError("the copy does not come to an end", op="copy", path=dst)

    def _full(self, api: JsonApi, src: str) -> dict[str, Any]:
        response = self._service.send(api.full(*split_path(src)))
        if response.status >= 300:
            raise self._refused(response, src, "copy")
        found = resource(response, src)
        if not isinstance(found, dict):
            raise ProtocolError("the answer is no object's description", path=src)
        kept = {name: found[name] for name in _COPIED if name in found}
        return kept | {"storageClass": self._service.settings.storage_class}

    def _make_bucket(self, response: Response, src: str, bucket: str) -> bool:
        """Make the bucket of the copy, where it is that and not the source that is missing."""
        if response.status != 404 or self._downloader.head(src) is None or self._service.bucket_exists(bucket):
            return False
        if not self._service.settings.create_bucket:
            raise NotFound("no such bucket", op="copy", path=bucket)
        self._service.create_bucket(bucket)
        return True

    def _refused(self, response: Response, path: str, op: str) -> Exception:
        error = self._service.error(response, path)
        return self._downloader.missing(path, op) if isinstance(error, NotFound) else error

    # ---- XML

    def _source(self, path: str, op: str) -> Response:
        response = self._service.describe(*split_path(path))
        if response.status != 200:
            raise self._downloader.missing(path, op)
        return response

    def _copy_xml(self, api: XmlApi, src: str, dst: str, source: Response, modified_ns: int | None) -> Entry:
        entry = api.described(src, source)
        new = NewObject(*split_path(dst), modified_ns)
        kept = None if modified_ns is None else dict(source.headers)

        def request() -> Request:
            return api.copy(split_path(src), new, entry.version, kept)

        response = self._service.send(request())
        if self._service.ensure_bucket(new.bucket, response):
            response = self._service.send(request())
        if response.status >= 300 or b"<Error" in response.body[:300]:
            error = self._service.error(response, dst)
            if isinstance(error, PreconditionFailed):
                raise PreconditionFailed("the source changed while it was copied", op="copy", path=src)
            raise error
        made = self._downloader.head(dst)
        if made is None:
            raise IntegrityError("the service said that it made the copy, and does not have it", op="copy", path=dst)
        if made.size != entry.size or any(
            made.hashes[name] != entry.hashes[name] for name in made.hashes.keys() & entry.hashes.keys()
        ):
            raise IntegrityError("the copy is not what its source is", op="copy", path=dst)
        return made
