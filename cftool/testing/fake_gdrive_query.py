"""The languages of Drive's query parameters, for the fake service: `q` of files.list, and `fields` of everything.

Strict: what the service would refuse is a BadParameter here, with the name of the parameter.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Test = Callable[[Any], bool]
_TOKENS = re.compile(r"\s*(?:(\()|(\))|'((?:[^'\\]|\\.)*)'|(!=|=|<=|>=|<|>)|([A-Za-z]+))")


class BadParameter(Exception):
    """A parameter's value that the service would refuse."""

    def __init__(self, parameter: str) -> None:
        super().__init__(parameter)
        self.parameter = parameter


class Query:
    """`q`, parsed: `matches(file)`, and the parents that it names."""

    def __init__(self, text: str) -> None:
        self.parents: list[str] = []
        self._tokens = list(self._split(text))
        self._test = self._or()
        if self._tokens:
            raise BadParameter("q")

    def matches(self, file: Any) -> bool:
        """Whether the file (of the fake) is one of the answer."""
        return self._test(file)

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, str]]:
        at = 0
        while at < len(text):
            match = _TOKENS.match(text, at)
            if match is None:
                if text[at:].isspace():
                    return
                raise BadParameter("q")
            at = match.end()
            kind = ("(", ")", "text", "operator", "word")[match.lastindex - 1 if match.lastindex else 0]
            value = match[match.lastindex or 0]
            if kind == "text":
                if re.search(r"\\(?![\\'])", value.replace("\\\\", "")):
                    raise BadParameter("q")
                value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
            yield kind, value

    def _take(self, kind: str, value: str | None = None) -> str:
        if not self._tokens or self._tokens[0][0] != kind or (value is not None and self._tokens[0][1] != value):
            raise BadParameter("q")
        return self._tokens.pop(0)[1]

    def _is(self, kind: str, value: str | None = None) -> bool:
        return bool(self._tokens) and self._tokens[0][0] == kind and value in {None, self._tokens[0][1]}

    def _or(self) -> Test:
        tests = [self._and()]
        while self._is("word", "or"):
            self._take("word")
            tests.append(self._and())
        return tests[0] if len(tests) == 1 else lambda file: any(test(file) for test in tests)

    def _and(self) -> Test:
        tests = [self._one()]
        while self._is("word", "and"):
            self._take("word")
            tests.append(self._one())
        return lambda file: all(test(file) for test in tests)

    def _one(self) -> Test:
        if self._is("("):
            self._take("(")
            test = self._or()
            self._take(")")
            return test
        if self._is("text"):
            parent = self._take("text")
            self._take("word", "in")
            self._take("word", "parents")
            self.parents.append(parent)
            return lambda file: file.has_parent(parent)
        field = self._take("word")
        operator = self._take("operator")
        if field == "trashed" and operator == "=":
            wanted = self._take("word")
            if wanted not in {"true", "false"}:
                raise BadParameter("q")
            return lambda file: file.in_trash() is (wanted == "true")
        text = self._take("text")
        if field == "name" and operator == "=":
            # The operator does not heed case.
            return lambda file: file.name.casefold() == text.casefold()
        if field == "mimeType" and operator in {"=", "!="}:
            return lambda file: (file.mime == text) is (operator == "=")
        raise BadParameter("q")


def masked(resource: Mapping[str, Any], fields: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Only the `fields` of a resource; `known` has every field that there is, nested ones as mappings."""
    mask, rest = _mask(fields)
    if rest:
        raise BadParameter("fields")
    return _apply(resource, mask, known)


def _mask(text: str) -> tuple[dict[str, Any], str]:
    mask: dict[str, Any] = {}
    while True:
        match = re.match(r"([A-Za-z0-9]+|\*)", text)
        if match is None:
            raise BadParameter("fields")
        text = text[match.end() :]
        inner: dict[str, Any] | None = None
        if text.startswith("("):
            inner, text = _mask(text[1:])
            if not text.startswith(")"):
                raise BadParameter("fields")
            text = text[1:]
        mask[match[1]] = inner
        if not text.startswith(","):
            return mask, text
        text = text[1:]


def _apply(resource: Mapping[str, Any], mask: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in mask.items():
        if name not in known or (inner is not None and not isinstance(known[name], Mapping)):
            raise BadParameter("fields")
        value = resource.get(name)
        if inner is not None:
            _apply({}, inner, known[name])  # unknown names are refused, whatever there is to show
        if value is None:
            continue
        if inner is None:
            found[name] = value
        elif isinstance(value, list):
            found[name] = [_apply(each, inner, known[name]) for each in value]
        else:
            found[name] = _apply(value, inner, known[name])
    return found
