"""Many patterns at once over one text, in time linear in its length: an automaton made as far as it is met.

Each pattern becomes a nondeterministic automaton (Thompson's construction); what a prefix of a text leads to is the set
of their places, made once and remembered with what follows it on each character. So the usual cost is one look-up a
character for all patterns together, and the worst case is the number of places a character: nothing backtracks.
Thread-safe: states only grow, and two threads that make the same one make equal ones. Called by `select`.
"""

from collections.abc import Iterable, Iterator, Sequence

from cftool.transfer import regex
from cftool.transfer.regex import Chars, Either, Look, Node, PatternError, Ranges, Repeat

_PLACES_MOST = 300_000  # of all patterns together
_REMEMBERED = 2_000_000  # places in all states that are kept; beyond, all are made anew
_PROOF_MOST = 200  # sets looked at to prove that a pattern takes everything that may follow

# What stands before a place, as far as a condition can ask.
_START, _LINE, _WORD, _OTHER = range(4)


class Place:
    """One place in a pattern: goes on by a character, by a condition, or for nothing; or is a pattern's end."""

    __slots__ = ("after", "look", "number", "ranges", "rule")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ranges: Ranges | None = None
        self.look: str | None = None
        self.after: list[Place] = []
        self.rule = -1  # of an end: the pattern's number


class State:
    """Where a prefix leads to."""

    __slots__ = ("after", "before", "facts", "places", "verdict")

    def __init__(self, places: frozenset[Place], before: int) -> None:
        self.places = places
        self.before = before
        self.after: dict[str, State] = {}
        self.verdict: int | None = None  # the first pattern that the prefix itself matches, -1 for none; once known
        self.facts: dict[str, bool] = {}  # what users of the automaton found out about it


class Automaton:
    """Patterns by number, the smallest first."""

    def __init__(self, patterns: Iterable[Node]) -> None:
        self._places: list[Place] = []
        self._looks = False
        starts: list[Place] = []
        for rule, node in enumerate(patterns):
            end = self._place()
            end.rule = rule
            starts.append(self._build(node, end))
        self._owner = _owners(starts)
        self._begin = frozenset(starts)
        self.generation = 0  # rises when states are forgotten: who keeps some drops them then
        self._forget()

    def _forget(self) -> None:
        self._kept = 0
        self._states: dict[tuple[frozenset[Place], int], State] = {}
        self.start = State(self._begin, _START)

    # ---- construction

    def _place(self) -> Place:
        if len(self._places) >= _PLACES_MOST:
            raise PatternError("the patterns are too large")
        place = Place(len(self._places))
        self._places.append(place)
        return place

    def _build(self, node: Node, after: Place) -> Place:
        """The place where `node`, followed by `after`, begins."""
        if isinstance(node, Chars):
            place = self._place()
            place.ranges = node.ranges
            place.after = [after]
            return place
        if isinstance(node, Look):
            place = self._place()
            place.look = node.at
            place.after = [after]
            self._looks = self._looks or node.at not in {"start", "end"}
            return place
        if isinstance(node, Either):
            place = self._place()
            place.after = [self._build(part, after) for part in node.parts]
            return place
        if isinstance(node, Repeat):
            return self._repeat(node, after)
        for part in reversed(node.parts):
            after = self._build(part, after)
        return after

    def _repeat(self, node: Repeat, after: Place) -> Place:
        if node.most is None:
            loop = self._place()
            loop.after = [self._build(node.part, loop), after]
            after = loop
        else:
            end = after
            for _ in range(node.most - node.least):
                here = self._place()
                here.after = [self._build(node.part, after), end]
                after = here
        for _ in range(node.least):
            after = self._build(node.part, after)
        return after

    # ---- running

    def run(self, state: State, text: str) -> State:
        """Where all of `text` leads to from there."""
        for char in text:
            following = state.after.get(char)
            if following is None:
                following = state.after[char] = self._made(state, char)
            state = following
        return state

    def matched(self, state: State) -> int:
        """The first pattern that matches what led here, or -1."""
        if state.verdict is None:
            rules = [place.rule for place in _closure(state.places, state.before, None) if place.rule >= 0]
            state.verdict = min(rules, default=-1)
        return state.verdict

    def _made(self, state: State, char: str) -> State:
        code = ord(char)
        return self._state(_moved(_closure(state.places, state.before, char), code), self._before(char))

    def _state(self, places: frozenset[Place], before: int) -> State:
        known = self._states.get((places, before))
        if known is not None:
            return known
        self._kept += len(places) + 8
        if self._kept > _REMEMBERED:
            self._forget()  # those in use live on by themselves
            self.generation += 1
        return self._states.setdefault((places, before), State(places, before))

    def _before(self, char: str) -> int:
        if not self._looks:
            return _OTHER
        return _LINE if char == "\n" else _WORD if _has(regex.WORD, ord(char)) else _OTHER

    # ---- proofs

    def alive(self, state: State) -> frozenset[int]:
        """The patterns that something may still match which begins as what led here."""
        return frozenset(self._owner[place.number] for place in state.places)

    def can_take_all(self, rule: int) -> bool:
        """Whether there may be a directory of which the pattern matches all that is below; False is proven."""
        begin = (frozenset(place for place in self._begin if self._owner[place.number] == rule), _START)
        todo = [begin]
        seen = set(todo)
        while todo:
            places, before = todo.pop()
            for char in _representatives(places):
                following = (_moved(_closure(places, before, char), ord(char)), self._before(char))
                if not following[0]:
                    continue
                if char == "/" and self.takes_all(State(*following), rule):
                    return True
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
            if len(seen) > _PROOF_MOST:
                return True
        return False

    def takes_all(self, state: State, rule: int) -> bool:
        """Whether the pattern matches every text that goes on from here by at least a character; False: not proven."""
        begin = (frozenset(place for place in state.places if self._owner[place.number] == rule), state.before)
        todo = [begin]
        seen: set[tuple[frozenset[Place], int]] = set()  # not with `begin`: whether that matches does not count
        while todo:
            places, before = todo.pop()
            for char in _representatives(places):
                moved = _moved(_closure(places, before, char), ord(char))
                following = (moved, self._before(char))
                if following in seen:
                    continue
                seen.add(following)
                if len(seen) > _PROOF_MOST or not self._matches(following, rule):
                    return False
                todo.append(following)
        return True

    def _matches(self, state: tuple[frozenset[Place], int], rule: int) -> bool:
        return any(place.rule == rule for place in _closure(*state, None))


