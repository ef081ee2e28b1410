"""`cftool __complete KIND WORD [WORDS...]`: what the completion scripts ask for, one candidate a line.

Called at each press of TAB, so: nothing of typer or rich, two seconds and a thousand names at most, silent whatever
fails, and never a question. The process gives up the terminal first, and remotes whose secret comes from a command or
a keyring, which may ask, are completed by name only. Names that a terminal cannot show are left out.
"""

import os
import threading
from collections.abc import Iterator

TYPE_CHECKING = False  # as typing's, without its import
if TYPE_CHECKING:
    from cftool.config.address import Address
    from cftool.config.file import Config

SECONDS = 2.0
NAMES = 1000


def run(arguments: list[str], *, alone: bool = True) -> int:
    """Print the candidates. `alone`: this process is there for nothing else."""
    if alone:
        _let_go()
    found: list[str] = []
    # A thread, since nothing else ends a name server that does not answer: who is late is left behind.
    worker = threading.Thread(target=_collect, args=(arguments, found), daemon=True)
    worker.start()
    worker.join(SECONDS)
    text = "".join(f"{each}\n" for each in found[:NAMES])
    try:
        os.write(1, text.encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # the shell went away
    return 0


def _let_go() -> None:
    """No terminal and no standard input: what would ask gets an answer at once, which is none."""
    try:
        os.setsid()
    except OSError:
        pass  # the leader of a group keeps its terminal, and standard input is closed all the same
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 2)
    for name in ("GPG_TTY", "SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(name, None)


def _collect(arguments: list[str], found: list[str]) -> None:
    try:
        kind, word, words = arguments[0], arguments[1], arguments[2:]
        for each in candidates(kind, word, _option("--config", words)):
            if each.isprintable():
                found.append(each)
            if len(found) >= NAMES:
                break
    except Exception:  # noqa: S110 - a completion that fails completes nothing, and says nothing
        pass


def _option(name: str, words: list[str]) -> str | None:
    """The value of a flag among the words before the cursor."""
    value = None
    for number, word in enumerate(words):
        if word == name and number + 1 < len(words):
            value = words[number + 1]
        elif word.startswith(name + "="):
            value = word.partition("=")[2]
    return value


def candidates(kind: str, word: str, config_file: str | None = None) -> Iterator[str]:
    """What may stand in place of `word`. Raises what reading the configuration and the remote raises."""
    from cftool.config import file

    config = file.load(config_file, os.environ)
    if kind == "remote":
        yield from (name for name in sorted(config.remotes) if name.startswith(word))
    elif kind == "address" and ":" in word.partition("/")[0]:
        yield from _paths(word, config)
    elif kind == "address" and "/" not in word:
        yield from (f"{name}:" for name in sorted(config.remotes) if name.startswith(word))
        if word:
            from cftool import registry

            rest = (name for name in registry.names() if name not in config.remotes)
            yield from (f"{name}:" for name in rest if name.startswith(word))


def _paths(word: str, config: "Config") -> Iterator[str]:
    """Names in the directory that the word is in, as whole words; a directory with its slash."""
    from cftool import registry, stack
    from cftool.config import address, dirs

    head, slash, begun = word.rpartition("/")
    if not slash:
        head, begun = word.rpartition(":")[0] + ":", word.rpartition(":")[2]
    lead = head + slash
    parsed = address.parse(lead, remotes=config.known(registry.installed()))
    if parsed.remote is None or _may_ask(parsed, config):
        return
    context = stack.OpenContext(os.environ, state_dir=dirs.state_dir(os.environ), connections=1, read_only=True)
    opened = stack.open_address(parsed, config, context=context)
    for entry in stack.rooted(opened).scan(""):
        if entry.name.startswith(begun):
            yield lead + entry.name + ("/" if entry.is_dir else "")


def _may_ask(parsed: "Address", config: "Config") -> bool:
    """Whether opening the remote may put a question to the user."""
    remote = config.remote(parsed.remote or "")
    values = {} if remote is None else remote.values
    return any(isinstance(value, dict) and {"command", "keyring"} & set(value) for value in values.values())
