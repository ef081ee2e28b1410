"""The pages of man/ and the scripts of completions/, made of what the program uses; `docs` writes and compares them.

Flags come from the table of commands, options and quirks from the providers, capabilities from stores that are open,
scripts from `cftool.cli.shells`. What the program does not say is in `pages`. No dates: the same program, the same
pages.
"""

import re
from importlib import import_module
from typing import Any

from cftool import __version__, registry
from cftool.cli import app, shells
from cftool.cli.command import build
from cftool.core.types import Cap, Features
from tests.house import pages, topics
from tests.house.features import PROVIDERS, features

CAPABILITIES = {
    Cap.WALK: "recursive listing",
    Cap.COPY: "server-side copy",
    Cap.MOVE: "server-side move of files",
    Cap.MOVE_DIR: "server-side move of directories",
    Cap.SET_MODIFIED: "times set without sending again",
    Cap.IF_VERSION: "replaced only where unchanged",
    Cap.IF_ABSENT: "written only where absent",
    Cap.WRITE_MANY: "small files written in batches",
    Cap.COPY_MANY: "many files copied in one step",
    Cap.READ_MANY: "small files read in batches",
    Cap.DELETE_MANY: "deletions in batches",
    Cap.DELETE_DIR: "directories deleted in one step",
    Cap.CHANGES: "feed of changes",
    Cap.USAGE: "space used and free",
    Cap.IMPLICIT_DIRS: "directories made and gone with their files",
    Cap.EMPTY_DIRS: "empty directories",
    Cap.RANGES: "parts of a file read",
    Cap.LEFTOVERS: "leftovers listed and removed",
    Cap.LINK: "public links",
    Cap.RESUME: "large files resumed by a later run",
    Cap.TREE: "trees removed without a question before",
}


def escaped(text: str) -> str:
    """`text` as roff prints it, every character itself."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = text.replace("^", "\\(ha").replace("~", "\\(ti").replace('"', "\\(dq")
    return re.sub(r"[^\x00-\x7f]", lambda match: f"\\[u{ord(match[0]):04X}]", text)


def line(text: str) -> str:
    """One line of input that begins with no request."""
    return "\\&" + text if text.startswith((".", "'")) else text


def prose(text: str) -> str:
    """A text of `pages`, or of a docstring, as paragraphs."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        words = " ".join(paragraph.split())
        pieces = re.split(r"(`[^`]+`|(?<![\w`])_[A-Za-z]\w*_(?!\w))", words)
        found.append(line("".join(_piece(piece) for piece in pieces)))
    return "\n.PP\n".join(found)


def _piece(piece: str) -> str:
    if len(piece) > 2 and piece[0] == piece[-1] == "`":
        return f"\\fB{escaped(piece[1:-1])}\\fR"
    if re.fullmatch(r"_[A-Za-z]\w*_", piece):
        return f"\\fI{escaped(piece[1:-1])}\\fR"
    return escaped(piece)


def title(name: str, section: int) -> list[str]:
    """How a page begins."""
    return [
        '.\\" Made by `make docs` of what the program itself uses: change that instead.',
        f'.TH "{escaped(name.upper())}" "{section}" "" "cftool {__version__}" "cftool"',
        ".nh",
        ".ad l",
    ]


def terms(rows: Any) -> list[str]:
    """Words, each with its text."""
    lines: list[str] = []
    for term, text in rows:
        lines += [".TP", f"\\fB{escaped(str(term))}\\fR", prose(text) or "\\&"]
    return lines


def _examples(words: str) -> list[str]:
    rows = pages.EXAMPLES.get(words, ())
    return [".SH EXAMPLES", *shell(rows)] if rows else []


def shell(rows: tuple[str, ...]) -> list[str]:
    """Lines of shell."""
    lines: list[str] = []
    for number, row in enumerate(rows):
        lines += [*([".PP"] if number else []), ".RS", ".nf", line(escaped(row.replace("DEMO", "demo"))), ".fi", ".RE"]
    return lines


def parameters(words: tuple[str, ...]) -> tuple[Any, list[Any]]:
    """The command of these words, and its parameters."""
    table = app.COMMANDS if len(words) == 1 else app.GROUPS[words[0]]
    module, function, _ = table[words[-1]]
    context: Any = app.root().make_context("cftool", [], resilient_parsing=True)
    made: Any = build(getattr(import_module(f"cftool.cli.{module}"), function), words[-1])
    return made, made.get_params(context)


def every() -> list[tuple[str, ...]]:
    """The words of every command, those of groups included."""
    found: list[tuple[str, ...]] = []
    for name in app.COMMANDS:
        found += [(name, below) for below in app.GROUPS[name]] if name in app.GROUPS else [(name,)]
    return found


