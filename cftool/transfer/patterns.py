r"""rclone's patterns: text to a tree that `automaton` runs. https://rclone.org/filtering/#patterns

`*` any but `/`, `**` any, `?` one but `/`, `[set]`, `{a,b}` (may nest), `{{regular expression}}`, `\` before what is
meant itself. A leading `/` holds it to the top; else it begins at any component. Where rclone's documentation
and rclone differ (`[!a]` is "! or a" to the program), the program is followed: a filter file must choose the same files
with both. One thing is better here: `**` takes a newline too. Pure: no I/O. Called by `select`.
"""

from cftool.transfer import regex
from cftool.transfer.regex import ALL, Chars, Either, Look, Node, PatternError, Repeat, Sequence

_SPECIAL = frozenset(".+()|^$")
_ANYWHERE = Either((Look("start"), Sequence((Repeat(Chars(ALL), 0, None), regex.parse("/")))))


def tree(pattern: str) -> Node:
    """What matches the whole path of a file. Raises PatternError."""
    rooted = pattern.startswith("/")
    node = regex.parse(expression(pattern[1:] if rooted else pattern))
    return node if rooted else Sequence((_ANYWHERE, node))


def expression(pattern: str) -> str:
    """The pattern, its leading slash aside, as a regular expression in RE2's syntax."""
    return _Reader(pattern).read()


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def read(self) -> str:
        parts: list[str] = []
        while self._at < len(self._pattern):
            parts.append(self._one())
        if self._depth:
            raise PatternError("a { without its }")
        return "".join(parts)

    def _one(self) -> str:
        pattern, at = self._pattern, self._at
        char = pattern[at]
        if char == "*":
            return self._stars()
        if char == "[":
            return self._set()
        if pattern.startswith("{{", at):
            return self._regex()
        self._at = at + 1
        if char == "\\":
            if at + 1 == len(pattern):
                raise PatternError("a \\ before nothing")
            self._at = at + 2
            return pattern[at : at + 2]
        if char == "?":
            return "[^/]"
        if char == "]":
            raise PatternError("a ] without its [")
        if char in "{},":
            return self._alternatives(char)
        return f"\\{char}" if char in _SPECIAL else char

    def _stars(self) -> str:
        start = self._at
        while self._pattern.startswith("*", self._at):
            self._at += 1
        count = self._at - start
        if count > 2:
            raise PatternError("more than two stars")
        return "[^/]*" if count == 1 else "(?s:.*)"

    def _set(self) -> str:
        """Up to the bracket that closes as many as were opened, for `[[:alpha:]]`."""
        start, depth = self._at, 0
        while self._at < len(self._pattern):
            char = self._pattern[self._at]
            self._at += 1
            depth += (char == "[") - (char == "]")
            if depth == 0:
                return self._pattern[start : self._at]
        raise PatternError("a [ without its ]")

    def _regex(self) -> str:
        """Between `{{` and `}}`; where more than two braces close, the first of them belong to the expression."""
        end = self._pattern.find("}}", self._at + 2)
        if end < 0:
            raise PatternError("a {{ without its }}")
        while self._pattern.startswith("}", end + 2):
            end += 1
        text = self._pattern[self._at + 2 : end]
        self._at = end + 2
        regex.parse(text)  # by itself: it must not close a group of ours
        return f"({text})"

    def _alternatives(self, char: str) -> str:
        if char == "{":
            self._depth += 1
            return "("
        if char == ",":
            return "|" if self._depth else ","
        if not self._depth:
            raise PatternError("a } without its {")
        self._depth -= 1
        return ")"
