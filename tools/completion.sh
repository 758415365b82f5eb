#!/bin/bash
# Completion of a program for a shell, from what its --help says: completion.sh bash|zsh PROGRAM
# PROGRAM is echo-client, which has commands, or a server, which has none.
set -eu
shell=$1
program=$2
name=$(basename "$program")
f=_${name//-/_}

levels='debug info warning error'
# The first word behind a command, that --help writes in capitals; with a + before them all of them.
declare -A words=([call]='arbiter workers' [crashes]='show' [log-level]=$levels
    [connections]='+peer= id= worker= state= protocol= kept= age idle messages bytes_in bytes_out')

# options [COMMAND]: a line for each, "LETTER@NAME@ARGUMENT@HELP"
options()
{
    ARGP_HELP_FMT=rmargin=9999,opt-doc-col=60 "$program" "$@" --help |
        sed -nE 's/^ +(-(.), )? *--([a-z-]+)(=([^ ]+))? {2,}(.*)/\2@\3@\5@\6/p' |
        grep -vE '^.?@(help|usage|version)@' || :
}
common=$(options)
commands=$("$program" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z-]+)( .*|$)/\1/p')

# flags: of options, each as "-x --long"
flags()
{
    sed -E 's/^(.)@/-\1 --/; s/^@/--/; s/@.*//' | paste -sd' '
}

# takers [PATTERN]: of options, those with an argument of that pattern, as a pattern of case
takers()
{
    grep -E "^.?@[^@]*@${1-.+}@" | flags | tr ' ' '|' || :
}

# bash breaks words at ':' and '=' too: what belongs together is put together again.
bash_words()
{
    cat <<'EOF'
    local words=() word command= is_broken= i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $is_broken || ($i -gt 0 && $word == [:=]*) ]]; then words[-1]+=$word
        else words+=("$word"); fi
        [[ $word == *[:=] ]] && is_broken=1 || is_broken=
    done
    local current=${words[-1]} last=$((${#words[@]} - 1))
EOF
}

write_client_bash()
{
    local command
    # What can be called is asked of the server, which may not be there.
    cat <<'EOF'
# bash completion of echo-client
_echo_client_ask()
{
    "${words[0]}" "${control[@]}" --timeout 1 "$1" 2>/dev/null | awk -v of="${2-}" '
        /^$/ { is_explained = 1; next }
        of && is_explained && $1 == of { print $2 "=" }
        !of && !is_explained && NR > 1 && $2 !~ /^connection/ { print $1 }'
}
_echo_client()
{
EOF
    bash_words
    cat <<EOF
    local control=()
    for ((i = 1; i < last; i++)); do
        word=\${words[i]}
        case \$word in
        --) return ;;
        -a|--address|-C|--control) control=("\$word" "\${words[i + 1]}"); i=\$((i + 1)) ;;
        --address=*|--control=*) control=("\$word") ;;
        $(takers <<<"$common")) i=\$((i + 1)) ;;
        -*) ;;
        *) command=\$word; break ;;
        esac
    done
    case \${words[last - 1]}=\$current in
    -C=*|--control=*|--compare=*|*=--control=*|*=--compare=*)
        COMPREPLY=(\$(compgen -f -- "\${current#--*=}")); return ;;
    *=-*=*) return ;;
    esac
    local options=
    case \$command in
    '') options='$(flags <<<"$common") $(paste -sd' ' <<<"$commands")' ;;
EOF
    for command in $commands; do
        echo "    $command) options='$(options "$command" | flags)' ;;"
    done
    cat <<EOF
    esac
    options+=' --help'
    [[ \$command ]] || options+=' --version'
    case \$command:\$((last - i)):\$current in
    *:*:-*) ;;
    call:1:*) options="arbiter workers \$(_echo_client_ask actors)" ;;
    call:2:*) options=\$(_echo_client_ask commands) ;;
    call:*:actor=*) options=\$(_echo_client_ask actors); current=\${current#*=} ;;
    call:*) options=\$(_echo_client_ask commands "\${words[i + 2]}") ;;
    crashes:2:*) options=\$(_echo_client_ask crashes) ;;
    kill:*) options=\$(_echo_client_ask connections) ;;
    scale:1:*) options=\$(_echo_client_ask actors | grep -c '^worker\\.') ;;
EOF
    for command in "${!words[@]}"; do
        case $command=${words[$command]} in
        call=*) ;;
        *=+*) echo "    $command:*) options+=' ${words[$command]#+}' ;;" ;;
        *) echo "    $command:1:*) options+=' ${words[$command]}' ;;" ;;
        esac
    done
    cat <<'EOF'
    esac
    COMPREPLY=($(compgen -W "$options" -- "$current"))
    [[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace
}
complete -F _echo_client echo-client
EOF
}

