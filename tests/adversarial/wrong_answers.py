"""Answers to a listing that are not what they seem, made from a right one, whatever the service: status, type, framing,
encoding, and bodies that are something else. Those that belong to one service's format are in `tests/providers`.

`GENERIC` and `WIRE` map a name to a function from the good answer to the bad one; `WIRE` needs a socket.
"""

import gzip
import random
from collections.abc import Callable
from dataclasses import replace

from cftool.testing.http_fake import FakeResponse, Fault, Wire

Mutation = Callable[[FakeResponse], FakeResponse]
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Welcome to the hotel</body></html>\n"
XHTML = b'<?xml version="1.0" encoding="UTF-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body/></html>'


def _body(change: Callable[[bytes], bytes]) -> Mutation:
    return lambda answer: replace(answer, body=change(answer.body))


def _headers(**more: str) -> Mutation:
    names = {name.replace("_", "-"): value for name, value in more.items()}

    def mutate(answer: FakeResponse) -> FakeResponse:
        kept = [(n, v) for n, v in answer.headers if n.lower() not in names]
        return replace(answer, headers=(*kept, *names.items()))

    return mutate


def _status(status: int, *headers: tuple[str, str], body: bytes | None = None) -> Mutation:
    return lambda answer: replace(
        answer, status=status, headers=(*answer.headers, *headers), body=answer.body if body is None else body
    )


def _as(body: bytes, kind: str | None = None) -> Mutation:
    """Something else, under the type of the good answer or of its own."""

    def mutate(answer: FakeResponse) -> FakeResponse:
        headers = answer.headers if kind is None else (("Content-Type", kind),)
        return FakeResponse(answer.status, headers, body)

    return mutate


def _zipped(answer: FakeResponse) -> FakeResponse:
    return _headers(content_encoding="gzip")(replace(answer, body=gzip.compress(answer.body, mtime=0)))


def _shuffled(body: bytes) -> bytes:
    letters = list(body)
    random.Random(1).shuffle(letters)
    return bytes(letters)


