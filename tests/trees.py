"""Trees of files to copy: made from a seed, changed from a seed, and compared byte for byte."""

import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

ODD_NAMES = (
    "with blank.txt",
    "percent%20and+plus.txt",
    "hash#question?.txt",
    'quote\'s "double".txt',
    "ümläut-日本語.txt",
    ".hidden",
    "tilde~and=equals&ampersand.txt",
    "semi;colon,comma.txt",
    "[brackets]{braces}.txt",
    "back\\slash.txt",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file is, for comparison: its size and the digest of its content."""

    size: int
    sha256: str


def content(seed: str, size: int) -> bytes:
    """Bytes that are the same for the same seed on every machine, and that do not compress."""
    return random.Random(seed).randbytes(size)


def write(path: Path, data: bytes, *, mtime_ns: int) -> None:
    """A file with this content and this modification time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def write_large(path: Path, size: int, *, seed: str, mtime_ns: int = 1_700_000_000_123_456_789) -> None:
    """A large file, in pieces, each different from the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    block = rng.randbytes(1 << 20)
    with path.open("wb") as file:
        for number in range(0, size, len(block)):
            file.write((number.to_bytes(16, "big") + block[16:])[: size - number])
    os.utime(path, ns=(mtime_ns, mtime_ns))


def make(root: Path, *, files: int, seed: int, size: int = 4096) -> None:
    """`files` files of 0 to 2 * `size` bytes in folders of about 50, odd names and an empty file among them."""
    rng = random.Random(seed)
    for number in range(files):
        name = ODD_NAMES[number] if number < len(ODD_NAMES) else f"file-{number:06d}.dat"
        folder = root / f"d{number // 50:04d}" / ("" if number % 3 else "deeper")
        length = 0 if number == len(ODD_NAMES) else rng.randrange(2 * size)
        # Nanoseconds, and years apart: what a store cuts off would show.
        mtime_ns = 1_500_000_000_000_000_000 + rng.randrange(10**17)
        write(folder / name, content(f"{seed}/{number}", length), mtime_ns=mtime_ns)


def snapshot(root: Path) -> dict[str, Seen]:
    """All files below `root` with their content; temporary names included, for nothing may hide."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(root))] = Seen(path.stat().st_size, digest)
    return found


def times(root: Path) -> dict[str, int]:
    """The modification time in ns of every file below `root`."""
    return {
        str(Path(folder, name).relative_to(root)): Path(folder, name).stat().st_mtime_ns
        for folder, _, names in os.walk(root)
        for name in names
    }


def temporary_names(root: Path) -> list[str]:
    """What a killed run may leave, and the next one must remove."""
    return sorted(name for name in snapshot(root) if Path(name).name.startswith(".cftool-"))
