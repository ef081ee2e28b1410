r"""Regular expressions in Go's (RE2's) syntax, parsed into a small tree; `automaton` runs it in linear time.

Written because Python's `re` backtracks: a filter of a few stars, or a regular expression of the user's, must not take
hours over one long name, and must mean here what it means to rclone. What RE2 has not (back-references, look-around)
is refused. Syntax: https://github.com/google/re2/wiki/Syntax. Pure: no I/O. Called by `patterns`.
"""

import unicodedata
from dataclasses import replace

from cftool.core.dataclass import dataclass

LAST = 0x10FFFF
Ranges = tuple[tuple[int, int], ...]  # sorted, disjoint code points, both ends included
ALL: Ranges = ((0, LAST),)
_REPEAT_MOST = 1000  # RE2's bound of {n,m}
_DEPTH_MOST = 200  # nested groups


class PatternError(ValueError):
    """The pattern is none; the text says why."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of `ranges`."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Look:
    """A condition on a place: "start", "end", "line_start", "line_end", "word", "no_word"."""

    at: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One of them."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """`least` to `most` times; `most` None: without bound."""

    part: "Node"
    least: int
    most: int | None


Node = Chars | Look | Sequence | Either | Repeat


@dataclass(frozen=True, slots=True)
class _Flags:
    fold: bool = False  # i
    dot_all: bool = False  # s
    lines: bool = False  # m


def parse(text: str) -> Node:
    """The tree of `text`. Raises PatternError."""
    return _Parser(text).parse()


def without(ranges: Ranges) -> Ranges:
    """Every character that is not in `ranges`."""
    found = []
    following = 0
    for low, high in ranges:
        if low > following:
            found.append((following, low - 1))
        following = high + 1
    if following <= LAST:
        found.append((following, LAST))
    return tuple(found)


def union(ranges: list[tuple[int, int]]) -> Ranges:
    """Sorted and joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def _of(text: str) -> Ranges:
    return union([(ord(c), ord(c)) for c in text])


def _span(*pairs: str) -> Ranges:
    return union([(ord(pair[0]), ord(pair[1])) for pair in pairs])


