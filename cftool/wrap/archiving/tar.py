"""Just enough tar: headers of regular files to write, and one strict reader for the end of a pack.

GNU format, so that names of any bytes and length need no extra records in most cases and every tar reads them.
Members are never extracted; the reader takes only what this writer makes, byte for byte.
"""

import tarfile

from cftool.core.errors import IntegrityError
from cftool.wrap.archiving.names import MANIFEST

BLOCK = 512
END = bytes(2 * BLOCK)


def header(name: str, size: int, modified_ns: int) -> bytes:
    """The blocks before the content of a member."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mtime = modified_ns // 1_000_000_000
    member.mode = 0o644
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What follows the content, up to the next block."""
    return bytes(-size % BLOCK)


def tail(manifest: bytes, made_ns: int) -> bytes:
    """The end of a pack: the manifest as its last member, and two empty blocks."""
    return header(MANIFEST, len(manifest), made_ns) + manifest + padding(len(manifest)) + END


def manifest_of(data: bytes) -> bytes:
    """The manifest in the last bytes of a pack; IntegrityError where they are not exactly an end of ours."""
    if len(data) < BLOCK + len(END) or len(data) % BLOCK:
        raise IntegrityError("the end of the pack has no tar's length")
    size, made = _number(data[124:136]), _number(data[136:148])
    if data[:BLOCK] != header(MANIFEST, size, made * 1_000_000_000):
        raise IntegrityError("the last member of the pack is no manifest")
    end = BLOCK + size
    if data[end:] != padding(size) + END:
        raise IntegrityError("the pack does not end behind its manifest")
    return data[BLOCK:end]


def _number(field: bytes) -> int:
    """An octal field as this writer makes it."""
    digits = field[:-1]
    if field[-1:] != b"\0" or not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise IntegrityError("a tar header has a field that is no number")
    return int(digits, 8)
