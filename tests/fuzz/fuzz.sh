#!/bin/bash
# Fuzzes each target for a while, from its corpus: fuzz.sh BUILD SECONDS PROGRAM...
# What is new stays below BUILD/corpus; what crashes is written to BUILD/crash and printed.
set -u
build=$1 seconds=$2
shift 2
rm -f "$build/fuzz.failed"
mkdir -p "$build/crash"
export ASAN_OPTIONS=${ASAN_OPTIONS-abort_on_error=0:detect_leaks=1}

fuzz_one()
{
    local name=${1##*/}
    mkdir -p "$build/corpus/$name"
    if "$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$build/crash/$name-" "$build/corpus/$name" "tests/fuzz/$name.in" \
        >"$build/$name.log" 2>&1 </dev/null; then
        echo "  ok   $name: $(awk '/number_of_executed_units/ { print $2 }' "$build/$name.log") runs in $seconds s"
    else
        echo "  FAIL $name"
        tail -n 60 "$build/$name.log" | sed 's/^/      | /'
        return 1
    fi
}

for program in "$@"; do
    while [ "$(jobs -pr | wc -l)" -ge "${JOBS:-2}" ]; do
        wait -n
    done
    { fuzz_one "$program" || touch "$build/fuzz.failed"; } &
done
wait
[ ! -e "$build/fuzz.failed" ]
