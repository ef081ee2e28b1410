"""Turns good inputs into bad ones: what disks, networks and enemies do to bytes. Deterministic for a given Random."""

import random
import re

_ODD = (
    *(
        b"\0",
        b"\xff",
        b"\xfe\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\r\n",
        b"\n",
        b"\t",
        b" ",
        b"'",
        b'"',
        b"\\",
        b"%",
        b"+",
    ),
    *(b"<", b">", b"&", b"/>", b"</", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"&amp;", b"&#0;", b"&#xD800;", b"&x;"),
    *(b'<!DOCTYPE a [<!ENTITY b "c">]>', b"<?xml version='1.1'?>", b" xmlns='x'", b"..", b"/", b"//", b".", b":"),
    *(b"-1", b"0", b"1e999", b"1" * 400, b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b"[" * 3000, b"{" * 3000),
    *(b'{"a":' * 2000, b"<a>" * 300, b"a" * 5000, b"\x1b[2J", b"\xe2\x80\xae", b"\x00" * 64),
)
_PIECES = re.compile(rb"[A-Za-z0-9_.-]+|[^A-Za-z0-9_.-]")


def mutate(data: bytes, dice: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """One to eight changes of `data`; `others` are inputs to take pieces from."""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        data = dice.choice(_CHANGES)(data, dice, others)
    return data[: 1 << 16]


def _place(data: bytes, dice: random.Random) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + dice.choice((0, 1, 1, 2, 4, 16, 100, 1000)))


def _flip(data: bytes, dice: random.Random, _others: tuple[bytes, ...]) -> bytes:
    if not data:
        return bytes([dice.randrange(256)])
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, dice: random.Random, _others: tuple[bytes, ...]) -> bytes:
    start, end = _place(data, dice)
    return data[:start] if dice.randrange(3) == 0 else data[:start] + data[end:]


def _insert(data: bytes, dice: random.Random, _others: tuple[bytes, ...]) -> bytes:
    start, end = _place(data, dice)
    odd = dice.choice(_ODD)
    return data[:start] + odd + data[end if dice.randrange(2) else start :]


def _replace_word(data: bytes, dice: random.Random, others: tuple[bytes, ...]) -> bytes:
    words = list(_PIECES.finditer(data[:8192]))
    if not words:
        return _insert(data, dice, others)
    word = dice.choice(words)
    pool = _PIECES.findall(dice.choice(others)[:4096]) if others and dice.randrange(2) else _ODD
    return data[: word.start()] + dice.choice(pool or _ODD) + data[word.end() :]


def _repeat(data: bytes, dice: random.Random, _others: tuple[bytes, ...]) -> bytes:
    start, end = _place(data, dice)
    return data[:end] + data[start:end] * dice.choice((1, 2, 10)) + data[end:]


def _swap(data: bytes, dice: random.Random, _others: tuple[bytes, ...]) -> bytes:
    words = _PIECES.findall(data[:8192])
    if len(words) < 2:
        return data
    a, b = dice.randrange(len(words)), dice.randrange(len(words))
    words[a], words[b] = words[b], words[a]
    return b"".join(words) + data[8192:]


def _splice(data: bytes, dice: random.Random, others: tuple[bytes, ...]) -> bytes:
    other = dice.choice(others) if others else data
    return data[: _place(data, dice)[0]] + other[_place(other, dice)[0] :]


_CHANGES = (_flip, _flip, _cut, _insert, _insert, _replace_word, _replace_word, _repeat, _swap, _splice)
