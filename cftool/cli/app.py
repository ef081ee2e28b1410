"""The table of commands, and the run of one: only the module of the command that was typed is imported.

Flags that every command has may stand before its name too: they are moved behind it, so that there is one place that
reads them. Usage errors are told in two lines and exit with 2; what a command raises is handled by its Session.
"""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from cftool.cli import exits
from cftool.cli.command import HELP, HelpInOrder, build, unvalidated
from cftool.cli.messages import Messages

# name: (module, function, short help); the order is that of the help
COMMANDS: dict[str, tuple[str, str, str]] = {
    "ls": ("cmd_ls", "ls", "List files, directories and remotes."),
    "cp": ("cmd_cp", "cp", "Copy files and directories."),
    "mv": ("cmd_mv", "mv", "Move files and directories."),
    "sync": ("cmd_sync", "sync", "Make a directory hold exactly what another holds."),
    "apply": ("cmd_apply", "apply", "Do what sync --plan wrote."),
    "check": ("cmd_check", "check", "Compare two directories or files."),
    "rm": ("cmd_rm", "rm", "Remove files and trees."),
    "mkdir": ("cmd_mkdir", "mkdir", "Make directories and their parents."),
    "rmdir": ("cmd_rmdir", "rmdir", "Remove directories that are empty."),
    "touch": ("cmd_touch", "touch", "Make empty files, or set the time of files."),
    "cat": ("cmd_cat", "cat", "Write files to standard output."),
    "put": ("cmd_put", "put", "Write standard input to a file."),
    "stat": ("cmd_stat", "stat", "Show all that is known of an entry."),
    "du": ("cmd_du", "du", "Count bytes and files below a path."),
    "df": ("cmd_df", "df", "Show space used and free."),
    "tree": ("cmd_tree", "tree", "Draw what is below a path."),
    "hash": ("cmd_hash", "hash_", "Print or check the hashes of files."),
    "link": ("cmd_link", "link", "Print links by which anybody may read files."),
    "cleanup": ("cmd_cleanup", "cleanup", "Remove what killed runs left behind."),
    "trash": ("", "", "List and empty what sync --trash kept."),
    "restore": ("cmd_restore", "restore", "Bring back what sync --trash kept."),
    "mount": ("cmd_mount", "mount", "Mount a remote as a file system."),
    "umount": ("cmd_umount", "umount", "Upload what is pending and unmount."),
    "cache": ("", "", "Look after the caches of mounts."),
    "config": ("", "", "Create, show and test remotes."),
    "completion": ("cmd_completion", "completion", "Print the completion script of a shell."),
    "version": ("cmd_version", "version", "Show the version."),
    "help": ("cmd_help", "help_", "Show the help of a command."),
}
CONFIG: dict[str, tuple[str, str, str]] = {
    "create": ("cmd_config", "create", "Define a remote."),
    "list": ("cmd_config", "list_", "List the remotes."),
    "show": ("cmd_config", "show", "Show a remote, secrets hidden."),
    "remove": ("cmd_config", "remove", "Remove a remote."),
    "wizard": ("cmd_config_wizard", "wizard", "Define a remote by questions and answers."),
    "login": ("cmd_config_login", "login", "Log in to a remote, in the browser or by a code."),
    "test": ("cmd_config_test", "probe", "Log in to a remote and tell what works."),
    "import-rclone": ("cmd_config_import", "import_rclone", "Take over the remotes of rclone."),
    "path": ("cmd_config", "path", "Show where the configuration file is."),
}
TRASH: dict[str, tuple[str, str, str]] = {
    "list": ("cmd_trash", "list_", "List what a trash holds."),
    "empty": ("cmd_trash", "empty", "Delete what a trash holds."),
}
CACHE: dict[str, tuple[str, str, str]] = {
    "status": ("cmd_cache", "status", "Show what is cached and what is not uploaded."),
    "flush": ("cmd_cache", "flush", "Upload what is pending."),
    "clear": ("cmd_cache", "clear", "Drop what can be fetched again."),
    "fsck": ("cmd_cache", "fsck", "Check cached files, and archives."),
    "compact": ("cmd_cache_compact", "compact", "Rewrite archives that are mostly dead."),
}
GROUPS = {"config": CONFIG, "trash": TRASH, "cache": CACHE}

_FLAGS = frozenset({"-q", "--quiet", "-v", "-vv", "-vvv", "--verbose", "--json"})
_VALUES = frozenset({"--config", "--log-file", "--log-format"})
# What stands for a flag that may have a value, when it has none: click would take the next word for it.
_BARE = {"--trash": "--trash=", "--watch": "--watch="}


