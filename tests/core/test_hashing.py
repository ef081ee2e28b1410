"""Hashes by name, their published check values, and joined checksums."""

import builtins
import hashlib
import random
import subprocess
import sys

import pytest

from cftool.core import hashing

CHECK = {
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}
CRCS = ["crc32", "crc32c", "crc64nvme"]


@pytest.mark.parametrize("name", CHECK)
def test_check_values(name):
    assert hashing.available(name)
    assert hashing.digest(name, b"123456789") == CHECK[name]
    running = hashing.new(name)
    assert running.name == name
    for piece in (b"1234", bytearray(b""), memoryview(b"56789")):
        running.update(piece)
    assert running.hexdigest() == CHECK[name]


def blockwise(data):
    """Dropbox's definition, word by word."""
    blocks = [data[at : at + 4 * 1024 * 1024] for at in range(0, len(data), 4 * 1024 * 1024)]
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 4 * 1024 * 1024 - 1, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1, 9_000_000])
@pytest.mark.parametrize("piece", [7_000_000, 1_000_003])
def test_the_content_hash_of_dropbox(size, piece):
    data = random.Random(size).randbytes(size)
    running = hashing.new("dropbox")
    assert running.name == "dropbox"
    for at in range(0, size, piece):
        running.update(data[at : at + piece])
        running.hexdigest()  # asking in between changes nothing
    assert running.hexdigest() == hashing.digest("dropbox", memoryview(data)) == blockwise(data)


def test_names_and_their_lengths():
    assert {"dropbox", "md5", "sha1", "sha256", "sha512", "crc32"} <= set(hashing.names())
    for name in hashing.names():
        assert hashing.digits(name) == len(hashing.digest(name, b""))
    assert hashing.digits("quickxor") is None


def test_checksums_are_padded():
    assert hashing.digest("crc32", b"") == "00000000"
    assert hashing.digest("crc64nvme", b"") == "0" * 16


@pytest.mark.parametrize("name", CRCS)
def test_neighbouring_ranges_join(name):
    chance = random.Random(11)
    for size in (0, 1, 2, 7, 4096, 65537):
        first, second = chance.randbytes(333), chance.randbytes(size)
        joined = hashing.combine(name, hashing.digest(name, first), hashing.digest(name, second), size)
        assert joined == hashing.digest(name, first + second)


def test_joining_is_fast_for_large_ranges():
    assert len(hashing.combine("crc32", "cbf43926", "cbf43926", 5 << 40)) == 8


def test_unknown_names():
    assert not hashing.available("quickxor")
    with pytest.raises(ValueError, match="quickxor"):
        hashing.new("quickxor")


def test_without_awscrt(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("awscrt"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert hashing.available("crc32")
    assert not hashing.available("crc32c")
    with pytest.raises(ValueError, match="crc64nvme"):
        hashing.new("crc64nvme")
    assert hashing.cheapest(["crc64nvme", "md5"]) == "md5"


def test_cheapest_of_what_there_is():
    assert hashing.cheapest(["md5", "sha256", "crc32"]) == "crc32"
    assert hashing.cheapest({"md5": "x", "crc64nvme": "y"}) == "crc64nvme"
    assert hashing.cheapest(["quickxor"]) is None
    assert hashing.cheapest([]) is None


MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 5, MIB])
def test_content_that_is_here_whole_is_held_against_one_hash(size):
    data = bytes(size)
    right = {name: hashing.digest(name, data) for name in ("md5", "crc32")}
    assert hashing.mismatch(data, right) is None
    assert hashing.mismatch(data, dict.fromkeys(right, "0")) == ("md5" if size < MIB else "crc32")


def test_content_is_held_against_whatever_hash_is_known():
    assert hashing.mismatch(bytes(MIB), {"md5": "0"}) == "md5"
    assert hashing.mismatch(b"data", {"sha256": "0"}) == "sha256"
    assert (hashing.mismatch(b"data", {}), hashing.mismatch(b"data", {"quickxor": "0"})) == (None, None)


def test_md5_of_small_content_needs_no_import():
    code = (
        "import sys; from cftool.core import hashing;"
        "assert hashing.mismatch(b'data', {'md5': '0', 'crc32c': '0'}) == 'md5'; print('awscrt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
