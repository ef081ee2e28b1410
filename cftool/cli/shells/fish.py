"""The completion script for fish: one `complete` for each flag and argument, on condition of the command."""

from cftool.cli.shells.spec import Command, Flag, walk

_HEAD = r"""# fish completion for cftool; written by `cftool completion fish`

# Whether the words before the cursor are those of command $argv[1], and, with $argv[2], at that argument of it.
function __cftool_is
    set -l command
    set -l position 0
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-?*' $word
            contains -- $word (__cftool_values "$command"); and set skip 1
        else if test (count $command) -eq 0; or contains -- "$command" GROUPS
            set command (string trim -- "$command $word")
        else
            set position (math $position + 1)
        end
    end
    test "$command" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; and return 0
    test "$argv[2]" = any; and return 0
    string match -q -- '*+' $argv[2]; and test $position -ge (string trim -c + -- $argv[2]); and return 0
    test "$position" = "$argv[2]"
end

function __cftool_ask
    command cftool __complete $argv[1] (commandline -ct | string unescape) (commandline -opc) 2>/dev/null </dev/null
end

function __cftool_address
    __cftool_ask address
    string match -qr -- '^[^/]*:' (commandline -ct); or __fish_complete_path (commandline -ct)
end

complete -c cftool -f
"""


def script(root: Command) -> str:
    """The whole script."""
    everything = walk(root)
    groups = " ".join(" ".join(command.words) for command in everything if command.below and command.words)
    parts = [_HEAD.replace("GROUPS", groups), _values(everything)]
    for command in everything:
        parts += _lines(command)
    return "".join(parts)


def _values(everything: list[Command]) -> str:
    lines = ["\n# The flags of a command that take a value.\nfunction __cftool_values\n    switch $argv[1]\n"]
    for command in everything:
        names = [name for flag in command.flags if flag.value is not None for name in flag.names]
        if names:
            lines.append(
                f"        case {_quoted(' '.join(command.words))}\n            printf '%s\\n' {' '.join(names)}\n"
            )
    return "".join([*lines, "    end\nend\n\n"])


def _lines(command: Command) -> list[str]:
    words = " ".join(command.words)
    found = [_complete(words, "", f"-a {each.name} -d {_quoted(each.help.rstrip('.'))}") for each in command.below]
    found += [_complete(words, "any", _flag(flag)) for flag in command.flags]
    last = len(command.arguments) - 1
    for at, kind in enumerate(command.arguments):
        place = f"{at}+" if at == last and command.many else str(at)
        offered = _offered(kind)
        if offered:
            found.append(_complete(words, place, offered))
    return found


def _complete(words: str, place: str, rest: str) -> str:
    condition = f'__cftool_is "{words}" {place}'.rstrip()
    return f"complete -c cftool -n {_quoted(condition)} {rest}\n"


def _flag(flag: Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    value = ""
    if flag.value is not None:
        value = f" -{'r' if flag.value == 'file' else 'x'} {_offered(flag.value)}".rstrip()
    return f"{names}{value} -d {_quoted(flag.help.rstrip('.'))}"


def _offered(kind: str) -> str:
    if kind == "file":
        return "-F"
    if kind in {"address", "remote"}:
        return f"-a '(__cftool_{'address' if kind == 'address' else 'ask remote'})'"
    return f"-a {_quoted(kind)}" if kind else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
