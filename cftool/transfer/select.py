"""Which entries of a run take part: rules on names, sizes and ages, or a list of names. Implements `options.Select`.

The rules are rclone's patterns in the order in which they were given: the first that matches a file's whole path
decides, and a file that none matches takes part. Directories are never chosen by themselves: one is passed over, and
not listed at all, where it is proven that nothing below it can take part. Pure but for `timed`, which asks a store.
"""

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import IsADirectory, NotFound, StoreError
from cftool.core.store import Store
from cftool.core.types import Entry
from cftool.transfer.options import Select

if TYPE_CHECKING:
    from cftool.transfer.automaton import State

_MEMO = 4096  # directories whose place in the automaton is remembered


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: takes in or leaves out what the pattern matches. A pattern with a final `/` means a directory."""

    include: bool
    pattern: str


class Names:
    """Rules in their order. Thread-safe."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Raises PatternError, a ValueError, for a pattern that is none."""
        # Not at the top: most runs select nothing by name.
        from cftool.transfer import patterns
        from cftool.transfer.automaton import Automaton

        self._include: list[bool] = []
        trees = []
        self._prunes = False
        open_include = False  # an earlier rule takes files in that may be anywhere
        for rule in rules:
            pattern = rule.pattern
            if pattern.endswith("/"):
                if rule.include:
                    patterns.tree(pattern)  # a directory to look into: no file has such a name
                    continue
                pattern += "**"
            trees.append(patterns.tree(pattern))
            self._include.append(rule.include)
        self._automaton = Automaton(trees)
        for number, include in enumerate(self._include):
            if include:
                open_include = open_include or self._stays_open(number)
            elif not open_include and self._automaton.can_take_all(number):
                self._prunes = True
                break
        self._memo: dict[str, State] = {}
        self._generation = self._automaton.generation

    @property
    def prunes(self) -> bool:
        """Whether there can be a directory of which nothing takes part."""
        return self._prunes

    def file(self, path: str) -> bool:
        """Whether the file takes part."""
        if not self._include:
            return True
        directory, slash, name = path.rpartition("/")
        automaton = self._automaton
        rule = automaton.matched(automaton.run(self._inside(directory) if slash else automaton.start, name))
        return rule < 0 or self._include[rule]

    def directory(self, path: str) -> bool:
        """Whether something below the directory can take part."""
        if not self._prunes or not path:
            return True
        facts = (state := self._inside(path)).facts
        known = facts.get("open")
        if known is None:
            known = facts["open"] = self._open(state)
        return known

    def _open(self, state: "State") -> bool:
        for rule in sorted(self._automaton.alive(state)):
            if self._include[rule]:
                return True
            if self._automaton.takes_all(state, rule):
                return False
        return True

    def _stays_open(self, rule: int) -> bool:
        """Whether the rule can match below any directory: then it keeps all of them open."""
        automaton = self._automaton
        return rule in automaton.alive(automaton.run(automaton.start, "\x01/\x01/"))

    def _inside(self, directory: str) -> "State":
        """Where the directory's path with a slash leads to."""
        if self._generation != self._automaton.generation or len(self._memo) > _MEMO:
            self._memo, self._generation = {}, self._automaton.generation
        memo = self._memo
        state = memo.get(directory)
        if state is None:
            above, slash, name = directory.rpartition("/")
            start = self._inside(above) if slash else self._automaton.start
            state = memo[directory] = self._automaton.run(start, name + "/")
        return state


