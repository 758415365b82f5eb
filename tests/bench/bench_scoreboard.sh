#!/bin/bash
# What the scoreboard costs a message: bench_scoreboard.sh BUILD
# The server is built once more without counting, and callgrind counts the instructions of a worker
# of each. What a heartbeat costs does not depend on messages: it is a timer's.
set -u
build=$1
bin=$build/tests/bench
tmp=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait; rm -rf "$tmp"' EXIT

fail()
{
    echo "bench_scoreboard: $*" >&2
    exit 1
}

command -v valgrind >/dev/null || fail 'valgrind is not installed'
make --no-print-directory B="$build/bare" CPPFLAGS='-include tests/bench/no_counters.h' \
    "$build/bare/echo-arbiter" >"$tmp/make" 2>&1 || fail "$(tail -n 5 "$tmp/make")"
make --no-print-directory B="$build" "$build/echo-arbiter" "$bin/gen" >"$tmp/make" 2>&1 ||
    fail "$(tail -n 5 "$tmp/make")"

# start COMMAND...: sets server and addr
start()
{
    rm -f "$tmp/ready"
    mkfifo "$tmp/ready"
    "$@" -b 127.0.0.1:0 -w 1 -l warning --ready-fd 3 3>"$tmp/ready" 2>"$tmp/log" &
    server=$!
    read -r -t 60 addr <"$tmp/ready" || fail "$(tail -n 3 "$tmp/log")"
    addr=$(grep -oE '127\.0\.0\.1:[0-9]+' <<<"$addr" | head -n 1)
}

stop()
{
    kill "$server"
    wait "$server"
    server=
}

# instructions SERVER BATCHES GEN-ARGS...: all that the worker has run from its start to its end
instructions()
{
    local program=$1 batches=$2 messages worker in out pid
    shift 2
    rm -f "$tmp"/cg.*
    start valgrind -q --tool=callgrind --callgrind-out-file="$tmp/cg.%p" "$program"
    worker=$(pgrep -P "$server" | head -n 1)
    coproc GEN { "$bin/gen" -a "$addr" -n "$batches" "$@"; }
    in=${GEN[0]} out=${GEN[1]} pid=$GEN_PID
    read -r -t 60 _ <&"$in" || fail 'gen does not open'
    echo >&"$out"
    read -r -t 300 messages <&"$in" || fail 'gen does not finish'
    echo >&"$out"
    wait "$pid"
    stop
    awk -v m="$messages" '$1 == "summary:" || $1 == "totals:" { n = $2 } END { print n, m }' \
        "$tmp/cg.$worker" >>"$tmp/runs"
}

# a_message SERVER GEN-ARGS...: what a start and an end cost is in both runs. Sets per_message.
a_message()
{
    local program=$1
    shift
    rm -f "$tmp/runs"
    instructions "$program" 300 "$@"
    instructions "$program" 1300 "$@"
    per_message=$(awk 'NR == 1 { i = $1; m = $2 } NR == 2 { printf "%.1f\n", ($1 - i) / ($2 - m) }' "$tmp/runs")
}

echo 'the scoreboard: instructions of a worker a message (callgrind); of all CPU time, if one takes half a ns'
printf '%-28s %10s %10s %10s %8s %10s\n' '' with without difference 'CPU ns' 'of it'
while IFS='|' read -r text args; do
    # shellcheck disable=SC2086 # several arguments
    {
        a_message "$build/echo-arbiter" $args
        with=$per_message
        a_message "$build/bare/echo-arbiter" $args
        without=$per_message
        start "$build/echo-arbiter"
        ns=$("$bin/gen" -a "$addr" -p "$(pgrep -P "$server" | head -n 1)" -t 1 $args |
            awk '{ printf "%.0f\n", $3 / $1 }')
        stop
    }
    awk -v t="$text" -v a="$with" -v b="$without" -v ns="$ns" 'BEGIN {
        printf "%-28s %10.1f %10.1f %10.1f %8d %9.2f%%\n", t, a, b, a - b, ns, (a - b) * 0.5 / ns * 100 }'
done <<'WORKLOADS'
1 connection, 64 B|-c 1
64 connections, 64 B|-c 64
the same, depth 16|-c 64 -d 16
WORKLOADS
