"""A SugarSync service in memory: stateful, strict about what it is sent, and faulty on demand.

`FakeSugarSync.handle` is the pure function that the front ends of `http_fake` want. Strict means: a request to another
host, without a valid access token as it is, with an unknown path, parameter or element, or with a wrong type of body is
refused with the web page that the service sends. Names are only labels, so that two files may have the same; a file is
not `presentOnServer`, and of size -1, until its content came. `Habits` are what the documentation leaves open.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from cftool.testing.http_fake import FakeRequest, FakeResponse, Fault, Wire

__all__ = [
    "ACCESS_KEY",
    "APP_ID",
    "BASE",
    "PASSWORD",
    "PRIVATE_KEY",
    "REFRESH",
    "USER",
    "FakeSugarSync",
    "File",
    "Folder",
    "Habits",
]

BASE = "https://api.sugarsync.com"
HOST = "api.sugarsync.com"
ACCOUNT = "566494"
APP_ID, ACCESS_KEY, PRIVATE_KEY = "/sc/10061/3_21053", "FAKEKEYID", "fake-private&key"
USER, PASSWORD = "jsmith@example.org", "s<cr&t"
REFRESH = f"{BASE}/app-authorization/A31303036322f335f3237303337"
_START = 1_800_000_000_000
_XML = (("Content-Type", "application/xml; charset=UTF-8"),)
_ID = re.compile(r"/(file|folder)/:sc:" + ACCOUNT + r":([0-9_]+)(/contents|/data)?")


@dataclass(frozen=True, slots=True)
class Habits:
    """What services may do differently."""

    duplicates: bool = True  # several files of one folder may have one name
    page: int = 100_000  # the most entries of one page
    lists_deleted: bool = True  # the Deleted Files are in the list of sync folders
    quota: int = 10_000_000_000
    life: int = 3600  # seconds of an access token
    announces_length: bool = True  # of downloads


@dataclass(slots=True)
class Folder:
    """A folder; `parent` is an id, None for what is a sync folder."""

    name: str
    parent: str | None


@dataclass(slots=True)
class File:
    """A file; `data` is None until its content came."""

    name: str
    parent: str
    modified: int  # ms
    data: bytes | None = None
    public: bool = False
    versions: int = 0


@dataclass(slots=True)
class _Rule:
    op: str
    name: str | None
    times: int
    skip: int
    act: Callable[[FakeRequest, FakeResponse], FakeResponse] | None
    instead: FakeResponse | None


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True)
class _Call:
    """A request that was understood."""

    op: str
    kind: str = ""
    id: str = ""
    xml: "ET.Element | None" = None
    names: list[str] = field(default_factory=list)


class FakeSugarSync:
    """See the module. `folders` and `files` map ids to what they are; tests look into them and change them at will."""

    def __init__(self, habits: Habits | None = None) -> None:
        self.habits = habits or Habits()
        self.folders: dict[str, Folder] = {"9": Folder("DeletedFiles", None)}
        self.files: dict[str, File] = {}
        self.ops: Counter[str] = Counter()
        self.log: list[tuple[str, str]] = []
        self.keys = (ACCESS_KEY, PRIVATE_KEY)
        self.refresh_tokens = {REFRESH}
        self.tokens: dict[str, int] = {}  # access token: its end, ms
        self.clock = _START
        self.skew = 0  # ms that the service's clock is ahead of the Date it tells; 0: none
        self._rules: list[_Rule] = []
        self._number = 17_000

    # ---- what tests arrange

    def folder(self, path: str) -> str:
        """The id of a folder, made with its parents past all checks."""
        parent: str | None = None
        for name in path.split("/"):
            found = next((i for i, f in self.folders.items() if (f.name, f.parent) == (name, parent)), None)
            if found is None:
                found = self._id()
                self.folders[found] = Folder(name, parent)
            parent = found
        assert parent is not None
        return parent

    def put(self, path: str, data: bytes | None = b"x", *, modified: int | None = None) -> str:
        """The id of a new file, made past all checks; another of the same name stays."""
        place, _, name = path.rpartition("/")
        number = self._id()
        when = self._tick() if modified is None else modified
        self.files[number] = File(name, self.folder(place), when, data)
        return number

    def tree(self) -> dict[str, bytes | None]:
        """Every file by path, outside of the Deleted Files; empty folders as None. Twins get their id."""
        found: dict[str, bytes | None] = {}
        for number, folder in self.folders.items():
            path = self._path(number)
            if path is not None and not self._children(number):
                found[path] = None
            del folder
        for number, file in self.files.items():
            place = self._path(file.parent)
            if place is not None and file.data is not None:
                path = f"{place}/{file.name}"
                found[path if path not in found else f"{path}#{number}"] = file.data
        return found

    def placeholders(self) -> list[str]:
        """Names of files without content, outside of the Deleted Files."""
        return [f.name for f in self.files.values() if f.data is None and self._path(f.parent) is not None]

    def trashed(self) -> list[str]:
        """Names in the Deleted Files."""
        names = [f.name for f in self.files.values() if f.parent == "9"]
        return sorted(names + [f.name for f in self.folders.values() if f.parent == "9"])

    def expire(self) -> None:
        """End all access tokens."""
        self.tokens = dict.fromkeys(self.tokens, 0)

    def fail(
        self, op: str, answer: FakeResponse | tuple[int, str], *, name: str | None = None, times: int = 1, skip: int = 0
    ) -> None:
        """Answer `times` requests of this operation (after `skip`) with this in place of doing them."""
        if isinstance(answer, tuple):
            answer = self.error(*answer)
        self._rules.append(_Rule(op, name, times, skip, None, answer))

    def change(
        self,
        op: str,
        act: Callable[[FakeRequest, FakeResponse], FakeResponse],
        *,
        name: str | None = None,
        times: int = 1,
        skip: int = 0,
    ) -> None:
        """Do the operation, and have `act` change the answer."""
        self._rules.append(_Rule(op, name, times, skip, act, None))

    def lose(self, op: str, *, times: int = 1, skip: int = 0) -> None:
        """Do the operation, and reset the connection in place of the answer."""
        self.change(op, lambda _q, answer: replace(answer, fault=Fault(Wire.RESET)), times=times, skip=skip)

    def cut_upload(self, *, times: int = 1, skip: int = 0) -> None:
        """Take half of a content, publish nothing, and reset the connection."""
        self.fail("PUT data", FakeResponse(200, fault=Fault(Wire.RESET)), times=times, skip=skip)

    @staticmethod
    def error(status: int, text: str) -> FakeResponse:
        """The web page of an error."""
        page = f"<html><head><title>Status page</title></head><body><h3>{escape(text)}</h3></body></html>"
        return FakeResponse(status, (("Content-Type", "text/html; charset=UTF-8"),), page.encode())

    # ---- the entrance

    def handle(self, request: FakeRequest) -> FakeResponse:
        """One request."""
        call = _Call("?")
        try:
            call = self._understood(request)
            self.ops[call.op] += 1
            self.log.append((call.op, self._label(call)))
            rule = self._rule(call)
            if rule is not None and rule.instead is not None:
                return rule.instead
            self._authorise(request, call)
            answer = self._do(request, call)
        except _Refused as refusal:
            rule = None
            answer = self.error(refusal.status, refusal.text)
        if rule is not None and rule.act is not None:
            answer = rule.act(request, answer)
        return answer

    def _rule(self, call: _Call) -> _Rule | None:
        label = self._label(call)
        for rule in self._rules:
            if rule.op in {call.op, "*"} and rule.name in {None, label} and rule.times:
                if rule.skip:
                    rule.skip -= 1
                    continue
                rule.times -= 1
                return rule
        return None

    def _label(self, call: _Call) -> str:
        """The name that the request is about."""
        if call.xml is not None and (name := call.xml.findtext("displayName")) is not None:
            return name
        there = self.files.get(call.id) or self.folders.get(call.id)
        return "" if there is None else there.name

    def _understood(self, request: FakeRequest) -> _Call:
        if (request.scheme, request.host.removesuffix(":443")) != ("https", HOST):
            raise _Refused(404, f"no such host: {request.scheme}://{request.host}")
        if not (request.header("user-agent") or "").startswith("cftool/"):
            raise _Refused(400, "User-Agent must name the application")
        call = self._route(request)
        allowed = {"start", "max"} if call.op == "GET contents" else set()
        if set(request.params) - allowed:
            raise _Refused(400, f"unknown parameters: {request.query}")
        if request.header("range") is not None and call.op != "GET data":
            raise _Refused(400, "Range is for downloads")
        if request.method in {"POST", "PUT"} and call.op != "PUT data":
            if request.header("content-type") != "application/xml; charset=UTF-8":
                raise _Refused(415, "XML in UTF-8 is wanted")
            try:
                call.xml = ET.fromstring(request.body.decode("utf-8"))  # noqa: S314 - our own client's
            except (ET.ParseError, UnicodeDecodeError):
                raise _Refused(400, "The request is no XML") from None
            if call.op == "POST":
                call.op = f"POST {call.xml.tag}"
        return call

    def _route(self, request: FakeRequest) -> _Call:
        method, path = request.method, request.path
        if path in {"/app-authorization", "/authorization"}:
            if method != "POST":
                raise _Refused(405, "Method Not Allowed")
            return _Call("login" if path == "/app-authorization" else "token")
        if path == "/user" and method == "GET":
            return _Call("GET user")
        if path == f"/user/{ACCOUNT}/folders/contents" and method == "GET":
            return _Call("GET contents", "root")
        if path == f"/user/{ACCOUNT}/folders" and method == "POST":
            if request.header("x-sugarsync-api-version") != "1.5":
                raise _Refused(405, "Method Not Allowed")
            return _Call("POST", "root")
        found = _ID.fullmatch(path)
        if found is None:
            raise _Refused(404, "Resource not found")
        kind, number, part = found.groups()
        known = {
            ("folder", None): {"GET": "GET folder", "POST": "POST", "PUT": "PUT folder", "DELETE": "DELETE folder"},
            ("folder", "/contents"): {"GET": "GET contents"},
            ("file", None): {"GET": "GET file", "PUT": "PUT file", "DELETE": "DELETE file"},
            ("file", "/data"): {"GET": "GET data", "PUT": "PUT data"},
        }.get((kind, part), {})
        if method not in known:
            raise _Refused(405, "Method Not Allowed")
        return _Call(known[method], kind, number)

    def _authorise(self, request: FakeRequest, call: _Call) -> None:
        header = request.header("authorization")
        if call.op in {"login", "token"}:
            if header is not None:
                raise _Refused(400, "Authorization is not for logins")
            return
        if header not in self.tokens:
            raise _Refused(401, "Authorization required")
        if self.tokens[header] <= self.clock:
            raise _Refused(401, "The access token has expired")
        if call.kind in {"file", "folder"}:
            there = self.files if call.kind == "file" else self.folders
            if call.id not in there:
                raise _Refused(404, "Resource not found")

    # ---- operations

    def _do(self, request: FakeRequest, call: _Call) -> FakeResponse:
        method = getattr(self, "_op_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", call.op.replace(" ", "_")).lower(), None)
        if method is None:
            raise _Refused(400, f"cannot do {call.op}")
        answer: FakeResponse = method(request, call)
        return answer

    def _fields(self, call: _Call, root: str, *names: str, optional: tuple[str, ...] = ()) -> dict[str, str]:
        """The elements of a body, which must be these."""
        assert call.xml is not None
        if call.xml.tag != root:
            raise _Refused(400, f"{call.xml.tag} is no {root}")
        found = {child.tag: child.text or "" for child in call.xml}
        if not set(names) <= set(found) <= {*names, *optional} or len(found) != len(call.xml):
            raise _Refused(400, f"wrong elements in {root}: {sorted(found)}")
        return found

    def _op_login(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        found = self._fields(call, "appAuthorization", "username", "password", "application", "accessKeyId", "privateAccessKey")  # fmt: skip # noqa: E501
        if (found["username"], found["password"]) != (USER, PASSWORD):
            raise _Refused(401, "Invalid username or password")
        if (found["application"], found["accessKeyId"], found["privateAccessKey"]) != (APP_ID, *self.keys):
            raise _Refused(403, "The application is not known")
        token = f"{BASE}/app-authorization/A{self._tick()}"
        self.refresh_tokens.add(token)
        return FakeResponse(201, (*_XML, ("Location", token)))

    def _op_token(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        found = self._fields(call, "tokenAuthRequest", "accessKeyId", "privateAccessKey", "refreshToken")
        if (found["accessKeyId"], found["privateAccessKey"]) != self.keys:
            raise _Refused(401, "The keys are not known")
        if found["refreshToken"] not in self.refresh_tokens:
            raise _Refused(401, "The refresh token was revoked")
        now = self._tick()
        token = f"{BASE}/authorization/S{now}"
        self.tokens[token] = now + self.habits.life * 1000
        date = datetime.fromtimestamp((now - self.skew) / 1000, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        body = f"<authorization><expiration>{_iso(self.tokens[token])}</expiration><user>{BASE}/user/{ACCOUNT}</user></authorization>"  # noqa: E501
        return _answer(body, 201, ("Location", token), ("Date", date))

    def _op_get_user(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request, call
        used = sum(len(file.data or b"") for file in self.files.values())
        return _answer(
            f"<user><username>{USER}</username><nickname>jsmith</nickname>"
            f"<quota><limit>{self.habits.quota}</limit><usage>{used}</usage></quota>"
            f"<workspaces>{BASE}/user/{ACCOUNT}/workspaces/contents</workspaces>"
            f"<syncfolders>{BASE}/user/{ACCOUNT}/folders/contents</syncfolders>"
            f"<deleted>{self.link('9')}</deleted><maximumPublicLinkSize>25</maximumPublicLinkSize></user>"
        )

    def _op_get_contents(self, request: FakeRequest, call: _Call) -> FakeResponse:
        try:
            start, most = int(request.params.get("start", "0")), int(request.params.get("max", "500"))
        except ValueError:
            raise _Refused(400, "start and max are numbers") from None
        if start < 0 or most < 1:
            raise _Refused(400, "start and max are numbers")
        rows = self._rows(call)
        part = rows[start : start + min(most, self.habits.page)]
        more = "true" if start + len(part) < len(rows) else "false"
        head = f'<collectionContents start="{start}" hasMore="{more}" end="{start + len(part) - 1}">'
        return _answer(f"{head}{''.join(part)}</collectionContents>")

    def _rows(self, call: _Call) -> list[str]:
        if call.kind == "root":
            hidden = set() if self.habits.lists_deleted else {"9"}
            return [self._collection(i, "syncFolder") for i, f in self.folders.items() if f.parent is None and i not in hidden]  # fmt: skip # noqa: E501
        folders, files = self._parts(call.id)
        return [self._collection(i, "folder") for i in folders] + [self._file_row(i) for i in files]

    def _parts(self, number: str) -> tuple[list[str], list[str]]:
        folders = [i for i, f in self.folders.items() if f.parent == number]
        return folders, [i for i, f in self.files.items() if f.parent == number]

    def _children(self, number: str) -> list[str]:
        folders, files = self._parts(number)
        return folders + files

    def _collection(self, number: str, kind: str) -> str:
        link = self.link(number)
        name = escape(self.folders[number].name)
        return f"<collection type={quoteattr(kind)}><displayName>{name}</displayName><ref>{link}</ref><contents>{link}/contents</contents></collection>"  # noqa: E501

    def _file_row(self, number: str) -> str:
        file = self.files[number]
        link = self.link(number)
        data = f"<fileData>{link}/data</fileData>" if file.data is not None else ""
        return f"<file>{_name(file.name)}<ref>{link}</ref>{self._facts(file)}{data}</file>"

    @staticmethod
    def _facts(file: File) -> str:
        size = -1 if file.data is None else len(file.data)
        present = "false" if file.data is None else "true"
        return (
            f"<size>{size}</size><lastModified>{_iso(file.modified)}</lastModified>"
            f"<mediaType>application/octet-stream</mediaType><presentOnServer>{present}</presentOnServer>"
        )

    def _op_get_file(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        return _answer(self._file_xml(call.id))

    def _file_xml(self, number: str) -> str:
        file, link = self.files[number], self.link(number)
        public = '<publicLink enabled="false"/>'
        if file.public:
            public = f'<publicLink enabled="true">https://www.sugarsync.com/pf/D{number}</publicLink>'
        return (
            f"<file>{_name(file.name)}<dsid>/sc/{ACCOUNT}/{number}</dsid><timeCreated>{_iso(file.modified)}</timeCreated>"
            f"<parent>{self.link(file.parent)}</parent>{self._facts(file)}<versions>{link}/version</versions>"
            f"{public}</file>"
        )

    def _op_get_folder(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        folder, link = self.folders[call.id], self.link(call.id)
        parent = f"{BASE}/workspace/:sc:{ACCOUNT}:1" if folder.parent is None else self.link(folder.parent)
        return _answer(
            f"<folder>{_name(folder.name)}<dsid>/sc/{ACCOUNT}/{call.id}</dsid><parent>{parent}</parent>"
            f'<contents>{link}/contents</contents><sharing enabled="false"/></folder>'
        )

    def _op_post_file(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        found = self._fields(call, "file", "displayName", "mediaType")
        self._may_be_called(found["displayName"], call.id)
        number = self._id()
        self.files[number] = File(found["displayName"], call.id, self._tick())
        return FakeResponse(201, (("Location", self.link(number)),))

    def _op_post_folder(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        if call.kind == "root":
            raise _Refused(400, "A folder cannot be made there")
        name = self._fields(call, "folder", "displayName")["displayName"]
        self._may_be_called(name, call.id)
        number = self._id()
        self.folders[number] = Folder(name, call.id)
        return FakeResponse(201, (("Location", self.link(number)),))

    def _op_post_sync_folder(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        if call.kind != "root":
            raise _Refused(400, "A sync folder cannot be made there")
        name = self._fields(call, "syncFolder", "displayName")["displayName"]
        self._may_be_called(name, None)
        self.folders[self._id()] = Folder(name, None)
        return FakeResponse(201)

    def _op_post_file_copy(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        name = self._fields(call, "fileCopy", "displayName")["displayName"]
        assert call.xml is not None
        source = self._linked(call.xml.get("source", ""), "file")
        if self.files[source].data is None:
            raise _Refused(400, "The file has no content")
        self._may_be_called(name, call.id)
        number = self._id()
        self.files[number] = File(name, call.id, self._tick(), self.files[source].data)
        return FakeResponse(201, (("Location", self.link(number)),))

    def _op_put_file(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        file = self.files[call.id]
        found = self._fields(call, "file", optional=("displayName", "parent", "publicLink"))
        if "parent" in found or "displayName" in found:
            parent = self._linked(found["parent"], "folder") if "parent" in found else file.parent
            name = found.get("displayName", file.name)
            if (name, parent) != (file.name, file.parent) and parent != "9":
                self._may_be_called(name, parent)
            file.name, file.parent = name, parent
        if "publicLink" in found:
            assert call.xml is not None
            link = call.xml.find("publicLink")
            file.public = link is not None and link.get("enabled") == "true"
        return _answer(self._file_xml(call.id))

    def _op_put_folder(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        folder = self.folders[call.id]
        found = self._fields(call, "folder", optional=("displayName", "parent"))
        if folder.parent is None:
            raise _Refused(400, "Can not move sync folder.")
        parent = self._linked(found["parent"], "folder") if "parent" in found else folder.parent
        at: str | None = parent
        while at is not None:
            if at == call.id:
                raise _Refused(400, "A folder cannot be moved into itself")
            at = self.folders[at].parent
        folder.name, folder.parent = found.get("displayName", folder.name), parent
        return FakeResponse(204)

    def _op_put_data(self, request: FakeRequest, call: _Call) -> FakeResponse:
        if request.header("content-length") != str(len(request.body)):
            raise _Refused(400, "The content is not as long as announced")
        used = sum(len(file.data or b"") for file in self.files.values())
        if used + len(request.body) > self.habits.quota:
            raise _Refused(403, "Storage quota exceeded")
        file = self.files[call.id]
        file.data, file.modified, file.versions = request.body, self._tick(), file.versions + 1
        return FakeResponse(200)

    def _op_get_data(self, request: FakeRequest, call: _Call) -> FakeResponse:
        data = self.files[call.id].data
        if data is None:
            raise _Refused(404, "The file is not on the server")
        kind = (("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes"))
        asked = request.header("range")
        if asked is None:
            return FakeResponse(200, kind, data)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        if found is None or int(found[1]) >= len(data):
            raise _Refused(416, "Requested range not satisfiable")
        start, end = int(found[1]), min(int(found[2] or len(data)) + 1, len(data))
        return FakeResponse(206, (*kind, ("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")), data[start:end])

    def _op_delete_file(self, request: FakeRequest, call: _Call) -> FakeResponse:
        del request
        del self.files[call.id]
        return FakeResponse(204)

    def _op_delete_folder(self, request: FakeRequest, call: _Call) -> FakeResponse:
        """What is in it is orphaned: it has a parent that is nowhere."""
        del request
        del self.folders[call.id]
        return FakeResponse(204)

    # ---- helpers

    @staticmethod
    def _id_text(number: int) -> str:
        return f"6552993_{number}"

    def _id(self) -> str:
        self._number += 1
        return self._id_text(self._number)

    def _tick(self) -> int:
        self.clock += 1000
        return self.clock

    def link(self, number: str) -> str:
        """The link of a file or folder."""
        kind = "file" if number in self.files else "folder"
        return f"{BASE}/{kind}/:sc:{ACCOUNT}:{number}"

    def _linked(self, link: str, kind: str) -> str:
        found = _ID.fullmatch(link.removeprefix(BASE))
        if found is None or found[1] != kind or found[3] is not None:
            raise _Refused(400, f"{link} is no {kind}")
        if found[2] not in (self.files if kind == "file" else self.folders):
            raise _Refused(404, "Resource not found")
        return found[2]

    def _may_be_called(self, name: str, parent: str | None) -> None:
        if not name or "/" in name or any(ord(char) < 32 for char in name):
            raise _Refused(400, "The name is not allowed")
        if not self.habits.duplicates:
            taken = [f.name for f in self.folders.values() if f.parent == parent]
            taken += [f.name for f in self.files.values() if f.parent == parent and f.data is not None]
            if name.casefold() in {each.casefold() for each in taken}:
                raise _Refused(400, "An object of that name exists already")

    def _path(self, number: str) -> str | None:
        """Of a folder; None in the Deleted Files or nowhere."""
        names: list[str] = []
        at: str | None = number
        while at is not None:
            folder = self.folders.get(at)
            if folder is None or at == "9":
                return None
            names.insert(0, folder.name)
            at = folder.parent
        return "/".join(names)


def _name(name: str) -> str:
    return f"<displayName>{escape(name)}</displayName>"


def _iso(ms: int) -> str:
    """As the service writes it: milliseconds, and an offset of its own."""
    when = datetime.fromtimestamp(ms // 1000 - 8 * 3600, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}-08:00"


def _answer(body: str, status: int = 200, *headers: tuple[str, str]) -> FakeResponse:
    text = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{body}'
    return FakeResponse(status, (*_XML, *headers), text.encode("utf-8"))
