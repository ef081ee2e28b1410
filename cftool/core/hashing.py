"""Hashes by name, in the form that entries carry them: lower-case hex, checksums padded with zeros.

`md5`, `sha1`, `sha256`, `sha512` and `crc32` always work; `crc32c` and `crc64nvme` need awscrt (the `fast` extra),
which is imported only when one of the two is asked for. `dropbox` is that service's content hash. Checksums of
neighbouring ranges join with `combine`, so that parts hashed apart give the checksum of the whole without reading it
again.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Protocol

# What a checksum is: bits, and the generator polynomial with the lowest power in the highest bit.
_CRCS: Mapping[str, tuple[int, int]] = {
    "crc32": (32, 0xEDB88320),
    "crc32c": (32, 0x82F63B78),
    "crc64nvme": (64, 0x9A6C9329AC4BC9B5),
}
_DIGESTS = frozenset({"md5", "sha1", "sha256", "sha512"})
# By cost, measured per GiB: the hardware checksums take hundredths of a second, zlib 0.4 s, SHA 0.6 s, MD5 1.5 s.
CHEAPEST_FIRST = ("crc64nvme", "crc32c", "crc32", "sha1", "sha256", "dropbox", "sha512", "md5")
DROPBOX_BLOCK = 4 * 1024 * 1024
_SMALL = 1024 * 1024  # bytes


class Hasher(Protocol):
    """A running hash."""

    @property
    def name(self) -> str:
        """As in `entry.hashes`."""
        ...

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in more bytes."""
        ...

    def hexdigest(self) -> str:
        """The hash of what was taken in so far."""
        ...


class _Checksum:
    """A CRC that continues from its last value."""

    __slots__ = ("_digits", "_step", "_value", "name")

    def __init__(self, name: str, step: Callable[[bytes | bytearray | memoryview, int], int]) -> None:
        self.name = name
        self._step = step
        self._value = 0
        self._digits = _CRCS[name][0] // 4

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = self._step(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:0{self._digits}x}"


class _Blocks:
    """Dropbox's content hash: SHA-256 over the SHA-256 of each block of 4 MiB.

    https://www.dropbox.com/developers/reference/content-hash
    """

    __slots__ = ("_block", "_left", "_whole", "name")

    def __init__(self) -> None:
        self.name = "dropbox"
        self._whole = hashlib.sha256()
        self._block = hashlib.sha256()
        self._left = DROPBOX_BLOCK  # bytes that the block still takes

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        view = memoryview(data)
        while len(view) >= self._left:
            self._block.update(view[: self._left])
            view = view[self._left :]
            self._whole.update(self._block.digest())
            self._block = hashlib.sha256()
            self._left = DROPBOX_BLOCK
        self._block.update(view)
        self._left -= len(view)

    def hexdigest(self) -> str:
        if self._left == DROPBOX_BLOCK:
            return self._whole.hexdigest()
        whole = self._whole.copy()
        whole.update(self._block.digest())
        return whole.hexdigest()


def _step(name: str) -> Callable[[bytes | bytearray | memoryview, int], int]:
    if name == "crc32":
        return zlib.crc32
    from awscrt import checksums

    step: Callable[[bytes | bytearray | memoryview, int], int] = getattr(checksums, name)
    return step


def names() -> list[str]:
    """All that can be computed here, sorted."""
    return sorted(name for name in CHEAPEST_FIRST if available(name))


def digits(name: str) -> int | None:
    """How many hex digits the hash has; None for one that is not known here."""
    if name in _CRCS:
        return _CRCS[name][0] // 4
    return {"md5": 32, "sha1": 40, "sha256": 64, "dropbox": 64, "sha512": 128}.get(name)


def available(name: str) -> bool:
    """Whether `new(name)` works here."""
    if name in _DIGESTS or name in {"crc32", "dropbox"}:
        return True
    if name not in _CRCS:
        return False
    try:
        _step(name)
    except (ImportError, AttributeError):  # not installed, or older than the checksum
        return False
    return True


def new(name: str) -> Hasher:
    """A hash of that name; ValueError where there is none or its library is missing."""
    if name in _DIGESTS:
        # It guards against damage, not against forgers: allowed where policy forbids MD5 for security.
        return hashlib.new(name, usedforsecurity=False)
    if name == "dropbox":
        return _Blocks()
    try:
        return _Checksum(name, _step(name))
    except (KeyError, ImportError, AttributeError):
        raise ValueError(f"the hash {name} cannot be computed here") from None


def digest(name: str, data: bytes | bytearray | memoryview) -> str:
    """The hash of `data` at once."""
    running = new(name)
    running.update(data)
    return running.hexdigest()


def cheapest(names: Iterable[str]) -> str | None:
    """Of `names`, the one that costs least to verify here, or None."""
    wanted = set(names)
    return next((name for name in CHEAPEST_FIRST if name in wanted and available(name)), None)


def mismatch(data: bytes, hashes: Mapping[str, str]) -> str | None:
    """The hash of `hashes` that content which is here whole does not have, by name; None where there is none.

    One is computed: MD5 for small content, which costs less than to import what knows the checksums.
    """
    if "md5" in hashes and (len(hashes) == 1 or len(data) < _SMALL):
        return None if hashlib.md5(data, usedforsecurity=False).hexdigest() == hashes["md5"] else "md5"
    name = cheapest(hashes)
    return None if name is None or digest(name, data) == hashes[name] else name


def combine(name: str, first: str, second: str, second_size: int) -> str:
    """The checksum of two neighbouring ranges from that of each (all hex); `second_size` is the later one's bytes.

    Appending n zero bytes multiplies a CRC by x^(8n) modulo the polynomial; conditioning of start and end cancels out.
    """
    bits, polynomial = _CRCS[name]
    shifted = _multiply(_power_of_x(8 * second_size, bits, polynomial), int(first, 16), bits, polynomial)
    return f"{shifted ^ int(second, 16):0{bits // 4}x}"


def _multiply(a: int, b: int, bits: int, polynomial: int) -> int:
    """a·b modulo the polynomial; the highest bit stands for x^0, so multiplying by x shifts right."""
    product = 0
    mask = 1 << (bits - 1)
    while a:
        if a & mask:
            product ^= b
            a ^= mask
        mask >>= 1
        b = (b >> 1) ^ polynomial if b & 1 else b >> 1
    return product


@lru_cache(maxsize=256)  # parts are of a few sizes
def _power_of_x(exponent: int, bits: int, polynomial: int) -> int:
    result = 1 << (bits - 1)
    square = 1 << (bits - 2)
    while exponent:
        if exponent & 1:
            result = _multiply(square, result, bits, polynomial)
        square = _multiply(square, square, bits, polynomial)
        exponent >>= 1
    return result