GENERIC: dict[str, Mutation] = {
    "half of the body": _body(lambda body: body[: len(body) // 2]),
    "a third of the body": _body(lambda body: body[: len(body) // 3]),
    "all but the last byte": _body(lambda body: body.rstrip()[:-1]),
    "the second half of the body": _body(lambda body: body[len(body) // 2 :]),
    "the body without its middle": _body(lambda body: body[: len(body) // 3] + body[2 * len(body) // 3 :]),
    "the body twice": _body(lambda body: body + body),
    "the body backwards": _body(lambda body: body[::-1]),
    "the body in another order": _body(_shuffled),
    "zeros": _body(lambda body: bytes(len(body))),
    "zeros in the middle": _body(lambda body: body[: len(body) // 2] + bytes(64) + body[len(body) // 2 :]),
    "one byte that is no UTF-8": _body(lambda body: body[: len(body) // 2] + b"\xff" + body[len(body) // 2 :]),
    "noise": _as(random.Random(2).randbytes(3000)),
    "upper case": _body(lambda body: body.upper()),
    "a web page behind the body": _body(lambda body: body + HTML),
    "a web page before the body": _body(lambda body: HTML + body),
    "a web page": _as(HTML, "text/html"),
    "a web page under the right type": _as(HTML),
    "a web page as XML": _as(XHTML, "application/xml"),
    "a web page as XML under the right type": _as(XHTML),
    "a line of text": _as(b"OK\n", "text/plain"),
    "a line of text under the right type": _as(b"OK\n"),
    "nothing": _as(b""),
    "nothing, and no type": lambda answer: FakeResponse(answer.status, (), b""),
    "blanks": _as(b" \r\n\t" * 50),
    "null": _as(b"null"),
    "true": _as(b"true"),
    "nought": _as(b"0"),
    "an empty text": _as(b'""'),
    "an empty list": _as(b"[]"),
    "an empty object": _as(b"{}"),
    "an empty object under the type of JSON": _as(b"{}", "application/json"),
    "an empty element": _as(b"<x/>"),
    "an XML declaration": _as(b'<?xml version="1.0"?>'),
    "a byte order mark alone": _as(b"\xef\xbb\xbf"),
    "UTF-16 without a word of it": _body(lambda body: body.decode("utf-8").encode("utf-16-le")),
    "UTF-7": _body(lambda body: body.decode("utf-8").replace("<", "+ADw-").replace("{", "+AHs-").encode()),
    "packed, and no word of it": _body(lambda body: gzip.compress(body, mtime=0)),
    "packed, which nobody asked for": _zipped,
    "packed and cut": lambda answer: _body(lambda body: body[: len(body) // 2])(_zipped(answer)),
    "said to be packed": _headers(content_encoding="gzip"),
    "said to be packed in an unknown way": _headers(content_encoding="x-secret"),
    "the type of a web page": _headers(content_type="text/html"),
    "the type of a picture": _headers(content_type="image/png"),
    "the type of bytes": _headers(content_type="application/octet-stream"),
    "no content": _status(204, body=b""),
    "nothing, to be looked at anew": _status(205, body=b""),
    "not modified": _status(304, body=b""),
    "a part": _status(206, ("Content-Range", "bytes 0-9/100")),
    "accepted": _status(202),
    "a redirect to a login": _status(302, ("Location", "https://portal.example/login"), body=b""),
    "a redirect without a place": _status(302, body=b""),
    "many choices": _status(300),
    "bad request": _status(400, body=b""),
    "not allowed": _status(403, body=b""),
    "not found": _status(404, body=b""),
    "gone": _status(410, body=b""),
    "a conflict": _status(409, body=b""),
    "a server error": _status(500, body=b""),
    "a bad gateway's page": lambda answer: FakeResponse(502, (("Content-Type", "text/html"),), HTML),
    "too busy": _status(503, body=b""),
    "too many requests": _status(429, body=b""),
    "a status that nobody knows": _status(299),
    "a status of an error that nobody knows": _status(599),
}


def _wire(wire: Wire, share: float = 0.5, data: bytes = b"") -> Mutation:
    return lambda answer: replace(answer, fault=Fault(wire, at=int(len(answer.body) * share), data=data))


def _length(of: Callable[[int], int]) -> Mutation:
    return lambda answer: _headers(content_length=str(of(len(answer.body))))(answer)


WIRE: dict[str, Mutation] = {
    "reset before any byte": _wire(Wire.RESET),
    "closed before any byte": _wire(Wire.CLOSE),
    "reset in the middle": _wire(Wire.RESET_BODY),
    "closed in the middle": _wire(Wire.SHORT_BODY),
    "closed before the last byte": _wire(Wire.SHORT_BODY, 0.999),
    "a chunk that ends in the middle": _wire(Wire.CHUNKED_CUT),
    "no length, and closed in the middle": _wire(Wire.CLOSE_DELIMITED),
    "a length that is too short": _length(lambda length: length // 2),
    "a length that is one too short": _length(lambda length: length - 1),
    "a length of nought": _length(lambda _: 0),
    "a length that is too long": lambda answer: replace(_length(lambda length: length + 100)(answer), close=True),
    "a length that is none": lambda answer: replace(_headers(content_length="many")(answer), close=True),
    "a negative length": lambda answer: replace(_headers(content_length="-1")(answer), close=True),
    "no HTTP": _wire(Wire.RAW, data=b"SSH-2.0-OpenSSH_9.6\r\n"),
    "no HTTP, but the body": lambda answer: replace(answer, fault=Fault(Wire.RAW, data=answer.body)),
    "headers without end": _wire(Wire.RAW, data=b"HTTP/1.1 200 OK\r\nX-A: 1\r\n"),
}
