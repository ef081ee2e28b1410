"""delete_many: batches of a hundred over the JSON API, several at once; one by one over the XML API.

https://docs.cloud.google.com/storage/docs/batch. An answer counts only for the parts that it has, found by their
Content-ID: a part that it passes over in silence is an error of that object, not a success.
"""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator

from cftool.core.errors import InvalidName, NotFound, ProtocolError, StoreError
from cftool.core.types import Entry, Result
from cftool.http.flat import split_path
from cftool.http.types import Completion, Request, Response, Verdict
from cftool.http.urls import split
from cftool_providers.gs import _errors
from cftool_providers.gs._service import Service

BATCH = 100
ATTEMPTS = 5
PAUSE = 0.25  # seconds before the parts of a batch that failed for now are sent again; doubles each time
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: [^\r\n]*)?(?:\r?\n|\Z)")
_CONTENT_ID = re.compile(rb"(?im)^content-id:\s*<?response-(?:[^\r\n>]*\+)?(\d{1,4})>?\s*$")


class Deleter:
    """Thread-safe: each call has its own loop."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def run(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Results in order of completion."""
        return _Loop(self.service, entries).run()

    def one(self, bucket: str, key: str, path: str) -> None:
        """Delete one object. Raises NotFound where it is not there."""
        response = self.service.send(self.service.api.delete(bucket, key))
        if response.status >= 300:
            raise self.service.error(response, path)


class _Batch:
    """The objects of one request."""

    def __init__(self, attempts: int = 0, due: float = 0.0) -> None:
        self.items: list[tuple[str, str, Entry]] = []
        self.attempts = attempts
        self.due = due


class _Loop:
    def __init__(self, service: Service, entries: Iterable[Entry]) -> None:
        self._service = service
        self._size = BATCH if service.json is not None else 1
        self._entries = iter(entries)
        self._open = _Batch()
        self._seen: set[tuple[str, str]] = set()  # in the open batch
        self._ready: deque[_Batch] = deque()
        self._later: list[_Batch] = []
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
            if self._ended and not (self._ready or self._later):
                return
            if self._later and not self._ready:
                # Nothing is in flight that a wait could ride on.
                self._service.client.wait(max(0.0, min(batch.due for batch in self._later) - self._now()))

    def _now(self) -> float:
        return self._service.client.clock.monotonic()

    def _next(self) -> Request | float | None:
        if self._later:
            now = self._now()
            self._ready.extend(batch for batch in self._later if batch.due <= now)
            self._later = [batch for batch in self._later if batch.due > now]
        while not (self._ready or self._ended):
            if self._results and not self._busy:
                return None  # nothing in flight would bring the results out: end this round for them
            entry = next(self._entries, None)
            if entry is None:
                self._ended = True
                self._close()
            else:
                self._add(entry)
        if self._ready:
            self._busy += 1
            return self._request(self._ready.popleft())
        return PAUSE if self._later and self._busy else None

    def _add(self, entry: Entry) -> None:
        bucket, key = split_path(entry.path)
        if not key:
            error = InvalidName("is a bucket; rmdir removes it", op="delete", path=entry.path)
            self._results.append(Result(entry.path, error=error))
            return
        if entry.is_dir:
            key += "/"  # its marker, if it has one; without, it is gone with what was below
        if (bucket, key) in self._seen:
            self._results.append(Result(entry.path, entry=entry))
            return
        self._seen.add((bucket, key))
        self._open.items.append((bucket, key, entry))
        if len(self._open.items) == self._size:
            self._close()

    def _close(self) -> None:
        if self._open.items:
            self._ready.append(self._open)
        self._open = _Batch()
        self._seen.clear()

    def _request(self, batch: _Batch) -> Request:
        service = self._service
        if service.json is None or len(batch.items) == 1:
            bucket, key, _ = batch.items[0]
            return service.api.delete(bucket, key, batch)
        boundary = f"batch_{os.urandom(12).hex()}"
        pieces = []
        for number, (bucket, key, _) in enumerate(batch.items):
            target = split(service.json.object_url(bucket, key))[2]
            pieces.append(
                f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
                f"Content-ID: <cftool+{number}>\r\n\r\nDELETE {target} HTTP/1.1\r\n\r\n\r\n"
            )
        body = f"{''.join(pieces)}--{boundary}--\r\n".encode("ascii")
        kind = f'multipart/mixed; boundary="{boundary}"'
        return Request("POST", service.json.batch_url, (("content-type", kind),), body, op="batch", tag=batch)

    # ---- answers

    def _answered(self, completion: Completion) -> None:
        batch, response = completion.request.tag, completion.response
        assert isinstance(batch, _Batch)
        try:
            if response is None:
                raise completion.error or ProtocolError("no answer")
            if completion.request.op != "batch":
                [(_, _, entry)] = batch.items
                self._end(entry, None if response.status < 300 else self._service.error(response, entry.path))
                return
            if response.status != 200:
                raise self._service.error(response)
            self._account(batch, parts(response, len(batch.items)))
        except Exception as error:
            for _, _, entry in batch.items:
                self._end(entry, _copy(error, entry.path))

    def _account(self, batch: _Batch, answers: "list[Response | None]") -> None:
        """Each object of the batch must have an answer of its own."""
        attempts = batch.attempts + 1
        again = _Batch(attempts, self._now() + PAUSE * 2**attempts)
        for item, answer in zip(batch.items, answers, strict=True):
            entry = item[2]
            if answer is None:
                error = ProtocolError("the service does not say whether it deleted it", op="delete", path=entry.path)
                self._end(entry, error)
            elif 200 <= answer.status < 300:
                self._end(entry, None)
            else:
                verdict = _errors.classify(answer.status, answer.headers, answer.body)
                if verdict in {Verdict.RETRY, Verdict.SLOW_DOWN} and attempts < ATTEMPTS:
                    again.items.append(item)
                else:
                    self._end(entry, self._service.error(answer, entry.path))
        if again.items:
            self._later.append(again)

    def _end(self, entry: Entry, error: Exception | None) -> None:
        if error is None or isinstance(error, NotFound):
            self._results.append(Result(entry.path, entry=entry))
        else:
            self._results.append(Result(entry.path, error=error))


