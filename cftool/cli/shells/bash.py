"""The completion script for bash: a fixed part, and one `case` a command.

Bash breaks words at colons, and hands them out as they are typed. So the line is split here, as the command will see
it, candidates are whole words, and what goes back is cut at the last break and quoted.
"""

from cftool.cli.shells.spec import Command, Flag, walk

_HEAD = r"""# bash completion for cftool, 4.2 or newer; written by `cftool completion bash`

# The words before the cursor as the command will see them; `raw` is the last one as it is typed, `quote` the quote that
# is open in it, `broken` what bash takes for words of their own: up to the last colon or = that is in no quotes.
_cftool_split() {
    local line=${COMP_LINE:0:COMP_POINT} char word= i
    words=() raw= quote= broken=
    for ((i = 0; i < ${#line}; i++)); do
        char=${line:i:1}
        if [[ $quote ]]; then
            if [[ $char == "$quote" ]]; then
                quote=
            elif [[ $quote == '"' && $char == \\ ]]; then
                raw+=$char
                ((++i))
                char=${line:i:1}
                word+=$char
            else
                word+=$char
            fi
        elif [[ $char == [[:space:]] ]]; then
            [[ $raw ]] && words+=("$word")
            word= raw= broken=
            continue
        elif [[ $char == \\ ]]; then
            raw+=$char
            ((++i))
            char=${line:i:1}
            word+=$char
        elif [[ $char == [\'\"] ]]; then
            quote=$char
        else
            word+=$char
            [[ $char == [:=] ]] && broken=$word
        fi
        raw+=$char
    done
    words+=("$word")
}

# Offer those of "$@" that begin with `cur`.
_cftool_offer() {
    local strip= each open=
    [[ $COMP_WORDBREAKS == *:* ]] && strip=$broken
    for each in "$@"; do
        [[ $each == "$cur"* ]] || continue
        [[ $each == *[/:] ]] && open=1
        each=${each#"$strip"}
        [[ $quote ]] || printf -v each %q "$each"
        COMPREPLY+=("$each")
    done
    if [[ $open ]]; then compopt -o nospace 2>/dev/null; fi
}

_cftool_ask() {
    local -a found
    mapfile -t found < <(command cftool __complete "$1" "$cur" "${words[@]}" 2>/dev/null </dev/null)
    _cftool_offer "${found[@]}"
}

_cftool_files() {
    local -a found
    local i
    [[ $cur == '~/'* ]] && cur=$HOME${cur:1}
    mapfile -t found < <(compgen -f -- "$cur")
    for ((i = 0; i < ${#found[@]}; i++)); do
        [[ -d ${found[i]} ]] && found[i]+=/
    done
    _cftool_offer "${found[@]}"
}

_cftool() {
    local -a words flags=() arguments=() commands=()
    local -A values=()
    local raw quote broken cur word command= position=0 plain= pending= kind i n
    COMPREPLY=()
    _cftool_split
    n=${#words[@]}
    cur=${words[n - 1]}
    _cftool_spec ''
    for ((i = 1; i < n - 1; i++)); do
        word=${words[i]}
        if [[ $word == -- && ! $plain ]]; then
            plain=1
        elif [[ $word == -?* && ! $plain ]]; then
            [[ ${values[$word]+set} ]] && pending=$word && ((++i))
        elif ((${#commands[@]})); then
            command+=${command:+ }$word
            _cftool_spec "$command"
        else
            ((++position))
        fi
    done
    if ((i == n)); then
        kind=${values[$pending]}
    elif [[ $cur == --*=* && ! $plain ]]; then
        kind=${values[${cur%%=*}]}
        cur=${cur#*=} broken=${broken#*=}
    elif [[ $cur == -* && ! $plain ]]; then
        _cftool_offer "${flags[@]}"
        return
    elif ((${#commands[@]})); then
        _cftool_offer "${commands[@]}"
        return
    elif ((position < ${#arguments[@]})); then
        kind=${arguments[position]}
    else
        kind=$many
    fi
    case $kind in
        address)
            _cftool_ask address
            [[ ${cur%%/*} == *:* ]] || _cftool_files
            ;;
        remote) _cftool_ask remote ;;
        file) _cftool_files ;;
        *) _cftool_offer $kind ;;
    esac
}

# What there is after the command "$1".
_cftool_spec() {
    flags=() arguments=() commands=() values=() many=
    case $1 in
"""
_TAIL = r"""    esac
}

complete -F _cftool cftool
"""


def script(root: Command) -> str:
    """The whole script."""
    return _HEAD.replace("local raw quote", "local many raw quote") + "".join(map(_case, walk(root))) + _TAIL


def _case(command: Command) -> str:
    names = [name for flag in command.flags for name in flag.names]
    lines = [f"        {_quoted(' '.join(command.words))})"]
    if names:
        lines.append(f"            flags=({' '.join(names)})")
    taking = [_value(flag, name) for flag in command.flags if flag.value is not None for name in flag.names]
    if taking:
        lines.append(f"            values=({' '.join(taking)})")
    if command.below:
        lines.append(f"            commands=({' '.join(each.name for each in command.below)})")
    if command.arguments:
        lines.append(f"            arguments=({' '.join(map(_quoted, command.arguments))})")
    if command.many:
        lines.append(f"            many={_quoted(command.arguments[-1])}")
    return "\n".join([*lines, "            ;;"]) + "\n"


def _value(flag: Flag, name: str) -> str:
    return f"[{name}]={_quoted(flag.value or '')}"


def _quoted(text: str) -> str:
    return text if text.isalnum() else "'" + text.replace("'", "'\\''") + "'"
