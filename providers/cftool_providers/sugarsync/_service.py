"""Sends requests to the service: one method for each, with the answer checked and decoded. Keeps no entries.

The account's links hold for ever (the service says so), so they are remembered in the state directory under a digest of
the refresh token: the first run asks once, later ones never.
"""

import hashlib
import json
import threading
from collections.abc import Callable

from cftool.core.errors import ConnectionFailed, ProtocolError, RateLimited, TemporaryError
from cftool.core.provider import Context
from cftool.http.client import Client
from cftool.http.open import open_client
from cftool.http.types import Body, Header, NoAuth, Request, Response, Stream
from cftool_providers.sugarsync import _errors, _pages, _xml
from cftool_providers.sugarsync._login import XML, Settings, tokens
from cftool_providers.sugarsync._pages import BASE, PAGE, Account, FileInfo, FolderInfo, Item, Page

CONNECTIONS = 8
_MEDIA = "application/octet-stream"
_SYNC_FOLDER = (*XML, ("X-SugarSync-API-Version", "1.5"))


class Service:
    """Thread-safe."""

    def __init__(self, own: Settings, context: Context) -> None:
        self.name = context.remote or "sugarsync"
        self.own = own
        self.context = context
        plain = open_client(
            context, auth=NoAuth(), classify=_errors.classify, connections=CONNECTIONS, name=f"{self.name} login"
        )
        self.tokens = tokens(plain, own, context)
        self.client = Client(
            plain.transport,
            auth=self.tokens,
            classify=_errors.classify,
            policy=plain.policy,
            requests=context.requests,
            connections=min(CONNECTIONS, context.connections or CONNECTIONS),
            ceiling=context.connections or 2 * CONNECTIONS,
            name=self.name,
            cancelled=context.cancelled,
        )
        self._account: Account | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds of a monotonic clock."""
        return self.client.clock.monotonic

    def check(self) -> None:
        """Raise Interrupted where the run is to end."""
        self.client.check()

    # ---- the account

    def account(self) -> Account:
        """Remembered, or asked once. Raises LoginRequired, TemporaryError."""
        with self._lock:
            if self._account is None:
                self._account = self._remembered() or self._asked()
            return self._account

    def user(self) -> Account:
        """Asked now, for the numbers that change."""
        return _pages.account(self._get(f"{BASE}/user", "GET user"))

    def _memory_key(self) -> str:
        refresh = self.own.refresh_token or self.tokens.token().refresh
        text = "" if refresh is None else refresh.reveal()
        return "account:" + hashlib.sha256(text.encode()).hexdigest()

    def _remembered(self) -> Account | None:
        text = self.context.memory.get(self._memory_key())
        if text is None:
            return None
        try:
            user, folders, deleted = json.loads(text)
            if not all(isinstance(part, str) for part in (user, folders, deleted)):
                return None
            if not folders.startswith(f"{BASE}/"):
                return None
            return Account(user, folders, _pages.check_ref(deleted, "folder"), 0, 0)
        except (ValueError, TypeError, ProtocolError):
            return None

    def _asked(self) -> Account:
        found = self.user()
        self.context.memory.set(self._memory_key(), json.dumps([found.user, found.folders, found.deleted]))
        return found

    # ---- reading

    def page(self, ref: str, start: int, count: int = PAGE, *, top: bool = False) -> Page:
        """One page of the contents of a folder."""
        found = self._get(f"{ref}/contents?start={start}&max={count}", "GET contents", max_body=_pages.MAX_BODY)
        return _pages.page(found, start, top=top)

    def file(self, ref: str) -> FileInfo:
        """A file resource."""
        return _pages.file_info(self._get(ref, "GET file"))

    def folder(self, ref: str) -> FolderInfo:
        """A folder resource."""
        return _pages.folder_info(self._get(ref, "GET folder"))

    def data(self, ref: str, headers: tuple[Header, ...] = ()) -> tuple[Stream, bytes]:
        """The content of a file; of an error the page."""
        stream = self.client.stream(Request("GET", f"{ref}/data", headers, op="GET data"))
        if stream.status < 300:
            return stream, b""
        try:
            return stream, stream.read_all(1 << 20)
        finally:
            stream.close()

    def content(self, ref: str, size: int) -> Response:
        """The whole content of a small file; an error page may be larger than it."""
        most = max(size, 64 * 1024) + 1
        response = self._ok(self.client.send(Request("GET", f"{ref}/data", op="GET data", max_body=most)))
        if response.status != 200 or response.header("content-range") is not None:
            raise ProtocolError("the whole file was asked for; a part of it came", op="read")
        return response

    # ---- writing

    def create_file(self, parent: str, name: str) -> str:
        """Make a file without content; its link. Raises Unsure where it may have been made all the same."""
        body = _xml.document("file", (("displayName", name), ("mediaType", _MEDIA)))
        return self._made(parent, body, "POST file", "file")

    def create_folder(self, parent: str, name: str) -> str:
        """Make a folder in a folder; its link."""
        return self._made(parent, _xml.document("folder", (("displayName", name),)), "POST folder", "folder")

    def create_sync_folder(self, name: str) -> None:
        """Make a sync folder; the answer does not say where."""
        body = _xml.document("syncFolder", (("displayName", name),))
        self._post(self.account().folders, body, "POST syncFolder", _SYNC_FOLDER)

    def copy_file(self, source: str, parent: str, name: str) -> str:
        """Copy a file into a folder, under a name; the copy's link."""
        body = _xml.document("fileCopy", (("displayName", name),), attribute=("source", source))
        return self._made(parent, body, "POST fileCopy", "file")

    def put_data(self, ref: str, body: bytes | Body) -> None:
        """Send content. It makes a new version of the file."""
        headers = (("Content-Type", _MEDIA),)
        self._ok(self.client.send(Request("PUT", f"{ref}/data", headers, body, op="PUT data")))

    def change(self, ref: str, name: str, parent: str | None = None) -> None:
        """Rename a file or folder, and move it where a parent is given."""
        kind = "folder" if ref.startswith(f"{BASE}/folder/") else "file"
        pairs = (("displayName", name), *((("parent", parent),) if parent is not None else ()))
        self._ok(self.client.send(Request("PUT", ref, XML, _xml.document(kind, pairs), op=f"PUT {kind}")))

    def trash(self, item: Item) -> None:
        """Take a file away: into the Deleted Files, or for good. A folder is removed for good only when empty."""
        if self.own.hard_delete and not item.is_dir:
            self.remove(item.ref)
        else:
            self.change(item.ref, item.name, self.account().deleted)

    def remove(self, ref: str) -> None:
        """DELETE; what is gone already is gone."""
        kind = "folder" if ref.startswith(f"{BASE}/folder/") else "file"
        response = self.client.send(Request("DELETE", ref, op=f"DELETE {kind}"))
        if response.status != 404:
            self._ok(response)

    def publish(self, ref: str) -> str:
        """Enable the public link of a file; the link."""
        body = b'<?xml version="1.0" encoding="UTF-8"?><file><publicLink enabled="true"/></file>'
        self._ok(self.client.send(Request("PUT", ref, XML, body, op="PUT file")))
        link = self.file(ref).public_link
        if link is None:
            raise ProtocolError("the service enabled the public link, but does not say it", op="link")
        return link

    # ---- the bottom

    def _get(self, url: str, op: str, *, max_body: int = 1 << 20) -> Response:
        return self._ok(self.client.send(Request("GET", url, op=op, max_body=max_body)))

    def _post(self, url: str, body: bytes, op: str, headers: tuple[Header, ...] = XML) -> Response:
        try:
            return self._ok(self.client.send(Request("POST", url, headers, body, op=op, idempotent=False)))
        except ConnectionFailed as error:
            if error.sent:
                raise Unsure(error.message) from error
            raise
        except RateLimited:  # refused, so nothing was made
            raise
        except TemporaryError as error:  # a server error: the thing may have been made before it
            raise Unsure(error.message, retry_after=error.retry_after) from error

    def _made(self, url: str, body: bytes, op: str, kind: str) -> str:
        ref = _pages.location(self._post(url, body, op), kind)
        if ref is None:
            raise Unsure(f"the service made a {kind}, but does not say where")
        return ref

    @staticmethod
    def _ok(response: Response) -> Response:
        if not 200 <= response.status < 300:
            raise _errors.error(response, response.body)
        return response


class Unsure(Exception):
    """Something was to be made, and no answer says whether it was: a listing has to tell. It never leaves the store."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