class Group(HelpInOrder, TyperGroup):
    """Commands by name, each imported when it is asked for."""

    def __init__(self, name: str, table: dict[str, tuple[str, str, str]], help_text: str) -> None:
        super().__init__(name=name, help=help_text, rich_markup_mode=None, context_settings=HELP)
        self._table = table

    def get_params(self, ctx: Any) -> Any:
        """The group's own flags."""
        return unvalidated(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        del ctx
        return list(self._table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command or group of that name, or None."""
        del ctx
        if cmd_name in GROUPS and self._table is COMMANDS:
            return Group(cmd_name, GROUPS[cmd_name], self._table[cmd_name][2])
        if cmd_name not in self._table:
            return None
        module, function, _ = self._table[cmd_name]
        return build(getattr(import_module(f"cftool.cli.{module}"), function), cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table, without an import of any command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in self._table.items()])


def root() -> Group:
    """The group of all commands."""
    return Group("cftool", COMMANDS, "Copy, sync, check and list cloud storage: see cftool COMMAND --help.")


def run(argv: list[str]) -> int:
    """Run one command line; never raises but SystemExit's relatives of a dying interpreter."""
    arguments = _spelled(_hoist(argv))
    messages = Messages()
    if not arguments:
        messages.error("what to do? see cftool --help")
        return exits.USAGE
    try:
        _known(arguments)
        with root().make_context("cftool", arguments) as context:
            code = context.command.invoke(context)
    except typer.Exit as error:
        if sys.stdout is None:  # the help was written nowhere
            messages.error("standard output is closed")
            return exits.FAILED
        return _flushed(error.exit_code)
    except typer.TyperException as error:
        messages.error(_usage(error, arguments))
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        _silence()
        return exits.BROKEN_PIPE
    except (OSError, ValueError, AttributeError) as error:  # of the help itself: what commands raise ends in a Session
        _silence()
        messages.error(f"standard output: {getattr(error, 'strerror', None) or error}")
        return exits.FAILED
    return _flushed(int(code or 0))


def _hoist(argv: list[str]) -> list[str]:
    """Move common flags from before the command's name to right behind it."""
    flags: list[str] = []
    names: list[str] = []
    table = COMMANDS
    rest = list(argv)
    while rest:
        word = rest[0]
        if word in _FLAGS or any(word.startswith(f"{flag}=") for flag in _VALUES):
            flags.append(rest.pop(0))
        elif word in _VALUES and len(rest) > 1:
            flags += [rest.pop(0), rest.pop(0)]
        elif word in GROUPS and table is COMMANDS:
            names.append(rest.pop(0))
            table = GROUPS[word]
        elif word in table:
            return [*names, rest.pop(0), *flags, *rest]
        else:
            break
    return [*names, *rest] if rest or names else flags


def _spelled(arguments: list[str]) -> list[str]:
    """Bare flags that may have a value, up to `--`, behind which no word is a flag."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [_BARE.get(word, word) for word in arguments[:end]] + arguments[end:]


def _known(arguments: list[str]) -> None:
    """Refuse a command that does not exist, with the nearest one that does."""
    table = COMMANDS
    word = arguments[0]
    if word in GROUPS:
        table = GROUPS[word]
        if len(arguments) == 1:
            raise typer.TyperException(f"say one of {', '.join(table)}")
        word = arguments[1]
    if not word.startswith("-") and word not in table:
        from cftool.cli import elsewhere

        raise typer.TyperException(elsewhere.command(word, table))


def _usage(error: typer.TyperException, arguments: list[str]) -> str:
    """Two lines: what is wrong, and where the help is."""
    command = [word for word in arguments[:2] if word in COMMANDS or any(word in table for table in GROUPS.values())]
    command = command[: 2 if command and command[0] in GROUPS else 1]
    kind, option = type(error).__name__, str(getattr(error, "option_name", ""))
    if kind == "NoSuchOption":
        text = f"no option {option}{_near(option, getattr(error, 'possibilities', None))}"
    elif kind == "BadOptionUsage" and "requires an argument" in error.format_message():
        text = f"option {option!r} requires an argument{_values(command, option)}"
    else:
        text = error.format_message().rstrip(".")
        text = text[:1].lower() + text[1:]
    where = " ".join(["cftool", *command])
    return f"{': '.join([*command[-1:], text])} (see {where} --help)"


def _near(wrong: str, near: list[str] | None) -> str:
    """What another tool's flag is called here; else, of names that are near, the nearest."""
    from difflib import get_close_matches

    from cftool.cli import elsewhere

    known = elsewhere.flag(wrong)
    if known is not None:
        return f": {known}"
    found = get_close_matches(wrong, sorted(near or ()), n=1, cutoff=0.75)  # what is farther off only misleads
    return f"; did you mean {found[0]}?" if found else ""


def _values(command: list[str], option: str) -> str:
    """What may stand behind an option."""
    found: Any = root()
    for name in command:
        found = found.get_command(None, name)
    values = next((param.metavar for param in found.params if option in param.opts and param.metavar), None)
    return f": {values}" if values else ""


def _flushed(code: int) -> int:
    """What the help wrote leaves now, so that a reader that went away is no surprise at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return code or exits.BROKEN_PIPE
    except (OSError, ValueError):
        return code or exits.FAILED
    return code


def _silence() -> None:
    from cftool.cli.output import Output

    Output().abandon()
