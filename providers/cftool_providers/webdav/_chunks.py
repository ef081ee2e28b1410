"""Nextcloud's chunked upload, version 2: pieces go to a directory of their own and become the file with one MOVE.

https://docs.nextcloud.com/server/latest/developer_manual/client_apis/WebDAV/chunking.html. The upload is written down
in the journal before it is made on the server, so that a later run of the same file sends only what is missing, or
removes it. Runs in a worker thread, one piece after the other.
"""

import logging
import os
import time

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    PreconditionFailed,
    StoreError,
    TemporaryError,
)
from cftool.core.types import Entry, WriteItem
from cftool.disk.records import fingerprint
from cftool.http.types import Header, Request, Response
from cftool_providers.webdav import _multistatus
from cftool_providers.webdav._api import XML, Api
from cftool_providers.webdav._journal import Journal, Upload
from cftool_providers.webdav._names import Collection
from cftool_providers.webdav._reader import Reader

log = logging.getLogger("cftool.webdav")

MIB = 1024 * 1024
CHUNKED_FROM = 16 * MIB  # larger files are sent in pieces
CHUNK = 16 * MIB  # the service takes 5 MiB to 5 GiB, at most 10,000 of them
MOST = 10_000
_FIRST_TIME = 24 * 60 * 60
_PATIENCE = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0)  # seconds between looks, while the server puts pieces together


