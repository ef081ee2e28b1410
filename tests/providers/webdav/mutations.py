"""Wrong answers to a listing, made from a right one: each looks like a success, and none may be believed.

`MUTATIONS` maps a name to a function from the good answer (of the directory `d` with the files `a` and `b` and the
directory `sub`, asked of the fake below `/dav`) to the bad one. Used against the decoder, the store, and syncs.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from cftool.testing.http_fake import FakeResponse

Mutation = Callable[[FakeResponse], FakeResponse]
HTML = b"<!DOCTYPE html><html><head><title>Login</title></head><body>Welcome to the WiFi</body></html>"
XHTML = b'<html xmlns="http://www.w3.org/1999/xhtml"><body>hello</body></html>'
ROW = rb"<d:response>(?:(?!</d:response>).)*?"


def _body(change: Callable[[bytes], bytes]) -> Mutation:
    def mutate(answer: FakeResponse) -> FakeResponse:
        body = change(answer.body)
        assert body != answer.body, "the mutation changes nothing"
        return replace(answer, body=body)

    return mutate


def _sub(pattern: bytes, with_: bytes, count: int = 1) -> Mutation:
    return _body(lambda body: re.sub(pattern, with_, body, count=count, flags=re.DOTALL))


def _row(name: bytes, pattern: bytes, with_: bytes) -> Mutation:
    """Within the row of one entry."""

    def change(body: bytes) -> bytes:
        for row in re.findall(rb"<d:response>.*?</d:response>", body, re.DOTALL):
            if b"/" + name + b"</d:href>" in row:
                return body.replace(row, re.sub(pattern, with_, row, count=1, flags=re.DOTALL))
        raise AssertionError("no such row")

    return _body(change)


def _typed(kind: str) -> Mutation:
    return lambda answer: replace(answer, headers=(("Content-Type", kind),))


def _status(status: int) -> Mutation:
    return lambda answer: replace(answer, status=status)


def _whole(body: bytes, kind: str = "application/xml", status: int = 207) -> Mutation:
    return lambda answer: FakeResponse(status, (("Content-Type", kind),), body)


def _href(name: bytes, new: bytes) -> Mutation:
    return _row(name, rb"<d:href>.*?</d:href>", b"<d:href>" + new + b"</d:href>")


_OPEN = b'<?xml version="1.0" encoding="utf-8"?>'
_BOMB = (
    _OPEN + b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<d:multistatus xmlns:d="DAV:"><d:responsedescription>&b;</d:responsedescription></d:multistatus>'
)
_EXTERNAL = (
    _OPEN + b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<d:multistatus xmlns:d="DAV:"><d:responsedescription>&a;</d:responsedescription></d:multistatus>'
)

MUTATIONS: dict[str, Mutation] = {
    "HTML with 200": _whole(HTML, "text/html", 200),
    "HTML with 207": _whole(HTML, "text/html"),
    "HTML that says it is XML": _whole(HTML),
    "well-formed HTML": _whole(XHTML),
    "an empty body with 200": _whole(b"", status=200),
    "an empty body with 207": _whole(b""),
    "an empty body without a type": lambda answer: FakeResponse(207, (), b""),
    "white space": _whole(b"  \n  "),
    "JSON": _whole(b'{"files": []}', "application/json"),
    "JSON that says it is XML": _whole(b'{"files": []}'),
    "plain text": _typed("text/plain"),
    "no type": lambda answer: replace(answer, headers=()),
    "status 200": _status(200),
    "status 202": _status(202),
    "status 204": _status(204),
    "status 206": _status(206),
    "an error document": _whole(b'<?xml version="1.0"?><d:error xmlns:d="DAV:"><d:lock-token-submitted/></d:error>'),
    "another root element": _sub(rb"d:multistatus", b"d:multistatuses", count=0),
    "a foreign namespace": _sub(rb'xmlns:d="DAV:"', b'xmlns:d="http://example.com/other/"'),
    "no namespace": _body(lambda body: body.replace(b"d:", b"").replace(b' xmlns:d="DAV:"', b"")),
    "no response at all": _sub(rb"<d:response>.*</d:response>", b""),
    "the directory itself left out": _row(b"d/", rb"<d:response>.*</d:response>", b""),
    "the directory itself twice": _row(b"d/", rb"(<d:response>.*</d:response>)", rb"\1\1"),
    "the directory itself is a file": _row(b"d/", rb"<d:collection/>", b""),
    "another directory": _sub(rb"/dav/d/", b"/dav/e/", count=0),
    "an entry of another directory": _href(b"a", b"/dav/e/a"),
    "an entry of another server's root": _href(b"a", b"http://elsewhere.test/a"),
    "an entry further down": _href(b"a", b"/dav/d/deep/er/a"),
    "an entry twice": _row(b"a", rb"(<d:response>.*</d:response>)", rb"\1\1"),
    "an entry twice, escaped otherwise": _href(b"a", b"/dav/d/%62"),
    "an entry without a name": _row(b"a", rb"<d:href>.*?</d:href>", b""),
    "an entry with an empty name": _href(b"a", b""),
    "an entry with two names": _row(b"a", rb"(<d:href>.*?</d:href>)", rb"\1<d:href>/dav/d/z</d:href>"),
    "a name that is ..": _href(b"a", b"/dav/d/.."),
    "a name that is an escaped ..": _href(b"a", b"/dav/d/%2e%2e"),
    "a name that is .": _href(b"a", b"/dav/d/."),
    "a name with an escaped slash": _href(b"a", b"/dav/d/x%2Fy"),
    "a name with a NUL": _href(b"a", b"/dav/d/x%00y"),
    "a name behind an empty one": _href(b"a", b"/dav/d//a"),
    "a relative name": _href(b"a", b"a"),
    "a name with a query": _href(b"a", b"/dav/d/a?x=1"),
    "a name that is a script": _href(b"a", b"javascript:alert(1)"),
    "an entry that was not found": _row(
        b"a", rb"<d:propstat>.*</d:propstat>", b"<d:status>HTTP/1.1 404 Not Found</d:status>"
    ),
    "an entry that is forbidden": _row(
        b"a", rb"<d:propstat>.*</d:propstat>", b"<d:status>HTTP/1.1 403 Forbidden</d:status>"
    ),
    "an entry with a server error": _row(b"a", rb"HTTP/1\.1 200 OK", b"HTTP/1.1 500 Internal Server Error"),
    "an entry that says nothing": _row(b"a", rb"<d:propstat>.*</d:propstat>", b""),
    "properties without a status": _row(b"a", rb"<d:status>.*?</d:status>", b""),
    "a status that is none": _row(b"a", rb"HTTP/1\.1 200 OK", b"fine"),
    "an entry without a type": _row(b"a", rb"<d:resourcetype></d:resourcetype>", b""),
    "an entry with two types": _row(b"a", rb"(<d:resourcetype></d:resourcetype>)", rb"\1<d:resourcetype/>"),
    "an entry with two sizes": _row(b"a", rb"(<d:getcontentlength>.*?</d:getcontentlength>)", rb"\1\1"),
    "a size that is none": _row(b"a", rb"(<d:getcontentlength>)\d+", rb"\1big"),
    "a negative size": _row(b"a", rb"(<d:getcontentlength>)", rb"\1-"),
    "a size that cannot be told": _row(
        b"a",
        rb"<d:getcontentlength>.*?</d:getcontentlength>(.*?)</d:propstat>",
        rb"\1</d:propstat><d:propstat><d:prop><d:getcontentlength/></d:prop>"
        rb"<d:status>HTTP/1.1 403 Forbidden</d:status></d:propstat>",
    ),
    "cut in the middle of an entry": _body(lambda body: body[: body.index(b"<d:getcontentlength>")]),
    "cut between two entries": _body(lambda body: body[: body.rindex(b"<d:response>")]),
    "cut before the end": _body(lambda body: body[: -len(b"</d:multistatus>")]),
    "cut to the declaration": _body(lambda body: body[:38]),
    "something behind the end": _body(lambda body: body + HTML),
    "two documents": _body(lambda body: body + body.split(b"?>", 1)[1]),
    "text where elements belong is an entity": _sub(rb"<d:response>", b"&nbsp;<d:response>"),
    "an unknown element between the entries": _sub(rb"<d:response>", b"<d:error/><d:response>"),
    "entities": _whole(_BOMB),
    "an external entity": _whole(_EXTERNAL),
    "bytes that are no UTF-8": _row(b"a", rb"<d:href>", b"<d:href>\xff\xfe"),
    "an encoding that is another": _sub(rb'encoding="utf-8"', b'encoding="utf-7"'),
    "deep nesting": _row(b"a", rb"<d:getetag>", b"<d:x>" * 80 + b"</d:x>" * 80 + b"<d:getetag>"),
}
