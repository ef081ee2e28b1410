"""Canonical paths, their order, and the one check that every name passes before it is believed or used.

A canonical path is a str without leading or trailing slash; the root is "". Bytes that are not UTF-8 are carried as
surrogate escapes (`os.fsencode`). In stores with opaque keys (S3) empty, "." and ".." components are part of the name.
"""

import os

from cftool.core.errors import InvalidName
from cftool.core.types import Entry, NameRules

HIERARCHICAL = NameRules()
MAX_DEPTH = 512  # a service that lists deeper than this is answering with a loop


def join(parent: str, name: str) -> str:
    """The path of `name` in directory `parent`."""
    return f"{parent}/{name}" if parent else name


def parent(path: str) -> str:
    """The directory that holds `path`; of a top-level name, the root."""
    return path.rpartition("/")[0]


def sort_key(path: str, *, is_dir: bool) -> bytes:
    """The order of the merge: bytes of the path, a directory as `path/`. It is S3's key order, and depth-first."""
    return os.fsencode(path) + b"/" if is_dir and path else os.fsencode(path)


def entry_key(entry: Entry) -> bytes:
    """`sort_key` of an entry."""
    return sort_key(entry.path, is_dir=entry.is_dir)


def is_within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or below it."""
    return not directory or path == directory or path.startswith(directory + "/")


def component_problem(name: str) -> str | None:
    """Why `name` can be no single component, in words, or None. Used by decoders on every name of an answer."""
    if not name:
        return "is empty"
    if name in {".", ".."}:
        return f"is {name!r}"
    if "/" in name:
        return "contains a slash"
    if "\0" in name:
        return "contains a NUL"
    return None


def problem(path: str, rules: NameRules = HIERARCHICAL) -> str | None:
    """Why a store with `rules` cannot hold `path`, in words that continue "the name …", or None."""
    if "\0" in path:
        return "contains a NUL"
    if rules.opaque:
        if not path:
            return None
    elif path:
        # One pass for the good case: the components are split only when something is odd.
        if path[0] == "/" or path[-1] == "/" or "//" in path:
            return "has an empty component"
        if path[0] == "." or "/." in path:
            for name in path.split("/"):
                if name in {".", ".."}:
                    return f"has the component {name!r}"
    for char in rules.forbidden:
        if char in path:
            return f"contains {char!r}"
    for char in rules.no_end:
        if path.endswith(char) or f"{char}/" in path:
            return f"has a component that ends with {char!r}"
    if path.isascii():
        size = len(path)
    elif rules.utf8:
        try:
            size = len(path.encode("utf-8"))
        except UnicodeEncodeError:
            return "is not valid UTF-8"
    else:
        try:
            size = len(os.fsencode(path))
        except UnicodeEncodeError:  # a surrogate that stands for no byte
            return "has a character that no file name can hold"
    if rules.path_bytes is not None and size > rules.path_bytes:
        return f"is longer than {rules.path_bytes} bytes"
    limit = rules.component_bytes
    if limit is not None and size > limit and any(len(os.fsencode(name)) > limit for name in path.split("/")):
        return f"has a component longer than {limit} bytes"
    return None


def check(path: str, rules: NameRules = HIERARCHICAL) -> str:
    """`path` itself, or raise InvalidName with the reason; TypeError where a program gave something else."""
    if not isinstance(path, str):
        raise TypeError(f"a path is a str, not {type(path).__name__}")
    reason = problem(path, rules)
    if reason is not None:
        raise InvalidName(f"the name {reason}", path=path)
    return path


def printable(text: str) -> str:
    r"""`text` for terminals and logs: control characters, line separators, bidi controls and surrogates escaped.

    Nothing that a remote name holds may move the cursor, set a title, or fake a line (promise 7 of the project).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
