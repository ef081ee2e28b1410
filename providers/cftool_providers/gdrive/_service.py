"""Requests to the API's host: URLs, the client, answers as JSON or as errors, batches of a hundred.

All other modules here send through `Service` and build no URL by themselves. Each call of a batch has its own status,
and is tried again by itself, under the client's own schedule.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

from cftool.core.errors import ProtocolError, RateLimited, StoreError, TemporaryError
from cftool.core.provider import Context
from cftool.http.open import open_client
from cftool.http.retry import AUTH_ATTEMPTS, Operation
from cftool.http.types import Body, Completion, Header, NoAuth, Request, Response, Sink, Stream, Verdict
from cftool.http.urls import quote, quote_query
from cftool_providers.gdrive import _errors, _settings
from cftool_providers.gdrive._batch import BATCH, LONGEST, Answer, Call, pack, unpack, url_length
from cftool_providers.gdrive._files import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from cftool.http.client import Client

log = logging.getLogger("cftool.gdrive")

HOST = "https://www.googleapis.com"
CONNECTIONS = 16
_JSON: Header = ("content-type", "application/json; charset=UTF-8")
_IDS = 25  # fetched at first: a run that makes few files needs few
_MORE = 5  # attempts of what is no upload and is refused in the words of the daily limit
_DAY = 15 * 60.0  # seconds for which no upload is tried after one was refused for the day

Params = Iterable[tuple[str, str]]


class Service:
    """One account's client. Thread-safe."""

    def __init__(self, settings: _settings.Settings, values: _settings.Values, context: Context) -> None:
        self.settings = settings
        self.context = context
        self.name = context.remote or "gdrive"
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._ids_next = _IDS
        self._no_uploads: tuple[float, str] | None = None
        self._plain: Client | None = None
        auth = _settings.auth(values, context, self._plain_client)
        self.client = open_client(
            context, auth=auth, classify=_errors.classify, connections=CONNECTIONS, name=self.name
        )

    def _plain_client(self) -> "Client":
        """For tokens: without credentials, and with a pace of its own."""
        self._plain = open_client(
            self.context,
            auth=NoAuth(),
            classify=lambda status, _headers, _body: (
                Verdict.RETRY if status in {500, 502, 503, 504} else Verdict.ANSWER
            ),
            connections=1,
            name=f"{self.name} (login)",
        )
        return self._plain

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        if self._plain is not None:
            self._plain.close()

    def check(self) -> None:
        """Raise Interrupted where the run is to end."""
        self.client.check()

    # ---- requests

    def params(self, more: Params = (), *, listing: bool = False) -> tuple[tuple[str, str], ...]:
        """Query parameters that every call on files has, and those of listings."""
        found = (*more, ("supportsAllDrives", "true"))
        if listing:
            found += (("includeItemsFromAllDrives", "true"), ("spaces", "drive"))
            if self.settings.drive is not None:
                found += (("corpora", "drive"), ("driveId", self.settings.drive))
        return found

    @staticmethod
    def url(path: str, params: Params, *, upload: bool = False) -> str:
        """The address of `path` below /drive/v3."""
        query = quote_query(params)
        return f"{HOST}{'/upload' if upload else ''}/drive/v3/{path}{'?' if query else ''}{query}"

    def request(
        self,
        method: str,
        op: str,
        path: str,
        params: Params = (),
        *,
        body: Mapping[str, object] | None = None,
        idempotent: bool = True,
        tag: object = None,
        sink: Sink | None = None,
        headers: tuple[Header, ...] = (),
        max_body: int = 64 * 1024 * 1024,
    ) -> Request:
        """A call of the API; `body` becomes JSON."""
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers = (_JSON, *headers)
        return Request(
            method, self.url(path, params), headers, data, op, idempotent, sink, tag, max_body, encoded=op in _MEDIA
        )

    def call(self, method: str, op: str, path: str, params: Params = (), **parts: Any) -> dict[str, Any]:
        """Send and return the JSON of a success; raise what else it is."""
        response = self.send(self.request(method, op, path, params, **parts))
        if response.status >= 300 or (method == "GET" and response.status != 200):  # a part of a page is none
            raise _errors.error(response.status, response.body)
        if response.status == 204:
            return {}
        return parse(response.body, response.headers)

    def send(self, request: Request) -> Response:
        """Send; of what is no upload the words of the daily limit are only those of a rate limit."""
        for attempt in range(_MORE):
            began = self.client.clock.monotonic()
            response = self.client.send(request)
            if response.status != 403 or request.op.startswith("upload."):
                break
            if not _errors.is_daily(_errors.reason_of(response.body)):
                break
            self.client.pacer.slow_down(began)
            self.client.wait(self.client.clock.random() * 2.0**attempt)
        return response

    def stream(self, request: Request) -> Stream:
        """Send, with the body to be pulled."""
        return self.client.stream(request)

    def many(self, following: "Callable[[], Request | float | None]") -> AbstractContextManager[Iterator[Completion]]:
        """Send in parallel; leaving the context early drops what is under way."""
        return closing(self.client.send_many(following))  # type: ignore[type-var] # it is a generator

    # ---- uploads

    def upload(
        self,
        method: str,
        op: str,
        path: str,
        params: Params,
        *,
        headers: tuple[Header, ...],
        body: bytes | Body,
        tag: object = None,
    ) -> Request:
        """A request to the upload side of the API."""
        return Request(method, self.url(path, params, upload=True), headers, body, op, tag=tag)

    def require_uploads(self) -> None:
        """Raise RateLimited where the service has said a moment ago that no more bytes are taken today."""
        known = self._no_uploads
        if known is not None and self.client.clock.monotonic() < known[0]:
            raise RateLimited(known[1])

    def upload_error(self, status: int, body: bytes, path: str) -> StoreError:
        """The error of an upload; the daily limit is remembered for all that follow."""
        error = _errors.error(status, body, path=path)
        if _errors.is_daily(_errors.reason_of(body)):
            self._no_uploads = (self.client.clock.monotonic() + _DAY, error.message)
        return error

    def new_id(self) -> str:
        """An id for a file that is to be made, so that making it twice makes one."""
        with self._lock:
            if not self._ids:
                count, self._ids_next = self._ids_next, 1000  # the most in one answer
                found = self.call(
                    "GET", "files.generateIds", "files/generateIds", (("count", str(count)), ("space", "drive"))
                )
                ids = found.get("ids")
                if not isinstance(ids, list) or not ids or not all(isinstance(one, str) and one for one in ids):
                    raise ProtocolError("the service gave no ids for new files")
                self._ids = ids[::-1]
            return self._ids.pop()

    # ---- batches

    def batch(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers, in the order of the calls; a call that failed for good raises no error here.

        One call goes without a batch around it.
        """
        answers: list[Answer | None] = [None] * len(calls)
        short: list[int] = []
        for number, call in enumerate(calls):
            if url_length(call) > LONGEST:
                self._batch(calls, [number], answers)
            else:
                short.append(number)
        for start in range(0, len(short), BATCH):
            self._batch(calls, short[start : start + BATCH], answers)
        return [answer for answer in answers if answer is not None]

    def _batch(self, calls: Sequence[Call], waiting: list[int], answers: list[Answer | None]) -> None:
        client = self.client
        operation = Operation(client.clock.monotonic())
        while waiting:
            operation.attempts += 1
            operation.began = client.clock.monotonic()
            got = self._once([calls[number] for number in waiting])
            again = []
            worst = Verdict.ANSWER
            for number, answer in zip(waiting, got, strict=True):
                verdict = _errors.classify(answer.status, {}, answer.body)
                if verdict is Verdict.ANSWER and _errors.is_daily(_errors.reason_of(answer.body)):
                    verdict = Verdict.SLOW_DOWN  # no call of a batch is an upload
                if verdict is Verdict.ANSWER:
                    answers[number] = answer
                    continue
                again.append(number)
                answers[number] = answer
                worst = verdict if worst is not Verdict.SLOW_DOWN else worst
            if not again:
                return
            if worst is Verdict.AUTH:
                operation.auth_attempts += 1
                if operation.auth_attempts > AUTH_ATTEMPTS or not client.auth.rejected(Response(401, {}, b"")):
                    return
                waiting = again
                continue
            if worst is Verdict.SLOW_DOWN:
                client.pacer.slow_down(operation.began)
            delay = client.schedule.delay(operation, client.clock.monotonic())
            if delay is None:
                kind = RateLimited if worst is Verdict.SLOW_DOWN else TemporaryError
                first = answers[again[0]]
                assert first is not None
                raise kind(
                    f"the service refused {len(again)} calls of a batch {operation.attempts} times "
                    f"({_errors.error(first.status, first.body).message})"
                )
            client.wait(delay)
            waiting = again

    def _once(self, calls: Sequence[Call]) -> list[Answer]:
        if len(calls) == 1:
            one = calls[0]
            response = self.send(
                self.request(one.method, _op(one), one.path, one.params, body=one.body, idempotent=True)
            )
            if response.status < 300 and response.status != 204:
                parse(response.body, response.headers)
            return [Answer(response.status, response.body)]
        boundary = f"cftool-{secrets.token_hex(12)}"
        response = self.send(
            Request(
                "POST",
                f"{HOST}/batch/drive/v3",
                (("content-type", f"multipart/mixed; boundary={boundary}"),),
                pack(calls, boundary),
                "batch",
            )
        )
        if response.status >= 300:
            raise _errors.error(response.status, response.body)
        return unpack(response, len(calls))


_MEDIA = frozenset({"files.download", "files.export"})


def _op(call: Call) -> str:
    words = {"GET": "get", "PATCH": "update", "DELETE": "delete", "POST": "create"}
    return "files.list" if call.path == "files" and call.method == "GET" else f"files.{words[call.method]}"


def file_path(handle: str, rest: str = "") -> str:
    """`files/ID`, with what follows it."""
    return f"files/{quote(handle)}{rest}"


def wall() -> float:
    """Seconds since the epoch."""
    return time.time()