NEWLINE = _of("\n")
NOT_NEWLINE = without(NEWLINE)
_DIGIT = _span("09")
_SPACE = _of("\t\n\f\r ")
WORD = _span("09", "AZ", "az", "__")
_PERL = {"d": _DIGIT, "s": _SPACE, "w": WORD}
_POSIX = {
    "alnum": _span("09", "AZ", "az"),
    "alpha": _span("AZ", "az"),
    "ascii": ((0, 0x7F),),
    "blank": _of("\t "),
    "cntrl": ((0, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT,
    "graph": _span("!~"),
    "lower": _span("az"),
    "print": _span(" ~"),
    "punct": _span("!/", ":@", "[`", "{~"),
    "space": _of("\t\n\v\f\r "),
    "upper": _span("AZ"),
    "word": WORD,
    "xdigit": _span("09", "AF", "af"),
}
_CONTROL = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_LOOKS = {"A": "start", "z": "end", "b": "word", "B": "no_word"}
_categories: dict[str, Ranges] = {}


def _category(name: str) -> Ranges:
    r"""The characters of a general category, as `\p{Lu}` or `\pL`."""
    known = _categories.get(name)
    if known is None:
        found: list[tuple[int, int]] = []
        for code in range(LAST + 1):
            if unicodedata.category(chr(code)).startswith(name):
                if found and found[-1][1] == code - 1:
                    found[-1] = (found[-1][0], code)
                else:
                    found.append((code, code))
        if not found:
            raise PatternError(f"the class \\p{{{name}}} is not known")
        known = _categories[name] = tuple(found)
    return known


def _folded(ranges: Ranges) -> Ranges:
    """With the other case of each letter."""
    found = list(ranges)
    for low, high in ranges:
        if high - low > 0x3000:  # most of Unicode: what has another case is nearly always in it as well
            continue
        for code in range(low, high + 1):
            char = chr(code)
            cases = {char.lower(), char.upper(), char.casefold()} - {char}
            found += [(ord(other), ord(other)) for other in cases if len(other) == 1]
    return union(found)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._flags = _Flags()
        self._depth = 0

    def parse(self) -> Node:
        node = self._either()
        if self._at < len(self._text):
            raise PatternError("a ) without its (")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise PatternError("the regular expression ends too early")
        self._at += 1
        return char

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _either(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while (char := self._peek()) and char not in "|)":
            if self._take("\\Q"):
                parts += self._quoted()
                continue
            if char in "*+?":
                raise PatternError(f"{char} repeats nothing")
            part = self._atom()
            if part is not None:
                parts.append(self._repeated(part))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _quoted(self) -> list[Node]:
        end = self._text.find("\\E", self._at)
        text = self._text[self._at : end if end >= 0 else len(self._text)]
        self._at += len(text) + (2 if end >= 0 else 0)
        parts: list[Node] = [self._chars(_of(char)) for char in text]
        if parts:
            parts[-1] = self._repeated(parts[-1])
        return parts

    # ---- repetition

    def _repeated(self, part: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return part
        self._take("?")  # whether it is greedy makes no difference to whether a whole name matches
        if self._bounds() is not None:
            raise PatternError("a repetition of a repetition")
        return Repeat(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if self._peek() != "{":
            return None
        end = self._text.find("}", self._at)
        first, comma, second = self._text[self._at + 1 : max(end, self._at)].partition(",")
        if end < 0 or not _number(first) or (second and not _number(second)):
            return None  # a brace like any other character
        least, most = int(first), (int(second) if second else None) if comma else int(first)
        if least > _REPEAT_MOST or (most is not None and (most > _REPEAT_MOST or most < least)):
            raise PatternError(f"the repetition {self._text[self._at : end + 1]} is out of bounds")
        self._at = end + 1
        return least, most

    # ---- atoms

    def _atom(self) -> Node | None:
        char = self._next()
        flags = self._flags
        if char == "(":
            return self._group()
        if char == "[":
            return self._chars(self._bracket())
        if char == ".":
            return Chars(ALL if flags.dot_all else NOT_NEWLINE)
        if char == "^":
            return Look("line_start" if flags.lines else "start")
        if char == "$":
            return Look("line_end" if flags.lines else "end")
        if char == "\\":
            if self._peek() in _LOOKS:
                return Look(_LOOKS[self._next()])
            return self._chars(self._escape())
        return self._chars(_of(char))

    def _chars(self, ranges: Ranges) -> Chars:
        return Chars(_folded(ranges) if self._flags.fold else ranges)

    def _group(self) -> Node | None:
        before = self._flags
        if self._take("?") and not self._named() and self._switches():
            return None  # (?i) holds to the end of the group around it
        self._depth += 1
        if self._depth > _DEPTH_MOST:
            raise PatternError("groups are nested too deep")
        node = self._either()
        if not self._take(")"):
            raise PatternError("a ( without its )")
        self._depth -= 1
        self._flags = before
        return node

    def _named(self) -> bool:
        start = self._at
        if self._take("P<") or self._take("<"):
            end = self._text.find(">", self._at)
            name = self._text[self._at : max(end, self._at)]
            if end < 0 or not name.replace("_", "a").isalnum():
                raise PatternError(f"{self._text[start - 2 : start + 4]!r} is no group that can be used here")
            self._at = end + 1
            return True
        return False

    def _switches(self) -> bool:
        """Read `i`, `-s`, `im:` …; whether the group ends with them."""
        on = True
        flags = self._flags
        while True:
            char = self._next()
            if char == "-" and on:
                on = False
            elif char == "i":
                flags = replace(flags, fold=on)
            elif char == "s":
                flags = replace(flags, dot_all=on)
            elif char == "m":
                flags = replace(flags, lines=on)
            elif char in ":)":
                self._flags = flags
                return char == ")"
            elif char != "U":  # ungreedy: no difference here
                raise PatternError(f"(?{char} cannot be used here")

    # ---- classes and escapes

    def _bracket(self) -> Ranges:
        negated = self._take("^")
        found: list[tuple[int, int]] = []
        first = True
        while first or self._peek() != "]":
            first = False
            if not self._peek():
                raise PatternError("a [ without its ]")
            if self._take("[:"):
                found += self._posix()
                continue
            low = self._member()
            if len(low) == 1 and low[0][0] == low[0][1] and self._range_follows():
                self._at += 1
                high = self._member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise PatternError("a range of characters that is none")
                found.append((low[0][0], high[0][0]))
            else:
                found += low
        self._at += 1
        ranges = union(found)
        if self._flags.fold:
            ranges = _folded(ranges)
        return without(ranges) if negated else ranges

    def _range_follows(self) -> bool:
        return self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"]", ""}

    def _member(self) -> Ranges:
        char = self._next()
        return self._escape() if char == "\\" else _of(char)

    def _posix(self) -> Ranges:
        end = self._text.find(":]", self._at)
        name = self._text[self._at : max(end, self._at)]
        ranges = _POSIX.get(name.removeprefix("^"))
        if end < 0 or ranges is None:
            raise PatternError(f"the class [:{name}:] is not known")
        self._at = end + 2
        return without(ranges) if name.startswith("^") else ranges

    def _escape(self) -> Ranges:
        char = self._next()
        if char in "dDsSwW":
            ranges = _PERL[char.lower()]
            return without(ranges) if char.isupper() else ranges
        if char in "pP":
            return self._property(negated=char == "P")
        if char in _CONTROL:
            return ((_CONTROL[char], _CONTROL[char]),)
        if char == "x":
            return self._hexadecimal()
        if char == "0" or (char in "1234567" and self._peek() in tuple("01234567")):
            digits = char
            while len(digits) < 3 and self._peek() in tuple("01234567"):
                digits += self._next()
            return ((int(digits, 8), int(digits, 8)),)
        if char.isascii() and char.isalnum():
            raise PatternError(f"the escape \\{char} is not known")
        return _of(char)

    def _property(self, *, negated: bool) -> Ranges:
        if self._take("{"):
            end = self._text.find("}", self._at)
            if end < 0:
                raise PatternError("a \\p{ without its }")
            name = self._text[self._at : end]
            self._at = end + 1
        else:
            name = self._next()
        if name.startswith("^"):
            name, negated = name[1:], not negated
        ranges = ALL if name == "Any" else _category(name)
        return without(ranges) if negated else ranges

    def _hexadecimal(self) -> Ranges:
        if self._take("{"):
            end = self._text.find("}", self._at)
            digits = self._text[self._at : max(end, self._at)]
            self._at = end + 1
        else:
            end = 0
            digits = self._text[self._at : self._at + 2]
            self._at += 2
        try:
            code = int(digits, 16) if digits.isalnum() else -1
        except ValueError:
            code = -1
        if end < 0 or not 0 <= code <= LAST or (end == 0 and len(digits) != 2):
            raise PatternError(f"\\x{digits} is no character")
        return ((code, code),)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()
