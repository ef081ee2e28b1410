"""`check`: two trees compared and nothing changed.

Sizes first, then a hash that both sides know, or that one side lists and the other's bytes give where reading costs no
network; where both are cheap to read, the bytes themselves. What only its size could be compared of is counted as such.
Differences are told in the order of the merge, whichever comparison ends first.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from cftool.core.errors import CftoolError, Interrupted, LoginRequired, NotFound, PreconditionFailed, StoreError
from cftool.core.store import Store
from cftool.core.types import Download, Entry, Kind
from cftool.transfer.compare import HASH, REQUEST, SIZE, SIZE_ONLY, best_hash, hash_of
from cftool.transfer.events import Emit, Summary
from cftool.transfer.limits import Budget
from cftool.transfer.links import shown
from cftool.transfer.merge import Folding, Twins, collapse, merge
from cftool.transfer.options import Links, Options, Side, Surroundings
from cftool.transfer.scan import How, Scan, Stopped, is_mark, placed
from cftool.transfer.select import by_name, chosen, recorded, unmet
from cftool.transfer.tally import AS_ASKED, Tally
from cftool.transfer.threads import in_order

_PIECE = 1 << 20
_CHECKERS = 16
_TELL = 1000
_AHEAD = 2000  # files, at most, that are compared or told about already and wait for one before them
_NO_HASH = "no hash is known on both sides (--download compares the bytes)"

Pair = tuple[Entry, Entry]
Tell = Callable[[], None]  # what needs no comparison any more, for its turn


def same_bytes(a: Store, in_a: Entry, b: Store, in_b: Entry) -> bool:
    """Whether both files, in exactly these versions, hold the same bytes."""
    with a.read(in_a.path, if_version=in_a.version) as one, b.read(in_b.path, if_version=in_b.version) as other:
        while True:
            x, y = _piece(one), _piece(other)
            if x != y:
                return False
            if not x:
                return True


def _piece(download: Download) -> bytes:
    """Exactly a megabyte, or less at the end only."""
    parts: list[bytes] = []
    missing = _PIECE
    while missing and (part := download.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


class Check:
    """One run of check."""

    def __init__(self, a: Side, b: Side, options: Options, around: Surroundings, emit: Emit) -> None:
        self._a, self._b = shown(a, options.links), shown(b, options.links)
        self._options, self._around = options, around
        self._selected = recorded(options.select)
        self._budget = options.budget or Budget(None, options.max_duration)
        self._tally = Tally(emit, now=around.now, why_by_size=AS_ASKED if options.size_only else _NO_HASH)
        self._told = 0
        self._budget.over(self._tally.started)

    def go(self) -> Summary:
        """Compare. Raises NotFound where A is not there."""
        folding = Folding.of(self._a.store.features, self._b.store.features)
        with ExitStack() as stack:
            key_of = folding.key_of()
            scans = [
                Scan(side.store, how, name=name, address=side.address, cancelled=self._cancelled)
                for side, how, name in (
                    (self._a, How(key_of=key_of, select=self._selected, mark=True, hide=True), "A"),
                    (self._b, How(key_of=key_of, select=by_name(self._selected), hide=True), "B"),
                )
            ]
            for scan in scans:
                stack.callback(scan.close)
                scan.start()
            missing = self._begin(scans)
            threads = self._options.checkers or min(
                _CHECKERS, max(4, self._a.store.features.connections, self._b.store.features.connections)
            )
            there = () if missing else scans[1]
            steps = merge(collapse(scans[0], is_mark), collapse(there), ()) if folding else merge(scans[0], there, ())
            items = self._items(steps, scans)
            for done in in_order(self._compare, items, threads=threads, ahead=_AHEAD, settled=callable):
                if callable(done.item):
                    done.item()
                elif done.error is not None:
                    self._error(done.item, done.error)
                else:
                    assert done.value is not None
                    self._found(done.item[0].path, *done.value)
            for scan in scans:
                for problem in scan.problems:
                    self._tally.failed(problem.path, problem.error)
            if scans[0].complete:
                for error in unmet(self._selected):
                    self._tally.failed(error.path or "", error)
        return self._tally.summary()

    def _begin(self, scans: list[Scan]) -> bool:
        for scan, side in zip(scans, (self._a, self._b), strict=True):
            try:
                scan.first()
            except NotFound:
                try:
                    side.store.stat("")
                except NotFound as missing:
                    if side is self._a:
                        raise placed(missing, side.address) from None
                    self._tally.note(f"{side.address} is not there: everything is missing in it")
                    return True
            except (Stopped, CftoolError):
                pass  # the merge meets it again
        return False

    def _cancelled(self) -> bool:
        if self._around.cancelled():
            self._tally.stopped = "interrupted"
        if self._budget.over(self._around.now()):
            self._tally.stopped = self._tally.stopped or "max-duration"
        return bool(self._tally.stopped)

    def _items(self, steps: Iterator[tuple[bytes, object, object, object]], scans: list[Scan]) -> Iterator[Pair | Tell]:
        """The pairs of files that sizes do not decide, and what is told of the rest."""
        try:
            for key, a, b, _row in steps:
                if any(key.startswith(problem.key) for scan in scans for problem in scan.problems):
                    continue
                item = self._step(a, b)
                if item is not None:
                    yield item
                if self._cancelled() or self._tally.locked_out:
                    return
        except Stopped:
            return
        except CftoolError as error:
            self._tally.failed("", error)
        self._tally.scanned(complete=True)

    def _step(self, a: object, b: object) -> Pair | Tell | None:
        if isinstance(a, Twins) or isinstance(b, Twins):
            return partial(self._twins, a, b)
        if isinstance(a, Entry) and is_mark(a):
            self._tally.skipped_by["excluded"] += 1
            return None
        if isinstance(a, Entry) and a.kind in {Kind.LINK, Kind.OTHER}:
            return partial(self._no_file, a)
        if isinstance(a, Entry):
            self._seen(a)
            if not isinstance(b, Entry):
                return partial(self._tally.differs, a.path, "+") if a.kind is Kind.FILE else None
            if a.kind is Kind.FILE:
                return self._sized(a, b)
        elif isinstance(b, Entry) and b.kind is Kind.FILE and not self._options.one_way:
            if not chosen(self._b.store, self._selected, b):
                self._tally.skipped_by["excluded"] += 1
                return None
            return partial(self._tally.differs, b.path, "-")
        return None

    def _twins(self, a: object, b: object) -> None:
        entries = next(twins.entries for twins in (a, b) if isinstance(twins, Twins))
        for entry in entries:
            self._tally.differs(entry.path, "!", "several names that the other side cannot tell apart")

    def _no_file(self, a: Entry) -> None:
        if a.kind is Kind.LINK and self._options.links is Links.FOLLOW:
            self._tally.differs(a.path, "!", "the link leads nowhere")
            self._tally.failed(a.path, StoreError("the link leads nowhere", op="read", path=a.path))
        else:
            self._tally.skipped(a.path, "link" if a.kind is Kind.LINK else "special")

    def _seen(self, entry: Entry) -> None:
        if entry.kind is Kind.FILE:
            self._tally.files += 1
            self._tally.bytes_seen += entry.size or 0
            self._told += 1
            if self._told % _TELL == 0:
                self._tally.scanned(complete=False)

    def _sized(self, a: Entry, b: Entry) -> Pair | Tell | None:
        if b.kind is not Kind.FILE:
            return partial(self._tally.differs, a.path, "*", "kind")
        if a.size is None or b.size is None:
            return a, b
        if a.size != b.size:
            return partial(self._found, a.path, False, SIZE)
        if self._options.size_only:
            self._found(a.path, True, SIZE_ONLY)
            return None
        return a, b

    def _found(self, path: str, same: bool, by: str) -> None:
        self._tally.checked += 1
        self._tally.compared_by[by] += 1
        if not same:
            self._tally.differs(path, "*", "size" if by == SIZE else "content")

    def _error(self, pair: Pair, error: Exception) -> None:
        if self._tally.locked_out:
            return  # this one was given up, or met the same
        if not isinstance(error, Interrupted | LoginRequired):
            self._tally.differs(pair[0].path, "!", str(error))
        self._tally.failed(pair[0].path, error)

    def _compare(self, pair: Pair | Tell) -> tuple[bool, str]:
        """Whether the contents are the same, and by what; in a thread."""
        assert not callable(pair)
        a, b = pair
        if self._tally.stopped or self._tally.locked_out or self._around.cancelled():  # many may wait for their turn
            raise Interrupted("the run is to end", op="read", path=a.path)
        sides = (self._a, self._b)
        cheap = [not side.store.features.remote for side in sides]
        if self._options.download or all(cheap):
            return same_bytes(self._a.store, a, self._b.store, b), HASH
        same = self._hashes(a, b, cheap)
        if same is not None:
            return same, HASH
        asked = [
            side.store.stat(entry.path) if side.store.features.remote and side.store.features.hashes else entry
            for side, entry in zip(sides, pair, strict=True)
        ]
        for entry, before in zip(asked, pair, strict=True):
            if before.version is not None and entry.version != before.version:
                raise PreconditionFailed("changed while it was checked", op="stat", path=entry.path)
        same = self._hashes(asked[0], asked[1], cheap)
        return (True, SIZE_ONLY) if same is None else (same, REQUEST)

    def _hashes(self, a: Entry, b: Entry, cheap: list[bool]) -> bool | None:
        common = a.hashes.keys() & b.hashes.keys()
        if common:
            return all(a.hashes[name] == b.hashes[name] for name in common)
        for known, other, side, readable in ((b, a, self._a, cheap[0]), (a, b, self._b, cheap[1])):
            name = best_hash(known.hashes) if readable else None
            if name is not None:
                return hash_of(side, other, name) == known.hashes[name]
        return None
