"""The manual's pages on what several commands have in common, in section 7, from the texts in `texts`.

A text is Markdown of four kinds of blocks: a paragraph; a list whose items are `* term :: text`; lines of shell, set in
by four blanks, which run after the examples of the commands, as those do (see `pages`); and headings. KINDS
stands for the names of all errors.
"""

from pathlib import Path
from typing import NamedTuple

from cftool.cli.output import OutputError
from cftool.core import errors
from cftool.core.errors import CftoolError

TEXTS = Path(__file__).parent / "texts"
FLAGS = {"filters": "--include", "copying": "--verify", "json": "--json"}
"""The topics, each with the flag whose commands point to its page."""


class Topic(NamedTuple):
    """A page: what it is about, and for each heading its blocks. A list has its terms, a text and shell have lines."""

    summary: str
    sections: list[tuple[str, list[str | list[tuple[str, str]] | tuple[str, ...]]]]

    def examples(self) -> list[str]:
        """All lines of shell."""
        return [row for _, blocks in self.sections for block in blocks if isinstance(block, tuple) for row in block]


def kinds() -> list[str]:
    """The names of all errors, as `--json` tells them."""
    known = [*vars(errors).values(), OutputError]
    told = {
        errors.kind_of(each.__new__(each)) for each in known if isinstance(each, type) and issubclass(each, CftoolError)
    }
    return sorted(told - {"cftool_error"} | {"error", "internal"})


def read(name: str) -> Topic:
    """The topic of that name."""
    head, *blocks = (TEXTS / f"{name}.md").read_text().replace("KINDS", ", ".join(kinds())).strip().split("\n\n")
    topic = Topic(head.removeprefix("# "), [])
    for block in blocks:
        if block.startswith("## "):
            topic.sections.append((block[3:], []))
        else:
            topic.sections[-1][1].append(_block(block))
    return topic


def _block(text: str) -> str | list[tuple[str, str]] | tuple[str, ...]:
    if text.startswith("    "):
        return tuple(line[4:] for line in text.split("\n"))
    if not text.startswith("* "):
        return text
    rows = [" ".join(item.split()).partition(" :: ") for item in ("\n" + text).split("\n* ")[1:]]
    assert all(term and said for term, _, said in rows), text
    return [(term, said) for term, _, said in rows]
