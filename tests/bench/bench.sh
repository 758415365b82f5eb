#!/bin/bash
# This server against the frozen floor, side by side in one run: bench.sh BUILD
# Server on one core, generator on the other; rounds of both servers alternate; printed are medians,
# and as ratio the median of the rounds' own ratios.
# Time ratios depend on the machine (a difference below 3 % means nothing); counts do not.
# QUICK=1 for short windows; ROUNDS, SECONDS_EACH, SERVER_CPU, GEN_CPU override what is chosen here.
set -u
build=$1
bin=$build/tests/bench
tmp=$(mktemp -d)
if [ -n "${QUICK:-}" ]; then
    rounds=${ROUNDS:-7} each=${SECONDS_EACH:-0.7} spreads=3
else
    rounds=${ROUNDS:-15} each=${SECONDS_EACH:-1.5} spreads=9
fi
read -r -a cpus < <(taskset -cp $$ | sed 's/.*: //' | tr ',' '\n' |
    awk -F- '{ for (i = $1; i <= (NF > 1 ? $2 : $1); i++) printf "%d ", i }')
server_cpu=${SERVER_CPU:-${cpus[0]}}
gen_cpu=${GEN_CPU:-${cpus[1]:-${cpus[0]}}}
ulimit -n "$(ulimit -Hn)"
alarms=0
declare -A addr pids main # of "floor" and "ours"

# name, generator's arguments, batches a connection for the count, wanted floor/ours
workloads=(
    'd1|-c 64|200|0.97|64 connections, 64 B'
    'd16|-c 64 -d 16|50|0.97|the same, depth 16'
    'c1000|-c 1000|10|0.95|1000 connections, 64 B'
    '16k|-c 32 -s 16384|50|0.97|32 connections, 16 KiB'
    '1m|-c 4 -s 1048576|10|1.00|4 connections, 1 MiB'
    'churn|-c 64 -C|0|0.97|connect, one message, close'
)

fail()
{
    echo "bench: $*" >&2
    exit 1
}

stop_servers()
{
    local s
    for s in "${!main[@]}"; do
        kill "${main[$s]}" 2>/dev/null
    done
    for s in "${!main[@]}"; do
        wait "${main[$s]}" 2>/dev/null
    done
    main=()
}
trap 'stop_servers; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

start_floor()
{
    rm -f "$tmp/floor"
    mkfifo "$tmp/floor"
    taskset -c "$server_cpu" "$bin/floor" >"$tmp/floor" &
    main[floor]=$! pids[floor]=$!
    read -r -t 10 "addr[floor]" <"$tmp/floor" || fail 'the floor does not start'
}

# start_ours WORKERS CPUS
start_ours()
{
    rm -f "$tmp/ready"
    mkfifo "$tmp/ready"
    taskset -c "$2" "$build/echo-arbiter" -b 127.0.0.1:0 -w "$1" -l warning --ready-fd 3 3>"$tmp/ready" &
    main[ours]=$!
    read -r -t 20 "addr[ours]" <"$tmp/ready" || fail 'echo-arbiter does not start'
    addr[ours]=$(grep -oE '127\.0\.0\.1:[0-9]+' <<<"${addr[ours]}" | head -n 1)
    pids[ours]=$(pgrep -P "${main[ours]}" | paste -sd,)
}

gen()
{
    taskset -c "$gen_cpu" "$bin/gen" "$@"
}

