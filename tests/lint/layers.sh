#!/bin/bash
# Who may include whom. The folder names the process: what is not listed here is a layer violation.
set -u
declare -A may=(
    [base]='' [wire]='base' [conf]='base'
    [actor]='base wire conf' [net]='base wire actor'
    [client]='base wire'
    [measure]='base wire client'
    [kind]='base wire conf actor'
    [keeper]='base wire conf actor net/keep_rules.h net/keep_table.h'
    [status]='base wire conf actor net/listener.h'
    [worker]='base wire conf actor net'
    [log_writer]='base actor/mailbox.h'
    [arbiter]='base wire conf actor log_writer net/activation.h net/listener.h net/keep_table.h'
    [testing]='base wire conf'
    [server]='base wire conf actor net kind keeper status worker arbiter'
    [echo_arbiter]=''
    [cmd]='base wire client measure'
)
# Libraries with one place each.
declare -A only=([libconfig.h]='src/conf/config_file' [seccomp.h]='src/actor/sandbox' [microhttpd.h]='src/base/http_library')
bad=0

complain()
{
    echo "$1:$2: $3"
    bad=1
}

while IFS=: read -r file line text; do
    room=${file#src/}
    room=${room%%/*}
    if [[ -z ${may[$room]+x} ]]; then
        complain "$file" "$line" "unknown room $room: say in $0 what it may include"
        continue
    fi
    if [[ $text =~ \"([^\"]+)\" ]]; then
        what=${BASH_REMATCH[1]}
        allowed=0
        for other in "$room" ${may[$room]}; do
            [[ $what == "$other" || $what == "$other"/* ]] && allowed=1
        done
        [ $allowed = 1 ] || complain "$file" "$line" "$room may not include \"$what\""
    elif [[ $text =~ \<([^\>]+)\> ]]; then
        what=${BASH_REMATCH[1]}
        if [[ -n ${only[$what]-} && $file != "${only[$what]}"* ]]; then
            complain "$file" "$line" "<$what> belongs to ${only[$what]} alone"
        fi
        if [[ $what == arbiter/* && ( $room == base || $room == wire ) ]]; then
            complain "$file" "$line" "the installed API is not for $room"
        fi
    fi
done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' -r src --include='*.[ch]')

# The installed API knows the C library and itself.
while IFS=: read -r file line text; do
    complain "$file" "$line" "an installed header includes ${text##* }"
done < <(grep -nE '#[[:space:]]*include[[:space:]]*"' -r include --include='*.h' 2>/dev/null)

# Pure rooms know no loop, socket or time.
while IFS=: read -r file line text; do
    complain "$file" "$line" "pure code includes ${text##* }"
done < <(grep -nE '#[[:space:]]*include[[:space:]]*<(ev|sys/socket|sys/epoll|time|sys/time|syslog)\.h>' \
    -r src/wire src/echo_arbiter --include='*.[ch]')

# A handler of a fatal signal runs these: nothing that may allocate or lock.
while IFS=: read -r file line text; do
    complain "$file" "$line" "a signal handler runs this file, which includes ${text##* }"
done < <(grep -HnE '#[[:space:]]*include[[:space:]]*<(stdio|stdlib|time)\.h>' \
    src/base/{fdpass,log_render,log_write}.c src/net/{keep_crash,move_crash}.c)
exit $bad