class Chunks:
    """Thread-safe."""

    def __init__(self, api: Api, journal: Journal) -> None:
        self._api = api
        self._journal = journal

    def upload(self, item: WriteItem, reader: Reader) -> Entry:
        """One large file. Raises StoreError; what is stored by then stays for a next attempt where it can be used."""
        size = reader.size
        chunk = max(CHUNK, -(-size // MOST))
        source = fingerprint(item.source.local_path)
        upload = self._journal.unfinished(item.path, source, size, chunk)
        there: dict[int, int] = {}
        if upload is not None:
            found = self.pieces(upload.id)
            if found is None:
                self._journal.upload_ended(upload.id)
                upload = None
            else:
                there = found
                log.info("the upload of %s goes on with %d pieces stored", item.path, len(there))
        if upload is None:
            upload = Upload(f"cftool-{os.urandom(16).hex()}", item.path, source, size, chunk, time.time_ns())
            self._journal.upload_begins(upload)
            self._make(upload, item)
        try:
            return self._send(upload, item, reader, there)
        except TemporaryError:
            if source:
                self._journal.upload_paused(upload.id)
            else:
                self._remove_quietly(upload.id)
            raise
        except BaseException:
            self._remove_quietly(upload.id)
            raise

    def _url(self, upload_id: str, name: str = "") -> str:
        uploads = self._api.settings.uploads
        assert uploads is not None
        return f"{uploads}{upload_id}/{name}"

    def _destination(self, item: WriteItem, size: int) -> tuple[Header, ...]:
        return (("destination", self._api.url(item.path)), ("oc-total-length", str(size)))

    def _make(self, upload: Upload, item: WriteItem) -> None:
        headers = self._destination(item, upload.size)
        response = self._api.client.send(Request("MKCOL", self._url(upload.id), headers, op="MKCOL upload"))
        if response.status not in {201, 405}:  # 405: a repeated attempt finds what the first one made
            self._journal.upload_ended(upload.id)
            raise self._api.error(response, item.path)

    def pieces(self, upload_id: str) -> dict[int, int] | None:
        """Numbers and sizes of the stored pieces; None where there is no such upload."""
        url = self._url(upload_id)
        body = _multistatus.request_body((_multistatus.RESOURCETYPE, _multistatus.LENGTH))
        response = self._api.client.send(
            Request("PROPFIND", url, (("depth", "1"), XML), body, "PROPFIND upload", max_body=16 * MIB)
        )
        if response.status == 404:
            return None
        if response.status != 207 and response.status >= 300:
            raise self._api.error(response)
        _multistatus.check_answer(response.status, response.headers, self._api.host)
        collection = Collection(url[len(self._api.settings.origin) :])
        found: dict[int, int] = {}
        for row in _multistatus.decode(response.body):
            # Over an object store the pieces are its parts, and their names its numbers: 1, not 00001.
            name = collection.below(row.href)
            size = row.found.get(_multistatus.LENGTH, "")
            if row.status is None and all(text.isascii() and text.isdigit() for text in (name, size)):
                found[int(name)] = int(size)
        return found

    def _send(self, upload: Upload, item: WriteItem, reader: Reader, there: dict[int, int]) -> Entry:
        digest = reader.digest("sha1")
        destination = self._destination(item, upload.size)
        for number, start in enumerate(range(0, upload.size, upload.chunk), 1):
            end = min(start + upload.chunk, upload.size)
            if there.get(number) == end - start:
                if item.progress is not None:
                    item.progress(end - start)
                continue
            url = self._url(upload.id, f"{number:05}")
            request = Request("PUT", url, destination, reader.body(start, end, progress=item.progress), "PUT piece")
            response = self._api.client.send(request)
            if response.status == 404:
                raise TemporaryError("the server forgot the upload; it begins anew next time", path=item.path)
            if response.status not in {200, 201, 204}:
                raise self._api.error(response, item.path)
        item.source.check()
        return self._publish(upload, item, destination, digest)

    def _publish(self, upload: Upload, item: WriteItem, destination: tuple[Header, ...], digest: str) -> Entry:
        headers = [*destination, ("overwrite", "F" if item.if_absent else "T"), ("oc-checksum", f"SHA1:{digest}")]
        if item.modified_ns is not None and item.modified_ns // 1_000_000_000 > _FIRST_TIME:
            headers.append(("x-oc-mtime", str(item.modified_ns // 1_000_000_000)))
        if item.if_version is not None:
            headers.append(("if", f'<{self._api.url(item.path)}> (["{item.if_version}"])'))
        request = Request("MOVE", self._url(upload.id, ".file"), tuple(headers), op="MOVE upload", idempotent=False)
        try:
            response = self._api.client.send(request)
        except TemporaryError:
            # A proxy gave up waiting, most likely, and the server still puts the pieces together.
            if not self._was_published(upload, item):
                raise
        else:
            self._require_published(response, item)
        self._journal.upload_ended(upload.id)
        entry = self._api.found_late(item.path)
        if entry.size != upload.size or entry.hashes.get("sha1", digest) != digest:
            raise IntegrityError("the server stored another file than was sent", op="write", path=item.path)
        return entry

    def _require_published(self, response: Response, item: WriteItem) -> None:
        if response.status in {201, 204}:
            return
        if response.status == 412:
            if item.if_absent:
                raise AlreadyExists("something is there already", op="write", path=item.path)
            raise PreconditionFailed("it is another version by now", op="write", path=item.path)
        raise self._api.error(response, item.path)

    def _was_published(self, upload: Upload, item: WriteItem) -> bool:
        """Whether the pieces are gone and the file is there, after some patience."""
        for delay in _PATIENCE:
            self._api.client.clock.sleep(delay)
            if self.pieces(upload.id) is None:
                entry = self._api.exists(item.path)
                return entry is not None and entry.size == upload.size
        return False

    def remove(self, upload_id: str) -> None:
        """Remove an unfinished upload. Raises StoreError."""
        response = self._api.client.send(Request("DELETE", self._url(upload_id), op="DELETE upload"))
        if response.status >= 300 and response.status != 404:
            raise self._api.error(response)

    def all(self) -> list[tuple[str, int | None]]:
        """Unfinished uploads of the account that are of our kind: id and time of the last change."""
        uploads = self._api.settings.uploads
        if uploads is None:
            return []
        body = _multistatus.request_body((_multistatus.RESOURCETYPE, _multistatus.MODIFIED))
        request = Request("PROPFIND", uploads, (("depth", "1"), XML), body, "PROPFIND upload", max_body=16 * MIB)
        response = self._api.client.send(request)
        if response.status == 404:
            return []
        if response.status != 207 and response.status >= 300:
            raise self._api.error(response)
        _multistatus.check_answer(response.status, response.headers, self._api.host)
        collection = Collection(uploads[len(self._api.settings.origin) :])
        found = []
        for row in _multistatus.decode(response.body):
            name = collection.below(row.href)
            if name.startswith("cftool-") and "/" not in name and row.collection:
                entry = self._api.entry(name, row)
                found.append((name, entry.stored_ns))
        return found

    def _remove_quietly(self, upload_id: str) -> None:
        try:
            self.remove(upload_id)
        except StoreError as error:
            log.info("an unfinished upload stays for now: %s", error.message)
        else:
            self._journal.upload_ended(upload_id)