def parts(response: Response, count: int) -> "list[Response | None]":
    """The answers in a batch's answer, in the order of the questions; None where one is missing."""
    kind = response.header("content-type") or ""
    found = re.fullmatch(r'multipart/mixed;\s*boundary="?([^";]{1,100})"?\s*', kind)
    if found is None:
        raise ProtocolError(f"a batch was answered with {kind[:60]!r}")
    boundary = b"--" + found[1].encode("utf-8", "surrogateescape")
    pieces = re.split(rb"(?:\A|\r?\n)" + re.escape(boundary), response.body)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ProtocolError("the answer to a batch is cut")
    pieces = [piece.replace(b"\r\n", b"\n") for piece in pieces[1:-1]]
    named = [_CONTENT_ID.search(piece.partition(b"\n\n")[0]) for piece in pieces]
    if any(named):
        numbers = [int(name[1]) if name is not None else count for name in named]
    elif len(pieces) == count:
        numbers = list(range(count))  # Google's own library relies on the order alone
    else:
        raise ProtocolError("the answer to a batch does not say which part answers what")
    answers: list[Response | None] = [None] * count
    for number, piece in zip(numbers, pieces, strict=True):
        inner = piece.partition(b"\n\n")[2].lstrip()
        status = _STATUS.match(inner)
        if status is None or number >= count or answers[number] is not None:
            raise ProtocolError("the answer to a batch has a part that answers nothing, or twice")
        answers[number] = Response(int(status[1]), {}, inner.partition(b"\n\n")[2].strip())
    return answers


def _copy(error: Exception, path: str) -> Exception:
    """An error of a whole batch, once for each of its paths."""
    if not isinstance(error, StoreError):
        return error
    return type(error)(error.message, op="delete", path=path, store=error.store, retry_after=error.retry_after)
