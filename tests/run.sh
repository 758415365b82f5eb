#!/bin/bash
# Runs test programs, JOBS at a time, and sums up: run.sh BUILD PROGRAM...
# Twice as many as most machines for this have processors, since most of a test's time is waiting.
# A program prints as cmocka does; a fuzz_* program replays its corpus and counts as one test. What
# crashes, hangs (TEST_TIMEOUT seconds) or ends without its summary counts as failed. Programs find the
# binaries below $ECHO_BUILD. At full length (ECHO_PROFILE=soak) the figures that a program prints, lines that
# begin with "#|", are shown. $BESIDE names one more program, which computes while the others wait: it has the
# rest of the processors and none of the JOBS. The last line is always "N passed, N failed".
set -u
build=$1
shift
export ECHO_BUILD=$PWD/$build
export CMOCKA_MESSAGE_OUTPUT=STDOUT
export ASAN_OPTIONS=${ASAN_OPTIONS-abort_on_error=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1:halt_on_error=1}
limit=${TEST_TIMEOUT:-300}
ticks=$(($(getconf CLK_TCK) / 10))
# Many shells begin with 1024 descriptors, and some tests hold more.
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -ge 20000 ] || ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"
out=$build/log
mkdir -p "$out"
rm -f "$out"/*.log "$out"/*.sum

# Counts one program's log: prints "passed failed skipped".
count()
{
    awk -v rc="$2" '
        /^\[       OK \] /               { passed++ }
        /^\[==========\] .*run\./        { summaries++ }
        /^\[==========\] Running /       { groups++ }
        /^\[  FAILED  \] [0-9]+ test/    { next }
        /^\[  ERROR   \] [0-9]+ test/    { next }
        /^\[  SKIPPED \] [0-9]+ test/    { next }
        /^\[  ERROR   \] ---/            { next }
        /^\[  (FAILED |ERROR  ) \] /     { failed[substr($0, 14)] = 1 }
        /^\[  SKIPPED \] /               { skipped[substr($0, 14)] = 1 }
        END {
            for (f in failed) n++
            for (s in skipped) k++
            if (groups == 0 || summaries < groups || (n == 0 && rc != 0)) n++
            printf "%d %d %d\n", passed, n, k
        }' "$1"
}

# Into the variable $1: how much the children of this shell have computed, in tenths of a second.
computed()
{
    local -a stat
    read -r -a stat <"/proc/$BASHPID/stat"
    printf -v "$1" '%02d' $(((stat[15] + stat[16]) / ticks))
}

# Where a program's results are: unit and it may have one of the same name.
file_of()
{
    local from=${1#"$build"/tests/}
    echo "$out/${from//\//_}"
}

run_one()
{
    local program=$1 name=${1##*/} rc=0 passed=0 failed=0 skipped=0 began=$SECONDS
    local log
    log=$(file_of "$program").log
    if [[ $name == fuzz_* ]]; then
        { timeout -k 10 "$limit" "$program" "tests/fuzz/$name.in"; } >"$log" 2>&1 </dev/null || rc=$?
        [ $rc = 0 ] && passed=1 || failed=1
    else
        # shellcheck disable=SC2086 # a command with its arguments
        { timeout -k 10 "$limit" ${TEST_WRAPPER-} "$program"; } >"$log" 2>&1 </dev/null || rc=$?
        read -r passed failed skipped < <(count "$log" $rc)
    fi
    local text="$passed passed" cpu
    computed cpu
    [ "$failed" != 0 ] && text+=", $failed failed"
    [ "$skipped" != 0 ] && text+=", $skipped skipped"
    [ $rc = 124 ] && text+=", stopped after $limit s"
    [ $rc -gt 128 ] && text+=", ended by signal $((rc - 128))"
    # One write, so that two programs do not mix their lines.
    local report
    report=$(
        printf '  %-4s %-28s %s (%d s, computed %s)\n' "$([ "$failed" = 0 ] && echo ok || echo FAIL)" "$name" \
            "$text" $((SECONDS - began)) "${cpu%?}.${cpu: -1}"
        [ "${ECHO_PROFILE-}" = soak ] && sed -n 's/^#|/      /p' "$log"
        if [ "$failed" != 0 ]; then
            tail -n 150 "$log" | sed 's/^/      | /'
        elif [ "$skipped" != 0 ]; then
            grep -iE 'skip' "$log" | sort -u | sed 's/^/      | /'
        fi
    )
    printf '%s\n' "$report"
    echo "$passed $failed" >"${log%.log}.sum"
}

trap 'trap - INT TERM; kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM
beside=none
if [ -n "${BESIDE-}" ]; then
    # It has what the others leave, which may be little.
    TEST_WRAPPER='nice' limit=$((limit * 3)) run_one "$BESIDE" &
    beside=$!
fi
for program in "$@"; do
    while [ "$(jobs -pr | grep -cvx "$beside")" -ge "${JOBS:-4}" ]; do
        wait -n
    done
    run_one "$program" &
done
wait

passed=0 failed=0
for program in "$@" ${BESIDE:+"$BESIDE"}; do
    read -r p f <"$(file_of "$program").sum" || { p=0 f=1; }
    passed=$((passed + p))
    failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
