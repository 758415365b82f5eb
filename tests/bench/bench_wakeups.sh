#!/bin/bash
# What a new connection wakes, by number of workers: bench_wakeups.sh BUILD [WORKERS...]
# The workers share the listening sockets, so an arrival may wake all that sleep; one of them gets it.
# Printed a connection, of all workers together: times that one went to sleep and was woken (its message
# is one of them), CPU, and in a second run under strace accept4 calls, and those with nothing to get.
set -u
build=$1
shift
bin=$build/tests/bench
tmp=$(mktemp -d)
server='' tracer=''
trap 'stop; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

fail()
{
    echo "bench_wakeups: $*" >&2
    exit 1
}

stop()
{
    [ -z "$tracer" ] || kill -INT "$tracer" 2>/dev/null
    [ -z "$server" ] || kill "$server" 2>/dev/null
    wait
    server='' tracer=''
}

# start WORKERS
start()
{
    rm -f "$tmp/ready"
    mkfifo "$tmp/ready"
    "$build/echo-arbiter" -b 127.0.0.1:0 -w "$1" -l warning --ready-fd 3 3>"$tmp/ready" &
    server=$!
    read -r -t 20 address <"$tmp/ready" || fail 'echo-arbiter does not start'
    address=$(grep -oE '127\.0\.0\.1:[0-9]+' <<<"$address" | head -n 1)
    pids=$(pgrep -P "$server" -f 'worker\.' | paste -sd,)
}

# Of all workers: nanoseconds of CPU, and times that they slept and were woken
cpu_and_wakes()
{
    local pid
    for pid in ${pids//,/ }; do
        awk '{ print "cpu", $1 }' "/proc/$pid/schedstat"
        grep '^voluntary' "/proc/$pid/status"
    done | awk '$1 == "cpu" { c += $2 } $1 != "cpu" { w += $2 } END { printf "%.0f %.0f\n", c, w }'
}

# measure WORKERS N HOLD-ARGS...: prints wake-ups and µs of CPU per connection, most ÷ least loaded
measure()
{
    local workers=$1 n=$2 cpu wakes cpu_after wakes_after most least
    shift 2
    start "$workers"
    sleep 0.3
    read -r cpu wakes < <(cpu_and_wakes)
    read -r most least _ < <("$bin/hold" -a "$address" -p "$pids" -n "$n" "$@") || fail hold
    read -r cpu_after wakes_after < <(cpu_and_wakes)
    stop
    awk -v n="$n" -v w=$((wakes_after - wakes)) -v c=$((cpu_after - cpu)) -v a="$most" -v b="$least" \
        'BEGIN { printf "%.2f %.1f %s\n", w / n, c / n / 1e3, (b > 0 ? sprintf("%.2f", a / b) : "-") }'
}

# trace WORKERS N HOLD-ARGS...: prints accept4 calls a connection, and those that got nothing
trace()
{
    local workers=$1 n=$2
    shift 2
    start "$workers"
    strace -f -c -e trace=accept4 -o "$tmp/trace" -p "$pids" 2>"$tmp/attached" &
    tracer=$!
    for _ in {1..200}; do
        [ "$(grep -c attached "$tmp/attached")" = "$workers" ] && break
        sleep 0.05
    done
    "$bin/hold" -a "$address" -p "$pids" -n "$n" "$@" >/dev/null || fail hold
    kill -INT "$tracer"
    wait "$tracer"
    tracer=''
    stop
    awk -v n="$n" '$NF == "accept4" { printf "%.2f %.2f\n", $4 / n, (NF == 6 ? $5 : 0) / n }' "$tmp/trace"
}

printf '%-26s %8s %10s %8s %10s %10s %12s\n' '' workers 'wake-ups' 'CPU us' 'accept4' 'got none' 'most/least'
while IFS='|' read -r text n args; do
    for workers in "${@:-2 4 8 16}"; do
        for w in $workers; do
            # shellcheck disable=SC2086 # several arguments
            {
                read -r wakes cpu spread < <(measure "$w" "$n" $args)
                read -r calls none < <(trace "$w" "$n" $args)
            }
            [ -n "${none-}" ] || fail "$text, $w workers"
            printf '%-26s %8d %10s %8s %10s %10s %12s\n' "$text" "$w" "$wakes" "$cpu" "$calls" "$none" "$spread"
        done
    done
done <<'CASES'
one at a time, 1 ms apart|1000|-f 1 -w 1
64 at a time|4000|-f 64
64 at a time, and closed|8000|-f 64 -C
CASES