write_server_bash()
{
    cat <<EOF
# bash completion of $name
$f()
{
EOF
    bash_words
    cat <<EOF
    local before=\${words[last - 1]} options='$(flags <<<"$common") --help --version'
    case \$current in
    --*=*) before=\${current%%=*}; current=\${current#*=} ;;
    esac
    case \$before in
    $(takers FILE <<<"$common")) COMPREPLY=(\$(compgen -f -- "\$current")); return ;;
    $(takers LEVEL <<<"$common")) options='$levels' ;;
    $(takers 'GROUP.*' <<<"$common"))
        options=\$("\${words[0]}" -T 2>/dev/null | awk '
            / = {\$/ { group = \$1 }
            /^    / { print group "." \$1 "=" }') ;;
    $(takers <<<"$common")) return ;;
    esac
    COMPREPLY=(\$(compgen -W "\$options" -- "\$current"))
    [[ \${COMPREPLY[*]} != *= ]] || compopt -o nospace
}
complete -F $f $name
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
    quoted | while IFS=@ read -r letter long argument help; do
        value=${argument:+:$argument:}
        case $argument in
        PATH | FILE) value+=_files ;;
        LEVEL) value+="($levels)" ;;
        GROUP*) value=":KEY=VALUE:${f}_keys" ;;
        esac
        [ -z "$letter" ] || printf "        '-%s[%s]%s'\n" "$letter" "$help" "$value"
        printf "        '--%s%s[%s]%s'\n" "$long" "${argument:+=}" "$help" "$value"
    done
}

write_client_zsh()
{
    local command own
    cat <<EOF
#compdef echo-client
# zsh completion of echo-client
_echo_client_commands()
{
    local -a commands=(
$(ARGP_HELP_FMT=rmargin=9999 "$program" --help | awk '
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
    echo-client \$control --timeout 1 \$1 2>/dev/null | awk -v of="\${2-}" '
        /^\$/ { is_explained = 1; next }
        of && is_explained && \$1 == of { print \$2 "=" }
        !of && !is_explained && NR > 1 && \$2 !~ /^connection/ { print \$1 }'
}
_echo_client_call()
{
    if ((CURRENT == 2)); then compadd arbiter workers \$(_echo_client_ask actors)
    elif ((CURRENT == 3)); then compadd \$(_echo_client_ask commands)
    elif compset -P 'actor='; then compadd \$(_echo_client_ask actors)
    else compadd -S '' \$(_echo_client_ask commands \$words[3]); fi
}
_echo_client_crashes()
{
    compadd \$(_echo_client_ask crashes)
}
_echo_client_kill()
{
    compadd \$(_echo_client_ask connections)
}
_echo_client_scale()
{
    compadd \$(_echo_client_ask actors | grep -c '^worker\\.')
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
    local -a control
    local at=\${opt_args[-C]:-\${opt_args[--control]}} address=\${opt_args[-a]:-\${opt_args[--address]}}
    [[ -z \$at ]] || control=(-C \$at)
    [[ -z \$address ]] || control=(-a \$address)
    case \$line[1] in
EOF
    for command in $commands; do
        own=$(options "$command" | zsh_options)
        case $command in
        call) own+="        '*:word:_echo_client_call'" ;;
        scale) own+="        '1:workers:_echo_client_scale'" ;;
        kill) own+="        '*:connection:_echo_client_kill'" ;;
        connections) own+="        '*:word:(${words[$command]#+})'" ;;
        crashes) own+="        '1:word:(show)' '2:number:_echo_client_crashes'" ;;
        *) [ -z "${words[$command]-}" ] || own+="        '1:word:(${words[$command]})'" ;;
        esac
        printf '    %s) own=(\n%s) ;;\n' "$command" "$own"
    done
    cat <<'EOF'
    esac
    _arguments $own '--help[what there is]'
}
_echo_client "$@"
EOF
}

write_server_zsh()
{
    cat <<EOF
#compdef $name
# zsh completion of $name
${f}_keys()
{
    compadd -S '' \$(\$words[1] -T 2>/dev/null | awk '
        / = {\$/ { group = \$1 }
        /^    / { print group "." \$1 "=" }')
}
$f()
{
    _arguments \\
$(zsh_options <<<"$common" | sed 's/$/ \\/')
        '--help[what there is]' '--version[which one it is]'
}
$f "\$@"
EOF
}

if [ "$commands" ]; then "write_client_$shell"; else "write_server_$shell"; fi