median()
{
    sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# alarm_if CONDITION TEXT (in awk's words)
alarm_if()
{
    if awk "BEGIN { exit !($1) }"; then
        echo "  ALARM: $2"
        alarms=$((alarms + 1))
    fi
}

measure_times()
{
    local row name args target text r s order
    printf '\n%-6s %-28s %21s %8s %23s %7s\n' '' "medians of $rounds x $each s" \
        'CPU ns a message' floor/ 'messages a second' ours/
    printf '%-6s %-28s %10s %10s %8s %11s %11s %7s  %s\n' '' '' ours floor ours ours floor floor target
    for row in "${workloads[@]}"; do
        IFS='|' read -r name args _ target text <<<"$row"
        rm -f "$tmp"/*.cpu "$tmp"/*.rate
        for ((r = 0; r < rounds; r++)); do
            [ $((r % 2)) = 0 ] && order='floor ours' || order='ours floor'
            for s in $order; do
                # shellcheck disable=SC2086 # several arguments
                gen -a "${addr[$s]}" -p "${pids[$s]}" -t "$each" $args >"$tmp/out" ||
                    fail "$name against $s"
                awk '{ print $3 / $1 }' "$tmp/out" >>"$tmp/$s.cpu"
                awk '{ print $1 / $2 }' "$tmp/out" >>"$tmp/$s.rate"
            done
        done
        local co cf ro rf cpu_ratio rate_ratio
        co=$(median <"$tmp/ours.cpu") cf=$(median <"$tmp/floor.cpu")
        ro=$(median <"$tmp/ours.rate") rf=$(median <"$tmp/floor.rate")
        cpu_ratio=$(paste "$tmp/floor.cpu" "$tmp/ours.cpu" | awk '{ print $1 / $2 }' | median)
        rate_ratio=$(paste "$tmp/ours.rate" "$tmp/floor.rate" | awk '{ print $1 / $2 }' | median)
        printf '%-6s %-28s %10.0f %10.0f %8.2f %11.0f %11.0f %7.2f  %s\n' "$name" "$text" "$co" "$cf" \
            "$cpu_ratio" "$ro" "$rf" "$rate_ratio" "$target"
        alarm_if "$cpu_ratio < 0.85" "$name costs far more than the floor"
    done
}

# Attach strace to the process, and be sure that it is: trace PID FILE
trace()
{
    local i
    strace -qq -c -o "$2" -p "$1" 2>/dev/null &
    tracer=$!
    for ((i = 0; i < 500; i++)); do
        grep -q '^TracerPid:.*[1-9]' "/proc/$1/status" && return
        kill -0 $tracer 2>/dev/null || break
        sleep 0.01
    done
    fail 'strace cannot attach'
}

untrace()
{
    kill -INT "$tracer"
    wait "$tracer"
}

# Prints: reads writes waits all, a message. calls FILE MESSAGES
calls()
{
    awk -v m="$2" '
        $NF ~ /^(read|readv|recvfrom|recvmsg)$/ { r += $4 }
        $NF ~ /^(write|writev|sendto|sendmsg)$/ { w += $4 }
        $NF ~ /^epoll_p?wait2?$/ { e += $4 }
        $NF == "total" { all = $(NF - 1) ~ /^[0-9]+$/ && NF > 5 ? $4 : $(NF - 1) }
        END { printf "%.3f %.3f %.3f %.3f\n", r / m, w / m, e / m, all / m }' "$1"
}

count_steady()
{
    local s=$1 n=$2 messages
    shift 2
    coproc GEN { gen -a "${addr[$s]}" -n "$n" "$@"; }
    local in=${GEN[0]} out=${GEN[1]} pid=$GEN_PID
    read -r _ <&"$in" || fail "counting: gen does not open"
    trace "${pids[$s]}" "$tmp/strace"
    echo >&"$out"
    read -r messages <&"$in" || fail "counting: gen does not finish"
    untrace
    echo >&"$out"
    wait "$pid"
    calls "$tmp/strace" "$messages"
}

count_churn()
{
    local s=$1
    trace "${pids[$s]}" "$tmp/strace"
    gen -a "${addr[$s]}" -C -c 8 -w 0 -t 1 >"$tmp/out" || fail "counting: churn against $s"
    untrace
    calls "$tmp/strace" "$(awk '{ print $1 }' "$tmp/out")"
}

count_calls()
{
    local row name args n text s r w e a
    printf '\n%-6s %-28s %8s %8s %12s %8s\n' '' 'system calls a message' reads writes epoll_waits all
    for row in "${workloads[@]}"; do
        IFS='|' read -r name args n _ text <<<"$row"
        for s in ours floor; do
            # shellcheck disable=SC2086 # several arguments
            read -r r w e a < <([ "$name" = churn ] && count_churn "$s" || count_steady "$s" "$n" $args)
            printf '%-6s %-28s %8s %8s %12s %8s\n' "$name" "$s" "$r" "$w" "$e" "$a"
            [ "$name/$s" = d1/ours ] && alarm_if "$r > 1.005 || $w > 1.005" 'more than one read and write a message'
            [ "$name/$s" = d16/ours ] && alarm_if "$w > $r * 1.005" 'more than one write a read'
            [ "$name/$s" = churn/ours ] && alarm_if "$a > 8.1" 'more than 8 system calls a connection'
        done
    done
}

measure_idle()
{
    local n=10000 most s
    # Fresh processes: what earlier connections have left in the heap would hide the cost.
    stop_servers
    start_floor
    start_ours 1 "$server_cpu"
    most=$(($(ulimit -n) - 200))
    [ $most -lt $n ] && n=$most
    printf '\nresident bytes a connection, %d idle ones (target 192):\n' "$n"
    for s in ours floor; do
        printf '  %-6s %s\n' "$s" "$("$bin/hold" -a "${addr[$s]}" -p "${pids[$s]}" -m -n "$n")"
    done
}

measure_spread()
{
    local row text args i most least ms
    stop_servers
    start_ours 4 "$server_cpu,$gen_cpu"
    printf '\nmost/least loaded of 4 workers, %d runs (aim 1.15):\n' "$spreads"
    printf '  %-18s %8s %8s %10s\n' '' median worst 'median ms'
    for row in '64 at once|-n 64 -f 64' '1000 at once|-n 1000 -f 1000' '200 slowly|-n 200 -f 1 -w 5' \
        '2000 one by one|-n 2000 -f 1' '8000 churn|-n 8000 -f 64 -C'; do
        IFS='|' read -r text args <<<"$row"
        rm -f "$tmp/ratio" "$tmp/ms"
        for ((i = 0; i < spreads; i++)); do
            sleep 0.3 # the accept gate remembers closes for 100 ms: begin with a rested server
            # shellcheck disable=SC2086 # several arguments
            read -r most least ms < <("$bin/hold" -a "${addr[ours]}" -p "${pids[ours]}" $args)
            [ -n "${ms-}" ] || fail "spread: $text"
            awk -v a="$most" -v b="$least" 'BEGIN { print (b > 0 ? a / b : 999) }' >>"$tmp/ratio"
            echo "$ms" >>"$tmp/ms"
        done
        if [ "${args% -C}" = "$args" ]; then
            printf '  %-18s %8.2f %8.2f %10.1f\n' "$text" "$(median <"$tmp/ratio")" \
                "$(sort -g "$tmp/ratio" | tail -n 1)" "$(median <"$tmp/ms")"
        else
            printf '  %-18s %8s %8s %10.1f\n' "$text" - - "$(median <"$tmp/ms")"
        fi
    done
}

echo "Linux $(uname -r), $(grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //'), server on CPU" \
    "$server_cpu, generator on CPU $gen_cpu"
start_floor
start_ours 1 "$server_cpu"
[ -n "${ONLY_SPREAD-}" ] || { measure_times; count_calls; measure_idle; }
measure_spread
stop_servers
if [ -x "$bin/bench_frame" ]; then
    printf '\n'
    QUICK=${QUICK:-} taskset -c "$server_cpu" "$bin/bench_frame"
fi
printf '\n%s alarms, %s s\n' "$alarms" "$SECONDS"
[ "$alarms" = 0 ]
