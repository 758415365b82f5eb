#!/bin/bash
# Completion of echo-client for a shell, from what --help says: completion.sh bash|zsh CLIENT
set -eu
shell=$1
client=$2

# Words that a command understands and --help writes in capitals.
declare -A words=([call]='arbiter workers' [crashes]='show' [log-level]='debug info warning error'
    [connections]='peer= id= worker= state= protocol= kept= age idle messages bytes_in bytes_out')

# options [COMMAND]: a line for each, "LETTER@NAME@ARGUMENT@HELP"; of a command only its own
options()
{
    ARGP_HELP_FMT=rmargin=9999,opt-doc-col=60 "$client" "$@" --help |
        sed -nE 's/^ +(-(.), )? *--([a-z-]+)(=([^ ]+))? {2,}(.*)/\2@\3@\5@\6/p' |
        grep -vE '^.?@(help|usage|version)@' | if [ $# = 0 ]; then cat; else grep -vxF "$common"; fi || :
}
common=$(options)
commands=$("$client" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z-]+)( .*|$)/\1/p')

# flags: of options, each as "-x --long"
flags()
{
    sed -E 's/^(.)@/-\1 --/; s/^@/--/; s/@.*//' | paste -sd' '
}

write_bash()
{
    local takers command own
    takers=$(grep -vE '^.?@[^@]*@@' <<<"$common" | flags | tr ' ' '|')
    # What can be called is asked of the server, which may not be there.
    cat <<'EOF'
_echo_client_ask()
{
    "${words[0]}" "${control[@]}" --timeout 1 "$1" 2>/dev/null | awk -v of="${2-}" '
        /^$/ { is_explained = 1; next }
        of && is_explained && $1 == of { print $2 "=" }
        !of && !is_explained && NR > 1 { print $1 }'
}
EOF
    # bash breaks words at ':' and '=' too: what belongs together is put together again.
    cat <<EOF
# bash completion of echo-client
_echo_client()
{
    local words=() word command= is_broken= i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=\${COMP_WORDS[i]}
        if [[ \$is_broken || (\$i -gt 0 && \$word == [:=]*) ]]; then words[-1]+=\$word
        else words+=("\$word"); fi
        [[ \$word == *[:=] ]] && is_broken=1 || is_broken=
    done
    local current=\${words[-1]} last=\$((\${#words[@]} - 1)) control=()
    for ((i = 1; i < last; i++)); do
        word=\${words[i]}
        case \$word in
        --) return ;;
        -C|--control) control=("\$word" "\${words[i + 1]}"); i=\$((i + 1)) ;;
        --control=*) control=("\$word") ;;
        $takers) i=\$((i + 1)) ;;
        -*) ;;
        *) command=\$word; break ;;
        esac
    done
    case \${words[last - 1]}=\$current in
    -C=*|--control=*|--compare=*|*=--control=*|*=--compare=*)
        COMPREPLY=(\$(compgen -f -- "\${current#--*=}")); return ;;
    *=-*=*) return ;;
    esac
    local options='--help --version $(flags <<<"$common")'
    case \$command in
    '') options+=' $(paste -sd' ' <<<"$commands")' ;;
EOF
    for command in $commands; do
        own=$(options "$command" | flags)
        [ -z "$own${words[$command]-}" ] || echo "    $command) options+=' $own ${words[$command]-}' ;;"
    done
    cat <<'EOF'
    esac
    if [[ $command == call && $current != -* ]]; then
        case $((last - i)) in
        1) options="arbiter workers $(_echo_client_ask actors)" ;;
        2) options=$(_echo_client_ask commands) ;;
        *) options=$(_echo_client_ask commands "${words[i + 2]}") ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$options" -- "$current"))
    [[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace
}
complete -F _echo_client echo-client
EOF
}

# Text inside '...[...]...' of zsh's _arguments.
quoted()
{
    sed -E -e 's/[]:\\[]/\\&/g' -e "s/'/'\\\\''/g"
}

# zsh_options: rows of zsh's _arguments
zsh_options()
{
    quoted | while IFS=@ read -r letter name argument help; do
        value=${argument:+:$argument:}
        case $argument in PATH | FILE) value+=_files ;; esac
        [ -z "$letter" ] || printf "        '-%s[%s]%s'\n" "$letter" "$help" "$value"
        printf "        '--%s%s[%s]%s'\n" "$name" "${argument:+=}" "$help" "$value"
    done
}

write_zsh()
{
    local command own
    cat <<EOF
#compdef echo-client
# zsh completion of echo-client
_echo_client_commands()
{
    local -a commands=(
$(ARGP_HELP_FMT=rmargin=9999 "$client" --help | awk '
    /^Commands:/ { is_on = 1; next }
    /^$/ { is_on = 0 }
    !is_on { next }
    /^   / { help[n] = substr($0, 25); next }
    { name[++n] = $1; help[n] = substr($0, 25) }
    END { for (i = 1; i <= n; i++) print name[i] "|" help[i] }' | quoted | sed "s/^/        '/; s/|/:/; s/$/'/")
    )
    _describe command commands
}
# What can be called is asked of the server, which may not be there. \$1: of the command \$2
_echo_client_ask()
{
    echo-client \${control:+--control=\$control} --timeout 1 \$1 2>/dev/null | awk -v of="\${2-}" '
        /^\$/ { is_explained = 1; next }
        of && is_explained && \$1 == of { print \$2 "=" }
        !of && !is_explained && NR > 1 { print \$1 }'
}
_echo_client_call()
{
    case \$CURRENT in
    2) compadd arbiter workers \$(_echo_client_ask actors) ;;
    3) compadd \$(_echo_client_ask commands) ;;
    *) compadd -S '' \$(_echo_client_ask commands \$words[3]) ;;
    esac
}
_echo_client()
{
    local state line
    typeset -A opt_args
    local -a own common=(
$(zsh_options <<<"$common")
        '--help[what there is]' '--version[which one it is]')
    _arguments -C \$common '1: :_echo_client_commands' '*:: :->words'
    [[ \$state == words ]] || return
    local control=\${opt_args[-C]:-\${opt_args[--control]}}
    case \$line[1] in
EOF
    for command in $commands; do
        own=$(options "$command" | zsh_options)
        if [ "$command" = call ]; then own+="        '*:word:_echo_client_call'"
        elif [ -n "${words[$command]-}" ]; then own+="        '*:word:(${words[$command]})'"; fi
        [ -z "$own" ] || printf '    %s) own=(\n%s) ;;\n' "$command" "$own"
    done
    cat <<'EOF'
    esac
    _arguments $own $common
}
_echo_client "$@"
EOF
}

"write_$shell"
