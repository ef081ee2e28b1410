"""Whether a file of the source and its namesake at the destination are the same, and on what basis that was found.

Two stages. `quick` runs in the main thread for every pair and costs no I/O: size, state record, listed times. What it
cannot decide goes to `full` in a checker thread: a listed hash against the other side's bytes where reading them
costs no network, then one request for the entry. Nothing here copies, counts or emits; the order of the rules is the
contract.
"""

import enum
from collections.abc import Callable, Iterable

from cftool.core import hashing
from cftool.core.dataclass import dataclass
from cftool.core.types import Cap, Entry
from cftool.transfer.options import Options, Side
from cftool.transfer.state import Row


class Verdict(enum.Enum):
    """What is to be done with a pair."""

    EQUAL = "equal"
    COPY = "copy"
    NEWER = "newer"  # --update: the destination's is newer
    EXISTING = "existing"  # --ignore-existing
    CHECK = "check"  # not decided without I/O


# What decided, as `compared_by` counts it.
SIZE, STATE, TIME, HASH, REQUEST, SIZE_ONLY, FORCED = "size", "state", "time", "hash", "request", "size_only", "forced"
SHORT = frozenset({"crc32", "crc32c"})  # 32 bits prove nothing between strangers


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a pair. `src` and `dst` carry what was learnt on the way; `set_time`: only the time differs."""

    verdict: Verdict
    by: str
    src: Entry
    dst: Entry
    set_time: bool = False


class Comparer:
    """Compares pairs of files of two sides; thread-safe, keeps nothing."""

    def __init__(self, src: Side, dst: Side, options: Options) -> None:
        self._src, self._dst, self._options = src, dst, options
        a, b = src.store.features, dst.store.features
        self._precision = (
            None
            if a.time_precision_ns is None or b.time_precision_ns is None
            else max(a.time_precision_ns, b.time_precision_ns, 1)
        )
        self.print_src = printer(src)
        self.print_dst = printer(dst)
        # A request for the entry helps only where a stat may know more than the listing did.
        self._ask_src = (a.time_precision_ns is not None and not a.listed_time) or bool(a.hashes)
        self._ask_dst = (b.time_precision_ns is not None and not b.listed_time) or bool(b.hashes)

    def quick(self, src: Entry, dst: Entry, row: Row | None) -> tuple[Verdict, str]:
        """Decide without I/O, or CHECK."""
        options = self._options
        if options.ignore_existing:
            return Verdict.EXISTING, ""
        if options.update:
            newer = self._newer(src, dst)
            if newer is None and self._precision is not None:
                return Verdict.CHECK, ""
            if newer:
                return Verdict.NEWER, TIME
        if options.ignore_times:
            return Verdict.COPY, FORCED
        size = src[2]
        if size != dst[2] and size is not None and dst[2] is not None:
            return Verdict.COPY, SIZE
        if options.size_only:
            return Verdict.EQUAL, SIZE_ONLY
        if options.checksum:
            return Verdict.CHECK, ""
        # A record counts only where both sides are what they were when they were last equal. Where one is not, times
        # alone no longer count: who edits a file may put its time back.
        if row is not None:
            if row[1] == size and row[2] == self.print_src(src) and row[3] == self.print_dst(dst):
                return Verdict.EQUAL, STATE
            return Verdict.CHECK, ""
        if src[3] is not None and dst[3] is not None and self._same_time(src, dst):
            return Verdict.EQUAL, TIME
        return Verdict.CHECK, ""

    def full(self, src: Entry, dst: Entry, row: Row | None = None) -> Finding:
        """Decide with whatever it takes. Raises StoreError where a side cannot be asked or read.

        With a `row` a side was touched since they were equal: then the same times prove nothing, content has to.
        """
        options = self._options
        touched = row is not None and not options.checksum
        if options.update and self._newer(src, dst) is None:
            src, dst = self._asked(src, dst)
            if self._newer(src, dst):
                return Finding(Verdict.NEWER, TIME, src, dst)
            verdict, by = self._after_update(src, dst, touched=touched)
            if verdict is not Verdict.CHECK:
                return Finding(verdict, by, src, dst)
        times = None if options.checksum else self._times(src, dst)
        same = self._same_hash(src, dst, read=touched)
        if same is not None:
            if same and touched and row is not None and row[2] != self.print_src(src):
                dst = self._with_time(src, dst)
            return self._by_hash(src, dst, same, HASH)
        if times is False:
            return Finding(Verdict.COPY, TIME, src, dst)
        if self._ask_src or self._ask_dst:
            src, dst = self._asked(src, dst)
            times = None if options.checksum else self._times(src, dst)
            if times and not touched:
                return Finding(Verdict.EQUAL, REQUEST, src, dst)
            same = self._same_hash(src, dst, read=touched)
            if same is not None:
                return self._by_hash(src, dst, same, REQUEST)
            if times is False:
                return Finding(Verdict.COPY, REQUEST, src, dst)
        if touched:
            return Finding(Verdict.COPY, STATE, src, dst)
        # An upload older than the source's last change cannot hold it, whatever its size.
        if src.modified_ns is not None and dst.stored_ns is not None and src.modified_ns > dst.stored_ns:
            return Finding(Verdict.COPY, TIME, src, dst)
        return Finding(Verdict.EQUAL, SIZE_ONLY, src, dst)

    def _after_update(self, src: Entry, dst: Entry, *, touched: bool) -> tuple[Verdict, str]:
        """The rules of `quick` that --update had to wait for."""
        options = self._options
        if options.ignore_times:
            return Verdict.COPY, FORCED
        if None not in {src.size, dst.size} and src.size != dst.size:
            return Verdict.COPY, SIZE
        if options.size_only:
            return Verdict.EQUAL, SIZE_ONLY
        if not options.checksum and not touched and self._times(src, dst):
            return Verdict.EQUAL, REQUEST
        return Verdict.CHECK, ""

    def _by_hash(self, src: Entry, dst: Entry, same: bool, by: str) -> Finding:
        if not same:
            return Finding(Verdict.COPY, by, src, dst)
        # With --checksum times play no part, and are not touched.
        differs = not self._options.checksum and self._times(src, dst) is False
        return Finding(Verdict.EQUAL, by, src, dst, set_time=differs)

    def _with_time(self, src: Entry, dst: Entry) -> Entry:
        """`dst` with its own time, where one can be set: only the time of the source may have changed."""
        store = self._dst.store
        if dst.modified_ns is not None or src.modified_ns is None or self._precision is None:
            return dst
        if Cap.SET_MODIFIED not in store.features.caps or not self._ask_dst:
            return dst
        asked = store.stat(dst.path)
        return asked if asked.version == dst.version else dst

    def _asked(self, src: Entry, dst: Entry) -> tuple[Entry, Entry]:
        """Both entries as one request knows them; a side whose listing knew all is not asked.

        Where the answer is of another version than the listing's, it is that version that is compared.
        """
        if self._ask_src and not self._knows(src, self._src):
            src = self._src.store.stat(src.path)
        if self._ask_dst and not self._knows(dst, self._dst):
            dst = self._dst.store.stat(dst.path)
        return src, dst

    @staticmethod
    def _knows(entry: Entry, side: Side) -> bool:
        """Whether a request could tell no more than the listing: of a local file, never."""
        return side.local_root is not None or (entry.modified_ns is not None and bool(entry.hashes))

    def _same_time(self, src: Entry, dst: Entry) -> bool:
        assert src.modified_ns is not None
        assert dst.modified_ns is not None
        precision = self._precision
        return precision is not None and -precision < src.modified_ns - dst.modified_ns < precision

    def _times(self, src: Entry, dst: Entry) -> bool | None:
        """Whether the times are the same; None where a side has none that means anything."""
        if src.modified_ns is None or dst.modified_ns is None or self._precision is None:
            return None
        return self._same_time(src, dst)

    def _newer(self, src: Entry, dst: Entry) -> bool | None:
        if src.modified_ns is None or dst.modified_ns is None or self._precision is None:
            return None
        return dst.modified_ns - src.modified_ns >= self._precision

    def _same_hash(self, src: Entry, dst: Entry, *, read: bool = False) -> bool | None:
        """By hashes that both know, or one that a side knows and the other's bytes give; None where there is none.

        `read`: two local files are read where nothing else tells.
        """
        common = src.hashes.keys() & dst.hashes.keys()
        if common:
            return all(src.hashes[name] == dst.hashes[name] for name in common)
        for known, other, side in ((dst, src, self._src), (src, dst, self._dst)):
            if known.hashes and not side.store.features.remote:
                name = best_hash(known.hashes)
                if name is not None:
                    return hash_of(side, other, name) == known.hashes[name]
        if (
            (read or self._options.checksum)
            and not self._src.store.features.remote
            and not self._dst.store.features.remote
        ):
            return hash_of(self._src, src, "sha256") == hash_of(self._dst, dst, "sha256")
        return None


def printer(side: Side) -> Callable[[Entry], str | None]:
    """The function that says in one text what an entry of this side was, so that a change shows in listings.

    It gives None where the entry carries nothing that it could be recognised by.
    """
    # A local version holds the time already; a store's need not change with the file's own time.
    return _print_with_time if side.store.features.listed_time and side.local_root is None else _print


def _print(entry: Entry) -> str | None:
    version = entry[5]
    if version is not None:
        return version
    return None if entry[4] is None else f"@{entry[4]}"


def _print_with_time(entry: Entry) -> str | None:
    version = _print(entry)
    return None if version is None else f"{version}/{entry[3]}"


def hash_of(side: Side, entry: Entry, name: str) -> str:
    """The hash of exactly this version of the entry, read from the side; raises PreconditionFailed for another."""
    digest = hashing.new(name)
    with side.store.read(entry.path, if_version=entry.version) as chunks:
        for chunk in chunks:
            digest.update(chunk)
    return digest.hexdigest()


def best_hash(names: Iterable[str]) -> str | None:
    """The cheapest that this machine can compute; 32 bits only where there is nothing better."""
    names = set(names)
    return hashing.cheapest(names - SHORT) or hashing.cheapest(names)