@dataclass(frozen=True, slots=True)
class Filter:
    """What the flags of a command select. Sizes in bytes, both ends included; times in nanoseconds since the epoch."""

    names: Names | None = None
    listed: "frozenset[str] | None" = None  # --files-from: these and nothing else
    min_size: int | None = None
    max_size: int | None = None
    newest_ns: int | None = None  # --min-age: nothing that was changed after this
    oldest_ns: int | None = None  # --max-age: nothing that was changed before this
    directories: frozenset[str] = field(default=frozenset(), init=False)  # those that `listed` lies in

    def __post_init__(self) -> None:
        if self.listed is not None:
            above: set[str] = set()
            for name in self.listed:
                while "/" in name and (name := name.rpartition("/")[0]) not in above:
                    above.add(name)
            object.__setattr__(self, "directories", frozenset(above))

    @property
    def prunes(self) -> bool:
        """Whether there can be a directory of which nothing takes part."""
        return self.listed is not None or (self.names is not None and self.names.prunes)

    @property
    def timed(self) -> bool:
        """Whether it depends on times."""
        return self.newest_ns is not None or self.oldest_ns is not None

    def file(self, entry: Entry) -> bool:
        """Whether this file takes part."""
        return self.named(entry) and self._measured(entry) and (not self.timed or self._aged(entry))

    def directory(self, path: str) -> bool:
        """Whether anything below this directory can take part."""
        if self.listed is not None:
            return not path or path in self.directories
        return self.names is None or self.names.directory(path)

    def named(self, entry: Entry) -> bool:
        """Whether its name takes part."""
        if self.listed is not None:
            return entry.path in self.listed
        return self.names is None or self.names.file(entry.path)

    def _measured(self, entry: Entry) -> bool:
        size = entry.size
        if size is None:
            return True
        return (self.min_size is None or size >= self.min_size) and (self.max_size is None or size <= self.max_size)

    def _aged(self, entry: Entry) -> bool:
        """A service that keeps no time of the file's own has the time of its upload; one without any takes part."""
        when = entry.stored_ns if entry.modified_ns is None else entry.modified_ns
        if when is None:
            return True
        return (self.oldest_ns is None or when >= self.oldest_ns) and (self.newest_ns is None or when <= self.newest_ns)

    def needs_time(self, entry: Entry) -> bool:
        """Whether only the entry's own time, which it does not carry, can tell."""
        return self.timed and entry.modified_ns is None and self.named(entry) and self._measured(entry)


def by_name(select: Select | None) -> Select | None:
    """The part that looks at names alone: by it the other side is listed.

    There sizes and times are those of another version: a file that is to be replaced must not look as if it were not
    there.
    """
    if isinstance(select, Recorder):
        select = select.filter
    if not isinstance(select, Filter):
        return select
    return Filter(select.names, select.listed) if select.names or select.listed is not None else None


def prunes(select: Select | None) -> bool:
    """Whether listing directory by directory can spare something."""
    return isinstance(select, Filter | Recorder) and select.prunes


class Recorder:
    """A filter by a list of names that keeps in mind which of them were met. One listing's; in one thread."""

    def __init__(self, of: Filter) -> None:
        self.filter = of
        self._names = of.listed or frozenset()
        self._met: set[str] = set()
        self._directories: set[str] = set()
        self.prunes = of.prunes
        self.needs_time = of.needs_time

    def file(self, entry: Entry) -> bool:
        """As the filter."""
        if entry.path in self._names:
            self._met.add(entry.path)
        return self.filter.file(entry)

    def directory(self, path: str) -> bool:
        """As the filter."""
        if path in self._names:
            self._directories.add(path)
        return self.filter.directory(path)

    def missing(self) -> list[StoreError]:
        """An error for each name that was not met, in order; to be asked after a complete listing."""
        return [
            IsADirectory("is a directory; --files-from takes files", op="scan", path=name)
            if name in self._directories
            else NotFound("--files-from names it, and it is not there", op="scan", path=name)
            for name in sorted(self._names - self._met, key=lambda name: paths.sort_key(name, is_dir=False))
        ]


def recorded(select: Select | None) -> Select | None:
    """The selection for the listing in which all of a list must be met."""
    return Recorder(select) if isinstance(select, Filter) and select.listed is not None else select


def unmet(select: Select | None) -> list[StoreError]:
    """What `recorded` did not meet."""
    return select.missing() if isinstance(select, Recorder) else []


def chosen(store: Store, select: Select | None, entry: Entry) -> bool:
    """Whether a file that was listed by name alone takes part; may cost a request for its time."""
    if isinstance(select, Recorder):
        select = select.filter
    return not isinstance(select, Filter) or select.file(timed(store, select, [entry])[0])


def timed(store: Store, select: Select | None, entries: Sequence[Entry]) -> list[Entry]:
    """The entries, those with their own time on which the selection depends and which the listing does not carry.

    One request each, several at once. One that is gone by now stays as it was: whoever reads it will say so.
    """
    if not isinstance(select, Filter | Recorder):
        return list(entries)
    features = store.features
    wanted = [entry for entry in entries if not entry.is_dir and select.needs_time(entry)]
    if not wanted or features.listed_time or features.time_precision_ns is None:
        return list(entries)
    from cftool.transfer.threads import bounded

    known: dict[str, Entry] = {}
    for done in bounded(lambda entry: store.stat(entry.path), wanted, threads=max(1, features.connections)):
        if done.error is None and done.value is not None:
            known[done.item.path] = done.item._replace(modified_ns=done.value.modified_ns)
        elif not isinstance(done.error, NotFound) and done.error is not None:
            raise done.error
    return [known.get(entry.path, entry) for entry in entries]
