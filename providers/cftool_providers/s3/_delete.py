"""delete_many: DeleteObjects in batches of a thousand, several at once; singly what a batch cannot name.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html. An answer counts only for the keys that it
names, one by one: a key that it passes over in silence is an error of that key, not a success.
"""

import base64
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator

from cftool.core.errors import InvalidName, NotFound, ProtocolError, StoreError
from cftool.core.types import Entry, Result
from cftool.http import xml as _xml
from cftool.http.flat import split_path
from cftool.http.types import Completion, Request
from cftool_providers.s3 import _errors
from cftool_providers.s3._listing import Lister
from cftool_providers.s3._service import Service

BATCH = 1000
ATTEMPTS = 4
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
_AGAIN = frozenset({"InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "OperationAborted"})


class Deleter:
    """Thread-safe: each call has its own loop."""

    def __init__(self, service: Service, lister: Lister) -> None:
        self.service = service
        self._lister = lister

    def run(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Results in order of completion."""
        return _Loop(self.service, self._lister, entries).run()

    def one(self, bucket: str, key: str, path: str) -> None:
        """DeleteObject; a key that nothing has is no error to the service."""
        response = self.service.send("DELETE", "DeleteObject", bucket, key)
        if response.status >= 300:
            raise self.service.error(response, bucket, path)


class _Batch:
    """The keys of one request, and the entries that they stand for."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.entries: dict[str, Entry] = {}
        self.attempts = 0
        self.region = ""  # that it was signed for


class _Loop:
    def __init__(self, service: Service, lister: Lister, entries: Iterable[Entry]) -> None:
        self._service = service
        self._lister = lister
        self._entries = iter(entries)
        self._open: dict[str, _Batch] = {}  # by bucket, not full yet
        self._ready: deque[_Batch] = deque()
        self._singly: deque[tuple[str, str, Entry]] = deque()
        self._results: deque[Result] = deque()
        self._busy = 0
        self._ended = False

    def run(self) -> Iterator[Result]:
        while True:
            with self._service.many(self._next) as completions:
                for completion in completions:
                    self._busy -= 1
                    self._answered(completion)
                    while self._results:
                        yield self._results.popleft()
            while self._results:
                yield self._results.popleft()
            if self._ended and not (self._ready or self._singly or self._open):
                return

    def _next(self) -> Request | None:
        while not (self._ready or self._singly or self._ended):
            if self._results and not self._busy:
                return None  # nothing in flight would bring the results out: end this round for them
            entry = next(self._entries, None)
            if entry is None:
                self._ended = True
                self._ready.extend(self._open.values())
                self._open.clear()
            else:
                self._add(entry)
        if self._ready:
            self._busy += 1
            return self._request(self._ready.popleft())
        if self._singly:
            self._busy += 1
            bucket, key, entry = single = self._singly.popleft()
            return self._service.request("DELETE", "DeleteObject", bucket, key, tag=single)
        return None

    def _add(self, entry: Entry) -> None:
        bucket, key = split_path(entry.path)
        if not key:
            error = InvalidName("is a bucket; rmdir removes it", op="delete", path=entry.path)
            self._results.append(Result(entry.path, error=error))
            return
        if entry.is_dir:
            key += "/"  # its marker, if it has one; without, it is gone with what was below
        if not _xml.representable(key) or key != key.strip() or key in {".", ".."}:
            self._singly.append((bucket, key, entry))
            return
        batch = self._open.get(bucket)
        if batch is None:
            batch = self._open[bucket] = _Batch(bucket)
        if key in batch.entries:
            self._results.append(Result(entry.path, entry=entry))
            return
        batch.entries[key] = entry
        if len(batch.entries) == BATCH:
            self._ready.append(self._open.pop(bucket))

    def _request(self, batch: _Batch) -> Request:
        batch.region = self._service.region(batch.bucket)
        keys = "".join([f"<Object><Key>{_xml.escape(key)}</Key></Object>" for key in batch.entries])
        body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{keys}</Delete>'.encode()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        return self._service.request(
            "POST",
            "DeleteObjects",
            batch.bucket,
            query="delete=",
            headers=(("content-md5", md5), ("content-type", "application/xml")),
            body=body,
            tag=batch,
        )

    # ---- answers

    def _answered(self, completion: Completion) -> None:
        tag, response = completion.request.tag, completion.response
        if isinstance(tag, tuple):
            bucket, _, entry = tag
            error = completion.error
            if response is not None and response.status >= 300:
                error = self._service.error(response, bucket, entry.path)
            self._end(entry, None if _is_gone(error) else error)
            return
        assert isinstance(tag, _Batch)
        try:
            if response is None:
                raise completion.error or ProtocolError("no answer")
            if response.status >= 300 or _errors.is_error(response.body):
                tag.attempts += 1
                if tag.attempts < ATTEMPTS and self._service.learn(tag.bucket, response, response.body, tag.region):
                    self._ready.append(tag)
                    return
                raise self._service.error(response, tag.bucket)
            root = _xml.parse(response.body, "DeleteResult", "DeleteObjectsResult")
            self._account(tag, root)
        except Exception as error:
            for entry in tag.entries.values():
                self._end(entry, _copy(error, entry.path))

    def _account(self, batch: _Batch, root: _xml.Node) -> None:
        """Each key of the batch must be named by the answer, as deleted or as failed."""
        deleted = {node.value("Key") for node in root.all("Deleted")}
        failed = {node.value("Key"): node for node in root.all("Error")}
        again = _Batch(batch.bucket)
        again.attempts = batch.attempts + 1
        for key, entry in batch.entries.items():
            node = failed.get(key)
            if node is not None:
                code = (node.value("Code") or "").strip()
                if entry.is_dir and code not in _GONE and self._empty(batch.bucket, key):
                    self._end(entry, None)  # some services fail where there is no marker
                elif code in _AGAIN and again.attempts < ATTEMPTS:
                    again.entries[key] = entry
                else:
                    self._end(entry, None if code in _GONE else self._key_error(node, entry.path))
            elif key in deleted:
                self._end(entry, None)
            else:
                error = ProtocolError("the service does not say whether it deleted it", op="delete", path=entry.path)
                self._end(entry, error)
        if again.entries:
            self._ready.append(again)

    def _empty(self, bucket: str, prefix: str) -> bool:
        try:
            return not self._lister.first(bucket, prefix, count=1).keys
        except StoreError:
            return False

    def _key_error(self, node: _xml.Node, path: str) -> StoreError:
        return _errors.of_code(node.value("Code") or "", node.value("Message") or "", path)

    def _end(self, entry: Entry, error: Exception | None) -> None:
        if error is None:
            self._results.append(Result(entry.path, entry=entry))
        else:
            self._results.append(Result(entry.path, error=error))


def _is_gone(error: Exception | None) -> bool:
    return isinstance(error, NotFound)


def _copy(error: Exception, path: str) -> Exception:
    """An error of a whole batch, once for each of its paths."""
    if not isinstance(error, StoreError):
        return error
    return type(error)(error.message, op="delete", path=path, store=error.store, retry_after=error.retry_after)
