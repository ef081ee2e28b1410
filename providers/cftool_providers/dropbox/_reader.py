"""Bytes of a Source for large uploads, with the hashes of the blocks that make up Dropbox's content hash."""

import hashlib

from cftool.core.hashing import DROPBOX_BLOCK
from cftool.disk import reader


class Reader(reader.Reader):
    """Closed by its upload."""

    def blocks(self, start: int, end: int) -> list[bytes]:
        """The SHA-256 of each 4 MiB of [start, end), which begins at a multiple of that."""
        found = []
        for at in range(start, end, DROPBOX_BLOCK):
            running = hashlib.sha256()
            for piece in self.pieces(at, min(at + DROPBOX_BLOCK, end)):
                running.update(piece)
            found.append(running.digest())
        return found


def blocks_of(data: bytes) -> list[bytes]:
    """The SHA-256 of each 4 MiB of what is in memory."""
    view = memoryview(data)
    return [hashlib.sha256(view[at : at + DROPBOX_BLOCK]).digest() for at in range(0, len(data), DROPBOX_BLOCK)]


def joined(blocks: list[bytes]) -> str:
    """The content hash of what has these blocks."""
    return hashlib.sha256(b"".join(blocks)).hexdigest()