def _owners(starts: Sequence[Place]) -> dict[int, int]:
    """Which pattern each place belongs to, by the place's number."""
    owner: dict[int, int] = {}
    for rule, start in enumerate(starts):
        todo = [start]
        while todo:
            place = todo.pop()
            if place.number not in owner:
                owner[place.number] = rule
                todo += place.after
    return owner


def _closure(places: Iterable[Place], before: int, following: str | None) -> set[Place]:
    """All places that are reached for nothing, given what stands before and behind; None: the text's end."""
    found: set[Place] = set()
    todo = list(places)
    while todo:
        place = todo.pop()
        if place in found:
            continue
        found.add(place)
        if place.ranges is None and (place.look is None or _holds(place.look, before, following)):
            todo += place.after
    return found


def _moved(closed: Iterable[Place], code: int) -> frozenset[Place]:
    return frozenset(
        after for place in closed if place.ranges is not None and _has(place.ranges, code) for after in place.after
    )


def _holds(look: str, before: int, following: str | None) -> bool:
    if look == "start":
        return before == _START
    if look == "end":
        return following is None
    if look == "line_start":
        return before in {_START, _LINE}
    if look == "line_end":
        return following in {None, "\n"}
    word = following is not None and _has(regex.WORD, ord(following))
    return ((before == _WORD) is not word) is (look == "word")


def _has(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)


def _representatives(places: Iterable[Place]) -> Iterator[str]:
    """One character out of each set of characters that no place reachable from these can tell apart."""
    cuts = {0, ord("\n"), ord("\n") + 1, ord("/"), ord("/") + 1, regex.LAST + 1}
    cuts.update(*({low, high + 1} for low, high in regex.WORD))
    seen: set[Place] = set()
    todo = list(places)
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        todo += place.after
        for low, high in place.ranges or ():
            cuts |= {low, high + 1}
    yield from map(chr, sorted(cuts - {regex.LAST + 1}))
