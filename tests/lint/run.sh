#!/bin/bash
# All static checks, each with one line; what fails prints why: run.sh BUILD
set -u
build=$1
flags=(-std=gnu11 -iquotesrc -iquotetests -iquoteexamples/pubsub -Iinclude -D_GNU_SOURCE '-DECHO_VERSION="lint"' '-DECHO_CONFIG="lint"')
read -r -a packages < <(pkg-config --cflags libconfig jansson libseccomp)
flags+=("${packages[@]}")
mapfile -t c < <(find src tests examples -name '*.c' | sort)
mapfile -t h < <(find src include tests examples -name '*.h' 2>/dev/null | sort)
mapfile -t scripts < <(grep -rlE '^#!.*[/ ](ba)?sh$' tests tools .ci debian | sort)
failed=0

check()
{
    local name=$1 began=$SECONDS text
    shift
    if text=$("$@" 2>&1); then
        printf '  ok   %-10s (%d s)\n' "$name" $((SECONDS - began))
        [ -z "$text" ] || printf '%s\n' "$text" | sed 's/^/      | /'
    else
        printf '  FAIL %-10s (%d s)\n%s\n' "$name" $((SECONDS - began)) "$text"
        failed=1
    fi
}

# Every header must say itself what it needs.
headers()
{
    local cc header bad=0
    for cc in gcc clang; do
        for header in "${h[@]}"; do
            printf '#include "%s"\n' "$header" |
                "$cc" "${flags[@]}" -I. -Wall -Wextra -Werror -fsyntax-only -x c - || bad=1
        done
    done
    return $bad
}

# Tests get the cheap checks only: the analyzer's paths through assertions take long and find little.
tidy()
{
    printf '%s\0' "${c[@]}" |
        xargs -0 -P "$(nproc)" -n 4 tests/lint/tidy.sh "${#flags[@]}" "${flags[@]}"
}

cpp()
{
    cppcheck --quiet --enable=warning,performance,portability --std=c11 --inline-suppr \
        --error-exitcode=1 --suppress=missingIncludeSystem --suppress=unknownMacro \
        --suppress=legacyUninitvar --suppress=returnDanglingLifetime --suppress=memleak \
        --suppress=internalAstError '--suppress=memleakOnRealloc:tests/*' '--suppress=uninitvar:tests/*' \
        '--suppress=uninitvar:examples/*' \
        --include=tests/lint/cppcheck.h -j "$(nproc)" -Isrc -Iinclude -Itests -D_GNU_SOURCE '-DECHO_VERSION="lint"' \
        '-DECHO_CONFIG="lint"' src tests examples
}

manuals()
{
    compgen -G 'man/*.[1-8]' >/dev/null || return 0
    mandoc -Tlint -W warning man/*.[1-8] "$build"/man/*.3
}

# A script may hold what a merge has left behind and still run.
conflicts()
{
    ! grep -rnE '^(<{7}|>{7})( |$)' --exclude-dir='.git' --exclude-dir='build*' .
}

# One example stands in a manual page, and has to fit there.
mapfile -t formatted < <(printf '%s\n' "${c[@]}" "${h[@]}" | grep -v '^examples/shout\.c$')

check format clang-format --dry-run -Werror "${formatted[@]}"
check layers tests/lint/layers.sh
check names tests/lint/names.sh
check conflicts conflicts
check headers headers
check api tests/lint/api.sh
check cycles tests/lint/cycles.sh "$build"
check manuals manuals
check documents tests/lint/documents.sh "$build"
check contrib tests/lint/contrib.sh
if command -v shellcheck >/dev/null; then
    check scripts shellcheck -S warning "${scripts[@]}"
fi
check cppcheck cpp
check tidy tidy
exit $failed
