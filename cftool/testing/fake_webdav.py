"""A WebDAV server in memory: stateful, strict about what it is sent, and of different kinds (`Habits`).

`FakeWebDav.handle` is the pure function that the front ends of `http_fake` want. Strict means: a request is refused
whose body is no proper XML, whose Destination is no absolute escaped URL of this server, whose Depth or Overwrite is
unknown to RFC 4918, or whose login is wrong. Nextcloud's part follows its documentation and source: X-OC-MTime,
OC-Checksum, status.php and chunked uploads, version 2. `rule` puts any answer in place of the right one.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from cftool.testing.http_fake import FakeRequest, FakeResponse

__all__ = ["FakeWebDav", "Habits", "Node", "Upload"]

_START = 1_700_000_000
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OC = "http://owncloud.org/ns"
_OLDEST = 24 * 60 * 60  # Nextcloud refuses earlier times
_SMALLEST = 5 * 1024 * 1024  # bytes of a piece, but for the last one


@dataclass(frozen=True, slots=True)
class Habits:
    """What servers do differently."""

    vendor: str = "plain"  # plain, nextcloud, owncloud, apache
    base: str = "/dav"
    user: str = ""  # empty: no login
    password: str = ""
    auth: str = "basic"  # basic, digest (MD5), digest-sha256, bearer
    infinity: str = "yes"  # yes, refused (403), one (answered as depth 1), cut (stops in the middle of the XML)
    header_time: bool = False
    patch_time: str = ""  # the name of the DAV property that sets the time
    stores_patches: bool = False  # answers 200 to any PROPPATCH, without effect
    conditions: bool = True  # If-Match, If-None-Match and If of writes
    overwrite_f: bool = True  # obeys `Overwrite: F`
    put_etags: bool = True
    get_etags: bool = True
    weak_etags: bool = False  # always; then they match no If-Match
    ranges: bool = True
    slash_redirects: bool = False
    mkcol_exists: int = 405
    href: Callable[[str, str], str] = lambda _origin, path: path
    bare_names: bool = False  # 4shared
    types: bool = True  # GMX leaves them out of some answers
    deletes_directories: bool = True
    late: int = 0  # looks for which something new is not there yet
    quota: tuple[int, int] | None = (1_000_000, 5_000)  # used and free
    missing_parent: int = 409


@dataclass(slots=True)
class Node:
    """A file, or a directory where `data` is None."""

    data: bytes | None
    when: int
    etag: str
    checksums: str = ""
    hidden: int = 0


@dataclass(slots=True)
class Upload:
    """A chunked upload."""

    destination: str
    parts: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Rule:
    method: str
    path: str | None
    times: int
    skip: int
    act: Callable[[FakeRequest, FakeResponse], FakeResponse] | None
    instead: FakeResponse | None


class _Refused(Exception):
    def __init__(self, status: int, text: str = "", *headers: tuple[str, str]) -> None:
        super().__init__(status)
        self.response = FakeResponse(status, headers, text.encode())


class FakeWebDav:
    """One server with one account. `nodes` by path, the top being ""."""

    def __init__(self, habits: Habits | None = None) -> None:
        habits = habits or Habits()
        if habits.vendor in {"nextcloud", "owncloud"}:
            files = "/remote.php/dav/files/me" if habits.base == "/dav" else habits.base
            habits = replace(habits, base=files, header_time=True, infinity="one")
            if habits.vendor == "nextcloud":
                habits = replace(habits, patch_time="lastmodified")
        if habits.vendor == "apache":
            habits = replace(habits, put_etags=False, weak_etags=True, slash_redirects=True, stores_patches=True)
            habits = replace(habits, mkcol_exists=301)
        self.habits = habits
        self.nodes: dict[str, Node] = {"": Node(None, _START, "top")}
        self.uploads: dict[str, Upload] = {}
        self.requests: Counter[str] = Counter()
        self.log: list[str] = []
        self.now = _START
        self.nonce = "nonce-1"
        self.counts: set[tuple[str, str]] = set()
        self.smallest = _SMALLEST
        self._rules: list[_Rule] = []
        self._serial = 0

    # ---- for tests

    def rule(
        self,
        method: str,
        path: str | None = None,
        *,
        times: int = 1,
        skip: int = 0,
        act: Callable[[FakeRequest, FakeResponse], FakeResponse] | None = None,
        instead: FakeResponse | None = None,
    ) -> None:
        """`instead` answers in place of the server, which then does nothing; `act` changes its answer."""
        self._rules.append(_Rule(method, path, times, skip, act, instead))

    def put(self, path: str, data: bytes = b"content", *, when: int | None = None) -> None:
        """A file, with the directories above it."""
        above = path.rpartition("/")[0]
        if above:
            self.mkdir(above)
        self.nodes[path] = Node(data, self.now if when is None else when, self._etag())

    def mkdir(self, path: str) -> None:
        """A directory, with those above it."""
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            self.nodes.setdefault("/".join(parts[:end]), Node(None, self.now, self._etag()))

    def files(self) -> dict[str, bytes]:
        """All files and their content."""
        return {path: node.data for path, node in self.nodes.items() if node.data is not None}

    # ---- the entry

    def handle(self, request: FakeRequest) -> FakeResponse:
        """The answer to one request."""
        self.requests[request.method] += 1
        self.log.append(f"{request.method} {request.decoded_path}")
        self.now += 1
        for rule in self._rules:
            if (
                rule.method not in {request.method, "*"}
                or not rule.times
                or rule.path not in {None, self._path(request)}
            ):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            rule.times -= 1
            if rule.instead is not None:
                return rule.instead
            assert rule.act is not None
            return rule.act(request, self._answer(request))
        return self._answer(request)

    def _answer(self, request: FakeRequest) -> FakeResponse:
        try:
            if request.path == "/status.php" and self.habits.vendor in {"nextcloud", "owncloud"}:
                name = "Nextcloud" if self.habits.vendor == "nextcloud" else "ownCloud"
                return FakeResponse(200, body=f'{{"installed":true,"productname":"{name}"}}'.encode())
            self._authorize(request)
            if self.habits.vendor == "nextcloud" and request.path.startswith("/remote.php/dav/uploads/me"):
                return self._uploads(request)
            path = self._path(request)
            if path is None:
                raise _Refused(404, "outside")
            method = getattr(self, "_do_" + request.method.lower(), None)
            if method is None:
                raise _Refused(405)
            answer: FakeResponse = method(request, path)
        except _Refused as refused:
            return refused.response
        return answer

    def _path(self, request: FakeRequest) -> str | None:
        return self._relative(request.path)

    def _relative(self, raw: str) -> str | None:
        base = self.habits.base.rstrip("/")
        if raw.rstrip("/") == base:
            return ""
        if not raw.startswith(base + "/"):
            return None
        rest = raw[len(base) + 1 :].removesuffix("/")
        names = [unquote(name, errors="surrogateescape") for name in rest.split("/")]
        if any(not name or name in {".", ".."} or "/" in name or "\0" in name for name in names):
            raise _Refused(400, "bad path")
        return "/".join(names)

    def _etag(self) -> str:
        self._serial += 1
        return f"etag-{self._serial}"

    def _node(self, path: str) -> Node:
        node = self.nodes.get(path)
        if node is None:
            raise _Refused(404, "nothing there")
        if node.hidden:
            node.hidden -= 1
            raise _Refused(404, "not yet")
        return node

    def _parent(self, path: str) -> None:
        above = self.nodes.get(path.rpartition("/")[0])
        if above is None or above.data is not None:
            raise _Refused(self.habits.missing_parent, "no parent")

    def _slash(self, request: FakeRequest, node: Node) -> None:
        if self.habits.slash_redirects and node.data is None and not request.path.endswith("/"):
            raise _Refused(301, "moved", ("Location", request.url + "/"))

    # ---- logins

    def _authorize(self, request: FakeRequest) -> None:
        habits = self.habits
        if not habits.user:
            return
        given = request.header("authorization") or ""
        if habits.auth == "bearer":
            if given != f"Bearer {habits.password}":
                raise _Refused(401, "", ("WWW-Authenticate", "Bearer"))
        elif habits.auth == "basic":
            right = base64.b64encode(f"{habits.user}:{habits.password}".encode()).decode()
            if given != f"Basic {right}":
                raise _Refused(401, "", ("WWW-Authenticate", 'Basic realm="fake, or so"'))
        else:
            self._digest(request, given)

    def _digest(self, request: FakeRequest, given: str) -> None:
        name = "SHA-256" if self.habits.auth == "digest-sha256" else "MD5"
        challenge = f'Digest realm="fake", qop="auth", nonce="{self.nonce}", algorithm={name}, opaque="op"'
        fields = {m[1]: m[2].strip('"') for m in re.finditer(r'(\w+)=("[^"]*"|[^,\s]+)', given)}
        if not given.startswith("Digest ") or fields.get("nonce") != self.nonce:
            stale = ", stale=true" if given.startswith("Digest ") else ""
            raise _Refused(401, "", ("WWW-Authenticate", challenge + stale))

        def digest(text: str) -> str:
            return hashlib.new(name.replace("-", "").lower(), text.encode()).hexdigest()

        first = digest(f"{self.habits.user}:fake:{self.habits.password}")
        second = digest(f"{request.method}:{request.target}")
        right = digest(f"{first}:{self.nonce}:{fields['nc']}:{fields['cnonce']}:auth:{second}")
        if fields["response"] != right or fields["uri"] != request.target or fields.get("opaque") != "op":
            raise _Refused(401, "", ("WWW-Authenticate", challenge))
        if (self.nonce, fields["nc"]) in self.counts:
            raise _Refused(400, "a count was used twice")
        self.counts.add((self.nonce, fields["nc"]))

    # ---- looking

    def _do_options(self, _request: FakeRequest, path: str) -> FakeResponse:
        self._node(path)
        dav = {"nextcloud": "1, 3, extended-mkcol, nextcloud-checksum-update", "owncloud": "1, 3, extended-mkcol"}
        headers = [("DAV", dav.get(self.habits.vendor, "1,2"))]
        if self.habits.vendor == "apache":
            headers.append(("DAV", "<http://apache.org/dav/propset/fs/1>"))
        return FakeResponse(200, tuple(headers))

    def _do_propfind(self, request: FakeRequest, path: str) -> FakeResponse:
        depth = request.header("depth")
        if depth not in {"0", "1", "infinity"}:
            raise _Refused(400, "bad depth")
        wanted = _properties(request.body)
        node = self._node(path)
        self._slash(request, node)
        found = [path]
        if depth == "infinity" and self.habits.infinity == "refused":
            text = '<?xml version="1.0"?><d:error xmlns:d="DAV:"><d:propfind-finite-depth/></d:error>'
            raise _Refused(403, text, ("Content-Type", "application/xml"))
        if depth == "infinity" and self.habits.infinity == "one":
            depth = "1"
        if depth != "0" and node.data is None:
            lead = path + "/" if path else ""
            below = [p for p in self.nodes if p and p.startswith(lead) and p != path]
            found += [p for p in below if depth == "infinity" or "/" not in p[len(lead) :]]
        origin = f"{request.scheme}://{request.host}"
        rows = "".join(self._row(origin, p, wanted) for p in found if p == path or not self.nodes[p].hidden)
        body = _multistatus(rows)
        if depth == "infinity" and self.habits.infinity == "cut":
            body = body[: len(body) * 2 // 3]
        if self.habits.bare_names:
            body = body.replace(b"d:", b"").replace(b' xmlns:d="DAV:"', b"")
        return FakeResponse(207, (("Content-Type", 'application/xml; charset="utf-8"'),), body)

    def _row(self, origin: str, path: str, wanted: list[str]) -> str:
        node = self.nodes[path]
        base = self.habits.base.rstrip("/")
        href = f"{base}/{quote(path, errors='surrogateescape')}" if path else base
        if node.data is None:
            href = href.rstrip("/") + "/"
        good, bad = "", ""
        for name in wanted:
            value = self._property(path, node, name)
            namespace, _, local = name[1:].partition("}")
            tag = f"d:{local}" if namespace == "DAV:" else f'o:{local} xmlns:o="{namespace}"'
            end = tag.partition(" ")[0]
            if value is None:
                bad += f"<{tag}/>"
            else:
                good += f"<{tag}>{value}</{end}>"
        text = f"<d:response><d:href>{escape(self.habits.href(origin, href))}</d:href>"
        text += f"<d:propstat><d:prop>{good}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>"
        if bad:
            text += f"<d:propstat><d:prop>{bad}</d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>"
        return text + "</d:response>"

    def _property(self, path: str, node: Node, name: str) -> str | None:
        is_file = node.data is not None
        if name == "{DAV:}resourcetype":
            if not self.habits.types:
                return None
            return "" if is_file else "<d:collection/>"
        if name == "{DAV:}getcontentlength":
            return str(len(node.data or b"")) if is_file else None
        if name == "{DAV:}getlastmodified":
            return _date(node.when)
        if name == "{DAV:}getetag":
            return escape(self._tag(node)) if is_file else None
        if name == "{DAV:}getcontenttype":
            return "application/octet-stream" if is_file else "httpd/unix-directory"
        if name in {"{DAV:}quota-used-bytes", "{DAV:}quota-available-bytes"} and self.habits.quota and not path:
            return str(self.habits.quota["used" not in name])
        if name == f"{{{_OC}}}checksums" and self.habits.vendor in {"nextcloud", "owncloud"} and node.checksums:
            return f'<o:checksum xmlns:o="{_OC}">{node.checksums}</o:checksum>'
        return None

    def _tag(self, node: Node) -> str:
        return f'{"W/" if self.habits.weak_etags else ""}"{node.etag}"'

    def _do_get(self, request: FakeRequest, path: str) -> FakeResponse:
        node = self._node(path)
        self._slash(request, node)
        if node.data is None:
            raise _Refused(405)
        headers = [("Last-Modified", _date(node.when))]
        if self.habits.get_etags:
            headers.append(("ETag", self._tag(node)))
        if node.checksums:
            headers.append(("OC-Checksum", node.checksums.partition(" ")[0]))
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or "")
        if span is None or not self.habits.ranges:
            return FakeResponse(200, tuple(headers), node.data)
        first, last = int(span[1]), min(int(span[2] or len(node.data)), len(node.data) - 1)
        if first >= len(node.data):
            raise _Refused(416, "", ("Content-Range", f"bytes */{len(node.data)}"))
        headers.append(("Content-Range", f"bytes {first}-{last}/{len(node.data)}"))
        return FakeResponse(206, tuple(headers), node.data[first : last + 1])

    # ---- changing

    def _do_put(self, request: FakeRequest, path: str) -> FakeResponse:
        old = self.nodes.get(path)
        if old is not None and old.data is None:
            self._slash(request, old)
            raise _Refused(405 if self.habits.vendor != "nextcloud" else 409)
        if not path or request.path.endswith("/"):
            raise _Refused(405)
        self._parent(path)
        self._conditions(request, path)
        return self._store(request, path, request.body)

    def _store(self, request: FakeRequest, path: str, data: bytes) -> FakeResponse:
        new = path not in self.nodes
        headers: list[tuple[str, str]] = []
        when = self.now
        given = request.header("x-oc-mtime")
        if given is not None and self.habits.header_time:
            if self.habits.vendor in {"nextcloud", "owncloud"}:
                if int(given) <= _OLDEST:
                    raise _Refused(500, "X-OC-MTime header must be a valid positive unix timestamp")
                headers.append(("X-OC-MTime", "accepted"))
            when = int(given)
        checksum = request.header("oc-checksum") or ""
        if self.habits.vendor == "owncloud" and checksum:
            name, _, value = checksum.partition(":")
            if hashlib.new(name.lower(), data).hexdigest() != value:
                raise _Refused(400, "<s:message>The computed checksum does not match the one received</s:message>")
        keeps = self.habits.vendor in {"nextcloud", "owncloud"}
        node = Node(data, when, self._etag(), checksum if keeps else "", self.habits.late if new else 0)
        self.nodes[path] = node
        if self.habits.put_etags:
            headers.append(("ETag", self._tag(node)))
        return FakeResponse(201 if new else 204, tuple(headers))

    def _conditions(self, request: FakeRequest, path: str) -> None:
        if not self.habits.conditions:
            return
        node = self.nodes.get(path)
        if request.header("if-none-match") == "*" and node is not None:
            raise _Refused(412)
        match = request.header("if-match")
        if match is not None and (node is None or self.habits.weak_etags or match != f'"{node.etag}"'):
            raise _Refused(412)
        self._if(request, path)

    def _if(self, request: FakeRequest, path: str) -> None:
        given = request.header("if")
        if given is None:
            return
        found = re.fullmatch(r'(?:<([^>]+)> )?\(\["([^"]*)"\]\)', given)
        if found is None:
            raise _Refused(400, "If is not understood")
        if found[1] is not None:
            path = self._relative(urlsplit(found[1]).path) or ""
        node = self.nodes.get(path)
        if node is None or node.etag != found[2]:
            raise _Refused(412)

    def _do_mkcol(self, request: FakeRequest, path: str) -> FakeResponse:
        if path in self.nodes:
            headers = (("Location", request.url),) if self.habits.mkcol_exists == 301 else ()
            raise _Refused(self.habits.mkcol_exists, "", *headers)
        self._parent(path)
        self.nodes[path] = Node(None, self.now, self._etag())
        return FakeResponse(201)

    def _do_delete(self, request: FakeRequest, path: str) -> FakeResponse:
        node = self._node(path)
        self._slash(request, node)
        if node.data is None and not self.habits.deletes_directories:
            raise _Refused(403)
        for each in [p for p in self.nodes if p == path or p.startswith(path + "/")]:
            del self.nodes[each]
        return FakeResponse(204)

    def _do_copy(self, request: FakeRequest, path: str) -> FakeResponse:
        return self._transport(request, path, keep=True)

    def _do_move(self, request: FakeRequest, path: str) -> FakeResponse:
        return self._transport(request, path, keep=False)

    def _destination(self, request: FakeRequest) -> str:
        given = request.header("destination") or ""
        place = urlsplit(given)
        if f"{place.scheme}://{place.netloc}" != f"{request.scheme}://{request.host}" or not given.isascii():
            raise _Refused(400, "Destination must be an absolute URL of this server")
        found = self._relative(place.path)
        if not found:
            raise _Refused(403, "bad destination")
        return found

    def _transport(self, request: FakeRequest, path: str, *, keep: bool) -> FakeResponse:
        overwrite = request.header("overwrite") or "T"
        if overwrite not in {"T", "F"}:
            raise _Refused(400, "bad Overwrite")
        dst = self._destination(request)
        node = self._node(path)
        self._slash(request, node)
        if self.habits.conditions:
            self._if(request, path)
        self._parent(dst)
        exists = dst in self.nodes
        if exists and overwrite == "F" and self.habits.overwrite_f:
            raise _Refused(412)
        if dst == path or dst.startswith(path + "/"):
            raise _Refused(403)
        for each in [p for p in self.nodes if p == dst or p.startswith(dst + "/")]:
            del self.nodes[each]
        for each in [p for p in self.nodes if p == path or p.startswith(path + "/")]:
            moved = self.nodes[each] if keep else self.nodes.pop(each)
            self.nodes[dst + each[len(path) :]] = replace(moved, etag=self._etag() if keep else moved.etag)
        return FakeResponse(204 if exists else 201)

    def _do_proppatch(self, request: FakeRequest, path: str) -> FakeResponse:
        node = self._node(path)
        self._slash(request, node)
        root = _xml(request.body)
        [prop] = list(root.iterfind("{DAV:}set/{DAV:}prop/*"))
        name = prop.tag.rpartition("}")[2]
        status = "HTTP/1.1 200 OK" if self.habits.stores_patches else "HTTP/1.1 403 Forbidden"
        if prop.tag == f"{{DAV:}}{self.habits.patch_time}":
            node.when = int(prop.text or "")
            node.checksums = ""  # as Nextcloud does
            status = "HTTP/1.1 200 OK"
        row = f"<d:response><d:href>{escape(request.path)}</d:href><d:propstat><d:prop><d:{name}/></d:prop>"
        row += f"<d:status>{status}</d:status></d:propstat></d:response>"
        return FakeResponse(207, (("Content-Type", "text/xml"),), _multistatus(row))

    # ---- Nextcloud's chunked uploads

    def _uploads(self, request: FakeRequest) -> FakeResponse:
        parts = request.path.removeprefix("/remote.php/dav/uploads/me").strip("/").split("/")
        upload_id, name = parts[0], parts[1] if len(parts) > 1 else ""
        if request.method == "MKCOL":
            if upload_id in self.uploads:
                raise _Refused(405)
            self.uploads[upload_id] = Upload(self._destination(request))
            return FakeResponse(201)
        if request.method == "PROPFIND":
            return self._uploads_found(upload_id)
        upload = self.uploads.get(upload_id)
        if upload is None:
            raise _Refused(404)
        if request.method == "PUT":
            if not (name.isdigit() and 1 <= int(name) <= 10_000) or self._destination(request) != upload.destination:
                raise _Refused(400, "bad piece")
            upload.parts[name] = request.body
            return FakeResponse(201)
        if request.method == "DELETE" and not name:
            del self.uploads[upload_id]
            return FakeResponse(204)
        if request.method == "MOVE" and name == ".file":
            return self._assemble(request, upload_id, upload)
        raise _Refused(405)

    def _uploads_found(self, upload_id: str) -> FakeResponse:
        rows = ""
        if upload_id and upload_id not in self.uploads:
            raise _Refused(404)
        top = f"/remote.php/dav/uploads/me/{upload_id}"
        found: dict[str, int | None] = {top.rstrip("/") + "/": None}
        if upload_id:
            found |= {f"{top}/{name}": len(data) for name, data in self.uploads[upload_id].parts.items()}
            found[f"{top}/.file"] = sum(map(len, self.uploads[upload_id].parts.values()))
        else:
            found |= {f"{top}{name}/": None for name in self.uploads}
        for href, size in found.items():
            kind = "<d:collection/>" if size is None else ""
            rows += f"<d:response><d:href>{href}</d:href><d:propstat><d:prop><d:resourcetype>{kind}</d:resourcetype>"
            rows += f"<d:getlastmodified>{_date(self.now)}</d:getlastmodified>"
            rows += "" if size is None else f"<d:getcontentlength>{size}</d:getcontentlength>"
            rows += "</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        return FakeResponse(207, (("Content-Type", "application/xml"),), _multistatus(rows))

    def _assemble(self, request: FakeRequest, upload_id: str, upload: Upload) -> FakeResponse:
        dst = self._destination(request)
        self._parent(dst)
        if dst in self.nodes and request.header("overwrite") == "F":
            raise _Refused(412)
        self._if(request, dst)
        parts = [upload.parts[name] for name in sorted(upload.parts, key=int)]
        if any(len(part) < self.smallest for part in parts[:-1]):
            raise _Refused(400, "<s:message>a piece is too small</s:message>")
        data = b"".join(parts)
        if request.header("oc-total-length") != str(len(data)):
            raise _Refused(400, "<s:message>Chunks on server do not sum up</s:message>")
        response = self._store(request, dst, data)
        del self.uploads[upload_id]
        return response


def _multistatus(rows: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?><d:multistatus xmlns:d="DAV:">{rows}</d:multistatus>'.encode()


def _xml(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - of cftool's own making, in tests
    except ET.ParseError:
        raise _Refused(400, "no XML") from None


def _properties(body: bytes) -> list[str]:
    root = _xml(body)
    if root.tag != "{DAV:}propfind" or len(root) != 1 or root[0].tag != "{DAV:}prop":
        raise _Refused(400, "no list of properties")
    return [prop.tag for prop in root[0]]


def _date(seconds: int) -> str:
    from datetime import UTC, datetime

    when = datetime.fromtimestamp(seconds, UTC)
    return f"{_DAYS[when.weekday()]}, {when.day:02} {_MONTHS[when.month - 1]} {when.year:04} {when:%H:%M:%S} GMT"
