"""Wrong answers to a listing, made from a right one: each looks like a success, and none may be believed.

`MUTATIONS` maps a name to a function from the good answer (complete, two keys or more, asked for with the prefix
`d/`) to the bad one. Used against the decoder, against the store, and against whole commands.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from cftool.testing.http_fake import FakeResponse

Mutation = Callable[[FakeResponse], FakeResponse]
HTML = b"<!DOCTYPE html><html><head><title>Login</title></head><body>Welcome to the WiFi</body></html>"


def _body(change: Callable[[bytes], bytes]) -> Mutation:
    def mutate(answer: FakeResponse) -> FakeResponse:
        body = change(answer.body)
        assert body != answer.body, "the mutation changes nothing"
        return replace(answer, body=body)

    return mutate


def _sub(pattern: bytes, with_: bytes, count: int = 1) -> Mutation:
    return _body(lambda body: re.sub(pattern, with_, body, count=count, flags=re.DOTALL))


def _typed(kind: str) -> Mutation:
    return lambda answer: replace(
        answer, headers=(*((n, v) for n, v in answer.headers if n != "Content-Type"), ("Content-Type", kind))
    )


def _status(status: int) -> Mutation:
    return lambda answer: replace(answer, status=status)


def _whole(body: bytes, kind: str = "application/xml") -> Mutation:
    return lambda answer: FakeResponse(200, (("Content-Type", kind),), body)


def _swap_first_two(body: bytes) -> bytes:
    first, second, *_ = re.findall(rb"<Contents>.*?</Contents>", body, re.DOTALL)
    return body.replace(first, b"@").replace(second, first).replace(b"@", second)


def _double_first(body: bytes) -> bytes:
    first = re.findall(rb"<Contents>.*?</Contents>", body, re.DOTALL)[0]
    count = int(re.search(rb"<KeyCount>(\d+)", body)[1])
    return body.replace(first, first + first).replace(b"<KeyCount>%d" % count, b"<KeyCount>%d" % (count + 1))


def _many(body: bytes) -> bytes:
    one = (
        b"<Contents><Key>d/z%05d</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        b"<ETag>x</ETag><Size>1</Size></Contents>"
    )
    count = int(re.search(rb"<KeyCount>(\d+)", body)[1])
    more = b"".join(one % number for number in range(2000))
    body = body.replace(b"</ListBucketResult>", more + b"</ListBucketResult>")
    return body.replace(b"<KeyCount>%d" % count, b"<KeyCount>%d" % (count + 2000))


_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>&b;</Name></ListBucketResult>'
)
_EXTERNAL = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>&a;</Name></ListBucketResult>'
)

MUTATIONS: dict[str, Mutation] = {
    "HTML with 200": _whole(HTML, "text/html"),
    "HTML that says it is XML": _whole(HTML),
    "well-formed HTML": _whole(b"<html><body>hello</body></html>"),
    "an empty body": _whole(b""),
    "an empty body without a type": lambda answer: FakeResponse(200, (), b""),
    "white space": _whole(b"  \n  "),
    "JSON": _whole(b'{"Contents": []}', "application/json"),
    "JSON that says it is XML": _whole(b'{"Contents": []}'),
    "an error with 200": _whole(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
    "plain text": _typed("text/plain"),
    "status 204": _status(204),
    "status 202": _status(202),
    "status 206": _status(206),
    "another root element": _sub(rb"ListBucketResult", b"ListBucketsResult", count=2),
    "the root of another operation": _whole(
        b'<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Buckets/></ListAllMyBucketsResult>'
    ),
    "a foreign namespace": _sub(rb'xmlns="[^"]*"', b'xmlns="http://example.com/other/"'),
    "no name": _sub(rb"<Name>.*?</Name>", b""),
    "an empty name": _sub(rb"<Name>.*?</Name>", b"<Name></Name>"),
    "the name of another bucket": _sub(rb"<Name>.*?</Name>", b"<Name>other</Name>"),
    "two names": _sub(rb"(<Name>.*?</Name>)", rb"\1\1"),
    "no prefix": _sub(rb"<Prefix>d/</Prefix>", b""),
    "another prefix": _sub(rb"<Prefix>d/</Prefix>", b"<Prefix>e/</Prefix>"),
    "an empty prefix": _sub(rb"<Prefix>d/</Prefix>", b"<Prefix></Prefix>"),
    "two prefixes": _sub(rb"(<Prefix>d/</Prefix>)", rb"\1\1"),
    "no word whether it is complete": _sub(rb"<IsTruncated>.*?</IsTruncated>", b""),
    "an unclear word whether it is complete": _sub(rb"<IsTruncated>.*?<", b"<IsTruncated>maybe<"),
    "an empty word whether it is complete": _sub(rb"<IsTruncated>.*?<", b"<IsTruncated><"),
    "complete and not": _sub(rb"(<IsTruncated>)false(</IsTruncated>)", rb"\1false\2\1true\2"),
    "more without a token": _sub(rb"<IsTruncated>false", b"<IsTruncated>true"),
    "more with an empty token": _sub(
        rb"<IsTruncated>false</IsTruncated>",
        b"<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>",
    ),
    "no count": _sub(rb"<KeyCount>.*?</KeyCount>", b""),
    "a count that is too high": _sub(rb"<KeyCount>(\d+)", rb"<KeyCount>1\1"),
    "a count of zero": _sub(rb"<KeyCount>\d+", b"<KeyCount>0"),
    "a count that is none": _sub(rb"<KeyCount>\d+", b"<KeyCount>many"),
    "a negative count": _sub(rb"<KeyCount>", b"<KeyCount>-"),
    "an entry left out": _sub(rb"<Contents>.*?</Contents>", b""),
    "all entries left out": _sub(rb"<Contents>.*</Contents>", b""),
    "an entry twice": _body(_double_first),
    "entries out of order": _body(_swap_first_two),
    "a key outside of the prefix": _sub(rb"<Key>d/[^<]*", b"<Key>c/else"),
    "an entry without a key": _sub(rb"<Key>.*?</Key>", b""),
    "an entry with an empty key": _sub(rb"<Key>.*?</Key>", b"<Key></Key>"),
    "an entry without a size": _sub(rb"<Size>.*?</Size>", b""),
    "a size that is none": _sub(rb"<Size>\d+", b"<Size>big"),
    "a negative size": _sub(rb"<Size>", b"<Size>-"),
    "an entry without a time": _sub(rb"<LastModified>.*?</LastModified>", b""),
    "a time that is none": _sub(rb"<LastModified>[^<]*", b"<LastModified>yesterday"),
    "a time that cannot be": _sub(rb"<LastModified>[^<]*", b"<LastModified>2026-13-45T00:00:00.000Z"),
    "a common prefix that nobody asked for": _sub(
        rb"</ListBucketResult>", b"<CommonPrefixes><Prefix>d/x/</Prefix></CommonPrefixes></ListBucketResult>"
    ),
    "an encoding that nobody asked for": _sub(rb"<EncodingType>url", b"<EncodingType>base64"),
    "cut in the middle of an entry": _body(lambda body: body[: body.index(b"<Size>")]),
    "cut between two entries": _body(lambda body: body[: body.index(b"</Contents>") + 11]),
    "cut before the end": _body(lambda body: body[: -len(b"</ListBucketResult>")]),
    "cut to the declaration": _body(lambda body: body[:38]),
    "something behind the end": _body(lambda body: body + HTML),
    "two documents": _body(lambda body: body + body.split(b"?>", 1)[1]),
    "a page that is too large": _body(_many),
    "a key with a NUL": _sub(rb"<Key>d/[^<]*", b"<Key>d/%00"),
    "entities": _whole(_BOMB),
    "an external entity": _whole(_EXTERNAL),
    "bytes that are no UTF-8": _sub(rb"<Name>", b"<Name>\xff\xfe"),
}
