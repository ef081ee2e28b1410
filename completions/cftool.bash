# bash completion for cftool, 4.2 or newer; written by `cftool completion bash`

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
    local many raw quote broken cur word command= position=0 plain= pending= kind i n
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
        '')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help -V --version)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            commands=(ls cp mv sync apply check rm mkdir rmdir touch cat put stat du df tree hash link cleanup trash restore mount umount cache config completion version help)
            ;;
        ls)
            flags=(--include --exclude --filter --include-from --exclude-from --filter-from --files-from --min-size --max-size --min-age --max-age -l --long -R --recursive -d --dirs-only -f --files-only --depth -h --human --hash --sort --reverse -0 --null -a --all -1 --config -q --quiet -v --verbose --json --log-file --log-format --help)
            values=([--include]='' [--exclude]='' [--filter]='' [--include-from]='' [--exclude-from]='' [--filter-from]='' [--files-from]='' [--min-size]='' [--max-size]='' [--min-age]='' [--max-age]='' [--depth]='' [--hash]='md5 sha512 dropbox sha256 sha1 crc32 crc32c crc64nvme' [--sort]='name size time' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        cp)
            flags=(--include --exclude --filter --include-from --exclude-from --filter-from --files-from --min-size --max-size --min-age --max-age -n --dry-run -c --checksum --size-only -u --update --ignore-existing --existing --ignore-times --transfers --checkers --bwlimit --max-transfer --max-duration --retries --links --verify --trash --suffix --wait-lock --stats --metrics-file -r -R --recursive --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--include]='' [--exclude]='' [--filter]='' [--include-from]='' [--exclude-from]='' [--filter-from]='' [--files-from]='' [--min-size]='' [--max-size]='' [--min-age]='' [--max-age]='' [--transfers]='' [--checkers]='' [--bwlimit]='' [--max-transfer]='' [--max-duration]='' [--retries]='' [--links]='skip follow keep' [--verify]='auto readback none' [--trash]='' [--suffix]='' [--wait-lock]='' [--stats]='' [--metrics-file]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        mv)
            flags=(--include --exclude --filter --include-from --exclude-from --filter-from --files-from --min-size --max-size --min-age --max-age -n --dry-run -c --checksum --size-only -u --update --ignore-existing --existing --ignore-times --transfers --checkers --bwlimit --max-transfer --max-duration --retries --links --verify --trash --suffix --wait-lock --stats --metrics-file -r -R --recursive --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--include]='' [--exclude]='' [--filter]='' [--include-from]='' [--exclude-from]='' [--filter-from]='' [--files-from]='' [--min-size]='' [--max-size]='' [--min-age]='' [--max-age]='' [--transfers]='' [--checkers]='' [--bwlimit]='' [--max-transfer]='' [--max-duration]='' [--retries]='' [--links]='skip follow keep' [--verify]='auto readback none' [--trash]='' [--suffix]='' [--wait-lock]='' [--stats]='' [--metrics-file]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        sync)
            flags=(--no-delete --max-delete --force-delete --track-renames --plan --watch --allow-empty-source --delete-excluded --include --exclude --filter --include-from --exclude-from --filter-from --files-from --min-size --max-size --min-age --max-age -n --dry-run -c --checksum --size-only -u --update --ignore-existing --existing --ignore-times --transfers --checkers --bwlimit --max-transfer --max-duration --retries --links --verify --trash --suffix --wait-lock --stats --metrics-file --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--max-delete]='' [--plan]=file [--watch]='' [--include]='' [--exclude]='' [--filter]='' [--include-from]='' [--exclude-from]='' [--filter-from]='' [--files-from]='' [--min-size]='' [--max-size]='' [--min-age]='' [--max-age]='' [--transfers]='' [--checkers]='' [--bwlimit]='' [--max-transfer]='' [--max-duration]='' [--retries]='' [--links]='skip follow keep' [--verify]='auto readback none' [--trash]='' [--suffix]='' [--wait-lock]='' [--stats]='' [--metrics-file]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address address)
            ;;
        apply)
            flags=(-n --dry-run --transfers --checkers --bwlimit --retries --verify --wait-lock --stats --metrics-file --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--transfers]='' [--checkers]='' [--bwlimit]='' [--retries]='' [--verify]='auto readback none' [--wait-lock]='' [--stats]='' [--metrics-file]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(file)
            ;;
        check)
            flags=(--one-way --download --include --exclude --filter --include-from --exclude-from --filter-from --files-from --min-size --max-size --min-age --max-age -n --dry-run -c --checksum --size-only -u --update --ignore-existing --existing --ignore-times --transfers --checkers --bwlimit --max-transfer --max-duration --retries --links --verify --trash --suffix --wait-lock --stats --metrics-file --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--include]='' [--exclude]='' [--filter]='' [--include-from]='' [--exclude-from]='' [--filter-from]='' [--files-from]='' [--min-size]='' [--max-size]='' [--min-age]='' [--max-age]='' [--transfers]='' [--checkers]='' [--bwlimit]='' [--max-transfer]='' [--max-duration]='' [--retries]='' [--links]='skip follow keep' [--verify]='auto readback none' [--trash]='' [--suffix]='' [--wait-lock]='' [--stats]='' [--metrics-file]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address address)
            ;;
        rm)
            flags=(-f --force --include --exclude --filter --include-from --exclude-from --filter-from --files-from --min-size --max-size --min-age --max-age -n --dry-run -r -R --recursive --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--include]='' [--exclude]='' [--filter]='' [--include-from]='' [--exclude-from]='' [--filter-from]='' [--files-from]='' [--min-size]='' [--max-size]='' [--min-age]='' [--max-age]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        mkdir)
            flags=(-p --parents -n --dry-run --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        rmdir)
            flags=(-p --parents --ignore-fail-on-non-empty -n --dry-run --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        touch)
            flags=(-n --dry-run -c --no-create -d --date -t -r --reference --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([-d]='' [--date]='' [-t]='' [-r]=file [--reference]=file [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        cat)
            flags=(--offset --count --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--offset]='' [--count]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        put)
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        stat)
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        du)
            flags=(-h --human --plot -s --summarize --include --exclude --filter --include-from --exclude-from --filter-from --files-from --min-size --max-size --min-age --max-age --config -q --quiet -v --verbose --json --log-file --log-format --help)
            values=([--plot]=file [--include]='' [--exclude]='' [--filter]='' [--include-from]='' [--exclude-from]='' [--filter-from]='' [--files-from]='' [--min-size]='' [--max-size]='' [--min-age]='' [--max-age]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        df)
            flags=(-h --human --config -q --quiet -v --verbose --json --log-file --log-format --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        tree)
            flags=(-L --depth -d --dirs-only -s --size -h --human -a --all --config -q --quiet -v --verbose --json --log-file --log-format --help)
            values=([-L]='' [--depth]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        hash)
            flags=(-c --check --download --strict --ignore-missing -r -R --recursive --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([-c]=file [--check]=file [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=('md5 sha512 dropbox sha256 sha1 crc32 crc32c crc64nvme' address)
            many=address
            ;;
        link)
            flags=(--expires --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--expires]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            many=address
            ;;
        cleanup)
            flags=(--older-than -n --dry-run --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--older-than]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        trash)
            commands=(list empty)
            ;;
        'trash list')
            flags=(--trash --older-than --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--trash]='' [--older-than]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        'trash empty')
            flags=(--trash --older-than -n --dry-run --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--trash]='' [--older-than]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        restore)
            flags=(--at -f --force --trash -n --dry-run --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--at]='' [--trash]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address '')
            ;;
        mount)
            flags=(--foreground --read-only --allow-other --noexec --uid --gid --umask --cache-mode --fsync --stats-dir --cache --cache-size --hard-cache-size-limit --metadata-cache --cache-id --no-passthrough --drain --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--uid]='' [--gid]='' [--umask]='' [--cache-mode]='full read off' [--fsync]='journal remote' [--cache]='' [--cache-size]='' [--hard-cache-size-limit]='' [--metadata-cache]='' [--cache-id]=remote [--drain]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address file)
            ;;
        umount)
            flags=(--timeout --lazy --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--timeout]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(file)
            ;;
        cache)
            commands=(status flush clear fsck compact)
            ;;
        'cache status')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        'cache flush')
            flags=(--timeout --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--timeout]='' [--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        'cache clear')
            flags=(--force --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        'cache fsck')
            flags=(--download --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        'cache compact')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(address)
            ;;
        config)
            commands=(create list show remove wizard login test import-rclone path)
            ;;
        'config create')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=('' 'dropbox gdrive gs local memory s3 sugarsync webdav' '')
            many=''
            ;;
        'config list')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            ;;
        'config show')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(remote)
            ;;
        'config remove')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(remote)
            ;;
        'config wizard')
            flags=(--no-browser --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(remote)
            ;;
        'config login')
            flags=(--no-browser --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(remote)
            ;;
        'config test')
            flags=(--write --config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=('')
            ;;
        'config import-rclone')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=(file)
            ;;
        'config path')
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            ;;
        completion)
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=('bash zsh fish')
            ;;
        version)
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            ;;
        help)
            flags=(--config -q --quiet -v --verbose --json --log-file --log-format -h --help)
            values=([--config]=file [--log-file]=file [--log-format]='text json')
            arguments=('ls cp mv sync apply check rm mkdir rmdir touch cat put stat du df tree hash link cleanup trash restore mount umount cache config completion version help')
            many='ls cp mv sync apply check rm mkdir rmdir touch cat put stat du df tree hash link cleanup trash restore mount umount cache config completion version help'
            ;;
    esac
}

complete -F _cftool cftool
