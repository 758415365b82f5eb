#!/bin/bash
# Very many connections, held over a reload, scaling up and down, and an upgrade: scale.sh BUILD
# CONNECTIONS (10000) are opened; what they cost is printed. Then, at each event, some are asked all the
# time (how long do they wait?), and after it all are asked once (is any lost?). Exits with 1 if one is.
# SAMPLE (200), IDLE_SECONDS (10), MEMORY_LEFT (MiB that must stay available: 1024) and SERVER (more
# of the configuration's section server: SERVER='keep_alive = 3600;') can be chosen.
set -u
build=$1
n=${CONNECTIONS:-10000} sample=${SAMPLE:-200} idle_s=${IDLE_SECONDS:-10} left=${MEMORY_LEFT:-1024}
[[ $n =~ ^[1-9][0-9]*$ ]] || {
    echo "bench-scale: CONNECTIONS: $n is not a whole number above 0" >&2
    exit 64
}
tmp=$(mktemp -d)
patience=$((60 + n / 1000)) # seconds, for anything
descriptors=$(ulimit -Hn)
[ "$descriptors" != unlimited ] && [ "$descriptors" -lt 20000 ] || descriptors=20000
workers=$(((n + descriptors * 3 / 4 - 1) / (descriptors * 3 / 4)))
[ $workers -gt 2 ] || workers=2
more=$((workers + (workers + 1) / 2))
server='' gen='' failures=0

fail()
{
    echo "bench-scale: $*" >&2
    [ ! -s "$tmp/log" ] || tail -n 5 "$tmp/log" >&2
    exit 1
}

finish()
{
    [ -z "$gen" ] || kill "$gen" 2>/dev/null
    [ -z "$server" ] || kill -INT "$server" 2>/dev/null
    wait
    rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM

# number FILE: the first one in it
number()
{
    awk '{ print $1; exit }' "$1"
}

available_mib()
{
    awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo
}

check_machine()
{
    local need files memory ports
    [ "$descriptors" -ge 256 ] || fail "ulimit -n: $descriptors descriptors a process are too few, 256 are needed"
    ulimit -n "$descriptors" || fail "ulimit -n: $descriptors descriptors a process are not allowed"
    # Both ends are here. A connection that moves is in two processes, but one open file.
    need=$((2 * n + 20000))
    files=$(awk '{ print $3 - $1 }' /proc/sys/fs/file-nr)
    [ "$files" -ge $need ] || fail "fs.file-max: room for $files more files, $n connections need $need"
    ports=$(awk '{ print $2 - $1 }' /proc/sys/net/ipv4/ip_local_port_range)
    [ "$ports" -ge 13000 ] || fail "net.ipv4.ip_local_port_range: $ports ports, 13000 are needed"
    need=$((n / 100 + left)) # 10 KiB for both ends
    memory=$(available_mib)
    [ "$memory" -ge $need ] || fail "memory: $memory MiB are available, $n connections need $need"
}

# Does the kernel remember each connection a second time, and has it room for them?
check_conntrack()
{
    local dir=/proc/sys/net/netfilter before after fd fds=()
    [ -r $dir/nf_conntrack_count ] || return 0
    before=$(number $dir/nf_conntrack_count)
    for _ in 1 2 3 4 5 6 7 8; do
        exec {fd}<>"/dev/tcp/${address/://}" || fail "$address cannot be reached"
        fds+=("$fd")
    done
    after=$(number $dir/nf_conntrack_count)
    for fd in "${fds[@]}"; do
        exec {fd}>&-
    done
    [ $((after - before)) -lt 8 ] || [ $(($(number $dir/nf_conntrack_max) - after)) -ge "$n" ] ||
        fail "nf_conntrack: loopback is tracked, and nf_conntrack_max has no room for $n connections"
}

start_server()
{
    mkfifo "$tmp/ready"
    cat >"$tmp/echo.conf" <<CONF
arbiter = { workers = $workers; control = "$tmp/control"; boot_timeout = 60; exit_timeout = 120; };
server = { bind = ["127.0.0.1:0"]; backlog = 4096; ${SERVER-} };
log = { file = "$tmp/log"; };
CONF
    "$build/echo-arbiter" -c "$tmp/echo.conf" --ready-fd 3 3>"$tmp/ready" &
    server=$!
    read -r -t 60 address <"$tmp/ready" || fail 'echo-arbiter does not start'
    address=$(grep -oE '127\.0\.0\.1:[0-9]+' <<<"$address" | head -n 1)
}

client()
{
    "$build/echo-client" -C "$tmp/control" --timeout "$patience" "$@"
}

children()
{
    pgrep -P "$server"
}

# The writer of the log is a child, too.
workers()
{
    pgrep -P "$server" -f 'worker\.'
}

# Connections of each worker, a line each
loads()
{
    client --json info | sed 's/"totals".*//' | grep -oE '"connections": *[0-9]+' | grep -oE '[0-9]+$'
}

# total NAME: a counter of all workers, dead ones included
total()
{
    client --json info | sed 's/.*"totals"//' | grep -oE "\"$1\": *[0-9]+" | grep -oE '[0-9]+$'
}

resident_bytes()
{
    local pid
    for pid in "$server" $(children); do
        cat "/proc/$pid/status"
    done | awk '/^Rss(Anon|Shmem):/ { n += $2 } END { printf "%.0f\n", n * 1024 }'
}

# Of the server's processes that are there: nanoseconds of CPU, and times that they were woken.
cpu_and_wakes()
{
    local pid
    for pid in "$server" $(children); do
        awk '{ print "cpu", $1 }' "/proc/$pid/schedstat"
        grep '^voluntary' "/proc/$pid/status"
    done | awk '$1 == "cpu" { c += $2 } $1 != "cpu" { w += $2 } END { printf "%.0f %.0f\n", c, w }'
}

# Seconds of CPU of the server, ended workers included (a hundredth is the kernel's unit)
cpu_seconds()
{
    local pid
    {
        sed 's/.*) //' "/proc/$server/stat" | awk '{ print $12 + $13 + $14 + $15 }'
        for pid in $(children); do
            sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }'
        done
    } 2>/dev/null | awk -v hz="$(getconf CLK_TCK)" '{ n += $1 } END { print n / hz }'
}

