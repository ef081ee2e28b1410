"""The commands, flags and arguments of cftool as data, read from the table of commands and its functions.

A kind says what completes a flag's value or an argument: "address", "remote", "file", "" (nothing), or the words
themselves, separated by blanks. It follows from the metavar, so that a new command needs nothing here.
"""

import re
from typing import Any

from cftool.cli import app
from cftool.cli.command import build
from cftool.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; `value` is the kind of what it takes, None where it takes nothing."""

    names: tuple[str, ...]
    help: str
    value: str | None = None
    again: bool = False  # may be given several times


@dataclass(frozen=True, slots=True)
class Command:
    """One command by its words; of a group, `below` are the commands of it. The last argument repeats where `many`."""

    words: tuple[str, ...]
    help: str
    flags: tuple[Flag, ...] = ()
    arguments: tuple[str, ...] = ()
    many: bool = False
    below: "tuple[Command, ...]" = ()

    @property
    def name(self) -> str:
        """The last word."""
        return self.words[-1] if self.words else ""

    def kind(self, position: int) -> str:
        """What completes the argument at `position`."""
        if position < len(self.arguments):
            return self.arguments[position]
        return self.arguments[-1] if self.many and self.arguments else ""


_KINDS = {
    "PATH": "address",
    "ADDR": "address",
    "SRC": "address",
    "DST": "address",
    "A": "address",
    "B": "address",
    "REMOTE:": "address",
    "REMOTE:PATH": "address",
    "REMOTE:[PATH]": "address",
    "FILE": "file",
    "SUMFILE": "file",
    "DIR": "file",
    "FILE.svg": "file",
    "NAME": "remote",
}
_NONE = {(("config", "create"), "NAME")}  # a new name is nobody's yet


def commands() -> Command:
    """The root, with all commands below it."""
    context: Any = app.root().make_context("cftool", [], resilient_parsing=True)
    below = tuple(_command(context, (name,), row) for name, row in app.COMMANDS.items())
    common = next(command.flags for command in below if command.name == "version")
    version = Flag(("-V", "--version"), "Show the version.")
    return Command((), "", (*common, version), below=below)


def _command(context: Any, words: tuple[str, ...], row: tuple[str, str, str]) -> Command:
    from importlib import import_module

    if words[-1] in app.GROUPS and len(words) == 1:
        table = app.GROUPS[words[0]]
        below = tuple(_command(context, (*words, name), each) for name, each in table.items())
        return Command(words, row[2], below=below)
    module, function, short = row
    made = build(getattr(import_module(f"cftool.cli.{module}"), function), words[-1])
    flags: list[Flag] = []
    arguments: list[str] = []
    many = False
    for parameter in made.get_params(context):
        param: Any = parameter
        if param.param_type_name == "argument":
            found = _arguments(words, param.metavar or "")
            arguments += found
            many = param.nargs == -1
        elif not param.hidden:
            takes = not param.is_flag and not param.count
            flags.append(
                Flag(
                    tuple(param.opts),
                    param.help or "",
                    _kind(words, param.metavar or "") if takes else None,
                    bool(param.count or param.multiple),
                )
            )
    return Command(words, short, tuple(flags), tuple(arguments), many)


def _arguments(words: tuple[str, ...], metavar: str) -> list[str]:
    """`SRC... DST` is one parameter and any number of addresses: the kind repeats."""
    text = metavar.replace("...", "")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [_kind(words, text.split(" ")[0])]


def _kind(words: tuple[str, ...], metavar: str) -> str:
    if (words, metavar) in _NONE:
        return ""
    if metavar in _KINDS:
        return _KINDS[metavar]
    if metavar == "SHELL":
        from cftool.cli.shells import SHELLS

        return " ".join(SHELLS)
    if metavar == "COMMAND":
        return " ".join(app.COMMANDS)
    if metavar == "TYPE" and words[0] == "config":
        from cftool import registry

        return " ".join(registry.names())
    if metavar == "TYPE":
        from cftool.core import hashing

        return " ".join(hashing.CHEAPEST_FIRST[::-1])
    # `text|json` are the words themselves.
    return metavar.replace("|", " ") if re.fullmatch(r"[a-z]+(\|[a-z]+)+", metavar) else ""


def walk(command: Command) -> list[Command]:
    """The command and all below it, groups before what is in them."""
    return [command, *(each for below in command.below for each in walk(below))]