def _flags(params: list[Any]) -> list[str]:
    rows = []
    for param in params:
        if param.param_type_name == "argument" or getattr(param, "hidden", False):
            continue
        names = ", ".join(param.opts)
        metavar = "" if param.is_flag or param.count else param.metavar or "TEXT"
        rows.append(
            (f"{names}{metavar}" if metavar.startswith("[=") else f"{names} {metavar}".rstrip(), param.help or "")
        )
    return terms(rows)


def _synopsis(words: tuple[str, ...], params: list[Any]) -> list[str]:
    arguments = [escaped(param.metavar or param.name) for param in params if param.param_type_name == "argument"]
    return [
        " ".join([f"\\fBcftool {escaped(' '.join(words))}\\fR [\\fIOPTIONS\\fR]", *(f"\\fI{a}\\fR" for a in arguments)])
    ]


def command(name: str) -> str:
    """The page of one command, or of a group with all that is in it."""
    short = app.COMMANDS[name][2]
    lines = [*title(f"cftool-{name}", 1), ".SH NAME", f"cftool\\-{escaped(name)} \\- {escaped(short.rstrip('.'))}"]
    below = [(name, word) for word in app.GROUPS[name]] if name in app.GROUPS else [(name,)]
    found = [(words, *parameters(words)) for words in below]
    lines.append(".SH SYNOPSIS")
    for number, (words, _, params) in enumerate(found):
        lines += [".br"] * (number > 0) + _synopsis(words, params)
    lines.append(".SH DESCRIPTION")
    if name in app.GROUPS:
        lines.append(escaped(short))
    for words, made, params in found:
        text = prose(made.help or "")
        if name in app.GROUPS:
            lines += [f'.SS "{escaped(" ".join(words))}"', text]
            own = [param for param in params if param.name not in _common()]
            lines += _flags(own)
        else:
            lines.append(text)
    if name in pages.DESCRIPTIONS:
        lines += [".PP", prose(pages.DESCRIPTIONS[name])]
    lines.append(".SH OPTIONS")
    common = [param for param in found[0][2] if param.name in _common()]
    own = [] if name in app.GROUPS else [param for param in found[0][2] if param.name not in _common()]
    lines += _flags([*own, *common])
    examples = [line for words, _, _ in found for line in _examples(" ".join(words))]
    lines += [line for number, line in enumerate(examples) if line != ".SH EXAMPLES" or number == 0]
    related = [f"cftool-{topic}(7)" for topic in topics.FLAGS if _concerns(topic, found)]
    return ending(lines, ["cftool(1)", *related])


def _concerns(topic: str, found: list[tuple[tuple[str, ...], Any, list[Any]]]) -> bool:
    """Whether the flags of a command are what the page of `topic` is about."""
    flag = topics.FLAGS[topic]
    return any(flag in param.opts for _, _, params in found for param in params)


def topic(name: str) -> str:
    """The page of what several commands have in common."""
    found = topics.read(name)
    lines = [*title(f"cftool-{name}", 7), ".SH NAME", f"cftool\\-{name} \\- {escaped(found.summary)}"]
    for heading, blocks in found.sections:
        lines.append(f'.SH "{heading}"')
        for number, block in enumerate(blocks):
            if isinstance(block, str):
                lines += [*([".PP"] if number else []), prose(block)]
            else:
                lines += terms(block) if isinstance(block, list) else shell(block)
    return ending(lines, ["cftool(1)", *(f"cftool-{other}(7)" for other in topics.FLAGS if other != name)])


def _common() -> set[str]:
    from dataclasses import fields

    from cftool.cli.options import Common

    return {field.name for field in fields(Common)}


def provider(name: str) -> str:
    """The page of one provider."""
    given = registry.provider(name)
    lines = [*title(f"cftool-{name}", 7), ".SH NAME", f"cftool\\-{name} \\- {escaped(given.summary)}", ".SH SYNOPSIS"]
    lines.append(f"\\fBcftool\\fR \\fICOMMAND\\fR ... \\fB{name}:\\fR\\fIpath\\fR")
    about, quirks = _docstring(name)
    lines += [".SH DESCRIPTION", prose(about)]
    if given.login is not None:
        lines += [".PP", prose("`cftool config login NAME` gets its refresh token.")]
    lines += [
        ".SH OPTIONS",
        prose("As `key=value` of `cftool config create`, as `CFTOOL_REMOTE_OPTION`, or in an address."),
    ]
    for option in given.options:
        more = [f"One of {', '.join(option.choices)}."] if option.choices else []
        more += [f"Default: {str(option.default).lower()}."] if option.default not in {None, ""} else []
        more += [word for word, true in (("Required.", option.required), ("Secret.", option.secret)) if true]
        lines += terms([(option.name, " ".join([option.help.rstrip(".") + ".", *more]))])
    if name != "local":
        lines += terms([("root", "Confines the remote to a folder.")])
    lines += [".SH CAPABILITIES", *capabilities(features(name))]
    if quirks:
        lines.append(".SH NOTES")
        for quirk in quirks:
            lines += [".IP \\(bu 2", prose(quirk)]
    if given.docs:
        lines += [".SH STANDARDS", escaped(given.docs)]
    return ending(lines, ["cftool(1)", "cftool-config(1)"])


