"""Wrong answers to a listing, made from a right one: each looks like a success, and none may be believed.

`JSON` and `XML` map a name to a function from the good answer (complete, asked for with the prefix `d/`, no delimiter,
objects `d/a`, `d/b`, `d/c`) to the bad one. Used against the store and against whole commands.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cftool.testing.http_fake import FakeResponse

Mutation = Callable[[FakeResponse], FakeResponse]
HTML = b"<!DOCTYPE html><html><head><title>Login</title></head><body>Welcome to the WiFi</body></html>"


def _whole(body: bytes, kind: str) -> Mutation:
    return lambda answer: FakeResponse(200, (("Content-Type", kind),), body)


def _typed(kind: str) -> Mutation:
    return lambda answer: replace(answer, headers=(("Content-Type", kind),))


def _status(status: int) -> Mutation:
    return lambda answer: replace(answer, status=status)


def _body(change: Callable[[bytes], bytes]) -> Mutation:
    def mutate(answer: FakeResponse) -> FakeResponse:
        body = change(answer.body)
        assert body != answer.body, "the mutation changes nothing"
        return replace(answer, body=body)

    return mutate


def _root(change: Callable[[dict[str, Any]], object]) -> Mutation:
    def mutate(body: bytes) -> bytes:
        root = json.loads(body)
        changed = change(root)
        return json.dumps(root if changed is None else changed).encode()

    return _body(mutate)


def _item(**fields: Any) -> Mutation:
    """The second item with other fields; None takes one away."""

    def change(root: dict[str, Any]) -> None:
        item = root["items"][1]
        for name, value in fields.items():
            if value is None:
                del item[name]
            else:
                item[name] = value

    return _root(change)


JSON: dict[str, Mutation] = {
    "HTML with 200": _whole(HTML, "text/html"),
    "HTML that says it is JSON": _whole(HTML, "application/json"),
    "an empty body": _whole(b"", "application/json"),
    "an empty body without a type": lambda answer: FakeResponse(200, (), b""),
    "white space": _whole(b"  \n ", "application/json"),
    "XML": _whole(b"<ListBucketResult/>", "application/xml"),
    "plain text": _typed("text/plain"),
    "status 204": _status(204),
    "status 202": _status(202),
    "status 206": _status(206),
    "an error with 200": _whole(b'{"error": {"code": 500, "message": "no"}}', "application/json"),
    "an error beside the items": _root(lambda root: root.update(error={"code": 500})),
    "null": _whole(b"null", "application/json"),
    "a list": _whole(b"[]", "application/json"),
    "an empty object": _whole(b"{}", "application/json"),
    "no kind": _root(lambda root: root.pop("kind") and None),
    "the kind of another listing": _root(lambda root: root.update(kind="storage#buckets")),
    "the kind of an object": _root(lambda root: root.update(kind="storage#object")),
    "items that are no list": _root(lambda root: root.update(items={})),
    "items that are null": _root(lambda root: root.update(items=None)),
    "an item that is null": _root(lambda root: root["items"].__setitem__(1, None)),
    "an item that is text": _root(lambda root: root["items"].__setitem__(1, "d/b")),
    "prefixes that nobody asked for": _root(lambda root: root.update(prefixes=["d/x/"])),
    "prefixes that are no list": _root(lambda root: root.update(prefixes="d/x/")),
    "a prefix that is no text": _root(lambda root: root.update(prefixes=[1])),
    "more with an empty token": _root(lambda root: root.update(nextPageToken="")),
    "more with a token that is no text": _root(lambda root: root.update(nextPageToken=7)),
    "more with a token that is null": _root(lambda root: root.update(nextPageToken=None)),
    "an item twice": _root(lambda root: root["items"].insert(1, root["items"][1])),
    "items out of order": _root(lambda root: root["items"].reverse()),
    "a name outside of the prefix": _item(name="c/else"),
    "a name behind the prefix": _root(lambda root: root["items"][2].update(name="e/else")),
    "an item without a name": _item(name=None),
    "an empty name": _root(lambda root: root["items"][0].update(name="")),
    "a name that is a number": _item(name=5),
    "a name with a NUL": _item(name="d/b\0"),
    "a name that is no Unicode": _item(name="d/b\ud800"),
    "an item without a size": _item(size=None),
    "a size that is none": _item(size="big"),
    "a negative size": _item(size="-1"),
    "a size that is true": _item(size=True),
    "a size with a fraction": _item(size="1.5"),
    "an item without a time": _item(timeCreated=None),
    "a time that is none": _item(timeCreated="yesterday"),
    "a time that cannot be": _item(timeCreated="2026-13-45T00:00:00.000Z"),
    "a time that is a number": _item(timeCreated=1700000000),
    "an item without a generation": _item(generation=None),
    "a generation that is none": _item(generation="new"),
    "an MD5 that is none": _item(md5Hash="????"),
    "an MD5 that is too short": _item(md5Hash="AAAA"),
    "a CRC32C that is none": _item(crc32c="AAAAAAAA"),
    "metadata that are none": _item(metadata=["mtime"]),
    "cut in the middle of an item": _body(lambda body: body[: body.index(b'"size"')]),
    "cut between two items": _body(lambda body: body[: body.index(b"}, {") + 1]),
    "cut before the end": _body(lambda body: body[:-1]),
    "something behind the end": _body(lambda body: body + HTML),
    "two documents": _body(lambda body: body + body),
    "bytes that are no UTF-8": _body(lambda body: body.replace(b'"d/b"', b'"d/\xff"')),
    "nested without end": _whole(b'{"kind": "storage#objects", "items": ' + b"[" * 100_000, "application/json"),
}


def _sub(pattern: bytes, with_: bytes, count: int = 1) -> Mutation:
    return _body(lambda body: re.sub(pattern, with_, body, count=count, flags=re.DOTALL))


def _swap(body: bytes) -> bytes:
    first, second, *_ = re.findall(rb"<Contents>.*?</Contents>", body, re.DOTALL)
    return body.replace(first, b"@").replace(second, first).replace(b"@", second)


def _double(body: bytes) -> bytes:
    first = re.findall(rb"<Contents>.*?</Contents>", body, re.DOTALL)[0]
    return body.replace(first, first + first).replace(b"<KeyCount>3", b"<KeyCount>4")


XML: dict[str, Mutation] = {
    "HTML with 200": _whole(HTML, "text/html"),
    "HTML that says it is XML": _whole(HTML, "application/xml"),
    "an empty body": _whole(b"", "application/xml"),
    "an empty body without a type": lambda answer: FakeResponse(200, (), b""),
    "JSON": _whole(b'{"kind": "storage#objects"}', "application/json"),
    "an error with 200": _whole(b"<Error><Code>AccessDenied</Code></Error>", "application/xml"),
    "plain text": _typed("text/plain"),
    "status 204": _status(204),
    "status 206": _status(206),
    "another root element": _sub(rb"ListBucketResult", b"ListBucketsResult", count=2),
    "a foreign namespace": _sub(rb'xmlns="[^"]*"', b'xmlns="http://example.com/other/"'),
    "no name": _sub(rb"<Name>.*?</Name>", b""),
    "the name of another bucket": _sub(rb"<Name>.*?</Name>", b"<Name>other</Name>"),
    "no prefix": _sub(rb"<Prefix>d/</Prefix>", b""),
    "another prefix": _sub(rb"<Prefix>d/</Prefix>", b"<Prefix>e/</Prefix>"),
    "an encoding that nobody asked for": _sub(rb"<KeyCount>", b"<EncodingType>url</EncodingType><KeyCount>"),
    "no word whether it is complete": _sub(rb"<IsTruncated>.*?</IsTruncated>", b""),
    "an unclear word whether it is complete": _sub(rb"<IsTruncated>.*?<", b"<IsTruncated>maybe<"),
    "complete and not": _sub(rb"(<IsTruncated>)false(</IsTruncated>)", rb"\1false\2\1true\2"),
    "more without a token": _sub(rb"<IsTruncated>false", b"<IsTruncated>true"),
    "a count that is too high": _sub(rb"<KeyCount>3", b"<KeyCount>13"),
    "a count of zero": _sub(rb"<KeyCount>3", b"<KeyCount>0"),
    "an entry left out": _sub(rb"<Contents>.*?</Contents>", b""),
    "an entry twice": _body(_double),
    "entries out of order": _body(_swap),
    "a key outside of the prefix": _sub(rb"<Key>d/[^<]*", b"<Key>c/else"),
    "an entry without a key": _sub(rb"<Key>.*?</Key>", b""),
    "an entry without a size": _sub(rb"<Size>.*?</Size>", b""),
    "a size that is none": _sub(rb"<Size>\d+", b"<Size>big"),
    "an entry without a time": _sub(rb"<LastModified>.*?</LastModified>", b""),
    "a time that is none": _sub(rb"<LastModified>[^<]*", b"<LastModified>yesterday"),
    "a generation that is none": _sub(rb"<Generation>\d+", b"<Generation>new"),
    "a common prefix that nobody asked for": _sub(
        rb"</ListBucketResult>", b"<CommonPrefixes><Prefix>d/x/</Prefix></CommonPrefixes></ListBucketResult>"
    ),
    "cut in the middle of an entry": _body(lambda body: body[: body.index(b"<Size>")]),
    "cut before the end": _body(lambda body: body[: -len(b"</ListBucketResult>")]),
    "something behind the end": _body(lambda body: body + HTML),
    "entities": _whole(
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult><Name>&a;</Name></ListBucketResult>', "application/xml"
    ),
    "a name that XML cannot carry": _sub(rb"<Key>d/b", b"<Key>d/\x01"),
}