# Without what readers of /proc/PID/fd (monitors, say) leave there: an inode and a name for each descriptor.
kernel_bytes()
{
    cat /proc/meminfo /proc/slabinfo 2>/dev/null | awk '
        /^(Slab|KernelStack|PageTables|VmallocUsed):/ { n += $2 * 1024 }
        $1 == "proc_inode_cache" { proc = $2; n -= $3 * $4 }
        $1 == "dentry" { n -= proc * $4 }
        END { printf "%.0f\n", n }'
}

# ask COMMAND: the generator's answer, in `answer`
ask()
{
    local waited
    echo "$1" >&"$to"
    for ((waited = 0; waited < patience; waited++)); do
        read -r -t 1 answer <&"$from" && return
        kill -0 "$gen" 2>/dev/null || fail 'the generator is gone'
        [ "$(available_mib)" -ge "$left" ] || fail "given up: less than $left MiB of memory are available"
    done
    fail "$1: no answer in $patience s"
}

# elapsed SINCE: milliseconds ($EPOCHREALTIME)
elapsed()
{
    awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.0f\n", (b - a) * 1e3 }'
}

# until_done CONDITION...: a command, asked 20 times a second
until_done()
{
    local begun=$SECONDS
    until "$@"; do
        [ $((SECONDS - begun)) -lt $patience ] || fail "not done in $patience s: $*"
        sleep 0.05
    done
}

are_gone()
{
    local pid
    for pid in $old; do
        [ ! -d "/proc/$pid" ] || return 1
    done
}

are_workers()
{
    [ "$(workers | wc -l)" = "$1" ]
}

# What the arbiter calls even
are_even()
{
    loads | sort -n | awk 'NR == 1 { a = $1 } { b = $1 } END { exit b > a + int(a / 32) + 2 }'
}

show_open()
{
    local slab=$tmp/slab ms before after opened errors
    echo "$n connections, $workers workers, $(((n + descriptors - 33) / (descriptors - 32))) generators" \
        "of at most $descriptors descriptors each; $(nproc) CPUs"
    before=$(resident_bytes) kernel=$(kernel_bytes)
    cat /proc/slabinfo >"$slab.0" 2>/dev/null
    begun=$EPOCHREALTIME
    ask open
    ms=$(elapsed "$begun")
    read -r opened errors <<<"$answer"
    printf '\nopened      %d in %d ms (%d a second), %d errors\n' "$opened" "$ms" \
        $((opened * 1000 / ms)) "$errors"
    [ "$opened/$errors" = "$n/0" ] || fail "$errors of $n connections could not be opened"
    printf 'spread      most %d, least %d of a worker\n' "$(loads | sort -n | tail -n 1)" "$(loads | sort -n | head -n 1)"
    sleep 2
    after=$(resident_bytes)
    printf 'resident    %d bytes per connection, the server'"'"'s processes\n' $(((after - before) / n))
    printf 'kernel      %d bytes per connection for both ends\n' $((($(kernel_bytes) - kernel) / n))
    if [ -r /proc/slabinfo ]; then
        cat /proc/slabinfo >"$slab.1"
        # Caches of one size are one cache, under one of their names.
        awk -v n="$n" 'NR == FNR { before[$1] = $15 * $6; proc -= ($1 == "proc_inode_cache") * $2; next }
            $1 == "proc_inode_cache" { proc += $2; next }
            FNR > 2 { bytes[$1] = ($15 * $6 - before[$1]) * 4096; size[$1] = $4 }
            END { bytes["dentry"] -= proc * size["dentry"]
                for (c in bytes) if (bytes[c] >= 24 * n) printf "              %6d %s\n", bytes[c] / n, c }' \
            "$slab.0" "$slab.1" | sort -rn | head -n 12
    fi
    awk '/^TCP:/ { print "sockets    ", $0 }' /proc/net/sockstat
    printf 'files       %d of %d that the machine may have\n' "$(number /proc/sys/fs/file-nr)" "$(number /proc/sys/fs/file-max)"
}

