"""The completion script for zsh: `_arguments` for each command, and functions for remotes and what is on them."""

from cftool.cli.shells.spec import Command, Flag, walk

_HEAD = r"""#compdef cftool
# zsh completion for cftool; written by `cftool completion zsh`

_cftool_ask() {
    local -a found open
    found=("${(@f)$(command cftool __complete $1 "${(Q)PREFIX}" "${(@Q)line_words}" 2>/dev/null </dev/null)}")
    found=(${found:#})
    open=(${(M)found:#*[/:]})
    found=(${found:#*[/:]})
    local result=1
    (( $#open )) && compadd -S '' -a open && result=0
    (( $#found )) && compadd -a found && result=0
    return result
}

_cftool_address() {
    local result=1
    _cftool_ask address && result=0
    [[ ${PREFIX%%/*} == *:* ]] || { _files && result=0 }
    return result
}

_cftool_remote() { _cftool_ask remote }
"""
_TAIL = r"""
_cftool() {
    local -a line_words
    line_words=("${(@)words[1,CURRENT-1]}")
    _cftool_root
}

if [[ $funcstack[1] == _cftool ]]; then
    _cftool "$@"
else
    compdef _cftool cftool
fi
"""


def script(root: Command) -> str:
    """The whole script."""
    return _HEAD + "".join(map(_function, reversed(walk(root)))) + _TAIL


def _function(command: Command) -> str:
    name = "_".join(("_cftool", *(command.words or ("root",))))
    lines = [f"\n{name}() {{"]
    specs = [_flag(flag) for flag in command.flags]
    if command.below:
        lines += ["    local curcontext=$curcontext state line", "    typeset -A opt_args", "    local -a commands"]
        rows = " ".join(_quoted(f"{each.name}:{each.help.rstrip('.')}") for each in command.below)
        lines += [f"    commands=({rows})", *_call([*specs, "'1: :->command'", "'*:: :->argument'"], "-C ")]
        lines += ["    case $state in", "        command) _describe -t commands command commands ;;"]
        lines += ["        argument)", "            case $words[1] in"]
        for each in command.below:
            lines.append(f"                {each.name}) {name.removesuffix('_root')}_{each.name} ;;")
        lines += ["            esac", "            ;;", "    esac"]
    else:
        last = len(command.arguments) - 1
        for at, kind in enumerate(command.arguments):
            place = "*" if at == last and command.many else str(at + 1)
            specs.append(_quoted(f"{place}:{_label(kind)}:{_action(kind)}"))
        lines += _call(specs, "-s ")
    return "\n".join([*lines, "}"]) + "\n"


def _call(specs: list[str], flags: str) -> list[str]:
    return [f"    _arguments {flags}-S \\", *(f"        {spec} \\" for spec in specs[:-1]), f"        {specs[-1]}"]


def _flag(flag: Flag) -> str:
    told = "".join(f"\\{char}" if char in "[]:\\" else char for char in flag.help.rstrip("."))
    value = "" if flag.value is None else f":{_label(flag.value)}:{_action(flag.value)}"
    if len(flag.names) == 1 and not flag.again:
        return _quoted(f"{_named(flag, flag.names[0])}[{told}]{value}")
    others = "*" if flag.again else f"({' '.join(flag.names)})"
    names = ",".join(_named(flag, name) for name in flag.names)
    if len(flag.names) == 1:
        return _quoted(f"{others}{names}[{told}]{value}")
    return f"{_quoted(others)}{{{names}}}{_quoted(f'[{told}]{value}')}"


def _named(flag: Flag, name: str) -> str:
    """`--long=` takes its value in either form, `-x+` likewise."""
    if flag.value is None:
        return name
    return name + ("=" if name.startswith("--") else "+")


def _label(kind: str) -> str:
    return kind if kind in {"address", "remote", "file"} else "value"


def _action(kind: str) -> str:
    if kind in {"address", "remote"}:
        return f"_cftool_{kind}"
    if kind == "file":
        return "_files"
    return f"({kind})" if kind else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