def facts(found: Features) -> list[tuple[str, str]]:
    """What a store can do, in words: first what is not yes or no."""
    names = found.names
    rows = [
        ("hashes kept", ", ".join(sorted(found.hashes)) or "none"),
        ("times kept", _precision(found.time_precision_ns)),
        ("times listed", "yes" if found.listed_time else "no"),
        ("largest file", f"{found.size_limit} bytes" if found.size_limit else "no known limit"),
        ("longest name", f"{names.component_bytes} bytes" if names.component_bytes else "no known limit"),
        ("longest path", f"{names.path_bytes} bytes" if names.path_bytes else "no known limit"),
        ("case of names", "counts" if names.case_sensitive else "does not count"),
    ]
    return rows + [(text, "yes" if cap in found.caps else "no") for cap, text in CAPABILITIES.items()]


def capabilities(found: Features) -> list[str]:
    """The table of `facts`."""
    rows = [f"{escaped(key)}\t{escaped(value)}" for key, value in facts(found)]
    # A tabulator is enough for two columns: no preprocessor is needed to read the page.
    return [".nf", ".ta 40n", *rows, ".fi"]


def _precision(ns: int | None) -> str:
    if ns is None:
        return "no"
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if ns % size == 0:
            return f"to {ns // size} {unit}"
    return f"to {ns} ns"


def _docstring(name: str) -> tuple[str, list[str]]:
    text = import_module(f"cftool_providers.{name}").__doc__ or ""
    about, _, rest = text.partition("Quirks that the code knows:")
    about = re.sub(r"\nAPIs?: .*?(?=\n\n|\Z|Paths are|Files have)", "\n", about + "\n\n", flags=re.DOTALL)
    return about.strip(), [" ".join(quirk.split()) for quirk in re.split(r"^\* ", rest, flags=re.MULTILINE)[1:]]


def ending(lines: list[str], related: list[str]) -> str:
    """The whole page, with the pages that belong to it."""
    see = ", ".join(f"\\fB{escaped(word[:-3])}\\fR({word[-2]})" for word in related)
    return "\n".join([*lines, '.SH "SEE ALSO"', see]) + "\n"


def overview() -> str:
    """The page of cftool itself."""
    lines = [
        *title("cftool", 1),
        ".SH NAME",
        "cftool \\- copy, sync, check and mount cloud storage",
        ".SH SYNOPSIS",
        "\\fBcftool\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIADDRESS\\fR...]",
        ".SH DESCRIPTION",
        prose(pages.OVERVIEW),
        ".SH COMMANDS",
        *terms((f"cftool {name}", row[2]) for name, row in app.COMMANDS.items()),
        ".SH OPTIONS",
        prose("Every command has these, before its name or after it:"),
        *_flags([param for param in parameters(("version",))[1] if param.name in _common()]),
        *terms([("-V, --version", "Show the version."), ("--help", "Show the commands.")]),
        ".SH ADDRESSES",
        *terms(pages.ADDRESSES),
        ".PP",
        prose(pages.ADDRESSES_MORE),
        ".SH PROVIDERS",
        *terms((f"{name}:", registry.provider(name).summary) for name in PROVIDERS),
        ".SH CONFIGURATION",
        prose(pages.CONFIGURATION),
        ".SH OUTPUT",
        prose(pages.OUTPUT),
        ".SH SAFETY",
        prose(pages.SAFETY),
        '.SH "EXIT STATUS"',
        *terms(pages.EXIT_CODES),
        ".SH ENVIRONMENT",
        *terms(pages.ENVIRONMENT),
        ".SH FILES",
        *terms(pages.FILES),
    ]
    from tests.house import modules  # which takes the words of this one

    related = [(name, 3) for name in modules.PACKAGES]
    related += [(f"cftool-{name}", 1) for name in app.COMMANDS]
    related += [(f"cftool-{name}", 7) for name in (*topics.FLAGS, *PROVIDERS)]
    return ending(lines, [f"{name}({section})" for name, section in related])


def files() -> dict[str, str]:
    """Every generated file, by its path in the repository."""
    from tests.house import modules  # which takes the words of this one

    made = {"man/cftool.1": overview()}
    made |= {f"man/cftool-{name}.1": command(name) for name in app.COMMANDS}
    made |= {f"man/cftool-{name}.7": topic(name) for name in topics.FLAGS}
    made |= {f"man/cftool-{name}.7": provider(name) for name in PROVIDERS}
    made |= {f"man/{name}.3": modules.page(name) for name in modules.PACKAGES}
    made |= {f"completions/{name}": shells.script(shell) for shell, name in shells.SHELLS.items()}
    return made