show_idle()
{
    local cpu wakes cpu_after wakes_after
    read -r cpu wakes < <(cpu_and_wakes)
    sleep "$idle_s"
    read -r cpu_after wakes_after < <(cpu_and_wakes)
    awk -v c=$((cpu_after - cpu)) -v w=$((wakes_after - wakes)) -v s="$idle_s" 'BEGIN {
        printf "idle        %.3f %% of a core, woken %.1f times a second, arbiter and all workers\n", c / s / 1e7, w / s }'
    begun=$EPOCHREALTIME
    client --json info >/dev/null || fail 'info'
    printf 'info        answered in %.0f ms, start of the client included\n' "$(elapsed "$begun")"
}

# event NAME COMMAND...: what the probes and then all connections make of it
event()
{
    local name=$1 ms cpu moved echoed lost wrong waits p50 p99 p999 most m50 m99
    shift
    old=$(workers)
    moved=$(total moved_in)
    ask probe
    sleep 0.5
    begun=$EPOCHREALTIME cpu=$(cpu_seconds)
    "$@"
    ms=$(elapsed "$begun") cpu=$(awk "BEGIN { print $(cpu_seconds) - $cpu }")
    ask rest
    read -r waits _ p50 p99 p999 _ m50 m99 most <<<"$answer"
    moved=$(($(total moved_in) - moved))
    ask touch
    read -r echoed lost wrong <<<"$answer"
    lost=$((lost - lost_before)) wrong=$((wrong - wrong_before))
    lost_before=$((lost_before + lost)) wrong_before=$((wrong_before + wrong))
    [ $lost = 0 ] && [ $wrong = 0 ] || failures=$((failures + 1))
    printf '%-16s %8s %6s %8d %6d %6d %8d' "$name" "$ms" "$cpu" "$moved" "$lost" "$wrong" "$echoed"
    awk -v v="$p50 $p99 $p999 $m50 $m99 $most" 'BEGIN { n = split(v, w); for (i = 1; i <= n; i++) printf " %8.2f", w[i] / 1000 }'
    printf '  %d\n' "$waits"
}

nothing() { sleep 3; }
reload() { kill -HUP "$server" && until_done are_gone && until_done are_workers "$workers"; }
grow() { client scale "$more" >/dev/null && until_done are_workers "$more" && until_done are_even; }
shrink() { client scale "$workers" >/dev/null && until_done are_workers "$workers"; }
upgrade() { client upgrade >/dev/null && until_done are_gone && until_done are_workers "$workers"; }

check_machine
start_server
check_conntrack
coproc GEN { exec "$build/tests/bench/scale" -a "$address" -n "$n" -d "$descriptors" -s "$sample"; }
gen=$GEN_PID from=${GEN[0]} to=${GEN[1]}
show_open
show_idle
lost_before=0 wrong_before=0
printf '\n%d connections, each asked every 10 ms, during each event; then all of them, once\n' "$sample"
printf '%-16s %8s %6s %8s %6s %6s %8s %26s %26s\n' '' '' server '' '' '' 'then' 'ms until an answer' 'longest of a connection'
printf '%-16s %8s %6s %8s %6s %6s %8s %8s %8s %8s %8s %8s %8s  %s\n' '' ms 'CPU s' moved lost wrong echoed p50 p99 p99.9 p50 p99 max answers
event undisturbed nothing
event SIGHUP reload
event "$workers to $more" grow
event "$more to $workers" shrink
event upgrade upgrade
printf '\n%d events with losses, %d s\n' "$failures" "$SECONDS"
[ "$failures" = 0 ]
